"""Apache Kafka's own console tools, as its documentation has people use them."""

import json
import re
import subprocess

from clients import create, eventually, read, transactional, unique, values, write
from confluent_kafka import Consumer, TopicPartition
from console import table


def test_topics_are_created_listed_described_altered_and_deleted(tools):
    topic = unique("topics")
    made = ("--create", "--topic", topic, "--partitions", 3, "--replication-factor", 1)
    out = tools.run("kafka-topics", *made, "--config", "retention.ms=86400000")
    assert f"Created topic {topic}." in out
    assert topic in tools.run("kafka-topics", "--list").split()
    out = tools.run("kafka-topics", "--describe", "--topic", topic)
    assert re.search(r"PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: .*retention.ms=86400000", out)
    assert len(re.findall(r"Leader: \d+\s+Replicas: \d+\s+Isr: \d+", out)) == 3

    assert "already exists" in tools.run("kafka-topics", *made, check=1)
    tools.run("kafka-topics", *made, "--if-not-exists")
    tools.run("kafka-topics", "--alter", "--topic", topic, "--partitions", 5)
    out = eventually(
        "five partitions",
        lambda: "PartitionCount: 5" in (out := tools.run("kafka-topics", "--describe", "--topic", topic)) and out,
    )
    assert out.count("Leader: ") == 5
    tools.run("kafka-topics", "--delete", "--topic", topic)
    eventually("the end of the topic", lambda: topic not in tools.run("kafka-topics", "--list").split())
    assert "does not exist" in tools.run("kafka-topics", "--describe", "--topic", topic, check=1)


def test_what_the_console_producer_writes_the_console_consumer_reads(tools, brokers):
    topic, group = unique("console"), unique("console")
    create(brokers, topic, 1)
    keyed = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
    sent = [f"key{n}:value {n}" for n in range(100)]
    tools.run("kafka-console-producer", "--topic", topic, *keyed, stdin="\n".join(sent[:50]) + "\n")
    zstd = ("--compression-codec", "zstd", "--request-required-acks", "all")
    tools.run("kafka-console-producer", "--topic", topic, *keyed, *zstd, stdin="\n".join(sent[50:]) + "\n")

    show = ("--formatter-property", "print.key=true", "--formatter-property", "key.separator=:")
    group = ("--group", group, "--command-property", "enable.auto.commit=true")
    first = tools.run("kafka-console-consumer", "--topic", topic, "--from-beginning", *show, *group, "--max-messages", 60)
    assert first.splitlines() == sent[:60]
    # The group goes on where it was; the tool ends when nothing comes any more.
    rest = tools.run("kafka-console-consumer", "--topic", topic, *show, *group, "--max-messages", 40)
    assert rest.splitlines() == sent[60:]
    at = ("--partition", 0, "--offset", 98)
    out = tools.run("kafka-console-consumer", "--topic", topic, *at, *show, "--max-messages", 2)
    assert out.splitlines() == sent[98:]


def test_the_console_consumer_sees_committed_transactions_only(tools, brokers):
    topic = unique("isolation")
    create(brokers, topic, 1)
    producer = transactional(brokers, unique("isolation"))
    for value, commit in [("a", True), ("b", False), ("c", True)]:
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        assert producer.flush(30) == 0
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    whole = ("--topic", topic, "--from-beginning", "--timeout-ms", 5000)
    committed = ("--isolation-level", "read_committed", "--max-messages", 2)
    assert tools.run("kafka-console-consumer", *whole, *committed).split() == ["a", "c"]
    everything = ("--isolation-level", "read_uncommitted", "--max-messages", 3)
    assert tools.run("kafka-console-consumer", *whole, *everything).split() == ["a", "b", "c"]


def test_groups_are_listed_described_reset_and_deleted(tools, brokers):
    topic, group = unique("groups"), unique("groups")
    create(brokers, topic, 2)
    write(brokers, topic, ["a", "b", "c", "d"])
    write(brokers, topic, ["e"], partition=1)
    settings = {"bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest"}
    consumer = Consumer(settings | {"enable.auto.commit": False, "client.id": "the-member"})
    consumer.subscribe([topic])
    eventually("the partitions", lambda: consumer.poll(0.1) or len(consumer.assignment()) == 2)
    offsets = [TopicPartition(topic, 0, 1), TopicPartition(topic, 1, 1)]
    consumer.commit(offsets=offsets, asynchronous=False)

    groups = "kafka-consumer-groups"
    assert group in tools.run(groups, "--list").split()
    rows = {row["PARTITION"]: row for row in table(tools.run(groups, "--describe", "--group", group))}
    shown = [(p, *(rows[p][c] for c in ("CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"))) for p in "01"]
    assert shown == [("0", "1", "4", "3"), ("1", "1", "1", "0")]
    assert rows["0"]["CLIENT-ID"] == "the-member"
    (member,) = table(tools.run(groups, "--describe", "--group", group, "--members"))
    assert member["#PARTITIONS"] == "2"
    out = tools.run(groups, "--describe", "--group", group, "--state")
    assert re.search(r"\brange\b.*\bStable\b", out), out
    reset = (groups, "--reset-offsets", "--group", group, "--topic", topic)
    refused = tools.run(*reset, "--to-earliest", "--execute")
    assert "inactive" in refused or "not empty" in refused.lower() or "Error" in refused, refused

    consumer.close()
    eventually("an empty group", lambda: "Empty" in tools.run(groups, "--describe", "--group", group, "--state"))
    for how, expected in [(("--to-latest",), "41"), (("--shift-by", "-1"), "30"), (("--to-earliest",), "00")]:
        found = {row["PARTITION"]: row["NEW-OFFSET"] for row in table(tools.run(*reset, *how, "--execute"))}
        assert found == {"0": expected[0], "1": expected[1]}, how
    rows = table(tools.run(groups, "--describe", "--group", group))
    assert sorted(row["LAG"] for row in rows) == ["1", "4"]
    tools.run(groups, "--delete-offsets", "--group", group, "--topic", f"{topic}:0")
    rows = table(tools.run(groups, "--describe", "--group", group))
    assert [row["PARTITION"] for row in rows] == ["1"]
    assert "successful" in tools.run(groups, "--delete", "--group", group)
    assert group not in tools.run(groups, "--list").split()


