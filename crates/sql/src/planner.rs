//! The plan of a whole pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion_common::{DFSchema, DFSchemaRef, Result as DataFusionResult};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::sqlparser::ast::Query;
use floodmark_pipeline::{Output, Pipeline, Sink, SqlText, View};

use super::catalog::{Catalog, Spelling};
use super::check::Checker;
use super::fingerprint::fingerprint;
use super::lower::WindowTime;
use super::problem::{Problems, QueryRef, SqlCode, SqlProblem};
use super::step::Step;
use super::text::Text;
use super::types::{sql_name, storable};
use super::units::SourceId;
use super::walk::Node;
use super::window::WindowPlan;
use super::{logical, lower, rewrite, walk};

/// The programs of a pipeline's outputs, in the order of the file.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One an output.
    pub outputs: Vec<OutputPlan>,
}

/// The program of one output.
#[derive(Debug, Clone)]
pub struct OutputPlan {
    /// The output's name.
    pub name: String,
    /// The one source it reads.
    pub source: SourceId,
    /// Positions of the source's columns that it reads.
    pub source_columns: Vec<usize>,
    /// Steps over the source's rows, before the window if there is one.
    pub before: Vec<Step>,
    /// Whether there is a window.
    pub kind: OutputKind,
    /// Steps over what the window yields; empty for a stateless output.
    pub after: Vec<Step>,
    /// Columns of the result.
    pub schema: SchemaRef,
    /// Partition columns and their text, over the result.
    pub partition_by: Vec<(String, Arc<dyn PhysicalExpr>)>,
    /// Record key, text or bytes, over the result.
    pub key: Option<Arc<dyn PhysicalExpr>>,
    /// Record headers, text or bytes, over the result.
    pub headers: Vec<(String, Arc<dyn PhysicalExpr>)>,
    /// Changes if and only if state of the output's open windows cannot be continued. Readable:
    /// two of them compared by line show what has changed.
    pub fingerprint: String,
}

/// Whether an output keeps state.
#[derive(Debug, Clone)]
pub enum OutputKind {
    /// Each row alone makes its result.
    Stateless,
    /// Rows are aggregated by window.
    Windowed(Box<WindowPlan>),
}

/// Plans every output of a pipeline, or says everything that is wrong.
pub fn plan(pipeline: &Pipeline) -> Result<Plan, Vec<SqlProblem>> {
    let mut problems = Vec::new();
    let mut catalog = Catalog::new(&pipeline.sources);
    plan_views(&pipeline.views, &mut catalog, &mut problems);
    let mut outputs = Vec::new();
    for output in &pipeline.outputs {
        let query = QueryRef::Output(output.name.clone());
        let planned = plan_output(
            output,
            pipeline,
            &catalog,
            &mut Problems::new(&query, &mut problems),
        );
        let Some(planned) = planned else { continue };
        let sink = plan_sink(output, planned, &mut problems);
        outputs.extend(sink);
    }
    if problems.is_empty() {
        Ok(Plan { outputs })
    } else {
        Err(problems)
    }
}

/// Plans the views, each after those it reads.
fn plan_views(views: &[View], catalog: &mut Catalog, problems: &mut Vec<SqlProblem>) {
    let mut waiting: BTreeMap<&str, (&View, BTreeSet<String>)> = BTreeMap::new();
    for view in views {
        let reads = reads(&view.query);
        waiting.insert(&view.name, (view, reads));
    }
    loop {
        let names: BTreeSet<String> = waiting.keys().map(|n| n.to_ascii_lowercase()).collect();
        let ready: Vec<&str> = waiting
            .iter()
            .filter(|(_, (_, reads))| reads.is_disjoint(&names))
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            break;
        }
        for name in ready {
            if let Some((view, _)) = waiting.remove(name) {
                let query = QueryRef::View(view.name.clone());
                let mut problems = Problems::new(&query, problems);
                let planned = plan_query(&view.query, catalog, &mut problems);
                catalog.add_view(name, planned);
            }
        }
    }
    report_cycles(&waiting, catalog, problems);
}

/// What is left reads itself, or reads what reads itself.
fn report_cycles(
    waiting: &BTreeMap<&str, (&View, BTreeSet<String>)>,
    catalog: &mut Catalog,
    problems: &mut Vec<SqlProblem>,
) {
    for (name, (view, _)) in waiting {
        catalog.add_view(name, None);
        if let Some(path) = cycle(name, waiting) {
            let query = QueryRef::View(view.name.clone());
            let at = Text::new(&view.query.text)
                .ok()
                .and_then(|t| t.word(path.get(1)?));
            let message = format!("the view reads itself: {}", path.join(" -> "));
            Problems::new(&query, problems).add(SqlCode::Type, at, message);
        }
    }
}

