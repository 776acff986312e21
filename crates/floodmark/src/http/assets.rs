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
const ASSETS: &[Asset] = assets![
    "alerts.js",
    "checkpoints.js",
    "connection.js",
    "dom.js",
    "explain.js",
    "figures.js",
    "findings.js",
    "format.js",
    "frame.js",
    "graph.js",
    "header.js",
    "hex.js",
    "index.html",
    "late.js",
    "ledger.js",
    "letters.js",
    "log.js",
    "main.js",
    "outputs.js",
    "page.css",
    "parts.css",
    "pictures.css",
    "plots.js",
    "ring.js",
    "rows.js",
    "scale.js",
    "store.js",
    "theme.css",
    "theme.js",
    "watermark.js",
    "windows.js",
    "wrong.js",
    "vendor/inter-latin.woff2",
    "vendor/inter.LICENSE",
    "vendor/uPlot.LICENSE",
    "vendor/uPlot.css",
    "vendor/uPlot.esm.js",
];

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
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/dashboard");
        let missing: Vec<String> = files(Path::new(folder), "")
            .into_iter()
            .filter(|name| !is_aside(name) && !ASSETS.iter().any(|asset| asset.name == name))
            .collect();
        assert!(missing.is_empty(), "not in ASSETS: {missing:?}");
    }

    fn files(folder: &Path, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let entry = entry.expect("an entry");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("a type").is_dir() {
                names.extend(files(&entry.path(), &format!("{name}/")));
            } else {
                names.push(name);
            }
        }
        names
    }

    /// What stands beside the files for people and for Node.js, which runs the modules' unit tests.
    fn is_aside(name: &str) -> bool {
        let ending = Path::new(name).extension();
        ending.is_some_and(|ending| ending == "md") || name == "package.json"
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
