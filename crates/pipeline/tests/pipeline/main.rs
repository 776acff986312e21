//! The pipeline file as its users see it.

mod generated;
mod mistakes;
mod reference_file;
mod robustness;
mod secrets;
