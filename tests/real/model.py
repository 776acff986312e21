"""What the sensors pipeline must make of a topic, computed without Floodmark.

A `Model` is fed every record of the source topic in offset order per partition and the rows that
the late output claims. It decodes each record by itself, puts it where the pipeline file says it
belongs (a window, an alert, the dead letters, nowhere), and notes every claim that the topic
contradicts. What comes out is compared with what a reader sees by `checks.py`.

Instants are whole microseconds since 1970-01-01T00:00:00Z throughout: exact, and able to hold the
years 1 and 9999, which Python's own `datetime` arithmetic is not at its edges.
"""

import collections
import dataclasses
import datetime

import orjson

SECOND = 1_000_000
MINUTE = 60 * SECOND
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)

Record = collections.namedtuple("Record", "partition offset timestamp_ms key value headers")
Window = collections.namedtuple("Window", "device_id start end events avg max")
LateRow = collections.namedtuple("LateRow", "output start end event_time topic partition offset timestamp_ms row")
Alert = collections.namedtuple("Alert", "device_id ts temperature_c vibration_g site line")


class Bad(Exception):
    """A record that no schema-abiding reader can take."""


def micros(text):
    """An RFC 3339 timestamp as microseconds since the epoch."""
    if len(text) < 20 or text[10] not in "Tt ":
        raise Bad(f"not a timestamp: {text!r}")
    try:
        instant = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise Bad(str(error)) from None
    if instant.tzinfo is None:
        raise Bad(f"a timestamp without offset: {text!r}")
    return (instant - EPOCH) // MICROSECOND


def number(event, name):
    value = event.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Bad(f"{name} is not a number")
    return float(value)


def string(event, name):
    """A STRING: as on Spark, a number stands for its own text (only whole ones are modelled)."""
    value = event.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise Bad(f"{name} is not modelled: {value!r}")
    return value


def decode(value):
    """The event in a record's value by the schema of sensors.toml: an `Alert` tuple, status checked."""
    if value is None:
        raise Bad("null value")
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Bad(str(error)) from None
    if not isinstance(event, dict):
        raise Bad("not an object")
    string(event, "status")
    device, site, line = string(event, "device_id"), string(event, "site"), string(event, "line")
    temperature, vibration = number(event, "temperature_c"), number(event, "vibration_g")
    if device is None:
        raise Bad("device_id is null")
    ts = event.get("ts")
    if not isinstance(ts, str):
        raise Bad("ts is null or not text")
    return Alert(device, micros(ts), temperature, vibration, site, line)


class Aggregate:
    """count(*), avg(temperature_c) and max(vibration_g) of one window."""

    __slots__ = ("events", "sum", "values", "max")

    def __init__(self):
        self.events, self.sum, self.values, self.max = 0, 0.0, 0, None

    def add(self, temperature, vibration):
        self.events += 1
        if temperature is not None:
            self.sum += temperature
            self.values += 1
        if vibration is not None and (self.max is None or vibration > self.max):
            self.max = vibration

    @property
    def avg(self):
        return self.sum / self.values if self.values else None


@dataclasses.dataclass
class Model:
    """Expected results. `undecided` holds values that may be read or refused (nesting at the limit):
    for those the dead letters decide, given as `refused`, a set of (partition, offset)."""

    late: dict
    window: int = MINUTE
    delay: int = 10 * SECOND
    # Event times beyond this instant cannot have moved the watermark.
    future_from: int = 2**63
    undecided: frozenset = frozenset()
    refused: frozenset = frozenset()

    read: int = 0
    bad: int = 0
    # `ts` is NOT NULL in sensors.toml: a record without it is bad.
    null_time: int = 0
    filtered: int = 0
    alerts_filtered: int = 0
    windows: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(Aggregate))
    alerts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    dead: dict = dataclasses.field(default_factory=dict)
    problems: list = dataclasses.field(default_factory=list)
    newest: dict = dataclasses.field(default_factory=dict)
    late_seen: int = 0
    next_offset: dict = dataclasses.field(default_factory=dict)

    def feed(self, record):
        self.read += 1
        place = (record.partition, record.offset)
        self.next_offset[record.partition] = record.offset + 1
        try:
            if record.value in self.undecided and place in self.refused:
                raise Bad("refused, as it may be")
            event = decode(record.value)
        except Bad as error:
            self.bad += 1
            self.dead[place] = record
            if place in self.late:
                self.problems.append(f"late row at {place}: its record is bad ({error})")
            return
        temperature, vibration = event.temperature_c, event.vibration_g
        if (temperature is not None and temperature > 85) or (vibration is not None and vibration > 0.5):
            self.alerts[event] += 1
        else:
            self.alerts_filtered += 1
        late = self.late.get(place)
        if temperature is None and vibration is None:
            self.filtered += 1
            if late:
                self.problems.append(f"late row at {place}: its record is filtered out")
        elif late:
            self.late_seen += 1
            self.check_late(record, event, late)
        else:
            start = event.ts // self.window * self.window
            self.windows[event.device_id, start].add(temperature, vibration)
        if event.ts <= self.future_from:
            self.newest[record.partition] = max(self.newest.get(record.partition, event.ts), event.ts)

    def check_late(self, record, event, late):
        """A row is rightly late only if its window had ended by its own partition's watermark: the
        watermark of all partitions is never ahead of that of a partition which is delivering."""
        place = (record.partition, record.offset)
        start = event.ts // self.window * self.window
        if (late.start, late.end, late.event_time) != (start, start + self.window, event.ts):
            self.problems.append(f"late row at {place} states another window or event time: {late}")
        if late.timestamp_ms != record.timestamp_ms:
            self.problems.append(f"late row at {place} states timestamp {late.timestamp_ms}, not {record.timestamp_ms}")
        newest = self.newest.get(record.partition)
        if newest is None or newest - self.delay < start + self.window:
            self.problems.append(
                f"late row at {place} was not late: its window ends at {start + self.window}, "
                f"the newest event time before it is {newest} with a delay of {self.delay}"
            )

    def finish(self):
        """Late rows without a record behind them."""
        if self.late_seen != len(self.late) and not self.problems:
            missing = len(self.late) - self.late_seen
            self.problems.append(f"{missing} late rows name offsets that the topic does not have")
        return self
