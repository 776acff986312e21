//! The demo's pipeline file: the reference pipeline, with a directory for a bucket.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, anyhow};
use floodmark_pipeline::{KafkaSource, Location, Pipeline, Sink, SourceKind};
use floodmark_sql::{OutputKind, Plan};

use super::directory::replace;
use crate::cli::exit::Failure;
use crate::cli::load::{self, Planned};

/// The reference pipeline, as it is shipped.
const REFERENCE: &str = include_str!("../../../../../pipelines/sensors.toml");
/// Where the reference pipeline keeps its files.
const BUCKET: &str = "s3://rt-stream";
/// Checkpoints of the reference pipeline, and of the demo's: files show with the next checkpoint, and
/// who watches a demo should not wait for ten seconds.
const INTERVAL: [&str; 2] = [r#"interval = "10 seconds""#, r#"interval = "5 seconds""#];
/// Variable that stands for the directory in the demo's file.
const DATA: &str = "FLOODMARK_DATA";
/// Variable that stands for the broker in the reference pipeline.
const BROKERS: &str = "KAFKA_BROKERS";

/// The pipeline, ready to run, and what the demo must know of it.
pub(super) struct DemoPipeline {
    /// The pipeline.
    pub(super) planned: Planned,
    /// Name of the source that the generator feeds.
    pub(super) source: String,
    /// Topic of that source.
    pub(super) topic: String,
}

/// Writes the file unless there is one.
pub(super) fn write_once(file: &Path, directory: &Path) -> anyhow::Result<()> {
    if file
        .try_exists()
        .with_context(|| format!("cannot look for {}", file.display()))?
    {
        return Ok(());
    }
    replace(file, text(directory)?.as_bytes())
}

fn text(directory: &Path) -> anyhow::Result<String> {
    let directory = directory.to_str().ok_or_else(|| {
        let shown = directory.display();
        anyhow!("the directory {shown} is no UTF-8, which a pipeline file is: give --data another")
    })?;
    // What would end the reference or the string it stands in is left to the variable.
    let plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\' | '{' | '}');
    let place = if directory.chars().all(plain) {
        format!("${{{DATA}:-{directory}}}")
    } else {
        format!("${{{DATA}:?set it to the directory of this file}}")
    };
    let [reference, ours] = INTERVAL;
    let pipeline = REFERENCE
        .replace(BUCKET, &place)
        .replacen(reference, ours, 1);
    Ok(format!(
        "# The pipeline of `floodmark demo`: the reference pipeline, pipelines/sensors.toml, with a\n\
         # directory in place of {BUCKET} and a checkpoint every 5 seconds, not 10. It was written\n\
         # once and is yours to edit: stop the demo, change the file, start the demo again. Delete the\n\
         # file to have it written anew. The demo sets {DATA} to its directory and {BROKERS} to\n\
         # its broker, whatever the environment says.\n\n{pipeline}"
    ))
}

/// Reads the file with the demo's own values for its two variables, whatever the environment says.
pub(super) fn load(
    file: &Path,
    directory: &Path,
    broker: SocketAddr,
) -> Result<DemoPipeline, Failure> {
    let (directory, broker) = (directory.to_string_lossy(), broker.to_string());
    let environment = |name: &str| match name {
        DATA => Some(directory.clone().into_owned()),
        BROKERS => Some(broker.clone()),
        _ => load::variable(name),
    };
    let planned = load::load_and_plan(file, &environment)?;
    let (source, kafka) = fed_by(&planned.pipeline, &broker).ok_or_else(|| {
        anyhow!(
            "{} has no Kafka source with brokers = \"${{{BROKERS}}}\", so there is nothing to feed: \
             correct it, or delete it to have it written anew",
            file.display()
        )
    })?;
    Ok(DemoPipeline {
        source: source.to_owned(),
        topic: kafka.topic.clone(),
        planned,
    })
}

/// The source that reads from the demo's broker.
fn fed_by<'a>(pipeline: &'a Pipeline, broker: &str) -> Option<(&'a str, &'a KafkaSource)> {
    pipeline
        .sources
        .iter()
        .find_map(|source| match &source.kind {
            SourceKind::Kafka(kafka) if kafka.cluster.brokers == broker => {
                Some((source.name.as_str(), kafka))
            }
            _ => None,
        })
}

/// Directories that the outputs fill with Parquet files.
pub(super) fn parquet_directories(pipeline: &Pipeline) -> impl Iterator<Item = &Path> {
    pipeline
        .outputs
        .iter()
        .filter_map(|output| match &output.sink {
            Sink::Parquet(parquet) => match &parquet.location {
                Location::Local(path) => Some(path.as_path()),
                Location::S3 { .. } => None,
            },
            _ => None,
        })
}

/// Topics of the demo's broker that the outputs write to.
pub(super) fn output_topics<'a>(
    pipeline: &'a Pipeline,
    broker: &'a str,
) -> impl Iterator<Item = &'a str> {
    pipeline
        .outputs
        .iter()
        .filter_map(move |output| match &output.sink {
            Sink::Kafka(kafka) if kafka.cluster.brokers == broker => Some(kafka.topic.as_str()),
            _ => None,
        })
}

/// The longest window of the queries, in milliseconds.
pub(super) fn longest_window_ms(plan: &Plan) -> Option<i64> {
    let windows = plan.outputs.iter().filter_map(|output| match &output.kind {
        OutputKind::Windowed(window) => Some(window.size.micros() / 1_000),
        OutputKind::Stateless => None,
    });
    windows.max()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    fn parse(text: &str) -> Pipeline {
        let environment = |name: &str| match name {
            DATA => Some("/data".to_owned()),
            BROKERS => Some("127.0.0.1:1".to_owned()),
            _ => None,
        };
        match floodmark_pipeline::parse(text, &environment) {
            Ok((pipeline, _)) => pipeline,
            Err(problems) => panic!("{problems:?}"),
        }
    }

    #[test]
    fn the_demo_runs_the_reference_pipeline_on_a_directory() {
        let text = text(Path::new("/data")).unwrap();
        assert_eq!(text.matches("${FLOODMARK_DATA:-/data}/").count(), 3);
        let pipeline = parse(&text);
        let directories: Vec<_> = parquet_directories(&pipeline).collect();
        assert_eq!(directories, [Path::new("/data/curated")]);
        let checkpoint = Location::Local("/data/_chk".into());
        assert_eq!(pipeline.checkpoint.location, checkpoint);
        assert_eq!(pipeline.checkpoint.interval, Duration::from_secs(5));
        assert_eq!(
            fed_by(&pipeline, "127.0.0.1:1").unwrap().1.topic,
            "sensor_events"
        );
        assert!(fed_by(&pipeline, "127.0.0.1:2").is_none());
        let topics: Vec<_> = output_topics(&pipeline, "127.0.0.1:1").collect();
        assert_eq!(topics, ["sensor_alerts"]);
    }

    #[test]
    fn a_directory_that_cannot_stand_in_the_file_is_left_to_the_variable() {
        let text = text(Path::new("/odd \"}\\ place")).unwrap();
        assert!(!text.contains("odd"));
        parse(&text);
    }

    #[test]
    fn the_file_is_written_once_and_then_the_user_s() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sensors.toml");
        write_once(&file, dir.path()).unwrap();
        fs::write(&file, "edited").unwrap();
        write_once(&file, dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "edited");
    }
}
