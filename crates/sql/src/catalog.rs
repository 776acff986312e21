//! The tables that queries read: sources and, once planned, views.
//!
//! Inside the planner every name is in lower case; the spelling to show is kept beside it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_expr::{LogicalPlan, TableSource};
use floodmark_pipeline::Source;

use super::schema::arrow_schema;
use super::units::SourceId;

/// How columns are spelled, by their name in lower case.
pub(super) type Spelling = BTreeMap<String, String>;

/// A source or a view.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// Columns in order, lower case.
    pub(super) columns: Vec<String>,
    /// How its columns are spelled.
    pub(super) spelling: Spelling,
    /// Whether its rows are results of a window.
    pub(super) windowed: bool,
    table: Arc<Table>,
}

/// What a name in `FROM` stands for.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// A relation.
    Ready(Relation),
    /// A view with problems of its own, reported there.
    Broken,
}

/// A source as the planner sees it.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// Which source.
    pub(super) id: SourceId,
    /// Its event time column, lower case.
    pub(super) event_time: Option<String>,
    /// The columns as the decoder makes them.
    pub(super) schema: SchemaRef,
}

/// Sources and views by lower-case name.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: BTreeMap<String, Entry>,
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug)]
struct Table {
    schema: SchemaRef,
    plan: Option<LogicalPlan>,
}

impl TableSource for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        self.plan.as_ref().map(Cow::Borrowed)
    }
}

impl Catalog {
    /// The catalogue of a pipeline's sources.
    pub(super) fn new(sources: &[Source]) -> Self {
        let mut this = Self::default();
        for (index, source) in sources.iter().enumerate() {
            this.add_source(SourceId(index), source);
        }
        this
    }

    fn add_source(&mut self, id: SourceId, source: &Source) {
        let schema = arrow_schema(&source.columns);
        let lower = |name: &str| name.to_ascii_lowercase();
        let planned: Vec<Field> = schema
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_name(lower(f.name())))
            .collect();
        let event_time = source
            .event_time
            .as_ref()
            .and_then(|e| source.columns.get(e.column))
            .map(|column| lower(&column.name));
        let stream = Stream {
            id,
            event_time,
            schema,
        };
        let relation = Relation {
            columns: planned.iter().map(|f| f.name().clone()).collect(),
            spelling: source
                .columns
                .iter()
                .map(|c| (lower(&c.name), c.name.clone()))
                .collect(),
            windowed: false,
            table: Arc::new(Table {
                schema: Arc::new(Schema::new(planned)),
                plan: None,
            }),
        };
        let name = lower(&source.name);
        self.streams.insert(name.clone(), stream);
        self.entries.insert(name, Entry::Ready(relation));
    }

    /// Adds a planned view, or one that could not be planned.
    pub(super) fn add_view(&mut self, name: &str, view: Option<(LogicalPlan, Spelling, bool)>) {
        let entry = view.map_or(Entry::Broken, |(plan, spelling, windowed)| {
            let schema = Arc::new(plan.schema().as_arrow().clone());
            Entry::Ready(Relation {
                columns: schema.fields().iter().map(|f| f.name().clone()).collect(),
                spelling,
                windowed,
                table: Arc::new(Table {
                    schema,
                    plan: Some(plan),
                }),
            })
        });
        self.entries.insert(name.to_ascii_lowercase(), entry);
    }

    /// What `name` stands for.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(&name.to_ascii_lowercase())
    }

    /// Whether `name` is a view with problems of its own.
    pub(super) fn is_broken(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Entry::Broken))
    }

    /// The names in use.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The table behind a name.
    pub(super) fn table(&self, name: &str) -> Option<Arc<dyn TableSource>> {
        match self.get(name) {
            Some(Entry::Ready(relation)) => Some(Arc::clone(&relation.table) as _),
            _ => None,
        }
    }

    /// The source of that name.
    pub(super) fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.get(&name.to_ascii_lowercase())
    }
}
