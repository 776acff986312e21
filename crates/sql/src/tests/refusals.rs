//! What is refused, in which words and where.

use super::*;
use SqlCode::{EventTime, NotBuilt, NotRepeatable, Syntax, Type, Unbounded, UnknownName};

use crate::{QueryRef, SqlCode};

/// The problem of a query, and the piece of its text that it points at.
fn refusal(query: &str) -> (SqlCode, String, Option<String>) {
    let problems = plan(&pipeline(&[], vec![output(query)]))
        .err()
        .unwrap_or_default();
    let [problem] = problems.as_slice() else {
        return (Syntax, format!("not one problem: {problems:#?}"), None);
    };
    let at = problem.at.clone().map(|at| query[at].to_owned());
    (problem.code, problem.message.clone(), at)
}

/// A query, and the kind, a part of the message and the place of its one problem.
const REFUSALS: &[(&str, SqlCode, &str, &str)] = &[
    ("SELECT FROM", Syntax, "expected an expression", "FROM"),
    (
        "SELECT line FROM sensor_events WHERE",
        Syntax,
        "end of the query",
        "",
    ),
    (
        "SELECT line FROM sensor_event",
        UnknownName,
        "no source or view `sensor_event`",
        "sensor_event",
    ),
    (
        "SELECT lin FROM sensor_events",
        UnknownName,
        "no column `lin`",
        "lin",
    ),
    (
        "SELECT uper(status) AS x FROM sensor_events",
        UnknownName,
        "no function `uper`",
        "uper",
    ),
    (
        "SELECT line FROM sensor_events ORDER BY line",
        Unbounded,
        "ORDER BY",
        "ORDER BY",
    ),
    (
        "SELECT line FROM sensor_events LIMIT 3",
        Unbounded,
        "LIMIT",
        "LIMIT",
    ),
    (
        "SELECT DISTINCT line FROM sensor_events",
        Unbounded,
        "DISTINCT",
        "SELECT DISTINCT",
    ),
    (
        "SELECT count(*) AS n FROM sensor_events",
        Unbounded,
        "needs a window",
        "count",
    ),
    (
        "SELECT line, count(*) AS n FROM sensor_events GROUP BY line",
        Unbounded,
        "never completes",
        "GROUP BY",
    ),
    (
        "SELECT a.line FROM sensor_events a JOIN sensor_events b ON a.line = b.line",
        NotBuilt,
        "JOIN",
        "JOIN",
    ),
    (
        "SELECT line FROM sensor_events UNION ALL SELECT line FROM sensor_events",
        NotBuilt,
        "UNION",
        "UNION",
    ),
    (
        "SELECT sum(line) OVER (PARTITION BY device_id) AS x FROM sensor_events",
        NotBuilt,
        "OVER",
        "OVER",
    ),
    (
        "SELECT line FROM sensor_events WHERE line = (SELECT 1)",
        NotBuilt,
        "subquery",
        "SELECT 1",
    ),
    (
        "SELECT count(*) AS n FROM sensor_events GROUP BY window(ts, '10 minutes', '1 minute')",
        NotBuilt,
        "sliding",
        "'1 minute'",
    ),
    (
        "SELECT count(*) AS n FROM sensor_events GROUP BY session_window(ts, '5 minutes')",
        NotBuilt,
        "session_window",
        "session_window",
    ),
    (
        "SELECT count(*) AS n FROM sensor_events GROUP BY window(ts, '1 month')",
        Type,
        "no fixed length",
        "'1 month'",
    ),
    (
        "SELECT count(*) AS n FROM sensor_events GROUP BY window(ts, 'soon')",
        Type,
        "not a window size",
        "'soon'",
    ),
    (
        "SELECT count(*) AS n FROM sensor_events GROUP BY window(seen, '1 minute')",
        EventTime,
        "`seen` has no watermark",
        "window",
    ),
    (
        "SELECT count(*) AS n FROM sensor_events GROUP BY window(ts + INTERVAL 1 HOUR, '1 minute')",
        EventTime,
        "unchanged",
        "window",
    ),
    (
        "SELECT now() AS x FROM sensor_events",
        NotRepeatable,
        "now()",
        "now",
    ),
    (
        "SELECT current_date AS x FROM sensor_events",
        NotRepeatable,
        "current_date()",
        "current_date",
    ),
    (
        "SELECT rand() AS x FROM sensor_events",
        NotRepeatable,
        "rand()",
        "rand",
    ),
    (
        "SELECT first(line) AS x FROM sensor_events GROUP BY window(ts, '1 minute')",
        NotRepeatable,
        "order in which rows arrive",
        "first",
    ),
    (
        "SELECT line FROM sensor_events GROUP BY window(ts, '1 minute')",
        Type,
        "line",
        "line",
    ),
    (
        "SELECT window.begin AS x FROM sensor_events GROUP BY window(ts, '1 minute')",
        UnknownName,
        "no field `begin`",
        "begin",
    ),
    (
        "SELECT amount / amount AS x FROM sensor_events",
        Type,
        "cast one side to DOUBLE",
        "",
    ),
    (
        "SELECT date_format(ts, 'QQ') AS x FROM sensor_events",
        Type,
        "pattern letter `Q`",
        "date_format",
    ),
    (
        "SELECT ts - seen AS x FROM sensor_events",
        Type,
        "INTERVAL",
        "x",
    ),
    (
        "SELECT line AS x, status AS X FROM sensor_events",
        Type,
        "two columns",
        "X",
    ),
    (
        "SELECT line FROM sensor_events WHERE count(*) > 1",
        Type,
        "WHERE",
        "count",
    ),
];

