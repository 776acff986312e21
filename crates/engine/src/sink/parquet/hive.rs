//! Which directory each row belongs to: `column=value/…`, as Spark names them.
//!
//! Characters that file systems or URLs could misread are written `%XX` as Spark does, null and
//! the empty string become `__HIVE_DEFAULT_PARTITION__`. A value that is too long for a file name
//! is cut and marked with a checksum of the whole, because one odd row must not stop a stream.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_row::{RowConverter, SortField};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use hashbrown::HashMap;

/// Directory of null and of the empty string.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Bytes of one directory's name; file systems allow 255.
const MAX_SEGMENT_BYTES: usize = 240;

/// How values are written, as Spark casts them to strings.
const FORMAT: FormatOptions<'static> = FormatOptions::new()
    .with_display_error(true)
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f"));

/// A partition column's name and the expression behind it.
pub type PartitionBy = Vec<(String, Arc<dyn PhysicalExpr>)>;

/// Splits batches by directory.
pub(super) struct Partitioner {
    columns: PartitionBy,
    converter: Option<RowConverter>,
}

/// Why a partitioning cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartitionError {
    /// A partition column hides another value.
    #[error("the partition column \"{0}\" has the name of a column that holds something else")]
    NameTaken(String),
    /// A partition expression has no value for a row, or a type that no directory can name.
    #[error("the partition columns cannot be computed: {0}")]
    Expression(#[from] DataFusionError),
    /// The same from Arrow.
    #[error("the partition columns cannot be computed: {0}")]
    Arrow(#[from] ArrowError),
}

impl Partitioner {
    pub(super) fn new(columns: PartitionBy, schema: &Schema) -> Result<Self, PartitionError> {
        let mut fields = Vec::with_capacity(columns.len());
        for (_, expression) in &columns {
            fields.push(SortField::new(expression.data_type(schema)?));
        }
        let converter = if fields.is_empty() {
            None
        } else {
            Some(RowConverter::new(fields)?)
        };
        Ok(Self { columns, converter })
    }

    /// Columns of a file: all but those that readers take from the directory's name.
    pub(super) fn file_columns(&self, schema: &Schema) -> Result<Vec<usize>, PartitionError> {
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let taken = self.columns.iter().find(|(name, _)| name == field.name());
            match taken {
                None => columns.push(index),
                Some((_, expression)) if is_column(expression, index) => {}
                Some((name, _)) => return Err(PartitionError::NameTaken(name.clone())),
            }
        }
        Ok(columns)
    }

    /// The parts of a batch with their directories, which end in `/` unless there are none.
    pub(super) fn split(
        &self,
        batch: RecordBatch,
    ) -> Result<Vec<(String, RecordBatch)>, PartitionError> {
        let Some(converter) = &self.converter else {
            return Ok(vec![(String::new(), batch)]);
        };
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let values = self.values(&batch)?;
        let keys = converter.convert_columns(&values)?;
        let first = keys.row(0);
        if (1..batch.num_rows()).all(|row| keys.row(row) == first) {
            return Ok(vec![(self.directory(&values, 0)?, batch)]);
        }

        let keys: Vec<_> = keys.iter().collect();
        let groups = grouped(keys.iter().map(AsRef::as_ref));
        let mut parts = Vec::with_capacity(groups.len());
        for rows in groups {
            let directory = self.directory(&values, rows[0] as usize)?;
            parts.push((
                directory,
                take_record_batch(&batch, &UInt32Array::from(rows))?,
            ));
        }
        Ok(parts)
    }

    fn values(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, PartitionError> {
        let rows = batch.num_rows();
        let evaluated = self
            .columns
            .iter()
            .map(|(_, expression)| Ok(expression.evaluate(batch)?.into_array(rows)?));
        evaluated.collect()
    }

    fn directory(&self, values: &[ArrayRef], row: usize) -> Result<String, PartitionError> {
        let mut directory = String::new();
        let mut text = String::new();
        for ((name, _), values) in self.columns.iter().zip(values) {
            text.clear();
            if values.is_valid(row) {
                let formatter = ArrayFormatter::try_new(values.as_ref(), &FORMAT)?;
                // Cannot fail: display errors are written as text.
                let _ = write!(text, "{}", formatter.value(row));
            }
            let mut segment = String::new();
            escape(name, &mut segment);
            segment.push('=');
            if text.is_empty() {
                segment.push_str(NULL);
            } else {
                escape(&text, &mut segment);
            }
            directory.push_str(&bounded(segment));
            directory.push('/');
        }
        Ok(directory)
    }
}

/// Rows with equal keys, each group in the order of its first row.
fn grouped<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u32>> {
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut group_of: HashMap<&[u8], usize> = HashMap::new();
    let mut last: Option<(&[u8], usize)> = None;
    for (row, key) in (0..).zip(keys) {
        let group = match last {
            Some((previous, group)) if previous == key => group,
            _ => *group_of.entry(key).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            }),
        };
        last = Some((key, group));
        groups[group].push(row);
    }
    groups
}

/// The schema of a file, and what its columns are cast to: instants in microseconds, because
/// Spark reads no others, and plain strings and bytes instead of views.
pub(super) fn file_schema(schema: &Schema, columns: &[usize]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|index| {
            let field = schema.field(*index);
            field.clone().with_data_type(file_type(field.data_type()))
        })
        .collect();
    Arc::new(Schema::new(fields))
}

