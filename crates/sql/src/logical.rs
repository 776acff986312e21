//! From a checked syntax tree to an optimised logical plan with Spark's types.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DFSchemaRef, Result};
use datafusion_expr::expr::Cast;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, cast, expr_rewriter::NamePreserver};
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::simplify_expressions::{ExprSimplifier, SimplifyExpressions};
use datafusion_optimizer::{Analyzer, Optimizer, OptimizerContext};
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{self, Query, Statement};
use floodmark_functions::{timestamp_to_seconds, to_spark_string};

use super::catalog::Catalog;
use super::context::{CONFIG, Context, parser_options};
use super::types::timestamp;

/// Plans a query; names in it are known to exist.
pub(super) fn query(query: Query, catalog: &Catalog) -> Result<LogicalPlan> {
    let context = Context::new(catalog);
    let planner = SqlToRel::new_with_options(&context, parser_options());
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query)))?;
    let analyzer = Analyzer::with_rules(vec![Arc::new(TypeCoercion::new())]);
    let plan = analyzer.execute_and_check(plan, &CONFIG, |_, _| {})?;
    spark_casts(plan)
}

/// Optimises a plan. The rules move filters down and drop columns nobody reads; none of them
/// changes what an aggregate is given.
pub(super) fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let context = OptimizerContext::new_with_config_options(Arc::clone(&CONFIG))
        .without_query_execution_start_time()
        .with_skip_failing_rules(false);
    optimizer.optimize(plan, &context, |_, _| {})
}

/// Plans a free-standing expression over columns, cast to `ty`.
pub(super) fn expression(
    sql: ast::Expr,
    schema: &DFSchemaRef,
    ty: impl Fn(&DataType) -> DataType,
) -> Result<Expr> {
    let catalog = Catalog::default();
    let context = Context::new(&catalog);
    let planner = SqlToRel::new_with_options(&context, parser_options());
    let expr = planner.sql_to_expr(sql, schema, &mut PlannerContext::new())?;
    let simplify = SimplifyContext::builder()
        .with_schema(Arc::clone(schema))
        .with_config_options(Arc::clone(&CONFIG))
        .build();
    let simplifier = ExprSimplifier::new(simplify);
    let expr = simplifier.coerce(expr, schema)?;
    let from = expr.get_type(schema)?;
    let wanted = ty(&from);
    let expr = if from == wanted {
        expr
    } else {
        cast(expr, wanted)
    };
    simplifier.simplify(spark_casts_in(expr, schema)?.data)
}

/// Replaces the casts that Spark does otherwise than Arrow, those that coercion added included.
fn spark_casts(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up(|plan| {
        let inputs: Vec<&LogicalPlan> = plan.inputs();
        let mut schema = merge_schema(&inputs);
        if let LogicalPlan::TableScan(scan) = &plan {
            schema = scan.projected_schema.as_ref().clone();
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(spark_casts_in(expr, &schema)?.update_data(|e| name.restore(e)))
        })
    })?;
    plan.map_data(LogicalPlan::recompute_schema).map(|t| t.data)
}

fn spark_casts_in(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let Expr::Cast(Cast { expr: inner, field }) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let from = inner.get_type(schema)?;
        let to = field.data_type();
        Ok(match spark_cast(inner, &from, to)? {
            Some(replaced) => Transformed::yes(replaced),
            None => Transformed::no(expr),
        })
    })
}

fn spark_cast(inner: &Expr, from: &DataType, to: &DataType) -> Result<Option<Expr>> {
    let instant = |ty: &DataType| matches!(ty, DataType::Timestamp(_, Some(_)));
    Ok(match to {
        DataType::Utf8 => to_spark_string(inner, from),
        _ if instant(from) && to.is_integer() => {
            let seconds = timestamp_to_seconds(inner.clone());
            Some(if to == &DataType::Int64 {
                seconds
            } else {
                cast(seconds, to.clone())
            })
        }
        _ if instant(from) && (to.is_floating() || to.is_decimal()) => {
            return datafusion_common::not_impl_err!(
                "casting TIMESTAMP to {} is not built yet; unix_micros(ts) / 1000000 is the same",
                super::types::sql_name(to)
            );
        }
        _ if instant(to) && from.is_integer() => {
            let seconds = datafusion_expr::lit(1_000_000_i64);
            Some(cast(
                cast(inner.clone(), DataType::Int64) * seconds,
                timestamp(),
            ))
        }
        _ if instant(to) && (from.is_floating() || from.is_decimal()) => {
            return datafusion_common::not_impl_err!(
                "casting {} to TIMESTAMP is not built yet; cast it to BIGINT seconds first",
                super::types::sql_name(from)
            );
        }
        _ => None,
    })
}
