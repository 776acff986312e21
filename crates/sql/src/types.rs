//! The types in which queries end, and their names.
//!
//! Instants are microseconds in UTC and text is plain `Utf8` everywhere in the engine: sources
//! decode into these types, queries end in them and sinks write them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
pub use floodmark_functions::{UTC, timestamp};

/// The type in which a column leaves a query, or `None` if no sink can store `ty`.
///
/// The planner's own variants (string views, unsigned counts, nanoseconds) become the one form
/// of that type that the engine knows.
pub(super) fn storable(ty: &DataType) -> Option<DataType> {
    Some(match ty {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Boolean
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, _)
        | DataType::Date32
        | DataType::Map(_, _) => ty.clone(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Timestamp(_, Some(_)) => timestamp(),
        DataType::Dictionary(_, value) => storable(value)?,
        DataType::List(item) | DataType::LargeList(item) => DataType::List(Arc::new(
            Field::new_list_field(storable(item.data_type())?, true),
        )),
        DataType::Struct(fields) => {
            let fields: Option<Vec<Field>> = fields
                .iter()
                .map(|f| {
                    Some(Field::new(
                        f.name(),
                        storable(f.data_type())?,
                        f.is_nullable(),
                    ))
                })
                .collect();
            DataType::Struct(fields?.into())
        }
        _ => return None,
    })
}

/// The name of a type as the pipeline file and Spark write it.
pub(super) fn sql_name(ty: &DataType) -> String {
    match ty {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 | DataType::UInt64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => format!("DECIMAL({p},{s})"),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY".into(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".into(),
        DataType::Null => "VOID".into(),
        DataType::List(item) => format!("ARRAY<{}>", sql_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|f| format!("{}: {}", f.name(), sql_name(f.data_type())))
                .collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        DataType::Map(_, _) => "MAP".into(),
        other => other.to_string(),
    }
}
