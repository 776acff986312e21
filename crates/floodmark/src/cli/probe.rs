//! `floodmark probe`: asks a running instance over HTTP whether it is well.
//!
//! For health checks of containers: an image with nothing but the binary has no curl that could ask. One
//! request, one answer, within a limit; whoever checks health asks again by itself.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use super::exit::Failure;

/// Connecting, asking and reading the answer, each.
const PATIENCE: Duration = Duration::from_secs(3);
/// Answers are a few words; of a longer one the rest is not read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Ask a running instance whether it is well
///
/// Prints what the instance answers, and exits 0 if the status is 200, else 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  floodmark probe                                      ready: recovered, and its servers answer
  floodmark probe http://127.0.0.1:8787/healthz        alive")]
pub(crate) struct Args {
    /// What to ask
    #[arg(default_value = "http://127.0.0.1:8787/readyz", value_parser = url)]
    url: Url,
}

/// The part of an `http://` URL that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    /// Host and port.
    authority: String,
    path: String,
}

fn url(text: &str) -> Result<Url, String> {
    let rest = text.strip_prefix("http://");
    let rest = rest.ok_or("give a URL that begins with http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    if port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return Err("give a host and a port, such as http://127.0.0.1:8787/readyz".to_owned());
    }
    // What would end the request's line or header early.
    if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a URL has no spaces".to_owned());
    }
    Ok(Url {
        authority: authority.to_owned(),
        path: if path.is_empty() { "/" } else { path }.to_owned(),
    })
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Url { authority, path } = &args.url;
    let answer = ask(&args.url).with_context(|| format!("asking http://{authority}{path}"))?;
    let (status, body) = parse(&answer).ok_or_else(|| {
        anyhow!("what answers at {authority} does not speak HTTP: is it Floodmark?")
    })?;
    let body = body.trim_end();
    if status != 200 {
        return Err(anyhow!("http://{authority}{path} answers {status}: {body}").into());
    }
    println!("{body}");
    Ok(())
}

/// One request, answered or given up on.
fn ask(url: &Url) -> anyhow::Result<String> {
    let mut connection = connect(&url.authority)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    write!(
        connection,
        "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: floodmark-probe\r\nconnection: close\r\n\r\n",
        url.path, url.authority
    )?;
    let mut answer = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut limited = connection.take(MAX_ANSWER_BYTES);
    let mut part = [0; 4096];
    loop {
        match limited.read(&mut part).context("waiting for the answer")? {
            0 => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            read => answer.extend_from_slice(&part[..read]),
        }
        if Instant::now() > deadline {
            bail!("no whole answer within {} s", PATIENCE.as_secs());
        }
    }
}

/// A name may stand for several addresses; the first that answers is taken.
fn connect(authority: &str) -> anyhow::Result<TcpStream> {
    let mut failure = anyhow!("the name stands for no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = anyhow!(error).context(format!("connecting to {address}")),
        }
    }
    Err(failure)
}

/// Status and body of an HTTP/1.1 answer.
fn parse(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_a_port_and_a_path() {
        let whole = url("http://localhost:8787/readyz").unwrap();
        assert_eq!(
            (whole.authority.as_str(), whole.path.as_str()),
            ("localhost:8787", "/readyz")
        );
        assert_eq!(url("http://[::1]:80").unwrap().path, "/");
        for wrong in [
            "localhost:8787",
            "https://localhost:8787/",
            "http://localhost/",
            "http://localhost:port/",
            "http://localhost:8787/a b",
            "http://localhost:8787/\r\nx: y",
        ] {
            assert!(url(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(parse(answer), Some((503, "no")));
        for wrong in [
            "",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
