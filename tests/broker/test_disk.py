"""A disk that stands still, as one does whose write-back stalls, keeps no client of `floodmark broker` waiting."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from clients import create, eventually, read, transactional, unique, values
from confluent_kafka import Consumer, TopicPartition
from embedded import Broker

SHIM = Path(__file__).with_name("stalled_disk.c")
SEGMENT_BYTES = 1 << 20
# More than one client may be made to wait for by a loaded machine, and far less than the disk would take.
PROMPT_SECONDS = 20
# A transaction's records, and with each an offset whose text makes the broker's journal grow.
RECORD = "x" * 100_000
RECORDS = 4
NOTE = "y" * 4_000

pytestmark = pytest.mark.skipif(
    "FLOODMARK_TEST_BROKERS" in os.environ, reason="stalls the broker's disk: only its own, not a named one"
)


class Disk:
    """The disk below a process that is started with `env`."""

    def __init__(self, folder):
        library = folder / "stalled_disk.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
        self.switch = folder / "stalled"
        self.switch.write_bytes(b"\0")
        # Open for good: a file that is cut before it is written is missing a byte, for whoever has it mapped.
        self.file = open(self.switch, "r+b", buffering=0)
        self.env = {"LD_PRELOAD": str(library), "FLOODMARK_STALL_FILE": str(self.switch)}

    def stall(self):
        os.pwrite(self.file.fileno(), b"\1", 0)

    def go_on(self):
        os.pwrite(self.file.fileno(), b"\0", 0)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


@pytest.fixture
def broker(tmp_path, disk):
    broker = Broker(tmp_path, durable=True, env=disk.env).start()
    try:
        yield broker
    finally:
        disk.go_on()
        broker.stop()


class Transactions:
    """A producer that commits transaction after transaction, each within the time of a prompt broker."""

    def __init__(self, broker, topic, source, group):
        self.topic, self.source, self.done = topic, source, 0
        self.producer = transactional(broker.address, unique("disk"))
        config = {"bootstrap.servers": broker.address, "group.id": group}
        self.group = Consumer(config).consumer_group_metadata()

    def commit(self):
        began = time.monotonic()
        self.producer.begin_transaction()
        for number in range(RECORDS):
            self.producer.produce(self.topic, f"{self.done} {number} {RECORD}", partition=0)
        at = [TopicPartition(self.source, partition, self.done + 1, NOTE) for partition in range(4)]
        self.producer.send_offsets_to_transaction(at, self.group, PROMPT_SECONDS)
        self.producer.commit_transaction(PROMPT_SECONDS)
        taken = time.monotonic() - began
        assert taken < PROMPT_SECONDS, f"transaction {self.done} took {taken:.1f} s"
        self.done += 1


def segments(broker):
    """Endings of the segments' names, of all partitions."""
    found = (broker.folder / "data/topics").glob("*/*/*.*")
    return [path.suffix for path in found if path.stem.isdigit()]


def compacted_journal(broker):
    """What the journal is about to be replaced by."""
    return broker.folder / "data/metadata.journal.new"


@pytest.mark.parametrize(
    "segment_bytes, waits",
    [
        pytest.param(SEGMENT_BYTES, lambda broker: segments(broker).count(".tail") > 3, id="for full segments"),
        pytest.param(1 << 30, lambda broker: compacted_journal(broker).exists(), id="for its journal"),
    ],
)
def test_a_disk_that_stands_still_keeps_no_client_waiting_and_kill_9_loses_nothing(broker, disk, segment_bytes, waits):
    topic, source, group = unique("disk"), unique("source"), unique("group")
    create(broker.address, topic, 1, segment_bytes=segment_bytes, max_message_bytes=SEGMENT_BYTES // 2)
    create(broker.address, source, 4)
    transactions = Transactions(broker, topic, source, group)
    transactions.commit()
    disk.stall()
    eventually("a broker that waits for its disk", lambda: transactions.commit() or waits(broker))
    for _ in range(20):
        transactions.commit()
    assert waits(broker)

    broker.kill()
    disk.go_on()
    broker.start()
    sent = [f"{done} {number} {RECORD}" for done in range(transactions.done) for number in range(RECORDS)]
    assert values(read(broker.address, topic, 1)) == sent
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": group})
    places = consumer.committed([TopicPartition(source, partition) for partition in range(4)], timeout=30)
    consumer.close()
    assert [place.offset for place in places] == [transactions.done] * 4
    eventually("every full segment on the disk", lambda: ".tail" not in segments(broker))


def test_a_stop_waits_for_a_disk_that_stands_still_and_brings_everything_to_it(broker, disk):
    topic, source, group = unique("disk"), unique("source"), unique("group")
    create(broker.address, topic, 1, segment_bytes=SEGMENT_BYTES, max_message_bytes=SEGMENT_BYTES // 2)
    create(broker.address, source, 4)
    transactions = Transactions(broker, topic, source, group)
    disk.stall()
    while segments(broker).count(".tail") < 2:
        transactions.commit()
    broker.process.terminate()
    # It does not end before the disk has everything.
    with pytest.raises(subprocess.TimeoutExpired):
        broker.process.wait(3)
    disk.go_on()
    assert broker.process.wait(25) == 0, broker.output()
    assert set(segments(broker)) == {".log"}
    broker.start()
    assert len(read(broker.address, topic, 1)) == transactions.done * RECORDS
