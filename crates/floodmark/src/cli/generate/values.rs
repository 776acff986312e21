//! How the flags' values are written.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{StringValueParser, TypedValueParser};
use floodmark_generator::config::MAX_DEVICES;
use floodmark_pipeline::{Environment, Secret, fill_value};
use jiff::{Span, SpanRelativeTo, Timestamp, civil, tz::TimeZone};

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Standard output.
    Stdout,
    /// A file, replaced if it exists.
    File(PathBuf),
}

/// How fast events are generated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::cli) enum Rate {
    /// As fast as possible.
    Max,
    /// Events per second of wall clock.
    PerSecond(f64),
}

pub(super) fn output(text: &str) -> Result<Output, String> {
    match text {
        "-" => Ok(Output::Stdout),
        _ if [".gz", ".zst"].iter().any(|ending| text.ends_with(ending)) => {
            Err("only plain lines are written; use `--out - | gzip` or `--out - | zstd`".to_owned())
        }
        _ => Ok(Output::File(text.into())),
    }
}

pub(in crate::cli) fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.replace('_', "").parse::<f64>() {
        Ok(rate) if (1e-3..=1e9).contains(&rate) => Ok(Rate::PerSecond(rate)),
        _ => Err("give a number of events per second, 0.001 to a billion, or max".to_owned()),
    }
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    let count = text.replace('_', "").parse();
    count.map_err(|_| "give a number of events, such as 1000000".to_owned())
}

pub(in crate::cli) fn devices(text: &str) -> Result<u32, String> {
    match text.replace('_', "").parse() {
        Ok(devices) if (1..=MAX_DEVICES).contains(&devices) => Ok(devices),
        _ => Err(format!("give a number of devices, 1 to {MAX_DEVICES}")),
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a share between 0 and 1, such as 0.01".to_owned()),
    }
}

pub(super) fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (1e-3..=1e6).contains(&speed) => Ok(speed),
        _ => Err("give a factor between 0.001 and 1000000, such as 60".to_owned()),
    }
}

pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let span: Option<Span> = text.trim().parse().ok();
    span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "give a duration, such as 5s, 90s, 2m or 10 minutes".to_owned())
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let midnight = || {
        let date: civil::Date = text.parse().ok()?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let instant = text.parse().ok();
    instant
        .or_else(midnight)
        .ok_or_else(|| "give a time, such as 2025-08-17T12:00:00Z or 2025-08-17".to_owned())
}

/// Takes a value that is looked at later: the flags' parser would repeat what it refuses.
pub(super) fn unseen() -> impl TypedValueParser<Value = Secret> {
    StringValueParser::new().map(Secret::new)
}

pub(super) fn property(
    text: &str,
    environment: Environment<'_>,
) -> Result<(String, Secret), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            let key = key.trim();
            let value = fill_value(value, environment)
                .map_err(|reason| format!("--kafka {key}=…: {reason}"))?;
            Ok((key.to_owned(), Secret::new(value)))
        }
        _ => Err("--kafka takes KEY=VALUE, such as security.protocol=SASL_SSL".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("2m", 120.0),
            ("10 minutes", 600.0),
            ("500ms", 0.5),
            ("1h 30m", 5_400.0),
            ("2 days", 172_800.0),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_secs_f64(seconds)),
                "{text}"
            );
        }
        for text in ["", "5", "-5s", "1 month", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_instant_is_rfc_3339_or_a_date_in_utc() {
        let midnight = instant("2025-08-17").unwrap();
        assert_eq!(instant("2025-08-17T02:00:00+02:00"), Ok(midnight));
        assert!(instant("noon").is_err());
    }

    #[test]
    fn a_rate_is_a_number_or_max() {
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("1_000"), Ok(Rate::PerSecond(1_000.0)));
        for text in ["0", "-1", "NaN", "inf", "fast"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
