//! `floodmark topics`: the Kafka topics that a pipeline file names.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, anyhow};
use floodmark_engine::kafka::admin::{CONNECT_TIMEOUT, Created, TopicSpec, Topics as Cluster};
use floodmark_pipeline::{KafkaCluster, KafkaSink, Pipeline, Sink, SourceKind};

use super::exit::Failure;
use super::load;

/// `max.message.bytes` of dead-letter topics: what producers can send by raising their own limits
/// should still fit, with its origin.
const DEAD_LETTER_MAX_MESSAGE_BYTES: &str = "20971520";

/// List or make the Kafka topics of a pipeline
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Topics {
    /// Make the topics that do not exist
    ///
    /// Topics get the partitions that the file says (3 by default) and the cluster's replication
    /// factor. The command ends when the cluster shows each of them with a leader for every
    /// partition, so that a run may follow at once. Topics that exist are left as they are.
    #[command(after_help = "\
Example: floodmark topics create pipelines/sensors.toml

Exit codes: 0 every topic is there to be used, 1 some could not be made or are not yet, 78 the file is
invalid.")]
    Create(Args),
    /// Show which topics exist
    #[command(after_help = "Example: floodmark topics list pipelines/sensors.toml")]
    List(Args),
}

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pipeline file
    file: PathBuf,
}

/// A topic that the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    cluster: KafkaCluster,
    spec: TopicSpec,
    role: String,
}

pub(crate) fn run(command: &Topics) -> Result<(), Failure> {
    let (Topics::Create(args) | Topics::List(args)) = command;
    let loaded = load::load(&args.file, &load::variable)?;
    let wanted = wanted(&loaded.pipeline);
    if wanted.is_empty() {
        say("the pipeline names no Kafka topics")?;
        return Ok(());
    }
    let each = match command {
        Topics::Create(_) => create,
        Topics::List(_) => describe,
    };
    Ok(see_to(&wanted, each, say)?)
}

/// Makes the topics of a pipeline that do not exist, with these properties beside their own; `say`
/// is told of each.
pub(super) fn create_missing(
    pipeline: &Pipeline,
    config: &[(&str, &str)],
    say: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut wanted = wanted(pipeline);
    for topic in &mut wanted {
        let config = config.iter().copied();
        let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
        topic.spec.config.extend(config);
    }
    see_to(&wanted, create, say)
}

