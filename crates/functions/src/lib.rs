//! The functions that run on rows: what Spark does and `DataFusion` does otherwise.
//!
//! A function is pure: its result depends on its arguments alone, so that rows may be evaluated again
//! after a restart. Text is `Utf8` and an instant is microseconds in UTC. Literal arguments are
//! checked while a query is planned.
//!
//! They stand apart from the planner that knows them by name because they are the part of it that an
//! event touches: they are compiled to run fast, the planner to be compiled fast.

mod builtin;
mod cast;
mod civil;
mod date_format;
mod divide;
mod math;
mod time;

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_expr::ScalarUDF;

pub use builtin::{Builtin, Literals, column, literal_text};
pub use cast::{timestamp_to_seconds, to_spark_string};
pub use divide::divide;

/// The zone that every instant carries.
pub const UTC: &str = "UTC";

/// The Arrow type of an instant: microseconds since the epoch, UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// The functions that a query calls by name.
pub fn functions() -> impl Iterator<Item = (&'static str, Arc<ScalarUDF>)> {
    [
        date_format::functions(),
        divide::functions(),
        math::functions(),
        time::functions(),
    ]
    .into_iter()
    .flatten()
}
