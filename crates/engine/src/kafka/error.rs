//! Errors of a Kafka client, sorted by what a caller does about them.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::EventLog;
use super::complaints::{describe, listener_hint};
use crate::sink::SinkError;
use crate::source::SourceError;

/// Why something on a Kafka cluster did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaTrouble {
    /// Another instance took over.
    #[error("{attempted}: fenced, another instance of this pipeline has taken over")]
    Fenced {
        /// What was attempted, on which object.
        attempted: String,
    },
    /// The configuration or the server must be changed by somebody.
    #[error("{attempted}: {reason}. {hint}")]
    Misconfigured {
        /// What was attempted, on which object.
        attempted: String,
        /// What the server or client said.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// Did not work within the limit, or cannot be retried.
    #[error("{attempted}: {reason}")]
    Failed {
        /// What was attempted, on which object.
        attempted: String,
        /// What went wrong.
        reason: String,
    },
}

impl From<KafkaTrouble> for SourceError {
    fn from(trouble: KafkaTrouble) -> Self {
        match trouble {
            KafkaTrouble::Misconfigured {
                attempted,
                reason,
                hint,
            } => Self::Misconfigured {
                attempted,
                reason,
                hint,
            },
            KafkaTrouble::Failed { attempted, reason } => Self::Failed { attempted, reason },
            KafkaTrouble::Fenced { attempted } => Self::Failed {
                attempted,
                reason: "fenced".to_owned(),
            },
        }
    }
}

impl From<KafkaTrouble> for SinkError {
    fn from(trouble: KafkaTrouble) -> Self {
        match trouble {
            KafkaTrouble::Misconfigured {
                attempted,
                reason,
                hint,
            } => Self::Misconfigured {
                attempted,
                reason,
                hint,
            },
            KafkaTrouble::Failed { attempted, reason } => Self::Failed { attempted, reason },
            KafkaTrouble::Fenced { attempted } => Self::Fenced { attempted },
        }
    }
}

/// What a caller does about an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Goes away by itself: retry, within a limit.
    Transient,
    /// Another producer with our transactional id has been started.
    Fenced,
    /// Somebody has to change something; the text says what.
    Misconfigured(&'static str),
    /// Neither; retrying does not help.
    Failed,
}

/// Sorts an error code.
pub(crate) fn classify(code: RDKafkaErrorCode) -> Verdict {
    use RDKafkaErrorCode as C;
    match code {
        C::ProducerFenced | C::InvalidProducerEpoch | C::Fenced => Verdict::Fenced,
        C::UnknownTopic | C::UnknownTopicOrPartition | C::UnknownPartition | C::UnknownTopicId => {
            Verdict::Misconfigured("Create the topic with `floodmark topics create FILE`")
        }
        C::InvalidTopic => Verdict::Misconfigured(
            "A topic name has at most 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'",
        ),
        C::TopicAuthorizationFailed => Verdict::Misconfigured(
            "Allow this user to describe and read (source) or write (sink) the topic",
        ),
        C::GroupAuthorizationFailed => {
            Verdict::Misconfigured("Allow this user to read the group named here")
        }
        C::ClusterAuthorizationFailed => {
            Verdict::Misconfigured("Allow this user to create topics and to write idempotently")
        }
        C::TransactionalIdAuthorizationFailed => Verdict::Misconfigured(
            "Allow this user to describe and write transactional ids that begin with 'floodmark-'",
        ),
        C::Authentication
        | C::SaslAuthenticationFailed
        | C::IllegalSASLState
        | C::UnacceptableCredential => Verdict::Misconfigured(
            "Check \"sasl.mechanism\", \"sasl.username\" and \"sasl.password\" among the `kafka` properties",
        ),
        C::UnsupportedSASLMechanism => {
            Verdict::Misconfigured("Set \"sasl.mechanism\" to one the brokers have enabled")
        }
        C::SSL => Verdict::Misconfigured(
            "Check \"security.protocol\" and the \"ssl.*\" properties against the brokers' listener",
        ),
        C::Resolve => Verdict::Misconfigured("Check the host names in `brokers`"),
        C::MessageSizeTooLarge | C::MessageBatchTooLarge | C::InvalidMessageSize => {
            Verdict::Misconfigured("Raise the topic's max.message.bytes or write smaller rows")
        }
        C::InvalidReplicationFactor => {
            Verdict::Misconfigured("The cluster has fewer brokers than replicas are wanted")
        }
        C::PolicyViolation | C::InvalidConfig => {
            Verdict::Misconfigured("The cluster's policy refuses it; ask its operator")
        }
        C::InvalidTransactionTimeout => Verdict::Misconfigured(
            "Raise the brokers' transaction.max.timeout.ms to at least one minute",
        ),
        C::UnsupportedVersion | C::UnsupportedFeature => {
            Verdict::Misconfigured("Brokers of Apache Kafka 2.5 or newer are needed")
        }
        code if is_transient(code) => Verdict::Transient,
        _ => Verdict::Failed,
    }
}

