//! The engine's quantities, each with a type of its own.

use std::fmt;

pub use floodmark_sql::{EventMicros, SourceId};
use serde::{Deserialize, Serialize};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

quantity! {
    /// Index of an output in the pipeline.
    OutputId(usize)
}
quantity! {
    /// A partition of a source. For files: the index of the file.
    Partition(i32)
}
quantity! {
    /// Position of a record in its partition; as a "next offset", the position to read from.
    Offset(i64)
}
quantity! {
    /// One checkpoint's number; each checkpoint's is one above its predecessor's.
    Epoch(u64)
}
quantity! {
    /// Fencing token: grows by one with every instance that takes a checkpoint over.
    Generation(u64)
}

impl Generation {
    /// The generation that takes over from this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
