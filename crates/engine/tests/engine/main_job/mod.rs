//! The main job as users run it: the shipped pipeline file, connected as the binary connects it, over
//! real topics and files; and what comes out, held against the model.

mod input;
mod job;
mod place;
mod restarts;
mod results;
mod topics;

/// What a test draws from: `FLOODMARK_TEST_SEED`, or something new that is printed.
fn seed() -> u64 {
    let given = std::env::var("FLOODMARK_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("a whole number"));
    eprintln!("FLOODMARK_TEST_SEED={seed}");
    seed
}
