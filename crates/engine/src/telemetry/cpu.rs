//! CPU time of a thread, told apart by what it was spent on.
//!
//! Asking the system for a thread's CPU time costs a system call, about as much as decoding three
//! records, so it is asked twice a batch: between two batches the time was spent on fetching, and what
//! a batch took is divided among its stages by how long each lasted, which costs next to nothing to
//! measure. While nothing else preempts the thread the two agree.
#![allow(
    unsafe_code,
    reason = "the standard library has no clock of a thread's CPU time"
)]

use std::time::{Duration, Instant};

use serde::Serialize;

/// What a worker's batch goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Bytes to columns, dead letters, watermark.
    Decode,
    /// Steps of queries.
    Sql,
    /// Aggregation.
    Window,
}

/// CPU time of a worker by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StageTimes {
    /// Polling sources, and everything between batches.
    pub fetch: Duration,
    /// See [`Stage::Decode`].
    pub decode: Duration,
    /// See [`Stage::Sql`].
    pub sql: Duration,
    /// See [`Stage::Window`].
    pub window: Duration,
}

impl std::ops::AddAssign for StageTimes {
    fn add_assign(&mut self, other: Self) {
        self.fetch += other.fetch;
        self.decode += other.decode;
        self.sql += other.sql;
        self.window += other.window;
    }
}

/// Divides a thread's CPU time among stages. Belongs to the thread that it measures.
#[derive(Debug)]
pub struct StageMeter {
    times: StageTimes,
    /// The thread's CPU time when it was last asked for.
    asked: Duration,
    /// When the current stage began.
    since: Instant,
    /// How long each stage of the current batch lasted.
    decode: Duration,
    sql: Duration,
    window: Duration,
}

impl StageMeter {
    /// A meter of the calling thread.
    pub fn new() -> Self {
        Self {
            times: StageTimes::default(),
            asked: thread_cpu(),
            since: Instant::now(),
            decode: Duration::ZERO,
            sql: Duration::ZERO,
            window: Duration::ZERO,
        }
    }

    /// What has been measured.
    pub fn times(&self) -> StageTimes {
        self.times
    }

    /// A batch begins, or a poll has brought none: what was spent since the last one was fetching.
    pub fn fetched(&mut self) {
        let spent = self.ask();
        self.times.fetch += spent;
        self.since = Instant::now();
    }

    /// What has passed since the last call belongs to `stage`.
    pub fn spent_on(&mut self, stage: Stage) {
        let lasted = self.lap();
        match stage {
            Stage::Decode => self.decode += lasted,
            Stage::Sql => self.sql += lasted,
            Stage::Window => self.window += lasted,
        }
    }

    /// What has passed since the last call was waiting.
    pub fn waited(&mut self) {
        self.lap();
    }

    /// The batch is through.
    pub fn finished(&mut self) {
        let spent = self.ask();
        let lasted = self.decode + self.sql + self.window;
        let share = |of: Duration| match lasted.as_secs_f64() {
            all if all > 0.0 => spent.mul_f64(of.as_secs_f64() / all),
            _ => Duration::ZERO,
        };
        self.times.decode += share(self.decode);
        self.times.sql += share(self.sql);
        self.times.window += share(self.window);
        self.decode = Duration::ZERO;
        self.sql = Duration::ZERO;
        self.window = Duration::ZERO;
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.since, now))
    }

    fn ask(&mut self) -> Duration {
        let now = thread_cpu();
        now.saturating_sub(std::mem::replace(&mut self.asked, now))
    }
}

impl Default for StageMeter {
    fn default() -> Self {
        Self::new()
    }
}

/// CPU time of the calling thread; zero where the system does not say.
pub(crate) fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writes and outlives the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spends CPU time of this thread.
    fn work(until: Duration) {
        let from = thread_cpu();
        while thread_cpu().saturating_sub(from) < until {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn cpu_time_is_told_apart_by_stage_and_waiting_is_none() {
        let mut meter = StageMeter::new();
        work(Duration::from_millis(10));
        meter.fetched();
        work(Duration::from_millis(30));
        meter.spent_on(Stage::Decode);
        work(Duration::from_millis(10));
        meter.spent_on(Stage::Window);
        std::thread::park_timeout(Duration::from_millis(50));
        meter.waited();
        meter.finished();
        let times = meter.times();
        assert!(times.fetch >= Duration::from_millis(10), "{times:?}");
        assert!(times.decode > Duration::ZERO, "{times:?}");
        assert_eq!(times.sql, Duration::ZERO);
        let in_batch = times.decode + times.window;
        // The waiting, had it counted, would have doubled it.
        assert!(in_batch >= Duration::from_millis(40), "{times:?}");
        assert!(in_batch < Duration::from_millis(80), "{times:?}");
    }
}
