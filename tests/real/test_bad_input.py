"""Input that no one would send on purpose: nothing stops, all is counted, what is bad is kept."""

import json
import random

from model import micros
from scale import SEED

MEGABYTE = 1024 * 1024
HUGE = 10 * MEGABYTE
# More than any message here, with its key and headers.
TOPIC_LIMIT = 24 * MEGABYTE


def event(ts="2025-08-17T12:00:30Z", device="MTR-00001", **fields):
    return json.dumps({"device_id": device, "ts": ts, "temperature_c": 20.0, "vibration_g": 0.1} | fields).encode()


def nested(levels):
    return event()[:-1] + b',"extra":' + b"[" * levels + b"]" * levels + b"}"


def odd_values():
    """(value, may be read or refused)"""
    generator = random.Random(SEED)
    for _ in range(2_000):
        yield generator.randbytes(generator.randrange(0, 300)), False
    for value in (None, b"", b"{}", b"[]", b"null", b"true", b"7", b'"text"', b"{", b"}", b"\x00", b"\xef\xbb\xbf", b" "):
        yield value, False
    yield event()[:-1], False
    yield event() + b"x", False
    yield event().replace(b"MTR", b"\xff\xfe"), False
    yield event(ts="yesterday"), False
    yield event(ts=None), False
    yield event(ts=""), False
    yield event(ts="2025-02-30T00:00:00Z"), False
    yield event(ts="2025-08-17T25:00:00Z"), False
    yield event(device=None), False
    yield event(device=7), False
    yield event(temperature_c="hot"), False
    yield event(vibration_g=True), False
    yield event(temperature_c=[1]), False
    # Good, if unusual.
    yield event(temperature_c=None, vibration_g=None), False
    yield event(device=""), False
    yield event(device="\u00e4\u4e2d\U0001f600\u0000\"\\/\n"), False
    yield event(site="x" * 100_000), False
    yield event(temperature_c=1e308, vibration_g=-1e-308), False
    yield event(extra={"a": [1, {"b": None}]}), False
    yield b" \n\t" + event() + b" \r\n", False
    # Nesting is bounded; where the bound is between these is the decoder's choice.
    yield nested(20), False
    yield nested(1_000), True
    yield nested(20_000), False
    yield b"[" * 20_000, False
    # Calendars end here.
    for ts in ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.001Z", "9999-12-31T23:59:59.999Z", "9999-01-01T00:00:00Z"):
        yield event(ts=ts), False
        yield event(ts=ts, temperature_c=99.0), False


def huge_values():
    yield b"x" * HUGE
    yield random.Random(SEED).randbytes(HUGE)
    yield event()[:-1] + b',"extra":"' + b"x" * HUGE + b'"}'
    yield event()[:-2] + b',"extra":"' + b"x" * HUGE
    yield b'{"device_id":"' + b"d" * HUGE


def records(values, partitions=3):
    for index, value in enumerate(values):
        key = None if index % 7 == 0 else f"key-{index}".encode()
        yield key, value, index % partitions


def read_back(job, values, undecided):
    job.topics.write(job.source, records(values))
    report = job.run_until_caught_up()
    model = job.verify(report, undecided)
    assert model.read == len(values)
    return model, report


def test_random_bytes_nulls_nesting_and_the_ends_of_the_calendar(make_job, one_store):
    job = make_job(one_store)
    job.create_topics()
    odd = list(odd_values())
    random.Random(SEED).shuffle(odd)

    model, report = read_back(job, [value for value, _ in odd], frozenset(value for value, either in odd if either))

    ledger = report["sources"]["sensor_events"]["ledger"]
    assert ledger["future"] == 4, "event times beyond max_future are counted"
    years = {start for _, start in model.windows} | {row.start for row in model.late.values()}
    assert {micros("0001-01-01T00:00:00Z"), micros("9999-12-31T23:59:00Z")} <= years


def test_an_event_time_in_the_year_9999_makes_nothing_late(make_job, one_store):
    job = make_job(one_store)
    job.create_topics()
    # In order on every partition, whichever of them is read first.
    now = [event(ts=f"2025-08-17T12:00:{second:02}Z") for second in range(0, 60, 2) for _ in range(3)]
    values = [event(ts="9999-12-31T23:59:59Z")] * 3 + now

    model, _ = read_back(job, values, frozenset())

    assert not model.late


def test_messages_of_ten_megabytes_are_read_and_kept_whole(make_job, topics, one_store):
    job = make_job(one_store)
    topics.create(job.source, 3, max_message_bytes=TOPIC_LIMIT)
    topics.create(job.dead, 3, max_message_bytes=TOPIC_LIMIT)
    job.create_topics()
    values = [*huge_values(), *(event(ts=f"2025-08-17T12:00:{second:02}Z") for second in range(60))]

    model, _ = read_back(job, values, frozenset())

    assert model.bad == 4


def test_a_dead_letter_topic_that_takes_one_megabyte_does_not_stop_the_stream(make_job, topics, one_store):
    job = make_job(one_store)
    topics.create(job.source, 3, max_message_bytes=TOPIC_LIMIT)
    job.create_topics()

    model, _ = read_back(job, [*huge_values(), event()], frozenset())

    assert model.bad == 4
