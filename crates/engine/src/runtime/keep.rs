//! Going on after having been ousted.
//!
//! A broker may refuse the transactions of an instance that nobody has replaced: it was paused for
//! longer than a transaction may take, or an instance that *had* been replaced opened its producers
//! before it noticed. What was in the open transaction is gone, so the run cannot go on; but the
//! pipeline is still its own, and nobody else would take it up. So it does what a supervisor would: it
//! begins anew, as an instance of another name, from the newest checkpoint.

use super::coordinator::{Finished, run};
use super::error::EngineError;
use super::start::Parts;
use super::status::{Phase, StatusBoard};
use super::{RunOptions, StopSignal};

/// Runs in a row that may be ousted before they have completed a checkpoint.
const MOST_IN_VAIN: u32 = 3;

/// Runs a pipeline as [`run`] does, and begins anew if it is ousted. `connect` makes the parts of one
/// run, each time of an instance with a name of its own.
pub fn keep_running(
    mut connect: impl FnMut() -> Result<Parts, EngineError>,
    options: RunOptions,
    stop: &StopSignal,
    board: &StatusBoard,
) -> Result<Finished, EngineError> {
    let mut in_vain = 0;
    loop {
        let outcome = connect().and_then(|parts| run(parts, options, stop, board));
        let Err(error @ EngineError::Ousted { .. }) = outcome else {
            return outcome;
        };
        let mut status = board.read();
        in_vain = match status.checkpoint.completed {
            0 => in_vain + 1,
            _ => 0,
        };
        if in_vain == MOST_IN_VAIN {
            return Err(error);
        }
        tracing::warn!(%error, checkpoint = status.checkpoint.epoch.0, "beginning anew from the checkpoint");
        // The figures stay for those who look, until the next run has its own.
        status.phase = Phase::Starting;
        status.checkpoint.completed = 0;
        board.post(status);
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::Status;
    use super::*;

    fn ousted() -> EngineError {
        EngineError::Ousted {
            sink: "alerts".to_owned(),
            attempted: "writing to topic 'alerts'".to_owned(),
        }
    }

    /// How often it begins when the beginnings end like this.
    fn begins(board: &StatusBoard, mut ends: impl FnMut(u32) -> EngineError) -> (u32, EngineError) {
        let mut begun = 0;
        let connect = || {
            begun += 1;
            Err(ends(begun))
        };
        let outcome = keep_running(connect, RunOptions::default(), &StopSignal::new(), board);
        let error = outcome.expect_err("none of them runs");
        (begun, error)
    }

    #[test]
    fn who_is_ousted_again_and_again_gives_up() {
        let (begun, error) = begins(&StatusBoard::new(), |_| ousted());
        assert_eq!(begun, MOST_IN_VAIN);
        assert!(matches!(error, EngineError::Ousted { .. }), "{error}");
    }

    #[test]
    fn a_checkpoint_shows_that_it_is_worth_going_on() {
        let board = StatusBoard::new();
        let (begun, _) = begins(&board, |begun| {
            if begun == 2 {
                let mut status = Status::default();
                status.checkpoint.completed = 1;
                board.post(status);
            }
            ousted()
        });
        assert_eq!(begun, 2 + MOST_IN_VAIN);
        assert_eq!(board.read().phase, Phase::Starting);
    }

    #[test]
    fn any_other_end_is_the_end() {
        let (begun, error) = begins(&StatusBoard::new(), |begun| match begun {
            1 => ousted(),
            _ => EngineError::internal("worker", "it panicked"),
        });
        assert_eq!(begun, 2);
        assert!(matches!(error, EngineError::Internal { .. }), "{error}");
    }
}
