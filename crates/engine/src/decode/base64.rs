//! Base64 for `BINARY`: the standard alphabet, padded, as Spark reads it.

/// Appends the bytes that `text` encodes; `None` if it is not base64.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if text.is_empty() {
        return Some(());
    }
    let (groups, []) = text.as_chunks::<4>() else {
        return None;
    };
    let (last, groups) = groups.split_last()?;
    for &[a, b, c, d] in groups {
        let word = sextet(a)? << 18 | sextet(b)? << 12 | sextet(c)? << 6 | sextet(d)?;
        out.extend_from_slice(&word.to_be_bytes()[1..]);
    }
    // The bits of the last group that reach no byte are ignored, as most decoders do.
    let (word, bytes) = match *last {
        [a, b, b'=', b'='] => (sextet(a)? << 18 | sextet(b)? << 12, 1),
        [a, b, c, b'='] => (sextet(a)? << 18 | sextet(b)? << 12 | sextet(c)? << 6, 2),
        [a, b, c, d] => (
            sextet(a)? << 18 | sextet(b)? << 12 | sextet(c)? << 6 | sextet(d)?,
            3,
        ),
    };
    out.extend_from_slice(&word.to_be_bytes()[1..=bytes]);
    Some(())
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}
