//! Requests of every kind, made of the table that the broker checks them by.
#![allow(dead_code, reason = "the modules serve the crate's own tests as well")]

#[path = "../../src/wire/tests/maker.rs"]
mod maker;
#[path = "../../src/wire/requests/mod.rs"]
mod requests;
#[path = "../../src/wire/schema.rs"]
mod schema;

use kafka_protocol::messages::ApiVersionsRequest;

use self::maker::{Maker, Whims};
use self::requests::{REQUESTS, find};
use super::client::raw_frame;
use super::site::Site;

/// Number and version of a request that the broker offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offered {
    pub(super) key: i16,
    pub(super) version: i16,
}

/// Every request that the broker offers, in each version.
pub(super) fn offered(site: &Site) -> Vec<Offered> {
    let answer = site.client().call(&ApiVersionsRequest::default(), 0);
    let offered: Vec<_> = (answer.expect("it is answered").api_keys.iter())
        .flat_map(|api| {
            let key = api.api_key;
            (api.min_version..=api.max_version).map(move |version| Offered { key, version })
        })
        .collect();
    assert!(offered.len() > 100, "{offered:?}");
    for api in &offered {
        let known = find(api.key).is_some_and(|request| request.has(api.version));
        assert!(known, "{api:?} is offered and would be refused");
    }
    offered
}

impl Offered {
    /// Name of the request.
    pub(super) fn name(self) -> &'static str {
        find(self.key).map_or("?", |request| request.name)
    }

    /// A body as this request.
    pub(super) fn frame(self, body: &[u8]) -> Vec<u8> {
        let flexible = find(self.key).is_some_and(|request| self.version >= request.flexible);
        raw_frame(self.key, self.version, if flexible { 2 } else { 1 }, body)
    }

    /// A request with one element in each array.
    pub(super) fn plain(self) -> Vec<u8> {
        let whims = Whims {
            least: Some(1),
            words: &["t"],
            ..Whims::default()
        };
        self.make(0, whims).0
    }

    /// A request whose every value is one that may mean something.
    pub(super) fn plausible(self, seed: u64) -> Vec<u8> {
        let whims = Whims {
            words: &["", "a", "b", "1", "range", "consumer", "retention.ms"],
            numbers: &[
                -2,
                -1,
                0,
                1,
                2,
                3,
                1_000,
                0x7fff_ffff,
                -0x8000_0000,
                i64::MAX,
                i64::MIN,
            ],
            ..Whims::default()
        };
        self.make(seed, whims).0
    }

    /// For each array of the request, a request with so many elements in it, all about the topic or
    /// group `wide` and the partition 0.
    pub(super) fn large(self, elements: usize) -> Vec<Vec<u8>> {
        let mut whims = Whims {
            least: Some(1),
            words: &["wide"],
            // A topic is a resource of type 2.
            numbers: &[0, 2],
            ..Whims::default()
        };
        let (_, arrays) = self.make(0, whims);
        (0..arrays)
            .map(|array| {
                whims.grow = Some((array, elements));
                self.make(0, whims).0
            })
            .collect()
    }

    fn make(self, seed: u64, whims: Whims) -> (Vec<u8>, usize) {
        let request = REQUESTS.iter().find(|request| request.key == self.key);
        let request = request.expect("it is in the table");
        let (body, made) = Maker::make(request, self.version, seed, whims);
        (self.frame(&body), made.arrays)
    }
}
