//! One connection: reads a frame, has it answered, writes the answer, and again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::api::{self, Answer, Ends, RequestError};
use crate::core::Core;
use crate::memory::{MemoryBudget, Paid};
use crate::units::Now;

/// Largest request, as Kafka's `socket.request.max.bytes`.
const MAX_FRAME: usize = 100 << 20;
/// What every connection may hold of an unfinished frame; more is taken from the broker's budget.
const FREE_BYTES: usize = 64 << 10;
/// A connection that sends nothing for so long is closed, as Kafka's `connections.max.idle.ms`.
const IDLE: Duration = Duration::from_mins(10);
/// A frame or an answer that stands still for so long ends its connection.
const STALL: Duration = Duration::from_secs(30);
/// Pause before asking again for memory that unfinished frames of others hold.
const MEMORY_PAUSE: Duration = Duration::from_millis(5);
/// Length of the length in front of a frame.
const PREFIX: usize = 4;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a frame of {0} bytes is announced, from 1 to {MAX_FRAME} are possible")]
    FrameLength(i32),
    #[error("the client left in the middle of a frame")]
    CutShort,
    #[error("nothing moved for {} s", STALL.as_secs())]
    Stalled,
    #[error("clients that do not read their answers hold all the memory for large ones")]
    Crowded,
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl ConnectionError {
    /// Whether the mistake is the broker's.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Request(RequestError::Answer { .. }))
    }
}

/// Serves a connection until the client leaves.
pub(crate) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    core: &Core,
) -> Result<(), ConnectionError> {
    let ends = Ends {
        peer,
        local: stream.local_addr()?,
    };
    let (reader, mut writer) = stream.split();
    let mut frames = Frames::new(reader, core.requests.clone());
    while let Some(frame) = frames.next().await? {
        if let Some(answer) = api::answer(core, frame, ends, Now::read()).await? {
            let paid = pay(core, &answer)?;
            write(&mut writer, answer.bytes.freeze()).await?;
            drop((paid, answer.paid));
        }
        frames.answered();
    }
    Ok(())
}

/// Pays for a large answer that nobody has paid for. A client that asks for one while clients that do
/// not read hold all there is has to come again.
fn pay(core: &Core, answer: &Answer) -> Result<Option<Paid>, ConnectionError> {
    if answer.paid.is_some() || answer.bytes.len() <= FREE_BYTES {
        return Ok(None);
    }
    let paid = core.responses.pay(answer.bytes.len());
    paid.map(Some).ok_or(ConnectionError::Crowded)
}

async fn write(writer: &mut WriteHalf<'_>, mut answer: Bytes) -> Result<(), ConnectionError> {
    while answer.has_remaining() {
        let written = timeout(STALL, writer.write_buf(&mut answer))
            .await
            .map_err(|_| ConnectionError::Stalled)??;
        if written == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
    }
    Ok(())
}

/// Cuts what a client sends into frames.
struct Frames<'a> {
    reader: ReadHalf<'a>,
    buffer: BytesMut,
    budget: MemoryBudget,
    /// Bytes taken from the budget for the frame at hand.
    paid: usize,
}

impl<'a> Frames<'a> {
    fn new(reader: ReadHalf<'a>, budget: MemoryBudget) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            budget,
            paid: 0,
        }
    }

    /// The next frame without its length; nothing when the client has left.
    async fn next(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        loop {
            let missing = match self.buffer.first_chunk::<PREFIX>() {
                None => FREE_BYTES,
                Some(prefix) => {
                    let announced = i32::from_be_bytes(*prefix);
                    let length = usize::try_from(announced)
                        .ok()
                        .filter(|length| (1..=MAX_FRAME).contains(length))
                        .ok_or(ConnectionError::FrameLength(announced))?;
                    match (PREFIX + length).checked_sub(self.buffer.len()) {
                        None | Some(0) => {
                            self.buffer.advance(PREFIX);
                            return Ok(Some(self.buffer.split_to(length).freeze()));
                        }
                        Some(missing) => missing,
                    }
                }
            };
            self.make_room(missing).await?;
            let patience = if self.buffer.is_empty() { IDLE } else { STALL };
            let read = timeout(patience, self.reader.read_buf(&mut self.buffer))
                .await
                .map_err(|_| ConnectionError::Stalled)??;
            match (read, self.buffer.is_empty()) {
                (0, true) => return Ok(None),
                (0, false) => return Err(ConnectionError::CutShort),
                _ => {}
            }
        }
    }

    /// Room for at most `missing` bytes. It at most doubles what is there already: an announced length
    /// costs nothing until its bytes have come.
    async fn make_room(&mut self, missing: usize) -> Result<(), ConnectionError> {
        let room = missing.min(self.buffer.len().max(FREE_BYTES));
        let wanted = (self.buffer.len() + room).saturating_sub(FREE_BYTES);
        if wanted > self.paid {
            let pay = async {
                while !self.budget.try_take(wanted - self.paid) {
                    tokio::time::sleep(MEMORY_PAUSE).await;
                }
            };
            timeout(STALL, pay)
                .await
                .map_err(|_| ConnectionError::Stalled)?;
            self.paid = wanted;
        }
        self.buffer.reserve(room);
        Ok(())
    }

    /// The frame at hand is done with.
    fn answered(&mut self) {
        self.budget.give_back(self.paid);
        self.paid = 0;
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        self.answered();
    }
}
