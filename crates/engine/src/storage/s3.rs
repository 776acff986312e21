//! Reaching a bucket: options from the pipeline file and the environment, and the probe that tells
//! a wrong one before any event is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use floodmark_pipeline::Storage;
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};

use super::RETRY_TIMEOUT;
use super::error::{self, Cause, Trouble};
use super::listening::Listening;
use crate::telemetry::Retries;

/// Region when nobody names one; S3-compatible servers mostly do not care.
const DEFAULT_REGION: &str = "us-east-1";

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence of a server, and the time of a request that carries nothing; what it carries is given
/// more, see [`listening`](super::listening).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The same of a copy: the server answers when it is done, and a file may have gigabytes.
const COPY_TIMEOUT: Duration = Duration::from_mins(5);

/// The same while probing.
const PROBE_REQUEST_TIMEOUT: Duration = Duration::from_secs(6);

/// How long trouble is retried while probing.
const PROBE_RETRY_TIMEOUT: Duration = Duration::from_secs(4);

/// Retries of one request while running: only `RETRY_TIMEOUT` ends them. Pauses are drawn at random, and a
/// server that refuses connections may have been asked a hundred times within a minute.
const MAX_RETRIES: usize = usize::MAX;

/// Retries of one request while probing.
const PROBE_MAX_RETRIES: usize = 3;

/// First and longest pause between retries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Name the probe asks for; nothing is ever visible there.
const PROBE_NAME: &str = "_floodmark-probe";

/// How long a client tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// A person waits for the answer.
    Probing,
    /// A server may restart.
    Running,
    /// A server works for as long as what it copies is big.
    Copying,
}

/// Everything the client needs. Holds secrets, so it has no `Debug`.
pub(super) struct Config {
    bucket: String,
    endpoint: Option<String>,
    allow_http: bool,
    settings: Vec<(AmazonS3ConfigKey, String)>,
}

impl Config {
    /// Merges the file's options with variables; the file wins. Keys are taken from one of the
    /// two only: a session token that belongs to other keys would spoil them.
    pub(super) fn resolve(
        bucket: &str,
        options: &Storage,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Trouble> {
        let environment = Environment::collect(variables);
        let endpoint = options.endpoint.clone().or_else(|| environment.endpoint());
        if let Some(endpoint) = &endpoint {
            check_endpoint(endpoint)?;
        }
        let allow_http = allow_http(options, &environment, endpoint.as_deref())?;

        let keys_in_file = options.access_key_id.is_some() || options.secret_access_key.is_some();
        let mut settings: Vec<(AmazonS3ConfigKey, String)> = Vec::new();
        for (key, value) in environment.settings() {
            let of_keys = matches!(
                key,
                AmazonS3ConfigKey::AccessKeyId
                    | AmazonS3ConfigKey::SecretAccessKey
                    | AmazonS3ConfigKey::Token
            );
            if !(of_keys && keys_in_file) {
                settings.push((key, value));
            }
        }
        let region = options.region.clone().or_else(|| environment.region());
        settings.push((
            AmazonS3ConfigKey::Region,
            region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        ));
        if let Some(key) = &options.access_key_id {
            settings.push((AmazonS3ConfigKey::AccessKeyId, key.expose().to_owned()));
        }
        if let Some(key) = &options.secret_access_key {
            settings.push((AmazonS3ConfigKey::SecretAccessKey, key.expose().to_owned()));
        }
        check_keys(&settings, endpoint.as_deref())?;
        Ok(Self {
            bucket: bucket.to_owned(),
            endpoint,
            allow_http,
            settings,
        })
    }

    pub(super) fn client(
        &self,
        patience: Patience,
        retries: &Retries,
    ) -> Result<Arc<AmazonS3>, Trouble> {
        let (request_timeout, retry_timeout, max_retries) = match patience {
            Patience::Probing => (
                PROBE_REQUEST_TIMEOUT,
                PROBE_RETRY_TIMEOUT,
                PROBE_MAX_RETRIES,
            ),
            Patience::Running => (REQUEST_TIMEOUT, RETRY_TIMEOUT, MAX_RETRIES),
            Patience::Copying => (COPY_TIMEOUT, RETRY_TIMEOUT, MAX_RETRIES),
        };
        let (init_backoff, max_backoff) = BACKOFF;
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(Listening::new(self.place(), request_timeout, retries))
            .with_bucket_name(&self.bucket)
            .with_virtual_hosted_style_request(false)
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(self.allow_http)
                    .with_connect_timeout(CONNECT_TIMEOUT)
                    // The connector watches the time: how long is too long depends on the request.
                    .with_timeout_disabled(),
            )
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff,
                    max_backoff,
                    base: 2.0,
                },
                max_retries,
                retry_timeout,
            });
        for (key, value) in &self.settings {
            builder = builder.with_config(*key, value);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder
            .build()
            .map(Arc::new)
            .map_err(|error| Trouble::Misconfigured {
                reason: error.to_string(),
                hint: "Correct [storage] in the pipeline file or the AWS_* variables".to_owned(),
            })
    }

    /// When the probe took too long.
    pub(super) fn no_answer(&self) -> Trouble {
        Trouble::Misconfigured {
            reason: "no answer in time".to_owned(),
            hint: self.reach_hint(),
        }
    }

    /// What people call the bucket.
    fn place(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("s3://{} at {endpoint}", self.bucket),
            None => format!("s3://{}", self.bucket),
        }
    }

    fn reach_hint(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!(
                "Check that an S3 server answers at {endpoint} (endpoint under [storage], or \
                 AWS_ENDPOINT_URL)"
            ),
            None => "Check the network; for a server other than AWS set endpoint under [storage], \
                     or AWS_ENDPOINT_URL"
                .to_owned(),
        }
    }
}

