//! Walks over a request, field by field.

use super::schema::{Field, Request, Shape};
use super::{Fault, MAX_ELEMENTS, MAX_TEXT, MAX_UNKNOWN_TAGGED_FIELDS, WireError};

/// A place in a request. Its depth of recursion is that of the table.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    request: &'static Request,
    version: i16,
    left: &'a [u8],
    elements: usize,
    unknown_tagged_fields: usize,
}

impl<'a> Walk<'a> {
    /// At the beginning of `bytes`.
    pub(super) fn new(request: &'static Request, version: i16, bytes: &'a [u8]) -> Self {
        Self {
            request,
            version,
            left: bytes,
            elements: 0,
            unknown_tagged_fields: 0,
        }
    }

    /// What it has not come to yet.
    pub(super) fn left(&self) -> &'a [u8] {
        self.left
    }

    /// Over what a header has after its correlation id: the client's id, which is returned, and
    /// in flexible versions tagged fields. The length of the id is of 16 bits in all of them.
    pub(super) fn rest_of_header(&mut self) -> Result<Option<&'a str>, WireError> {
        let id = self
            .client_id()
            .map_err(|fault| self.malformed("client_id", fault))?;
        if self.flexible() {
            self.tagged_fields(&[])?;
        }
        Ok(id)
    }

    /// Over the body.
    pub(super) fn body(&mut self) -> Result<(), WireError> {
        self.fields(self.request.fields)
    }

    fn flexible(&self) -> bool {
        self.version >= self.request.flexible
    }

    fn malformed(&self, field: &'static str, fault: Fault) -> WireError {
        WireError::Malformed {
            api: self.request.name,
            version: self.version,
            field,
            fault,
        }
    }

    fn fields(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.field(field)?;
            }
        }
        if self.flexible() {
            self.tagged_fields(fields)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &'static Field) -> Result<(), WireError> {
        let inner = self
            .value(field)
            .map_err(|fault| self.malformed(field.name, fault))?;
        let Some((times, fields)) = inner else {
            return Ok(());
        };
        for _ in 0..times {
            self.fields(fields)?;
        }
        Ok(())
    }

    /// Over a value, except for the structs in it: how many of them there are, and their fields.
    fn value(&mut self, field: &Field) -> Result<Option<(usize, &'static [Field])>, Fault> {
        let nullable = field.nullable;
        match field.shape {
            Shape::Fixed(size) => self.skip(size)?,
            Shape::Text => self.text(nullable)?,
            Shape::Bytes => {
                if let Some(length) = self.length(nullable)? {
                    self.skip(length)?;
                }
            }
            Shape::Numbers(size) => {
                if let Some(count) = self.count(nullable)? {
                    self.skip(count * size)?;
                }
            }
            Shape::Texts => {
                for _ in 0..self.count(nullable)?.unwrap_or_default() {
                    self.text(false)?;
                }
            }
            Shape::Structs(fields) => {
                return Ok(self.count(nullable)?.map(|count| (count, fields)));
            }
            Shape::Struct(fields) => return Ok(Some((1, fields))),
            Shape::Optional(fields) => match i8::from_be_bytes(self.take()?) {
                1 => return Ok(Some((1, fields))),
                -1 => {}
                other => return Err(Fault::Presence(other)),
            },
        }
        Ok(None)
    }

    /// Over the tagged fields of a struct that consists of `fields`.
    fn tagged_fields(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        const NAME: &str = "the tagged fields";
        let count = self.varint().map_err(|fault| self.malformed(NAME, fault))?;
        for _ in 0..count {
            let (tag, length) = self
                .tag_and_length()
                .map_err(|fault| self.malformed(NAME, fault))?;
            let Some(field) = fields.iter().find(|field| field.tag == Some(tag)) else {
                self.unknown_tagged_field(length)
                    .map_err(|fault| self.malformed(NAME, fault))?;
                continue;
            };
            if !field.is_in(self.version) {
                return Err(self.malformed(field.name, Fault::WrongTag));
            }
            // The decoder reads such a field by its own lengths and believes them.
            let before = self.left.len();
            self.field(field)?;
            let has = before - self.left.len();
            if has != length {
                let announced = length;
                return Err(self.malformed(field.name, Fault::TaggedLength { announced, has }));
            }
        }
        Ok(())
    }

    fn tag_and_length(&mut self) -> Result<(u32, usize), Fault> {
        Ok((self.varint()?, self.varint()? as usize))
    }

    fn unknown_tagged_field(&mut self, length: usize) -> Result<(), Fault> {
        self.unknown_tagged_fields += 1;
        if self.unknown_tagged_fields > MAX_UNKNOWN_TAGGED_FIELDS {
            return Err(Fault::TooManyTaggedFields);
        }
        self.skip(length)
    }

    fn client_id(&mut self) -> Result<Option<&'a str>, Fault> {
        match i16::from_be_bytes(self.take()?) {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| Fault::NegativeLength(i32::from(length)))?;
                let text = self.bytes(length)?;
                std::str::from_utf8(text)
                    .map(Some)
                    .map_err(|_| Fault::NotUtf8)
            }
        }
    }

    fn text(&mut self, nullable: bool) -> Result<(), Fault> {
        let length = if self.flexible() {
            self.compact_length(nullable)?
        } else {
            Self::plain_length(i32::from(i16::from_be_bytes(self.take()?)), nullable)?
        };
        match length {
            Some(length) if length > MAX_TEXT => Err(Fault::LongText(length)),
            Some(length) => self.skip(length),
            None => Ok(()),
        }
    }

    /// How many elements an array has. Each takes at least a byte.
    fn count(&mut self, nullable: bool) -> Result<Option<usize>, Fault> {
        let count = self.length(nullable)?;
        if let Some(count) = count {
            self.expect(count)?;
            self.elements += count;
            if self.elements > MAX_ELEMENTS {
                return Err(Fault::TooManyElements(self.elements));
            }
        }
        Ok(count)
    }

    /// The length of bytes or of an array.
    fn length(&mut self, nullable: bool) -> Result<Option<usize>, Fault> {
        if self.flexible() {
            self.compact_length(nullable)
        } else {
            Self::plain_length(i32::from_be_bytes(self.take()?), nullable)
        }
    }

    fn plain_length(length: i32, nullable: bool) -> Result<Option<usize>, Fault> {
        match length {
            -1 if nullable => Ok(None),
            -1 => Err(Fault::Null),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| Fault::NegativeLength(length)),
        }
    }

    fn compact_length(&mut self, nullable: bool) -> Result<Option<usize>, Fault> {
        match (self.varint()? as usize).checked_sub(1) {
            None if !nullable => Err(Fault::Null),
            length => Ok(length),
        }
    }

    /// A number in groups of seven bits, the lowest first.
    fn varint(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            let bits = u32::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault::LongVarint)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some((taken, left)) = self.left.split_first_chunk() else {
            return Err(self.truncated(N));
        };
        self.left = left;
        Ok(*taken)
    }

    fn skip(&mut self, length: usize) -> Result<(), Fault> {
        self.bytes(length).map(drop)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, left) = self
            .left
            .split_at_checked(length)
            .ok_or_else(|| self.truncated(length))?;
        self.left = left;
        Ok(taken)
    }

    fn expect(&self, length: usize) -> Result<(), Fault> {
        if self.left.len() < length {
            return Err(self.truncated(length));
        }
        Ok(())
    }

    fn truncated(&self, wanted: usize) -> Fault {
        Fault::Truncated {
            wanted,
            left: self.left.len(),
        }
    }
}
