//! Spark's spellings, rewritten into what the planner knows, on the syntax tree.
//!
//! - `window`, `window.start`, `window.end` beside `GROUP BY window(…)` become that call.
//! - `year(ts)` and its like become `EXTRACT`, `count_if(c)` a count, and so on.
//! - A column without an alias gets the name that Spark would give it.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, DateTimeField, Expr, ExtractSyntax, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, ObjectName, Query, Select,
    SelectItem, Spanned, Value, VisitMut, VisitorMut,
};

use super::functions::window;
use super::text::Text;

/// Rewrites a query in place.
pub(super) fn query(query: &mut Query, text: &Text<'_>) {
    let _: ControlFlow<()> = query.visit(&mut Rewriter { text: Some(text) });
}

/// Rewrites an expression in place.
pub(super) fn expr(expr: &mut Expr) {
    let _: ControlFlow<()> = expr.visit(&mut Rewriter { text: None });
}

struct Rewriter<'a> {
    text: Option<&'a Text<'a>>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Some(text) = self.text {
            name_columns(select, text);
        }
        if let Some(call) = window_of(select) {
            let mut windows = WindowColumns { call };
            let _: ControlFlow<()> = select.projection.visit(&mut windows);
            let _: ControlFlow<()> = select.having.visit(&mut windows);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(rewritten) = rewrite_function(function)
        {
            *expr = rewritten;
        }
        ControlFlow::Continue(())
    }
}

/// The call of `window` in `GROUP BY`.
pub(super) fn window_of(select: &Select) -> Option<Expr> {
    let GroupByExpr::Expressions(exprs, _) = &select.group_by else {
        return None;
    };
    exprs.iter().find(|e| is_window(e)).cloned()
}

/// Whether an expression is a call of `window`.
pub(super) fn is_window(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(f) if function_name(f).as_deref() == Some(window::NAME))
}

/// The function's name in lower case, if it has one part.
pub(super) fn function_name(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [part] => part.as_ident().map(|ident| ident.value.to_ascii_lowercase()),
        _ => None,
    }
}

/// The plain argument expressions of a call.
pub(super) fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return Vec::new();
    };
    list.args
        .iter()
        .filter_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}

/// Replaces `window`, `window.start` and `window.end` by the call in `GROUP BY`.
struct WindowColumns {
    call: Expr,
}

impl VisitorMut for WindowColumns {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let is = |ident: &Ident| ident.value.eq_ignore_ascii_case(window::NAME);
        match expr {
            Expr::Identifier(ident) if is(ident) => *expr = self.call.clone(),
            Expr::CompoundIdentifier(parts) => {
                if let [first, field] = parts.as_slice()
                    && is(first)
                {
                    let field = string(&field.value.to_ascii_lowercase());
                    *expr = call("get_field", vec![self.call.clone(), field]);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn rewrite_function(function: &Function) -> Option<Expr> {
    let name = function_name(function)?;
    let args = arguments(function);
    match (name.as_str(), args.as_slice()) {
        ("year" | "month" | "quarter" | "day" | "dayofmonth" | "dayofyear" | "dayofweek" | "weekofyear", [of]) => {
            let field = match name.as_str() {
                "year" => DateTimeField::Year,
                "month" => DateTimeField::Month,
                "quarter" => DateTimeField::Quarter,
                "dayofyear" => DateTimeField::DayOfYear,
                "dayofweek" => DateTimeField::DayOfWeek,
                "weekofyear" => DateTimeField::Week(None),
                _ => DateTimeField::Day,
            };
            let expr = Box::new((*of).clone());
            Some(Expr::Extract { field, syntax: ExtractSyntax::From, expr })
        }
        ("isnull", [of]) => Some(Expr::IsNull(Box::new((*of).clone()))),
        ("isnotnull", [of]) => Some(Expr::IsNotNull(Box::new((*of).clone()))),
        ("count_if", [condition]) => {
            let case = Expr::Case {
                case_token: ast::helpers::attached_token::AttachedToken::empty(),
                end_token: ast::helpers::attached_token::AttachedToken::empty(),
                operand: None,
                conditions: vec![ast::CaseWhen {
                    condition: (*condition).clone(),
                    result: Expr::value(Value::Number("1".into(), false)),
                }],
                else_result: None,
            };
            let mut count = function.clone();
            count.name = name_of("count");
            replace_arguments(&mut count, vec![case]);
            Some(Expr::Function(count))
        }
        ("approx_count_distinct", _) => {
            let mut distinct = function.clone();
            distinct.name = name_of("approx_distinct");
            Some(bigint(Expr::Function(distinct)))
        }
        // DataFusion replaces the first match unless told otherwise, Spark all of them.
        ("regexp_replace", [of, pattern, by]) => {
            let mut replace = function.clone();
            let all = string("g");
            replace_arguments(&mut replace, vec![(*of).clone(), (*pattern).clone(), (*by).clone(), all]);
            Some(Expr::Function(replace))
        }
        _ => None,
    }
}

fn bigint(expr: Expr) -> Expr {
    Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(expr),
        data_type: ast::DataType::BigInt(None),
        array: false,
        format: None,
    }
}

fn replace_arguments(function: &mut Function, args: Vec<Expr>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args =
            args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: name_of(name),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn name_of(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::new(name)])
}

fn string(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.into()))
}

/// Gives every column without an alias its name, before its expression is rewritten.
fn name_columns(select: &mut Select, text: &Text<'_>) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(name) = column_name(expr, text)
        {
            // Quoted, so that nothing changes it any more.
            let alias = Ident::with_quote('`', name.to_ascii_lowercase());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The name of a column without an alias; `None` for a plain column, which keeps its own.
pub(super) fn column_name(expr: &Expr, text: &Text<'_>) -> Option<String> {
    match expr {
        Expr::Identifier(ident) if !ident.value.eq_ignore_ascii_case(window::NAME) => None,
        Expr::Identifier(_) => Some(window::NAME.into()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|last| last.value.clone()),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(ast::AccessExpr::Dot(Expr::Identifier(ident))) => Some(ident.value.clone()),
            _ => Some(expr.to_string()),
        },
        Expr::Function(_) if is_window(expr) => Some(window::NAME.into()),
        Expr::Function(f) => Some(call_name(f, text)),
        other => Some(source_text(other, text)),
    }
}

/// `count(*)` is `count(1)` to Spark; other calls are named by their arguments.
fn call_name(function: &Function, text: &Text<'_>) -> String {
    let name = function_name(function).unwrap_or_else(|| function.name.to_string());
    let FunctionArguments::List(list) = &function.args else {
        return format!("{name}()");
    };
    let args: Vec<String> = list
        .args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" => "1".into(),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(f))) => call_name(f, text),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => source_text(e, text),
            other => other.to_string(),
        })
        .collect();
    let distinct = match list.duplicate_treatment {
        Some(ast::DuplicateTreatment::Distinct) => "DISTINCT ",
        _ => "",
    };
    format!("{name}({distinct}{})", args.join(", "))
}

fn source_text(expr: &Expr, text: &Text<'_>) -> String {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(s) | Value::DoubleQuotedString(s) => s.clone(),
            other => other.to_string(),
        },
        other => text.slice(other.span()).map_or_else(
            || other.to_string(),
            |written| written.split_whitespace().collect::<Vec<_>>().join(" "),
        ),
    }
}
