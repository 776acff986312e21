"""What is broken on purpose: changes of production code, each of which breaks the protocol of exactly-once.

A change is data: in a file, a text and what replaces it. The text must appear exactly once, so a change that
no longer fits the code is an error and never a test of nothing. `after` is text right before it that
tells it from others of its kind. Old and new are expressions or statements of Rust; the switch between
them is put there by `tree`, so several mutations may replace the same text.
"""

from dataclasses import dataclass

ENGINE = "crates/engine/src"


@dataclass(frozen=True)
class Edit:
    file: str
    old: str
    new: str
    after: str = ""


@dataclass(frozen=True)
class Mutation:
    name: str
    # What is broken: the beginning of its row in the table. `…` goes on from the row before.
    broken: str
    # The change, in words and code for people.
    change: str
    edits: tuple
    # The unit test that has to fail, for what the simulation cannot see; else the simulation has to.
    unit: str = ""


def edit(file, old, new, after=""):
    return Edit(f"{ENGINE}/{file}", old, new, after)


STORE = "checkpoint/store.rs"
CLAIM = "checkpoint/claim.rs"
PUBLISH = "storage/publish.rs"
OPEN_FILES = "sink/parquet/open_files.rs"
IN_MEMORY = "storage::tests::every_promise_holds_in_memory"

NOTE = "self.store.put(NEWEST, Bytes::from(note)).await?;"
SEND = "self.producer.commit(&self.pending, &mark)?;"
NO_MARK = "rdkafka::topic_partition_list::TopicPartitionList::new()"
UNREFERRED = "old && !referred.contains(&entry.name)"
SUPERSEDED = """epoch_of(&entry.name).is_some_and(|epoch| epoch <= newest)
                && !referred.contains(&entry.name)"""