fn file_type(ty: &DataType) -> DataType {
    use arrow::datatypes::TimeUnit;
    match ty {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

fn is_column(expression: &Arc<dyn PhysicalExpr>, index: usize) -> bool {
    expression
        .downcast_ref::<Column>()
        .is_some_and(|column| column.index() == index)
}

/// Spark's `ExternalCatalogUtils.escapePathName`; NUL besides, which no path can hold.
fn escape(text: &str, to: &mut String) {
    for c in text.chars() {
        let special = c < ' '
            || matches!(
                c,
                '"' | '#'
                    | '%'
                    | '\''
                    | '*'
                    | '/'
                    | ':'
                    | '='
                    | '?'
                    | '\\'
                    | '\x7f'
                    | '{'
                    | '['
                    | ']'
                    | '^'
            );
        if special {
            let _ = write!(to, "%{:02X}", c as u32);
        } else {
            to.push(c);
        }
    }
}

/// Cuts what is too long for a file name.
fn bounded(mut segment: String) -> String {
    if segment.len() > MAX_SEGMENT_BYTES {
        let checksum = crc32fast::hash(segment.as_bytes());
        let mark = format!("~{:x}-{checksum:08x}", segment.len());
        let mut keep = MAX_SEGMENT_BYTES - mark.len();
        while !segment.is_char_boundary(keep) {
            keep -= 1;
        }
        segment.truncate(keep);
        segment.push_str(&mark);
    }
    segment
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimeUnit;
    use datafusion_physical_expr::expressions::col;

    use super::*;

    fn batch(values: Vec<Option<&str>>) -> RecordBatch {
        let rows = values.len() as i64;
        let fields = vec![
            Field::new("s", DataType::Utf8, true),
            Field::new(
                "t",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                true,
            ),
            Field::new("n", DataType::Int64, false),
        ];
        let times = TimestampMicrosecondArray::from(vec![1_500_000; rows as usize]);
        RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            vec![
                Arc::new(StringArray::from(values)),
                Arc::new(times.with_timezone("UTC")),
                Arc::new(Int64Array::from_iter_values(0..rows)),
            ],
        )
        .expect("a batch")
    }

    fn split(batch: &RecordBatch, by: &[&str]) -> Vec<(String, usize)> {
        let schema = batch.schema();
        let columns = by
            .iter()
            .map(|name| ((*name).to_owned(), col(name, &schema).unwrap()))
            .collect();
        let partitioner = Partitioner::new(columns, &schema).expect("a partitioner");
        let parts = partitioner.split(batch.clone()).expect("parts");
        parts
            .into_iter()
            .map(|(directory, part)| (directory, part.num_rows()))
            .collect()
    }

    #[test]
    fn rows_without_partition_columns_stay_together() {
        assert_eq!(
            split(&batch(vec![Some("a"), None]), &[]),
            [(String::new(), 2)]
        );
    }

    #[test]
    fn directories_are_named_as_spark_names_them() {
        let rows = batch(vec![
            Some("a/b:c d=é%"),
            None,
            Some(""),
            Some("plain"),
            Some("plain"),
        ]);
        let wanted = [
            ("s=a%2Fb%3Ac d%3Dé%25/t=1970-01-01 00%3A00%3A01.500/", 1),
            (
                "s=__HIVE_DEFAULT_PARTITION__/t=1970-01-01 00%3A00%3A01.500/",
                1,
            ),
            (
                "s=__HIVE_DEFAULT_PARTITION__/t=1970-01-01 00%3A00%3A01.500/",
                1,
            ),
            ("s=plain/t=1970-01-01 00%3A00%3A01.500/", 2),
        ];
        let wanted: Vec<_> = wanted.map(|(name, rows)| (name.to_owned(), rows)).into();
        assert_eq!(split(&rows, &["s", "t"]), wanted);
    }

    #[test]
    fn a_value_too_long_for_a_file_name_is_cut_and_stays_distinct() {
        let (a, b) = (
            format!("{}a", "é".repeat(400)),
            format!("{}b", "é".repeat(400)),
        );
        let parts = split(&batch(vec![Some(&a), Some(&b)]), &["s"]);
        assert_eq!(parts.len(), 2);
        assert_ne!(parts[0].0, parts[1].0);
        assert!(
            parts
                .iter()
                .all(|(name, _)| name.len() <= MAX_SEGMENT_BYTES + 1)
        );
    }

    #[test]
    fn a_column_that_the_directory_names_is_not_written_twice_and_another_is_not_hidden() {
        let schema = batch(vec![None]).schema();
        let by = |name: &str, of: &str| {
            let columns = vec![(name.to_owned(), col(of, &schema).unwrap())];
            Partitioner::new(columns, &schema)
                .expect("a partitioner")
                .file_columns(&schema)
        };
        assert_eq!(by("s", "s").expect("the same column"), [1, 2]);
        assert_eq!(by("other", "s").expect("another name"), [0, 1, 2]);
        assert!(matches!(by("n", "s"), Err(PartitionError::NameTaken(_))));
    }
}
