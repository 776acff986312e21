//! From an optimised logical plan to steps over batches and a window between them.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, Result, internal_err, not_impl_err, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Aggregate as AggregatePlan, Expr, LogicalPlan, Operator};
use datafusion_physical_expr::aggregate::{LoweredAggregate, LoweredAggregateBuilder};
use datafusion_physical_expr::expressions::{BinaryExpr, Column as PhysicalColumn};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use super::catalog::{Catalog, Spelling, Stream};
use super::context::CONFIG;
use super::functions::window::{self, parse_size};
use super::step::{Keep, Step};
use super::window::{Aggregate, WindowPlan, WindowSize, window_type};

/// A query as steps, before and after its window.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) stream: Stream,
    /// Columns of the source that the query reads.
    pub(super) columns: Vec<usize>,
    pub(super) before: Vec<Step>,
    pub(super) window: Option<WindowPlan>,
    pub(super) after: Vec<Step>,
    /// Columns of the last step.
    pub(super) schema: SchemaRef,
}

impl Program {
    fn steps(&mut self) -> &mut Vec<Step> {
        if self.window.is_some() {
            &mut self.after
        } else {
            &mut self.before
        }
    }
}

/// Lowers a plan.
pub(super) fn lower(plan: &LogicalPlan, catalog: &Catalog, spelling: &Spelling) -> Result<Program> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(stream) = catalog.stream(scan.table_name.table()) else {
                return internal_err!("a scan of {}, which is no source", scan.table_name);
            };
            if !scan.filters.is_empty() || scan.fetch.is_some() {
                return internal_err!("a scan that filters");
            }
            let all: Vec<usize> = (0..stream.schema.fields().len()).collect();
            let columns = scan.projection.clone().unwrap_or_else(|| all.clone());
            let schema = Arc::new(stream.schema.project(&columns)?);
            let mut before = Vec::new();
            if columns != all {
                before.push(columns_of(&columns, &schema, &stream.schema));
            }
            let stream = stream.clone();
            Ok(Program {
                stream,
                columns,
                before,
                window: None,
                after: Vec::new(),
                schema,
            })
        }
        LogicalPlan::SubqueryAlias(alias) => lower(&alias.input, catalog, spelling),
        LogicalPlan::Filter(filter) => {
            let mut program = lower(&filter.input, catalog, spelling)?;
            let predicate = physical(&filter.predicate, filter.input.schema())?;
            program.steps().push(Step::Filter {
                predicate,
                keep: None,
            });
            Ok(program)
        }
        LogicalPlan::Projection(projection) => {
            let mut program = lower(&projection.input, catalog, spelling)?;
            let input = projection.input.schema();
            let exprs: Result<Vec<_>> =
                projection.expr.iter().map(|e| physical(e, input)).collect();
            let schema = spelled(projection.schema.as_arrow(), spelling, &program.stream);
            project(&mut program, exprs?, schema);
            Ok(program)
        }
        LogicalPlan::Aggregate(aggregate) => lower_window(aggregate, catalog, spelling),
        other => not_impl_err!("{} is not built yet", other.display()),
    }
}

fn columns_of(columns: &[usize], schema: &SchemaRef, input: &SchemaRef) -> Step {
    let exprs = columns
        .iter()
        .map(|i| Arc::new(PhysicalColumn::new(input.field(*i).name(), *i)) as Arc<dyn PhysicalExpr>)
        .collect();
    Step::Project {
        exprs,
        schema: Arc::clone(schema),
    }
}

/// Appends a projection. One that only picks columns after a filter becomes part of the filter,
/// so that what it drops is not copied; one that changes nothing but names keeps the columns.
fn project(program: &mut Program, exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) {
    let picked: Option<Vec<usize>> = exprs
        .iter()
        .map(|e| {
            e.downcast_ref::<PhysicalColumn>()
                .map(PhysicalColumn::index)
        })
        .collect();
    let width = program.schema.fields().len();
    program.schema = Arc::clone(&schema);
    let steps = program.steps();
    match (picked, steps.last_mut()) {
        (
            Some(columns),
            Some(Step::Filter {
                keep: keep @ None, ..
            }),
        ) => {
            *keep = Some(Keep { columns, schema });
        }
        (
            Some(columns),
            Some(Step::Filter {
                keep: Some(keep), ..
            }),
        ) => {
            let columns = columns.iter().map(|i| keep.columns[*i]).collect();
            *keep = Keep { columns, schema };
        }
        (
            Some(columns),
            Some(Step::Project {
                exprs,
                schema: last,
            }),
        ) if columns.len() <= width => {
            *exprs = columns.iter().map(|i| Arc::clone(&exprs[*i])).collect();
            *last = schema;
        }
        _ => steps.push(Step::Project { exprs, schema }),
    }
}

/// The planner's schema with names spelled as the user did.
fn spelled(schema: &Schema, spelling: &Spelling, stream: &Stream) -> SchemaRef {
    let source = |name: &str| {
        stream
            .schema
            .fields()
            .iter()
            .find(|f| f.name().eq_ignore_ascii_case(name))
            .map(|f| f.name().clone())
    };
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let name = spelling
                .get(field.name())
                .cloned()
                .or_else(|| source(field.name()));
            Field::new(
                name.unwrap_or_else(|| field.name().clone()),
                field.data_type().clone(),
                field.is_nullable(),
            )
        })
        .collect();
    Arc::new(Schema::new(fields))
}

