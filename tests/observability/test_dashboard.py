"""The Grafana dashboard, as a file: tidy, as Grafana's types say, and asking only for what exists. No server is
needed."""

import copy
import itertools
import re

import dashboard as dashboards
import grafana_schema
import pytest
import yaml


# Below these, Grafana's types leave it open what stands there.
OPEN = ("dashboard.templating.list.query.", ".mappings.options.", ".matcher.options", ".properties.value")


@pytest.fixture(scope="module")
def dashboard():
    return dashboards.load()


@pytest.fixture(scope="module")
def fields(dashboard):
    """Of each kind of field one: its name with those above it, and a dashboard of a single panel that it stands in,
    with the object that holds it."""

    def within(value, names, whole):
        for item in value if isinstance(value, list) else []:
            yield from within(item, names, whole)
        for name, one in value.items() if isinstance(value, dict) else []:
            yield f"{names}.{name}", whole, value, name
            yield from within(one, f"{names}.{name}", whole)

    bare = dashboard | {"panels": []}
    found = list(within(bare, "dashboard", bare))
    for panel in dashboard["panels"]:
        alone = dashboard | {"panels": [panel]}
        found += within(panel, panel["type"], alone)
    return {names: rest for names, *rest in reversed(found)}


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


def test_it_is_what_grafanas_own_types_say(dashboard):
    assert grafana_schema.complaints(dashboard) == []


def unseen(fields, spoil):
    """Fields, other than those of open types, that can be spoilt without a complaint."""
    found = []
    for names, (whole, holder, name) in fields.items():
        if names.startswith(OPEN[0]) or any(part in f"{names}." for part in OPEN[1:]):
            continue
        before = copy.copy(holder)
        spoil(holder, name)
        if not grafana_schema.complaints(whole):
            found.append(names)
        holder.clear()
        holder.update(before)
    return found


def test_a_misspelt_field_would_be_seen(fields):
    assert len(fields) > 200

    def misspell(holder, name):
        holder[f"{name}x"] = holder.pop(name)

    assert unseen(fields, misspell) == []


def test_a_value_of_a_wrong_type_would_be_seen(fields):
    def mistype(holder, name):
        holder[name] = 7 if isinstance(holder[name], str) else "seven"

    assert unseen(fields, mistype) == []


@pytest.mark.parametrize("name", ["drawStyle", "colorMode", "displayMode", "mode", "format"])
def test_a_choice_that_does_not_exist_would_be_seen(fields, name):
    choices = {names: rest for names, rest in fields.items() if names.endswith(f".{name}")}
    assert choices
    assert unseen(choices, lambda holder, field: holder.update({field: "nonsense"})) == []


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
