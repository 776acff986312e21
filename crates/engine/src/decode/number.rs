//! JSON numbers: strict in grammar, exact in value.

use super::reject::Reject;

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Largest integer up to which every integer is a double.
const EXACT_INTEGER: u64 = 1 << 53;

/// Most digits that surely fit into 64 bits.
const MAX_FAST_DIGITS: usize = 18;

/// Most digits before the point that surely stay within a double's range.
const MAX_SAFE_INTEGER_DIGITS: usize = 308;

/// What an integer column found at a number.
pub(super) enum Integer {
    /// The value and the index after it.
    Value(i64, usize),
    /// An integer beyond 64 bits.
    OutOfRange,
    /// A fraction or an exponent follows the digits.
    Fractional,
}

/// Reads the digits from `at` on into `mantissa`, wrapping; returns it and the index after them.
#[inline(always)]
fn digits(json: &[u8], mut at: usize, mut mantissa: u64) -> (u64, usize) {
    while let Some(digit) = json
        .get(at)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|&d| d <= 9)
    {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (mantissa, at)
}

/// Reads the digits before the point, where a leading zero must stand alone.
#[inline(always)]
fn integer_digits(json: &[u8], at: usize) -> Result<(u64, usize), Reject> {
    let (mantissa, end) = digits(json, at, 0);
    let count = end - at;
    if count == 0 {
        return Err(Reject::syntax(at, "a digit"));
    }
    if count > 1 && json[at] == b'0' {
        return Err(Reject::syntax(at + 1, "no digit after a leading zero"));
    }
    Ok((mantissa, end))
}

/// Reads a double; `at` is a digit or a minus sign.
///
/// Up to 2^53 over a power of ten that is exact, one division rounds correctly (Clinger's fast
/// path); the rest goes through a full parser. Either way it is the double nearest to the text.
#[inline(always)]
pub(super) fn double(json: &[u8], at: usize) -> Result<(f64, usize), Reject> {
    let negative = json[at] == b'-';
    let start = at + usize::from(negative);
    let (mut mantissa, mut end) = integer_digits(json, start)?;
    let mut count = end - start;
    let mut fraction = 0;
    if json.get(end) == Some(&b'.') {
        let point = end;
        (mantissa, end) = digits(json, point + 1, mantissa);
        fraction = end - point - 1;
        if fraction == 0 {
            return Err(Reject::syntax(end, "a digit after the decimal point"));
        }
        count += fraction;
    }
    let exponent = matches!(json.get(end), Some(b'e' | b'E'));
    if exponent || count > MAX_FAST_DIGITS || mantissa > EXACT_INTEGER {
        return slow_double(json, at);
    }
    let value = mantissa as f64 / POWERS[fraction];
    Ok((if negative { -value } else { value }, end))
}

#[cold]
#[inline(never)]
fn slow_double(json: &[u8], at: usize) -> Result<(f64, usize), Reject> {
    let end = grammar(json, at)?.end;
    Ok((finite(&json[at..end], at)?, end))
}

/// The value of a number that is a token by the grammar; an infinite one is no JSON number.
fn finite(token: &[u8], at: usize) -> Result<f64, Reject> {
    let value = fast_float2::parse::<f64, _>(token).unwrap_or(f64::INFINITY);
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Reject::number_range(at))
    }
}

/// Reads a float, rounded once from the text.
pub(super) fn float(json: &[u8], at: usize) -> Result<(f32, usize), Reject> {
    let end = skip(json, at)?;
    let value = fast_float2::parse::<f32, _>(&json[at..end]).unwrap_or(f32::INFINITY);
    if value.is_finite() {
        Ok((value, end))
    } else {
        Err(Reject::out_of_range(at))
    }
}

/// Reads a 64-bit integer; `at` is a digit or a minus sign.
#[inline(always)]
pub(super) fn integer(json: &[u8], at: usize) -> Result<Integer, Reject> {
    let negative = json[at] == b'-';
    let start = at + usize::from(negative);
    let (magnitude, end) = integer_digits(json, start)?;
    if matches!(json.get(end), Some(b'.' | b'e' | b'E')) {
        return skip(json, at).map(|_| Integer::Fractional);
    }
    if end - start > MAX_FAST_DIGITS {
        return Ok(long_integer(json, at, end));
    }
    let magnitude = magnitude as i64;
    Ok(Integer::Value(
        if negative { -magnitude } else { magnitude },
        end,
    ))
}

