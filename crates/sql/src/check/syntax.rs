//! Small questions about the syntax tree.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{self, Expr, Function, Select, SelectItem, Visit};

use crate::functions::{FUNCTIONS, Known};
use crate::rewrite::{function_name, is_window};
use crate::walk::{self, Node};

pub(super) fn aliases(select: &Select) -> Vec<String> {
    let alias = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.to_ascii_lowercase()),
        _ => None,
    };
    select.projection.iter().filter_map(alias).collect()
}

fn ordinal(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            ast::Value::Number(n, _) => n.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn is_ordinal(expr: &Expr) -> bool {
    ordinal(expr).is_some()
}

pub(super) fn is_later_window(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(f) if matches!(function_name(f).as_deref(), Some("session_window")))
}

pub(super) fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(s) | ast::Value::DoubleQuotedString(s) => Some(s),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn aggregate_in<V: Visit>(tree: &V) -> Option<Function> {
    find_call(tree, &|f| {
        f.over.is_none()
            && function_name(f).is_some_and(|n| {
                matches!(
                    FUNCTIONS.known(&n),
                    Known::Aggregate | Known::OrderDependent
                )
            })
    })
}

/// The first call that `wanted` is looking for.
pub(super) fn find_call<V: Visit>(
    tree: &V,
    wanted: &dyn Fn(&Function) -> bool,
) -> Option<Function> {
    let mut found = None;
    walk::read(tree, &mut |node| match node {
        Node::Expr(Expr::Function(call)) if wanted(call) => {
            found = Some(call.clone());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found
}

/// Whether one of the groups is the position of a column that is a window.
pub(super) fn ordinal_window(select: &Select, groups: &[Expr]) -> bool {
    groups.iter().filter_map(ordinal).any(|position| {
        let item = position
            .checked_sub(1)
            .and_then(|index| select.projection.get(index));
        match item {
            Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => {
                is_window(expr)
            }
            _ => false,
        }
    })
}
