"""The copy of the work tree in which everything is broken at once, each break behind its own switch, and its build."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .mutations import ENGINE, MUTATIONS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "target/broken"
TREE = FOLDER / "tree"
BUILD = FOLDER / "build"

SWITCH = "FLOODMARK_BROKEN"

# Only in the copy.
SWITCH_FILE = f"{ENGINE}/broken.rs"
SWITCH_MODULE = f"""//! Says what is broken on purpose in this build; see `scripts/break-on-purpose`.

use std::sync::LazyLock;

static BROKEN: LazyLock<String> = LazyLock::new(|| std::env::var("{SWITCH}").unwrap_or_default());

pub(crate) fn is(name: &str) -> bool {{
    *BROKEN == name
}}
"""
LIB = f"{ENGINE}/lib.rs"
FIRST_MODULE = "pub mod checkpoint;\n"
# `guarded` is in braces wherever it stands.
SWITCH_IN_LIB = "#![allow(unused_braces)]\n\nmod broken;\n"


class Misfit(Exception):
    """Mutations that cannot be applied, in words for the person at the terminal."""


def find(text, edit):
    """Where the text of an edit is; its only place."""
    wanted = edit.after + edit.old
    count = text.count(wanted)
    if count != 1:
        raise Misfit(f"its text is there {count} times in {edit.file}, not once:\n{indented(wanted)}")
    start = text.index(wanted) + len(edit.after)
    return start, start + len(edit.old)


def indented(text):
    return "\n".join(f"    | {line}" for line in text.splitlines())


def guarded(old, news):
    """An expression, or statements, with each of several replacements behind its switch."""
    branches = " else ".join(f'if crate::broken::is("{name}") {{ {new} }}' for name, new in news)
    return f"{{ {branches} else {{ {old} }} }}"


def broken_files(read):
    """The files that mutations change, with all of them applied. `read` gives a file's text."""
    places, misfits = {}, []
    for mutation in MUTATIONS:
        for edit in mutation.edits:
            try:
                start, end = find(read(edit.file), edit)
            except Misfit as misfit:
                misfits.append(f"{mutation.name} does not fit the code any more: {misfit}")
                continue
            news = places.setdefault(edit.file, {}).setdefault((start, end), [])
            news.append((mutation.name, edit.new))
    files = {}
    for file, by_place in places.items():
        text = read(file)
        # From the end, so that the places before stay where they are.
        following = len(text)
        for (start, end), news in sorted(by_place.items(), reverse=True):
            if end > following:
                misfits.append(f"{news[0][0]} replaces a part of what another one replaces, in {file}")
                continue
            text = text[:start] + guarded(text[start:end], news) + text[end:]
            following = start
        files[file] = text
    if read(LIB).count(FIRST_MODULE) != 1:
        misfits.append(f"the switch has no place in {LIB}: there is no {FIRST_MODULE!r}")
    if misfits:
        raise Misfit("\n".join(misfits))
    files[LIB] = read(LIB).replace(FIRST_MODULE, SWITCH_IN_LIB + FIRST_MODULE)
    files[SWITCH_FILE] = SWITCH_MODULE
    return files


def check():
    """Applies every mutation and writes nothing."""
    broken_files(lambda file: (ROOT / file).read_text())


def make():
    """Copies the tracked files, as they are now, and breaks them. What has not changed since the last time keeps its
    time, so that cargo compiles what has."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    names = [name for name in os.fsdecode(listed).split("\0") if name and (ROOT / name).is_file()]
    files = {name: (ROOT / name).read_bytes() for name in names}
    broken = broken_files(lambda file: files[file].decode())
    files |= {name: text.encode() for name, text in broken.items()}
    TREE.mkdir(parents=True, exist_ok=True)
    for path in sorted(TREE.rglob("*"), reverse=True):
        if path.is_file() and str(path.relative_to(TREE)) not in files:
            path.unlink()
    for name, content in files.items():
        path = TREE / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def link_dependencies(target):
    """Takes over from a target directory what was compiled of other people's crates, which takes most of a build. It is
    linked, not copied: nothing is ever written to it again. What is made of our own crates is left where it is, because
    that would be."""
    source = target / "debug"
    if not (source / ".fingerprint").is_dir():
        print(f"{source} holds no dependencies: they are compiled, which takes long", file=sys.stderr)
        return
    for folder in ("deps", "build", ".fingerprint"):
        into = BUILD / "debug" / folder
        into.mkdir(parents=True, exist_ok=True)
        for path in (source / folder).iterdir():
            if is_ours(path) or (into / path.name).exists():
                continue
            if path.is_dir():
                shutil.copytree(path, into / path.name, copy_function=link, symlinks=True)
            else:
                link(path, into / path.name)


def is_ours(path):
    """Whether it is made of a crate of this workspace. Beside compiled libraries lie test binaries, without `lib`."""
    is_test = path.parent.name == "deps" and not path.name.startswith("lib") and path.suffix != ".d"
    return is_test or "floodmark" in path.name


def link(source, target):
    try:
        os.link(source, target)
    except OSError:
        # Another file system.
        shutil.copy2(source, target)


def build(with_units):
    """Builds the engine's tests. Returns the binaries: of the integration tests, and of the unit tests if wanted."""
    # With `--workspace`, so that the dependencies have the features with which `cargo test` has compiled them.
    command = ["cargo", "test", "--workspace", "--locked", "--no-run", "--test", "engine"]
    command += ["--lib"] if with_units else []
    command += ["--message-format=json-render-diagnostics"]
    environment = os.environ | {"CARGO_TARGET_DIR": str(BUILD)}
    done = subprocess.run(command, cwd=TREE, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("the broken tree does not compile: a mutation no longer fits the code, see above")
    binaries = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        executable = message.get("executable")
        if executable and message["target"]["name"] in ("engine", "floodmark_engine"):
            binaries[message["target"]["name"]] = executable
    return binaries["engine"], binaries.get("floodmark_engine")
