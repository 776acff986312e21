//! The client's own words: what librdkafka says in its log and its error events, where its codes say less
//! or nothing. They are matched as its releases have them; a line that none of this knows is only logged.

use rdkafka::error::RDKafkaErrorCode;

/// What librdkafka says about a code, without our enum's name for it.
pub(crate) fn describe(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    match text.split_once(" (") {
        Some((_, inner)) => inner.trim_end_matches(')').to_owned(),
        None => text,
    }
}

/// The right that a log line says is missing. What fails after a refusal within a transaction may only
/// say that there is no transaction.
pub(super) fn refusal_in(message: &str) -> Option<RDKafkaErrorCode> {
    [
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::GroupAuthorizationFailed,
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
    ]
    .into_iter()
    .find(|code| message.contains(&describe(*code)))
}

/// A client that has not logged in is sent away sooner than this; librdkafka has the same limit.
const LET_IN_MS: u64 = 2_000;

/// What the client's own words say about a listener, where its code says less or nothing: that a
/// connection was lost is often the other side's whole answer to a client that speaks another protocol.
///
/// A line begins with the broker, `ssl://` or `sasl_ssl://` in front if the client speaks TLS, and ends
/// with how far the connection came: `(after 5ms in state SSL_HANDSHAKE)`.
pub(super) fn listener_hint(text: &str) -> Option<&'static str> {
    let has = |part: &str| text.contains(part);
    if has("certificate verify failed") {
        Some(
            "Set \"ssl.ca.location\" to the certificate of the CA that has signed the brokers', as PEM, \
             and name the brokers as their certificates do, in `brokers` and in their advertised listeners",
        )
    } else if is_certificate_alert(text) {
        Some(
            "The brokers ask for a client's certificate: set \"ssl.certificate.location\" and \
             \"ssl.key.location\" to one that is signed by a CA that they trust",
        )
    } else if lost_in("SSL_HANDSHAKE", text).is_some() || has("wrong version number") {
        Some(
            "If nothing there speaks TLS, set \"security.protocol\" to \"PLAINTEXT\" or \"SASL_PLAINTEXT\", or \
             give the address of the brokers' TLS listener in `brokers`; if it does, check that the brokers are up",
        )
    } else if lost_in("APIVERSION_QUERY", text).is_some() && !has("ssl://") {
        Some(
            "If the brokers' listener expects TLS, set \"security.protocol\" to \"SSL\" or \"SASL_SSL\" among \
             the `kafka` properties; if not, check in `brokers` that a Kafka broker listens there",
        )
    } else if lost_in("UP", text).is_some_and(|ms| ms < LET_IN_MS) && !has("sasl_") {
        Some(
            "If the brokers' listener asks for a password, set \"security.protocol\" to \"SASL_SSL\" or \
             \"SASL_PLAINTEXT\", and \"sasl.mechanism\", \"sasl.username\" and \"sasl.password\"; if not, check \
             that the brokers stay up",
        )
    } else if has("Request not valid in current SASL state") {
        Some(
            "The brokers' listener takes no password: set \"security.protocol\" to \"SSL\" or \"PLAINTEXT\", \
             or give the address of their SASL listener in `brokers`",
        )
    } else {
        None
    }
}

/// After how many milliseconds in a state the other side ended the connection, if it did in that state.
fn lost_in(state: &str, text: &str) -> Option<u64> {
    let lost = ["Disconnected", "Broken pipe", "reset by peer"];
    let (before, _) = text.split_once(&format!("ms in state {state}"))?;
    let (said, ms) = before.rsplit_once("(after ")?;
    lost.iter()
        .any(|word| said.contains(word))
        .then(|| ms.parse().ok())?
}

/// A broker's refusal of our certificate, or of none: a TLS alert.
fn is_certificate_alert(text: &str) -> bool {
    text.contains("alert bad certificate") || text.contains("alert certificate")
}

/// The code that a complaint should have had: a handshake that fails at once is told of as a lost
/// connection.
pub(super) fn code_of(code: RDKafkaErrorCode, text: &str) -> RDKafkaErrorCode {
    if text.contains("certificate verify failed") || is_certificate_alert(text) {
        RDKafkaErrorCode::SSL
    } else {
        code
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::client::ClientContext;
    use rdkafka::config::RDKafkaLogLevel;
    use rdkafka::error::KafkaError;

    use super::*;
    use crate::kafka::{ClientEvents, explain};

    /// As librdkafka says it, and what the user has to be told.
    const COMPLAINTS: [(&str, &str); 7] = [
        (
            "ssl://b:1/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 10ms in state SSL_HANDSHAKE)",
            "\"ssl.ca.location\"",
        ),
        (
            "ssl://b:1/bootstrap: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42 (after 1ms in state APIVERSION_QUERY)",
            "\"ssl.certificate.location\"",
        ),
        (
            "ssl://b:1/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker listener? (after 20ms in state SSL_HANDSHAKE)",
            "If nothing there speaks TLS",
        ),
        (
            "b:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 0ms in state APIVERSION_QUERY, 1 identical error(s) suppressed)",
            "expects TLS",
        ),
        (
            "ssl://b:1/bootstrap: Disconnected: SSL connection closed by peer (after 1ms in state UP)",
            "asks for a password",
        ),
        (
            "ssl://b:1/bootstrap: Send failed: SSL transport error: Broken pipe (after 0ms in state UP)",
            "asks for a password",
        ),
        (
            "sasl_ssl://b:1/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state (after 4ms in state AUTH_HANDSHAKE)",
            "takes no password",
        ),
    ];

    #[test]
    fn a_listener_that_speaks_another_protocol_is_told_by_the_clients_own_words() {
        let code = RDKafkaErrorCode::BrokerTransportFailure;
        for (complaint, wanted) in COMPLAINTS {
            let (called, logged) = (ClientEvents::default(), ClientEvents::default());
            called.error(KafkaError::Global(code), complaint);
            // Some of them are told in no other way.
            ClientContext::log(&logged, RDKafkaLogLevel::Info, "FAIL", complaint);
            for events in [called, logged] {
                events.error(
                    KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
                    "1/1 brokers are down",
                );
                let error = KafkaError::MetadataFetch(code);
                let text = explain("x".to_owned(), "b:1", &error, events.log()).to_string();
                assert!(text.contains(complaint), "{text}");
                assert!(text.contains(wanted), "{text}");
            }
        }
    }

    #[test]
    fn a_connection_that_is_lost_later_or_by_one_who_logged_in_says_nothing_of_the_listener() {
        for text in [
            "b:1/1: Disconnected: connection closed by peer (after 60000ms in state UP)",
            "sasl_ssl://b:1/1: Disconnected: SSL connection closed by peer (after 1ms in state UP)",
            "ssl://b:1/1: Disconnected: SSL connection closed by peer (after 1ms in state APIVERSION_QUERY)",
            "b:1/1: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
        ] {
            assert_eq!(listener_hint(text), None, "{text}");
        }
    }
}