fn is_transient(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        code,
        C::BrokerTransportFailure
            | C::AllBrokersDown
            | C::OperationTimedOut
            | C::MessageTimedOut
            | C::TimedOutQueue
            | C::QueueFull
            | C::WaitingForCoordinator
            | C::InProgress
            | C::PreviousInProgress
            | C::WaitCache
            | C::Retry
            | C::BrokerDestroy
            | C::DestroyBroker
            | C::UnknownBroker
            | C::NodeUpdate
            | C::LeaderNotAvailable
            | C::NotLeaderForPartition
            | C::RequestTimedOut
            | C::BrokerNotAvailable
            | C::ReplicaNotAvailable
            | C::NetworkException
            | C::CoordinatorLoadInProgress
            | C::CoordinatorNotAvailable
            | C::NotCoordinator
            | C::NotEnoughReplicas
            | C::NotEnoughReplicasAfterAppend
            | C::RebalanceInProgress
            | C::NotController
            | C::ConcurrentTransactions
            | C::TransactionCoordinatorFenced
            | C::KafkaStorageError
            | C::FetchSessionIdNotFound
            | C::InvalidFetchSessionEpoch
            | C::ListenerNotFound
            | C::FencedLeaderEpoch
            | C::UnknownLeaderEpoch
            | C::OffsetNotAvailable
            | C::PreferredLeaderNotAvailable
            | C::EligibleLeadersNotAvailable
            | C::UnstableOffsetCommit
            | C::ThrottlingQuotaExceeded
            | C::RebootstrapRequired
    )
}

/// Turns an error into trouble with a hint. Transient codes end up here once their limit is used
/// up; then what the client last complained about tells more than the code that ran out of time.
pub(crate) fn explain(
    attempted: String,
    brokers: &str,
    error: &KafkaError,
    log: &EventLog,
) -> KafkaTrouble {
    let Some(code) = error.rdkafka_error_code() else {
        return KafkaTrouble::Failed {
            attempted,
            reason: without_values(error),
        };
    };
    match classify(code) {
        Verdict::Fenced => KafkaTrouble::Fenced { attempted },
        Verdict::Misconfigured(hint) => KafkaTrouble::Misconfigured {
            attempted,
            reason: describe(code),
            hint: hint.to_owned(),
        },
        Verdict::Failed => {
            // A transaction that the broker never began, because it refused what was to be in it.
            let refused = match log.last_error() {
                Some((known, text)) if code == RDKafkaErrorCode::InvalidTransactionalState => {
                    hint(known, &text).map(|hint| (text, hint))
                }
                _ => None,
            };
            match refused {
                Some((reason, hint)) => KafkaTrouble::Misconfigured {
                    attempted,
                    reason,
                    hint: hint.to_owned(),
                },
                None => KafkaTrouble::Failed {
                    attempted,
                    reason: match error {
                        KafkaError::Transaction(native) => native.string(),
                        _ => describe(code),
                    },
                },
            }
        }
        Verdict::Transient => unreachable_brokers(attempted, brokers, code, log),
    }
}