/// Proves that the bucket can be listed, read and written. Leaves nothing visible.
pub(super) async fn probe(config: &Config, prefix: &str, retries: &Retries) -> Result<(), Trouble> {
    let client = config.client(Patience::Probing, retries)?;
    let sorted = |error: &object_store::Error| match error::from_object_store(error) {
        // At a start an unreachable server is most likely a wrong address.
        Cause::Other(Trouble::Unavailable { reason }) => Trouble::Misconfigured {
            reason,
            hint: config.reach_hint(),
        },
        Cause::Other(trouble) => trouble,
        Cause::NotFound | Cause::Exists => Trouble::Misconfigured {
            reason: format!("the bucket {} cannot be used: {error}", config.bucket),
            hint: "Create the bucket, or correct its name in the pipeline file".to_owned(),
        },
    };
    let path = |name: &str| {
        Path::parse(format!("{prefix}/{name}")).map_err(|error| Trouble::Misconfigured {
            reason: error.to_string(),
            hint: "Correct the path in the pipeline file".to_owned(),
        })
    };

    let directory = path("")?;
    let first = client.list(Some(&directory)).next().await;
    if let Some(Err(error)) = first {
        return Err(sorted(&error));
    }
    let name = path(PROBE_NAME)?;
    match client.head(&name).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(sorted(&error)),
    }
    let id = client
        .create_multipart(&name)
        .await
        .map_err(|error| sorted(&error))?;
    client
        .abort_multipart(&name, &id)
        .await
        .map_err(|error| sorted(&error))
}

