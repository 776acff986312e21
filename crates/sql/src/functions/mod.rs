//! The functions a query may call.
//!
//! A pipeline file runs on Spark too, so a name means here what it means there. Functions come
//! from three places, the first that has a name wins: our own (where neither library does what
//! Spark does), `datafusion-spark`, and those of `DataFusion`'s functions that agree with Spark's of
//! the same name. What exists in `DataFusion` alone, or differs, is not offered: it would be refused
//! or, worse, answered differently on the other engine.

pub(super) mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use datafusion_expr::{AggregateUDF, ScalarUDF};

/// `DataFusion`'s scalar functions that agree with Spark's of the same name.
const SHARED: &[&str] = &[
    // conditional
    "coalesce",
    "greatest",
    "ifnull",
    "least",
    "nullif",
    "nvl",
    "nvl2",
    "named_struct",
    // mathematics
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cbrt",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "isnan",
    "nanvl",
    "pi",
    "radians",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    // text
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "contains",
    "find_in_set",
    "instr",
    "levenshtein",
    "lower",
    "lpad",
    "ltrim",
    "octet_length",
    "position",
    "repeat",
    "replace",
    "reverse",
    "rpad",
    "rtrim",
    "split_part",
    "substr_index",
    "substring_index",
    "translate",
    "trim",
    "upper",
    // regular expressions
    "regexp_count",
    "regexp_like",
    // dates
    "make_date",
    // arrays and maps
    "array_append",
    "array_compact",
    "array_distinct",
    "array_except",
    "array_intersect",
    "array_join",
    "array_max",
    "array_min",
    "array_prepend",
    "array_union",
    "arrays_overlap",
    "cardinality",
    "flatten",
    "map_entries",
    "map_keys",
    "map_values",
];

/// Spark's name on the left, `DataFusion`'s function of the same meaning on the right.
const RENAMED: &[(&str, &str)] = &[
    ("endswith", "ends_with"),
    ("lcase", "lower"),
    ("regexp", "regexp_like"),
    ("rlike", "regexp_like"),
    ("sign", "signum"),
    ("startswith", "starts_with"),
    ("ucase", "upper"),
];

/// `DataFusion`'s aggregates whose result hangs on the order of the rows, which no stream has.
const ORDER_DEPENDENT: &[&str] = &[
    "any_value",
    "array_agg",
    "collect_list",
    "collect_set",
    "first",
    "first_value",
    "last",
    "last_value",
    "list_agg",
    "listagg",
    "nth_value",
    "string_agg",
];

/// Spark's name of an aggregate on the left, `DataFusion`'s on the right.
const RENAMED_AGGREGATES: &[(&str, &str)] = &[
    ("any", "bool_or"),
    ("approx_percentile", "approx_percentile_cont"),
    ("every", "bool_and"),
    ("percentile", "percentile_cont"),
    ("percentile_approx", "approx_percentile_cont"),
    ("some", "bool_or"),
    ("std", "stddev"),
    ("variance", "var_samp"),
];

/// Functions whose result does not depend on the row alone.
const NOT_REPEATABLE: &[&str] = &[
    "current_catalog",
    "current_database",
    "current_date",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_timezone",
    "current_user",
    "input_file_name",
    "localtimestamp",
    "monotonically_increasing_id",
    "now",
    "rand",
    "randn",
    "random",
    "randstr",
    "session_user",
    "shuffle",
    "spark_partition_id",
    "uniform",
    "user",
    "uuid",
];

/// Functions the planner rewrites before it looks a name up. See [`super::rewrite`].
const REWRITTEN: &[&str] = &[
    "approx_count_distinct",
    "count_if",
    "day",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "isnotnull",
    "isnull",
    "month",
    "quarter",
    "regexp_replace",
    "weekofyear",
    "year",
];

/// The names taken from `DataFusion`.
#[cfg(test)]
pub(super) fn offered() -> impl Iterator<Item = &'static str> {
    SHARED
        .iter()
        .copied()
        .chain(RENAMED.iter().map(|(name, _)| *name))
}

