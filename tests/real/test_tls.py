"""Kafka over TLS: every way in carries the whole job, and what is wrong about one is said, with the way
out and without a secret. For a binary that was built with the feature `ssl`."""

import functools
import re
import subprocess
import sys
import time

import pytest
from floodmark import ROOT, Job, binary
from test_errors import LIMIT_SECONDS, SMALL, fails

sys.path.insert(1, str(ROOT / "scripts"))

from tls import PASSWORD, USER, TlsKafka  # noqa: E402
from topics import Topics  # noqa: E402

WRONG_PASSWORD = "not-the-password"
IN_THE_FILE = "\n[sources.sensor_events.kafka]\n"


@functools.cache
def has_tls():
    done = subprocess.run([binary(), "--help"], capture_output=True, text=True, check=True)
    assert "TLS to Kafka (ssl)" in done.stdout, done.stdout
    return "with TLS to Kafka (ssl)" in done.stdout


with_tls = pytest.mark.skipif(not has_tls(), reason="the binary has no TLS: cargo build -p floodmark --features ssl")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    made = TlsKafka(tmp_path_factory.mktemp("tls"))
    try:
        made.start()
        made.wait()
        made.add_user()
        yield made
    finally:
        made.stop()


def table(properties):
    return "".join(f'"{name}" = "{value}"\n' for name, value in properties.items())


class TlsJob(Job):
    """A job whose file and commands name a listener and the properties to come in by it. The tests' own
    clients use the plain one."""

    def __init__(self, broker, folder, store):
        super().__init__(folder, Topics(broker.address()), store, store.root)
        self.broker, self.plain_file = broker, self.file.read_text()
        self.env |= {"KAFKA_USER": USER, "KAFKA_PASSWORD": PASSWORD}

    def come_in_by(self, listener, port_of=None, **replaced):
        self.address = self.broker.address(port_of or listener)
        self.properties = self.broker.properties(listener, **replaced)
        self.env["KAFKA_BROKERS"] = self.address
        self.file.write_text(self.plain_file + IN_THE_FILE + table(self.properties))

    def generate_args(self, *args):
        flags = [part for pair in self.properties.items() for part in ("--kafka", "=".join(pair))]
        return ["generate", "--brokers", self.address, "--topic", self.source, *flags, *map(str, args)]


@pytest.fixture
def job(broker, tmp_path, local_store):
    folder = tmp_path / "job"
    folder.mkdir()
    return TlsJob(broker, folder, local_store)


WAYS = {
    "tls": ("ssl", {}),
    "tls-and-a-password": ("sasl", {"sasl_mechanism": "PLAIN"}),
    "tls-and-scram": ("sasl", {}),
    "both-have-certificates": ("mutual", {}),
}


@with_tls
@pytest.mark.parametrize("way", WAYS)
def test_the_main_job_goes_over_tls(job, way):
    listener, replaced = WAYS[way]
    job.come_in_by(listener, **replaced)
    job.create_topics()
    job.generate(*SMALL)
    listed = job.command("topics", "list", job.file).stdout
    assert listed.count("exists") == 3 and job.source in listed, listed
    job.verify(job.run_until_caught_up())


@with_tls
def test_the_example_of_the_page_about_running_works(job, broker):
    page = (ROOT / "docs/operations/running.md").read_text()
    (example,) = re.findall(r"```toml\n(\[sources\.sensor_events\.kafka\]\n[^`]+SASL_SSL[^`]+)```", page)
    ca = "/etc/kafka/ca.pem"
    assert ca in example
    job.file.write_text(f"{job.plain_file}\n{example.replace(ca, str(broker.authority.ca))}")
    job.env["KAFKA_BROKERS"] = broker.address("sasl")
    assert job.command("topics", "list", job.file).stdout.count("missing") == 3


@with_tls
def test_an_output_may_have_a_listener_and_properties_of_its_own(job, broker):
    job.come_in_by("mutual")
    job.create_topics()
    job.generate(*SMALL)
    own = f'brokers = "{broker.address("sasl")}"\n[outputs.alerts.sink.kafka]\n{table(broker.properties("sasl"))}\n'
    text = job.file.read_text()
    sink = 'key = "device_id"\n'
    assert text.count(sink) == 1
    job.file.write_text(text.replace(sink, sink + own))
    job.verify(job.run_until_caught_up())


@with_tls
def test_without_a_ca_in_the_file_the_systems_are_trusted(job, broker):
    job.come_in_by("ssl", ssl_ca_location=None)
    # Where OpenSSL looks is what this variable says, if it is set.
    job.env["SSL_CERT_FILE"] = str(broker.authority.ca)
    job.create_topics()


