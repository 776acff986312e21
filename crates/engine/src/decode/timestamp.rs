//! Dates and timestamps out of text.
//!
//! Most timestamps of a stream share their date, so the days since 1970 are computed when the
//! date's ten bytes change, and only the time of day is read for each record.

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
const DAY: i64 = 86_400 * SECOND;
/// Largest distance of a zone from UTC, in minutes.
const MAX_OFFSET_MINUTES: i64 = 18 * 60;
/// Digits of a second's fraction that count.
const MICRO_DIGITS: usize = 6;

/// `0001-01-01T00:00:00Z`.
pub(super) const MIN_MICROS: i64 = -62_135_596_800 * SECOND;
/// `9999-12-31T23:59:59.999999Z`.
pub(super) const MAX_MICROS: i64 = 253_402_300_800 * SECOND - 1;

/// Why text is no timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimestampError {
    /// Not RFC 3339.
    Malformed,
    /// Outside of the years 1 to 9999, in UTC.
    OutOfRange,
}

/// The last date read and its days since 1970-01-01.
#[derive(Debug, Default)]
pub(super) struct DayCache {
    text: [u8; 10],
    days: i32,
}

impl DayCache {
    /// Days since 1970-01-01 of a `YYYY-MM-DD`.
    #[inline(always)]
    fn days(&mut self, text: [u8; 10]) -> Option<i32> {
        if self.text != text {
            self.days = parse_date(&text)?;
            self.text = text;
        }
        Some(self.days)
    }
}

/// The value of two digits.
#[inline(always)]
fn pair(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some(u32::from(tens) * 10 + u32::from(ones))
}

/// Parses `YYYY-MM-DD`, years 1 to 9999, as days since 1970-01-01.
pub(super) fn parse_date(text: &[u8]) -> Option<i32> {
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else {
        return None;
    };
    let year = pair(y0, y1)? * 100 + pair(y2, y3)?;
    let (month, day) = (pair(m0, m1)?, pair(d0, d1)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return None,
    };
    if year == 0 || day == 0 || day > last {
        return None;
    }
    // Years that begin in March put the leap day last; 719 468 days from 0000-03-01 to 1970-01-01.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    Some(days as i32 - 719_468)
}

/// Parses an RFC 3339 timestamp as microseconds since 1970-01-01T00:00:00Z.
///
/// Also accepted, as Spark does: a space in place of `T`; no zone, which is UTC; a zone without
/// its colon or minutes. Digits of the fraction beyond microseconds are dropped. Leap seconds
/// are refused: no Spark, Arrow or Parquet type holds one.
#[inline(always)]
pub(super) fn parse_timestamp(text: &[u8], cache: &mut DayCache) -> Result<i64, TimestampError> {
    let (local, zone) = parse_local(text, cache).ok_or(TimestampError::Malformed)?;
    let micros = match zone {
        b"Z" => return Ok(local),
        zone => local - parse_zone(zone).ok_or(TimestampError::Malformed)?,
    };
    if (MIN_MICROS..=MAX_MICROS).contains(&micros) {
        Ok(micros)
    } else {
        Err(TimestampError::OutOfRange)
    }
}

/// The date and the time of day as if they were in UTC, and what follows them.
#[inline(always)]
fn parse_local<'a>(text: &'a [u8], cache: &mut DayCache) -> Option<(i64, &'a [u8])> {
    let (date, text) = text.split_first_chunk::<10>()?;
    let (time, text) = text.split_first_chunk::<9>()?;
    let &[b'T' | b't' | b' ', h0, h1, b':', m0, m1, b':', s0, s1] = time else {
        return None;
    };
    let (hour, minute, second) = (pair(h0, h1)?, pair(m0, m1)?, pair(s0, s1)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = i64::from(cache.days(*date)?);
    let seconds = i64::from((hour * 60 + minute) * 60 + second);
    let (fraction, zone) = parse_fraction(text)?;
    Some((days * DAY + seconds * SECOND + fraction, zone))
}

/// The microseconds of a `.123`, if there is one, and what follows it.
#[inline(always)]
fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else {
        return Some((0, text));
    };
    // Milliseconds are what most producers write.
    if let [d0, d1, d2, rest @ ..] = digits
        && !rest.first().is_some_and(u8::is_ascii_digit)
        && let (Some(tenths), Some(others)) = (pair(b'0', *d0), pair(*d1, *d2))
    {
        return Some((i64::from(tenths * 100 + others) * 1_000, rest));
    }
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(count);
    let padded = digits
        .iter()
        .chain(std::iter::repeat(&b'0'))
        .take(MICRO_DIGITS);
    Some((
        padded.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0')),
        rest,
    ))
}

/// The distance from UTC in microseconds; no zone is UTC.
fn parse_zone(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match *zone {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h0, h1, b':', m0, m1] | [sign, h0, h1, m0, m1] => {
            (sign, pair(h0, h1)?, pair(m0, m1)?)
        }
        [sign, h0, h1] => (sign, pair(h0, h1)?, 0),
        _ => return None,
    };
    let total = i64::from(hours * 60 + minutes);
    if minutes > 59 || total > MAX_OFFSET_MINUTES {
        return None;
    }
    match sign {
        b'+' => Some(total * 60 * SECOND),
        b'-' => Some(-total * 60 * SECOND),
        _ => None,
    }
}
