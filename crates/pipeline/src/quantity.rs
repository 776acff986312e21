//! Durations (`"10 seconds"`, `"1 hour 30 minutes"`) and sizes (`"128 MB"`, `"64 MiB"`).

use std::time::Duration;

use crate::suggest::closest;
use crate::types::Misread;

const DURATION_UNITS: [(&str, u64); 6] = [
    ("microsecond", 1),
    ("millisecond", 1_000),
    ("second", 1_000_000),
    ("minute", 60_000_000),
    ("hour", 3_600_000_000),
    ("day", 86_400_000_000),
];

const DURATION_SHORT: [(&str, u64); 9] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("sec", 1_000_000),
    ("m", 60_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
    ("hr", 3_600_000_000),
    ("d", 86_400_000_000),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Longest duration: a century; what is longer is a slip and would overflow later sums.
const MAX_DURATION_MICROS: u128 = 100 * 366 * 86_400_000_000;

/// Largest size: 16 TiB, above what any store takes as one object.
const MAX_SIZE: u128 = 16 << 40;

/// Reads a duration, to the microsecond.
pub(crate) fn duration(text: &str) -> Result<Duration, Misread> {
    let unit = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let singular = lower.strip_suffix('s').unwrap_or(&lower);
        DURATION_UNITS
            .iter()
            .find(|(unit, _)| *unit == singular)
            .or_else(|| DURATION_SHORT.iter().find(|(unit, _)| *unit == lower))
            .map(|(_, micros)| *micros)
    };
    let names = ["milliseconds", "seconds", "minutes", "hours", "days"];
    let total = sum(text, unit, &names, "\"10 seconds\"", MAX_DURATION_MICROS)?;
    Ok(Duration::from_micros(total))
}

/// Reads a size in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Misread> {
    let unit = |name: &str| {
        SIZE_UNITS
            .iter()
            .find(|(unit, _)| unit.eq_ignore_ascii_case(name))
            .map(|(_, bytes)| *bytes)
    };
    let names = ["B", "kB", "MB", "GB", "KiB", "MiB", "GiB"];
    sum(text, unit, &names, "\"128 MB\"", MAX_SIZE)
}

/// Adds up pairs of number and unit.
fn sum(
    text: &str,
    unit: impl Fn(&str) -> Option<u64>,
    names: &[&str],
    example: &str,
    most: u128,
) -> Result<u64, Misread> {
    let misread = |start: usize, end: usize, message: &str, help: Option<String>| Misread {
        range: start..end,
        message: message.to_owned(),
        help: Some(help.unwrap_or_else(|| format!("write it as in {example}"))),
    };
    let mut total: u128 = 0;
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if at == text.len() && at > 0 && text.trim() != "" {
            return Ok(total as u64);
        }
        let digits = span(text, at, |c| c.is_ascii_digit() || c == '.' || c == '_');
        if digits == at {
            let end = text.len();
            return Err(misread(at, end, "expected a number and a unit", None));
        }
        let name_at = digits + text[digits..].len() - text[digits..].trim_start().len();
        let name_end = span(text, name_at, char::is_alphabetic);
        let name = &text[name_at..name_end];
        let Some(factor) = unit(name) else {
            if name.is_empty() {
                return Err(misread(at, digits, "the unit is missing", None));
            }
            let help =
                closest(name, names.iter().copied()).map(|name| format!("did you mean `{name}`?"));
            return Err(misread(name_at, name_end, "there is no such unit", help));
        };
        let Some(part) = scaled(&text[at..digits], factor) else {
            return Err(misread(at, digits, "not a number of whole units", None));
        };
        total = total.saturating_add(part);
        if total > most {
            return Err(misread(at, name_end, "too large", None));
        }
        at = name_end;
    }
}

fn span(text: &str, from: usize, inside: impl Fn(char) -> bool) -> usize {
    text[from..]
        .find(|c| !inside(c))
        .map_or(text.len(), |length| from + length)
}

/// `number * factor` without rounding; `None` if it is no number or not whole.
fn scaled(number: &str, factor: u64) -> Option<u128> {
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if fraction.len() > 18 || whole.is_empty() {
        return None;
    }
    let whole: u128 = whole.parse::<u64>().ok()?.into();
    let scale = 10_u128.pow(fraction.len() as u32);
    let fraction: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u64>().ok()?.into()
    };
    let parts = (whole * scale + fraction).checked_mul(factor.into())?;
    (parts % scale == 0).then(|| parts / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Result<u128, String> {
        duration(text)
            .map(|duration| duration.as_micros())
            .map_err(|misread| format!("{}: {}", &text[misread.range], misread.message))
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(micros("10 seconds"), Ok(10_000_000));
        assert_eq!(micros("1 Hour 30 minutes"), Ok(5_400_000_000));
        assert_eq!(micros(" 50ms "), Ok(50_000));
        assert_eq!(micros("0.5 s"), Ok(500_000));
        assert_eq!(micros("0 seconds"), Ok(0));
        assert_eq!(micros("1_000 us"), Ok(1_000));
    }

    #[test]
    fn what_is_wrong_with_a_duration_is_pointed_at() {
        assert_eq!(micros("10"), Err("10: the unit is missing".into()));
        assert_eq!(
            micros("10 secnds"),
            Err("secnds: there is no such unit".into())
        );
        assert_eq!(micros(""), Err(": expected a number and a unit".into()));
        assert_eq!(micros("  "), Err(": expected a number and a unit".into()));
        assert_eq!(
            micros("ten seconds"),
            Err("ten seconds: expected a number and a unit".into())
        );
        assert_eq!(
            micros("-1 s"),
            Err("-1 s: expected a number and a unit".into())
        );
        assert_eq!(
            micros("1.5 us"),
            Err("1.5: not a number of whole units".into())
        );
        assert_eq!(
            micros("1..5 s"),
            Err("1..5: not a number of whole units".into())
        );
        assert_eq!(
            micros("9999999 days"),
            Err("9999999 days: too large".into())
        );
        assert_eq!(
            micros("99999999999999999999 days"),
            Err("99999999999999999999: not a number of whole units".into())
        );
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("128 MB"), Ok(128_000_000));
        assert_eq!(size("64 MiB"), Ok(67_108_864));
        assert_eq!(size("1.5kib"), Ok(1_536));
        assert!(size("64 M").is_err());
        assert!(size("64").is_err());
        assert!(size("1.0001 kB").is_err());
    }
}
