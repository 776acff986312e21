//! What can be said about a query before it is planned: every name it uses that does not exist
//! and everything it asks for that is refused, each with its place, all at once.
//!
//! The planner stops at its first error; this pass does not. It also settles how the result's
//! columns are spelled, because inside the planner all names are in lower case.

mod columns;
mod names;
mod syntax;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use datafusion_sql::sqlparser::ast::{
    self, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Spanned, TableFactor,
    TableWithJoins,
};
use datafusion_sql::sqlparser::keywords::Keyword;

use super::catalog::{Catalog, Entry, Spelling};
use super::functions::window;
use super::problem::{Problems, SqlCode, did_you_mean};
use super::rewrite::{arguments, function_name, is_window, window_of};
use super::text::Text;
use super::walk;
use names::Names;
use syntax::{
    aggregate_in, aliases, find_call, is_later_window, is_ordinal, literal, ordinal_window,
};

/// What a checked query yields.
#[derive(Debug, Clone, Default)]
pub(super) struct Checked {
    /// Its columns in lower case; `None` if a problem hides them.
    pub(super) columns: Option<Vec<String>>,
    /// How its columns are spelled.
    pub(super) spelling: Spelling,
    /// Whether its rows are results of a window.
    pub(super) windowed: bool,
}

/// Checks one query against a catalogue.
pub(super) struct Checker<'a, 'p> {
    pub(super) text: &'a Text<'a>,
    pub(super) catalog: &'a Catalog,
    pub(super) problems: &'a mut Problems<'p>,
}

/// The names an expression may use.
#[derive(Debug, Default)]
struct Scope {
    input: Checked,
    /// What may stand before the dot.
    table: Option<String>,
    /// Aliases of the select list, where they may be used.
    aliases: Vec<String>,
    /// Whether `window` stands for the group's window.
    window: bool,
}

type Ctes = BTreeMap<String, Checked>;

impl Checker<'_, '_> {
    /// Checks a whole query.
    pub(super) fn query(&mut self, query: &Query) -> Checked {
        self.query_in(query, &Ctes::new())
    }

