//! Where events go.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use floodmark_generator::Batch;
use floodmark_pipeline::KafkaCluster;

use super::Args;
use super::kafka::KafkaTarget;
use super::plan::Plan;
use super::values::Output;

/// Where events go.
#[derive(Debug)]
pub(in crate::cli) enum Target {
    /// A Kafka topic.
    Kafka(KafkaTarget),
    /// A file, with its name.
    File(File, String),
    /// Standard output.
    Stdout,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Sent {
    /// It is on its way.
    Accepted,
    /// Whoever read standard output stopped reading.
    ReaderGone,
}

impl Target {
    /// Opens what the flags name.
    pub(super) fn open(
        args: &Args,
        cluster: Option<&KafkaCluster>,
        plan: &Plan,
    ) -> anyhow::Result<Self> {
        match (&args.out, cluster, &args.topic) {
            (Some(Output::File(path)), ..) => {
                let name = path.display().to_string();
                let file = File::create(path).with_context(|| format!("cannot create {name}"))?;
                Ok(Self::File(file, name))
            }
            (None, Some(cluster), Some(topic)) => {
                Ok(Self::Kafka(KafkaTarget::open(cluster, topic, plan.rate)?))
            }
            // The flags' parser sees to it that there is a target.
            _ => Ok(Self::Stdout),
        }
    }

    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// Takes a batch over; waits while there is no room for it.
    pub(super) fn send(&mut self, batch: &Batch) -> anyhow::Result<Sent> {
        match self {
            Self::Kafka(target) => target.send(batch)?,
            Self::File(file, name) => file
                .write_all(batch.bytes())
                .with_context(|| format!("cannot write to {name}"))?,
            Self::Stdout => match io::stdout().lock().write_all(batch.bytes()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Sent::ReaderGone),
                result => result.context("cannot write to standard output")?,
            },
        }
        Ok(Sent::Accepted)
    }

    /// Returns once everything taken over is delivered.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Kafka(target) => target.finish(),
            Self::File(file, name) => file
                .sync_all()
                .or_else(|error| match error.kind() {
                    // A pipe or a device has nothing to sync.
                    ErrorKind::InvalidInput => Ok(()),
                    _ => Err(error),
                })
                .with_context(|| format!("cannot write to {name}")),
            Self::Stdout => match io::stdout().flush() {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                result => result.context("cannot write to standard output"),
            },
        }
    }
}
