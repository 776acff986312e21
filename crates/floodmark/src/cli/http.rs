//! `--http`: whether the run is served over HTTP, and where.

use std::net::SocketAddr;

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

impl Http {
    /// Takes the port.
    pub(super) fn listen(&self) -> anyhow::Result<Option<Listener>> {
        match self {
            Self::Off => Ok(None),
            Self::At(address) => Listener::bind(address).map(Some),
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
}