#[cold]
fn long_integer(json: &[u8], at: usize, end: usize) -> Integer {
    let token = std::str::from_utf8(&json[at..end]).unwrap_or_default();
    token
        .parse()
        .map_or(Integer::OutOfRange, |value| Integer::Value(value, end))
}

/// Steps over a number, `at` its first byte; refuses one beyond a double's range.
pub(super) fn skip(json: &[u8], at: usize) -> Result<usize, Reject> {
    let token = grammar(json, at)?;
    if token.exponent || token.integer_digits > MAX_SAFE_INTEGER_DIGITS {
        finite(&json[at..token.end], at)?;
    }
    Ok(token.end)
}

/// The shape of a number.
struct Token {
    end: usize,
    integer_digits: usize,
    exponent: bool,
}

fn grammar(json: &[u8], at: usize) -> Result<Token, Reject> {
    let start = at + usize::from(json.get(at) == Some(&b'-'));
    let (_, mut end) = integer_digits(json, start)?;
    let integer_digits = end - start;
    if json.get(end) == Some(&b'.') {
        let point = end;
        end = digits(json, point + 1, 0).1;
        if end == point + 1 {
            return Err(Reject::syntax(end, "a digit after the decimal point"));
        }
    }
    let exponent = matches!(json.get(end), Some(b'e' | b'E'));
    if exponent {
        let signed = matches!(json.get(end + 1), Some(b'+' | b'-'));
        let first = end + 1 + usize::from(signed);
        end = digits(json, first, 0).1;
        if end == first {
            return Err(Reject::syntax(end, "a digit in the exponent"));
        }
    }
    Ok(Token {
        end,
        integer_digits,
        exponent,
    })
}

/// How digits beyond a decimal's scale go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// To the nearest, ties away from zero, as Spark's decimals.
    HalfUp,
    /// Toward zero.
    Truncate,
}

/// Parses decimal text as a whole number of 10^-`scale`; `None` if that takes more than
/// `precision` digits (at most 38). The text is a JSON number, or what [`is_decimal_text`] admits.
pub(super) fn decimal(text: &[u8], precision: u8, scale: u8, rounding: Rounding) -> Option<i128> {
    let negative = text.first() == Some(&b'-');
    let exponent_at = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = text.split_at(exponent_at.unwrap_or(text.len()));
    let point = mantissa.iter().position(|&byte| byte == b'.');
    let fraction = point.map_or(0, |point| mantissa.len() - point - 1);
    let significant = || {
        let digits = mantissa
            .iter()
            .filter(|byte| byte.is_ascii_digit())
            .map(|byte| byte - b'0');
        digits.skip_while(|&digit| digit == 0)
    };
    let count = significant().count() as i64;
    if count == 0 {
        return Some(0);
    }
    // value = digits * 10^shift, in units of 10^-scale
    let shift = parse_exponent(exponent) - fraction as i64 + i64::from(scale);
    let kept = count + shift;
    if kept < 0 {
        return Some(0);
    }
    if kept > i64::from(precision) {
        return None;
    }
    let kept = kept as usize;
    let zeros = std::iter::repeat(0);
    let mut value = significant()
        .chain(zeros)
        .take(kept)
        .fold(0i128, |v, d| v * 10 + i128::from(d));
    let next = significant().nth(kept).unwrap_or(0);
    if rounding == Rounding::HalfUp && next >= 5 {
        value += 1;
    }
    if value >= 10i128.pow(u32::from(precision)) {
        return None;
    }
    Some(if negative { -value } else { value })
}

/// The exponent's value, bounded far outside of any precision, and far inside of 64 bits.
fn parse_exponent(text: &[u8]) -> i64 {
    const BOUND: i64 = 1 << 40;
    let Some((_, text)) = text.split_first() else {
        return 0;
    };
    let negative = text.first() == Some(&b'-');
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    let value = digits.fold(0, |value, digit| {
        BOUND.min(value * 10 + i64::from(digit - b'0'))
    });
    if negative { -value } else { value }
}

/// Whether a JSON string is a decimal as Java's `BigDecimal` reads it.
pub(super) fn is_decimal_text(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        _ => text,
    };
    let exponent_at = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = unsigned.split_at(exponent_at.unwrap_or(unsigned.len()));
    let digits = mantissa.iter().filter(|byte| byte.is_ascii_digit()).count();
    let points = mantissa.iter().filter(|&&byte| byte == b'.').count();
    let exponent = match exponent {
        [_, b'+' | b'-', rest @ ..] | [_, rest @ ..] => Some(rest),
        [] => None,
    };
    digits > 0
        && points <= 1
        && digits + points == mantissa.len()
        && exponent.is_none_or(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit))
}
