"""What Grafana's own published types say of a dashboard: fields that do not exist, values of a wrong type.

Its SDK for Python (Apache-2.0) reads a dashboard without a complaint about either: it passes over what it does
not know and keeps what it is given. So what was read is written again, and what has gone is no field; and each
value is held against the type that the SDK declares for it, choices from a list included. What is left out has a
default.
"""

import enum
import json
import types
import typing
import warnings

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
    # It would rather see the schema's second version; the first is what every Grafana reads.
    from grafana_foundation_sdk.cog import encoder, plugins, runtime
    from grafana_foundation_sdk.models import dashboard as sdk

plugins.register_default_plugins()


def complaints(dashboard):
    """Each with its place; none for a dashboard that is as it should be."""
    try:
        read = sdk.Dashboard.from_json(dashboard)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"it cannot be read: {error!r}"]
    kinds = {panel.type_val for panel in read.panels or []} - {"row"}
    no_panels = [f"there is no panel {kind!r}" for kind in kinds if not runtime.panelcfg_config(kind)]
    written = json.loads(encoder.JSONEncoder().encode(read))
    return [*no_panels, *unknown(dashboard, written), *mistyped(read, type(read))]


def unknown(given, written, place="dashboard"):
    """Fields that were given and are not there when the dashboard is written again."""
    containers = (dict, list)
    if isinstance(written, containers) and type(given) is not type(written):
        yield f"{place}: {given!r} is no {'object' if isinstance(written, dict) else 'list'}"
    elif isinstance(given, dict):
        for name, value in given.items():
            if name in written:
                yield from unknown(value, written[name], f"{place}.{name}")
            else:
                yield f"{place}.{name}: there is no such field"
    elif isinstance(given, list):
        for number, (one, other) in enumerate(zip(given, written, strict=True)):
            yield from unknown(one, other, f"{place}[{number}]")


def mistyped(value, declared, place="dashboard"):
    """Values that are not of the type declared for them."""
    if declared in (typing.Any, object):
        # A panel's own options and field settings: the SDK has chosen a class by the panel's type.
        declared = type(value)
    origin, parameters = typing.get_origin(declared), typing.get_args(declared)
    if origin in (typing.Union, types.UnionType):
        fitting = [list(mistyped(value, one, place)) for one in parameters if one is type(value)]
        tries = fitting or [list(mistyped(value, one, place)) for one in parameters]
        if all(tries):
            yield from tries[0]
    elif origin is typing.Literal:
        if value not in parameters:
            yield f"{place}: {value!r} is none of {', '.join(map(repr, parameters))}"
    elif origin is list and isinstance(value, list):
        for number, one in enumerate(value):
            yield from mistyped(one, parameters[0], f"{place}[{number}]")
    elif origin is dict and isinstance(value, dict):
        for name, one in value.items():
            yield from mistyped(one, parameters[1], f"{place}.{name}")
    elif isinstance(declared, type) and issubclass(declared, enum.Enum):
        choices = [one.value for one in declared]
        if isinstance(value, bool) or value not in choices:
            yield f"{place}: {value!r} is none of {', '.join(map(repr, choices))}"
    elif not is_a(value, origin or declared):
        yield f"{place}: {value!r} is no {getattr(declared, '__name__', declared)}"
    elif hasattr(value, "from_json"):
        for name, of_field in typing.get_type_hints(type(value)).items():
            yield from mistyped(getattr(value, name), of_field, f"{place}.{name}")


def is_a(value, declared):
    """JSON has one kind of number, and a truth is none."""
    if declared in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if declared is float else declared)
