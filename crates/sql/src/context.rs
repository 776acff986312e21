//! What the planner asks about the world: tables, functions, types, operators.
//!
//! This is where Spark's reading of SQL meets `DataFusion`'s: `/`, the type names, literals with a
//! point (decimals), field access and the session's zone (UTC).

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, Result, ScalarValue, TableReference, plan_err};
use datafusion_expr::planner::{
    ContextProvider, ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr, TypePlanner,
};
use datafusion_expr::{
    AggregateUDF, BinaryExpr, Expr, ExprSchemable, GetFieldAccess, HigherOrderUDF, Operator,
    ScalarUDF, TableSource, WindowUDF, cast, lit,
};
use datafusion_functions::core::expr_ext::FieldAccessor;
use datafusion_sql::planner::ParserOptions;
use datafusion_sql::sqlparser::ast::{self, BinaryOperator};
use floodmark_functions::divide;

use super::catalog::Catalog;
use super::functions::FUNCTIONS;
use super::types::{UTC, sql_name, timestamp};

/// The planner's settings: text stays `Utf8`, errors carry places, overflow is an error.
pub(super) static CONFIG: LazyLock<Arc<ConfigOptions>> = LazyLock::new(|| {
    let mut config = ConfigOptions::default();
    config.execution.time_zone = Some(UTC.into());
    config.execution.enable_ansi_mode = true;
    config.sql_parser.map_string_types_to_utf8view = false;
    config.sql_parser.collect_spans = true;
    config.sql_parser.parse_float_as_decimal = true;
    Arc::new(config)
});

/// The same, as the SQL planner takes them.
pub(super) fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true)
        .with_parse_float_as_decimal(true)
        .with_support_varchar_with_length(true)
}

/// Tables from the catalogue, functions from the registry.
pub(super) struct Context<'a> {
    catalog: &'a Catalog,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            planners: vec![
                Arc::new(SparkOperators),
                Arc::new(datafusion_spark::planner::SparkFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
            ],
        }
    }
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let Some(source) = self.catalog.table(name.table()) else {
            return plan_err!("there is no source or view `{}`", name.table());
        };
        Ok(source)
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }
    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(SparkTypes))
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        match name {
            // Only what the rewriter writes calls these.
            "get_field" => Some(datafusion_functions::core::get_field()),
            "regexp_replace" => Some(datafusion_functions::regex::regexp_replace()),
            _ => FUNCTIONS.scalars.get(name).cloned(),
        }
    }
    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        FUNCTIONS.aggregates.get(name).cloned()
    }
    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &CONFIG
    }
    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.scalars.keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        FUNCTIONS.aggregates.keys().cloned().collect()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Type names of Spark.
#[derive(Debug)]
struct SparkTypes;

