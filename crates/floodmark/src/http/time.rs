//! Instants as text.

/// Milliseconds since the epoch as RFC 3339 in UTC, with milliseconds; `None` outside of the years
/// that it can write.
pub(super) fn instant(ms: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(format!("{at:.3}"))
}

/// The wall clock, in milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
