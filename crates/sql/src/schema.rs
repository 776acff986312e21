//! The pipeline file's types as Arrow types: what the decoder makes is what queries are planned over.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use floodmark_pipeline::{Column, SqlType};

use super::types::timestamp;

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
        SqlType::Timestamp => timestamp(),
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
pub fn item_field(item: &SqlType) -> Field {
    Field::new_list_field(arrow_type(item), true)
}

/// The fields of a struct.
pub fn struct_fields(fields: &[(String, SqlType)]) -> Fields {
    fields
        .iter()
        .map(|(name, ty)| Field::new(name, arrow_type(ty), true))
        .collect()
}

/// The two fields of a map's entries.
pub fn entry_fields(key: &SqlType, value: &SqlType) -> Fields {
    Fields::from(vec![
        Field::new("key", arrow_type(key), false),
        Field::new("value", arrow_type(value), true),
    ])
}
