//! JSON strings: unescaping, and the compact text of a value kept as text.

use super::reject::Reject;
use super::scan;

/// Steps over a string whose opening quote is before `at`; every escape is checked.
#[inline]
pub(super) fn skip(text: &str, at: usize) -> Result<usize, Reject> {
    let json = text.as_bytes();
    let mut at = scan::string_stop(json, at);
    loop {
        match json.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = scan::string_stop(json, escape(json, at)?.1),
            _ => return Err(unterminated(json, at)),
        }
    }
}

/// Appends the string whose opening quote is before `at`, unescaped; returns the index after its
/// closing quote.
pub(super) fn unescape(text: &str, mut at: usize, out: &mut String) -> Result<usize, Reject> {
    let json = text.as_bytes();
    loop {
        let stop = scan::string_stop(json, at);
        out.push_str(&text[at..stop]);
        match json.get(stop) {
            Some(b'"') => return Ok(stop + 1),
            Some(b'\\') => {
                let (character, next) = escape(json, stop)?;
                out.push(character);
                at = next;
            }
            _ => return Err(unterminated(json, stop)),
        }
    }
}

#[cold]
fn unterminated(json: &[u8], at: usize) -> Reject {
    let expected = if at < json.len() {
        "an escape, control characters cannot stand in a string"
    } else {
        "the string's closing '\"'"
    };
    Reject::syntax(at, expected)
}

/// The character an escape stands for, and the index after it. `at` is the backslash.
fn escape(json: &[u8], at: usize) -> Result<(char, usize), Reject> {
    let character = match json.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(json, at),
        _ => {
            return Err(Reject::syntax(
                at + 1,
                "one of \" \\ / b f n r t u after '\\'",
            ));
        }
    };
    Ok((character, at + 2))
}

/// `\uXXXX`, or two of them that form a surrogate pair. A lone surrogate is no character.
fn unicode_escape(json: &[u8], at: usize) -> Result<(char, usize), Reject> {
    let lone = || Reject::syntax(at, "a surrogate pair, not half of one");
    let first = hex4(json, at + 2)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Ok((char::from_u32(first).ok_or_else(lone)?, at + 6));
    }
    if json.get(at + 6..at + 8) != Some(b"\\u") {
        return Err(lone());
    }
    let second = hex4(json, at + 8)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Err(lone());
    }
    let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Ok((char::from_u32(code).ok_or_else(lone)?, at + 12))
}

fn hex4(json: &[u8], at: usize) -> Result<u32, Reject> {
    let digits = json.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let value = digits.and_then(|digits| {
        digits.iter().try_fold(0, |value, &digit| {
            Some(value << 4 | (digit as char).to_digit(16)?)
        })
    });
    value.ok_or_else(|| Reject::syntax(at, "four hexadecimal digits after '\\u'"))
}

/// Appends `value`, a whole valid JSON value, without the whitespace between its tokens and with
/// its strings escaped in one canonical way: what Jackson's generator writes when Spark keeps an
/// object or array as STRING. Numbers keep their text.
pub(super) fn compact(value: &str, out: &mut String) -> Result<(), Reject> {
    let json = value.as_bytes();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => {
                plain.clear();
                at = unescape(value, at + 1, &mut plain)?;
                quote(&plain, out);
            }
            b' ' | b'\n' | b'\t' | b'\r' => at += 1,
            // Outside strings valid JSON is ASCII.
            _ => {
                out.push(byte as char);
                at += 1;
            }
        }
    }
    Ok(())
}

/// Appends `plain` as a JSON string.
fn quote(plain: &str, out: &mut String) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    out.push('"');
    for character in plain.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                let code = character as usize;
                out.push_str("\\u00");
                out.push(HEX[code >> 4]);
                out.push(HEX[code & 15]);
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
