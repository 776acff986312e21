//! The main job as users run it: the shipped pipeline file, connected as the binary connects it, over
//! real topics and files; and what comes out, held against the model.

mod input;
mod job;
mod place;
mod restarts;
mod results;
mod topics;
