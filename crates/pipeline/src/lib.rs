//! The pipeline file: TOML with SQL, from text to a validated [`Pipeline`].
//!
//! No I/O, no async: a file's text and an environment go in, a pipeline or a list of
//! diagnostics comes out.

mod model;

pub use model::*;
