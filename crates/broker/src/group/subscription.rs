//! The topics that a consumer's metadata names: all that the broker reads of what members tell each other.

/// The topics in a consumer's subscription (`ConsumerProtocolSubscription`, of which version 0 is a
/// prefix of every later one), or `None` if the bytes are something else.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let (_version, mut rest) = metadata.split_first_chunk::<2>()?;
    let mut topics = Vec::new();
    for _ in 0..u32::try_from(take_i32(&mut rest)?).ok()? {
        topics.push(take_string(&mut rest)?);
    }
    Some(topics)
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (value, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(i32::from_be_bytes(*value))
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(value).ok()
}