/// The way from a view back to itself.
fn cycle(start: &str, views: &BTreeMap<&str, (&View, BTreeSet<String>)>) -> Option<Vec<String>> {
    let start = start.to_ascii_lowercase();
    let reads: BTreeMap<String, &BTreeSet<String>> = views
        .iter()
        .map(|(n, (_, reads))| (n.to_ascii_lowercase(), reads))
        .collect();
    let mut paths = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop() {
        for next in reads.get(path.last()?).into_iter().flat_map(|r| r.iter()) {
            let mut longer = path.clone();
            longer.push(next.clone());
            if *next == start {
                return Some(longer);
            }
            if reads.contains_key(next) && seen.insert(next.clone()) {
                paths.push(longer);
            }
        }
    }
    None
}

/// The tables a query names, lower case; none if it cannot be parsed.
fn reads(query: &SqlText) -> BTreeSet<String> {
    let mut reads = BTreeSet::new();
    let parsed: Option<Query> = Text::new(&query.text).ok().and_then(|t| t.query().ok());
    if let Some(query) = parsed {
        walk::read(&query, &mut |node| {
            if let Node::Relation(name) = node {
                reads.insert(name.to_string().replace('`', "").to_ascii_lowercase());
            }
            ControlFlow::Continue(())
        });
    }
    reads
}

/// Checks and plans one query: its plan, how its columns are spelled, whether it has a window.
fn plan_query(
    query: &SqlText,
    catalog: &Catalog,
    problems: &mut Problems<'_>,
) -> Option<(LogicalPlan, Spelling, bool)> {
    let (text, mut parsed) = match Text::new(&query.text).and_then(|t| t.query().map(|q| (t, q))) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.add(SqlCode::Syntax, error.at, error.message);
            return None;
        }
    };
    let before = problems.count();
    let checked = Checker {
        text: &text,
        catalog,
        problems,
    }
    .query(&parsed);
    if problems.count() > before {
        return None;
    }
    if reads(query).iter().any(|name| catalog.is_broken(name)) {
        return None;
    }
    rewrite::query(&mut parsed, &text);
    match logical::query(parsed, catalog) {
        Ok(plan) => {
            check_event_time(&plan, catalog, &text, problems);
            (problems.count() == before).then_some((plan, checked.spelling, checked.windowed))
        }
        Err(error) => {
            problems.planner(&error, &text);
            None
        }
    }
}

/// The time of a window must be the source's event time: no other column has a watermark.
fn check_event_time(
    plan: &LogicalPlan,
    catalog: &Catalog,
    text: &Text<'_>,
    problems: &mut Problems<'_>,
) {
    let traced = match lower::window_time(plan) {
        Ok(None) => return,
        Ok(Some(traced)) => traced,
        Err(error) => return problems.planner(&error, text),
    };
    let at = text.word("window");
    let WindowTime::Column { table, column } = traced else {
        let message = "the time of a window must be the source's event time column, unchanged: \
                       only that column has a watermark";
        return problems.add(SqlCode::EventTime, at, message);
    };
    let event_time = catalog.stream(&table).and_then(|s| s.event_time.clone());
    match event_time {
        Some(event_time) if event_time == column => {}
        Some(event_time) => problems.add_with_help(
            SqlCode::EventTime,
            at,
            format!(
                "`{column}` has no watermark: the event time of source `{table}` is `{event_time}`"
            ),
            format!("window by `{event_time}`, or make `{column}` the source's event time"),
        ),
        None => problems.add_with_help(
            SqlCode::EventTime,
            at,
            format!("source `{table}` has no event time, so no window over it ever completes"),
            format!("add [sources.{table}.event_time] with column = \"{column}\""),
        ),
    }
}

fn plan_output(
    output: &Output,
    pipeline: &Pipeline,
    catalog: &Catalog,
    problems: &mut Problems<'_>,
) -> Option<OutputPlan> {
    let (plan, spelling, _) = plan_query(&output.query, catalog, problems)?;
    let text = Text::new(&output.query.text).ok()?;
    let plan = check_columns(plan, &spelling, &text, problems)?;
    let program = logical::optimize(plan).and_then(|plan| lower::lower(&plan, catalog, &spelling));
    let program = match program {
        Ok(program) => program,
        Err(error) => {
            problems.planner(&error, &text);
            return None;
        }
    };
    let source = pipeline
        .sources
        .get(program.stream.id.0)
        .map_or("", |s| s.name.as_str());
    Some(OutputPlan {
        name: output.name.clone(),
        source: program.stream.id,
        fingerprint: fingerprint(source, &program),
        source_columns: program.columns,
        before: program.before,
        kind: program
            .window
            .map_or(OutputKind::Stateless, |w| OutputKind::Windowed(Box::new(w))),
        after: program.after,
        schema: program.schema,
        partition_by: Vec::new(),
        key: None,
        headers: Vec::new(),
    })
}

