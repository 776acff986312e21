//! Sink threads: one a sink, driven through one bounded queue.

use std::sync::mpsc::{RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::error::EngineError;
use super::message::{Message, SharedCount, SinkCommand, SinkId, SinkInbox, lock};
use crate::sink::{Committed, Sink};
use crate::telemetry::{SinkWatch, spans, thread_cpu};

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
    watch: SinkWatch,
) {
    let mut counted = Counted {
        count,
        watch,
        writing: Duration::ZERO,
    };
    let outcome = serve(id, sink.as_mut(), queue, inbox, &mut counted);
    if let Err(source) = outcome {
        let error = EngineError::Sink {
            sink: name.to_owned(),
            cause: source,
        };
        // If the coordinator has gone, it has an error of its own to report.
        let _ = inbox.send(Message::Failed(error));
    }
}

/// What has become visible, and who is told.
struct Counted<'a> {
    count: &'a SharedCount,
    watch: SinkWatch,
    /// How long the last write took, which may have committed.
    writing: Duration,
}

impl Counted<'_> {
    /// Something may have become visible by what began then.
    fn add(&mut self, committed: Committed, began: Instant) {
        *lock(self.count) += committed;
        let rows = committed.rows + committed.refused;
        if rows > 0 {
            self.watch.shown(rows, began.elapsed() + self.writing);
        }
        self.writing = Duration::ZERO;
    }
}

fn serve(
    id: SinkId,
    sink: &mut dyn Sink,
    queue: &SinkInbox,
    inbox: &SyncSender<Message>,
    counted: &mut Counted<'_>,
) -> Result<(), crate::sink::SinkError> {
    loop {
        let began = Instant::now();
        let (committed, wait) = sink.poll()?;
        counted.add(committed, began);
        counted.watch.meter().has_spent(thread_cpu());
        let wait = wait.map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT));
        let command = match queue.recv_timeout(wait) {
            Ok(command) => command,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        counted.watch.meter().left();
        let began = Instant::now();
        let reply = match command {
            SinkCommand::Write(rows, progress, told) => {
                counted.watch.writes(&rows, &progress, told, sink);
                sink.write(rows, &progress)?;
                counted.writing = began.elapsed();
                continue;
            }
            SinkCommand::PreCommit {
                epoch,
                last,
                offsets,
                span,
            } => {
                sink.describe_offsets(&offsets);
                let pre_commit = spans::within(&span, || sink.pre_commit(epoch, last))?;
                // A sink ahead of the checkpoint has committed here; what it has to report comes
                // with the next poll.
                counted.add(sink.poll()?.0, began);
                Message::PreCommitted {
                    sink: id,
                    pre_commit,
                    committed: *lock(counted.count),
                }
            }
            SinkCommand::Commit(permit, span) => {
                let committed = spans::within(&span, || sink.commit(&permit))?;
                spans::committed(&span, committed.rows);
                counted.add(committed, began);
                Message::Committed { sink: id }
            }
        };
        if inbox.send(reply).is_err() {
            return Ok(());
        }
    }
}
