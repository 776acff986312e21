//! The names in one expression: columns and functions that exist and may be used.

use datafusion_sql::sqlparser::ast::{Expr, Function, Ident, Spanned};
use datafusion_sql::sqlparser::keywords::Keyword;

use super::{Checker, Scope};
use crate::functions::{FUNCTIONS, Known, window};
use crate::problem::{SqlCode, did_you_mean};
use crate::rewrite::{arguments, function_name};
use crate::walk::Node;

impl Checker<'_, '_> {
    fn function(&mut self, call: &Function) {
        let at = self.text.range(call.name.span());
        let Some(name) = function_name(call) else {
            let message = format!("there is no function `{}`", call.name);
            self.problems.add(SqlCode::UnknownName, at, message);
            return;
        };
        if call.over.is_some() {
            self.not_built(self.text.keywords(&[Keyword::OVER]).or(at.clone()), "OVER");
            return;
        }
        match name.as_str() {
            window::NAME => return,
            "session_window" => return self.not_built(at, "session_window()"),
            "window_time" => return self.not_built(at, "window_time()"),
            "regexp_replace" if arguments(call).len() != 3 => {
                return self.not_built(at, "regexp_replace() with a position");
            }
            "approx_percentile" | "percentile_approx" if arguments(call).len() > 2 => {
                let what = format!("the accuracy of {name}()");
                return self.not_built(self.text.range(arguments(call)[2].span()), &what);
            }
            _ => {}
        }
        match FUNCTIONS.known(&name) {
            Known::Scalar | Known::Aggregate => {}
            Known::NotRepeatable => self.problems.add(
                SqlCode::NotRepeatable,
                at,
                format!("{name}() is refused: rows are evaluated again after a restart, so a result must depend on the row alone"),
            ),
            Known::OrderDependent => self.problems.add_with_help(
                SqlCode::NotRepeatable,
                at,
                format!("{name}() is refused: its result depends on the order in which rows arrive"),
                "min(), max() and count() do not",
            ),
            Known::Unknown => {
                let message = format!("there is no function `{name}`");
                match did_you_mean(&name, FUNCTIONS.names()) {
                    Some(help) => self.problems.add_with_help(SqlCode::UnknownName, at, message, help),
                    None => self.problems.add(SqlCode::UnknownName, at, message),
                }
            }
        }
    }

    fn column(&mut self, ident: &Ident, scope: &Scope) {
        let Some(columns) = &scope.input.columns else {
            return;
        };
        let name = ident.value.to_ascii_lowercase();
        let known = columns.contains(&name)
            || scope.aliases.contains(&name)
            || (scope.window && name == window::NAME);
        if known {
            return;
        }
        let at = self.text.range(ident.span);
        let message = format!("there is no column `{}`", ident.value);
        let spelled = |name: &String| scope.input.spelling.get(name).unwrap_or(name).clone();
        let names: Vec<String> = columns
            .iter()
            .map(spelled)
            .chain(scope.aliases.clone())
            .collect();
        let help = did_you_mean(&name, names.iter().map(String::as_str))
            .unwrap_or_else(|| format!("there are {}", names.join(", ")));
        self.problems
            .add_with_help(SqlCode::UnknownName, at, message, help);
    }
}

/// Visits the names of one expression, not those of subqueries in it.
pub(super) struct Names<'c, 'a, 'p> {
    pub(super) checker: &'c mut Checker<'a, 'p>,
    pub(super) scope: &'c Scope,
    pub(super) nested: usize,
}

impl Names<'_, '_, '_> {
    pub(super) fn at(&mut self, node: Node<'_>) {
        match node {
            Node::Query(query) => {
                if self.nested == 0 {
                    let at = self.checker.text.range(query.span());
                    self.checker.not_built(at, "a subquery in an expression");
                }
                self.nested += 1;
            }
            Node::QueryEnd | Node::ExprEnd(Expr::Lambda(_)) => self.nested -= 1,
            Node::Expr(expr) => {
                if self.nested == 0 {
                    self.expr(expr);
                }
                self.nested += usize::from(matches!(expr, Expr::Lambda(_)));
            }
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Identifier(ident) => self.checker.column(ident, self.scope),
            Expr::CompoundIdentifier(parts) => {
                let qualified = parts.first().is_some_and(|first| {
                    self.scope.table.as_deref() == Some(&first.value.to_ascii_lowercase())
                });
                let column = if qualified {
                    parts.get(1)
                } else {
                    parts.first()
                };
                if let Some(column) = column {
                    self.checker.column(column, self.scope);
                }
                if self.scope.window && !qualified {
                    self.window_field(parts);
                }
            }
            Expr::Function(call) => self.checker.function(call),
            Expr::Lambda(_) => {
                let at = self.checker.text.range(expr.span());
                self.checker.not_built(at, "a lambda function");
            }
            _ => {}
        }
    }

    fn window_field(&mut self, parts: &[Ident]) {
        let [first, field] = parts else { return };
        if !first.value.eq_ignore_ascii_case(window::NAME) {
            return;
        }
        if !["start", "end"]
            .iter()
            .any(|f| field.value.eq_ignore_ascii_case(f))
        {
            let at = self.checker.text.range(field.span);
            let message = format!("a window has no field `{}`", field.value);
            let help = "it has window.start and window.end";
            self.checker
                .problems
                .add_with_help(SqlCode::UnknownName, at, message, help);
        }
    }
}
