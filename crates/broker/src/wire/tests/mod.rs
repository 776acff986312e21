mod maker;
mod memory;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, RequestHeader};
use kafka_protocol::protocol::{Encodable, Request as KafkaRequest, StrBytes};
use proptest::prelude::*;

use self::maker::{Maker, Whims};
use self::memory::most_held;
use super::any::{Decoded, Visitor, decode, visit};
use super::requests::REQUESTS;
use super::schema::Request;
use super::{Fault, MAX_ELEMENTS, MAX_UNKNOWN_TAGGED_FIELDS, WireError, after_body, check, header};

/// What decoding may take for a body of so many bytes.
fn bytes_to_decode(body: usize) -> usize {
    40 * body + (1 << 20)
}

/// Each request in each version.
fn all() -> impl Iterator<Item = (&'static Request, i16)> {
    REQUESTS
        .iter()
        .flat_map(|request| (request.first..=request.last).map(move |version| (request, version)))
}

fn fault<T>(result: Result<T, WireError>) -> Option<Fault> {
    match result.err()? {
        WireError::Malformed { fault, .. } => Some(fault),
        _ => None,
    }
}

/// Decodes with `kafka-protocol`, encodes again, and decodes that: what it encodes.
struct RoundTrip<'a> {
    version: i16,
    body: &'a [u8],
}

impl Visitor for RoundTrip<'_> {
    type Output = Vec<u8>;

    fn visit<R: KafkaRequest + PartialEq + Debug>(self) -> Vec<u8> {
        let mut left = Bytes::copy_from_slice(self.body);
        let request = R::decode(&mut left, self.version).expect("it decodes");
        assert!(left.is_empty(), "{} bytes were not decoded", left.len());
        let mut encoded = BytesMut::new();
        request
            .encode(&mut encoded, self.version)
            .expect("it encodes");
        let again = R::decode(&mut encoded.clone().freeze(), self.version).expect("it decodes");
        assert_eq!(request, again);
        encoded.to_vec()
    }
}

/// The versions that `kafka-protocol` knows, and whether one of them has flexible headers.
struct Versions(i16);

impl Visitor for Versions {
    type Output = (i16, i16, bool);

    fn visit<R: KafkaRequest + PartialEq + Debug>(self) -> Self::Output {
        let versions = R::VERSIONS;
        (versions.min, versions.max, R::header_version(self.0) == 2)
    }
}

#[test]
fn the_table_has_the_versions_that_the_decoder_has() {
    for (request, version) in all() {
        let (first, last, flexible) = visit(request.key, Versions(version)).expect(request.name);
        assert_eq!(
            (request.first, request.last),
            (first, last),
            "{}",
            request.name
        );
        assert_eq!(
            version >= request.flexible,
            flexible,
            "{} {version}",
            request.name
        );
    }
}

#[test]
fn each_request_is_walked_to_its_last_byte_as_the_decoder_decodes_it() {
    for (request, version) in all() {
        for seed in 0..60 {
            let (body, _) = Maker::make(request, version, seed, Whims::default());
            let place = format!("{} {version}, seed {seed}: {body:?}", request.name);
            assert_eq!(
                after_body(request.key, version, &body),
                Ok(&[][..]),
                "{place}"
            );
            let trip = RoundTrip {
                version,
                body: &body,
            };
            let encoded = visit(request.key, trip).expect(request.name);
            assert_eq!(
                after_body(request.key, version, &encoded),
                Ok(&[][..]),
                "{place}"
            );
        }
    }
}

#[test]
fn what_may_be_null_is_what_the_decoder_takes_as_null() {
    for (request, version) in all() {
        let mut whims = Whims {
            least: Some(1),
            ..Whims::default()
        };
        let (_, made) = Maker::make(request, version, 0, whims);
        for null in 0..made.nullables {
            whims.null = Some(null);
            let (body, _) = Maker::make(request, version, 0, whims);
            let decoded = decode(request.key, version, body.clone().into());
            let checked = check(request.key, version, &body);
            let accepted = decoded == Some(Decoded::Request(0));
            assert_eq!(
                checked.is_ok(),
                accepted,
                "{} {version}, value {null}: {checked:?}, {decoded:?}",
                request.name
            );
        }
    }
}

