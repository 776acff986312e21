//! What the demo says: where things are, how to look at them, how far the events are.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use floodmark_pipeline::Pipeline;

use super::pipeline::{output_topics, parquet_directories};
use super::traffic::{FOLLOWS, Flow, Progress};
use crate::cli::engine::live::human;

/// Event time further behind than this, once it has caught up, does not follow the clock.
const CANNOT_FOLLOW: Duration = Duration::from_secs(5);

/// Where things are.
pub(super) struct Places<'a> {
    /// The broker's address.
    pub(super) broker: &'a str,
    /// The dashboard's address, if it is served.
    pub(super) dashboard: Option<String>,
    /// The directory as the user wrote it.
    pub(super) shown: &'a Path,
    /// Its absolute path.
    pub(super) directory: &'a Path,
    /// The pipeline that runs.
    pub(super) pipeline: &'a Pipeline,
}

impl Places<'_> {
    /// Where everything is.
    pub(super) fn introduction(&self) -> String {
        let (broker, shown) = (self.broker, self.shown.display());
        let dashboard = self.dashboard.as_deref().unwrap_or("off");
        format!(
            "The demo is a broker, a generator and a pipeline in one process; it needs nothing else.\n  \
             dashboard {dashboard}\n  \
             broker    {broker}, speaks the Kafka protocol; for trying, tests and CI, not for production\n  \
             pipeline  {file}, yours to edit: stop, edit, start again\n  \
             data      {shown}; a later start goes on with it",
            file = self.shown.join("sensors.toml").display(),
        )
    }

    /// Commands that show the results, with what each shows.
    pub(super) fn commands(&self) -> Vec<(&'static str, String)> {
        let mut commands = Vec::new();
        for directory in parquet_directories(self.pipeline) {
            let files = self.as_shown(directory).display().to_string();
            let files = files.replace('\'', "''");
            commands.push((
                "the files, in DuckDB",
                format!(
                    "duckdb -c \"FROM read_parquet('{files}/**/*.parquet') ORDER BY ALL DESC LIMIT 10\""
                ),
            ));
        }
        for topic in output_topics(self.pipeline, self.broker) {
            let broker = self.broker;
            commands.push((
                "the alerts, in kcat",
                format!("kcat -b {broker} -t {topic} -C -o beginning -e -X isolation.level=read_committed"),
            ));
            commands.push((
                "the alerts, in Python (pip install confluent-kafka)",
                format!(
                    "python3 -c \"import confluent_kafka as k; \
                     c = k.Consumer({{'bootstrap.servers': '{broker}', 'group.id': 'look', \
                     'auto.offset.reset': 'earliest'}}); c.subscribe(['{topic}']); \
                     [print(m.value().decode()) for m in iter(lambda: c.poll(1), 0) if m and not m.error()]\""
                ),
            ));
        }
        commands
    }

    /// Introduction and commands, for a terminal.
    pub(super) fn for_terminal(&self) -> String {
        let mut text = self.introduction();
        for (shows, command) in self.commands() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n\n  # {shows}\n  {command}");
        }
        text.push('\n');
        text
    }

    /// A path in the directory, as the user would write it.
    fn as_shown(&self, path: &Path) -> std::path::PathBuf {
        match path.strip_prefix(self.directory) {
            Ok(inside) => self.shown.join(inside),
            Err(_) => path.to_owned(),
        }
    }
}

/// Where event time begins, if that is not now.
pub(super) fn beginning(flow: &Flow) -> Option<String> {
    let lead = flow.lead();
    (lead >= FOLLOWS).then(|| format!("event time began {} in the past", minutes(lead)))
}

/// Where the events are, in a line.
pub(super) fn events(flow: &Flow, progress: Progress) -> String {
    let sent = format!("generator: {} events", human(progress.events));
    let rate = rate(flow.per_second());
    let behind = minutes(progress.behind);
    match beginning(flow) {
        Some(began) if !progress.follows => {
            format!("{sent}; {began} and catches up, {behind} to go")
        }
        _ if progress.behind >= CANNOT_FOLLOW => {
            format!(
                "{sent}; event time is {behind} behind the clock, which {rate}/s are too many for"
            )
        }
        Some(began) => format!("{sent}; {began}, now follows the clock at {rate}/s"),
        None => format!("{sent}; event time follows the clock at {rate}/s"),
    }
}

fn rate(per_second: f64) -> String {
    if per_second.fract() == 0.0 {
        return human(per_second as u64);
    }
    per_second.to_string()
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1_800) / 3_600),
    }
}

/// Where the events are, once no more come.
pub(super) fn ended(progress: Progress) -> String {
    format!(
        "generator: {} events, all delivered",
        human(progress.events)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places<'a>(pipeline: &'a Pipeline, directory: &'a Path) -> Places<'a> {
        Places {
            broker: "127.0.0.1:9092",
            dashboard: Some("http://127.0.0.1:8787".to_owned()),
            shown: Path::new("./it's"),
            directory,
            pipeline,
        }
    }

    #[test]
    fn commands_name_what_the_pipeline_file_names() {
        let text = r#"
name = "p"
[sources.events]
type = "kafka"
brokers = "127.0.0.1:9092"
topic = "events"
format = "json"
[sources.events.schema]
id = "STRING"
[outputs.files]
query = "SELECT id FROM events"
[outputs.files.sink]
type = "parquet"
path = "/data/copies"
[outputs.alerts]
query = "SELECT id FROM events"
[outputs.alerts.sink]
type = "kafka"
topic = "found"
[checkpoint]
path = "/data/chk"
"#;
        let pipeline = match floodmark_pipeline::parse(text, &|_| None) {
            Ok((pipeline, _)) => pipeline,
            Err(problems) => panic!("{problems:?}"),
        };
        let commands = places(&pipeline, Path::new("/data")).commands();
        let [(_, files), (_, kcat), (_, python)] = &commands[..] else {
            panic!("{commands:?}");
        };
        assert!(
            files.contains("read_parquet('./it''s/copies/**/*.parquet')"),
            "{files}"
        );
        assert!(kcat.contains("-b 127.0.0.1:9092 -t found "), "{kcat}");
        assert!(python.contains("c.subscribe(['found'])"), "{python}");
    }

    #[test]
    fn times_choose_their_unit() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (300, "5 min"), (86_400, "24 h")] {
            assert_eq!(minutes(Duration::from_secs(seconds)), text);
        }
    }
}