    fn query_in(&mut self, query: &Query, outer: &Ctes) -> Checked {
        let mut ctes = outer.clone();
        if let Some(with) = &query.with {
            if with.recursive {
                self.not_built(
                    self.text.keywords(&[Keyword::RECURSIVE]),
                    "a recursive query",
                );
            }
            for cte in &with.cte_tables {
                let checked = self.query_in(&cte.query, &ctes);
                ctes.insert(cte.alias.name.value.to_ascii_lowercase(), checked);
            }
        }
        if query.order_by.is_some() {
            let at = self.text.keywords(&[Keyword::ORDER, Keyword::BY]);
            self.unbounded(
                at,
                "ORDER BY",
                "an unbounded stream never has its last row to sort",
            );
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            let at = self.text.keywords(&[Keyword::LIMIT]);
            let at = at.or_else(|| self.text.keywords(&[Keyword::FETCH]));
            self.unbounded(
                at,
                "LIMIT",
                "which rows come first hangs on the order of arrival",
            );
        }
        match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, &ctes),
            SetExpr::Query(inner) => self.query_in(inner, &ctes),
            SetExpr::SetOperation {
                op, left, right, ..
            } => {
                let keyword = match op {
                    ast::SetOperator::Union => Keyword::UNION,
                    ast::SetOperator::Intersect => Keyword::INTERSECT,
                    _ => Keyword::EXCEPT,
                };
                self.not_built(self.text.keywords(&[keyword]), &op.to_string());
                for side in [left, right] {
                    if let SetExpr::Select(select) = side.as_ref() {
                        self.select(select, &ctes);
                    }
                }
                Checked::default()
            }
            other => {
                let at = self.text.range(other.span());
                self.problems.add(SqlCode::Syntax, at, "expected a SELECT");
                Checked::default()
            }
        }
    }

    fn select(&mut self, select: &Select, ctes: &Ctes) -> Checked {
        let mut scope = self.from(select, ctes);
        self.refuse_clauses(select);
        let grouped = self.group(select, &scope);
        scope.window = grouped && window_of(select).is_some();
        let checked = columns::of(self, select, &scope.input, grouped);
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    self.expr(expr, &scope);
                }
                SelectItem::ExprWithAliases { expr, .. } => {
                    self.not_built(
                        self.text.range(expr.span()),
                        "several aliases for one column",
                    );
                }
                SelectItem::QualifiedWildcard(_, _) | SelectItem::Wildcard(_) => {}
            }
        }
        if let Some(condition) = &select.selection {
            let scope = Scope {
                window: false,
                input: scope.input.clone(),
                table: scope.table.clone(),
                ..Scope::default()
            };
            self.expr(condition, &scope);
            self.no_aggregate(condition, "WHERE", "HAVING filters on results of a window");
            self.no_window(condition);
        }
        scope.aliases = aliases(select);
        if let Some(condition) = &select.having {
            self.expr(condition, &scope);
        }
        if let GroupByExpr::Expressions(exprs, _) = &select.group_by {
            scope.window = false;
            for expr in exprs.iter().filter(|e| !is_ordinal(e)) {
                self.expr(expr, &scope);
            }
        }
        checked
    }

    /// `FROM`: one source, view or subquery.
    fn from(&mut self, select: &Select, ctes: &Ctes) -> Scope {
        let [TableWithJoins { relation, joins }] = select.from.as_slice() else {
            let at = self.text.keywords(&[Keyword::FROM]);
            let at = at.or_else(|| self.text.keywords(&[Keyword::SELECT]));
            if select.from.is_empty() {
                self.problems
                    .add(SqlCode::Syntax, at, "a query reads FROM a source or view");
            } else {
                self.not_built(at, "reading several tables in one query");
            }
            return Scope::default();
        };
        if !joins.is_empty() {
            self.not_built(self.text.keywords(&[Keyword::JOIN]), "JOIN");
            return Scope::default();
        }
        match relation {
            TableFactor::Table {
                name,
                alias,
                args: None,
                sample: None,
                version: None,
                ..
            } => {
                let spelled = name.to_string().replace('`', "");
                let qualifier = alias.as_ref().map_or(spelled.as_str(), |a| &a.name.value);
                let table = Some(qualifier.to_ascii_lowercase());
                let input = self.relation(&spelled, self.text.range(name.span()), ctes);
                Scope {
                    input,
                    table,
                    ..Scope::default()
                }
            }
            TableFactor::Derived {
                lateral: false,
                subquery,
                alias,
                sample: None,
            } => {
                let input = self.query_in(subquery, ctes);
                let table = alias.as_ref().map(|a| a.name.value.to_ascii_lowercase());
                Scope {
                    input,
                    table,
                    ..Scope::default()
                }
            }
            other => {
                let at = self
                    .text
                    .range(other.span())
                    .or_else(|| self.text.keywords(&[Keyword::FROM]));
                self.not_built(at, "FROM anything but a source, a view or a subquery");
                Scope::default()
            }
        }
    }

    fn relation(&mut self, name: &str, at: Option<Range<usize>>, ctes: &Ctes) -> Checked {
        let lower = name.to_ascii_lowercase();
        if let Some(cte) = ctes.get(&lower) {
            return cte.clone();
        }
        match self.catalog.get(name) {
            Some(Entry::Ready(relation)) => Checked {
                columns: Some(relation.columns.clone()),
                spelling: relation.spelling.clone(),
                windowed: relation.windowed,
            },
            Some(Entry::Broken) => Checked::default(),
            None => {
                let names = self.catalog.names().chain(ctes.keys().map(String::as_str));
                let names: Vec<&str> = names.collect();
                let help = did_you_mean(name, names.iter().copied())
                    .unwrap_or_else(|| format!("there are {}", names.join(", ")));
                let message = format!("there is no source or view `{name}`");
                self.problems
                    .add_with_help(SqlCode::UnknownName, at, message, help);
                Checked::default()
            }
        }
    }

    fn refuse_clauses(&mut self, select: &Select) {
        use Keyword as K;
        let text = self.text;
        if select.distinct.is_some() {
            let reason = "it would have to remember every row of an unbounded stream";
            self.unbounded(text.keywords(&[K::SELECT, K::DISTINCT]), "DISTINCT", reason);
        }
        let clauses: [(bool, &[K], &str); 10] = [
            (!select.sort_by.is_empty(), &[K::SORT, K::BY], "SORT BY"),
            (
                !select.cluster_by.is_empty(),
                &[K::CLUSTER, K::BY],
                "CLUSTER BY",
            ),
            (
                !select.distribute_by.is_empty(),
                &[K::DISTRIBUTE, K::BY],
                "DISTRIBUTE BY",
            ),
            (
                !select.lateral_views.is_empty(),
                &[K::LATERAL],
                "LATERAL VIEW",
            ),
            (!select.named_window.is_empty(), &[K::WINDOW], "WINDOW"),
            (select.qualify.is_some(), &[K::QUALIFY], "QUALIFY"),
            (select.top.is_some(), &[K::TOP], "TOP"),
            (select.into.is_some(), &[K::INTO], "INTO"),
            (select.prewhere.is_some(), &[K::PREWHERE], "PREWHERE"),
            (
                !select.connect_by.is_empty(),
                &[K::CONNECT, K::BY],
                "CONNECT BY",
            ),
        ];
        for (present, keywords, name) in clauses {
            if present {
                self.not_built(text.keywords(keywords), name);
            }
        }
    }

    /// `GROUP BY`, and aggregates without one. Returns whether the query aggregates.
    fn group(&mut self, select: &Select, scope: &Scope) -> bool {
        let at = self.text.keywords(&[Keyword::GROUP, Keyword::BY]);
        let exprs = match &select.group_by {
            GroupByExpr::All(_) => {
                self.not_built(at, "GROUP BY ALL");
                return true;
            }
            GroupByExpr::Expressions(exprs, modifiers) => {
                if !modifiers.is_empty() {
                    self.not_built(at.clone(), "GROUP BY with ROLLUP, CUBE or GROUPING SETS");
                }
                exprs
            }
        };
        if exprs.is_empty() {
            let found = select
                .projection
                .iter()
                .find_map(aggregate_in)
                .or_else(|| select.having.as_ref().and_then(aggregate_in));
            let Some(call) = found else { return false };
            let at = self.text.range(call.name.span());
            self.needs_window(at);
            return true;
        }
        let windows: Vec<&Expr> = exprs.iter().filter(|e| is_window(e)).collect();
        match windows.as_slice() {
            [] if ordinal_window(select, exprs) => {}
            [] if exprs.iter().any(is_later_window) => {}
            [] => self.needs_window(at),
            [one] => self.window_call(one),
            [_, second, ..] => {
                let at = self.text.range(second.span());
                self.problems
                    .add(SqlCode::NotBuilt, at, "a query has one window, not several");
            }
        }
        if scope.input.windowed {
            let at = self.text.keywords(&[Keyword::GROUP, Keyword::BY]);
            self.not_built(at, "aggregating the results of a window once more");
        }
        true
    }

    fn needs_window(&mut self, at: Option<Range<usize>>) {
        self.problems.add_with_help(
            SqlCode::Unbounded,
            at,
            "an aggregate needs a window: a result over an unbounded stream never completes",
            "add the window to the groups: GROUP BY window(ts, '1 minute')",
        );
    }

    fn window_call(&mut self, expr: &Expr) {
        let Expr::Function(call) = expr else { return };
        let args = arguments(call);
        match args.as_slice() {
            [_, size] => {
                let at = self.text.range(size.span());
                let Some(text) = literal(size) else {
                    let message = "the size of a window is a literal like '1 minute'";
                    self.problems.add(SqlCode::Type, at, message);
                    return;
                };
                if let Err(reason) = window::parse_size(text) {
                    self.problems.add(SqlCode::Type, at, reason);
                }
            }
            [_, _, third, ..] => {
                let at = self.text.range(third.span());
                self.not_built(at, "a sliding window (a third argument of window())");
            }
            _ => {
                let at = self.text.range(call.name.span());
                let message = "window() takes a time and a size: window(ts, '1 minute')";
                self.problems.add(SqlCode::Type, at, message);
            }
        }
    }

    /// Checks a free-standing expression over columns.
    pub(super) fn expression(&mut self, expr: &Expr, columns: Vec<String>, spelling: Spelling) {
        let input = Checked {
            columns: Some(columns),
            spelling,
            windowed: false,
        };
        self.expr(
            expr,
            &Scope {
                input,
                ..Scope::default()
            },
        );
        self.no_aggregate(
            expr,
            "this expression",
            "it is evaluated for each row of the output",
        );
        self.no_window(expr);
    }

    fn expr(&mut self, expr: &Expr, scope: &Scope) {
        let mut names = Names {
            checker: self,
            scope,
            nested: 0,
        };
        walk::read(expr, &mut |node| {
            names.at(node);
            ControlFlow::Continue(())
        });
    }

    fn no_aggregate(&mut self, expr: &Expr, place: &str, help: &str) {
        if let Some(call) = aggregate_in(expr) {
            let at = self.text.range(call.name.span());
            let message = format!("an aggregate cannot stand in {place}");
            self.problems
                .add_with_help(SqlCode::Type, at, message, help);
        }
    }

    fn no_window(&mut self, expr: &Expr) {
        let found = find_call(expr, &|f| function_name(f).as_deref() == Some(window::NAME));
        if let Some(call) = found {
            let at = self.text.range(call.name.span());
            self.problems
                .add(SqlCode::NotBuilt, at, "window() belongs in GROUP BY");
        }
    }

    fn not_built(&mut self, at: Option<Range<usize>>, what: &str) {
        self.problems
            .add(SqlCode::NotBuilt, at, format!("{what} is not built yet"));
    }

    fn unbounded(&mut self, at: Option<Range<usize>>, what: &str, reason: &str) {
        self.problems.add(
            SqlCode::Unbounded,
            at,
            format!("{what} is refused: {reason}"),
        );
    }
}