#[test]
fn an_array_that_says_more_than_it_has_is_refused() {
    for (request, version) in all() {
        let mut whims = Whims {
            least: Some(1),
            ..Whims::default()
        };
        let (_, made) = Maker::make(request, version, 0, whims);
        for lie in 0..made.arrays {
            whims.lie = Some(lie);
            let (body, _) = Maker::make(request, version, 0, whims);
            let fault = fault(check(request.key, version, &body));
            assert!(
                matches!(fault, Some(Fault::Truncated { .. })),
                "{} {version}, array {lie}: {fault:?}",
                request.name
            );
        }
    }
}

#[test]
fn a_request_that_ends_early_is_refused_wherever_it_ends() {
    for (request, version) in all() {
        let (body, _) = Maker::make(request, version, 7, Whims::default());
        for length in 0..body.len() {
            let checked = check(request.key, version, &body[..length]);
            assert!(
                checked.is_err(),
                "{} {version}, {length} of {body:?}",
                request.name
            );
        }
    }
}

#[test]
fn bytes_after_a_request_are_ignored() {
    for (request, version) in all() {
        let (mut body, _) = Maker::make(request, version, 3, Whims::default());
        body.extend(b"more");
        assert_eq!(after_body(request.key, version, &body), Ok(&b"more"[..]));
    }
}

#[test]
fn decoding_takes_no_more_memory_than_was_promised() {
    let mut worst = 0.0_f64;
    for (request, version) in all() {
        for (inner, tag_each) in [(0, false), (1, false), (1, true)] {
            let mut whims = Whims {
                least: Some(1),
                tag_each,
                ..Whims::default()
            };
            let (_, made) = Maker::make(request, version, 0, whims);
            for array in 0..made.arrays.max(1) {
                // So many that tagged fields in each stay below their limit.
                let count = if tag_each { 600 } else { 3_000 };
                whims.grow = Some((array, count));
                whims.least = Some(inner);
                let (body, _) = Maker::make(request, version, 0, whims);
                let length = body.len();
                if check(request.key, version, &body).is_err() {
                    continue;
                }
                let body = Bytes::from(body);
                let (decoded, held) = most_held(|| decode(request.key, version, body));
                assert_eq!(
                    decoded,
                    Some(Decoded::Request(0)),
                    "{} {version}",
                    request.name
                );
                assert!(
                    held <= bytes_to_decode(length),
                    "{} {version} array {array}: {held} bytes for {length}",
                    request.name
                );
                if !tag_each && length > 1_000 {
                    worst = worst.max(held as f64 / length as f64);
                }
            }
        }
    }
    assert!(worst > 30.0, "the promise could be smaller: {worst}");
}

#[test]
fn a_request_has_so_many_elements_and_no_more() {
    let topics = |count: usize| {
        let mut body = (count as i32).to_be_bytes().to_vec();
        body.resize(4 + 2 * count, 0);
        check(MetadataRequest::KEY, 1, &body)
    };
    assert_eq!(topics(MAX_ELEMENTS), Ok(()));
    assert_eq!(
        fault(topics(MAX_ELEMENTS + 1)),
        Some(Fault::TooManyElements(MAX_ELEMENTS + 1))
    );
}

