use std::cell::RefCell;
use std::fs;
use std::io;

use proptest::prelude::*;
use tempfile::TempDir;

use super::compaction::write_new;
use super::file::{Medium, Written, beside, write_at_end};
use super::*;
use crate::units::{Offset, Timestamp};

fn offset(number: i64) -> Entry {
    Entry::OffsetCommitted {
        group: "readers".to_owned(),
        topic: "events".to_owned(),
        partition: 3,
        committed: CommittedOffset {
            offset: Offset(number),
            leader_epoch: -1,
            metadata: String::new(),
            at: Timestamp(1_700_000_000_000),
        },
    }
}

fn offsets(numbers: std::ops::Range<i64>) -> Vec<Entry> {
    numbers.map(offset).collect()
}

struct Place {
    _directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("journal");
        Self {
            _directory: directory,
            path,
        }
    }

    fn open(&self) -> (Journal, Vec<Entry>) {
        Journal::open(&self.path, Fsync::OnRoll).expect("journal opens")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("journal is there")
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).expect("journal is written");
    }

    fn with(entries: &[Entry]) -> Self {
        let place = Self::new();
        let (journal, _) = place.open();
        for entry in entries {
            journal.append(entry).expect("append");
        }
        place
    }
}

/// A compaction from beginning to end.
fn compact(journal: &Journal, entries: impl Iterator<Item = Entry>) -> Result<(), JournalError> {
    match journal.begin_compaction(entries)? {
        Some(compaction) => journal.finish_compaction(compaction),
        None => Ok(()),
    }
}

#[test]
fn what_was_appended_is_read_back_in_order() {
    let place = Place::with(&offsets(0..5));
    let (journal, entries) = place.open();
    assert_eq!(entries, offsets(0..5));
    journal.append(&offset(5)).expect("append");
    journal.sync().expect("sync");
    assert_eq!(place.open().1, offsets(0..6));
}

#[test]
fn an_append_is_with_the_operating_system_when_it_returns() {
    let place = Place::new();
    for fsync in [Fsync::OnRoll, Fsync::Always] {
        let (journal, before) = Journal::open(&place.path, fsync).expect("journal opens");
        journal
            .append(&offset(before.len() as i64))
            .expect("append");
        let on_file = recover(&place.bytes()).expect("journal is whole").entries;
        assert_eq!(on_file.len(), before.len() + 1, "{fsync:?}");
    }
}

#[test]
fn a_journal_in_memory_does_nothing() {
    let journal = Journal::in_memory();
    journal.append(&offset(1)).expect("append");
    compact(&journal, std::iter::empty()).expect("compact");
    journal.sync().expect("sync");
    assert!(!journal.wants_compaction());
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_journal_goes_on() {
    let place = Place::with(&offsets(0..3));
    let whole = place.bytes();
    let mut ends = vec![frame::HEADER_BYTES];
    for count in 1..=3 {
        ends.push(Place::with(&offsets(0..count)).bytes().len());
    }
    for cut in 0..whole.len() {
        place.put(&whole[..cut]);
        let left = ends
            .iter()
            .filter(|end| **end <= cut)
            .count()
            .saturating_sub(1) as i64;
        let (journal, entries) = place.open();
        assert_eq!(entries, offsets(0..left), "cut at {cut}");
        journal.append(&offset(left)).expect("append");
        assert_eq!(place.open().1, offsets(0..left + 1), "cut at {cut}");
    }
}

#[test]
fn zeros_and_noise_behind_the_last_entry_are_a_torn_tail() {
    let place = Place::with(&offsets(0..2));
    let whole = place.bytes();
    for tail in [vec![0; 5000], vec![0xff; 100], b"{\"a\": 1}".to_vec()] {
        place.put(&[whole.as_slice(), &tail].concat());
        assert_eq!(place.open().1, offsets(0..2));
        assert_eq!(place.bytes(), whole);
    }
}

#[test]
fn a_flipped_byte_before_other_entries_is_an_error_with_file_position_and_way_out() {
    let place = Place::with(&offsets(0..3));
    let whole = place.bytes();
    let last = Place::with(&offsets(0..2)).bytes().len();
    for at in frame::HEADER_BYTES..last {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        place.put(&damaged);
        let error = Journal::open(&place.path, Fsync::OnRoll).expect_err("damage is found");
        let JournalError::Damaged { damage, .. } = &error else {
            panic!("flipped at {at}: {error}");
        };
        assert!(damage.position <= at as u64 && at < damage.resumes as usize);
        let text = error.to_string();
        assert!(text.contains(&place.path.display().to_string()), "{text}");
        assert!(
            text.contains(&format!("truncate --size={}", damage.position)),
            "{text}"
        );
        assert_eq!(place.bytes(), damaged, "the file is left as it was");
    }
}

#[test]
fn a_flipped_byte_in_the_last_entry_is_a_torn_tail() {
    let place = Place::with(&offsets(0..3));
    let whole = place.bytes();
    let last = Place::with(&offsets(0..2)).bytes().len();
    for at in last..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x01;
        place.put(&damaged);
        assert_eq!(place.open().1, offsets(0..2), "flipped at {at}");
    }
}

