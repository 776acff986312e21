"""The broker that foreign clients are tried on: the one FLOODMARK_TEST_BROKERS names, else `floodmark
broker` in memory, started for this run and stopped after it."""

import os

import console
import pytest
from embedded import Broker


@pytest.fixture(scope="session")
def brokers(tmp_path_factory):
    """What clients call bootstrap.servers."""
    named = os.environ.get("FLOODMARK_TEST_BROKERS")
    if named:
        yield named
        return
    broker = Broker(tmp_path_factory.mktemp("broker"), durable=False).start()
    try:
        yield broker.address
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def tools(brokers, tmp_path_factory):
    """Apache Kafka's console tools."""
    if not console.available():
        pytest.skip("Kafka's console tools need java, which is not on the PATH")
    return console.Tools(brokers, tmp_path_factory.mktemp("tools"))