#[test]
fn a_request_has_so_many_unknown_tagged_fields_and_no_more() {
    let tagged = |count: usize| {
        let mut body = vec![1, 1, count as u8 | 0x80, (count >> 7) as u8];
        for _ in 0..count {
            body.extend([9, 0]);
        }
        check(ApiVersionsRequest::KEY, 3, &body)
    };
    assert_eq!(tagged(MAX_UNKNOWN_TAGGED_FIELDS), Ok(()));
    assert_eq!(
        fault(tagged(MAX_UNKNOWN_TAGGED_FIELDS + 1)),
        Some(Fault::TooManyTaggedFields)
    );
}

#[test]
fn a_tagged_field_must_be_as_long_as_it_says() {
    // replica_id, four numbers, session id and epoch; no topics, nothing forgotten, no rack.
    let mut body = vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4];
    body.extend([1, 1, 1]);
    let with = |tagged: &[u8]| fault(check(1, 12, &[&body[..], tagged].concat()));
    assert_eq!(with(&[1, 0, 3, 3, b'i', b'd']), None);
    assert_eq!(
        with(&[1, 0, 4, 3, b'i', b'd', 0]),
        Some(Fault::TaggedLength {
            announced: 4,
            has: 3
        })
    );
    assert_eq!(with(&[1, 1, 0]), Some(Fault::WrongTag));
}

