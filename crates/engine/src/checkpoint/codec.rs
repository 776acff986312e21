//! Bytes of manifests and state files.
//!
//! A manifest is one header line, `floodmark-checkpoint <format> crc32=<8 hex> bytes=<n>`, and then
//! JSON that a person can read. A state file is an Arrow IPC stream per batch schema; its CRC
//! stands in the manifest. Damage is found before anything is believed.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

use super::manifest::{Manifest, StateFile};

/// Version of the manifest format that this build writes; it reads no newer one.
const FORMAT: u32 = 1;
const MAGIC: &str = "floodmark-checkpoint";

/// Why bytes are not a checkpoint this build can use.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer Floodmark.
    #[error(
        "it has format {found}, this build of Floodmark reads up to format {FORMAT}: \
         run it with a newer Floodmark, or start with a new checkpoint path"
    )]
    Newer {
        /// The format found.
        found: u32,
    },
    /// Not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Encodes a manifest.
pub fn encode_manifest(manifest: &Manifest) -> Result<Vec<u8>, CodecError> {
    let mut json =
        serde_json::to_vec_pretty(manifest).map_err(|e| CodecError::Damaged(e.to_string()))?;
    json.push(b'\n');
    Ok(frame_manifest(&json))
}

/// Puts the header before the JSON of a manifest, whatever it says.
pub fn frame_manifest(json: &[u8]) -> Vec<u8> {
    let mut bytes = header_of(crc32fast::hash(json), json.len()).into_bytes();
    bytes.extend_from_slice(json);
    bytes
}

fn header_of(crc: u32, length: usize) -> String {
    format!("{MAGIC} {FORMAT} crc32={crc:08x} bytes={length}\n")
}

/// Decodes a manifest; damaged bytes are refused, never half-read.
pub fn decode_manifest(bytes: &[u8]) -> Result<Manifest, CodecError> {
    let damaged = |what: &str| CodecError::Damaged(what.to_owned());
    let end = bytes.iter().take(200).position(|b| *b == b'\n');
    let (header, json) = bytes.split_at(end.ok_or_else(|| damaged("no header line"))? + 1);
    let header = std::str::from_utf8(header).map_err(|_| damaged("header is not text"))?;
    let mut words = header.trim_end().split(' ');
    if words.next() != Some(MAGIC) {
        return Err(damaged("not a Floodmark checkpoint"));
    }
    let format: u32 = words
        .next()
        .and_then(|w| w.parse().ok())
        .ok_or_else(|| damaged("no format number"))?;
    if format > FORMAT {
        return Err(CodecError::Newer { found: format });
    }
    let announced = words.next_back().unwrap_or_default();
    if announced != format!("bytes={}", json.len()) {
        return Err(CodecError::Damaged(format!(
            "{} bytes after the header, {announced} announced",
            json.len()
        )));
    }
    // To the letter: the header has no checksum of its own, and numbers can be written in many ways.
    if header != header_of(crc32fast::hash(json), json.len()) {
        return Err(damaged("its checksum does not match"));
    }
    let manifest: Manifest = serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))?;
    manifest.check().map_err(CodecError::Damaged)?;
    Ok(manifest)
}

/// Encodes batches, whose schemas may differ, as the content of a state file; what comes beside it
/// goes into the manifest.
pub fn encode_batches<'a>(
    batches: impl IntoIterator<Item = &'a RecordBatch>,
) -> Result<(Vec<u8>, StateFile), ArrowError> {
    let mut bytes = Vec::new();
    for batch in batches {
        let mut stream = Vec::new();
        let mut writer = StreamWriter::try_new(&mut stream, batch.schema_ref())?;
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        bytes.extend_from_slice(&(stream.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&stream);
    }
    let file = StateFile {
        bytes: bytes.len() as u64,
        crc32: crc32fast::hash(&bytes),
    };
    Ok((bytes, file))
}

/// Decodes the content of a state file. Bytes that are not those that `expected` was made of are
/// refused before anything looks into them: the IPC reader trusts what it is given.
pub fn decode_batches(
    mut bytes: &[u8],
    expected: &StateFile,
) -> Result<Vec<RecordBatch>, CodecError> {
    let damaged = |what: &str| CodecError::Damaged(what.to_owned());
    if bytes.len() as u64 != expected.bytes || crc32fast::hash(bytes) != expected.crc32 {
        return Err(damaged(
            "its length or checksum is not what the manifest says",
        ));
    }
    let unread = |error: ArrowError| CodecError::Damaged(error.to_string());
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged("cut in a length"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (stream, rest) = rest
            .split_at_checked(length)
            .ok_or_else(|| damaged("cut in a batch"))?;
        let mut reader = StreamReader::try_new(stream, None).map_err(unread)?;
        let batch = reader.next().transpose().map_err(unread)?;
        batches.push(batch.ok_or_else(|| damaged("an empty stream"))?);
        bytes = rest;
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::super::manifest::tests::any_manifest;
    use super::*;

    proptest! {
        #[test]
        fn a_manifest_comes_back_as_it_was(manifest in any_manifest()) {
            let bytes = encode_manifest(&manifest).unwrap();
            prop_assert_eq!(decode_manifest(&bytes).unwrap(), manifest);
        }

        #[test]
        fn a_manifest_with_any_bit_flipped_or_cut_anywhere_is_refused(
            manifest in any_manifest(),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut bytes = encode_manifest(&manifest).unwrap();
            let at = at.index(bytes.len());
            prop_assert!(decode_manifest(&bytes[..at]).is_err());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode_manifest(&bytes).is_err(), "byte {}", at);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode_manifest(&bytes).is_err());
            let other = StateFile { bytes: bytes.len() as u64, crc32: !crc32fast::hash(&bytes) };
            prop_assert!(decode_batches(&bytes, &other).is_err());
        }

        #[test]
        fn batches_come_back_as_they_were_and_damaged_ones_not_at_all(
            numbers in prop::collection::vec(any::<i64>(), 0..50),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let text: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.iter().map(i64::to_string)));
            let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
            let one = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
            let other = RecordBatch::try_from_iter([("t", text)]).unwrap();
            let (mut bytes, file) = encode_batches([&one, &other]).unwrap();
            prop_assert_eq!(decode_batches(&bytes, &file).unwrap(), vec![one, other]);
            let at = at.index(bytes.len());
            prop_assert!(decode_batches(&bytes[..at], &file).is_err());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode_batches(&bytes, &file).is_err());
        }
    }

    #[test]
    fn a_header_that_says_the_same_in_other_letters_is_damage() {
        let json = "{}\n";
        let crc = crc32fast::hash(json.as_bytes());
        for header in [
            format!("{MAGIC} +1 crc32={crc:08x} bytes=3\n"),
            format!("{MAGIC} 1 crc32={crc:08X} bytes=3\n"),
            format!("{MAGIC} 1 crc32={crc:08x} bytes=03\n"),
            format!("{MAGIC} 1 crc32={crc:08x}  bytes=3\n"),
        ] {
            if header == header_of(crc, 3) {
                continue; // a checksum without letters
            }
            let error = decode_manifest(format!("{header}{json}").as_bytes()).unwrap_err();
            let CodecError::Damaged(reason) = error else {
                panic!("{error}")
            };
            assert!(
                reason.contains("checksum") || reason.contains("announced"),
                "{header}: {reason}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let bytes = b"floodmark-checkpoint 2 crc32=00000000 bytes=0\n";
        assert!(matches!(
            decode_manifest(bytes),
            Err(CodecError::Newer { found: 2 })
        ));
    }
}