#[test]
fn a_newer_format_says_which_program_is_needed() {
    let place = Place::with(&offsets(0..1));
    let mut bytes = place.bytes();
    bytes[11] = 9;
    place.put(&bytes);
    let error = Journal::open(&place.path, Fsync::OnRoll).expect_err("newer");
    let text = error.to_string();
    assert!(
        text.contains("has format 9, and this program reads formats up to 1"),
        "{text}"
    );
    assert!(text.contains("start the newer version"), "{text}");
}

#[test]
fn another_kind_of_file_is_refused_and_left_alone() {
    let place = Place::new();
    for content in [
        "x",
        "hello, this is a text",
        "FLDMJRNX\0\0\0\x01",
        "FLDMJRNL\0\0\0\0",
    ] {
        place.put(content.as_bytes());
        let error = Journal::open(&place.path, Fsync::OnRoll).expect_err("no journal");
        assert!(matches!(error, JournalError::NotAJournal { .. }), "{error}");
        assert_eq!(place.bytes(), content.as_bytes());
    }
}

#[test]
fn an_entry_that_is_too_large_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let (journal, _) = place.open();
    let large = Entry::GroupDeleted {
        group: "g".repeat(MAX_ENTRY_BYTES),
    };
    let error = journal.append(&large).expect_err("too large");
    assert!(matches!(error, JournalError::TooLarge { .. }), "{error}");
    journal.append(&offset(0)).expect("append");
    assert_eq!(place.open().1, offsets(0..1));
}

/// A disk that takes `room` bytes in all, and may refuse to cut or to sync.
struct Disk {
    bytes: RefCell<Vec<u8>>,
    room: usize,
    cuts: bool,
    syncs: bool,
}

impl Medium for Disk {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut content = self.bytes.borrow_mut();
        assert_eq!(content.len() as u64, position);
        let fits = bytes.len().min(self.room - content.len());
        content.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        if !self.cuts {
            return Err(io::ErrorKind::Other.into());
        }
        self.bytes.borrow_mut().truncate(length as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.syncs {
            Ok(())
        } else {
            Err(io::ErrorKind::Other.into())
        }
    }
}

fn disk() -> Disk {
    Disk {
        bytes: RefCell::new(b"old".to_vec()),
        room: 10,
        cuts: true,
        syncs: true,
    }
}

#[test]
fn a_full_disk_leaves_the_file_as_it_was() {
    let full = disk();
    let result = write_at_end(&full, b"too much for it", 3, Fsync::OnRoll);
    assert!(matches!(result, Written::Undone(_)), "{result:?}");
    assert_eq!(*full.bytes.borrow(), b"old");
    let result = write_at_end(&full, b"fits", 3, Fsync::Always);
    assert!(matches!(result, Written::Whole), "{result:?}");
    assert_eq!(*full.bytes.borrow(), b"oldfits");
}

#[test]
fn a_write_that_can_be_neither_made_nor_undone_is_of_unknown_outcome() {
    let broken = Disk {
        cuts: false,
        ..disk()
    };
    let result = write_at_end(&broken, b"too much for it", 3, Fsync::OnRoll);
    assert!(matches!(result, Written::Unknown(_)), "{result:?}");
    let broken = Disk {
        syncs: false,
        ..disk()
    };
    let result = write_at_end(&broken, b"fits", 3, Fsync::Always);
    assert!(matches!(result, Written::Unknown(_)), "{result:?}");
}

#[test]
fn a_journal_whose_failed_write_cannot_be_undone_takes_no_more_entries() {
    let place = Place::with(&offsets(0..2));
    let (journal, _) = place.open();
    let file = journal.file.as_ref().expect("on file");
    locked(file).break_writes();
    assert!(matches!(
        journal.append(&offset(2)),
        Err(JournalError::Io { .. })
    ));
    assert!(matches!(
        journal.append(&offset(2)),
        Err(JournalError::Poisoned { .. })
    ));
    assert!(matches!(
        compact(&journal, std::iter::empty()),
        Err(JournalError::Poisoned { .. })
    ));
    assert!(!journal.wants_compaction());
    assert_eq!(place.open().1, offsets(0..2));
}

