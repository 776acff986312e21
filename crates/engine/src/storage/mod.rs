//! Storage: a directory on a local disk or a prefix in a bucket.
