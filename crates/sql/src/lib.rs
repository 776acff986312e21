//! From SQL text to programs over Arrow batches: a pipeline's queries, planned by `DataFusion`.
//!
//! The one crate that knows the planner. It stands apart from the engine because it is another kind
//! of code: planning runs once a start and is far larger than all that an event touches, so it is
//! compiled fast, where the engine is compiled to run fast.
//!
//! ```text
//! text -> syntax tree -> checked -> rewritten -> logical plan -> optimised -> program
//!         text           check     rewrite      logical         logical      lower
//! ```
//!
//! A program is a list of [`Step`]s, for a windowed query followed by a [`WindowPlan`] and further
//! steps over what the window yields. The steps and the expressions in them are pure: the same row
//! gives the same result in any batch and after any restart.
//!
//! The dialect is Spark's. [`plan`] refuses what would not give Spark's rows and what is not built
//! yet, every problem of every query at once, each with its place.

mod catalog;
mod check;
mod context;
mod fingerprint;
mod functions;
mod logical;
mod lower;
mod planner;
mod problem;
mod rewrite;
pub mod schema;
mod step;
mod text;
mod types;
mod units;
mod walk;
mod window;

#[cfg(test)]
mod tests;

pub use planner::{OutputKind, OutputPlan, Plan, plan};
pub use problem::{QueryRef, SqlCode, SqlProblem};
pub use step::{Applied, EvalError, Keep, Step, apply_all, evaluate, evaluate_predicate};
pub use types::{UTC, timestamp};
pub use units::{EventMicros, SourceId};
pub use window::{Aggregate, WindowPlan, WindowSize, window_type};
