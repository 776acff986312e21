//! The pipeline file as its users see it.

mod reference_file;