impl TypePlanner for SparkTypes {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        use ast::{DataType as Sql, TimezoneInfo};
        let ty = match sql_type {
            Sql::Timestamp(None, TimezoneInfo::None) => timestamp(),
            Sql::Binary(None) => DataType::Binary,
            Sql::String(None) => DataType::Utf8,
            Sql::Decimal(ast::ExactNumberInfo::None)
            | Sql::Dec(ast::ExactNumberInfo::None)
            | Sql::Numeric(ast::ExactNumberInfo::None) => DataType::Decimal128(10, 0),
            Sql::Custom(name, _) if name.to_string().eq_ignore_ascii_case("byte") => DataType::Int8,
            Sql::Custom(name, _) if name.to_string().eq_ignore_ascii_case("short") => {
                DataType::Int16
            }
            Sql::Custom(name, _) if name.to_string().eq_ignore_ascii_case("long") => {
                DataType::Int64
            }
            Sql::Timestamp(_, _) | Sql::TimestampNtz(_) | Sql::Datetime(_) | Sql::Time(_, _) => {
                return plan_err!(
                    "the type {sql_type} is not built yet; TIMESTAMP is an instant in UTC"
                );
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", ty, true))))
    }
}

/// Operators where Spark and `DataFusion` part ways.
#[derive(Debug)]
struct SparkOperators;

impl ExprPlanner for SparkOperators {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        match raw.op {
            BinaryOperator::Divide => plan_divide(raw, schema),
            BinaryOperator::MyIntegerDivide | BinaryOperator::DuckIntegerDivide => {
                let left = Box::new(cast(raw.left, DataType::Int64));
                let right = Box::new(cast(raw.right, DataType::Int64));
                let quotient = BinaryExpr::new(left, Operator::Divide, right);
                Ok(PlannerResult::Planned(Expr::BinaryExpr(quotient)))
            }
            _ => Ok(PlannerResult::Original(raw)),
        }
    }

    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let GetFieldAccess::NamedStructField {
            name: ScalarValue::Utf8(Some(name)),
        } = &raw.field_access
        else {
            return Ok(PlannerResult::Original(raw));
        };
        match raw.expr.get_type(schema)? {
            DataType::Struct(fields) => {
                let spelled = field_spelling(&fields, name)?;
                Ok(PlannerResult::Planned(raw.expr.field(spelled)))
            }
            _ => Ok(PlannerResult::Original(raw)),
        }
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let mut expr = Expr::Column((qualifier, &Arc::new(field.clone())).into());
        let mut ty = field.data_type().clone();
        for name in nested_names {
            let (spelled, inner) = match &ty {
                DataType::Struct(fields) => {
                    let spelled = field_spelling(fields, name)?;
                    let inner = fields.iter().find(|f| f.name() == spelled);
                    (spelled.to_owned(), inner.map(|f| f.data_type().clone()))
                }
                DataType::Map(entries, _) => (name.clone(), map_value(entries)),
                _ => (name.clone(), None),
            };
            let Some(inner) = inner else {
                return plan_err!("a {} has no field `{name}`", sql_name(&ty));
            };
            expr = expr.field(spelled);
            ty = inner;
        }
        Ok(PlannerResult::Planned(expr))
    }
}

fn map_value(entries: &Field) -> Option<DataType> {
    match entries.data_type() {
        DataType::Struct(fields) => fields.get(1).map(|f| f.data_type().clone()),
        _ => None,
    }
}

fn field_spelling<'f>(fields: &'f arrow::datatypes::Fields, name: &str) -> Result<&'f str> {
    let Some(field) = fields.iter().find(|f| f.name().eq_ignore_ascii_case(name)) else {
        let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
        return plan_err!("no field `{name}`; there are {}", names.join(", "));
    };
    Ok(field.name())
}

fn plan_divide(raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    let (left, right) = (raw.left.get_type(schema)?, raw.right.get_type(schema)?);
    let double = |ty: &DataType| matches!(ty, DataType::Float32 | DataType::Float64);
    let decimal = |ty: &DataType| matches!(ty, DataType::Decimal128(_, _));
    let plain = |ty: &DataType| {
        ty.is_integer()
            || double(ty)
            || decimal(ty)
            || matches!(ty, DataType::Utf8 | DataType::Null)
    };
    if !plain(&left) || !plain(&right) {
        return plan_err!("cannot divide {} by {}", sql_name(&left), sql_name(&right));
    }
    if (decimal(&left) || decimal(&right)) && !double(&left) && !double(&right) {
        return plan_err!(
            "dividing {} by {} is not built yet: its digits would differ from Spark's; \
             cast one side to DOUBLE",
            sql_name(&left),
            sql_name(&right)
        );
    }
    // A literal is turned into a double here and now, so that no cast is left to evaluate.
    let as_double = |expr: Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => lit(n as f64),
        other => cast(other, DataType::Float64),
    };
    Ok(PlannerResult::Planned(divide(
        as_double(raw.left),
        as_double(raw.right),
    )))
}
