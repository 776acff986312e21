//! What a checkpoint says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::sink::Committed;
use crate::units::{Epoch, EventMicros, Generation, Offset, Partition};
use crate::watermark::Watermark;

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the pipeline.
    pub pipeline: String,
    /// This checkpoint's number.
    pub epoch: Epoch,
    /// Fencing token of the instance that wrote it.
    pub generation: Generation,
    /// A name for that instance, unique among all that ever ran: tells one's own write from
    /// another's after a lost response.
    pub instance: String,
    /// The instance that wrote the first checkpoint of this chain. Marks that sinks leave outside
    /// (Kafka cursors and stamps) count only within one lineage: a pipeline that starts over with a
    /// new checkpoint path sends its rows again.
    pub lineage: String,
    /// Wall clock at the barrier, milliseconds since the epoch.
    pub created_ms: i64,
    /// Version of Floodmark that wrote it.
    pub version: String,
    /// By source.
    pub sources: BTreeMap<String, SourceState>,
    /// Open windows, by output.
    pub windows: BTreeMap<String, WindowState>,
    /// By sink.
    pub sinks: BTreeMap<String, SinkState>,
    /// The state files this manifest refers to.
    pub files: BTreeMap<String, StateFile>,
}

/// Where a source stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceState {
    /// What the source reads (topic, paths): another origin makes the offsets meaningless.
    pub origin: String,
    /// By partition.
    pub partitions: BTreeMap<Partition, PartitionState>,
    /// Windows that end at or before this have fired.
    pub fired: Option<Watermark>,
    /// Where every record went, since the first start.
    pub ledger: Ledger,
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionState {
    /// What the partition is called in the source; files have paths.
    pub name: String,
    /// The position to read from.
    pub next: Offset,
    /// Its watermark.
    pub watermark: Option<Watermark>,
    /// Set once the partition was found made anew: the instance that found it so. Marks of the
    /// partition that sinks left outside count only if they carry this name in the lineage's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_by: Option<String>,
}

/// Open windows of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowState {
    /// Changes if and only if another query could not continue with this state.
    pub fingerprint: String,
    /// Chunks, by window start.
    pub open: BTreeMap<EventMicros, Vec<ChunkRef>>,
    /// Starts of windows that were closed by request although the watermark may not follow them:
    /// only rows too far in the future had opened them. Their rows are late.
    pub closed: BTreeSet<EventMicros>,
}

/// A batch in a state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkRef {
    /// Name of the file.
    pub file: String,
    /// Which of its batches.
    pub batch: usize,
    /// Rows that went into it, for people.
    #[serde(default)]
    pub rows: u64,
}

/// What a sink has to do, and has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkState {
    /// The epoch whose work this is. Taking over carries the work along under a later manifest;
    /// what the sink stamped its effects with is this one.
    pub epoch: Epoch,
    /// The sink's pre-committed work, in its own words.
    pub work: serde_json::Value,
    /// State file with the rows the sink carries.
    pub carried: Option<String>,
    /// What had become visible before this checkpoint, since the first start.
    pub committed: Committed,
}

/// A state file as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFile {
    /// Bytes.
    pub bytes: u64,
    /// CRC-32 of the bytes.
    pub crc32: u32,
}

/// A manifest's place in the chain of its pipeline's checkpoints.
#[derive(Debug, Clone)]
pub(super) struct Link {
    epoch: Epoch,
    generation: Generation,
    instance: String,
    lineage: String,
    pipeline: String,
}

impl Link {
    /// INV-CHAIN, seen from outside: generations never go back, but for a claim that has lost its
    /// race. No more can be said of what is read: an instance that slept may find the number free again
    /// that it had wanted, and its manifest is there until it has seen that there are later ones, or
    /// for good if it dies before. If it was about to take over, it names the generation after the
    /// owner's, which may still be the newest one's.
    pub(super) fn check_before(&self, later: &Self) -> Result<(), String> {
        if self.generation <= later.generation.next() {
            return Ok(());
        }
        let (before, after) = (self.describe(), later.describe());
        Err(format!("INV-CHAIN: {before} comes before {after}"))
    }

