//! Decoding: bytes into Arrow batches, bad records told apart.
