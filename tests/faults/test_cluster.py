"""Three brokers: leaders and coordinators that move, and a user whose rights are taken away."""

import pytest
from cluster import PASSWORD, USER, Cluster
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from topics import Topics
from waiting import wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def job(cluster, make_job, local_store):
    """A job on the cluster; transactions are open most of the time."""
    cluster.start()
    job = make_job(local_store, **{'key = "device_id"': 'key = "device_id"\ncommit_interval = "1 second"'})
    job.topics = Topics(cluster.addresses())
    job.env["KAFKA_BROKERS"] = cluster.addresses()
    wait_until("all brokers are there", lambda: len(job.topics.admin.list_topics(timeout=10).brokers) == 3)
    job.create_topics()
    return job


def leaders(job, topic):
    metadata = job.topics.admin.list_topics(topic, timeout=10).topics[topic]
    return {number: partition.leader for number, partition in metadata.partitions.items()}


def replicas_in_sync(job):
    topics = job.topics.admin.list_topics(timeout=10).topics.values()
    return all(len(p.isrs) == len(p.replicas) for topic in topics for p in topic.partitions.values())


def test_a_leader_that_dies_in_the_middle_of_a_transaction_is_replaced(cluster, job):
    with job.load(seconds=25):
        run = job.start()
        job.wait_for_epochs(run, 3)
        # Not the controller, of which there is one.
        victim = next(leader for leader in leaders(job, job.alerts).values() if leader != 1)
        wait_until("a transaction is open", lambda: job.topics.dangling(job.alerts), run=run)
        cluster.kill(victim)
        wait_until("another leads", lambda: victim not in leaders(job, job.alerts).values(), run=run)
        job.wait_for_epochs(run, 3)
        cluster.start(victim)
    job.goes_on_by_itself(run)


def test_a_rolling_restart_moves_every_leader_and_every_coordinator_and_is_not_noticed(cluster, job):
    with job.load(seconds=40):
        run = job.start()
        job.wait_for_epochs(run, 3)
        for number in cluster.nodes:
            wait_until("replicas are in sync", lambda: replicas_in_sync(job), run=run)
            cluster.stop(number)
            cluster.start(number)
        job.wait_for_epochs(run, 3)
    job.goes_on_by_itself(run)


def allow(job, kind, name, *operations):
    pattern = ResourcePatternType.PREFIXED
    bindings = [
        AclBinding(kind, name, pattern, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
        for operation in operations
    ]
    for future in job.topics.admin.create_acls(bindings).values():
        future.result()


def take_away(job, kind, name):
    pattern = ResourcePatternType.PREFIXED
    anything = AclBindingFilter(kind, name, pattern, f"User:{USER}", "*", AclOperation.ANY, AclPermissionType.ANY)
    for future in job.topics.admin.delete_acls([anything]).values():
        assert future.result(), "there was nothing to take away"


def log_in(job, cluster):
    """From here on the pipeline has a name and only the rights that docs/operations/running.md lists."""
    job.env["KAFKA_BROKERS"] = cluster.addresses("named")
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": PASSWORD,
    }
    table = "".join(f"{name!r} = {value!r}\n" for name, value in properties.items()).replace("'", '"')
    text = job.file.read_text()
    job.file.write_text(f"{text}\n[sources.sensor_events.kafka]\n{table}")
    read, write, describe = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
    allow(job, ResourceType.TOPIC, job.source, describe, read)
    allow(job, ResourceType.TOPIC, job.alerts, describe, write)
    allow(job, ResourceType.TOPIC, job.dead, describe, write)
    allow(job, ResourceType.GROUP, f"floodmark-{job.name}", describe, read)
    allow(job, ResourceType.TRANSACTIONAL_ID, f"floodmark-{job.name}-", describe, write)


RIGHTS = {
    "source": (lambda job: (ResourceType.TOPIC, job.source), [AclOperation.DESCRIBE, AclOperation.READ], "source"),
    "alerts": (lambda job: (ResourceType.TOPIC, job.alerts), [AclOperation.DESCRIBE, AclOperation.WRITE], "alerts"),
    "transactions": (
        lambda job: (ResourceType.TRANSACTIONAL_ID, f"floodmark-{job.name}-"),
        [AclOperation.DESCRIBE, AclOperation.WRITE],
        "transactional ids",
    ),
}


@pytest.mark.parametrize("what", list(RIGHTS))
def test_a_right_that_is_taken_away_ends_the_run_with_what_to_allow(cluster, job, what):
    resource, operations, named = RIGHTS[what]
    log_in(job, cluster)
    with job.load(seconds=15):
        run = job.start()
        job.wait_for_epochs(run, 3)
        take_away(job, *resource(job))
        # Who has nothing to send does not notice.
        alert = b'{"device_id":"MTR-1","ts":"2025-08-17T13:00:00Z","temperature_c":99.0}'
        job.topics.write(job.source, [(None, alert, 0)])
        job.stops_saying(run, "allow this user", named)
        refused = job.command("run", job.file, "--until-caught-up", check=1)
        assert "Allow this user" in refused.stderr
        allow(job, *resource(job), *operations)
    job.ends_exactly()
