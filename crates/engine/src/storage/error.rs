//! Why storage cannot go on, by what a caller does about it.
//!
//! Clients and operating systems report in their own words; [`Cause`] sorts those words into the
//! few things that matter here. Text that a server sent is reduced to its error code and message,
//! so that no header, signature or key of a request can end up in a log.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

/// Longest piece of a server's own words in an error.
const MAX_REASON_CHARS: usize = 300;

/// Without hard links nothing can be created atomically only if it is absent.
#[derive(Debug, thiserror::Error)]
#[error("the file system has no hard links, so instances cannot be fenced")]
pub(super) struct NoHardLinks;

/// Why storage cannot go on. Transient trouble has already been retried up to
/// [`RETRY_TIMEOUT`](super::RETRY_TIMEOUT) when it surfaces here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The configuration, the server or a permission must be changed by somebody.
    #[error("{attempted}: {reason}. {hint}")]
    Misconfigured {
        /// What was attempted, on which object.
        attempted: String,
        /// What the server or the system said.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// Did not work within the retry limit; it may work later.
    #[error("{attempted}: {reason}")]
    Unavailable {
        /// What was attempted, on which object.
        attempted: String,
        /// What the server or the system said.
        reason: String,
    },
    /// The disk, the quota or the server is full.
    #[error(
        "{attempted}: no space left ({reason}). Free some space and start again: \
         it goes on at the last checkpoint and nothing is lost"
    )]
    NoSpace {
        /// What was attempted, on which object.
        attempted: String,
        /// What the server or the system said.
        reason: String,
    },
    /// Bytes that were durable are gone, or other bytes stand in their place. Stop now: going on
    /// would hide the loss.
    #[error("{attempted}: {reason}")]
    Lost {
        /// What was attempted, on which object.
        attempted: String,
        /// What is there instead.
        reason: String,
    },
}

/// What a failure of one operation means, before it is known what was attempted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The object does not exist.
    NotFound,
    /// The object exists already, or a concurrent conditional write was under way.
    Exists,
    /// Everything a caller cannot act on by itself.
    Other(Trouble),
}

/// A failure that surfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Somebody must change something.
    Misconfigured { reason: String, hint: String },
    /// May work later.
    Unavailable { reason: String },
    /// Nothing fits any more.
    NoSpace { reason: String },
}

impl Trouble {
    /// Names what was attempted.
    pub(super) fn during(self, attempted: impl Into<String>) -> StorageError {
        let attempted = attempted.into();
        match self {
            Self::Misconfigured { reason, hint } => StorageError::Misconfigured {
                attempted,
                reason,
                hint,
            },
            Self::Unavailable { reason } => StorageError::Unavailable { attempted, reason },
            Self::NoSpace { reason } => StorageError::NoSpace { attempted, reason },
        }
    }
}

impl Cause {
    /// For operations on which neither absence nor presence is an answer.
    pub(super) fn during(self, attempted: impl Into<String>) -> StorageError {
        match self {
            Self::Other(trouble) => trouble.during(attempted),
            Self::NotFound => Trouble::Unavailable {
                reason: "not found".to_owned(),
            }
            .during(attempted),
            Self::Exists => Trouble::Unavailable {
                reason: "already exists".to_owned(),
            }
            .during(attempted),
        }
    }
}

/// Sorts an error of the operating system.
pub(super) fn from_io(error: &io::Error) -> Cause {
    use io::ErrorKind as Kind;
    let reason = error.to_string();
    let misconfigured = |hint: &str| {
        Cause::Other(Trouble::Misconfigured {
            reason: reason.clone(),
            hint: hint.to_owned(),
        })
    };
    if error
        .get_ref()
        .is_some_and(<dyn Error + Send + Sync>::is::<NoHardLinks>)
    {
        return misconfigured("Put the checkpoint on another file system, or on S3");
    }
    match error.kind() {
        Kind::NotFound => Cause::NotFound,
        Kind::AlreadyExists => Cause::Exists,
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            Cause::Other(Trouble::NoSpace { reason })
        }
        Kind::PermissionDenied => misconfigured(
            "Give the user that runs this process write permission there, or choose another path",
        ),
        Kind::ReadOnlyFilesystem => {
            misconfigured("Mount the file system writable, or choose another path")
        }
        Kind::NotADirectory | Kind::IsADirectory => {
            misconfigured("A file stands where a directory is needed; choose another path")
        }
        Kind::InvalidFilename | Kind::InvalidInput => misconfigured("Choose another path"),
        _ => Cause::Other(Trouble::Unavailable { reason }),
    }
}

/// Sorts an error of the object store's client.
pub(super) fn from_object_store(error: &object_store::Error) -> Cause {
    if let Some(http) = find::<HttpError>(error) {
        return Cause::Other(from_http(http));
    }
    let text = chain(error);
    let answer = ServerAnswer::parse(&text);
    match error {
        object_store::Error::NotFound { .. } if answer.code != Some("NoSuchBucket") => {
            Cause::NotFound
        }
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            Cause::Exists
        }
        _ => Cause::Other(answer.trouble(&text)),
    }
}

fn from_http(error: &HttpError) -> Trouble {
    let root = root_cause(error);
    let reason = match error.kind() {
        HttpErrorKind::Timeout => "no answer in time".to_owned(),
        HttpErrorKind::Connect => format!("cannot connect: {root}"),
        _ => root,
    };
    if reason.contains("certificate") {
        return Trouble::Misconfigured {
            reason,
            hint: "Use the name that the server's certificate carries, or http:// for a server \
                   without TLS"
                .to_owned(),
        };
    }
    Trouble::Unavailable { reason }
}

