"""The checks themselves: right results pass, and each planted mistake is found."""

import json

import pytest
from checks import check_alerts, check_dead_letters, check_late_output, check_report, check_windows
from model import MINUTE, SECOND, Alert, LateRow, Model, Record, Window, micros

BASE = micros("2025-08-17T12:00:00Z")
TOPIC = "sensor_events"


def event(offset, device, second, temperature=20.0, vibration=0.1, partition=0):
    minutes, seconds = divmod(second, 60)
    value = {
        "device_id": device,
        "ts": f"2025-08-17T12:{minutes:02}:{seconds:02}.000Z",
        "temperature_c": temperature,
        "vibration_g": vibration,
        "status": "OK",
        "site": "fab1",
        "line": "L01",
    }
    return Record(partition, offset, 1000 + offset, device.encode(), json.dumps(value).encode(), None)


def bad(offset, value=b"{not json"):
    return Record(0, offset, 1000 + offset, b"MTR-1", value, None)


def late_row(offset, second, partition=0, **other):
    start = BASE + second // 60 * MINUTE
    row = LateRow(
        "curated", start, start + MINUTE, BASE + second * SECOND, TOPIC, partition, offset, 1000 + offset, "{}"
    )
    return row._replace(**other)


RECORDS = [
    event(0, "A", 1, 20.0),
    event(1, "A", 2, 30.0, 0.9),
    event(2, "B", 61, None, 0.3),
    event(3, "A", 75, 90.0),
    bad(4),
    event(5, "A", 59, 25.0),  # late: the newest event time is 12:01:15, minus the delay 12:01:05
    event(6, "A", 62, None, None),  # filtered
    bad(7, None),
    event(8, "A", 1, 86.0, partition=1),
]
RECORDS[-1] = RECORDS[-1]._replace(offset=0, timestamp_ms=1000)
WINDOWS = [
    Window("A", BASE, BASE + MINUTE, 3, (20.0 + 30.0 + 86.0) / 3, 0.9),
    Window("A", BASE + MINUTE, BASE + 2 * MINUTE, 1, 90.0, 0.1),
    Window("B", BASE + MINUTE, BASE + 2 * MINUTE, 1, None, 0.3),
]
ALERTS = [
    Alert("A", BASE + 2 * SECOND, 30.0, 0.9, "fab1", "L01"),
    Alert("A", BASE + 75 * SECOND, 90.0, 0.1, "fab1", "L01"),
    Alert("A", BASE + 1 * SECOND, 86.0, 0.1, "fab1", "L01"),
]
REPORT = {
    "sources": {
        "sensor_events": {
            "ledger": {
                "read": 9,
                "bad": 2,
                "null_time": 0,
                "future": 0,
                "outputs": {
                    "curated": {"taken": 5, "filtered": 1, "late": 1},
                    "alerts": {"taken": 3, "filtered": 4, "late": 0},
                },
            },
            "partitions": {"0": {"next_offset": 8}, "1": {"next_offset": 1}},
        }
    }
}


def dead_letter(record, **headers):
    values = {
        "topic": TOPIC,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "reason": "not JSON",
    } | headers
    return record._replace(headers=[(f"floodmark.{k}", str(v).encode()) for k, v in values.items()])


DEAD = [dead_letter(RECORDS[4]), dead_letter(RECORDS[7])]


def model_of(records=RECORDS, late=None, **options):
    late = [late_row(5, 59)] if late is None else late
    model = Model(late={(row.partition, row.offset): row for row in late}, **options)
    for record in records:
        model.feed(record)
    return model.finish()


@pytest.fixture(scope="module")
def model():
    return model_of()


def test_right_results_pass(model):
    assert not model.problems
    assert not check_windows(model, WINDOWS)
    assert not check_alerts(model, ALERTS)
    assert not check_dead_letters(model, DEAD, TOPIC)
    assert not check_late_output([late_row(5, 59)], TOPIC)
    assert not check_report(model, REPORT)


@pytest.mark.parametrize(
    ("rows", "finding"),
    [
        ([*WINDOWS, WINDOWS[0]], "twice"),
        (WINDOWS[1:], "is missing"),
        ([*WINDOWS, WINDOWS[0]._replace(device_id="C")], "should not exist"),
        ([WINDOWS[0]._replace(avg=WINDOWS[0].avg * (1 + 1e-8)), *WINDOWS[1:]], "average"),
        ([WINDOWS[0]._replace(avg=None), *WINDOWS[1:]], "average"),
        ([*WINDOWS[:2], WINDOWS[2]._replace(avg=0.0)], "average"),
        ([WINDOWS[0]._replace(max=0.8999999999), *WINDOWS[1:]], "maximum"),
        ([WINDOWS[0]._replace(events=2), *WINDOWS[1:]], "events"),
        ([WINDOWS[0]._replace(end=BASE + 2 * MINUTE), *WINDOWS[1:]], "ends at"),
    ],
)
def test_a_wrong_window_is_found(model, rows, finding):
    problems = check_windows(model, rows)
    assert len(problems) == 1
    assert finding in problems[0]