# How it is wrong: the listener to come in by, what is said to it, and what the message must hold. The address
# may be that of another listener than the properties are for.
WRONG = {
    "a-ca-that-did-not-sign": ("ssl", lambda b: {"ssl_ca_location": b.stranger.ca}, ["verify failed", "ssl.ca.location"]),
    "a-ca-that-is-not-there": ("ssl", lambda b: {"ssl_ca_location": "/nowhere/ca.pem"}, ["file", "ssl.ca.location"]),
    "a-ca-that-is-none": ("ssl", lambda b: {"ssl_ca_location": b.key}, ["file", "ssl.ca.location"]),
    "a-broker-of-another-name": ("elsewhere", lambda b: {}, ["verify failed", "as their certificates do"]),
    "no-certificate": (
        "mutual",
        lambda b: {"ssl_certificate_location": None, "ssl_key_location": None},
        ["alert", "ssl.certificate.location"],
    ),
    "a-certificate-of-a-stranger": (
        "mutual",
        lambda b: {"ssl_certificate_location": b.strange_certificate, "ssl_key_location": b.strange_key},
        ["alert", "ssl.certificate.location"],
    ),
    "a-key-of-another-certificate": ("mutual", lambda b: {"ssl_key_location": b.strange_key}, ["ssl.key.location"]),
    "no-tls-where-there-is": (
        "ssl",
        lambda b: {"security_protocol": None, "ssl_ca_location": None},
        ["expects TLS", 'security.protocol" to "SSL'],
    ),
    "tls-where-there-is-none": ("ssl", lambda b: {"port_of": "kafka"}, ["speaks TLS", "security.protocol"]),
    "a-wrong-password": ("sasl", lambda b: {"sasl_password": WRONG_PASSWORD}, ["invalid credentials", "sasl.password"]),
    "a-mechanism-that-is-off": ("sasl", lambda b: {"sasl_mechanism": "SCRAM-SHA-256"}, ["sasl.mechanism"]),
    "no-password": (
        "sasl",
        lambda b: {"security_protocol": "SSL", "sasl_mechanism": None, "sasl_username": None, "sasl_password": None},
        ["asks for a password", "SASL_SSL"],
    ),
    "a-password-nobody-asks-for": ("sasl", lambda b: {"port_of": "ssl"}, ["takes no password", "security.protocol"]),
}


@with_tls
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_the_way_out(job, broker, case):
    listener, replaced, names = WRONG[case]
    job.come_in_by(listener, **replaced(broker))
    messages = [fails(job, *names)]
    for args in (["topics", "list", job.file], job.generate_args("--count", 1)):
        started = time.monotonic()
        messages.append(job.command(*args, check=1).stderr)
        assert time.monotonic() - started < LIMIT_SECONDS
        assert all(name in messages[-1] for name in names), f"not all of {names} in:\n{messages[-1]}"
    for message in messages:
        # Without a client nobody was called.
        assert job.address in message or "Client creation error" in message, message
        for secret in (PASSWORD, WRONG_PASSWORD, USER):
            assert secret not in message, message


@with_tls
def test_an_output_with_a_wrong_password_is_named_and_loses_nothing(job, broker):
    job.come_in_by("ssl")
    job.create_topics()
    job.generate(*SMALL)
    text = job.file.read_text()
    sink = 'key = "device_id"\n'
    wrong = table(broker.properties("sasl", sasl_password=WRONG_PASSWORD))
    own = f'brokers = "{broker.address("sasl")}"\n[outputs.alerts.sink.kafka]\n{wrong}\n'
    job.file.write_text(text.replace(sink, sink + own))
    message = fails(job, job.alerts, "invalid credentials", "sasl.password")
    assert WRONG_PASSWORD not in message, message
    job.file.write_text(text)
    job.verify(job.run_until_caught_up())


@pytest.mark.skipif(has_tls(), reason="the binary has TLS")
@pytest.mark.parametrize(
    "properties",
    [
        {"security.protocol": "SSL"},
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"},
        {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"},
    ],
    ids=lambda properties: "-".join(properties.values()),
)
def test_a_build_without_tls_says_how_to_get_one_with_it(tmp_path, local_store, properties):
    # Nobody is asked: the client cannot even be made.
    job = Job(tmp_path, Topics("127.0.0.1:1"), local_store, local_store.root)
    secret = {"sasl.username": "somebody", "sasl.password": PASSWORD} if "sasl.mechanism" in properties else {}
    job.file.write_text(job.file.read_text() + IN_THE_FILE + table(properties | secret))
    flags = [part for name, value in (properties | secret).items() for part in ("--kafka", f"{name}={value}")]
    messages = [
        fails(job, "--features ssl"),
        job.command("topics", "list", job.file, check=1).stderr,
        job.command(*job.generate_args("--count", 1, *flags), check=1).stderr,
    ]
    for message in messages:
        assert "--features ssl" in message and PASSWORD not in message, message
