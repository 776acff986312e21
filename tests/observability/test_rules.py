"""Rules, alerts and runbooks of deploy/prometheus. No server is needed."""

import re

import pytest
import yaml

RUNBOOKS = "docs/operations/observability.md"


@pytest.fixture(scope="module")
def folder(root):
    return root / "deploy/prometheus"


@pytest.fixture(scope="module")
def alerts(folder):
    groups = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def unit_tests(folder):
    """Per alert: whether a test lets it fire, and whether one wants it quiet."""
    found = {}
    for file in folder.glob("tests/*.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                found.setdefault(case["alertname"], set()).add("fires" if case.get("exp_alerts") else "is quiet")
    return found


def test_prometheus_takes_its_configuration(promtool, folder):
    promtool("check", "config", folder / "prometheus.yml")


def test_every_rule_does_what_its_test_says(promtool, folder):
    files = sorted(folder.glob("tests/*.yml"))
    assert len(files) == 5
    said = promtool("test", "rules", *files)
    assert said.count("SUCCESS") == len(files)


def test_every_alert_is_tested_to_fire_and_to_keep_quiet(alerts, unit_tests):
    assert unit_tests == {name: {"fires", "is quiet"} for name in alerts}


def test_every_alert_says_how_bad_it_is_and_leads_to_its_runbook(alerts, root):
    headings = re.findall(r"^### (Floodmark\w+)$", (root / RUNBOOKS).read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alerts)
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule["annotations"]["runbook_url"].endswith(f"/{RUNBOOKS}#{name.lower()}"), name
        assert {"summary", "description"} <= rule["annotations"].keys(), name


def test_every_runbook_says_what_it_means_and_what_to_do(alerts, root):
    text = (root / RUNBOOKS).read_text()
    for name in alerts:
        section = text.split(f"### {name}\n")[1].split("\n#")[0]
        assert "**Means.**" in section and "**Do.**" in section, name
