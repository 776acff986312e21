//! The pipeline file as its users see it.

mod mistakes;
mod reference_file;