MUTATIONS = (
    Mutation(
        "skip-fence",
        "**The fence is skipped**",
        "`checkpoint/store.rs`, `put`: `put_new(&name, …)` becomes `put(&name, …)`, and its answer "
        "`PutNew::Created`",
        (
            edit(
                STORE,
                "self.store.put_new(&name, Bytes::from(bytes)).await?",
                "self.store.put(&name, Bytes::from(bytes)).await?; PutNew::Created",
            ),
        ),
    ),
    Mutation(
        "free-epoch",
        "… an epoch that is free again is not looked at twice",
        "`store.rs`, `put`: the arm `PutNew::Created if self.is_overtaken(…)` goes",
        (edit(STORE, "self.is_overtaken(manifest.epoch).await?", "false"),),
    ),
    Mutation(
        "taken-epoch",
        "… an epoch that was taken is committed all the same",
        "`runtime/round.rs`, `stored`: `if outcome == Stored::Taken { … }` goes",
        (edit("runtime/round.rs", "outcome == Stored::Taken", "false"),),
    ),
    Mutation(
        "publish-first",
        "**A file is published before the manifest**",
        "`sink/parquet/uploads.rs`, `stage`: after `writer.finish()`, `store.publish(&staged).await?`",
        (
            edit(
                "sink/parquet/uploads.rs",
                "writer.finish().await?",
                "let staged = writer.finish().await?; store.publish(&staged).await?; staged",
            ),
        ),
    ),
    Mutation(
        "copy-blindly",
        "**A file is published over other bytes**",
        "`storage/publish.rs`, `copied`: the first look at the name goes, `Found::Nothing` stands in its place",
        (edit(PUBLISH, "self.matches(staged).await?", "Found::Nothing", after="let (published, found) = match "),),
        unit=IN_MEMORY,
    ),
    Mutation(
        "any-bytes",
        "… or taken for published where other bytes are",
        "`publish.rs`, `matches`: size and tail are not compared",
        (edit(PUBLISH, "size == staged.size && crc32fast::hash(&tail) == staged.tail_crc", "let _ = &tail; true"),),
        unit=IN_MEMORY,
    ),
    Mutation(
        "link-over",
        "… or, on a disk, replaces them",
        "`storage/local.rs`, `publish`: `fs::rename` in place of `move_to_own_name`",
        (
            edit(
                "storage/local.rs",
                "move_to_own_name(&store.path(&hidden)?, &target)?",
                "fs::rename(store.path(&hidden)?, &target)?",
            ),
        ),
        unit="storage::tests::every_promise_holds_on_a_local_disk",
    ),
    Mutation(
        "unstage-early",
        "**The staged object is removed** while it is copied",
        "`publish.rs`, `copied`: `discard` goes beside `copy`",
        (
            edit(
                PUBLISH,
                "object.copy(hidden, &staged.name, staged.size).await",
                "let copy = object.copy(hidden, &staged.name, staged.size); "
                "futures::future::join(copy, self.discard(staged)).await.0",
            ),
        ),
    ),
    Mutation(
        "unstage-unseen",
        "… or although the copy has failed",
        "the same place: `discard` also before the error of `copy` is returned",
        (
            edit(
                PUBLISH,
                "return Err(cause.during(attempted()))",
                "self.discard(staged).await?; return Err(cause.during(attempted()))",
            ),
        ),
    ),
    Mutation(
        "unstage-unlooked",
        "… or because the server said that it was copied",
        "the same place: the second look at the name goes, `Found::Same` stands in its place",
        (
            edit(
                PUBLISH,
                "(Published::Now, self.matches(staged).await?)",
                "(Published::Now, Found::Same)",
                after="Ok(()) => ",
            ),
        ),
    ),
    Mutation(
        "clean-own",
        "… or by the clean-up of what dead instances left, although it is alive",
        "`sink/parquet/open_files.rs`, `of_predecessors`: `named.generation < generation` goes",
        (edit(OPEN_FILES, "named.generation < generation", "true"),),
    ),
    Mutation(
        "cursor-first",
        "**The cursor is committed before the rows**",
        "`sink/kafka/ahead.rs`, `commit_pending`: before `self.producer.commit(&self.pending, &mark)`, the same "
        "with `&Records::default()`",
        (edit("sink/kafka/ahead.rs", SEND, f"self.producer.commit(&Records::default(), &mark)?; {SEND}"),),
    ),
    Mutation(
        "cursor-last",
        "… or after them",
        "the same place: the rows with an empty mark, then `&Records::default()` with `&mark`",
        (
            edit(
                "sink/kafka/ahead.rs",
                SEND,
                f"self.producer.commit(&self.pending, &{NO_MARK})?; "
                "self.producer.commit(&Records::default(), &mark)?;",
            ),
        ),
    ),
    Mutation(
        "no-stamp",
        "**The stamp is forgotten**",
        "`sink/kafka/epoch.rs`, `settle`: `self.producer.commit(&self.records, &TopicPartitionList::new())`",
        (
            edit(
                "sink/kafka/epoch.rs",
                "self.producer.commit(&self.records, &mark)?",
                "self.producer.commit(&self.records, &TopicPartitionList::new())?",
            ),
        ),
    ),
    Mutation(
        "shared-name",
        "**A file's name is used again**, by another instance",
        "`open_files.rs`, `Names::next`: generation and instance are written as 0",
        (
            edit(
                OPEN_FILES,
                """format!(
            "{directory}part-{epoch:010}-{generation}-{owner:08x}-{instance:08x}-{sequence:06}{ending}"
        )""",
                'format!("{directory}part-{epoch:010}-0-{owner:08x}-00000000-{sequence:06}{ending}")',
            ),
        ),
    ),
    Mutation(
        "repeated-name",
        "… by the same instance",
        "the same place: `*sequence += 1` goes",
        (edit(OPEN_FILES, "*sequence += 1;", ""),),
    ),
    Mutation(
        "forget-work",
        "The newest work is not done again by the next instance",
        "`checkpoint/claim.rs`, `Claimed::work`: returns `None`",
        (edit(CLAIM, "Some((CommitPermit::new(state.epoch), state))", "None"),),
    ),
    Mutation(
        "drop-work",
        "The claim drops the work it found",
        "`claim.rs`, `successor`: `sinks` stay empty, files that they carried are left out of `files`",
        (
            edit(
                CLAIM,
                "manifest.sinks = found.sinks;\n        manifest.files = found.files;",
                "let carried = found.sinks.into_values().filter_map(|sink| sink.carried); "
                "let carried: Vec<String> = carried.collect(); "
                "manifest.files = found.files; "
                "manifest.files.retain(|file, _| !carried.contains(file));",
            ),
        ),
    ),
    Mutation(
        "same-generation",
        "The claim keeps the generation",
        "`claim.rs`, `successor`: `generation` in place of `generation.next()`, from 1",
        (edit(CLAIM, "generation.next()", "Generation(generation.0.max(1))"),),
    ),
    Mutation(
        "manifest-first",
        "The manifest before its state files",
        "`runtime/barrier.rs`, `store`: `store.put` before `store.put_states`",
        (
            edit(
                "runtime/barrier.rs",
                """store.put_states(written).await?;
        spans::states_stored(files, bytes);
        let outcome = store.put(&self.manifest).await?;
        Ok((self.manifest, outcome))""",
                "let outcome = store.put(&self.manifest).await?; "
                "store.put_states(written).await?; "
                "Ok((self.manifest, outcome))",
            ),
        ),
    ),
    Mutation(
        "no-note",
        "The newest checkpoint is not noted",
        "`store.rs`, `put`: `self.store.put(NEWEST, …)` goes",
        (edit(STORE, NOTE, ""),),
    ),
    Mutation(
        "early-note",
        "… or before it is there",
        "the same line at the beginning of `put`",
        (
            edit(STORE, NOTE, ""),
            edit(
                STORE,
                "manifest.check().map_err(CheckpointError::Invariant)?;",
                'let note = format!("{}\\n", manifest.epoch.0); '
                f"{NOTE} manifest.check().map_err(CheckpointError::Invariant)?;",
            ),
        ),
    ),
    Mutation(
        "delete-needed",
        "Clean-up deletes what is needed",
        "`store.rs`, `collect_garbage`: `!referred.contains(…)` goes",
        (edit(STORE, UNREFERRED, "old"),),
    ),
    Mutation(
        "delete-coming",
        "… or what is on its way",
        "the same place: `epoch <= newest` goes",
        (edit(STORE, UNREFERRED, "!referred.contains(&entry.name)"),),
    ),
    Mutation(
        "gc-needed",
        "… or `checkpoint gc` does: what is needed",
        "`checkpoint/inspect.rs`, `superseded`: `!referred.contains(…)` goes",
        (
            edit(
                "checkpoint/inspect.rs",
                SUPERSEDED,
                "epoch_of(&entry.name).is_some_and(|epoch| epoch <= newest)",
            ),
        ),
    ),
    Mutation(
        "gc-coming",
        "… what is on its way",
        "the same place: `epoch <= newest` goes",
        (edit("checkpoint/inspect.rs", SUPERSEDED, "!referred.contains(&entry.name)"),),
    ),
    Mutation(
        "read-once",
        "A checkpoint that was replaced while it was read counts as lost",
        "`store.rs`, `newest`: `return Err(missed)` at once",
        (edit(STORE, "seen.replace((noted, last)) == Some((noted, last))", "true"),),
    ),
    Mutation(
        "no-blame",
        "Who was fenced by whom is not asked",
        "`runtime/fenced.rs`, `blame`: `return error` at once",
        (edit("runtime/fenced.rs", "!is_missing && !error.is_fenced()", "true"),),
    ),
)