/// What a function name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// A function of one row.
    Scalar,
    /// A function of many rows.
    Aggregate,
    /// Its result does not depend on the row alone.
    NotRepeatable,
    /// Its result depends on the order of the rows.
    OrderDependent,
    /// Not offered.
    Unknown,
}

/// All functions by the names that a query uses.
#[derive(Debug)]
pub(super) struct Functions {
    pub(super) scalars: BTreeMap<String, Arc<ScalarUDF>>,
    pub(super) aggregates: BTreeMap<String, Arc<AggregateUDF>>,
}

/// The functions of every query.
pub(super) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

impl Functions {
    fn new() -> Self {
        Self {
            scalars: scalars(),
            aggregates: aggregates(),
        }
    }

    /// What `name`, in lower case, stands for.
    pub(super) fn known(&self, name: &str) -> Known {
        if NOT_REPEATABLE.contains(&name) {
            Known::NotRepeatable
        } else if ORDER_DEPENDENT.contains(&name) {
            Known::OrderDependent
        } else if self.aggregates.contains_key(name)
            || matches!(name, "count_if" | "approx_count_distinct")
        {
            Known::Aggregate
        } else if self.scalars.contains_key(name) || REWRITTEN.contains(&name) {
            Known::Scalar
        } else {
            Known::Unknown
        }
    }

    /// All names, for "did you mean".
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let scalars = self.scalars.keys().map(String::as_str);
        let aggregates = self.aggregates.keys().map(String::as_str);
        scalars
            .chain(aggregates)
            .chain(REWRITTEN.iter().copied())
            .collect()
    }
}

fn scalars() -> BTreeMap<String, Arc<ScalarUDF>> {
    let mut datafusion = BTreeMap::new();
    let nested = datafusion_functions_nested::all_default_nested_functions();
    for udf in datafusion_functions::all_default_functions()
        .into_iter()
        .chain(nested)
    {
        for name in std::iter::once(udf.name()).chain(udf.aliases().iter().map(String::as_str)) {
            datafusion
                .entry(name.to_owned())
                .or_insert_with(|| Arc::clone(&udf));
        }
    }
    let mut scalars = BTreeMap::new();
    let same = SHARED.iter().map(|name| (*name, *name));
    for (name, theirs) in same.chain(RENAMED.iter().copied()) {
        if let Some(udf) = datafusion.get(theirs) {
            scalars.insert(name.to_owned(), Arc::clone(udf));
        }
    }
    for udf in datafusion_spark::all_default_scalar_functions() {
        for name in std::iter::once(udf.name()).chain(udf.aliases().iter().map(String::as_str)) {
            scalars.insert(name.to_owned(), Arc::clone(&udf));
        }
    }
    for hidden in ["shuffle", "spark_cast", "json_tuple"] {
        scalars.remove(hidden);
    }
    for (name, udf) in floodmark_functions::functions().chain(window::functions()) {
        scalars.insert(name.to_owned(), udf);
    }
    scalars
}

fn aggregates() -> BTreeMap<String, Arc<AggregateUDF>> {
    let mut aggregates = BTreeMap::new();
    let spark = datafusion_spark::all_default_aggregate_functions();
    let all = datafusion_functions_aggregate::all_default_aggregate_functions();
    for udf in all.into_iter().chain(spark) {
        for name in std::iter::once(udf.name()).chain(udf.aliases().iter().map(String::as_str)) {
            aggregates.insert(name.to_owned(), Arc::clone(&udf));
        }
    }
    for (name, theirs) in RENAMED_AGGREGATES {
        if let Some(udf) = aggregates.get(*theirs).cloned() {
            aggregates.insert((*name).to_owned(), udf);
        }
    }
    aggregates.retain(|name, _| !ORDER_DEPENDENT.contains(&name.as_str()) && name != "grouping");
    aggregates
}
