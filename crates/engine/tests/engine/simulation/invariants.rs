//! What must hold after every step of a simulation.
//!
//! | name | says |
//! |---|---|
//! | INV-ONCE | no row is visible twice in an output |
//! | INV-PREFIX | the rows of a partition that are ahead of checkpoints show in order and without a gap |
//! | INV-MANIFEST-FIRST | a row that goes with checkpoints shows only when a durable manifest is past it |
//! | INV-NOTE | `newest` names a checkpoint that is there or was, and a row that goes with checkpoints shows only when one that is past it has been named |
//! | INV-ACCOUNT | every row that the newest manifest is past is visible, or in the work that it lists, and in no two places of it |
//! | INV-ATOMIC | the rows of an epoch that go to Kafka show all or none |
//! | INV-CHAIN | manifests follow each other without a gap, generations never go back, and each is one instance's |
//! | INV-NAME | no file's name is given twice, and no visible file is replaced by other bytes |
//! | INV-STAGED | the staged bytes of a file that the newest manifest lists are there until the file shows |
//! | INV-FILES | the newest manifest and what it refers to are there |
//! | INV-CALM | no instance fails where no request does, and none ever over something lost or damaged |
//! | INV-FENCED | where no request meets a fault, an instance ends as fenced only if another one has taken over |
//! | INV-LIVE | an instance that nobody takes over from finishes |
//! | INV-END | once all but one instance are gone and it has finished, every row is visible, and the newest manifest has no work |

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use floodmark_engine::checkpoint::{Manifest, StateFile, decode_batches, decode_manifest};
use floodmark_engine::sink::parquet::protocol::Work;
use floodmark_engine::units::{Epoch, Generation, Partition};
use rand::Rng;
use rand::rngs::SmallRng;

use super::instance::{ALERTS, CURATED, LATE, SOURCE, name, rows_of};
use super::world::InstanceId;

/// Sees everything that changes in a world, and what is wrong with it.
pub(super) struct Observer {
    partitions: usize,
    length: usize,
    visible: BTreeMap<&'static str, Vec<bool>>,
    /// Next row of each partition that may show ahead of checkpoints.
    ahead: Vec<usize>,
    newest: Option<Manifest>,
    /// Next offsets of each partition in the latest manifest that the note has named.
    noted: (Epoch, Vec<i64>),
    /// The same of each manifest.
    manifests: BTreeMap<Epoch, Vec<i64>>,
    /// Rows of each state file that is there, batch by batch.
    states: HashMap<String, Vec<Vec<usize>>>,
    /// Rows of each file that was ever staged.
    staged: HashMap<String, Vec<usize>>,
    owners: BTreeMap<Generation, String>,
    violation: Option<String>,
}

