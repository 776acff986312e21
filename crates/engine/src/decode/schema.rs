//! SQL types as Arrow types, and as the text the pipeline file writes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use floodmark_pipeline::{Column, SqlType};

/// The Arrow schema of a source's columns.
pub fn arrow_schema(columns: &[Column]) -> SchemaRef {
    let fields: Fields = columns
        .iter()
        .map(|column| Field::new(&column.name, arrow_type(&column.ty), column.nullable))
        .collect();
    Arc::new(Schema::new(fields))
}

/// The Arrow type of a SQL type. Instants are microseconds in UTC, the one unit Spark has.
pub fn arrow_type(ty: &SqlType) -> DataType {
    match ty {
        SqlType::String => DataType::Utf8,
        SqlType::Boolean => DataType::Boolean,
        SqlType::Int => DataType::Int32,
        SqlType::BigInt => DataType::Int64,
        SqlType::Float => DataType::Float32,
        SqlType::Double => DataType::Float64,
        SqlType::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale as i8),
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        SqlType::Binary => DataType::Binary,
        SqlType::Array(item) => DataType::List(Arc::new(item_field(item))),
        SqlType::Struct(fields) => DataType::Struct(struct_fields(fields)),
        SqlType::Map(key, value) => {
            let entries = DataType::Struct(entry_fields(key, value));
            DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
        }
    }
}

/// The field of a list's elements.
pub(super) fn item_field(item: &SqlType) -> Field {
    Field::new_list_field(arrow_type(item), true)
}

/// The fields of a struct.
pub(super) fn struct_fields(fields: &[(String, SqlType)]) -> Fields {
    fields
        .iter()
        .map(|(name, ty)| Field::new(name, arrow_type(ty), true))
        .collect()
}

/// The two fields of a map's entries.
pub(super) fn entry_fields(key: &SqlType, value: &SqlType) -> Fields {
    Fields::from(vec![
        Field::new("key", arrow_type(key), false),
        Field::new("value", arrow_type(value), true),
    ])
}

/// The type as the pipeline file writes it.
pub(super) fn sql_name(ty: &SqlType) -> String {
    match ty {
        SqlType::String => "STRING".into(),
        SqlType::Boolean => "BOOLEAN".into(),
        SqlType::Int => "INT".into(),
        SqlType::BigInt => "BIGINT".into(),
        SqlType::Float => "FLOAT".into(),
        SqlType::Double => "DOUBLE".into(),
        SqlType::Decimal(precision, scale) => format!("DECIMAL({precision},{scale})"),
        SqlType::Date => "DATE".into(),
        SqlType::Timestamp => "TIMESTAMP".into(),
        SqlType::Binary => "BINARY".into(),
        SqlType::Array(_) => "ARRAY".into(),
        SqlType::Struct(_) => "STRUCT".into(),
        SqlType::Map(..) => "MAP".into(),
    }
}