#[test]
fn each_refusal_has_its_reason_and_its_place() {
    let mut wrong = Vec::new();
    for (query, code, message, at) in REFUSALS {
        let (found_code, found_message, found_at) = refusal(query);
        let right = found_message.contains(message)
            && found_code == *code
            && found_at.as_deref().unwrap_or_default() == *at;
        if !right {
            wrong.push(format!(
                "{query}: {found_code:?} {found_at:?} {found_message}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_problem_of_every_query_is_reported_at_once() {
    let views = [
        ("v", "SELECT lin, statu FROM sensor_events"),
        ("w", "SELECT * FROM v"),
    ];
    let out = parquet("SELECT line FROM sensor_events LIMIT 1", &[("d", "line")]);
    let second = parquet(
        "SELECT ts FROM sensor_events",
        &[("d", "date_format(tz, 'yyyy')")],
    );
    let Err(problems) = plan(&pipeline(&views, vec![out, second])) else {
        panic!("planned")
    };
    let shown: Vec<String> = problems
        .iter()
        .map(|p| format!("{p}; {}", p.help.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        shown,
        [
            "view `v`: there is no column `lin`; did you mean `line`?",
            "view `v`: there is no column `statu`; did you mean `status`?",
            "output `out`: LIMIT is refused: which rows come first hangs on the order of arrival; ",
            "partition column `d` of output `out`: there is no column `tz`; did you mean `ts`?",
        ]
    );
}

#[test]
fn views_that_read_each_other_are_refused() {
    let views = [("a", "SELECT * FROM b"), ("b", "SELECT * FROM a")];
    let problems = refused(&views, output("SELECT * FROM a"));
    let of: Vec<&QueryRef> = problems.iter().map(|p| &p.query).collect();
    assert_eq!(
        of,
        [&QueryRef::View("a".into()), &QueryRef::View("b".into())]
    );
    assert_eq!(problems[0].message, "the view reads itself: a -> b -> a");
    assert_eq!(problems[0].at, Some(14..15));
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow() {
    let query = format!(
        "SELECT {}1{} AS x FROM sensor_events",
        "(".repeat(5_000),
        ")".repeat(5_000)
    );
    let problems = refused(&[], output(&query));
    assert_eq!(problems[0].code, Syntax);
}

#[test]
fn places_count_bytes_where_the_text_is_not_ascii() {
    let query = "SELECT 'größe' AS x,\n  'ß' AS y, lin FROM sensor_events";
    let problems = refused(&[], output(query));
    assert_eq!(problems[0].at.clone().map(|at| &query[at]), Some("lin"));
}

#[test]
fn lambdas_are_refused_wherever_they_stand() {
    for expr in [
        "transform(array(1), x -> x)",
        "transform(array(array(1)), x -> transform(x, y -> y))",
        "(SELECT transform(array(1), x -> x))",
    ] {
        let query = format!("SELECT {expr} AS x FROM sensor_events");
        let problems = refused(&[], output(&query));
        assert!(problems.iter().any(|p| p.code == NotBuilt), "{problems:#?}");
    }
}