impl Observer {
    /// A log of a size that the seed says.
    pub(super) fn draw(rng: &mut SmallRng) -> Self {
        let partitions = rng.random_range(1..3);
        let length = rng.random_range(2..8);
        let none = || vec![false; partitions * length];
        Self {
            partitions,
            length,
            visible: [CURATED, ALERTS, LATE]
                .map(|output| (output, none()))
                .into(),
            ahead: vec![0; partitions],
            newest: None,
            noted: (Epoch(0), vec![0; partitions]),
            manifests: BTreeMap::new(),
            states: HashMap::new(),
            staged: HashMap::new(),
            owners: BTreeMap::new(),
            violation: None,
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions
    }

    /// Records in each partition.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The number of a partition's row.
    pub(super) fn row(&self, partition: usize, offset: usize) -> usize {
        partition * self.length + offset
    }

    /// Whether the newest manifest is this instance's.
    pub(super) fn owns(&self, id: InstanceId) -> bool {
        let newest = self.newest.as_ref();
        newest.is_some_and(|newest| newest.instance == name(id))
    }

    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Notes what is wrong; the first is what counts.
    pub(super) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Whether the newest manifest is past a row.
    fn is_past(&self, row: usize) -> bool {
        let (partition, offset) = (row / self.length, row % self.length);
        self.newest.as_ref().is_some_and(|newest| {
            let source = &newest.sources[SOURCE];
            let state = source.partitions.get(&Partition(partition as i32));
            state.is_some_and(|state| (offset as i64) < state.next.0)
        })
    }

    fn show(&mut self, output: &'static str, rows: &[usize]) {
        for row in rows {
            let seen = &mut self.visible.get_mut(output).expect("an output")[*row];
            if std::mem::replace(seen, true) {
                self.violated(format!("INV-ONCE: row {row} shows twice in {output}"));
            }
            if output != ALERTS && !self.is_past(*row) {
                self.violated(format!(
                    "INV-MANIFEST-FIRST: row {row} shows in {output} before its manifest"
                ));
            }
            let (partition, offset) = (*row / self.length, *row % self.length);
            if output != ALERTS && self.noted.1[partition] <= offset as i64 {
                self.violated(format!(
                    "INV-NOTE: row {row} shows in {output} before its manifest is noted"
                ));
            }
        }
    }

    /// A transaction was committed.
    pub(super) fn records_visible(&mut self, topic: &str, rows: &[usize]) {
        if topic == LATE {
            self.show(LATE, rows);
            return;
        }
        self.show(ALERTS, rows);
        for row in rows {
            let (partition, offset) = (row / self.length, row % self.length);
            let next = &mut self.ahead[partition];
            let in_order = std::mem::replace(next, offset + 1) == offset;
            if !in_order {
                self.violated(format!("INV-PREFIX: row {row} shows out of its order"));
            }
        }
    }

    /// An instance is about to stage a file.
    pub(super) fn staging(&mut self, name: &str, rows: &[usize]) {
        if self.staged.insert(name.to_owned(), rows.to_vec()).is_some() {
            self.violated(format!("INV-NAME: {name} is given a second time"));
        }
    }

    /// A staged file was copied to its name; to do that again changes nothing.
    pub(super) fn file_visible(&mut self, name: &str, bytes: &Bytes, replaced: Option<&Bytes>) {
        match replaced {
            Some(same) if same == bytes => return,
            Some(_) => self.violated(format!("INV-NAME: {name} replaces a visible file")),
            None => {}
        }
        let rows: Vec<usize> = bytes.chunks(4).map(number).collect();
        self.show(CURATED, &rows);
    }

    pub(super) fn object_deleted(&mut self, bucket: &str, path: &str) {
        let listed = self.newest.as_ref().is_some_and(|newest| {
            newest.files.contains_key(path) || epoch_of(path) == Some(newest.epoch)
        });
        if bucket == "checkpoint" && listed {
            self.violated(format!(
                "INV-FILES: {path} is deleted, the newest manifest needs it"
            ));
        }
        self.states.remove(path);
        if let Some(name) = published_name(path)
            && self.is_pending(name)
        {
            self.violated(format!(
                "INV-STAGED: {path} is deleted, and {name} does not show"
            ));
        }
    }

    /// Whether the newest manifest lists a file that does not show yet.
    fn is_pending(&self, name: &str) -> bool {
        let newest = self.newest.as_ref();
        let sink = newest.and_then(|newest| newest.sinks.get(CURATED));
        let listed = sink.is_some_and(|sink| {
            let work: Work = serde_json::from_value(sink.work.clone()).unwrap_or_default();
            work.files.iter().any(|file| file.staged.name == name)
        });
        let shows = |row: &usize| self.visible[CURATED][*row];
        listed && !self.staged[name].iter().all(shows)
    }

    pub(super) fn object_put(&mut self, bucket: &str, path: &str, bytes: &Bytes) {
        if bucket == "output" {
            assert!(published_name(path).is_some(), "files are staged: {path}");
            return;
        }
        if path.starts_with("state/") {
            let file = StateFile {
                bytes: bytes.len() as u64,
                crc32: crc32fast::hash(bytes),
            };
            let batches = decode_batches(bytes, &file).expect("what was just encoded");
            let rows: Vec<Vec<usize>> = batches.iter().map(rows_of).collect();
            let before = self.states.insert(path.to_owned(), rows.clone());
            if before.is_some_and(|before| before != rows) {
                self.violated(format!("INV-NAME: {path} is replaced by other rows"));
            }
            return;
        }
        if path == "newest" {
            self.note(bytes);
            return;
        }
        let manifest = decode_manifest(bytes).expect("what was just encoded");
        let positions = manifest.sources[SOURCE].partitions.values();
        let positions = positions.map(|state| state.next.0).collect();
        self.manifests.insert(manifest.epoch, positions);
        if self
            .newest
            .as_ref()
            .is_none_or(|newest| newest.epoch < manifest.epoch)
        {
            if let Err(what) = self.check(&manifest) {
                let epoch = manifest.epoch;
                self.violated(format!("{what} (manifest {epoch})"));
            }
            self.newest = Some(manifest);
        }
    }

    /// The name of the newest checkpoint is written down. An instance that has slept may be late with
    /// an older one.
    fn note(&mut self, bytes: &Bytes) {
        let text = std::str::from_utf8(bytes).expect("a number");
        let epoch = Epoch(text.trim_end().parse().expect("a number"));
        match self.manifests.get(&epoch) {
            None => self.violated(format!("INV-NOTE: {epoch} is noted, and was never put")),
            Some(positions) if epoch > self.noted.0 => self.noted = (epoch, positions.clone()),
            Some(_) => {}
        }
    }

    fn check(&mut self, manifest: &Manifest) -> Result<(), String> {
        let generation = manifest.generation;
        let before = self.newest.as_ref().map_or(Epoch(0), |newest| newest.epoch);
        if before.next() != manifest.epoch {
            return Err(format!("INV-CHAIN: it comes after manifest {before}"));
        }
        if self
            .owners
            .keys()
            .next_back()
            .is_some_and(|newest| *newest > generation)
        {
            return Err(format!(
                "INV-CHAIN: generation {generation} after a later one"
            ));
        }
        let owner = self
            .owners
            .entry(generation)
            .or_insert_with(|| manifest.instance.clone());
        if *owner != manifest.instance {
            return Err(format!(
                "INV-CHAIN: generation {generation} is also {owner}'s"
            ));
        }
        if let Some(gone) = manifest
            .files
            .keys()
            .find(|file| !self.states.contains_key(*file))
        {
            return Err(format!("INV-FILES: {gone} is not there"));
        }
        self.check_files(manifest)?;
        self.check_records(manifest)
    }

    /// INV-ACCOUNT for files.
    fn check_files(&self, manifest: &Manifest) -> Result<(), String> {
        let mut pending = vec![false; self.partitions * self.length];
        let mut add = |row: usize, may_show: bool| {
            if std::mem::replace(&mut pending[row], true) {
                return Err(format!("INV-ACCOUNT: row {row} waits in two places"));
            }
            if !may_show && self.visible[CURATED][row] {
                return Err(format!("INV-ACCOUNT: row {row} waits, and shows already"));
            }
            Ok(())
        };
        for window in manifest.windows.values() {
            for chunk in window.open.values().flatten() {
                let rows = &self.states[&chunk.file][chunk.batch];
                rows.iter().try_for_each(|row| add(*row, false))?;
            }
        }
        if let Some(sink) = manifest.sinks.get(CURATED) {
            let carried = sink.carried.iter().flat_map(|file| &self.states[file]);
            carried.flatten().try_for_each(|row| add(*row, false))?;
            let work: Work = serde_json::from_value(sink.work.clone()).unwrap_or_default();
            for file in &work.files {
                let rows = &self.staged[&file.staged.name];
                rows.iter().try_for_each(|row| add(*row, true))?;
            }
        }
        self.check_all(manifest, CURATED, &pending)
    }

    /// INV-ACCOUNT and INV-ATOMIC for an epoch's transaction.
    fn check_records(&self, manifest: &Manifest) -> Result<(), String> {
        let mut pending = vec![false; self.partitions * self.length];
        let carried = manifest
            .sinks
            .get(LATE)
            .and_then(|sink| sink.carried.as_ref());
        for row in carried
            .iter()
            .flat_map(|file| self.states[*file].iter().flatten())
        {
            pending[*row] = true;
        }
        let rows = (0..pending.len()).filter(|row| pending[*row]);
        let shown: Vec<bool> = rows.map(|row| self.visible[LATE][row]).collect();
        if shown.contains(&true) && shown.contains(&false) {
            return Err("INV-ATOMIC: a part of an epoch shows".to_owned());
        }
        self.check_all(manifest, LATE, &pending)
    }

    fn check_all(&self, manifest: &Manifest, output: &str, pending: &[bool]) -> Result<(), String> {
        for (partition, state) in &manifest.sources[SOURCE].partitions {
            for offset in 0..self.length {
                let row = self.row(partition.0 as usize, offset);
                let past = (offset as i64) < state.next.0;
                let there = self.visible[output][row] || pending[row];
                if past != there {
                    let is = if past { "lost" } else { "there too early" };
                    return Err(format!("INV-ACCOUNT: row {row} of {output} is {is}"));
                }
            }
        }
        Ok(())
    }

    /// INV-END.
    pub(super) fn check_end(&mut self) {
        for (output, visible) in &self.visible {
            if let Some(row) = visible.iter().position(|visible| !visible) {
                let what = format!("INV-END: row {row} never shows in {output}");
                self.violation.get_or_insert(what);
            }
        }
        let newest = self
            .newest
            .as_ref()
            .expect("the last instance has finished");
        let work = newest.sinks.values();
        if work
            .into_iter()
            .any(|sink| !sink.work.is_null() || sink.carried.is_some())
        {
            self.violated("INV-END: the last manifest has work".to_owned());
        }
    }
}

/// The name that a staged file will have.
fn published_name(path: &str) -> Option<&str> {
    path.strip_prefix("_staged/")?.strip_suffix(".staged")
}

/// The epoch in a manifest's path.
fn epoch_of(path: &str) -> Option<Epoch> {
    let number = path.strip_prefix("manifest/")?.strip_suffix(".json")?;
    number.parse().ok().map(Epoch)
}

/// A number of a file's bytes.
fn number(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize
}
