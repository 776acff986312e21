//! The columns of a query's result: their names, and how they are spelled.

use std::ops::Range;

use datafusion_sql::sqlparser::ast::{
    Expr, Select, SelectItem, Spanned, WildcardAdditionalOptions,
};

use super::{Checked, Checker};
use crate::catalog::Spelling;
use crate::problem::SqlCode;
use crate::rewrite::column_name;

/// The columns of a select list over `input`.
pub(super) fn of(
    checker: &mut Checker<'_, '_>,
    select: &Select,
    input: &Checked,
    grouped: bool,
) -> Checked {
    let mut columns = Columns {
        checker,
        names: Vec::new(),
        spelling: Spelling::new(),
    };
    let spelled = |lower: &String| input.spelling.get(lower).unwrap_or(lower).clone();
    let mut complete = true;
    for item in &select.projection {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                let written = columns
                    .checker
                    .text
                    .slice(alias.span)
                    .unwrap_or(&alias.value);
                let at = columns.checker.text.range(alias.span);
                columns.add(written.trim_matches('`').to_owned(), at);
            }
            SelectItem::UnnamedExpr(expr) => {
                let at = columns.checker.text.range(expr.span());
                match (column_name(expr, columns.checker.text), expr) {
                    (Some(name), _) => columns.add(name, at),
                    (None, Expr::Identifier(ident)) => {
                        columns.add(spelled(&ident.value.to_ascii_lowercase()), at);
                    }
                    (None, _) => complete = false,
                }
            }
            SelectItem::Wildcard(options) if is_plain(options) && input.columns.is_some() => {
                let at = columns.checker.text.range(options.wildcard_token.0.span);
                for name in input.columns.iter().flatten() {
                    columns.add(spelled(name), at.clone());
                }
            }
            _ => complete = false,
        }
    }
    let Columns {
        names,
        mut spelling,
        ..
    } = columns;
    if !complete {
        // What the list itself cannot say comes from the plan.
        for (lower, spelled) in &input.spelling {
            spelling
                .entry(lower.clone())
                .or_insert_with(|| spelled.clone());
        }
    }
    Checked {
        columns: complete.then_some(names),
        spelling,
        windowed: grouped || input.windowed,
    }
}

struct Columns<'c, 'a, 'p> {
    checker: &'c mut Checker<'a, 'p>,
    names: Vec<String>,
    spelling: Spelling,
}

impl Columns<'_, '_, '_> {
    fn add(&mut self, spelled: String, at: Option<Range<usize>>) {
        let lower = spelled.to_ascii_lowercase();
        if self.names.contains(&lower) {
            let message = format!("two columns of the result are named `{spelled}`");
            let help = "names are compared without regard to case; give one another name with AS";
            self.checker
                .problems
                .add_with_help(SqlCode::Type, at, message, help);
        }
        self.names.push(lower.clone());
        self.spelling.insert(lower, spelled);
    }
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_ilike.is_none()
}
