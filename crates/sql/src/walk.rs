//! The walks over a syntax tree.
//!
//! Each type that implements the parser's visitor traits makes the compiler write out the walk over
//! every kind of node once more, some thousand functions. Here is the one type for reading and the
//! one for rewriting; what is done at a node is a function that they call.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, Visit, VisitMut, Visitor, VisitorMut,
};

/// Where a reading walk stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node<'n> {
    /// Before the parts of a query.
    Query(&'n Query),
    /// After them.
    QueryEnd,
    /// Before the parts of an expression.
    Expr(&'n Expr),
    /// After them.
    ExprEnd(&'n Expr),
    /// At the name of a table.
    Relation(&'n ObjectName),
}

/// Where a rewriting walk stands.
#[derive(Debug)]
pub(super) enum NodeMut<'n> {
    /// Before the parts of a `SELECT`.
    Select(&'n mut Select),
    /// After the parts of an expression.
    ExprEnd(&'n mut Expr),
}

/// Calls `at` for each node in `tree`, in order, until it breaks.
pub(super) fn read(tree: &impl Visit, at: &mut dyn FnMut(Node<'_>) -> ControlFlow<()>) {
    let _: ControlFlow<()> = tree.visit(&mut Reading { at });
}

/// Calls `at` for each node in `tree`.
pub(super) fn rewrite(tree: &mut impl VisitMut, at: &mut dyn FnMut(NodeMut<'_>)) {
    let _: ControlFlow<()> = tree.visit(&mut Rewriting { at });
}

struct Reading<'a> {
    at: &'a mut dyn FnMut(Node<'_>) -> ControlFlow<()>,
}

impl Visitor for Reading<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        (self.at)(Node::Query(query))
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        (self.at)(Node::QueryEnd)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        (self.at)(Node::Relation(relation))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        (self.at)(Node::Expr(expr))
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        (self.at)(Node::ExprEnd(expr))
    }
}

struct Rewriting<'a> {
    at: &'a mut dyn FnMut(NodeMut<'_>),
}

impl VisitorMut for Rewriting<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        (self.at)(NodeMut::Select(select));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        (self.at)(NodeMut::ExprEnd(expr));
        ControlFlow::Continue(())
    }
}
