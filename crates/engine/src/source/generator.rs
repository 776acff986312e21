//! The telemetry simulator as a source: one partition, whose offsets are event numbers.
//!
//! - **The same bytes after every restart.** Event `n` is a function of the source's settings and
//!   of the event time at which the simulation began. That beginning is part of the partition's
//!   name (`generator@1755434096789`, milliseconds), which checkpoints store and give back. A
//!   simulation that begins now begins at the clock; one without a rate begins so much earlier
//!   that its last event lies at the clock, as `floodmark generate` does.
//! - **Paced by the wall clock.** With a rate, event `n` falls due at beginning + n / rate and has
//!   that event time, disorder and lateness aside. After a pause (a restart, a slow sink) the
//!   events that fell due meanwhile come at once, as they would from a topic.
//! - **`count` ends the partition.** It may be changed between restarts; the other settings are
//!   part of the origin and may not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use floodmark_generator::{Batch, Config, Simulator, Spacing, Tally};
use floodmark_pipeline::GeneratorSource;

use super::slices::recycle;
use super::{Connector, PartitionEvent, RawRecord, Reader, SourceError};
use crate::clock::Clock;
use crate::units::{Offset, Partition};

/// The one partition.
const PARTITION: Partition = Partition(0);

/// What comes before the beginning in the partition's name.
const NAME: &str = "generator@";

/// How often a device reports when there is no rate.
const INTERVAL: Duration = Duration::from_secs(1);

/// How far before now a simulation without rate and count begins.
const HEAD_START: Duration = Duration::from_hours(24);

/// Events generated in one poll at most.
const POLL_EVENTS: usize = 65_536;

/// A simulation.
pub struct GeneratorConnector {
    source_name: String,
    settings: GeneratorSource,
    clock: Arc<dyn Clock>,
    /// Event time of event 0, or the partition name of a checkpoint that does not tell.
    start_ms: Mutex<Result<i64, String>>,
}

impl GeneratorConnector {
    /// A simulation with these settings, which begins now unless a checkpoint says otherwise.
    pub fn new(
        source_name: &str,
        settings: &GeneratorSource,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let start_ms = clock.wall_ms().saturating_sub(head_start_ms(settings));
        let connector = Self {
            source_name: source_name.to_owned(),
            settings: settings.clone(),
            clock,
            start_ms: Mutex::new(Ok(start_ms)),
        };
        connector.simulator()?;
        Ok(connector)
    }

    fn begun(&self) -> MutexGuard<'_, Result<i64, String>> {
        // Only ever replaced as a whole.
        self.start_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_ms(&self) -> Result<i64, SourceError> {
        self.begun()
            .clone()
            .map_err(|name| SourceError::Misconfigured {
                attempted: format!(
                    "source '{}': going on with partition '{name}'",
                    self.source_name
                ),
                reason: format!("the name does not say when the simulation began ('{NAME}…')"),
                hint: "Start with a new checkpoint path".to_owned(),
            })
    }

    /// The simulator before its first event.
    fn simulator(&self) -> Result<Simulator, SourceError> {
        Simulator::new(&config(&self.settings, self.start_ms()?)).map_err(|error| {
            SourceError::Misconfigured {
                attempted: format!("source '{}': simulating devices", self.source_name),
                reason: error.to_string(),
                hint: "Correct the source's settings".to_owned(),
            }
        })
    }

    fn require_mine(&self, partition: Partition) -> Result<(), SourceError> {
        if partition == PARTITION {
            return Ok(());
        }
        Err(SourceError::Misconfigured {
            attempted: format!(
                "source '{}': reading partition {partition}",
                self.source_name
            ),
            reason: format!("a generator has partition {PARTITION} only"),
            hint: "Start with a new checkpoint path".to_owned(),
        })
    }
}

/// The simulation that settings ask for.
fn config(settings: &GeneratorSource, start_ms: i64) -> Config {
    Config {
        devices: settings.devices,
        seed: settings.seed,
        start_ms,
        spacing: settings
            .rate
            .map_or(Spacing::Interval(INTERVAL), Spacing::PerSecond),
        anomalies: settings.anomalies,
        late: settings.late,
        bad: settings.bad,
        disorder: settings.disorder,
        lines: false,
    }
}

/// How far before now a simulation begins, so that its events do not lie in the future.
fn head_start_ms(settings: &GeneratorSource) -> i64 {
    let head_start = match (settings.rate, settings.count) {
        (Some(_), _) => Duration::ZERO,
        (None, None) => HEAD_START,
        (None, Some(count)) => config(settings, 0).covered(count),
    };
    i64::try_from(head_start.as_millis()).unwrap_or(i64::MAX)
}

impl Connector for GeneratorConnector {
    fn origin(&self) -> String {
        let GeneratorSource {
            rate,
            devices,
            seed,
            count: _,
            anomalies,
            late,
            bad,
            disorder,
        } = &self.settings;
        let spacing = rate.map_or_else(|| "max".to_owned(), |rate| rate.to_string());
        format!(
            "generator rate={spacing} devices={devices} seed={seed} anomalies={anomalies} \
             late={late} bad={bad} disorder={}ms",
            disorder.as_millis()
        )
    }

    fn topic(&self, _partition: Partition) -> String {
        match &*self.begun() {
            Ok(start_ms) => format!("{NAME}{start_ms}"),
            Err(name) => name.clone(),
        }
    }

