//! `floodmark checkpoint`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{SITE, floodmark};

/// A pipeline that has run once: one window has fired, another one is open.
struct Site {
    dir: tempfile::TempDir,
    file: String,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let file = dir.path().join("site.toml");
        fs::write(&file, SITE.replace("DIR", path)).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let site = Self { dir, file };
        site.append(0, 3);
        site.run();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Adds a file with a reading in each of some minutes.
    fn append(&self, from: u32, to: u32) {
        let reading = |minute| {
            format!(
                "{{\"device_id\":\"a\",\"ts\":\"2025-08-17T12:{minute:02}:05Z\",\"x\":{minute}}}\n"
            )
        };
        let lines: String = (from..to).map(reading).collect();
        fs::write(self.path(&format!("readings-{from:02}.jsonl")), lines).unwrap();
    }

    fn run(&self) {
        let shown = floodmark(&["run", &self.file, "--until-caught-up"], &[]);
        assert!(shown.starts_with("exit code: 0"), "{shown}");
    }

    /// What a command says, without what differs from run to run.
    fn says(&self, arguments: &[&str]) -> String {
        let shown = floodmark(arguments, &[]);
        let shown = shown.replace(self.dir.path().to_str().unwrap(), "DIR");
        shown.lines().map(|line| anonymous(line) + "\n").collect()
    }

    fn checkpoint(&self, command: &str) -> String {
        self.says(&["checkpoint", command, &self.file])
    }

    /// The newest object of a kind.
    fn newest(&self, kind: &str) -> PathBuf {
        files(&self.path("checkpoint").join(kind)).pop().unwrap()
    }
}

/// Names of instances, times of the clock and sizes of files become words, and the columns that
/// depend on them are one space apart.
fn anonymous(line: &str) -> String {
    let indent = &line[..line.len() - line.trim_start().len()];
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
        let is_number = |text: &str| text.parse::<f64>().is_ok();
        match word.split_once('T') {
            Some((day, _)) if day.len() == 10 && !day.starts_with("2025") => words.push("TIME"),
            _ if word.len() >= 16 && is_hex(word.trim_end_matches(',')) => words.push("INSTANCE"),
            _ if matches!(word.trim_end_matches([',', ':', ')']), "B" | "KiB")
                && words.last().is_some_and(|last| is_number(last)) =>
            {
                words.pop();
                words.push("SIZE");
            }
            _ => words.push(word),
        }
    }
    format!("{indent}{}", words.join(" "))
}

/// What a command has printed, as JSON.
fn json_of(shown: &str) -> serde_json::Value {
    let (_, printed) = shown.split_once("----- stdout -----\n").unwrap();
    let (json, _) = printed.split_once("----- stderr").unwrap();
    serde_json::from_str(json).unwrap()
}

