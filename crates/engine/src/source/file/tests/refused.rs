//! What a file source does not read, and what it says instead.

use super::*;

#[test]
fn a_checkpoint_in_a_file_that_shrank_or_is_gone_is_refused() {
    let place = Place::new();
    place.write("a", b"one\n");
    let connector = place.connector();
    connector.partitions().unwrap();
    assert!(connector.resume(&[(FIRST, Offset(4))]).is_ok());
    let shorter = message(connector.resume(&[(FIRST, Offset(5))]));
    assert!(
        shorter.contains("from byte 5") && shorter.contains("ends at byte 4"),
        "{shorter}"
    );
    fs::remove_file(place.path("a")).unwrap();
    let gone = message(connector.resume(&[(FIRST, Offset(4))]));
    assert!(
        gone.contains("is gone") && gone.contains("new checkpoint path"),
        "{gone}"
    );
    assert_eq!(connector.ends(&[FIRST]).unwrap(), []);
}

#[test]
fn a_compressed_file_that_holds_less_than_was_read_is_refused() {
    let place = Place::new();
    place.write("a.gz", &gzip(b"one\n"));
    let connector = place.connector();
    connector.partitions().unwrap();
    let mut reader = connector.reader(&[(FIRST, Offset(9))]).unwrap();
    let error = message(try_poll(reader.as_mut(), 10));
    assert!(
        error.contains("from byte 9") && error.contains("ends at byte 4"),
        "{error}"
    );
}

#[test]
fn a_file_that_shrinks_or_is_replaced_while_it_is_followed_is_refused() {
    for replace in [false, true] {
        let place = Place::new();
        place.write("a", b"one\ntwo\n");
        let (_, mut reader) = place.read(LastLine::Follow);
        poll(reader.as_mut());
        if replace {
            place.write("b", b"something longer\n");
            fs::rename(place.path("b"), place.path("a")).unwrap();
        } else {
            place.write("a", b"one\n");
        }
        place.clock.advance(Duration::from_secs(1));
        let error = message(try_poll(reader.as_mut(), 10));
        let reason = if replace {
            "another file"
        } else {
            "ends at byte 4"
        };
        assert!(
            error.contains(reason) && error.contains("from byte 8"),
            "{error}"
        );
    }
}

#[test]
fn broken_compression_names_the_file_and_the_place() {
    let place = Place::new();
    let mut half = gzip(b"one\ntwo\n");
    half.truncate(half.len() - 6);
    place.write("a.gz", &half);
    let (_, mut reader) = place.read(LastLine::Follow);
    let error = message(try_poll(reader.as_mut(), 10));
    assert!(
        error.contains("a.gz'") && error.contains("is the file complete?"),
        "{error}"
    );
}

#[test]
fn a_line_without_an_end_is_refused_not_cut() {
    let place = Place::new();
    let mut content = b"one\n".to_vec();
    content.resize(tail::MAX_LINE_BYTES + 5, b'x');
    place.write("a", &content);
    let (_, mut reader) = place.read(LastLine::Finish);
    let outcome = (0..1_000).find_map(|_| try_poll(reader.as_mut(), 10).err());
    let error = outcome.unwrap().to_string();
    assert!(
        error.contains("at byte 4") && error.contains("longer than 64 MiB"),
        "{error}"
    );
    // One byte less is a line.
    content.truncate(tail::MAX_LINE_BYTES + 3);
    content.push(b'\n');
    place.write("a", &content);
    let (_, mut reader) = place.read(LastLine::Finish);
    let lengths: Vec<usize> = (0..1_000)
        .flat_map(|_| poll(reader.as_mut()).0)
        .map(|(_, value)| value.len())
        .take(2)
        .collect();
    assert_eq!(lengths, [3, tail::MAX_LINE_BYTES - 1]);
}

#[test]
fn no_file_is_a_misconfiguration_that_names_the_pattern() {
    let place = Place::new();
    let error = message(place.connector().partitions());
    assert!(
        error.contains("no file matches '") && error.contains("/*'"),
        "{error}"
    );
    let source = FileSource {
        paths: vec!["no/such/[dir".to_owned()],
    };
    let clock = Arc::clone(&place.clock);
    let files = FileConnector::new("s", &source, Start::Earliest, LastLine::Follow, clock);
    assert!(message(files).contains("'no/such/[dir'"));
}
