//! The metrics there are: name, kind, unit, labels and meaning of each, in one table.
//!
//! `docs/reference/metrics.md` is made from it, and a test compares a real run with it.

/// What kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Kind {
    /// Only grows, from 0 at the start of the process where nothing else is said.
    Counter,
    /// A value at this moment.
    Gauge,
    /// A distribution.
    Histogram,
    /// Always 1; the labels tell.
    Info,
}

/// What is to be known of a metric.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct About {
    /// Its name without unit and without what its kind appends.
    pub(in crate::http) stem: &'static str,
    pub(in crate::http) kind: Kind,
    /// The unit that its name ends with.
    pub(in crate::http) unit: Option<&'static str>,
    pub(in crate::http) labels: &'static [&'static str],
    /// One sentence without its full stop.
    pub(in crate::http) help: &'static str,
}

impl About {
    /// The whole name, as it is queried; a histogram's without `_bucket`, `_sum` and `_count`.
    #[cfg(test)]
    pub(in crate::http) fn name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}"));
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{}{suffix}", self.stem, unit.unwrap_or_default())
    }
}

macro_rules! metrics {
    ($($metric:ident: $kind:ident $stem:literal $(in $unit:literal)? [$($label:literal),*] $help:literal;)*) => {
        /// Every metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::http) enum Metric {
            $($metric,)*
        }

        impl Metric {
            /// All of them, in the order in which they are shown.
            pub(in crate::http) const ALL: &'static [Self] = &[$(Self::$metric),*];

            /// What is to be known of it.
            pub(in crate::http) fn about(self) -> About {
                match self {
                    $(Self::$metric => About {
                        stem: $stem,
                        kind: Kind::$kind,
                        unit: metrics!(@unit $($unit)?),
                        labels: &[$($label),*],
                        help: $help,
                    },)*
                }
            }
        }
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
}

