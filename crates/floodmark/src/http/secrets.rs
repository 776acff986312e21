//! Cuts secrets out of text that is shown.
//!
//! What is shown is made from parts that hold no secret. A client's error message might quote one all
//! the same, so every text that somebody else has written passes here.

use floodmark_pipeline::{KafkaCluster, Pipeline, Secret, Sink, SourceKind};

/// What stands in a secret's place.
const BLANK: &str = "[secret]";

/// Values shorter than this are not told from ordinary words.
const SHORTEST: usize = 6;

/// Variables that the object store's client reads its secrets from.
const VARIABLES: [&str; 3] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// The secrets of a run.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// The secrets that a pipeline file and the environment hold.
    pub(crate) fn of(pipeline: &Pipeline, variable: impl Fn(&str) -> Option<String>) -> Self {
        let sources = pipeline
            .sources
            .iter()
            .filter_map(|source| match &source.kind {
                SourceKind::Kafka(kafka) => Some(&kafka.cluster),
                _ => None,
            });
        let outputs = pipeline.outputs.iter().map(|output| &output.sink);
        let dead = pipeline.dead_letter.iter().map(|dead| &dead.sink);
        let late = pipeline.late.iter().map(|late| &late.sink);
        let sinks = outputs.chain(dead).chain(late);
        let sinks = sinks.filter_map(|sink| match sink {
            Sink::Kafka(kafka) => Some(&kafka.cluster),
            _ => None,
        });
        let storage = &pipeline.storage;
        let keys = [&storage.access_key_id, &storage.secret_access_key];
        let keys = keys.into_iter().flatten().map(exposed);
        let mut found: Vec<String> = sources
            .chain(sinks)
            .flat_map(of_cluster)
            .chain(keys)
            .chain(VARIABLES.iter().filter_map(|name| variable(name)))
            .filter(|secret| secret.len() >= SHORTEST)
            .collect();
        // The longest first: one secret may hold another.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        found.dedup();
        Self(found)
    }

    /// The text without them.
    pub(crate) fn cut_out(&self, text: &str) -> String {
        let cut = |text: String, secret: &String| text.replace(secret.as_str(), BLANK);
        self.0.iter().fold(text.to_owned(), cut)
    }
}

/// A cluster's properties whose name says that they are secret; others are words such as `SASL_SSL`.
fn of_cluster(cluster: &KafkaCluster) -> impl Iterator<Item = String> + '_ {
    let telling = [
        "password",
        "secret",
        "jaas",
        "pem",
        "token",
        "oauthbearer.config",
        "username",
    ];
    let secret = move |name: &str| telling.iter().any(|word| name.contains(word));
    let properties = cluster.properties.iter();
    properties
        .filter(move |(name, _)| secret(name))
        .map(|(_, value)| exposed(value))
}

fn exposed(secret: &Secret) -> String {
    secret.expose().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_file_and_environment_are_cut_out_of_text() {
        let text = include_str!("../../../../pipelines/sensors.toml").replace(
            "[sources.sensor_events.schema]",
            "[sources.sensor_events.kafka]\n\"sasl.password\" = \"hunter2-kafka\"\n\n\
             [storage.s3]\nsecret_access_key = \"hunter2-s3\"\n\n[sources.sensor_events.schema]",
        );
        let (pipeline, _) = floodmark_pipeline::parse(&text, &|_| None).expect("a valid file");
        let secrets = Secrets::of(&pipeline, |name| {
            (name == "AWS_SESSION_TOKEN").then(|| "hunter2-session".to_owned())
        });
        let shown = secrets.cut_out("hunter2-kafka, hunter2-s3 and hunter2-session were refused");
        assert_eq!(shown, "[secret], [secret] and [secret] were refused");
    }
}