/// Casts the result's columns to types that sinks store; refuses what has none and names that
/// stand twice.
fn check_columns(
    plan: LogicalPlan,
    spelling: &Spelling,
    text: &Text<'_>,
    problems: &mut Problems<'_>,
) -> Option<LogicalPlan> {
    let mut exprs = Vec::new();
    let mut seen = BTreeSet::new();
    let mut changed = false;
    let before = problems.count();
    for (qualifier, field) in plan.schema().iter() {
        let name = spelling.get(field.name()).unwrap_or(field.name());
        if !seen.insert(field.name()) {
            let message = format!("two columns of the result are named `{name}`");
            problems.add(SqlCode::Type, text.word(name), message);
        }
        let column = Expr::Column((qualifier, field).into());
        match storable(field.data_type()) {
            None => {
                let ty = sql_name(field.data_type());
                let message = format!("column `{name}` is of type {ty}, which no sink stores");
                let help = "cast it, for example to STRING, BIGINT or DOUBLE";
                problems.add_with_help(SqlCode::Type, text.word(name), message, help);
            }
            Some(ty) if ty != *field.data_type() => {
                changed = true;
                exprs.push(cast(column, ty).alias(field.name()));
            }
            Some(_) => exprs.push(column),
        }
    }
    if problems.count() > before {
        return None;
    }
    if !changed {
        return Some(plan);
    }
    match LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
    {
        Ok(plan) => Some(plan),
        Err(error) => {
            problems.planner(&error, text);
            None
        }
    }
}

/// Adds the expressions of the output's sink, over the output's columns.
fn plan_sink(
    output: &Output,
    mut planned: OutputPlan,
    problems: &mut Vec<SqlProblem>,
) -> Option<OutputPlan> {
    let before = problems.len();
    let lower = planned
        .schema
        .fields()
        .iter()
        .map(|f| f.as_ref().clone().with_name(f.name().to_ascii_lowercase()));
    let schema: DFSchemaRef =
        Arc::new(DFSchema::try_from(Schema::new(lower.collect::<Vec<_>>())).ok()?);
    let names: Spelling = planned
        .schema
        .fields()
        .iter()
        .map(|f| (f.name().to_ascii_lowercase(), f.name().clone()))
        .collect();
    let mut plan = |query: QueryRef, sql: &SqlText, ty: fn(&DataType) -> DataType| {
        sink_expression(
            sql,
            &schema,
            &names,
            ty,
            &mut Problems::new(&query, problems),
        )
    };
    let name = || output.name.clone();
    match &output.sink {
        Sink::Parquet(parquet) => {
            for (column, sql) in &parquet.partition_by {
                let query = QueryRef::PartitionBy {
                    output: name(),
                    column: column.clone(),
                };
                let expr = plan(query, sql, |_| DataType::Utf8);
                planned
                    .partition_by
                    .extend(expr.map(|e| (column.clone(), e)));
            }
        }
        Sink::Kafka(kafka) => {
            planned.key = kafka
                .key
                .as_ref()
                .and_then(|sql| plan(QueryRef::Key { output: name() }, sql, text_or_bytes));
            for (header, sql) in &kafka.headers {
                let query = QueryRef::Header {
                    output: name(),
                    header: header.clone(),
                };
                let expr = plan(query, sql, text_or_bytes);
                planned.headers.extend(expr.map(|e| (header.clone(), e)));
            }
        }
        Sink::Console => {}
    }
    (problems.len() == before).then_some(planned)
}

fn text_or_bytes(ty: &DataType) -> DataType {
    match storable(ty) {
        Some(DataType::Binary) => DataType::Binary,
        _ => DataType::Utf8,
    }
}

fn sink_expression(
    sql: &SqlText,
    schema: &DFSchemaRef,
    names: &Spelling,
    ty: fn(&DataType) -> DataType,
    problems: &mut Problems<'_>,
) -> Option<Arc<dyn PhysicalExpr>> {
    let (text, mut parsed) = match Text::new(&sql.text).and_then(|t| t.expr().map(|e| (t, e))) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.add(SqlCode::Syntax, error.at, error.message);
            return None;
        }
    };
    let before = problems.count();
    let catalog = Catalog::default();
    let columns = names.keys().cloned().collect();
    Checker {
        text: &text,
        catalog: &catalog,
        problems,
    }
    .expression(&parsed, columns, names.clone());
    if problems.count() > before {
        return None;
    }
    rewrite::expr(&mut parsed);
    let planned: DataFusionResult<_> =
        logical::expression(parsed, schema, ty).and_then(|expr| lower::physical(&expr, schema));
    match planned {
        Ok(expr) => Some(expr),
        Err(error) => {
            problems.planner(&error, &text);
            None
        }
    }
}
