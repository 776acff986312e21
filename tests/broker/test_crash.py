"""SIGKILL at any moment loses nothing that was acknowledged, and shows nothing that was not committed.

The broker under test is `floodmark broker --data DIR`, killed and started again on its port while clients
write. FLOODMARK_CRASH_SEED repeats a run, FLOODMARK_CRASH_KILLS says how many kills (10)."""

import os
import random
import sys
import threading
import time
import traceback

import pytest
from clients import create, read, transactional, unique
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from embedded import Broker

PARTITIONS = 3
KILLS = int(os.environ.get("FLOODMARK_CRASH_KILLS", "10"))
# How long clients go on trying, longer than any restart, and how soon they do. The strategy: see README.md.
STUBBORN = {
    "message.timeout.ms": 60_000,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "metadata.recovery.strategy": "none",
}
# Longest wait of a single call on the broker, and for a client to end: it may be before the first call of a
# transaction, which makes four, and registers once more at its end.
CALL_SECONDS = 60
END_SECONDS = 5 * CALL_SECONDS + 30

pytestmark = pytest.mark.skipif(
    "FLOODMARK_TEST_BROKERS" in os.environ, reason="kills the broker: only its own, not a named one"
)


@pytest.fixture
def seed():
    chosen = int(os.environ.get("FLOODMARK_CRASH_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FLOODMARK_CRASH_SEED={chosen}")
    return chosen


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path, durable=True).start()
    try:
        yield broker
    finally:
        broker.stop()


class Load(threading.Thread):
    """A client that writes until it is told to end; what goes wrong in it fails the test."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.over, self.error = work, threading.Event(), None
        self.start()

    def run(self):
        try:
            self.work(self.over)
        except BaseException as error:
            self.error = error

    def end(self):
        self.over.set()
        self.join(END_SECONDS)
        assert not self.is_alive(), f"the client does not end:\n{self.place()}"
        if self.error:
            raise self.error

    def place(self):
        """Where the thread is."""
        frame = sys._current_frames().get(self.ident)
        return "".join(traceback.format_stack(frame)) if frame else "(it has ended)"


def kill_again_and_again(broker, seed, loads):
    """Kills at random moments: during the load, and during the recovery from the kill before."""
    moments = random.Random(seed)
    for _ in range(KILLS):
        time.sleep(moments.choice([0.05, 0.3, 1.0]) * moments.random() * 2)
        broker.kill()
        broker.start()
        for load in loads:
            assert load.is_alive(), load.error
    for load in loads:
        load.end()


def by_partition(rows):
    found = {p: [] for p in range(PARTITIONS)}
    for partition, _, _, value in rows:
        found[partition].append(int(value))
    return found


def test_every_acknowledged_record_is_there_once_and_in_order(broker, seed):
    topic = unique("crash")
    create(broker.address, topic, PARTITIONS)
    sent = dict.fromkeys(range(PARTITIONS), 0)
    acknowledged = {p: [] for p in range(PARTITIONS)}
    refused = []

    def write(over):
        config = {"bootstrap.servers": broker.address, "acks": "all", "enable.idempotence": True, "linger.ms": 2}
        producer = Producer(config | STUBBORN)

        def delivered(error, message):
            if error:
                refused.append(error)
            else:
                acknowledged[message.partition()].append(int(message.value()))

        while not over.is_set():
            for partition in range(PARTITIONS):
                try:
                    producer.produce(topic, str(sent[partition]), partition=partition, on_delivery=delivered)
                    sent[partition] += 1
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
            # Some hundred thousand records a second would only make the check slow.
            over.wait(0.0002)
        assert producer.flush(120) == 0

    kill_again_and_again(broker, seed, [Load(write)])
    assert not refused, refused[:3]
    assert min(sent.values()) > 10 * KILLS, f"{sent} records are no load"
    found = by_partition(read(broker.address, topic, PARTITIONS))
    for partition in range(PARTITIONS):
        assert acknowledged[partition] == list(range(sent[partition]))
        assert found[partition] == acknowledged[partition], f"partition {partition} differs"


def test_every_committed_transaction_is_whole_and_no_aborted_one_is_seen(broker, seed):
    topic, source, group = unique("crash"), unique("source"), unique("group")
    create(broker.address, topic, PARTITIONS)
    create(broker.address, source, 1)
    # What is certain, and what a lost answer leaves open: such a transaction is whole or not there.
    committed, aborted, open_question = [], [], []
    choices = random.Random(seed + 1)

    def write(over):
        name, number, producer = unique("crash"), 0, None
        metadata = Consumer({"bootstrap.servers": broker.address, "group.id": group}).consumer_group_metadata()
        while not over.is_set():
            number += 1
            outcome = open_question
            try:
                producer = producer or transactional(broker.address, name, **STUBBORN)
                producer.begin_transaction()
                for partition in range(PARTITIONS):
                    producer.produce(topic, str(number), partition=partition)
                chance = choices.random()
                if chance < 0.2:
                    producer.flush(CALL_SECONDS)
                    outcome = aborted
                    producer.abort_transaction(CALL_SECONDS)
                elif chance < 0.3:
                    # Left open; the next owner of the id aborts it.
                    producer.flush(CALL_SECONDS)
                    outcome, producer = aborted, None
                else:
                    at = [TopicPartition(source, 0, number)]
                    producer.send_offsets_to_transaction(at, metadata, CALL_SECONDS)
                    producer.commit_transaction(CALL_SECONDS)
                    outcome = committed
            except KafkaException:
                # Whatever it was, the next owner of the id clears it up.
                producer = None
            outcome.append(number)
        # What the last owner may have left open ends here.
        transactional(broker.address, name, **STUBBORN)

    kill_again_and_again(broker, seed, [Load(write)])
    found = by_partition(read(broker.address, topic, PARTITIONS, patience=90))
    first = found[0]
    assert first == sorted(set(first)), "each once and in order"
    assert found[1] == first, "whole or not at all"
    assert found[2] == first, "whole or not at all"
    assert set(committed) <= set(first), f"lost: {sorted(set(committed) - set(first))[:5]}"
    assert not set(aborted) & set(first), f"aborted, yet seen: {sorted(set(aborted) & set(first))[:5]}"
    assert set(first) <= set(committed) | set(open_question)
    assert len(committed) > KILLS, f"{len(committed)} transactions are no load"
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": group})
    (place,) = consumer.committed([TopicPartition(source, 0)], timeout=30)
    consumer.close()
    assert place.offset == first[-1], "the offsets of the last committed transaction"
    print(f"{len(committed)} committed, {len(aborted)} aborted, {len(open_question)} without an answer")


def test_a_group_goes_on_where_it_committed_before_the_kill(broker, seed):
    topic, group = unique("crash"), unique("group")
    create(broker.address, topic, 1)
    kept = []

    def commit(over):
        config = {"bootstrap.servers": broker.address, "group.id": group, "enable.auto.commit": False}
        consumer = Consumer(config | {k: v for k, v in STUBBORN.items() if k.startswith("reconnect")})
        offset = 0
        while not over.is_set():
            offset += 1
            try:
                consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
                kept.append(offset)
            except KafkaException:
                continue
        (place,) = consumer.committed([TopicPartition(topic, 0)], timeout=CALL_SECONDS)
        # One whose answer was lost may be kept as well.
        assert kept[-1] <= place.offset <= offset
        consumer.close()

    kill_again_and_again(broker, seed, [Load(commit)])
    assert len(kept) > KILLS, f"{len(kept)} commits are no load"
