//! Bytes that are no requests.

use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
use kafka_protocol::protocol::Decodable;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::client::{Client, frame, raw_frame};
use super::site::{PROMPT, Site};
use super::wire::offered;

/// Kafka's code for a version that is not offered.
const UNSUPPORTED_VERSION: i16 = 35;

fn random() -> TestRng {
    TestRng::deterministic_rng(RngAlgorithm::ChaCha)
}

fn random_bytes(random: &mut TestRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.next_u32() as usize % (most + 1)];
    random.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn random_bytes_do_nothing() {
    let site = Site::new();
    let mut random = random();
    for _ in 0..500 {
        let mut client = site.client();
        // The broker may close the connection in the middle of them.
        let _ = client.send(&random_bytes(&mut random, 4_000));
        client.finish();
        while client.receive().is_ok() {}
    }
    site.stands(64);
}

#[test]
fn random_bodies_are_answered_or_refused() {
    let site = Site::new();
    let mut random = random();
    for api in offered(&site) {
        for _ in 0..20 {
            let mut client = site.client();
            let body = random_bytes(&mut random, 60);
            client.send(&api.frame(&body)).expect("it is sent");
            client.finish();
            while client.receive().is_ok() {}
        }
    }
    site.stands(64);
}

#[test]
fn frames_cut_short_do_nothing() {
    let site = Site::new();
    for api in offered(&site) {
        let whole = api.plain();
        for length in [1, 3, 4, 5, 11, whole.len() / 2, whole.len() - 1] {
            let mut client = site.client();
            client
                .send(&whole[..length.min(whole.len() - 1)])
                .expect("it is sent");
            client.finish();
            assert!(client.is_closed());
        }
    }
    site.stands(64);
}

#[test]
fn impossible_lengths_close_the_connection() {
    let site = Site::new();
    for length in [0, -1, i32::MIN, i32::MAX, (100 << 20) + 1] {
        let mut client = site.client();
        client.send(&length.to_be_bytes()).expect("it is sent");
        assert!(client.is_closed(), "a frame of {length} bytes");
    }
    site.stands(16);
}

#[test]
fn a_length_costs_nothing_until_its_bytes_come() {
    let site = Site::new();
    let mut clients: Vec<_> = (0..500).map(|_| site.client()).collect();
    for client in &mut clients {
        client
            .send(&(99_i32 << 20).to_be_bytes())
            .expect("it is sent");
        client.send(&[0; 1_000]).expect("it is sent");
    }
    site.stands(128);
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_and_others_are_not() {
    let site = Site::new();
    for version in [5, 99, i16::MAX, -1] {
        let mut client = site.client();
        client
            .send(&raw_frame(18, version, 2, &[1, 1, 0]))
            .expect("it is sent");
        let answer = client.receive().expect("it is answered");
        let response = ApiVersionsResponse::decode(&mut answer.slice(4..), 0).expect("version 0");
        assert_eq!(response.error_code, UNSUPPORTED_VERSION);
        assert!(!response.api_keys.is_empty());
        // The client may ask again on the same connection.
        let again = client
            .call(&ApiVersionsRequest::default(), 0)
            .expect("it is answered");
        assert_eq!(again.error_code, 0);
    }
    for (key, version) in [
        (3, 99),
        (3, -1),
        (0, 2),
        (-1, 0),
        (1_000, 0),
        (i16::MAX, i16::MAX),
    ] {
        let mut client = site.client();
        client
            .send(&raw_frame(key, version, 1, &[0; 8]))
            .expect("it is sent");
        assert!(client.is_closed(), "API {key} version {version}");
    }
    site.stands(16);
}

#[test]
fn arrays_that_say_more_than_they_have_are_refused() {
    let site = Site::new();
    let mut sent = 0;
    for api in offered(&site) {
        let whole = api.plain();
        // After length, API, version, correlation id and client id.
        let body = 4 + 8 + 2 + "hostile".len();
        for place in body..whole.len() {
            let mut plain = whole.clone();
            if let Some(count) = plain.get_mut(place..place + 4) {
                count.copy_from_slice(&i32::MAX.to_be_bytes());
                bomb(&mut site.client(), &plain, &mut sent);
            }
            let mut compact = whole.clone();
            compact.splice(place..=place, [0xff, 0xff, 0xff, 0xff, 0x0f]);
            let length = (compact.len() - 4) as i32;
            compact[..4].copy_from_slice(&length.to_be_bytes());
            bomb(&mut site.client(), &compact, &mut sent);
        }
    }
    assert!(sent > 1_000, "{sent} frames");
    site.stands(64);
}

fn bomb(client: &mut Client, bytes: &[u8], sent: &mut usize) {
    client.send(bytes).expect("it is sent");
    client.finish();
    while client.receive().is_ok() {}
    *sent += 1;
}

#[test]
fn a_client_that_sends_byte_by_byte_is_answered_and_delays_nobody() {
    let site = Site::new();
    let mut slow = site.client();
    let mut worst = Duration::ZERO;
    for byte in frame(&MetadataRequest::default().with_topics(None), 4) {
        slow.send(&[byte]).expect("it is sent");
        worst = worst.max(site.round_trip());
        std::thread::sleep(Duration::from_millis(50));
    }
    let begin = Instant::now();
    slow.receive().expect("it is answered");
    assert!(begin.elapsed() < PROMPT);
    assert!(worst < PROMPT, "another client waited {worst:?}");
    site.stands(16);
}