#[test]
fn numbers_of_more_than_32_bits_and_long_texts_are_refused() {
    let name = |bytes: &[u8]| fault(check(ApiVersionsRequest::KEY, 3, bytes));
    assert_eq!(
        name(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
        Some(Fault::LongVarint)
    );
    assert_eq!(
        name(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        Some(Fault::LongVarint)
    );
    assert!(matches!(
        name(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
        Some(Fault::LongText(_))
    ));
    let long = [&[0x81, 0x80, 2][..], &vec![b'x'; 0x8000], &[1, 0]].concat();
    assert_eq!(name(&long), Some(Fault::LongText(0x8000)));
    let longest = [&[0x80, 0x80, 2][..], &vec![b'x'; 0x7fff], &[1, 0]].concat();
    assert_eq!(name(&longest), None);
}

#[test]
fn negative_lengths_are_refused() {
    let topics = |length: i32| fault(check(MetadataRequest::KEY, 1, &length.to_be_bytes()));
    assert_eq!(topics(-1), None);
    assert_eq!(topics(-2), Some(Fault::NegativeLength(-2)));
    let group = |length: i16| fault(check(12, 0, &length.to_be_bytes()));
    assert_eq!(group(-1), Some(Fault::Null));
    assert_eq!(
        group(i16::MIN),
        Some(Fault::NegativeLength(i32::from(i16::MIN)))
    );
}

#[test]
fn a_header_says_who_asks_for_what_and_where_the_body_starts() {
    for (request, version) in all() {
        for client in [None, Some(""), Some("client")] {
            let mut frame = BytesMut::new();
            RequestHeader::default()
                .with_request_api_key(request.key)
                .with_request_api_version(version)
                .with_correlation_id(-7)
                .with_client_id(client.map(StrBytes::from_static_str))
                .encode(&mut frame, if version >= request.flexible { 2 } else { 1 })
                .expect("it encodes");
            let length = frame.len();
            frame.extend_from_slice(b"body");
            let header = header(&frame).expect("it is a header");
            assert_eq!((header.api_key, header.version), (request.key, version));
            assert_eq!((header.correlation_id, header.client_id), (-7, client));
            assert_eq!(header.body_offset, length);
        }
    }
}

#[test]
fn of_an_unknown_request_the_correlation_id_is_read_and_no_more() {
    for (api_key, version) in [(18, 99), (18, -1), (3, 14), (999, 0), (-1, -1)] {
        let mut frame = Vec::new();
        frame.extend(i16::to_be_bytes(api_key));
        frame.extend(i16::to_be_bytes(version));
        frame.extend(77_i32.to_be_bytes());
        frame.extend([0xff; 3]);
        let header = header(&frame).expect("it has a correlation id");
        assert_eq!((header.correlation_id, header.client_id), (77, None));
        assert!(matches!(
            check(api_key, version, &[]),
            Err(WireError::UnknownApi(_) | WireError::UnknownVersion { .. })
        ));
    }
}

#[test]
fn a_header_that_does_not_fit_its_frame_is_refused() {
    let with = |rest: &[u8]| {
        let frame = [&[0, 18, 0, 3, 0, 0, 0, 1][..], rest].concat();
        fault(header(&frame))
    };
    assert_eq!(header(&[0; 7]), Err(WireError::NoHeader(7)));
    assert_eq!(with(&[]), Some(Fault::Truncated { wanted: 2, left: 0 }));
    assert_eq!(
        with(&[0, 3, 0, 0]),
        Some(Fault::Truncated { wanted: 3, left: 2 })
    );
    assert_eq!(with(&[0x80, 0]), Some(Fault::NegativeLength(-32_768)));
    assert_eq!(with(&[0, 1, 0xff]), Some(Fault::NotUtf8));
    assert_eq!(with(&[0, 0]), Some(Fault::Truncated { wanted: 1, left: 0 }));
    assert_eq!(
        with(&[0, 0, 1, 5, 9]),
        Some(Fault::Truncated { wanted: 9, left: 0 })
    );
    assert_eq!(with(&[0, 0, 0]), None);
}

/// What is accepted decodes, at the promised cost.
fn assert_accepted_decodes(api_key: i16, version: i16, body: &[u8]) {
    if check(api_key, version, body).is_err() {
        return;
    }
    let body = Bytes::copy_from_slice(body);
    let length = body.len();
    let (decoded, held) = most_held(|| decode(api_key, version, body));
    let decoded = decoded.expect("it is known");
    assert!(
        matches!(decoded, Decoded::Request(_) | Decoded::NotUtf8),
        "{decoded:?}"
    );
    assert!(held <= bytes_to_decode(length), "{held} bytes for {length}");
}

fn any_request() -> impl Strategy<Value = (&'static Request, i16)> {
    proptest::sample::select(all().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bodies_never_panic_and_decode_if_accepted(
        (request, version) in any_request(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        assert_accepted_decodes(request.key, version, &body);
    }

    #[test]
    fn random_frames_never_panic(frame in proptest::collection::vec(any::<u8>(), 0..60)) {
        crate::fuzzing::frame(&frame);
    }

    #[test]
    fn mutated_requests_never_panic_and_decode_if_accepted(
        (request, version) in any_request(),
        seed in any::<u64>(),
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (mut body, _) = Maker::make(request, version, seed, Whims::default());
        if !body.is_empty() {
            for (place, byte) in mutations {
                *place.get_mut(&mut body) = byte;
            }
        }
        assert_accepted_decodes(request.key, version, &body);
    }
}

/// Where the fuzz target begins: frames of each request in its first and its newest version.
#[test]
fn the_fuzzing_corpus_is_what_the_table_makes() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/frames");
    for request in REQUESTS {
        for version in [request.first, request.last] {
            let (body, _) = Maker::make(request, version, 1, Whims::default());
            let mut frame = BytesMut::new();
            RequestHeader::default()
                .with_request_api_key(request.key)
                .with_request_api_version(version)
                .with_client_id(Some(StrBytes::from_static_str("seed")))
                .encode(&mut frame, if version >= request.flexible { 2 } else { 1 })
                .expect("it encodes");
            frame.extend_from_slice(&body);
            let path = format!("{directory}/seed-{}-{version}", request.name);
            if std::env::var_os("UPDATE_GENERATED").is_some() {
                std::fs::create_dir_all(directory).expect("a directory");
                std::fs::write(&path, &frame).expect("the corpus can be written");
            }
            let seed = std::fs::read(&path).expect("the corpus can be read");
            assert_eq!(seed, frame, "{path}: UPDATE_GENERATED=1 writes it anew");
            crate::fuzzing::frame(&seed);
        }
    }
}
