//! A checkpoint manifest from any bytes, and from any JSON behind a sound header.
//!
//! `cargo +nightly fuzz run checkpoint` from the repository's root. The first byte of an input says
//! whether the rest is the whole object, or JSON whose length and checksum are right: what damage
//! or a forger can do, and what they could do if they knew the checksum. What is accepted comes
//! back from its own bytes as it was, and recovery decides on it without a panic.

#![no_main]

use floodmark_engine::checkpoint::{
    Decision, Expected, Manifest, decide, decode_manifest, encode_manifest, frame_manifest,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else {
        return;
    };
    let framed;
    let bytes = if choice % 4 == 0 {
        rest
    } else {
        framed = frame_manifest(rest);
        &framed
    };
    let Ok(manifest) = decode_manifest(bytes) else {
        return;
    };
    let again = encode_manifest(&manifest).expect("what was decoded can be encoded");
    assert_eq!(decode_manifest(&again).expect("its own bytes"), manifest);
    let owner = owner_of(&manifest);
    let decision = decide(Some(manifest), &owner);
    assert_ne!(decision, Decision::Start, "a checkpoint is never overlooked");
});

/// The pipeline that wrote it, by all that recovery compares.
fn owner_of(manifest: &Manifest) -> Expected {
    Expected {
        pipeline: manifest.pipeline.clone(),
        sources: (manifest.sources.iter())
            .map(|(name, source)| (name.clone(), source.origin.clone()))
            .collect(),
        windows: (manifest.windows.iter())
            .map(|(name, window)| (name.clone(), window.fingerprint.clone()))
            .collect(),
        sinks: manifest.sinks.keys().cloned().collect(),
    }
}
