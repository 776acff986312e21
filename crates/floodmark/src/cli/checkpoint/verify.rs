//! `floodmark checkpoint verify`.

use anyhow::anyhow;
use floodmark_engine::checkpoint::Verified;

use super::place::Place;
use super::{Format, Where, print_json, say};
use crate::cli::exit::Failure;
use crate::cli::words::{bytes, count};

pub(super) fn run(at: &Where) -> Result<(), Failure> {
    let place = Place::open(&at.place)?;
    let verified = place.io.block_on(place.checkpoints.verify());
    let verified = verified.map_err(anyhow::Error::from)?;
    if at.format == Format::Json {
        print_json(&verified)?;
    } else if verified.newest.is_none() {
        say(&place.without_checkpoints())?;
    } else {
        say(&summary(&verified))?;
        for damage in &verified.damage {
            say(&format!(
                "{} of checkpoint {}: {}",
                damage.object, damage.epoch, damage.reason
            ))?;
        }
    }
    match way_out(&verified) {
        None => Ok(()),
        Some(way_out) => Err(Failure::Runtime(anyhow!(way_out))),
    }
}

fn summary(verified: &Verified) -> String {
    format!(
        "read {} and {}, {}: {}",
        count(verified.manifests as u64, "checkpoint"),
        count(verified.state_files as u64, "state file"),
        bytes(verified.bytes),
        match verified.damage.len() {
            0 => "all sound".to_owned(),
            damaged => format!("{damaged} damaged"),
        }
    )
}

/// What to do about it: the newest checkpoint is the one that counts.
fn way_out(verified: &Verified) -> Option<String> {
    let of_newest = verified
        .damage
        .iter()
        .find(|damage| Some(damage.epoch) == verified.newest);
    if let Some(damage) = of_newest {
        return Some(format!(
            "the newest checkpoint, {}, cannot be used: the pipeline will not start. Restore the \
             objects named above from a backup, or start with a new checkpoint path (the topic is \
             then read again from `start`, and all results are written again)",
            damage.epoch
        ));
    }
    let damage = verified.damage.first()?;
    Some(format!(
        "checkpoint {} is damaged. The newest one is sound and the only one that is used: the \
         pipeline runs, and removes the older ones in time. Find out what has changed the files",
        damage.epoch
    ))
}
