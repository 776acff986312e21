//! The dashboard: its files, compiled in.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// A file of the dashboard.
struct Asset {
    name: &'static str,
    content: &'static [u8],
}

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        &[$(Asset {
            name: $name,
            content: include_bytes!(concat!("dashboard/", $name)),
        }),*]
    };
}

/// Every file there is; a name that does not stand here is not found, whatever it looks like.
const ASSETS: &[Asset] = assets!["index.html"];

/// The page itself.
pub(super) const INDEX: &str = "index.html";

/// The answer to a request for a file.
pub(super) fn answer(name: &str, request: &HeaderMap) -> Option<Response> {
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let tag = tag(asset.content);
    // A later version of the program has other files under the same names.
    let cache = (CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let headers = [(ETAG, tag.clone()), cache];
    let known = request.get_all(IF_NONE_MATCH).iter();
    if known.into_iter().any(|known| holds(known, &tag)) {
        return Some((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let content_type = (CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    Some((headers, [content_type], asset.content).into_response())
}

fn tag(content: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

fn holds(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else {
        return false;
    };
    let mut tags = known.split(',').map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_dashboard_is_compiled_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/dashboard");
        let mut found = Vec::new();
        collect(&folder, &folder, &mut found);
        let missing: Vec<&String> = found
            .iter()
            .filter(|name| !ASSETS.iter().any(|asset| asset.name == name.as_str()))
            .collect();
        assert!(missing.is_empty(), "not in ASSETS: {missing:?}");
    }

    fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("inside").to_string_lossy();
            if path.is_dir() {
                collect(root, &path, found);
            } else if !is_aside(&name) {
                found.push(name.into_owned());
            }
        }
    }

    /// What stands beside the files for people and tools.
    fn is_aside(name: &str) -> bool {
        name.ends_with(".md") || name.contains("LICENSE") || name == "package.json"
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = answer(INDEX, &HeaderMap::new()).expect("an answer");
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[ETAG].clone();
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, tag);
        let second = answer(INDEX, &headers).expect("an answer");
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert!(answer("../mod.rs", &headers).is_none());
    }
}
