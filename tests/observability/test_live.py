"""The stack as it runs: Prometheus scrapes Floodmark, every panel has something to show, an alert fires."""

import math
import re
import time

import dashboard as dashboards
import pytest
import yaml
from stack import PATIENCE_SECONDS, eventually, get
from topics import Topics

# What is rightly empty in a run without a limit of memory, and without a restart within the minute.
MAY_BE_EMPTY = {("Memory", "B"), ("Starts", "annotation")}
# Windows of a minute must have ended, a checkpoint must have shown them.
PANELS_SECONDS = 240


def has_data(stack, expression, since):
    found = stack.prometheus("query_range", query=expression, start=since, end=time.time(), step="5s")["result"]
    return any(not math.isnan(float(value)) for series in found for _, value in series["values"])


def test_prometheus_scrapes_floodmark_and_itself(stack):
    def all_up():
        targets = stack.prometheus("targets", state="active")["activeTargets"]
        return targets if all(target["health"] == "up" for target in targets) else None

    assert {target["labels"]["job"] for target in eventually("all targets are up", all_up)} == {
        "floodmark",
        "prometheus",
    }


def test_prometheus_has_loaded_every_rule_and_evaluates_them(stack):
    def evaluated():
        rules = [rule for group in stack.prometheus("rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] == "ok" for rule in rules) else None

    rules = eventually("all rules are evaluated", evaluated)
    assert sum(rule["type"] == "alerting" for rule in rules) == 18
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []


def test_every_series_that_a_rule_asks_for_exists(stack, root):
    """A misspelt one would be no error, and its alert would never fire."""
    groups = [
        group
        for name in ("recording.yml", "alerts.yml")
        for group in yaml.safe_load((root / "deploy/prometheus" / name).read_text())["groups"]
    ]
    asked = {
        series
        for group in groups
        for rule in group["rules"]
        for series in re.findall(r"\b(?:floodmark[_:]|process_)[\w:]+", rule["expr"])
    }
    assert len(asked) > 25

    def missing():
        # There is no limit of memory here.
        return asked - set(stack.prometheus("label/__name__/values")) - {"floodmark_memory_limit_bytes"}

    deadline = time.monotonic() + PATIENCE_SECONDS
    while missing() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert missing() == set()


def test_the_instance_is_alive_and_ready(stack):
    for path in ("healthz", "readyz"):
        status, body = get(f"{stack.url('floodmark')}/{path}")
        assert status == 200, body


def test_nothing_listens_beyond_loopback(stack):
    addresses = [address.partition(":")[0] for address in stack.addresses()]
    assert len(addresses) > 5
    # 127.0.0.1, that as an IPv6 address, and ::1.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert set(addresses) <= loopback


def test_the_topics_have_three_partitions_each(stack):
    topics = Topics(stack.variables["KAFKA_BROKERS"])
    for topic in ("sensor_events", "sensor_alerts", "sensor_events_dead"):
        assert len(topics.partitions(topic)) == 3, topic


def test_the_console_of_the_store_wants_a_password(stack):
    status, _ = get(f"{stack.variables['S3_CONSOLE_URL']}/health")
    assert status == 200
    _, page = get(stack.variables["S3_CONSOLE_URL"])
    assert "password" in page.lower()


def test_a_dead_letter_raises_its_alert(stack):
    expression = 'ALERTS{alertname="FloodmarkDeadLetters", alertstate="firing"}'
    fired = eventually("the alert fires", lambda: stack.query(expression))
    assert fired[0]["metric"]["severity"] == "warning"
    alerts = stack.prometheus("alerts")["alerts"]
    said = next(a["annotations"] for a in alerts if a["labels"]["alertname"] == "FloodmarkDeadLetters")
    assert "dead letters within 5 minutes" in said["summary"]


def test_no_alert_fires_that_the_events_do_not_deserve(stack):
    """The generator sends bad records, and nothing else is wrong."""
    names = {sample["metric"]["alertname"] for sample in stack.query('ALERTS{alertstate="firing"}')}
    assert names <= {"FloodmarkDeadLetters"}


def test_every_variable_of_the_dashboard_has_values(stack):
    dashboard = dashboards.load()
    for name, query in dashboards.variables(dashboard).items():
        selector, label = dashboards.label_values(query, dashboard)
        values = eventually(f"values of ${name}", lambda s=selector: stack.prometheus("series", **{"match[]": s}))
        assert all(series.get(label) for series in values), f"${name}: {query}"


def test_every_panel_has_data(stack):
    waiting = {(panel, letter): query for panel, letter, query in dashboards.expressions(dashboards.load())}
    began = stack.started
    deadline = time.monotonic() + PANELS_SECONDS
    while True:
        waiting = {place: query for place, query in waiting.items() if not has_data(stack, query, began)}
        if waiting.keys() <= MAY_BE_EMPTY or time.monotonic() > deadline:
            break
        time.sleep(2)
    empty = {
        f"{panel} {letter}: {query}"
        for (panel, letter), query in waiting.items()
        if (panel, letter) not in MAY_BE_EMPTY
    }
    assert not empty, "no data:\n" + "\n".join(sorted(empty))


@pytest.mark.parametrize("metric", ["floodmark_source_records_total", "floodmark_output_rows_total"])
def test_what_prometheus_knows_is_what_has_happened(stack, metric):
    """Counters never go back while one process runs."""
    assert eventually(f"{metric} grows", lambda: (stack.value(f"sum(increase({metric}[1m]))") or 0) > 0)
    assert stack.value(f"sum(resets({metric}[5m]))") == 0