metrics! {
    SourceRecords: Counter "floodmark_source_records" ["source"]
        "Records read by this run";
    SourceBytes: Counter "floodmark_source" in "bytes" ["source"]
        "Bytes of the values of records read by this run, as fetched and decompressed";
    SourceBatches: Counter "floodmark_source_batches" ["source"]
        "Batches that the records came in";
    LedgerRecords: Counter "floodmark_ledger_records" ["source", "output", "class"]
        "What became of each row for each output, since the pipeline's first start: taken, filtered (by WHERE) or late";
    SourceRefused: Counter "floodmark_source_refused_records" ["source", "class"]
        "Records that are in no result, since the pipeline's first start: bad or null_time; future ones are in results but move no watermark";
    SourceLagRecords: Gauge "floodmark_source_lag_records" ["source", "partition"]
        "Records between where the engine stands and the end of the partition";
    SourceLagSeconds: Gauge "floodmark_source_lag" in "seconds" ["source", "partition"]
        "Age of the last record processed, by the broker's timestamp; 0 when all is read";
    SourceReachable: Gauge "floodmark_source_reachable" ["source"]
        "Whether the source has answered lately";
    WatermarkTimestamp: Gauge "floodmark_watermark_timestamp" in "seconds" ["source"]
        "The source's watermark, in seconds since 1970-01-01T00:00:00Z";
    PartitionWatermarkTimestamp: Gauge "floodmark_partition_watermark_timestamp" in "seconds" ["source", "partition"]
        "The partition's watermark, in seconds since 1970-01-01T00:00:00Z";
    WatermarkLag: Gauge "floodmark_watermark_lag" in "seconds" ["source"]
        "The clock less the source's watermark";
    WatermarkHeldBack: Gauge "floodmark_watermark_held_back" ["source", "partition"]
        "1 for the partition that holds the watermark back, 0 for the others";
    PartitionIdle: Gauge "floodmark_partition_idle" ["source", "partition"]
        "Whether the partition takes no part in the watermark because it has been silent, or has ended";
    OpenWindows: Gauge "floodmark_open_windows" ["output"]
        "Windows that have not fired";
    OpenGroups: Gauge "floodmark_open_groups" ["output"]
        "Groups in open windows";
    FiredWindows: Counter "floodmark_fired_windows" ["output"]
        "Windows that this run has fired";
    State: Gauge "floodmark_state" in "bytes" []
        "Memory that open windows take";
    OutputRows: Counter "floodmark_output_rows" ["output"]
        "Rows that have become visible, since the pipeline's first start";
    OutputFiles: Counter "floodmark_output_files" ["output"]
        "Files that have become visible, since the pipeline's first start";
    OutputBytes: Counter "floodmark_output" in "bytes" ["output"]
        "Bytes that have become visible, since the pipeline's first start";
    OutputRefused: Counter "floodmark_output_refused_rows" ["output"]
        "Rows that the target did not take and that became dead letters";
    OutputQueue: Gauge "floodmark_output_queue_batches" ["output"]
        "Batches that wait for the sink";
    OutputQueueCapacity: Gauge "floodmark_output_queue_capacity_batches" ["output"]
        "Batches that may wait before workers do";
    OutputBlocked: Counter "floodmark_output_blocked" in "seconds" ["output"]
        "How long workers have waited for the sink, all together";
    CommitDuration: Histogram "floodmark_commit_duration" in "seconds" ["output"]
        "How long it took to make rows visible";
    AlertLatency: Histogram "floodmark_alert_latency" in "seconds" ["output"]
        "From a row's event time to the commit that shows it, of stateless outputs to Kafka";
    WindowLatency: Histogram "floodmark_window_latency" in "seconds" ["output"]
        "From a window's end to the commit that shows its last row, of windowed outputs";
    StageCpu: Counter "floodmark_stage_cpu" in "seconds" ["stage"]
        "CPU time by what it was spent on";
    Checkpoints: Counter "floodmark_checkpoints" []
        "Checkpoints completed by this run";
    CheckpointFailures: Counter "floodmark_checkpoint_failures" []
        "Checkpoints that failed in this run; the run ends with the first";
    CheckpointDuration: Histogram "floodmark_checkpoint_duration" in "seconds" []
        "How long a checkpoint took, barrier to last commit";
    CheckpointBytes: Gauge "floodmark_checkpoint" in "bytes" []
        "Bytes of the newest checkpoint's manifest and of the state files it refers to";
    CheckpointEpoch: Gauge "floodmark_checkpoint_epoch" []
        "Number of the newest durable checkpoint";
    CheckpointGeneration: Gauge "floodmark_checkpoint_generation" []
        "Fencing token of this instance; grows with each start";
    CheckpointAge: Gauge "floodmark_checkpoint_age" in "seconds" []
        "Time since the last checkpoint that this run completed, or since its start";
    Retries: Counter "floodmark_retries" ["target"]
        "Requests that a server refused for now or did not answer, and transactions sent again: storage or kafka";
    LostSpans: Counter "floodmark_lost_spans" []
        "Spans of traces that did not reach the collector; 0 without --otlp";
    Ready: Gauge "floodmark_ready" []
        "Whether events flow, as /readyz says";
    MemoryLimit: Gauge "floodmark_memory_limit" in "bytes" []
        "Memory limit of the process's control group; absent without one";
    BuildInfo: Info "floodmark_build" ["version", "pipeline"]
        "Version of Floodmark, and the pipeline that it runs";
    ProcessCpu: Counter "process_cpu" in "seconds" []
        "CPU time, user and system";
    ProcessMemory: Gauge "process_resident_memory" in "bytes" []
        "Memory in use";
    ProcessThreads: Gauge "process_threads" []
        "Threads";
    ProcessFds: Gauge "process_open_fds" []
        "Open descriptors";
    ProcessStart: Gauge "process_start_time" in "seconds" []
        "When the process began to serve, in seconds since 1970-01-01T00:00:00Z";
}
