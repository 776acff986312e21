//! The command line as a user meets it: standard output, standard error, exit code.

mod generate;
