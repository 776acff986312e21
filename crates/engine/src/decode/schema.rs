//! SQL types as Arrow types, the very ones that queries are planned over, and as the text the
//! pipeline file writes.

use floodmark_pipeline::SqlType;

pub use floodmark_sql::schema::{arrow_schema, arrow_type};
pub(super) use floodmark_sql::schema::{entry_fields, item_field, struct_fields};

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
