"""Compares what readers see with what the model expects. Each check returns its findings as text;
none means equal."""

import collections

MOST_SHOWN = 10
AVG_TOLERANCE = 1e-9


def shown(problems):
    """The first findings and how many there were."""
    problems = list(problems)
    rest = len(problems) - MOST_SHOWN
    return problems[:MOST_SHOWN] + ([f"… and {rest} more"] if rest > 0 else [])


def same_avg(actual, expected):
    if actual is None or expected is None:
        return actual is expected
    return abs(actual - expected) <= AVG_TOLERANCE * max(abs(actual), abs(expected))


def check_windows(model, rows):
    """Every device and window once, with the same count, average and maximum."""
    problems, seen = [], set()
    for row in rows:
        name = (row.device_id, row.start)
        if name in seen:
            problems.append(f"window {name} twice")
            continue
        seen.add(name)
        expected = model.windows.get(name)
        if expected is None:
            problems.append(f"window {name} should not exist")
            continue
        if row.end != row.start + model.window:
            problems.append(f"window {name} ends at {row.end}")
        if row.events != expected.events:
            problems.append(f"window {name} has {row.events} events, not {expected.events}")
        if not same_avg(row.avg, expected.avg):
            problems.append(f"window {name} has average {row.avg}, not {expected.avg}")
        if row.max != expected.max:
            problems.append(f"window {name} has maximum {row.max}, not {expected.max}")
    problems += [f"window {name} is missing" for name in model.windows if name not in seen]
    return shown(problems)


def check_alerts(model, alerts):
    """The same rows, each as often."""
    actual = collections.Counter(alerts)
    problems = [f"alert {n} times too often: {alert}" for alert, n in (actual - model.alerts).items()]
    problems += [f"alert missing {n} times: {alert}" for alert, n in (model.alerts - actual).items()]
    return shown(problems)


def header(record, name):
    values = [value for key, value in record.headers if key == name]
    if len(values) != 1:
        raise ValueError(f"dead letter has {len(values)} headers `{name}`: {record.headers}")
    return values[0].decode()


def origin(record):
    """Where a dead letter came from: (partition, offset)."""
    return int(header(record, "floodmark.partition")), int(header(record, "floodmark.offset"))


def check_dead_letters(model, records, topic):
    """Each bad record once, with its key, its bytes, its place and a reason."""
    problems, seen = [], set()
    for record in records:
        place = origin(record)
        if place in seen:
            problems.append(f"dead letter of {place} twice")
            continue
        seen.add(place)
        bad = model.dead.get(place)
        if bad is None:
            problems.append(f"dead letter of {place}, which is not bad")
            continue
        problems += [f"dead letter of {place}: {text}" for text in differences(record, bad, topic)]
    problems += [f"no dead letter of {place}: {str(model.dead[place].value)[:80]}" for place in model.dead.keys() - seen]
    return shown(problems)


def differences(record, bad, topic):
    """What a dead letter says wrongly about the bad record behind it."""
    cut = [value for key, value in record.headers if key == "floodmark.truncated_from"]
    if cut:
        if int(cut[0]) != len(bad.value):
            yield f"says it was cut from {cut[0].decode()} bytes, not {len(bad.value)}"
        if not record.value or not bad.value.startswith(record.value) or len(record.value) == len(bad.value):
            yield "is not the beginning of the record that it was cut from"
    elif record.value != bad.value:
        yield f"its bytes are {str(record.value)[:80]}, not {str(bad.value)[:80]}"
    if record.key != bad.key:
        yield f"its key is {record.key}, not {bad.key}"
    if header(record, "floodmark.topic") != topic:
        yield f"says topic {header(record, 'floodmark.topic')}"
    if int(header(record, "floodmark.timestamp")) != bad.timestamp_ms:
        yield f"says timestamp {header(record, 'floodmark.timestamp')}, not {bad.timestamp_ms}"
    if not header(record, "floodmark.reason").strip():
        yield "gives no reason"


def check_late_output(rows, topic, output="curated"):
    """Each late row once, of the source's topic."""
    places = collections.Counter((row.partition, row.offset) for row in rows)
    problems = [f"late row at {place} {n} times" for place, n in places.items() if n > 1]
    problems += [f"late row of topic {row.topic}" for row in rows if row.topic != topic]
    problems += [f"late row of output {row.output}" for row in rows if row.output != output]
    return shown(problems)


def check_report(model, report, source="sensor_events"):
    """The ledger balances for every output and says what the topic says."""
    ledger = report["sources"][source]["ledger"]
    problems = []

    def expect(what, actual, wanted):
        if actual != wanted:
            problems.append(f"report: {what} is {actual}, not {wanted}")

    expect("read", ledger["read"], model.read)
    expect("bad", ledger["bad"], model.bad)
    expect("null_time", ledger["null_time"], model.null_time)
    for name, output in ledger["outputs"].items():
        total = output["taken"] + output["filtered"] + output["late"] + ledger["bad"] + ledger["null_time"]
        expect(f"the sum of {name}'s ledger", total, ledger["read"])
    curated, alerts = ledger["outputs"]["curated"], ledger["outputs"]["alerts"]
    expect("curated taken", curated["taken"], sum(w.events for w in model.windows.values()))
    expect("curated filtered", curated["filtered"], model.filtered)
    expect("curated late", curated["late"], len(model.late))
    expect("alerts taken", alerts["taken"], model.alerts.total())
    expect("alerts filtered", alerts["filtered"], model.alerts_filtered)
    expect("alerts late", alerts["late"], 0)
    partitions = report["sources"][source]["partitions"]
    for partition, offset in model.next_offset.items():
        expect(f"next offset of partition {partition}", partitions[str(partition)]["next_offset"], offset)
    return problems
