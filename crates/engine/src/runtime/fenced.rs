//! Fenced: by whom, or by nobody.
//!
//! An instance learns late and indirectly that another one has replaced it: its epoch is taken, its
//! producers are refused, or what its checkpoint lists is gone. The last two also happen to an
//! instance that still owns the pipeline. Which of them it is decides whether a supervisor may start
//! it again, so the checkpoint is asked, with which taking over always begins:
//!
//! | what happened | the checkpoint is ours | another's | cannot be read |
//! |---|---|---|---|
//! | a sink was fenced | ousted: [begin anew](super::keep) | fenced, by name | fenced: do not start again |
//! | an object is missing | it is missing | fenced, by name | why it cannot be read |
//! | the epoch was taken | fenced | fenced, by name | fenced |

use super::error::EngineError;
use crate::checkpoint::{CheckpointError, CheckpointStore, Owner, owner};
use crate::sink::SinkError;

/// Tells an instance that was replaced from one that has a trouble of its own; see the module.
pub async fn blame(
    error: EngineError,
    checkpoints: &mut CheckpointStore,
    instance: &str,
) -> EngineError {
    let is_missing = matches!(
        error,
        EngineError::Checkpoint(CheckpointError::Missing { .. })
    );
    if !is_missing && !error.is_fenced() {
        return error;
    }
    match (owner(checkpoints, instance).await, error) {
        (Owner::Successor(newest), _) => EngineError::fenced_by(&newest),
        (
            Owner::Ourselves,
            EngineError::Sink {
                sink,
                cause: SinkError::Fenced { attempted },
            },
        ) => EngineError::Ousted { sink, attempted },
        (Owner::Unknown(unread), _) if is_missing => unread.into(),
        (Owner::Ourselves | Owner::Unknown(_), error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Manifest, Stored};
    use crate::storage::Store;
    use crate::units::{Epoch, Generation};

    /// Checkpoints of instances that took over one after the other.
    async fn owned_by(instances: &[&str]) -> (Store, CheckpointStore) {
        let store = Store::in_memory();
        let mut checkpoints = CheckpointStore::new(store.clone(), 3);
        for (number, instance) in (1..).zip(instances) {
            let (epoch, generation) = (Epoch(number), Generation(number));
            let mut manifest = Manifest::blank("p", epoch, generation, instance, 0);
            manifest.lineage = "chain".to_owned();
            let stored = checkpoints.put(&manifest).await.expect("stored");
            assert_eq!(stored, Stored::Ours);
        }
        (store, checkpoints)
    }

    fn sink_fenced() -> EngineError {
        EngineError::Sink {
            sink: "alerts".to_owned(),
            cause: SinkError::Fenced {
                attempted: "writing to topic 'alerts'".to_owned(),
            },
        }
    }

    fn missing() -> EngineError {
        let name = "state/gone".to_owned();
        CheckpointError::Missing { name }.into()
    }

    fn epoch_taken() -> EngineError {
        EngineError::Fenced {
            by: "another instance, which has put checkpoint 7".to_owned(),
        }
    }

    #[tokio::test]
    async fn who_was_replaced_is_fenced_and_names_its_successor_whatever_it_noticed_first() {
        let (_, mut checkpoints) = owned_by(&["first", "second"]).await;
        for noticed in [sink_fenced(), missing(), epoch_taken()] {
            let error = blame(noticed, &mut checkpoints, "first").await;
            assert!(error.is_fenced(), "{error}");
            let text = error.to_string();
            let named = "instance second (generation 2, checkpoint 2)";
            assert!(text.contains(named), "{text}");
        }
    }

    #[tokio::test]
    async fn who_still_owns_the_checkpoint_may_start_again() {
        let (_, mut checkpoints) = owned_by(&["first"]).await;
        let error = blame(sink_fenced(), &mut checkpoints, "first").await;
        assert!(!error.is_fenced(), "{error}");
        let text = error.to_string();
        assert!(text.contains("output 'alerts'"), "{text}");
        assert!(text.contains("no other instance has taken over"), "{text}");

        let error = blame(missing(), &mut checkpoints, "first").await;
        assert!(error.to_string().contains("'state/gone' is missing"));
    }

    #[tokio::test]
    async fn who_cannot_tell_stops_if_it_was_fenced_and_says_why_if_something_is_missing() {
        let (store, mut checkpoints) = owned_by(&["first"]).await;
        store.put("newest", "no number".into()).await.expect("put");
        let error = blame(sink_fenced(), &mut checkpoints, "first").await;
        assert!(error.is_fenced(), "{error}");
        let error = blame(missing(), &mut checkpoints, "first").await;
        assert!(error.to_string().contains("holds no epoch's number"));
    }

    #[tokio::test]
    async fn a_trouble_of_its_own_is_left_as_it_is() {
        let (_, mut checkpoints) = owned_by(&["first", "second"]).await;
        let own = EngineError::internal("worker", "it panicked");
        let error = blame(own, &mut checkpoints, "first").await;
        assert!(matches!(error, EngineError::Internal { .. }), "{error}");
    }
}
