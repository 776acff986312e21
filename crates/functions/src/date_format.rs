//! `date_format(ts, 'yyyy-MM-dd')`: instants as text, by Spark's patterns, in UTC.
//!
//! Patterns made of `y M d H h m s S a E`, quoted text and punctuation are taken; any other
//! letter is refused while the query is planned. The source of the patterns' meaning is Spark's
//! "Datetime Patterns for Formatting and Parsing".

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::builtin::{Builtin, Literals, column, literal_text};
use super::civil::Civil;
use crate::timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

pub(super) fn functions() -> Vec<(&'static str, Arc<ScalarUDF>)> {
    let types = vec![timestamp(), DataType::Utf8];
    vec![
        Builtin::new("date_format", types, DataType::Utf8, eval)
            .checked(check)
            .named(),
    ]
}

fn check(literals: Literals<'_>) -> Result<()> {
    match literal_text(literals, 1).map(Pattern::parse) {
        None => plan_err!("the pattern of date_format() is a literal like 'yyyy-MM-dd'"),
        Some(Err(reason)) => plan_err!("date_format(): {reason}"),
        Some(Ok(_)) => Ok(()),
    }
}

fn eval(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let pattern = match args.args.get(1) {
        Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) => Pattern::parse(text),
        _ => Err("the pattern is a literal".into()),
    };
    let pattern = match pattern {
        Ok(pattern) => pattern,
        Err(reason) => return exec_err!("{reason}"),
    };
    let times = column(args, 0)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    Ok(ColumnarValue::Array(Arc::new(pattern.format_all(
        times.len(),
        (0..times.len()).map(|row| times.is_valid(row).then(|| times.value(row))),
    ))))
}

/// A run of one pattern letter, or text that stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Year(usize),
    Month(usize),
    Day(usize),
    Hour(usize),
    HalfDayHour(usize),
    Minute(usize),
    Second(usize),
    Fraction(usize),
    AmPm,
    Weekday(usize),
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// Reads a pattern.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\'' {
                parts.push(Part::Text(quoted(&mut chars)?));
            } else if c.is_ascii_alphabetic() {
                let mut run = 1;
                while chars.next_if_eq(&c).is_some() {
                    run += 1;
                }
                parts.push(letter(c, run)?);
            } else if matches!(c, '[' | ']' | '{' | '}' | '#') {
                return Err(format!("`{c}` is reserved in a pattern; quote it: '{c}'"));
            } else {
                parts.push(Part::Text(c.into()));
            }
        }
        Ok(Self { parts })
    }

    /// Formats instants (microseconds since the epoch). Runs of one instant, like the starts of a
    /// window, are formatted once.
    pub(super) fn format_all(
        &self,
        rows: usize,
        times: impl Iterator<Item = Option<i64>>,
    ) -> StringArray {
        let mut out = StringBuilder::with_capacity(rows, rows * 16);
        let mut last: Option<i64> = None;
        let mut text = String::new();
        for time in times {
            let Some(time) = time else {
                out.append_null();
                continue;
            };
            if last != Some(time) {
                text.clear();
                self.format(time, &mut text);
                last = Some(time);
            }
            out.append_value(&text);
        }
        out.finish()
    }

    fn format(&self, micros: i64, out: &mut String) {
        let at = Civil::from_micros(micros);
        for part in &self.parts {
            // Writing to a String cannot fail.
            let _ = match part {
                Part::Text(text) => out.write_str(text),
                Part::Year(run) => year(out, at.year, *run),
                Part::Month(1) => write!(out, "{}", at.month),
                Part::Month(2) => write!(out, "{:02}", at.month),
                Part::Month(3) => out.write_str(&MONTHS[at.month as usize - 1][..3]),
                Part::Month(_) => out.write_str(MONTHS[at.month as usize - 1]),
                Part::Day(run) => number(out, at.day, *run),
                Part::Hour(run) => number(out, at.hour, *run),
                Part::HalfDayHour(run) => number(out, (at.hour + 11) % 12 + 1, *run),
                Part::Minute(run) => number(out, at.minute, *run),
                Part::Second(run) => number(out, at.second, *run),
                Part::Fraction(run) => {
                    let nanos = format!("{:09}", u64::from(at.micros) * 1_000);
                    out.write_str(&nanos[..*run])
                }
                Part::AmPm => out.write_str(if at.hour < 12 { "AM" } else { "PM" }),
                Part::Weekday(1..=3) => out.write_str(&DAYS[at.weekday as usize][..3]),
                Part::Weekday(_) => out.write_str(DAYS[at.weekday as usize]),
            };
        }
    }
}

fn quoted(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> std::result::Result<String, String> {
    let mut text = String::new();
    loop {
        match chars.next() {
            None => return Err("a quote in the pattern is never closed".into()),
            Some('\'') if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            // Two quotes stand for one, inside and outside of quoted text.
            Some('\'') if text.is_empty() => return Ok("'".into()),
            Some('\'') => return Ok(text),
            Some(c) => text.push(c),
        }
    }
}

fn letter(c: char, run: usize) -> std::result::Result<Part, String> {
    let most = match c {
        'y' => 6,
        'M' | 'E' => 4,
        'd' | 'H' | 'h' | 'm' | 's' => 2,
        'S' => 9,
        'a' => 1,
        _ => {
            return Err(format!(
                "the pattern letter `{c}` is not built yet; y M d H h m s S a E are"
            ));
        }
    };
    if run > most {
        return Err(format!(
            "`{}` has more letters than Spark takes ({most})",
            c.to_string().repeat(run)
        ));
    }
    Ok(match c {
        'y' => Part::Year(run),
        'M' => Part::Month(run),
        'd' => Part::Day(run),
        'H' => Part::Hour(run),
        'h' => Part::HalfDayHour(run),
        'm' => Part::Minute(run),
        's' => Part::Second(run),
        'S' => Part::Fraction(run),
        'a' => Part::AmPm,
        _ => Part::Weekday(run),
    })
}

fn number(out: &mut String, value: u32, run: usize) -> std::fmt::Result {
    write!(out, "{value:0run$}")
}

/// `y` counts years of the era; `yy` is the last two digits; a year too wide for its run has a plus.
fn year(out: &mut String, year: i32, run: usize) -> std::fmt::Result {
    let of_era = if year > 0 {
        i64::from(year)
    } else {
        1 - i64::from(year)
    };
    if run == 2 {
        return write!(out, "{:02}", of_era % 100);
    }
    if run >= 4 && of_era >= 10_i64.pow(run as u32) {
        out.push('+');
    }
    write!(out, "{of_era:0run$}")
}
