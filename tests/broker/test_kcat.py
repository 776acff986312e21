"""kcat, the librdkafka command line."""

import json
import shutil
import subprocess

import pytest
from clients import create, unique

if not shutil.which("kcat"):
    pytest.skip("kcat is not on the PATH: apt-get install kcat", allow_module_level=True)


def kcat(brokers, *args, stdin=""):
    command = ["kcat", "-b", brokers, *map(str, args)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_metadata_shows_topics_and_partitions(brokers):
    topic = unique("kcat")
    create(brokers, topic, 4)
    found = json.loads(kcat(brokers, "-L", "-J", "-t", topic))
    (shown,) = found["topics"]
    assert shown["topic"] == topic
    assert sorted(p["partition"] for p in shown["partitions"]) == [0, 1, 2, 3]
    assert len(found["brokers"]) == 1
    assert topic in kcat(brokers, "-L")


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_is_produced_is_consumed(brokers, codec):
    topic = unique("kcat")
    create(brokers, topic, 1)
    sent = [f"key{n}:value {n}" for n in range(1000)]
    kcat(brokers, "-P", "-t", topic, "-K", ":", "-z", codec, stdin="\n".join(sent) + "\n")
    assert kcat(brokers, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-K", ":").splitlines() == sent
    last = kcat(brokers, "-C", "-t", topic, "-o", "-2", "-e", "-q", "-f", "%p %o %k %s\n").splitlines()
    assert last == ["0 998 key998 value 998", "0 999 key999 value 999"]


def test_headers_nulls_and_idempotence_pass_through(brokers):
    topic = unique("kcat")
    create(brokers, topic, 1)
    args = ("-P", "-t", topic, "-p", 0, "-K", ":", "-Z", "-H", "a=1", "-H", "b=2", "-X", "enable.idempotence=true")
    kcat(brokers, *args, stdin="tombstone:\n")
    (row,) = kcat(brokers, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J").splitlines()
    found = json.loads(row)
    assert (found["key"], found["payload"], found["headers"]) == ("tombstone", None, ["a", "1", "b", "2"])


def test_a_group_consumes_and_goes_on_where_it_was(brokers):
    topic, group = unique("kcat"), unique("kcat")
    create(brokers, topic, 1)
    kcat(brokers, "-P", "-t", topic, stdin="a\nb\nc\n")
    args = ("-q", "-e", "-X", "auto.offset.reset=earliest", "-G", group, topic)
    assert kcat(brokers, *args).split() == ["a", "b", "c"]
    kcat(brokers, "-P", "-t", topic, stdin="d\n")
    assert kcat(brokers, *args).split() == ["d"]


def test_offsets_are_found_by_time(brokers):
    topic = unique("kcat")
    create(brokers, topic, 1)
    kcat(brokers, "-P", "-t", topic, stdin="a\n")
    assert kcat(brokers, "-Q", "-t", f"{topic}:0:1000").split() == [topic, "[0]", "offset", "0"]