#[test]
fn a_compaction_keeps_the_given_entries_and_the_journal_goes_on() {
    let place = Place::with(&offsets(0..100));
    let (journal, _) = place.open();
    compact(&journal, offsets(98..100).into_iter()).expect("compact");
    journal.append(&offset(100)).expect("append");
    assert_eq!(place.open().1, offsets(98..101));
    assert!(!beside(&place.path).exists());
}

#[test]
fn what_is_appended_during_a_compaction_is_kept_wherever_a_kill_falls() {
    let place = Place::with(&offsets(0..100));
    let (journal, _) = place.open();
    let begun = journal.begin_compaction(offsets(98..100).into_iter());
    let compaction = begun.expect("begun").expect("a file");
    for number in 100..110 {
        journal.append(&offset(number)).expect("append");
    }
    let killed = Place::new();
    killed.put(&place.bytes());
    fs::copy(beside(&place.path), beside(&killed.path)).expect("copied");
    assert_eq!(killed.open().1, offsets(0..110), "the old file");
    assert!(!beside(&killed.path).exists());

    journal.finish_compaction(compaction).expect("finished");
    journal.append(&offset(110)).expect("append");
    assert_eq!(place.open().1, offsets(98..111), "the new file");
}

#[test]
fn a_compaction_is_due_when_the_file_has_grown() {
    let place = Place::new();
    let (journal, _) = place.open();
    let large = Entry::GroupDeleted {
        group: "g".repeat(MAX_ENTRY_BYTES - 100),
    };
    for _ in 0..4 {
        assert!(!journal.wants_compaction());
        journal.append(&large).expect("append");
    }
    journal.append(&large).expect("append");
    assert!(journal.wants_compaction());
    compact(&journal, vec![large.clone(); 3].into_iter()).expect("compact");
    assert!(!journal.wants_compaction());
    for _ in 0..4 {
        journal.append(&large).expect("append");
    }
    assert!(journal.wants_compaction(), "it has doubled");
}

#[test]
fn a_compaction_that_cannot_be_written_leaves_the_old_file_in_use() {
    let place = Place::with(&offsets(0..3));
    let (journal, _) = place.open();
    let large = Entry::GroupDeleted {
        group: "g".repeat(MAX_ENTRY_BYTES),
    };
    compact(&journal, [large].into_iter()).expect_err("too large");
    journal.append(&offset(3)).expect("append");
    assert_eq!(place.open().1, offsets(0..4));
}

#[test]
fn a_compaction_killed_before_its_rename_never_was() {
    let place = Place::with(&offsets(0..10));
    let (_, size) = write_new(&beside(&place.path), offsets(8..10).into_iter()).expect("written");
    let new = fs::read(beside(&place.path)).expect("read");
    assert_eq!(new.len() as u64, size);
    for written in 0..=new.len() {
        fs::write(beside(&place.path), &new[..written]).expect("write");
        assert_eq!(place.open().1, offsets(0..10));
        assert!(!beside(&place.path).exists());
    }
}

#[test]
fn a_compaction_killed_after_its_rename_is_complete() {
    let place = Place::with(&offsets(0..10));
    write_new(&beside(&place.path), offsets(8..10).into_iter()).expect("written");
    fs::rename(beside(&place.path), &place.path).expect("rename");
    assert_eq!(place.open().1, offsets(8..10));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        with_header in any::<bool>(),
    ) {
        let header: &[u8] = if with_header { &frame::header() } else { &[] };
        crate::fuzzing::recover_journal(&[header, &bytes].concat());
    }

    #[test]
    fn what_is_read_from_a_damaged_journal_is_the_start_of_what_was_written(
        flips in proptest::collection::vec((0_usize..2000, 1_u8..), 1..4),
    ) {
        let mut bytes = frame::header().to_vec();
        for entry in offsets(0..10) {
            frame::encode(&entry, &mut bytes).expect("encode");
        }
        for (at, bits) in flips {
            let at = at % bytes.len();
            bytes[at] ^= bits;
        }
        if let Ok(recovered) = recover(&bytes) {
            let count = recovered.entries.len() as i64;
            prop_assert_eq!(recovered.entries, offsets(0..count));
        }
    }
}