    fn adopt(&self, names: &[(Partition, String)]) {
        let Some((_, name)) = names.iter().find(|(partition, _)| *partition == PARTITION) else {
            return;
        };
        let start_ms = name
            .strip_prefix(NAME)
            .and_then(|start_ms| start_ms.parse().ok());
        *self.begun() = start_ms.ok_or_else(|| name.clone());
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        self.start_ms()?;
        Ok(vec![PARTITION])
    }

    fn start(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.start_of_new(partitions)
    }

    fn start_of_new(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        Ok(partitions
            .iter()
            .map(|partition| (*partition, Offset(0)))
            .collect())
    }

    fn resume(
        &self,
        positions: &[(Partition, Offset)],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        positions
            .iter()
            .try_for_each(|(partition, _)| self.require_mine(*partition))?;
        Ok(positions.to_vec())
    }

    /// The count if there is one; otherwise what has fallen due. Events without rate and count
    /// are made as they are asked for, so none stands there yet.
    fn ends(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        let end = match (self.settings.count, self.settings.rate) {
            (Some(count), _) => count,
            (None, Some(rate)) => due(rate, self.start_ms()?, self.clock.wall_ms()),
            (None, None) => 0,
        };
        Ok(partitions
            .iter()
            .map(|partition| (*partition, offset(end)))
            .collect())
    }

    fn reader(&self, positions: &[(Partition, Offset)]) -> Result<Box<dyn Reader>, SourceError> {
        let mut reader = GeneratorReader {
            fresh: self.simulator()?,
            simulator: None,
            start_ms: self.start_ms()?,
            rate: self.settings.rate,
            count: self.settings.count,
            clock: Arc::clone(&self.clock),
            batch: Batch::default(),
            records: Vec::new(),
            reported: None,
            ended: false,
        };
        positions
            .iter()
            .try_for_each(|(partition, _)| self.require_mine(*partition))?;
        reader.assign(positions)?;
        Ok(Box::new(reader))
    }

    fn show_positions(&self, _positions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        Ok(())
    }
}

/// How many events have fallen due. The first one does at the very beginning.
fn due(rate: f64, start_ms: i64, wall_ms: i64) -> u64 {
    match u64::try_from(wall_ms.saturating_sub(start_ms)) {
        // Saturates where it would overflow.
        Ok(passed) => (passed as f64 / 1_000.0 * rate) as u64 + 1,
        Err(_) => 0,
    }
}

fn offset(event: u64) -> Offset {
    Offset(i64::try_from(event).unwrap_or(i64::MAX))
}

/// Generates events.
struct GeneratorReader {
    /// Stands before the first event.
    fresh: Simulator,
    /// Stands at the next event; `None` until the partition is assigned.
    simulator: Option<Simulator>,
    start_ms: i64,
    rate: Option<f64>,
    count: Option<u64>,
    clock: Arc<dyn Clock>,
    batch: Batch,
    /// Empty between polls; keeps its allocation.
    records: Vec<RawRecord<'static>>,
    /// The position that was last reported as caught up.
    reported: Option<u64>,
    ended: bool,
}

impl GeneratorReader {
    /// How many events there are by now.
    fn available(&self, wall_ms: i64) -> u64 {
        let due = self
            .rate
            .map_or(u64::MAX, |rate| due(rate, self.start_ms, wall_ms));
        due.min(self.count.unwrap_or(u64::MAX))
    }

    fn emit(&mut self, events: usize, wall_ms: i64, on_records: &mut dyn FnMut(&[RawRecord<'_>])) {
        let Some(simulator) = &mut self.simulator else {
            return;
        };
        let first = simulator.position();
        simulator.fill(&mut self.batch, events, &mut Tally::default());
        let mut records = std::mem::take(&mut self.records);
        let numbered = (first..).zip(self.batch.records());
        records.extend(numbered.map(|(event, (key, value))| RawRecord {
            partition: PARTITION,
            offset: offset(event),
            timestamp_ms: wall_ms,
            key: Some(key),
            value: Some(value),
        }));
        on_records(&records);
        self.records = recycle(records);
    }

    /// What there is to report at this position.
    fn report(&mut self, position: u64, available: u64) -> Vec<PartitionEvent> {
        let mut events = Vec::new();
        if position >= available && self.reported != Some(position) {
            self.reported = Some(position);
            events.push(PartitionEvent::CaughtUp {
                partition: PARTITION,
                next: offset(position),
            });
        }
        if self.count.is_some_and(|count| position >= count) && !self.ended {
            self.ended = true;
            events.push(PartitionEvent::Ended {
                partition: PARTITION,
            });
        }
        events
    }
}

impl Reader for GeneratorReader {
    fn poll(
        &mut self,
        timeout: Duration,
        max: usize,
        on_records: &mut dyn FnMut(&[RawRecord<'_>]),
    ) -> Result<Vec<PartitionEvent>, SourceError> {
        let Some(position) = self.simulator.as_ref().map(Simulator::position) else {
            std::thread::park_timeout(timeout);
            return Ok(Vec::new());
        };
        let wall_ms = self.clock.wall_ms();
        let available = self.available(wall_ms);
        let events = available
            .saturating_sub(position)
            .min(max.clamp(1, POLL_EVENTS) as u64);
        if events > 0 {
            self.emit(events as usize, wall_ms, on_records);
        }
        let learned = self.report(position + events, available);
        if events == 0 && learned.is_empty() {
            std::thread::park_timeout(timeout);
        }
        Ok(learned)
    }

    fn assign(&mut self, partitions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        for (_, next) in partitions {
            let mut simulator = self.fresh.clone();
            // There is nothing before the first event.
            simulator.skip(u64::try_from(next.0).unwrap_or(0));
            self.simulator = Some(simulator);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
