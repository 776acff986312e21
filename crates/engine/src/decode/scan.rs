//! Finding the ends of JSON tokens.

use super::reject::Reject;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Steps over whitespace.
#[inline(always)]
pub(super) fn whitespace(json: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = json.get(at) {
        at += 1;
    }
    at
}

/// Index of the first `"`, `\` or control character at or after `at`, or the length of `json`.
#[inline(always)]
pub(super) fn string_stop(json: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = json.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let stops = stops(u64::from_le_bytes(*chunk));
        if stops != 0 {
            return at + (stops.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while json
        .get(at)
        .is_some_and(|&byte| byte != b'"' && byte != b'\\' && byte >= 0x20)
    {
        at += 1;
    }
    at
}

/// The high bit of each byte of `word` that ends a run of plain string characters.
///
/// A subtraction borrows only out of a byte that is itself a hit, so bits above the lowest hit
/// may be wrong; the lowest never is.
#[inline(always)]
fn stops(word: u64) -> u64 {
    let quote = word ^ (LOW_BITS * u64::from(b'"'));
    let backslash = word ^ (LOW_BITS * u64::from(b'\\'));
    let quote = quote.wrapping_sub(LOW_BITS) & !quote;
    let backslash = backslash.wrapping_sub(LOW_BITS) & !backslash;
    let control = word.wrapping_sub(LOW_BITS * 0x20) & !word;
    (quote | backslash | control) & HIGH_BITS
}

/// Steps over `true`, `false` or `null`.
#[inline(always)]
pub(super) fn literal(json: &[u8], at: usize, word: &'static str) -> Result<usize, Reject> {
    if json
        .get(at..)
        .is_some_and(|rest| rest.starts_with(word.as_bytes()))
    {
        Ok(at + word.len())
    } else {
        Err(Reject::syntax(at, "a value"))
    }
}

/// The colon after a key and the whitespace around it.
pub(super) fn colon(json: &[u8], at: usize) -> Result<usize, Reject> {
    let at = whitespace(json, at);
    if json.get(at) != Some(&b':') {
        return Err(Reject::syntax(at, "':'"));
    }
    Ok(whitespace(json, at + 1))
}