/// What an S3 server said: the code and message of its XML answer, as far as there is one.
struct ServerAnswer<'a> {
    code: Option<&'a str>,
    message: Option<&'a str>,
    status: Option<u16>,
}

impl<'a> ServerAnswer<'a> {
    fn parse(text: &'a str) -> Self {
        let status = text
            .split_once("status code: ")
            .and_then(|(_, rest)| rest.get(..3))
            .and_then(|digits| digits.parse().ok());
        Self {
            code: element(text, "Code"),
            message: element(text, "Message"),
            status,
        }
    }

    fn trouble(&self, text: &str) -> Trouble {
        let reason = self.reason(text);
        let hint = match (self.code.unwrap_or_default(), self.status) {
            ("NoSuchBucket", _) => {
                "Create the bucket, or correct the bucket's name in the pipeline file"
            }
            ("InvalidAccessKeyId" | "InvalidToken" | "ExpiredToken", _) | (_, Some(401)) => {
                "Check access_key_id and secret_access_key under [storage], or AWS_ACCESS_KEY_ID, \
                 AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
            }
            ("SignatureDoesNotMatch", _) => {
                "Check secret_access_key under [storage], or AWS_SECRET_ACCESS_KEY"
            }
            ("RequestTimeTooSkewed", _) => "Set this machine's clock",
            (
                "AuthorizationHeaderMalformed"
                | "PermanentRedirect"
                | "IllegalLocationConstraintException",
                _,
            )
            | (_, Some(301 | 307 | 308)) => {
                "Set the bucket's region: region under [storage], or AWS_REGION"
            }
            ("InvalidBucketName", _) => "Correct the bucket's name in the pipeline file",
            ("NotImplemented", _) | (_, Some(405 | 501)) => {
                "This server lacks an operation that is needed; use another S3-compatible server"
            }
            ("XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage", _) | (_, Some(507)) => {
                return Trouble::NoSpace { reason };
            }
            (_, Some(403)) => {
                "Check the keys, and that they may list the bucket and read, write and delete \
                 its objects, for an output also those under _staged/ beside it \
                 (s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, \
                 s3:AbortMultipartUpload)"
            }
            (_, Some(400 | 404)) => "Check endpoint, region and bucket in the pipeline file",
            _ => return Trouble::Unavailable { reason },
        };
        Trouble::Misconfigured {
            reason,
            hint: hint.to_owned(),
        }
    }

    fn reason(&self, text: &str) -> String {
        let said = match (self.code, self.message) {
            (Some(code), Some(message)) => format!("{code}: {}", message.trim_end_matches('.')),
            (Some(only), None) | (None, Some(only)) => only.to_owned(),
            (None, None) => {
                let start = text
                    .find("status code: ")
                    .map_or(0, |at| at + "status code: ".len());
                text.get(start..).unwrap_or(text).to_owned()
            }
        };
        said.chars().take(MAX_REASON_CHARS).collect()
    }
}

/// The text of the first `<name>` element.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    Some(content).filter(|content| !content.is_empty())
}

type Link<'a> = &'a (dyn Error + 'static);

/// An error, its source, the source's source and so on.
fn links<'a>(error: Link<'a>) -> impl Iterator<Item = Link<'a>> {
    std::iter::successors(Some(error), |link: &Link<'a>| Error::source(*link))
}

/// The first error of type `T` in a chain.
fn find<T: Error + 'static>(error: Link<'_>) -> Option<&T> {
    links(error).find_map(|link| link.downcast_ref())
}

/// The last text of a chain.
fn root_cause(error: Link<'_>) -> String {
    links(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// All texts of a chain; most errors repeat their source's.
fn chain(error: Link<'_>) -> String {
    links(error).skip(1).fold(error.to_string(), |text, link| {
        let more = link.to_string();
        if text.contains(&more) {
            text
        } else {
            format!("{text}: {more}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(status: &str, body: &str) -> Trouble {
        let text = format!(
            "Error performing PUT http://host/b/k in 3ms - Server returned non-2xx status code: {status}: {body}"
        );
        ServerAnswer::parse(&text).trouble(&text)
    }

    #[test]
    fn a_server_s_answer_is_reduced_to_its_code_and_message() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match.</Message>\
                    <AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId><StringToSign>secret stuff</StringToSign></Error>";
        let Trouble::Misconfigured { reason, hint } = sorted("403 Forbidden", body) else {
            panic!("wrong keys are for somebody to change")
        };
        assert_eq!(
            reason,
            "SignatureDoesNotMatch: The signature does not match"
        );
        assert!(hint.contains("AWS_SECRET_ACCESS_KEY"), "{hint}");
    }

    #[test]
    fn a_full_server_is_no_space_and_a_failing_one_is_unavailable() {
        let full = "<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>";
        assert!(matches!(
            sorted("507 Insufficient Storage", full),
            Trouble::NoSpace { .. }
        ));
        assert!(matches!(
            sorted("503 Service Unavailable", ""),
            Trouble::Unavailable { .. }
        ));
    }

    #[test]
    fn a_full_disk_is_no_space() {
        let error = io::Error::from_raw_os_error(libc::ENOSPC);
        assert!(matches!(
            from_io(&error),
            Cause::Other(Trouble::NoSpace { .. })
        ));
    }
}