@pytest.mark.parametrize(
    ("alerts", "finding"),
    [
        ([*ALERTS, ALERTS[0]], "too often"),
        ([*ALERTS, ALERTS[0]._replace(device_id="C")], "too often"),
        (ALERTS[1:], "missing"),
    ],
)
def test_a_wrong_alert_is_found(model, alerts, finding):
    problems = check_alerts(model, alerts)
    assert len(problems) == 1
    assert finding in problems[0]


@pytest.mark.parametrize(
    ("records", "finding"),
    [
        ([*DEAD, DEAD[0]], "twice"),
        (DEAD[:1], "no dead letter"),
        ([*DEAD, dead_letter(RECORDS[0])], "not bad"),
        ([DEAD[0]._replace(value=b"{not jso"), DEAD[1]], "bytes"),
        ([DEAD[0], DEAD[1]._replace(value=b"")], "bytes"),
        ([DEAD[0]._replace(key=None), DEAD[1]], "key"),
        ([dead_letter(RECORDS[4], topic="other"), DEAD[1]], "topic"),
        ([dead_letter(RECORDS[4], timestamp=1), DEAD[1]], "timestamp"),
        ([dead_letter(RECORDS[4], reason=""), DEAD[1]], "reason"),
        ([dead_letter(RECORDS[4], truncated_from=9), DEAD[1]], "beginning"),
    ],
)
def test_a_wrong_dead_letter_is_found(model, records, finding):
    problems = check_dead_letters(model, records, TOPIC)
    assert len(problems) == 1
    assert finding in problems[0]


def test_a_dead_letter_that_says_it_was_cut_may_be_shorter(model):
    cut = dead_letter(RECORDS[4], truncated_from=len(RECORDS[4].value))._replace(value=b"{not")
    assert not check_dead_letters(model, [cut, DEAD[1]], TOPIC)


@pytest.mark.parametrize(
    ("late", "finding"),
    [
        # The newest event time before offset 3 is 12:01:01: with the delay, no window has ended.
        ([late_row(1, 2)], "was not late"),
        # The other partition never got beyond the window of its only row.
        ([late_row(5, 59), late_row(0, 1, partition=1)], "was not late"),
        ([late_row(5, 59), late_row(4, 1)], "its record is bad"),
        ([late_row(5, 59), late_row(6, 62)], "filtered out"),
        ([late_row(5, 59), late_row(99, 1)], "does not have"),
        ([late_row(5, 59, event_time=BASE)], "another window or event time"),
        ([late_row(5, 59, timestamp_ms=1)], "timestamp"),
    ],
)
def test_a_row_that_is_called_late_wrongly_is_found(late, finding):
    problems = model_of(late=late).problems
    assert len(problems) == 1
    assert finding in problems[0]


def test_a_future_event_time_makes_nothing_late():
    far = event(1, "A", 3000)
    records = [event(0, "A", 1), far, event(2, "A", 2)]
    assert not model_of(records, [late_row(2, 2)]).problems
    problems = model_of(records, [late_row(2, 2)], future_from=BASE + 600 * SECOND).problems
    assert "was not late" in problems[0]


def test_a_late_row_twice_or_of_another_topic_is_found():
    row = late_row(5, 59)
    assert "2 times" in check_late_output([row, row], TOPIC)[0]
    assert "topic" in check_late_output([row._replace(topic="x")], TOPIC)[0]
    assert "output" in check_late_output([row._replace(output="x")], TOPIC)[0]


@pytest.mark.parametrize(
    ("path", "finding"),
    [
        (("read",), "read"),
        (("bad",), "bad"),
        (("outputs", "curated", "taken"), "curated"),
        (("outputs", "curated", "late"), "curated"),
        (("outputs", "alerts", "filtered"), "alerts"),
    ],
)
def test_an_unbalanced_ledger_is_found(model, path, finding):
    report = json.loads(json.dumps(REPORT))
    place = report["sources"]["sensor_events"]["ledger"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] += 1
    assert any(finding in problem for problem in check_report(model, report))
    report = json.loads(json.dumps(REPORT))
    report["sources"]["sensor_events"]["partitions"]["0"]["next_offset"] = 7
    assert "next offset" in check_report(model, report)[0]


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (b'{"device_id":"A","ts":"2025-08-17T12:00:00.5+02:00"}', True),
        (b'{"device_id":"A","ts":"0001-01-01T00:00:00Z","temperature_c":1}', True),
        (b'{"device_id":"A","ts":"9999-12-31T23:59:59.999Z","temperature_c":1}', True),
        (b"{}", False),
        (b"[]", False),
        (b"", False),
        (b'{"device_id":null,"ts":"2025-08-17T12:00:00Z"}', False),
        (b'{"device_id":"A","ts":"yesterday"}', False),
        (b'{"device_id":"A","ts":"2025-08-17T12:00:00Z","temperature_c":"hot"}', False),
        (b'{"device_id":"A","ts":"2025-08-17T12:00:00Z","status":7}', True),
        (b'{"device_id":"A","ts":"2025-08-17T12:00:00Z"', False),
    ],
)
def test_a_record_is_good_or_bad_by_the_schema(value, good):
    model = model_of([Record(0, 0, 0, None, value, None)], [])
    assert model.bad == (not good)