    /// INV-CHAIN, of what an instance has read or put last and what it puts next: no number is left
    /// out, lineage and pipeline stay, and the next generation is another instance's.
    pub(super) fn check_next(&self, next: &Self) -> Result<(), String> {
        let goes_on = self.generation == next.generation && self.instance == next.instance;
        let takes_over =
            self.generation.next() == next.generation && self.instance != next.instance;
        let is_one_chain = self.lineage == next.lineage && self.pipeline == next.pipeline;
        if self.epoch.next() == next.epoch && is_one_chain && (goes_on || takes_over) {
            return Ok(());
        }
        let (before, after) = (self.describe(), next.describe());
        Err(format!("INV-CHAIN: {before} is not followed by {after}"))
    }

    fn describe(&self) -> String {
        format!(
            "checkpoint {} of pipeline '{}' (lineage {}, generation {}, instance {})",
            self.epoch, self.pipeline, self.lineage, self.generation, self.instance
        )
    }
}

impl Manifest {
    /// Its place in the chain.
    pub(super) fn link(&self) -> Link {
        Link {
            epoch: self.epoch,
            generation: self.generation,
            instance: self.instance.clone(),
            lineage: self.lineage.clone(),
            pipeline: self.pipeline.clone(),
        }
    }

    /// A manifest without content, the first of a lineage of its own.
    pub(crate) fn blank(
        pipeline: &str,
        epoch: Epoch,
        generation: Generation,
        instance: &str,
        created_ms: i64,
    ) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            epoch,
            generation,
            instance: instance.to_owned(),
            lineage: instance.to_owned(),
            created_ms,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sources: BTreeMap::new(),
            windows: BTreeMap::new(),
            sinks: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// The manifest after this one, whose work is done: nothing is left to commit, so the pipeline
    /// file may change freely until the next start.
    pub(crate) fn settled(mut self) -> Self {
        self.epoch = self.epoch.next();
        for sink in self.sinks.values_mut() {
            sink.work = serde_json::Value::Null;
            sink.carried = None;
        }
        let chunks = self
            .windows
            .values()
            .flat_map(|window| window.open.values().flatten());
        let referred: BTreeSet<&String> = chunks.map(|chunk| &chunk.file).collect();
        self.files.retain(|file, _| referred.contains(file));
        self
    }

    /// Next offsets by source and partition, as JSON for people.
    pub fn describe_offsets(&self) -> String {
        let sources = self.sources.iter().map(|(name, source)| {
            let partitions = source.partitions.iter();
            let next: serde_json::Map<String, serde_json::Value> = partitions
                .map(|(partition, state)| (partition.to_string(), state.next.0.into()))
                .collect();
            (name.clone(), next.into())
        });
        serde_json::Value::Object(sources.collect()).to_string()
    }

