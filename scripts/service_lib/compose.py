"""deploy/docker-compose.yml as data: its variables filled in, its services in the order of their start.

Only what that file uses is understood; what is not is an error, so that nobody believes something was
obeyed that was not. tests/observability compares the result with what compose-go makes of the file.
"""

import os
import re
from pathlib import Path

from .cache import ServicesError

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
FILE = FOLDER / "docker-compose.yml"
# ${NAME}, ${NAME:-default}, and $$ for a dollar.
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")
UNDERSTOOD = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "mem_limit", "ports",
    "read_only", "restart", "security_opt", "stop_grace_period", "volumes",
}  # fmt: skip


def variables():
    """Those of the environment, then those of deploy/.env, as compose takes them."""
    found = {}
    try:
        lines = (FOLDER / ".env").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found[name.strip()] = value.strip()
    return found | os.environ


def interpolate(value, given):
    """Fills variables into every string of a document."""
    if isinstance(value, dict):
        return {k: interpolate(v, given) for k, v in value.items()}
    if isinstance(value, list):
        return [interpolate(v, given) for v in value]
    if not isinstance(value, str):
        return value

    def fill(match):
        name, default = match["name"], match["default"]
        if name is None:
            return "$"
        return given.get(name) or default or ""

    return VARIABLE.sub(fill, value)


def names_and_defaults():
    """Every variable that the file asks for, with its default."""
    return {m["name"]: m["default"] for m in VARIABLE.finditer(FILE.read_text()) if m["name"]}


class Service:
    """One service of the file."""

    def __init__(self, name, body):
        unknown = body.keys() - UNDERSTOOD
        if unknown:
            raise ServicesError(f"{FILE}: service {name}: {', '.join(sorted(unknown))} cannot be obeyed without Docker")
        self.name = name
        image, _, self.version = body["image"].rpartition(":")
        self.image = image
        self.command = [str(part) for part in body.get("command", [])]
        self.environment = {k: str(v) for k, v in body.get("environment", {}).items()}
        self.depends_on = {k: v["condition"] for k, v in body.get("depends_on", {}).items()}
        self.healthcheck = [str(part) for part in body.get("healthcheck", {}).get("test", [])][1:]
        # Container port to port on this machine.
        self.ports = {int(inner): int(outer) for _, outer, inner in (p.split(":") for p in body.get("ports", []))}
        # Path in the container to a path beside the file, or to the name of a volume.
        self.volumes = {v.split(":")[1]: v.split(":")[0] for v in body.get("volumes", [])}


def services(given):
    """All services by name, each after those it depends on."""
    import yaml

    document = interpolate(yaml.safe_load(FILE.read_text()), given)
    waiting = {name: Service(name, body) for name, body in document["services"].items()}
    ordered = {}
    while waiting:
        ready = [name for name, service in waiting.items() if service.depends_on.keys() <= ordered.keys()]
        if not ready:
            raise ServicesError(f"{FILE}: {', '.join(waiting)} depend on each other")
        for name in ready:
            ordered[name] = waiting.pop(name)
    return ordered
