//! Places of files: local paths, `file://` and `s3://` URLs.

use std::path::PathBuf;

use crate::Location;
use crate::types::Misread;

/// Reads a location. Whether it exists and may be written is not asked here.
pub(crate) fn parse(text: &str) -> Result<Location, Misread> {
    let misread = |range: std::ops::Range<usize>, message: &str, help: &str| Misread {
        range,
        message: message.to_owned(),
        help: Some(help.to_owned()),
    };
    let whole = 0..text.len();
    if text.trim().is_empty() {
        let help = "write a local path, file:///path or s3://bucket/prefix";
        return Err(misread(whole, "the location is empty", help));
    }
    if text.contains('\0') {
        return Err(misread(
            whole,
            "a location has no NUL character",
            "take it out",
        ));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(Location::Local(PathBuf::from(text)));
    };
    let rest_at = scheme.len() + 3;
    match scheme.to_ascii_lowercase().as_str() {
        "file" => file(rest).ok_or_else(|| {
            let help = "write file:///path; a path without file:// may be relative";
            misread(
                whole,
                "a file:// location is absolute and has no host",
                help,
            )
        }),
        "s3" | "s3a" => {
            let bucket = rest.split('/').next().unwrap_or_default();
            let named = !bucket.is_empty()
                && bucket
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            if !named {
                let help = "write s3://bucket/prefix";
                let end = (rest_at + bucket.len()).max(1);
                let start = if bucket.is_empty() { 0 } else { rest_at };
                return Err(misread(start..end, "this names no bucket", help));
            }
            Ok(Location::S3 {
                bucket: bucket.to_owned(),
                prefix: rest[bucket.len()..].trim_matches('/').to_owned(),
            })
        }
        _ => {
            let help = "file:// and s3:// are; most object stores have an S3 interface";
            let message = "this kind of location is not built in";
            Err(misread(0..rest_at, message, help))
        }
    }
}

fn file(rest: &str) -> Option<Location> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    path.starts_with('/')
        .then(|| Location::Local(PathBuf::from(path)))
}

/// How two locations lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// They have nothing in common.
    Apart,
    /// They are the same directory.
    Same,
    /// One is inside the other.
    Nested,
}

/// How `a` and `b` lie to each other, by their names alone.
pub(crate) fn overlap(a: &Location, b: &Location) -> Overlap {
    let parts = |location: &Location| -> Vec<String> {
        match location {
            Location::Local(path) => path
                .components()
                .filter(|part| !matches!(part, std::path::Component::CurDir))
                .map(|part| part.as_os_str().to_string_lossy().into_owned())
                .collect(),
            Location::S3 { bucket, prefix } => std::iter::once(format!("s3://{bucket}"))
                .chain(
                    prefix
                        .split('/')
                        .filter(|part| !part.is_empty())
                        .map(str::to_owned),
                )
                .collect(),
        }
    };
    let (a, b) = (parts(a), parts(b));
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    match (common == a.len(), common == b.len()) {
        (true, true) => Overlap::Same,
        (false, false) => Overlap::Apart,
        _ => Overlap::Nested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: &str) -> String {
        match parse(text) {
            Ok(location) => location.to_string(),
            Err(misread) => format!("{}: {}", &text[misread.range], misread.message),
        }
    }

    #[test]
    fn locations_are_read() {
        assert_eq!(reads("data/out"), "data/out");
        assert_eq!(reads("/srv/out"), "/srv/out");
        assert_eq!(reads("file:///srv/out"), "/srv/out");
        assert_eq!(reads("s3://bucket"), "s3://bucket");
        assert_eq!(reads("s3a://bucket//a/b/"), "s3://bucket/a/b");
    }

    #[test]
    fn what_is_no_location_is_pointed_at() {
        assert_eq!(reads(""), ": the location is empty");
        assert_eq!(
            reads("file://srv/out"),
            "file://srv/out: a file:// location is absolute and has no host"
        );
        assert_eq!(reads("s3:///a"), "s3://: this names no bucket");
        assert_eq!(reads("s3://a b/c"), "a b: this names no bucket");
        assert_eq!(
            reads("gs://bucket/a"),
            "gs://: this kind of location is not built in"
        );
    }

    #[test]
    fn overlaps_are_seen_by_whole_names() -> Result<(), Misread> {
        let pair = |a, b| Ok::<_, Misread>(overlap(&parse(a)?, &parse(b)?));
        assert_eq!(pair("s3://b/late", "s3://b/later")?, Overlap::Apart);
        assert_eq!(pair("s3://b/late", "s3://b/late/")?, Overlap::Same);
        assert_eq!(pair("s3://b/late", "s3://b/late/x")?, Overlap::Nested);
        assert_eq!(pair("./a", "a")?, Overlap::Same);
        assert_eq!(pair("/a", "a")?, Overlap::Apart);
        Ok(())
    }
}