fn check_endpoint(endpoint: &str) -> Result<(), Trouble> {
    let misconfigured = |reason: &str, hint: &str| {
        Err(Trouble::Misconfigured {
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        })
    };
    if endpoint.contains('@') {
        return misconfigured(
            "the endpoint holds a user name or password",
            "Put the keys into access_key_id and secret_access_key under [storage], or into \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        );
    }
    let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    if !matches!(scheme, "http" | "https") || authority.is_empty() {
        return misconfigured(
            &format!("the endpoint \"{endpoint}\" is no http or https URL"),
            "Write it like http://127.0.0.1:9000 or https://s3.example.com",
        );
    }
    Ok(())
}

fn allow_http(
    options: &Storage,
    environment: &Environment,
    endpoint: Option<&str>,
) -> Result<bool, Trouble> {
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    match options.allow_http {
        Some(false) if plain => Err(Trouble::Misconfigured {
            reason: "the endpoint is plain http, which allow_http = false forbids".to_owned(),
            hint: "Use an https endpoint, or remove allow_http".to_owned(),
        }),
        Some(allow) => Ok(allow),
        // Who writes http:// means it.
        None => Ok(plain || environment.allow_http()),
    }
}

fn check_keys(
    settings: &[(AmazonS3ConfigKey, String)],
    endpoint: Option<&str>,
) -> Result<(), Trouble> {
    let has = |wanted: AmazonS3ConfigKey| settings.iter().any(|(key, _)| *key == wanted);
    let id = has(AmazonS3ConfigKey::AccessKeyId);
    let secret = has(AmazonS3ConfigKey::SecretAccessKey);
    let reason = match (id, secret) {
        (true, true) => return Ok(()),
        (true, false) => "there is an access key id but no secret access key",
        (false, true) => "there is a secret access key but no access key id",
        // On AWS itself an instance's or a pod's role may provide keys.
        (false, false) if endpoint.is_none() || has(AmazonS3ConfigKey::SkipSignature) => {
            return Ok(());
        }
        (false, false) => "there are no keys",
    };
    Err(Trouble::Misconfigured {
        reason: reason.to_owned(),
        hint: "Set access_key_id and secret_access_key under [storage], or AWS_ACCESS_KEY_ID and \
               AWS_SECRET_ACCESS_KEY"
            .to_owned(),
    })
}

/// The `AWS_*` variables that are set to something.
struct Environment(BTreeMap<String, String>);

impl Environment {
    fn collect(variables: impl Iterator<Item = (String, String)>) -> Self {
        Self(
            variables
                .filter(|(key, value)| key.starts_with("AWS_") && !value.is_empty())
                .collect(),
        )
    }

    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.0.get(*name).cloned())
    }

    fn endpoint(&self) -> Option<String> {
        self.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
    }

    fn region(&self) -> Option<String> {
        self.first(&["AWS_REGION", "AWS_DEFAULT_REGION"])
    }

    fn allow_http(&self) -> bool {
        self.first(&["AWS_ALLOW_HTTP"]).is_some_and(|value| {
            matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes")
        })
    }

    /// What the client knows, except what is decided here.
    fn settings(&self) -> impl Iterator<Item = (AmazonS3ConfigKey, String)> {
        self.0.iter().filter_map(|(name, value)| {
            let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().ok()?;
            let decided_here = matches!(
                key,
                AmazonS3ConfigKey::Endpoint
                    | AmazonS3ConfigKey::S3Endpoint
                    | AmazonS3ConfigKey::Region
                    | AmazonS3ConfigKey::DefaultRegion
                    | AmazonS3ConfigKey::Bucket
                    | AmazonS3ConfigKey::VirtualHostedStyleRequest
                    | AmazonS3ConfigKey::ConditionalPut
                    | AmazonS3ConfigKey::Client(_)
            );
            (!decided_here).then(|| (key, value.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use floodmark_pipeline::Secret;

    use super::*;

    fn resolved(options: &Storage, variables: &[(&str, &str)]) -> Result<Config, Trouble> {
        let variables = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::resolve("bucket", options, variables)
    }

    fn setting(config: &Config, wanted: AmazonS3ConfigKey) -> Option<&str> {
        let mut found = config.settings.iter().filter(|(key, _)| *key == wanted);
        found.next_back().map(|(_, value)| value.as_str())
    }

    fn hint(result: Result<Config, Trouble>) -> String {
        match result {
            Err(Trouble::Misconfigured { reason, hint }) => format!("{reason}. {hint}"),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn the_file_wins_over_variables_and_its_keys_do_not_mix_with_theirs() {
        let options = Storage {
            endpoint: Some("http://file:1".to_owned()),
            region: Some("file-region".to_owned()),
            access_key_id: Some(Secret::new("file-id")),
            secret_access_key: Some(Secret::new("file-secret")),
            allow_http: None,
        };
        let variables = [
            ("AWS_ENDPOINT_URL", "http://env:1"),
            ("AWS_ENDPOINT_URL_S3", "http://env:2"),
            ("AWS_REGION", "env-region"),
            ("AWS_ACCESS_KEY_ID", "env-id"),
            ("AWS_SECRET_ACCESS_KEY", "env-secret"),
            ("AWS_SESSION_TOKEN", "env-token"),
        ];
        let config = resolved(&options, &variables).expect("complete");
        assert_eq!(config.endpoint.as_deref(), Some("http://file:1"));
        assert!(config.allow_http);
        assert_eq!(
            setting(&config, AmazonS3ConfigKey::Region),
            Some("file-region")
        );
        assert_eq!(
            setting(&config, AmazonS3ConfigKey::AccessKeyId),
            Some("file-id")
        );
        assert_eq!(
            setting(&config, AmazonS3ConfigKey::SecretAccessKey),
            Some("file-secret")
        );
        assert_eq!(setting(&config, AmazonS3ConfigKey::Token), None);
    }

    #[test]
    fn variables_fill_what_the_file_leaves_open() {
        let variables = [
            ("AWS_ENDPOINT_URL", "http://env:1"),
            ("AWS_DEFAULT_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "token"),
        ];
        let config = resolved(&Storage::default(), &variables).expect("complete");
        assert_eq!(config.endpoint.as_deref(), Some("http://env:1"));
        assert_eq!(
            setting(&config, AmazonS3ConfigKey::Region),
            Some("eu-central-1")
        );
        assert_eq!(setting(&config, AmazonS3ConfigKey::Token), Some("token"));
    }

    #[test]
    fn a_region_has_a_default() {
        let config = resolved(&Storage::default(), &[]).expect("a role may give keys");
        assert_eq!(
            setting(&config, AmazonS3ConfigKey::Region),
            Some(DEFAULT_REGION)
        );
    }

    #[test]
    fn what_is_missing_or_wrong_says_what_to_write() {
        let endpoint = |endpoint: &str| Storage {
            endpoint: Some(endpoint.to_owned()),
            ..Storage::default()
        };
        assert!(hint(resolved(&endpoint("localhost:9000"), &[])).contains("http://127.0.0.1:9000"));
        assert!(hint(resolved(&endpoint("http://host:1"), &[])).contains("AWS_ACCESS_KEY_ID"));
        let refused = hint(resolved(&endpoint("http://me:hunter2@host"), &[]));
        assert!(!refused.contains("hunter2"), "{refused}");
        let plain = Storage {
            allow_http: Some(false),
            ..endpoint("http://host:1")
        };
        assert!(hint(resolved(&plain, &[])).contains("allow_http"));
    }
}
