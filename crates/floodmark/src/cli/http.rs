//! `--http`: whether the run is served over HTTP, and where.

use std::net::{Ipv6Addr, SocketAddr};

use floodmark_engine::telemetry::Telemetry;

use crate::http::{KEPT, Listener, url};

/// Where the run is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Http {
    /// Nowhere.
    Off,
    /// At an address, HOST:PORT.
    At(String),
}

/// How the flag is written.
pub(super) fn flag(text: &str) -> Result<Http, String> {
    let expected =
        || "give HOST:PORT, such as 127.0.0.1:8787, a port of 127.0.0.1, or off".to_owned();
    if text == "off" {
        return Ok(Http::Off);
    }
    if text.parse::<u16>().is_ok() {
        return Ok(Http::At(format!("127.0.0.1:{text}")));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(expected());
    }
    Ok(Http::At(text.to_owned()))
}

/// How a name of `--http-host` is written.
pub(super) fn host(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let address = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let is_name = !text.is_empty() && text.chars().all(plain);
    if is_name || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
        return Ok(text.to_owned());
    }
    Err("give a host without scheme and port, such as floodmark, 10.0.0.7 or [fd00::7]".to_owned())
}

impl Http {
    /// Takes the port; `names` are hosts that requests may be for, beside this machine's own names.
    pub(super) fn listen(&self, names: &[String]) -> anyhow::Result<Option<Listener>> {
        match self {
            Self::Off => Ok(None),
            Self::At(address) => Listener::bind(address, names).map(Some),
        }
    }

    /// Telemetry that keeps samples only if somebody can look at them.
    pub(super) fn telemetry(&self) -> Telemetry {
        Telemetry::new(match self {
            Self::Off => 0,
            Self::At(_) => KEPT,
        })
    }
}

/// Says where to look.
pub(super) fn says_where(address: SocketAddr) -> String {
    let url = url(address);
    format!("dashboard at {url}, metrics at {url}/metrics")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_port_of_this_machine() {
        let at = |address: &str| Ok(Http::At(address.to_owned()));
        assert_eq!(flag("off"), Ok(Http::Off));
        assert_eq!(flag("8787"), at("127.0.0.1:8787"));
        assert_eq!(flag("0.0.0.0:80"), at("0.0.0.0:80"));
        assert_eq!(flag("[::1]:0"), at("[::1]:0"));
        for wrong in [
            "",
            "on",
            ":8787",
            "localhost",
            "localhost:",
            "127.0.0.1:99999",
        ] {
            assert!(flag(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_has_neither_scheme_nor_port() {
        for right in ["floodmark", "a.example", "10.0.0.7", "[fd00::7]"] {
            assert_eq!(host(right).as_deref(), Ok(right));
        }
        for wrong in ["", "http://a", "a:8787", "fd00::7", "[a]", "a b"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
