//! Spark's spellings, rewritten into what the planner knows, on the syntax tree.
//!
//! - `window`, `window.start`, `window.end` beside `GROUP BY window(…)` become that call.
//! - `year(ts)` and its like become `EXTRACT`, `count_if(c)` a count, and so on.
//! - A column without an alias gets the name that Spark would give it.

use datafusion_sql::sqlparser::ast::{
    self, DateTimeField, Expr, ExtractSyntax, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, ObjectName, Query, Select,
    SelectItem, Spanned, Value,
};

use super::functions::window;
use super::text::Text;
use super::walk::{self, NodeMut};

/// Rewrites a query in place.
pub(super) fn query(query: &mut Query, text: &Text<'_>) {
    walk::rewrite(query, &mut |node| match node {
        NodeMut::Select(select) => {
            name_columns(select, text);
            if let Some(call) = window_of(select) {
                window_columns(select, &call);
            }
        }
        NodeMut::ExprEnd(expr) => rewrite_expr(expr),
    });
}

/// Rewrites an expression in place.
pub(super) fn expr(expr: &mut Expr) {
    walk::rewrite(expr, &mut |node| {
        if let NodeMut::ExprEnd(expr) = node {
            rewrite_expr(expr);
        }
    });
}

fn rewrite_expr(expr: &mut Expr) {
    let rewritten = match expr {
        Expr::Function(function) => rewrite_function(function),
        Expr::RLike {
            negated,
            expr,
            pattern,
            ..
        } => {
            let matches = call("regexp_like", vec![(**expr).clone(), (**pattern).clone()]);
            Some(if *negated { not(matches) } else { matches })
        }
        Expr::Substring {
            expr,
            substring_from: Some(from),
            substring_for,
            ..
        } => {
            let mut args = vec![(**expr).clone(), (**from).clone()];
            args.extend(substring_for.as_deref().cloned());
            Some(call("substring", args))
        }
        _ => None,
    };
    if let Some(rewritten) = rewritten {
        *expr = rewritten;
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
        [part] => part
            .as_ident()
            .map(|ident| ident.value.to_ascii_lowercase()),
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
fn window_columns(select: &mut Select, window: &Expr) {
    let mut replace = |node: NodeMut<'_>| {
        if let NodeMut::ExprEnd(expr) = node
            && let Some(replaced) = window_column(expr, window)
        {
            *expr = replaced;
        }
    };
    walk::rewrite(&mut select.projection, &mut replace);
    walk::rewrite(&mut select.having, &mut replace);
}

fn window_column(expr: &Expr, window: &Expr) -> Option<Expr> {
    let is = |ident: &Ident| ident.value.eq_ignore_ascii_case(window::NAME);
    match expr {
        Expr::Identifier(ident) if is(ident) => Some(window.clone()),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [first, field] if is(first) => {
                let field = string(&field.value.to_ascii_lowercase());
                Some(call("get_field", vec![window.clone(), field]))
            }
            _ => None,
        },
        _ => None,
    }
}

fn rewrite_function(function: &Function) -> Option<Expr> {
    let name = function_name(function)?;
    let args = arguments(function);
    match (name.as_str(), args.as_slice()) {
        (
            "year" | "month" | "quarter" | "day" | "dayofmonth" | "dayofyear" | "dayofweek"
            | "weekofyear",
            [of],
        ) => {
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
            Some(Expr::Extract {
                field,
                syntax: ExtractSyntax::From,
                expr,
            })
        }
        // To Spark, too, counting rows is counting a constant.
        ("count", []) if counts_rows(function) => {
            let mut count = function.clone();
            replace_arguments(&mut count, vec![number("1")]);
            Some(Expr::Function(count))
        }
        // An integer literal is an INT to Spark and a BIGINT to DataFusion; these take an INT.
        ("date_add" | "dateadd" | "date_sub" | "add_months", [date, by]) if !is_int_cast(by) => {
            let mut shift = function.clone();
            let by = cast_to(ast::DataType::Int(None), (*by).clone());
            replace_arguments(&mut shift, vec![(*date).clone(), by]);
            Some(Expr::Function(shift))
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
                    result: number("1"),
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
            replace_arguments(
                &mut replace,
                vec![(*of).clone(), (*pattern).clone(), (*by).clone(), all],
            );
            Some(Expr::Function(replace))
        }
        _ => None,
    }
}

fn counts_rows(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    matches!(
        list.args.as_slice(),
        [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]
    )
}

fn number(digits: &str) -> Expr {
    Expr::value(Value::Number(digits.into(), false))
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: ast::UnaryOperator::Not,
        expr: Box::new(expr),
    }
}

fn bigint(expr: Expr) -> Expr {
    cast_to(ast::DataType::BigInt(None), expr)
}

fn is_int_cast(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Cast {
            data_type: ast::DataType::Int(None),
            ..
        }
    )
}

fn cast_to(data_type: ast::DataType, expr: Expr) -> Expr {
    Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

fn replace_arguments(function: &mut Function, args: Vec<Expr>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = args
            .into_iter()
            .map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e)))
            .collect();
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: name_of(name),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args
                .into_iter()
                .map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e)))
                .collect(),
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
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias,
            };
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
