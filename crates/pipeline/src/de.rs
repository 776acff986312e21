//! Reads a checked tree into the raw structs.
//!
//! Three things differ from a TOML deserializer: places travel beside values (see
//! [`crate::field`]), a struct's absent keys arrive as [`Field::Absent`](crate::field::Field) and
//! not as an error, and an enum with data is either a table whose `type` key names the variant or,
//! if its variants are called `$scalar`, `$array` and `$table`, chosen by the kind of the value.

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::field::{FIELD, TABLE, TEXT};
use crate::node::{Entry, Kind, Node};

/// The key whose value chooses the variant of an enum with data.
pub(crate) const TAG: &str = "type";

/// The tree did not have the shape the schema promises. Holds no value of the file.
#[derive(Debug, thiserror::Error)]
#[error("the file does not have the shape its schema describes")]
pub(crate) struct Mismatch;

impl serde::de::Error for Mismatch {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Reads `node`, which the schema check has passed.
pub(crate) fn read<'de, T: serde::Deserialize<'de>>(node: &'de Node) -> Result<T, Mismatch> {
    T::deserialize(NodeDeserializer(node))
}

#[derive(Clone, Copy)]
struct NodeDeserializer<'de>(&'de Node);

impl<'de> NodeDeserializer<'de> {
    /// A number or boolean as the text of a property.
    fn written<V: Visitor<'de>>(
        self,
        value: &impl fmt::Display,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let parts = [
            Part::Written(value.to_string()),
            Part::from(self.0.span.start),
            Part::from(self.0.span.end),
            Part::from(usize::MAX),
            Part::Bool(false),
        ];
        visitor.visit_seq(Parts::new(parts.into(), None))
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.0.kind {
            Kind::Str(text) | Kind::Datetime(text) => visitor.visit_borrowed_str(&text.value),
            Kind::Int(number) => visitor.visit_i64(*number),
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Array(items) => visitor.visit_seq(Items(items.iter())),
            Kind::Table(_) | Kind::Broken => Err(Mismatch),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match (name, &self.0.kind) {
            (FIELD, Kind::Broken) => visitor.visit_unit(),
            (FIELD, _) => {
                let parts = [Part::from(self.0.span.start), Part::from(self.0.span.end)];
                visitor.visit_seq(Parts::new(parts.into(), Some(self.0)))
            }
            (TABLE, Kind::Table(entries)) => {
                let parts = entries.iter().flat_map(|entry| {
                    [
                        Part::Str(&entry.key.name),
                        Part::from(entry.key.span.start),
                        Part::from(entry.key.span.end),
                        Part::Node(&entry.node),
                    ]
                });
                visitor.visit_seq(Parts::new(parts.collect(), None))
            }
            (TEXT, Kind::Int(number)) => self.written(number, visitor),
            (TEXT, Kind::Float(number)) => self.written(number, visitor),
            (TEXT, Kind::Bool(value)) => self.written(value, visitor),
            (TEXT, Kind::Str(text) | Kind::Datetime(text)) => {
                let parts = [
                    Part::Str(&text.value),
                    Part::from(text.span.start),
                    Part::from(text.span.end),
                    Part::from(text.verbatim_at.unwrap_or(usize::MAX)),
                    Part::Bool(text.filled),
                ];
                visitor.visit_seq(Parts::new(parts.into(), None))
            }
            (TABLE | TEXT, _) => Err(Mismatch),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match &self.0.kind {
            Kind::Table(entries) => visitor.visit_map(Fields::new(entries, fields)),
            _ => Err(Mismatch),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let by_kind = variants.iter().any(|variant| variant.starts_with('$'));
        let tag = match &self.0.kind {
            Kind::Array(_) => "$array",
            Kind::Table(_) if by_kind => "$table",
            Kind::Table(_) => match self.0.get(TAG).map(|node| &node.kind) {
                Some(Kind::Str(text)) => &text.value,
                _ => return Err(Mismatch),
            },
            _ if by_kind => "$scalar",
            Kind::Str(text) => &text.value,
            _ => return Err(Mismatch),
        };
        visitor.visit_enum(Variant { tag, node: self.0 })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mismatch> {
        self.0
            .next()
            .map(|node| seed.deserialize(NodeDeserializer(node)))
            .transpose()
    }
}

/// The keys of a table, then the struct's keys that the table does not have.
struct Fields<'de> {
    entries: std::slice::Iter<'de, Entry>,
    absent: std::vec::IntoIter<&'static str>,
    current: Option<&'de Node>,
    skip_tag: bool,
}

impl<'de> Fields<'de> {
    fn new(entries: &'de [Entry], fields: &'static [&'static str]) -> Self {
        let absent: Vec<_> = fields
            .iter()
            .copied()
            .filter(|field| entries.iter().all(|entry| entry.key.name != *field))
            .collect();
        Self {
            entries: entries.iter(),
            absent: absent.into_iter(),
            current: None,
            skip_tag: !fields.contains(&TAG),
        }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mismatch> {
        for entry in self.entries.by_ref() {
            if self.skip_tag && entry.key.name == TAG {
                continue;
            }
            self.current = Some(&entry.node);
            let key = StrDeserializer::new(&entry.key.name);
            return seed.deserialize(key).map(Some);
        }
        self.current = None;
        self.absent
            .next()
            .map(|field| seed.deserialize(BorrowedStrDeserializer::new(field)))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        match self.current.take() {
            Some(node) => seed.deserialize(NodeDeserializer(node)),
            None => seed.deserialize(Absent),
        }
    }
}

/// A key that is not there.
struct Absent;

impl<'de> Deserializer<'de> for Absent {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct Variant<'de> {
    tag: &'de str,
    node: &'de Node,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Mismatch;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Mismatch> {
        let value = seed.deserialize(BorrowedStrDeserializer::new(self.tag))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mismatch> {
        seed.deserialize(NodeDeserializer(self.node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Mismatch> {
        Err(Mismatch)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        NodeDeserializer(self.node).deserialize_struct("", fields, visitor)
    }
}

/// One element of a sequence made up by this module.
enum Part<'de> {
    Str(&'de str),
    Written(String),
    Size(usize),
    Bool(bool),
    Node(&'de Node),
}

impl From<usize> for Part<'_> {
    fn from(size: usize) -> Self {
        Self::Size(size)
    }
}

struct Parts<'de>(std::vec::IntoIter<Part<'de>>);

impl<'de> Parts<'de> {
    fn new(mut parts: Vec<Part<'de>>, value: Option<&'de Node>) -> Self {
        parts.extend(value.map(Part::Node));
        Self(parts.into_iter())
    }
}

impl<'de> SeqAccess<'de> for Parts<'de> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mismatch> {
        let Some(part) = self.0.next() else {
            return Ok(None);
        };
        match part {
            Part::Str(text) => seed.deserialize(BorrowedStrDeserializer::new(text)),
            Part::Written(text) => seed.deserialize(text.into_deserializer()),
            Part::Size(size) => seed.deserialize((size as u64).into_deserializer()),
            Part::Bool(value) => seed.deserialize(value.into_deserializer()),
            Part::Node(node) => seed.deserialize(NodeDeserializer(node)),
        }
        .map(Some)
    }
}
