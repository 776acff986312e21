"""The dashboard as a browser would use it: its panels' expressions with the variables filled in."""

import json
import re
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards/floodmark.json"
# What Grafana's own variables stand for at this stack's scrape interval of five seconds.
OWN = {"$__rate_interval": "20s", "$__interval": "5s"}


def load():
    return json.loads(FILE.read_text())


def panels(dashboard):
    """All panels but the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables(dashboard):
    """Those that ask Prometheus: their names and queries."""
    return {v["name"]: v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"}


def fill(expression, dashboard):
    """With every variable at `All`, and Grafana's own."""
    for name, value in OWN.items():
        expression = expression.replace(name, value)
    for name in variables(dashboard):
        expression = re.sub(rf"\${name}\b", ".*", expression)
    assert "$" not in expression, f"a variable that does not exist in {expression}"
    return expression


def expressions(dashboard):
    """Title of the panel, letter of the query, and the query, of everything that asks Prometheus."""
    found = [
        (panel["title"], target["refId"], fill(target["expr"], dashboard))
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]
    annotations = dashboard["annotations"]["list"]
    return found + [(a["name"], "annotation", fill(a["expr"], dashboard)) for a in annotations if "expr" in a]


def label_values(query, dashboard):
    """Metric selector and label of a `label_values(selector, label)`."""
    selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", fill(query, dashboard)).groups()
    return selector, label
