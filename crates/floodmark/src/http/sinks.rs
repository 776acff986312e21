//! Everything that rows go to, under the names by which it is shown.

use floodmark_engine::runtime::{DEAD_LETTER, LATE, OutputStatus, Status};

/// Label of dead letters among outputs.
pub(super) const DEAD_LETTER_LABEL: &str = "dead_letter";
/// Label of late rows among outputs.
pub(super) const LATE_LABEL: &str = "late";

/// Everything that rows go to: label, name in checkpoints, and where it stands.
pub(super) fn sinks(status: &Status) -> impl Iterator<Item = (&str, &str, &OutputStatus)> {
    let outputs = status.outputs.iter();
    let outputs = outputs.map(|(name, output)| (name.as_str(), name.as_str(), output));
    let dead = status.dead_letter.iter();
    let late = status.late.iter();
    outputs
        .chain(dead.map(|output| (DEAD_LETTER_LABEL, DEAD_LETTER, output)))
        .chain(late.map(|output| (LATE_LABEL, LATE, output)))
}