/// What to do about something that the client complained about by itself.
fn hint(code: RDKafkaErrorCode, text: &str) -> Option<&'static str> {
    listener_hint(text).or(match classify(code) {
        Verdict::Misconfigured(hint) => Some(hint),
        _ => None,
    })
}

fn unreachable_brokers(
    attempted: String,
    brokers: &str,
    code: RDKafkaErrorCode,
    log: &EventLog,
) -> KafkaTrouble {
    let (reason, hint) = match log.last_error() {
        Some((known, text)) => match hint(known, &text) {
            Some(hint) => (text, hint.to_owned()),
            None => (format!("{} ({text})", describe(code)), reach_hint(brokers)),
        },
        None => (describe(code), reach_hint(brokers)),
    };
    KafkaTrouble::Misconfigured {
        attempted,
        reason,
        hint,
    }
}

fn reach_hint(brokers: &str) -> String {
    format!(
        "Check `brokers` (KAFKA_BROKERS): that a Kafka broker listens on {brokers}, and that its advertised listeners can be reached from here"
    )
}

/// The error of a client that could not even be made: a property is wrong.
pub fn create_failed(attempted: String, error: &KafkaError) -> KafkaTrouble {
    let reason = without_values(error);
    // librdkafka's words for a SASL mechanism, and for a security protocol, that it was built without.
    let hint = if reason.contains("mechanism GSSAPI") {
        "Set \"sasl.mechanism\" to \"PLAIN\", \"SCRAM-SHA-256\" or \"SCRAM-SHA-512\": where it is not set the client \
         takes Kerberos, which is not built in"
            .to_owned()
    } else if reason.contains("OpenSSL not available") || reason.contains("No provider for SASL") {
        "This build has no TLS to Kafka and no SCRAM: build floodmark with `--features ssl`, which needs \
         OpenSSL's headers (libssl-dev, pkg-config)"
            .to_owned()
    } else if let Some(property) = unusable_file(&reason) {
        format!(
            "Check that the file that \"{property}\" names is there, can be read and holds what it should, as PEM"
        )
    } else {
        "Check the names and values of the `kafka` properties".to_owned()
    };
    KafkaTrouble::Misconfigured {
        attempted,
        reason,
        hint,
    }
}

/// The property whose file could not be used: `Client creation error: ssl.ca.location failed: …`.
fn unusable_file(reason: &str) -> Option<&str> {
    let before = &reason[..reason.find(" failed: ")?];
    let property = before.rsplit(' ').next()?;
    (property.starts_with("ssl.") && property.ends_with(".location")).then_some(property)
}

/// An error's text without property values, which can be secrets.
fn without_values(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, property, value) => {
            format!("property \"{property}\": {}", blank(reason, value))
        }
        other => other.to_string(),
    }
}

