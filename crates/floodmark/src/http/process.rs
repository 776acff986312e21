//! The process as the system sees it. What the system does not say is `None`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::os;

/// The process at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    /// CPU time, user and system.
    pub(super) cpu_seconds: f64,
    /// Memory in use.
    pub(super) resident_bytes: Option<u64>,
    /// The control group's limit, if it has one.
    pub(super) memory_limit_bytes: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Open descriptors.
    pub(super) open_fds: Option<u64>,
    /// CPU seconds of threads that are not the engine's workers and sinks, by what they do.
    pub(super) others: BTreeMap<&'static str, f64>,
}

/// Asks the system.
pub(super) fn usage() -> Usage {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Usage {
        cpu_seconds: os::usage().cpu.as_secs_f64(),
        resident_bytes: field(&status, "VmRSS:").map(|kib| kib * 1024),
        memory_limit_bytes: memory_limit(),
        threads: field(&status, "Threads:"),
        open_fds: fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| entries.count() as u64),
        others: other_threads(),
    }
}

/// A number of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The memory limit of this process's control group or of one above it, the least of them.
fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let read = |path: &Path| -> Option<u64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
    let limits = unified.into_iter().flat_map(|group| {
        let root = PathBuf::from("/sys/fs/cgroup");
        let own = root.join(group.trim_start_matches('/'));
        let up = own
            .ancestors()
            .take_while(|path| path.starts_with("/sys/fs/cgroup"));
        up.map(|path| path.join("memory.max")).collect::<Vec<_>>()
    });
    // Version 1, as a container sees its own group; without a limit it holds a number near 2^63.
    let version1 = PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    let limits = limits.chain([version1]).filter_map(|path| read(&path));
    limits.filter(|bytes| *bytes < 1 << 60).min()
}

/// CPU time by what a thread does, told by its name; the engine measures its own.
fn other_threads() -> BTreeMap<&'static str, f64> {
    let mut spent = BTreeMap::new();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    for task in tasks.flatten() {
        let path = task.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let Some(what) = purpose(name.trim()) else {
            continue;
        };
        // Nanoseconds on a processor, then two numbers that do not matter here.
        let times = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        let nanos = times.split(' ').next().and_then(|nanos| nanos.parse().ok());
        *spent.entry(what).or_insert(0.0) += nanos.unwrap_or(0_u64) as f64 / 1e9;
    }
    spent
}

fn purpose(thread: &str) -> Option<&'static str> {
    match thread {
        "coordinator" => Some("coordinator"),
        "io" => Some("io"),
        "http" => Some("http"),
        // librdkafka's own.
        name if name.starts_with("rdk:") => Some("client"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_what_this_process_uses() {
        let usage = usage();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(usage.threads.is_some_and(|threads| threads >= 1));
        assert!(usage.open_fds.is_some_and(|open| open >= 3));
    }

    #[test]
    fn a_field_of_the_status_is_found_by_its_name() {
        let status = "Name:\tx\nVmRSS:\t    1024 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(1024));
        assert_eq!(field(status, "Threads:"), Some(7));
        assert_eq!(field(status, "Absent:"), None);
    }
}