def test_configurations_are_described_and_altered(tools, brokers):
    topic = unique("configs")
    create(brokers, topic, 1)
    named = ("--entity-type", "topics", "--entity-name", topic)
    out = tools.run("kafka-configs", *named, "--alter", "--add-config", "retention.ms=7200000,max.message.bytes=2000000")
    assert "Completed updating config" in out
    describe = ("kafka-configs", *named, "--describe")
    out = eventually("the configuration", lambda: "retention.ms=7200000" in (out := tools.run(*describe)) and out)
    assert "max.message.bytes=2000000" in out
    tools.run("kafka-configs", *named, "--alter", "--delete-config", "retention.ms")
    eventually("the default", lambda: "retention.ms" not in tools.run(*describe))
    everything = tools.run(*describe, "--all")
    assert "cleanup.policy=delete" in everything
    assert "retention.ms=" in everything
    out = tools.run("kafka-configs", *named, "--alter", "--add-config", "no.such.property=1", check=1)
    assert "no.such.property" in out


def test_transactions_are_listed_and_described(tools, brokers):
    topic, name = unique("transactions"), unique("transactions")
    create(brokers, topic, 2)
    producer = transactional(brokers, name)
    producer.begin_transaction()
    producer.produce(topic, "open", partition=1)
    assert producer.flush(30) == 0
    rows = {row["TransactionalId"]: row for row in rows_of(tools.run("kafka-transactions", "list"))}
    assert rows[name]["TransactionState"] == "Ongoing"
    (row,) = rows_of(tools.run("kafka-transactions", "describe", "--transactional-id", name))
    assert row["TransactionState"] == "Ongoing"
    assert row["TopicPartitions"] == f"{topic}-1"
    where = ("--topic", topic, "--partition", 1)
    (row,) = rows_of(tools.run("kafka-transactions", "describe-producers", *where))
    assert row["ProducerId"] == rows[name]["ProducerId"]
    assert row["CurrentTransactionStartOffset"] == "0"
    # It is younger than its timeout, so it does not hang.
    out = tools.run("kafka-transactions", "find-hanging", "--topic", topic)
    assert rows[name]["ProducerId"] not in out.split()
    producer.commit_transaction(30)
    (row,) = rows_of(tools.run("kafka-transactions", "describe", "--transactional-id", name))
    assert row["TransactionState"] in ("CompleteCommit", "PrepareCommit")
    assert values(read(brokers, topic, 2)) == ["open"]


def rows_of(text):
    """Rows of what kafka-transactions prints, as dictionaries."""
    lines = [re.split(r"\s{2,}|\t", line.strip()) for line in text.splitlines() if line.strip()]
    return [dict(zip((h.strip() for h in lines[0]), words, strict=False)) for words in lines[1:]]


def test_records_are_deleted_and_offsets_are_told(tools, brokers, tmp_path):
    topic = unique("offsets")
    create(brokers, topic, 2)
    write(brokers, topic, [str(n) for n in range(10)])
    file = tmp_path / "offsets.json"
    file.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 4}]}))
    out = tools.run("kafka-delete-records", "--offset-json-file", file)
    assert re.search(r"low_watermark: 4\b", out), out

    def offsets(time):
        out = tools.run("kafka-get-offsets", "--topic", topic, "--time", time)
        return dict(line.split(":")[1:] for line in out.split())

    assert offsets("earliest") == {"0": "4", "1": "0"}
    assert offsets("latest") == {"0": "10", "1": "0"}
    assert offsets("max-timestamp")["0"] in map(str, range(10))
    assert offsets("1000")["0"] == "4"


def test_the_cluster_tells_its_id_and_its_versions(tools):
    out = tools.run("kafka-broker-api-versions")
    for api in ("Produce(0)", "Fetch(1)", "Metadata(3)", "JoinGroup(11)", "InitProducerId(22)", "EndTxn(26)"):
        assert api in out, out
    # This tool takes its command first.
    command = [*tools.java, "org.apache.kafka.tools.ClusterTool", "cluster-id", "--bootstrap-server", tools.brokers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert re.search(r"Cluster ID: \S+", done.stdout), done.stdout


def test_the_performance_tools_run_to_their_end(tools, brokers):
    topic = unique("perf")
    create(brokers, topic, 3)
    size = ("--num-records", 50_000, "--record-size", 140, "--throughput", -1)
    out = tools.run("kafka-producer-perf-test", "--topic", topic, *size)
    assert "50000 records sent" in out.splitlines()[-1]
    size = ("--num-records", 5_000, "--record-size", 140, "--throughput", -1)
    tools.run("kafka-producer-perf-test", "--topic", topic, *size, "--transactional-id", unique("perf"))
    out = tools.run("kafka-consumer-perf-test", "--topic", topic, "--num-records", 55_000, "--timeout", 30_000)
    head, row = (re.split(r",\s*", line) for line in out.splitlines()[:2])
    numbers = dict(zip(head, row, strict=True))
    assert int(numbers["data.consumed.in.nMsg"]) >= 55_000