/// `reason` without `value`, except as a part of a longer word: `SSL` stays in `OpenSSL`.
fn blank(reason: &str, value: &str) -> String {
    let in_a_word = |c: Option<char>| c.is_some_and(char::is_alphabetic);
    let mut blanked = String::with_capacity(reason.len());
    let mut rest = 0;
    for (at, _) in reason.match_indices(value).filter(|_| !value.is_empty()) {
        let end = at + value.len();
        if in_a_word(reason[..at].chars().next_back()) || in_a_word(reason[end..].chars().next()) {
            continue;
        }
        blanked.push_str(&reason[rest..at]);
        blanked.push_str("***");
        rest = end;
    }
    blanked.push_str(&reason[rest..]);
    blanked
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::config::RDKafkaLogLevel;
    use rdkafka::consumer::BaseConsumer;

    #[test]
    fn codes_are_sorted_by_what_a_caller_does() {
        use RDKafkaErrorCode as C;
        assert_eq!(classify(C::ProducerFenced), Verdict::Fenced);
        assert_eq!(classify(C::BrokerTransportFailure), Verdict::Transient);
        assert_eq!(classify(C::NotLeaderForPartition), Verdict::Transient);
        assert_eq!(classify(C::OutOfOrderSequenceNumber), Verdict::Failed);
        assert!(matches!(
            classify(C::UnknownTopicOrPartition),
            Verdict::Misconfigured(_)
        ));
    }

    #[test]
    fn a_timeout_is_explained_by_what_the_client_complained_about() {
        use rdkafka::client::ClientContext;
        let events = crate::kafka::ClientEvents::default();
        events.error(
            KafkaError::Global(RDKafkaErrorCode::Authentication),
            "SASL authentication error: wrong password",
        );
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let trouble = explain("read topic 't'".to_owned(), "b:9092", &error, events.log());
        let text = trouble.to_string();
        assert!(text.contains("wrong password"), "{text}");
        assert!(text.contains("sasl.password"), "{text}");
    }

    #[test]
    fn a_transaction_that_never_began_is_explained_by_what_the_broker_refused() {
        use rdkafka::client::ClientContext;
        let events = crate::kafka::ClientEvents::default();
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::InvalidTransactionalState);
        let trouble = || explain("write to 't'".to_owned(), "b:9092", &error, events.log());
        assert!(matches!(trouble(), KafkaTrouble::Failed { .. }));
        ClientContext::log(
            &events,
            RDKafkaLogLevel::Error,
            "ADDPARTS",
            "Failed to add partition \"t\" [2] to transaction: Broker: Topic authorization failed",
        );
        let text = trouble().to_string();
        assert!(text.contains("\"t\" [2]"), "{text}");
        assert!(text.contains("Allow this user to"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_by_its_property() {
        let error = KafkaError::ClientCreation("ssl.ca.location failed: error:80000002".to_owned());
        let text = create_failed("open".to_owned(), &error).to_string();
        assert!(
            text.contains("the file that \"ssl.ca.location\" names"),
            "{text}"
        );
    }

    #[test]
    fn a_value_is_blanked_wherever_it_stands_alone() {
        let blanked = blank("value \"SSL\" (SSL): OpenSSL not there, SSL", "SSL");
        assert_eq!(blanked, "value \"***\" (***): OpenSSL not there, ***");
        assert_eq!(blank("no value", ""), "no value");
    }

    #[test]
    fn a_mechanism_has_to_be_named() {
        let mut config = rdkafka::ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Emerg)
            .set("security.protocol", "SASL_PLAINTEXT");
        let Err(error) = config.create::<BaseConsumer>() else {
            panic!("there is Kerberos")
        };
        let text = create_failed("open".to_owned(), &error).to_string();
        assert!(text.contains("Set \"sasl.mechanism\""), "{text}");
    }

    #[cfg(not(feature = "ssl"))]
    #[test]
    fn a_build_without_tls_says_how_to_get_one_with_it() {
        for properties in [
            [("security.protocol", "SSL"), ("client.id", "x")],
            [
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", "SCRAM-SHA-512"),
            ],
        ] {
            let mut config = rdkafka::ClientConfig::new();
            config.set_log_level(RDKafkaLogLevel::Emerg);
            for (name, value) in properties {
                config.set(name, value);
            }
            config
                .set("sasl.username", "u")
                .set("sasl.password", "hunter2");
            let Err(error) = config.create::<BaseConsumer>() else {
                panic!("there is TLS")
            };
            let text = create_failed("open".to_owned(), &error).to_string();
            assert!(text.contains("--features ssl"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn an_unreachable_broker_is_named() {
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure);
        let trouble = explain("x".to_owned(), "nowhere:9092", &error, &EventLog::default());
        assert!(trouble.to_string().contains("nowhere:9092"));
    }

    #[test]
    fn a_wrong_property_is_named_without_its_value() {
        let mut config = rdkafka::ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Emerg)
            .set("sasl.pasword", "hunter2");
        let Err(error) = config.create::<BaseConsumer>() else {
            panic!("a wrong property was taken")
        };
        let text = create_failed("open".to_owned(), &error).to_string();
        assert!(text.contains("sasl.pasword"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
