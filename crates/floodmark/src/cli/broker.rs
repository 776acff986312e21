//! `floodmark broker`: the embedded broker on its own.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use floodmark_broker::{Broker, Fsync, StartError};

use super::engine::TICK;
use super::exit::Failure;
use super::log;
use crate::os::StopFlag;

/// When data reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum When {
    /// When a file is full, in the background, and at a clean end: a power failure may take the newest
    /// records.
    #[default]
    OnRoll,
    /// Before each acknowledgement: slow.
    Always,
}

/// Run an embedded broker that speaks the Kafka protocol: for trying, tests and CI
///
/// One process, one node, not for production. Without --data everything is in memory and gone at the
/// end. With it, whatever was acknowledged survives, also a `kill -9`. Ctrl-C (or SIGTERM) ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 ended by a signal, 1 failed, 2 usage.

Examples:
  floodmark broker
  floodmark broker --listen 127.0.0.1:0 --auto-create
  floodmark broker --data ./broker-data --fsync always")]
pub(crate) struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    listen: String,

    /// Directory that keeps topics, groups and transactions; without it, they are in memory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Most bytes that records may take in memory; a full broker refuses more
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = size)]
    memory_limit: usize,

    /// Partitions of a topic whose creator does not say
    #[arg(long, default_value = "3", value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,

    /// Make topics that a client asks for and that do not exist
    #[arg(long)]
    auto_create: bool,

    /// When data reaches the disk
    #[arg(
        long,
        default_value = "on-roll",
        value_name = "WHEN",
        requires = "data"
    )]
    fsync: When,

    #[command(flatten)]
    log: log::LogArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    log::init(&args.log, log::LogWriter::new(None), None, None);
    let stop = StopFlag::install();
    let broker = start(args)?;
    introduce(args, &broker.address().to_string()).context("writing to standard output")?;
    while !stop.is_set() {
        std::thread::sleep(TICK);
    }
    broker.stop().context("stopping the broker")?;
    Ok(())
}

fn start(args: &Args) -> anyhow::Result<Broker> {
    let mut builder = Broker::builder()
        .listen(&args.listen)
        .memory_limit(args.memory_limit)
        .default_partitions(args.partitions)
        .fsync(match args.fsync {
            When::OnRoll => Fsync::OnRoll,
            When::Always => Fsync::Always,
        });
    if let Some(data) = &args.data {
        builder = builder.data_dir(data);
    }
    if args.auto_create {
        builder = builder.auto_create_topics(args.partitions);
    }
    builder.start().map_err(explain)
}

/// The error with the flag that leads out of it.
pub(super) fn explain(error: StartError) -> anyhow::Error {
    match error {
        StartError::AddressInUse { address } => anyhow!(
            "{address} is taken: another program listens there; stop it, or give --listen another \
             port (127.0.0.1:0 takes a free one)"
        ),
        error => anyhow!(error).context("starting the broker"),
    }
}

fn introduce(args: &Args, address: &str) -> std::io::Result<()> {
    let kept = match &args.data {
        Some(data) => format!("kept in {}", data.display()),
        None => format!(
            "in memory, at most {}, gone at the end",
            indicatif::BinaryBytes(args.memory_limit as u64)
        ),
    };
    let create = if args.auto_create {
        String::new()
    } else {
        format!("  kafka-topics.sh --bootstrap-server {address} --create --topic try\n")
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "broker on {address}: speaks the Kafka protocol; for trying, tests and CI, not for production\n\
         records are {kept}\n\n\
         {create}  \
         echo hello | kcat -b {address} -t try -P\n  \
         kcat -b {address} -t try -C -o beginning -e\n  \
         kafka-console-consumer.sh --bootstrap-server {address} --topic try --from-beginning\n\n\
         Ctrl-C ends"
    )?;
    out.flush()
}

/// A size as people write it: `64MiB`, `1 GiB`, `500 MB`, or bytes.
fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor: Option<usize> = match unit.trim() {
        "" | "B" => Some(1),
        "kB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let number: Option<usize> = number.replace('_', "").parse().ok();
    let size = number
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    size.filter(|size| *size > 0)
        .ok_or_else(|| "give a size, such as 512MiB or 1GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_people_write_them() {
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("64 MiB"), Ok(64 << 20));
        assert_eq!(size("500 MB"), Ok(500_000_000));
        assert_eq!(size("4_096"), Ok(4_096));
        for text in [
            "",
            "0",
            "GiB",
            "-1",
            "1.5GiB",
            "1 gib",
            "99999999999999 GiB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
