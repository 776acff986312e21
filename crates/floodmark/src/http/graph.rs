//! The pipeline as a graph: what an event meets, in order.
//!
//! Made once, from the pipeline file. A query is shown as the file writes it, `${VAR}` and all: what a
//! variable stands for may be a secret and is never shown.

use std::collections::BTreeMap;

use floodmark_pipeline::{KafkaCluster, Pipeline, Sink, SourceKind, SqlText};
use floodmark_sql::{OutputKind, Plan};
use serde::Serialize;

/// A node of the graph.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Node {
    /// `source:NAME`, `view:NAME`, `output:NAME`, `dead_letter` or `late`.
    id: String,
    /// `source`, `view`, `output`, `dead_letter` or `late`.
    kind: &'static str,
    /// Its name in the pipeline file.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// `kafka`, `file`, `generator`, `parquet` or `console`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    ty: Option<&'static str>,
    /// Where it reads or writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Its query, as the pipeline file writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// Whether it aggregates by window; only outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    windowed: Option<bool>,
    /// Length of its windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<f64>,
    /// The nodes it reads.
    reads: Vec<String>,
}

/// The graph of a pipeline; `file` is the text of its file.
pub(crate) fn graph(pipeline: &Pipeline, plan: &Plan, file: &str) -> Vec<Node> {
    let tables = tables(pipeline);
    let sources = pipeline.sources.iter().map(|source| {
        let (ty, target) = match &source.kind {
            SourceKind::Kafka(kafka) => ("kafka", Some(topic(&kafka.topic, &kafka.cluster))),
            SourceKind::File(files) => ("file", Some(files.paths.join(", "))),
            SourceKind::Generator(_) => ("generator", None),
        };
        Node {
            id: format!("source:{}", source.name),
            kind: "source",
            name: Some(source.name.clone()),
            ty: Some(ty),
            target,
            ..Node::default()
        }
    });
    let views = pipeline.views.iter().map(|view| Node {
        id: format!("view:{}", view.name),
        kind: "view",
        name: Some(view.name.clone()),
        query: Some(written(&view.query, file)),
        reads: read_by(&view.query.text, &tables, &view.name),
        ..Node::default()
    });
    let outputs = pipeline.outputs.iter().zip(&plan.outputs);
    let outputs = outputs.map(|(output, plan)| {
        let (ty, target) = sink(&output.sink);
        let window_seconds = match &plan.kind {
            OutputKind::Windowed(window) => Some(window.size.micros() as f64 / 1e6),
            OutputKind::Stateless => None,
        };
        Node {
            id: format!("output:{}", output.name),
            kind: "output",
            name: Some(output.name.clone()),
            ty: Some(ty),
            target,
            query: Some(written(&output.query, file)),
            windowed: Some(window_seconds.is_some()),
            window_seconds,
            reads: read_by(&output.query.text, &tables, ""),
        }
    });
    let mut nodes: Vec<Node> = sources.chain(views).chain(outputs).collect();
    nodes.extend(catches(pipeline, &nodes));
    nodes
}

/// What catches records and rows that leave the path.
fn catches(pipeline: &Pipeline, nodes: &[Node]) -> Vec<Node> {
    let ids = |wanted: &dyn Fn(&Node) -> bool| -> Vec<String> {
        let wanted = nodes.iter().filter(|node| wanted(node));
        wanted.map(|node| node.id.clone()).collect()
    };
    let catch = |id: &'static str, to: &Sink, reads| {
        let (ty, target) = sink(to);
        Node {
            id: id.to_owned(),
            kind: id,
            ty: Some(ty),
            target,
            reads,
            ..Node::default()
        }
    };
    let dead = pipeline.dead_letter.as_ref();
    let dead = dead.map(|dead| {
        let reads = ids(&|node| node.kind == "source");
        catch("dead_letter", &dead.sink, reads)
    });
    let late = pipeline.late.as_ref();
    let late = late.map(|late| {
        let reads = ids(&|node| node.windowed == Some(true));
        catch("late", &late.sink, reads)
    });
    dead.into_iter().chain(late).collect()
}

fn topic(topic: &str, cluster: &KafkaCluster) -> String {
    format!("{topic} @ {}", cluster.brokers)
}

fn sink(sink: &Sink) -> (&'static str, Option<String>) {
    match sink {
        Sink::Parquet(parquet) => ("parquet", Some(parquet.location.to_string())),
        Sink::Kafka(kafka) => ("kafka", Some(topic(&kafka.topic, &kafka.cluster))),
        Sink::Console => ("console", None),
    }
}

/// Tables by lower-case name, with their node.
fn tables(pipeline: &Pipeline) -> BTreeMap<String, String> {
    let sources = pipeline.sources.iter().map(|s| ("source", &s.name));
    let views = pipeline.views.iter().map(|v| ("view", &v.name));
    sources
        .chain(views)
        .map(|(kind, name)| (name.to_lowercase(), format!("{kind}:{name}")))
        .collect()
}

/// Nodes whose table follows FROM or JOIN in a query.
fn read_by(query: &str, tables: &BTreeMap<String, String>, itself: &str) -> Vec<String> {
    let words: Vec<String> = query
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut found = Vec::new();
    for pair in words.windows(2) {
        let follows = pair[0] == "from" || pair[0] == "join";
        let node = tables.get(&pair[1]);
        if let (true, Some(node)) = (follows && pair[1] != itself.to_lowercase(), node)
            && !found.contains(node)
        {
            found.push(node.clone());
        }
    }
    found
}

/// A query as the file writes it.
fn written(query: &SqlText, file: &str) -> String {
    let text = if query.verbatim_at.is_some() {
        query.text.as_str()
    } else {
        let quoted = file.get(query.span.start..query.span.end).unwrap_or("");
        quoted.trim_matches(['"', '\''])
    };
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, variable: &str) -> Vec<Node> {
        let value = variable.to_owned();
        let environment = move |_: &str| Some(value.clone());
        let (pipeline, _) = floodmark_pipeline::parse(text, &environment).expect("a valid file");
        let plan = floodmark_sql::plan(&pipeline).expect("valid queries");
        graph(&pipeline, &plan, text)
    }

    #[test]
    fn it_shows_what_an_event_meets_in_order() {
        let nodes = of(include_str!("../../../../pipelines/sensors.toml"), "h:9092");
        let ids: Vec<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
        let expected = [
            "source:sensor_events",
            "view:readings",
            "output:curated",
            "output:alerts",
            "dead_letter",
            "late",
        ];
        assert_eq!(ids, expected);
        assert_eq!(nodes[1].reads, ["source:sensor_events"]);
        assert_eq!(nodes[2].reads, ["view:readings"]);
        assert_eq!(nodes[2].window_seconds, Some(60.0));
        assert_eq!(nodes[3].windowed, Some(false));
        assert_eq!(nodes[4].reads, ["source:sensor_events"]);
        assert_eq!(nodes[5].reads, ["output:curated"]);
        assert_eq!(nodes[0].target.as_deref(), Some("sensor_events @ h:9092"));
    }

    #[test]
    fn what_a_variable_stands_for_in_a_query_is_not_shown() {
        let text = include_str!("../../../../pipelines/sensors.toml");
        let text = text.replace("temperature_c > 85", "site = '${SITE}'");
        let nodes = of(&text, "hunter2");
        let shown = serde_json::to_string(&nodes[3]).expect("JSON");
        assert!(shown.contains("site = '${SITE}'"), "{shown}");
        let query = nodes[3].query.as_deref().unwrap_or_default();
        assert!(!query.contains("hunter2"), "{query}");
    }
}
