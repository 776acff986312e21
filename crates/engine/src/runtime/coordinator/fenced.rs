//! Fenced: by whom, or by nobody.

use std::time::Duration;

use super::Coordinator;
use crate::runtime::error::EngineError;
use crate::runtime::message::Message;
use crate::sink::SinkError;
use crate::storage::RETRY_TIMEOUT;

/// Longest wait for a task that has the checkpoint store: storage gives up before.
const STORE_WAIT: Duration = RETRY_TIMEOUT.saturating_add(Duration::from_secs(10));

impl Coordinator {
    /// Says who has fenced this instance, and tells that from a server which has given up on its
    /// transaction: taking over always begins with the checkpoint.
    pub(super) fn blame(&mut self, error: EngineError) -> EngineError {
        let sink = match &error {
            EngineError::Fenced { .. } => None,
            EngineError::Sink {
                sink,
                source: SinkError::Fenced { attempted },
            } => Some((sink.clone(), attempted.clone())),
            _ => return error,
        };
        self.wait_for_store();
        let newest = self
            .checkpoint
            .store
            .as_mut()
            .map(|store| self.tokio.block_on(store.newest()));
        let Some(Ok(Some(newest))) = newest else {
            return error;
        };
        match sink {
            Some((sink, attempted)) if newest.instance == self.instance => EngineError::Sink {
                sink,
                source: SinkError::Failed {
                    attempted,
                    reason:
                        "the broker has given up on this instance's transaction: it took longer \
                             than its timeout, or an instance that has lost the checkpoint to this \
                             one came to the broker later; a restart goes on"
                            .to_owned(),
                },
            },
            _ if newest.instance == self.instance => error,
            _ => EngineError::fenced_by(&newest),
        }
    }

    /// Waits until a task that has the store gives it back, as it does soon: storage gives up
    /// after its own limit.
    fn wait_for_store(&mut self) {
        while self.checkpoint.store.is_none() {
            match self.inbox.recv_timeout(STORE_WAIT) {
                Ok(Message::Stored { store, .. } | Message::Collected { store }) => {
                    self.checkpoint.store = Some(store);
                }
                // The store has gone with its error.
                Ok(Message::Failed(EngineError::Checkpoint(_))) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}
