//! What the operating system is asked directly: signals and CPU time.
#![allow(
    unsafe_code,
    reason = "the standard library has no signal handlers and no getrusage"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static STOP: AtomicBool = AtomicBool::new(false);

/// Whether SIGINT or SIGTERM asked for the end.
#[derive(Debug)]
pub(super) struct StopFlag(());

impl StopFlag {
    /// From now on the first signal sets the flag; a second one ends the process as usual.
    pub(super) fn install() -> Self {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            // SAFETY: the handler does nothing but store to an atomic and reset a signal's action, both
            // of which are async-signal-safe; it is a function that lives as long as the process.
            unsafe {
                libc::signal(signal, on_signal as *const () as libc::sighandler_t);
            }
        }
        Self(())
    }

    /// Whether a signal came.
    #[allow(
        clippy::unused_self,
        reason = "the flag means something only once installed"
    )]
    pub(super) fn is_set(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
    // SAFETY: `signal` is async-signal-safe and is given the signal that is being handled.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
}

/// CPU time of this process, user and system.
pub(super) fn cpu_time() -> Duration {
    // SAFETY: `rusage` is plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for writes, and RUSAGE_SELF is always allowed.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Duration::ZERO;
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}
