"""The Grafana dashboard, as a file: tidy, and asking only for what exists. No server is needed."""

import itertools
import re

import dashboard as dashboards
import pytest
import yaml


@pytest.fixture(scope="module")
def dashboard():
    return dashboards.load()


def test_every_panel_has_a_title_a_description_and_a_unit(dashboard):
    for panel in dashboards.panels(dashboard):
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap(dashboard):
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in itertools.combinations(dashboard["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{one['title']} lies over {other['title']}"
        assert a["x"] + a["w"] <= 24


def test_every_query_goes_to_the_data_source_that_was_chosen(dashboard):
    for panel in dashboards.panels(dashboard):
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_the_default_data_source_is_the_one_that_is_provisioned(dashboard, root):
    provisioned = yaml.safe_load((root / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    chosen = next(v for v in dashboard["templating"]["list"] if v["type"] == "datasource")
    assert chosen["current"]["value"] == provisioned["datasources"][0]["uid"]


def test_a_recorded_series_that_is_shown_is_recorded(dashboard, root):
    groups = yaml.safe_load((root / "deploy/prometheus/recording.yml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"]}
    shown = {
        name for _, _, query in dashboards.expressions(dashboard) for name in re.findall(r"floodmark:[\w:]+", query)
    }
    assert shown <= recorded


def test_grafana_finds_the_dashboard_where_it_is_told_to_look(root):
    provider = yaml.safe_load((root / "deploy/grafana/provisioning/dashboards/floodmark.yml").read_text())["providers"][
        0
    ]
    mounts = yaml.safe_load((root / "deploy/docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts
