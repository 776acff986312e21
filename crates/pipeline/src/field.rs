//! The pieces raw structs are made of, each with its place in the file.

use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::Span;
use crate::node::{Key, Text};

/// Names under which the deserializer hands over places beside values.
pub(crate) const FIELD: &str = "$floodmark::field";
pub(crate) const TABLE: &str = "$floodmark::table";
pub(crate) const TEXT: &str = "$floodmark::text";

/// The value of a key.
#[derive(Debug, Clone, Default)]
pub(crate) enum Field<T> {
    /// The key is not there. If it had to be, that has been reported.
    #[default]
    Absent,
    /// The key is there with a value that was refused; that has been reported.
    Broken,
    /// The key is there.
    Given(T, Span),
}

impl<T> Field<T> {
    pub(crate) fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value, _) => Some(value),
            Self::Absent | Self::Broken => None,
        }
    }

    pub(crate) fn span(&self) -> Option<Span> {
        match self {
            Self::Given(_, span) => Some(*span),
            Self::Absent | Self::Broken => None,
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A table whose keys are names chosen by the user, in file order.
#[derive(Debug, Clone)]
pub(crate) struct Table<T>(pub(crate) Vec<(Key, Field<T>)>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
            type Value = Field<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a placed value")
            }

            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(Field::Absent)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Field::Broken)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let span = span(&mut seq)?;
                let value = next(&mut seq)?;
                Ok(Field::Given(value, span))
            }
        }

        deserializer.deserialize_newtype_struct(FIELD, FieldVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = seq.next_element()? {
                    let span = span(&mut seq)?;
                    entries.push((Key { name, span }, next(&mut seq)?));
                }
                Ok(Table(entries))
            }
        }

        deserializer.deserialize_newtype_struct(TABLE, TableVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                Ok(Text {
                    value: next(&mut seq)?,
                    span: span(&mut seq)?,
                    verbatim_at: match next::<_, usize>(&mut seq)? {
                        usize::MAX => None,
                        at => Some(at),
                    },
                    filled: next(&mut seq)?,
                })
            }
        }

        deserializer.deserialize_newtype_struct(TEXT, TextVisitor)
    }
}

fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?
        .ok_or_else(|| A::Error::custom("ended early"))
}

fn span<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Span, A::Error> {
    Ok(Span {
        start: next(seq)?,
        end: next(seq)?,
    })
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Table_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
