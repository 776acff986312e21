//! Sink threads: one a sink, driven through one bounded queue.

use std::sync::mpsc::{RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::error::EngineError;
use super::message::{Message, SharedCount, SinkCommand, SinkId, SinkInbox, lock};
use crate::sink::Sink;

/// Batches that may wait for a sink before its workers block.
pub(super) const SINK_QUEUE: usize = 16;

/// Longest wait for a command before the sink is asked again what is due.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// Drives `sink` until the queue is closed.
pub(super) fn drive(
    id: SinkId,
    name: &str,
    mut sink: Box<dyn Sink>,
    queue: &SinkInbox,
    inbox: &SyncSender<Message>,
    count: &SharedCount,
) {
    let outcome = serve(id, sink.as_mut(), queue, inbox, count);
    if let Err(source) = outcome {
        let error = EngineError::Sink {
            sink: name.to_owned(),
            source,
        };
        // If the coordinator has gone, it has an error of its own to report.
        let _ = inbox.send(Message::Failed(error));
    }
}

fn serve(
    id: SinkId,
    sink: &mut dyn Sink,
    queue: &SinkInbox,
    inbox: &SyncSender<Message>,
    count: &SharedCount,
) -> Result<(), crate::sink::SinkError> {
    loop {
        let (committed, wait) = sink.poll()?;
        *lock(count) += committed;
        let wait = wait.map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT));
        let command = match queue.recv_timeout(wait) {
            Ok(command) => command,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let reply = match command {
            SinkCommand::Write(rows, progress) => {
                sink.write(rows, &progress)?;
                continue;
            }
            SinkCommand::PreCommit { epoch, last } => {
                let pre_commit = sink.pre_commit(epoch, last)?;
                // A sink ahead of the checkpoint has committed here; what it has to report comes
                // with the next poll.
                *lock(count) += sink.poll()?.0;
                Message::PreCommitted {
                    sink: id,
                    pre_commit,
                    committed: *lock(count),
                }
            }
            SinkCommand::Commit(permit) => {
                let committed = sink.commit(&permit)?;
                *lock(count) += committed;
                Message::Committed { sink: id }
            }
        };
        if inbox.send(reply).is_err() {
            return Ok(());
        }
    }
}