fn lower_window(
    aggregate: &AggregatePlan,
    catalog: &Catalog,
    spelling: &Spelling,
) -> Result<Program> {
    let mut program = lower(&aggregate.input, catalog, spelling)?;
    if program.window.is_some() {
        return not_impl_err!("aggregating the results of a window once more is not built yet");
    }
    let input = aggregate.input.schema();
    let mut window = None;
    let mut keys = Vec::new();
    let mut fields = Vec::new();
    for (position, expr) in aggregate.group_expr.iter().enumerate() {
        let field = aggregate.schema.field(position);
        if let Some((time, size)) = window_call(expr)? {
            if window.is_some() {
                return not_impl_err!("several windows in one query are not built yet");
            }
            window = Some((position, physical(time, input)?, size));
            fields.push(Field::new(field.name(), window_type(), false));
        } else {
            let field = Field::new(field.name(), field.data_type().clone(), field.is_nullable());
            keys.push((physical(expr, input)?, field.clone()));
            fields.push(field);
        }
    }
    let Some((window_position, event_time, size)) = window else {
        return plan_err!("an aggregate needs a window");
    };
    // The rows a window takes have no names of their own; physical names are unique.
    let rows = Arc::clone(&program.schema);
    let mut aggregates = Vec::new();
    for expr in &aggregate.aggr_expr {
        let lowered = aggregate_of(expr, input)?;
        fields.push(lowered.function.field().as_ref().clone());
        aggregates.push(lowered);
    }
    let schema = Arc::new(Schema::new(fields));
    program.schema = Arc::clone(&schema);
    program.window = Some(WindowPlan {
        size,
        event_time,
        keys,
        aggregates,
        window_position,
        input: rows,
        schema,
    });
    Ok(program)
}

fn aggregate_of(expr: &Expr, input: &DFSchema) -> Result<Aggregate> {
    let props = execution_props();
    let context = PhysicalPlanningContext::default();
    let lowered =
        LoweredAggregateBuilder::new(expr, input, input.as_arrow(), &props, &context).build()?;
    let LoweredAggregate {
        aggregate, filter, ..
    } = lowered;
    let filter = filter.map(checked_arithmetic).transpose()?;
    Ok(Aggregate {
        function: aggregate,
        filter,
    })
}

/// The time and size of a call of `window`.
fn window_call(expr: &Expr) -> Result<Option<(&Expr, WindowSize)>> {
    let mut expr = expr;
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    let Expr::ScalarFunction(call) = expr else {
        return Ok(None);
    };
    if call.func.name() != window::NAME {
        return Ok(None);
    }
    let [time, Expr::Literal(size, _)] = call.args.as_slice() else {
        return plan_err!("the size of a window is a literal like '1 minute'");
    };
    match parse_size(size.try_as_str().flatten().unwrap_or_default()) {
        Ok(size) => Ok(Some((time, size))),
        Err(reason) => plan_err!("{reason}"),
    }
}

/// What the time of a window is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WindowTime {
    /// A column of a source, passed on unchanged; names in lower case.
    Column { table: String, column: String },
    /// Anything else.
    Computed,
}

/// The time of the first window in a plan, if it has one.
pub(super) fn window_time(plan: &LogicalPlan) -> Result<Option<WindowTime>> {
    if let LogicalPlan::Aggregate(aggregate) = plan {
        for expr in &aggregate.group_expr {
            if let Some((time, _)) = window_call(expr)? {
                let traced = trace(time, &aggregate.input).map_or(
                    WindowTime::Computed,
                    |(table, column)| WindowTime::Column { table, column },
                );
                return Ok(Some(traced));
            }
        }
    }
    for input in plan.inputs() {
        if let Some(found) = window_time(input)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Follows a column down to the source: its table and its name there.
fn trace(expr: &Expr, input: &LogicalPlan) -> Option<(String, String)> {
    let Expr::Column(column) = unaliased(expr) else {
        return None;
    };
    match input {
        LogicalPlan::TableScan(scan) => {
            Some((scan.table_name.table().to_owned(), column.name.clone()))
        }
        LogicalPlan::Projection(projection) => {
            let index = position(&projection.schema, column)?;
            trace(projection.expr.get(index)?, &projection.input)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let index = position(&alias.schema, column)?;
            let (qualifier, field) = alias.input.schema().qualified_field(index);
            trace(
                &Expr::Column(Column::from((qualifier, field))),
                &alias.input,
            )
        }
        LogicalPlan::Filter(filter) => trace(expr, &filter.input),
        _ => None,
    }
}

fn position(schema: &DFSchema, column: &Column) -> Option<usize> {
    schema.maybe_index_of_column(column)
}

fn unaliased(mut expr: &Expr) -> &Expr {
    loop {
        expr = match expr {
            Expr::Alias(alias) => &alias.expr,
            other => return other,
        }
    }
}

fn execution_props() -> ExecutionProps {
    ExecutionProps {
        config_options: Some(Arc::clone(&CONFIG)),
        ..ExecutionProps::new()
    }
}

/// A logical expression as one that evaluates over batches with the columns of `schema`.
pub(super) fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let context = PhysicalPlanningContext::default();
    checked_arithmetic(create_physical_expr(
        unaliased(expr),
        schema,
        &execution_props(),
        &context,
    )?)
}

/// Makes sums and products that overflow an error instead of wrapping around.
fn checked_arithmetic(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let expr = expr.transform_up(|expr| {
        let Some(binary) = expr.downcast_ref::<BinaryExpr>() else {
            return Ok(Transformed::no(expr));
        };
        if !matches!(
            binary.op(),
            Operator::Plus | Operator::Minus | Operator::Multiply
        ) {
            return Ok(Transformed::no(expr));
        }
        let (left, right) = (Arc::clone(binary.left()), Arc::clone(binary.right()));
        let checked = BinaryExpr::new(left, *binary.op(), right).with_fail_on_overflow(true);
        Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(expr.data)
}
