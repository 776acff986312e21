//! The engine over stand-ins for the world.

mod aggregates;
mod random;
mod recovery;
mod rig;