/// What a command says, without how much it has read.
fn told(shown: &str) -> String {
    let told: Vec<&str> = shown
        .lines()
        .filter(|line| !line.starts_with("read "))
        .collect();
    told.join("\n")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Leaves a hidden file as an instance of this generation would, last written two days ago.
fn leave(site: &Site, generation: u64) -> PathBuf {
    let visible = files(&site.path("windows")).remove(0);
    let name = visible.file_name().unwrap().to_str().unwrap().to_owned();
    let mut parts: Vec<String> = name.split('-').map(str::to_owned).collect();
    parts[2] = generation.to_string();
    "0000dead".clone_into(&mut parts[4]);
    let hidden = visible.with_file_name(format!(".{}.0123.staged", parts.join("-")));
    write_long_ago(&hidden);
    hidden
}

fn write_long_ago(path: &Path) {
    fs::write(path, "half").unwrap();
    let long_ago = SystemTime::now() - Duration::from_hours(48);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(long_ago).unwrap();
}

#[test]
fn its_help_says_what_it_is_for() {
    let commands = ["list", "show", "verify", "gc"];
    let helps = commands.map(|command| floodmark(&["checkpoint", command, "--help"], &[]));
    insta::assert_snapshot!(helps.join("\n"));
}

#[test]
fn kept_checkpoints_are_listed_with_their_owners() {
    insta::assert_snapshot!(Site::new().checkpoint("list"));
}

#[test]
fn a_checkpoint_is_shown_with_all_it_holds() {
    insta::assert_snapshot!(Site::new().checkpoint("show"));
}

#[test]
fn the_first_checkpoint_of_a_run_is_shown_with_the_work_it_lists() {
    let site = Site::new();
    let listed = site.says(&["checkpoint", "list", &site.file, "--format", "json"]);
    let listed = json_of(&listed);
    let with_work = listed[1]["epoch"].as_u64().unwrap().to_string();
    let shown = site.says(&["checkpoint", "show", &site.file, &with_work]);
    assert!(shown.contains("to publish: part-0000000002-1-"), "{shown}");
}

#[test]
fn for_programs_a_checkpoint_is_json() {
    let site = Site::new();
    let shown = site.says(&["checkpoint", "show", &site.file, "--format", "json"]);
    let shown = json_of(&shown);
    let partition = &shown["manifest"]["sources"]["readings"]["partitions"]["0"];
    assert!(partition["next"].as_i64().unwrap() > 0, "{shown}");
    let rows = shown["open_windows"]["windows"]["rows"]
        .as_object()
        .unwrap();
    assert_eq!(
        rows.values()
            .map(|rows| rows.as_u64().unwrap())
            .sum::<u64>(),
        2
    );
}

#[test]
fn a_directory_of_checkpoints_may_be_named_itself() {
    let site = Site::new();
    let directory = site.path("checkpoint");
    let by_directory = site.says(&["checkpoint", "list", directory.to_str().unwrap()]);
    assert_eq!(by_directory, site.checkpoint("list"));
}

#[test]
fn sound_checkpoints_are_said_to_be() {
    let site = Site::new();
    let shown = site.checkpoint("verify");
    assert!(
        shown.starts_with("exit code: 0") && shown.contains(" all sound"),
        "{shown}"
    );
}

#[test]
fn a_flipped_bit_is_found_and_the_way_out_named() {
    let site = Site::new();
    let file = site.newest("state");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    insta::assert_snapshot!(told(&site.checkpoint("verify")));
}

#[test]
fn a_damaged_older_checkpoint_stops_nobody() {
    let site = Site::new();
    let oldest = files(&site.path("checkpoint/manifest")).remove(0);
    fs::write(oldest, "nothing of ours\n").unwrap();
    insta::assert_snapshot!(told(&site.checkpoint("verify")));
}

#[test]
fn a_newest_checkpoint_that_was_lost_is_missed_by_every_command_that_needs_it() {
    let site = Site::new();
    fs::remove_file(site.newest("manifest")).unwrap();
    let commands = ["verify", "show", "gc"];
    let said: Vec<String> = commands.map(|command| site.checkpoint(command)).into();
    insta::assert_snapshot!(told(&said.join("")));
    let older = site.says(&["checkpoint", "show", &site.file, "2"]);
    assert!(older.starts_with("exit code: 0"), "{older}");
}

#[test]
fn what_dead_instances_left_is_removed_and_nothing_else() {
    let site = Site::new();
    site.append(3, 6);
    site.run();
    let (of_the_first, of_the_newest) = (leave(&site, 1), leave(&site, 2));
    let half_written = site.path("checkpoint/manifest/.00000000000000000009.json.0123.staged");
    fs::write(&half_written, "half").unwrap();
    let of_a_start = site.path("checkpoint/_probe-0123");
    write_long_ago(&of_a_start);
    let before = files(site.dir.path());
    let dry = site.says(&["checkpoint", "gc", &site.file, "--dry-run"]);
    assert_eq!(files(site.dir.path()), before);
    assert!(dry.contains("would remove 2 objects, SIZE"), "{dry}");
    let shown = site.checkpoint("gc");
    assert!(shown.contains("removed 2 objects, SIZE"), "{shown}");
    let gone = [of_the_first, of_a_start];
    let expected: Vec<PathBuf> = before.into_iter().filter(|f| !gone.contains(f)).collect();
    assert_eq!(files(site.dir.path()), expected);
    assert!(of_the_newest.exists(), "the newest instance may be running");
    assert!(half_written.exists(), "it is too young");
    site.run();
}

#[test]
fn what_is_neither_a_file_nor_a_directory_is_named() {
    insta::assert_snapshot!(floodmark(&["checkpoint", "list", "no/such/place"], &[]));
}

#[test]
fn a_directory_without_checkpoints_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let shown = floodmark(&["checkpoint", "show", path], &[]).replace(path, "DIR");
    insta::assert_snapshot!(shown);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "looking writes nothing"
    );
}

#[test]
fn a_place_that_is_not_built_in_is_wrong_usage() {
    insta::assert_snapshot!(floodmark(&["checkpoint", "list", "gs://bucket/chk"], &[]));
}
