//! A scalar function of our own as a value: name, argument types, result type, evaluation.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, internal_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// Literal arguments, where they are literals.
pub type Literals<'a> = &'a [Option<&'a ScalarValue>];

/// A scalar function. Two of the same name are the same function.
pub struct Builtin {
    name: &'static str,
    arguments: Vec<DataType>,
    required: usize,
    returns: DataType,
    check: Check,
    eval: Eval,
    signature: Signature,
}

type Check = fn(Literals<'_>) -> Result<()>;
type Eval = fn(&ScalarFunctionArgs) -> Result<ColumnarValue>;

impl Builtin {
    /// A function whose arguments, cast to `arguments`, are all required and unchecked.
    pub fn new(
        name: &'static str,
        arguments: Vec<DataType>,
        returns: DataType,
        eval: Eval,
    ) -> Self {
        Self {
            name,
            required: arguments.len(),
            arguments,
            returns,
            check: |_| Ok(()),
            eval,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// Lets arguments be left out down to the first `required`.
    pub fn requiring(self, required: usize) -> Self {
        Self { required, ..self }
    }

    /// Refuses literal arguments that can never work, while the query is planned.
    pub fn checked(self, check: Check) -> Self {
        Self { check, ..self }
    }

    /// The function under its name.
    pub fn named(self) -> (&'static str, Arc<ScalarUDF>) {
        (self.name, Arc::new(ScalarUDF::new_from_impl(self)))
    }
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Builtin {}

impl Hash for Builtin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Builtin {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() < self.required || types.len() > self.arguments.len() {
            let wanted = if self.required == self.arguments.len() {
                self.required.to_string()
            } else {
                format!("{} to {}", self.required, self.arguments.len())
            };
            return plan_err!(
                "{}() takes {wanted} arguments, not {}",
                self.name,
                types.len()
            );
        }
        Ok(self.arguments[..types.len()].to_vec())
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        (self.check)(args.scalar_arguments)?;
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(
            self.name,
            self.returns.clone(),
            nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.eval)(&args)
    }
}

/// Argument `index` as a column.
pub fn column(args: &ScalarFunctionArgs, index: usize) -> Result<arrow::array::ArrayRef> {
    let Some(value) = args.args.get(index) else {
        return internal_err!("argument {index} is missing");
    };
    value.to_array(args.number_rows)
}

/// A literal text argument.
pub fn literal_text(literals: Literals<'_>, index: usize) -> Option<&str> {
    literals
        .get(index)
        .copied()
        .flatten()
        .and_then(|v| v.try_as_str().flatten())
}