/// Does the same with each topic; what fails is said at once and summed up at the end.
fn see_to(
    wanted: &[Wanted],
    each: fn(&Wanted) -> Result<String, Trouble>,
    mut say: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    // A cluster that does not answer is asked once, not once a topic.
    let mut lost: Vec<&KafkaCluster> = Vec::new();
    for topic in wanted {
        if lost.contains(&&topic.cluster) {
            failed.push(topic.spec.name.as_str());
            continue;
        }
        match each(topic) {
            Ok(line) => say(&line)?,
            Err(Trouble::Topic(error)) => {
                eprintln!("error: {error:#}");
                failed.push(topic.spec.name.as_str());
            }
            Err(Trouble::Cluster(error)) => {
                eprintln!("error: {error:#}");
                failed.push(topic.spec.name.as_str());
                lost.push(&topic.cluster);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let (count, names) = (failed.len(), failed.join(", "));
    Err(anyhow!(
        "{count} of {} topics could not be seen to: {names}",
        wanted.len()
    ))
}

/// Where something failed.
enum Trouble {
    /// At this topic.
    Topic(anyhow::Error),
    /// At its cluster: no other topic there will do better.
    Cluster(anyhow::Error),
}

fn create(topic: &Wanted) -> Result<String, Trouble> {
    let Wanted {
        cluster,
        spec,
        role,
    } = topic;
    let on = &cluster.brokers;
    if let Some(partitions) = look_up(topic)? {
        let differs = usize::try_from(spec.partitions).is_ok_and(|wanted| wanted != partitions);
        let note = if differs {
            format!("; the file says {}", spec.partitions)
        } else {
            String::new()
        };
        return Ok(format!(
            "exists   {} on {on} ({}{note}): {role}",
            spec.name,
            plural(partitions)
        ));
    }
    let created = Cluster::new(cluster)
        .and_then(|client| client.create(spec, Instant::now() + CONNECT_TIMEOUT))
        .map_err(|error| Trouble::Topic(error.into()))?;
    let (verb, partitions) = match created {
        Created::Created => (
            "created ",
            usize::try_from(spec.partitions).unwrap_or_default(),
        ),
        Created::Existed { partitions } => ("exists  ", partitions),
    };
    Ok(format!(
        "{verb} {} on {on} ({}): {role}",
        spec.name,
        plural(partitions)
    ))
}

fn describe(topic: &Wanted) -> Result<String, Trouble> {
    let Wanted {
        cluster,
        spec,
        role,
    } = topic;
    let on = &cluster.brokers;
    Ok(match look_up(topic)? {
        Some(partitions) => format!(
            "exists   {} on {on} ({}): {role}",
            spec.name,
            plural(partitions)
        ),
        None => format!("missing  {} on {on}: {role}", spec.name),
    })
}

fn look_up(topic: &Wanted) -> Result<Option<usize>, Trouble> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    Cluster::new(&topic.cluster)
        .and_then(|client| client.partitions(&topic.spec.name, deadline))
        .map_err(|error| Trouble::Cluster(error.into()))
}

/// The topics of a pipeline, each once, in file order.
fn wanted(pipeline: &Pipeline) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut add = |cluster: &KafkaCluster, name: &str, partitions: i32, role: String| {
        let known = wanted
            .iter_mut()
            .find(|w| w.spec.name == name && w.cluster.brokers == cluster.brokers);
        if let Some(known) = known {
            known.role = format!("{}, {role}", known.role);
            return;
        }
        let spec = TopicSpec {
            name: name.to_owned(),
            partitions,
            config: BTreeMap::new(),
        };
        wanted.push(Wanted {
            cluster: cluster.clone(),
            spec,
            role,
        });
    };
    for source in &pipeline.sources {
        if let SourceKind::Kafka(kafka) = &source.kind {
            let role = format!("source '{}'", source.name);
            add(&kafka.cluster, &kafka.topic, kafka.partitions, role);
        }
    }
    for output in &pipeline.outputs {
        if let Some(kafka) = kafka(&output.sink) {
            let role = format!("output '{}'", output.name);
            add(&kafka.cluster, &kafka.topic, kafka.partitions, role);
        }
    }
    let dead_letter = pipeline
        .dead_letter
        .as_ref()
        .and_then(|dead| kafka(&dead.sink));
    if let Some(kafka) = dead_letter {
        add(
            &kafka.cluster,
            &kafka.topic,
            kafka.partitions,
            "dead letters".to_owned(),
        );
    }
    if let Some(kafka) = pipeline.late.as_ref().and_then(|late| kafka(&late.sink)) {
        add(
            &kafka.cluster,
            &kafka.topic,
            kafka.partitions,
            "late rows".to_owned(),
        );
    }
    if let Some(kafka) = dead_letter {
        let found = wanted
            .iter_mut()
            .find(|w| w.spec.name == kafka.topic && w.cluster.brokers == kafka.cluster.brokers);
        if let Some(topic) = found {
            let limit = DEAD_LETTER_MAX_MESSAGE_BYTES.to_owned();
            topic
                .spec
                .config
                .insert("max.message.bytes".to_owned(), limit);
        }
    }
    wanted
}

fn kafka(sink: &Sink) -> Option<&KafkaSink> {
    match sink {
        Sink::Kafka(kafka) => Some(kafka),
        _ => None,
    }
}

fn plural(partitions: usize) -> String {
    match partitions {
        1 => "1 partition".to_owned(),
        n => format!("{n} partitions"),
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("writing to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
name = "p"
[sources.events]
type = "kafka"
brokers = "b:9092"
topic = "events"
format = "json"
partitions = 6
on_bad_record = "dead_letter"
[sources.events.schema]
id = "STRING"
[outputs.copy]
query = "SELECT id FROM events"
[outputs.copy.sink]
type = "kafka"
topic = "copies"
[dead_letter]
type = "kafka"
topic = "dead"
[checkpoint]
path = "chk"
"#;

    #[test]
    fn each_topic_of_the_file_is_wanted_once_and_dead_letters_may_be_large() {
        let pipeline = match floodmark_pipeline::parse(FILE, &|_| None) {
            Ok((pipeline, _)) => pipeline,
            Err(problems) => panic!("{problems:?}"),
        };
        let wanted = wanted(&pipeline);
        let names: Vec<_> = wanted
            .iter()
            .map(|w| (w.spec.name.as_str(), w.spec.partitions))
            .collect();
        assert_eq!(names, [("events", 6), ("copies", 3), ("dead", 3)]);
        let limit = wanted[2]
            .spec
            .config
            .get("max.message.bytes")
            .map(String::as_str);
        assert_eq!(limit, Some(DEAD_LETTER_MAX_MESSAGE_BYTES));
        assert!(wanted[0].spec.config.is_empty());
    }
}
