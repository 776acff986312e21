//! The pipeline file: TOML with SQL, from text to a validated [`Pipeline`].
//!
//! No I/O, no async: a file's text and an environment go in, a pipeline or a list of
//! diagnostics comes out. On the way:
//!
//! 1. the text becomes a tree whose keys and values know their places ([`node`]),
//! 2. `${VAR}` is filled in, in string values only ([`env`]),
//! 3. keys, types, words and ranges are checked against the schema ([`walk`]), which is made from
//!    the documented structs in [`raw`],
//! 4. the tree is read into those structs ([`de`]) and
//! 5. their meaning is checked ([`validate`]).
//!
//! Each step goes on with what the step before has left sound, so that all mistakes are reported
//! at once.

mod de;
mod diagnostic;
mod env;
mod field;
mod location;
mod model;
mod node;
mod parse;
mod quantity;
mod raw;
mod redact;
mod reference;
mod report;
mod schema;
mod suggest;
mod types;
mod validate;
mod walk;

pub use diagnostic::{Diagnostic, Severity};
pub use env::{Environment, fill_value};
pub use model::*;
pub use parse::parse;
pub use reference::reference;
pub use report::{JsonDiagnostic, Report};
pub use schema::json_schema;
