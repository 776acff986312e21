//! SQL: the pipeline's queries, planned by DataFusion into programs over batches.
