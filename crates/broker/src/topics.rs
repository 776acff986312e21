//! The topics, their configuration and their partitions.
