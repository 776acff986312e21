//! Recovery as a pure function: what was read in, what to do out.

use std::collections::BTreeMap;

use super::manifest::Manifest;

/// What the pipeline that wants to run looks like.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Origin of each source (see [`super::SourceState::origin`]).
    pub sources: BTreeMap<String, String>,
    /// Fingerprint of each windowed output.
    pub windows: BTreeMap<String, String>,
    /// Names of all sinks.
    pub sinks: Vec<String>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// No checkpoint: begin where the pipeline file says.
    Start,
    /// Go on from the newest checkpoint; nothing is left to commit.
    Resume(Box<Manifest>),
    /// As `Resume`, after the newest checkpoint's work has been committed again.
    ReplayCommit(Box<Manifest>),
    /// The checkpoint belongs to a pipeline that differs in a way that state cannot follow.
    Incompatible {
        /// Each difference, and what to do about it.
        differences: Vec<String>,
    },
}

/// Decides how to go on from the newest manifest.
pub fn decide(newest: Option<Manifest>, expected: &Expected) -> Decision {
    let Some(manifest) = newest else {
        return Decision::Start;
    };
    let differences = differences(&manifest, expected);
    if !differences.is_empty() {
        return Decision::Incompatible { differences };
    }
    if manifest
        .sinks
        .values()
        .any(|sink| !sink.work.is_null() || sink.carried.is_some())
    {
        Decision::ReplayCommit(Box::new(manifest))
    } else {
        Decision::Resume(Box::new(manifest))
    }
}

fn differences(manifest: &Manifest, expected: &Expected) -> Vec<String> {
    let mut found = Vec::new();
    if manifest.pipeline != expected.pipeline {
        found.push(format!(
            "it belongs to pipeline '{}', this is '{}': give each pipeline a checkpoint path of its own",
            manifest.pipeline, expected.pipeline
        ));
        return found;
    }
    for (name, source) in &manifest.sources {
        match expected.sources.get(name) {
            Some(origin) if *origin != source.origin => found.push(format!(
                "source '{name}' was {}, it is now {origin}: offsets of one mean nothing in the other",
                source.origin
            )),
            _ => {}
        }
    }
    for (name, window) in &manifest.windows {
        if window.open.is_empty() {
            continue;
        }
        match expected.windows.get(name) {
            None => found.push(format!(
                "output '{name}' has {} open windows in the checkpoint but is no windowed output now",
                window.open.len()
            )),
            Some(fingerprint) if *fingerprint != window.fingerprint => found.push(format!(
                "the query of output '{name}' was changed while {} of its windows are open",
                window.open.len()
            )),
            Some(_) => {}
        }
    }
    for (name, sink) in &manifest.sinks {
        let pending = !sink.work.is_null() || sink.carried.is_some();
        if pending && !expected.sinks.contains(name) {
            found.push(format!(
                "sink '{name}' still has work to commit but is not in the pipeline file any more"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::manifest::*;
    use super::*;
    use crate::units::{Epoch, EventMicros, Generation};

    fn manifest() -> Manifest {
        let source = SourceState {
            origin: "topic t".into(),
            partitions: BTreeMap::new(),
            fired: None,
            ledger: crate::ledger::Ledger::default(),
        };
        let window = WindowState {
            fingerprint: "f1".into(),
            open: BTreeMap::new(),
            closed: std::collections::BTreeSet::new(),
        };
        let sink = SinkState {
            epoch: Epoch(7),
            work: serde_json::Value::Null,
            carried: None,
            committed: crate::sink::Committed::default(),
        };
        Manifest {
            pipeline: "p".into(),
            epoch: Epoch(7),
            generation: Generation(2),
            instance: "i".into(),
            lineage: "i".into(),
            created_ms: 0,
            version: "0".into(),
            sources: [("s".into(), source)].into(),
            windows: [("w".into(), window)].into(),
            sinks: [("w".into(), sink)].into(),
            files: BTreeMap::new(),
        }
    }

    fn expected() -> Expected {
        Expected {
            pipeline: "p".into(),
            sources: [("s".into(), "topic t".into())].into(),
            windows: [("w".into(), "f1".into())].into(),
            sinks: vec!["w".into()],
        }
    }

    fn refused(manifest: Manifest, expected: &Expected) -> String {
        match decide(Some(manifest), expected) {
            Decision::Incompatible { differences } => differences.join("; "),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_checkpoint_it_starts() {
        assert_eq!(decide(None, &expected()), Decision::Start);
    }

    #[test]
    fn a_checkpoint_without_work_is_resumed() {
        assert!(matches!(
            decide(Some(manifest()), &expected()),
            Decision::Resume(_)
        ));
    }

    #[test]
    fn a_checkpoint_with_work_has_it_committed_again() {
        let mut found = manifest();
        found.sinks.get_mut("w").unwrap().work = serde_json::json!([1]);
        assert!(matches!(
            decide(Some(found), &expected()),
            Decision::ReplayCommit(_)
        ));
    }

    #[test]
    fn another_pipelines_checkpoint_is_refused() {
        let expected = Expected {
            pipeline: "q".into(),
            ..expected()
        };
        assert!(refused(manifest(), &expected).contains("belongs to pipeline 'p'"));
    }

    #[test]
    fn a_query_may_change_only_while_no_window_is_open() {
        let expected = Expected {
            windows: [("w".into(), "f2".into())].into(),
            ..expected()
        };
        assert!(matches!(
            decide(Some(manifest()), &expected),
            Decision::Resume(_)
        ));
        let mut found = manifest();
        found
            .windows
            .get_mut("w")
            .unwrap()
            .open
            .insert(EventMicros(0), Vec::new());
        assert!(refused(found, &expected).contains("was changed while 1 of its windows are open"));
    }

    #[test]
    fn another_topic_is_refused() {
        let expected = Expected {
            sources: [("s".into(), "topic u".into())].into(),
            ..expected()
        };
        assert!(refused(manifest(), &expected).contains("it is now topic u"));
    }

    #[test]
    fn a_sink_with_work_must_still_exist() {
        let mut found = manifest();
        found.sinks.get_mut("w").unwrap().work = serde_json::json!([1]);
        let expected = Expected {
            sinks: Vec::new(),
            ..expected()
        };
        assert!(refused(found, &expected).contains("still has work to commit"));
    }
}