    /// Checks what must hold for a manifest to be written or trusted:
    /// INV-LEDGER; INV-EPOCH: the work of a sink is this epoch's or an earlier one's, carried along;
    /// and INV-FILES: every file that is referred to is listed, and no other.
    pub fn check(&self) -> Result<(), String> {
        for (name, sink) in &self.sinks {
            if sink.epoch > self.epoch {
                let (work, ours) = (sink.epoch, self.epoch);
                return Err(format!(
                    "INV-EPOCH: checkpoint {ours} lists work of '{name}' for checkpoint {work}"
                ));
            }
        }
        for (name, source) in &self.sources {
            source.ledger.check(name).map_err(|e| e.to_string())?;
        }
        let chunks = self
            .windows
            .values()
            .flat_map(|w| w.open.values().flatten());
        let mut referred: BTreeSet<&str> = chunks.map(|c| c.file.as_str()).collect();
        referred.extend(self.sinks.values().filter_map(|s| s.carried.as_deref()));
        let listed: BTreeSet<&str> = self.files.keys().map(String::as_str).collect();
        if referred != listed {
            return Err(format!(
                "INV-FILES: files referred to and files listed differ: {:?}",
                referred.symmetric_difference(&listed).collect::<Vec<_>>()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::OutputLedger;

    fn link(epoch: u64, generation: u64, instance: &str) -> Link {
        let (epoch, generation) = (Epoch(epoch), Generation(generation));
        let mut manifest = Manifest::blank("p", epoch, generation, instance, 0);
        manifest.lineage = "chain".to_owned();
        manifest.link()
    }

    #[test]
    fn an_instance_goes_on_or_takes_over_and_leaves_no_number_out() {
        let last = link(7, 2, "second");
        assert_eq!(last.check_next(&link(8, 2, "second")), Ok(()));
        assert_eq!(last.check_next(&link(8, 3, "third")), Ok(()));
        for wrong in [
            link(9, 2, "second"),
            link(7, 2, "second"),
            link(8, 2, "third"),
            link(8, 3, "second"),
            link(8, 4, "third"),
            link(8, 1, "first"),
            Link {
                lineage: "another".to_owned(),
                ..link(8, 2, "second")
            },
            Link {
                pipeline: "another".to_owned(),
                ..link(8, 2, "second")
            },
        ] {
            let refused = last.check_next(&wrong).expect_err("it does not follow");
            assert!(refused.starts_with("INV-CHAIN"), "{refused}");
        }
    }

    #[test]
    fn a_generation_that_goes_back_is_found_and_a_race_for_a_claim_is_none() {
        let newest = link(7, 2, "second");
        assert_eq!(link(5, 2, "too late").check_before(&newest), Ok(()));
        assert_eq!(link(6, 1, "first").check_before(&newest), Ok(()));
        assert_eq!(link(5, 3, "died at it").check_before(&newest), Ok(()));
        let refused = link(6, 4, "fourth").check_before(&newest);
        assert!(refused.is_err_and(|reason| reason.starts_with("INV-CHAIN")));
    }

    /// Manifests with all of their parts.
    pub(in crate::checkpoint) fn any_manifest() -> impl Strategy<Value = Manifest> {
        let partition = (any::<i64>(), prop::option::of(any::<i64>()), any::<bool>());
        let partition = partition.prop_map(|(next, mark, renewed)| PartitionState {
            name: "topic".to_owned(),
            next: Offset(next),
            watermark: mark.map(Watermark),
            renewed_by: renewed.then(|| "another".to_owned()),
        });
        let partitions =
            prop::collection::btree_map(any::<i32>().prop_map(Partition), partition, 0..4);
        let starts = prop::collection::btree_set(any::<i64>(), 0..4);
        (partitions, starts, any::<u32>(), any::<bool>(), ".{0,9}").prop_map(
            |(partitions, starts, read, carries, text)| {
                let chunk = |batch| ChunkRef {
                    file: "state/w".to_owned(),
                    batch,
                    rows: u64::from(read),
                };
                let open: BTreeMap<_, _> = starts
                    .into_iter()
                    .enumerate()
                    .map(|(i, s)| (EventMicros(s), vec![chunk(i)]))
                    .collect();
                let mut files = BTreeMap::new();
                let file = StateFile {
                    bytes: 7,
                    crc32: read,
                };
                if !open.is_empty() {
                    files.insert("state/w".to_owned(), file.clone());
                }
                if carries {
                    files.insert("state/c".to_owned(), file);
                }
                let taken = OutputLedger {
                    taken: u64::from(read),
                    filtered: 0,
                    late: 0,
                };
                let source = SourceState {
                    origin: text.clone(),
                    partitions,
                    fired: None,
                    ledger: Ledger {
                        read: u64::from(read),
                        outputs: [("w".to_owned(), taken)].into(),
                        ..Ledger::default()
                    },
                };
                let window = WindowState {
                    fingerprint: text.clone(),
                    open,
                    closed: [EventMicros(9)].into(),
                };
                let sink = SinkState {
                    epoch: Epoch(u64::from(read)),
                    work: serde_json::json!([text]),
                    carried: carries.then(|| "state/c".to_owned()),
                    committed: Committed::default(),
                };
                Manifest {
                    pipeline: text.clone(),
                    epoch: Epoch(u64::from(read)),
                    generation: Generation(1),
                    instance: text.clone(),
                    lineage: text,
                    created_ms: 0,
                    version: "1".to_owned(),
                    sources: [("s".to_owned(), source)].into(),
                    windows: [("w".to_owned(), window)].into(),
                    sinks: [("w".to_owned(), sink)].into(),
                    files,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_file_that_is_not_listed_or_not_referred_to_is_found(manifest in any_manifest()) {
            prop_assert_eq!(manifest.check(), Ok(()));
            let mut more = manifest.clone();
            more.files.insert("state/other".to_owned(), StateFile { bytes: 0, crc32: 0 });
            prop_assert!(more.check().is_err());
            let mut less = manifest;
            if less.files.pop_first().is_some() {
                prop_assert!(less.check().is_err());
            }
        }
    }
}
