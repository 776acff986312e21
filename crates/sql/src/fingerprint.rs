//! What the state of a windowed query hangs on, as text that can be compared and shown.

use std::fmt::Write as _;

use super::lower::Program;
use super::step::Step;
use super::types::sql_name;

/// A description of everything that gives the state of open windows its meaning. State written
/// under one description can be continued only under the same one.
pub(super) fn fingerprint(source: &str, program: &Program) -> String {
    let mut out = format!("source {source}\n");
    let Some(window) = &program.window else {
        out.push_str("stateless\n");
        return out;
    };
    for index in &program.columns {
        let field = program.stream.schema.field(*index);
        line(
            &mut out,
            "column",
            &format!("{} {}", field.name(), sql_name(field.data_type())),
        );
    }
    for step in &program.before {
        match step {
            Step::Filter { predicate, .. } => line(&mut out, "where", &predicate.to_string()),
            Step::Project { exprs, .. } => {
                let exprs: Vec<String> = exprs.iter().map(ToString::to_string).collect();
                line(&mut out, "select", &exprs.join(", "));
            }
        }
    }
    let size = format!("{} us of {}", window.size.micros(), window.event_time);
    line(&mut out, "window", &size);
    for (expr, field) in &window.keys {
        line(
            &mut out,
            "key",
            &format!("{expr} {}", sql_name(field.data_type())),
        );
    }
    for aggregate in &window.aggregates {
        let function = &aggregate.function;
        let args: Vec<String> = function
            .expressions()
            .iter()
            .map(ToString::to_string)
            .collect();
        let distinct = if function.is_distinct() {
            "distinct "
        } else {
            ""
        };
        let mut text = format!("{}({distinct}{})", function.fun().name(), args.join(", "));
        if let Some(filter) = &aggregate.filter {
            // Writing to a String cannot fail.
            let _ = write!(text, " where {filter}");
        }
        let state = aggregate.state_fields().unwrap_or_default();
        let types: Vec<String> = state.iter().map(|f| f.data_type().to_string()).collect();
        line(
            &mut out,
            "aggregate",
            &format!("{text} as {}", types.join(", ")),
        );
    }
    out
}

fn line(out: &mut String, what: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{what} {value}");
}
