//! The words in which [`requests`](super::requests) says what a request consists of.
//!
//! A request is a list of fields in the order of the wire. In a *flexible* version lengths are
//! varints, one too high so that zero can be null, and every struct ends in tagged fields; in the
//! versions before, lengths are 16 bits (text) or 32 bits (bytes and arrays), and -1 is null.
//! (Kafka's `clients/src/main/resources/common/message/README.md` is the long form of this.)

/// One request of the protocol, in all versions known here.
#[derive(Debug)]
pub(super) struct Request {
    /// Number of the API.
    pub(super) key: i16,
    /// Name of the API.
    pub(super) name: &'static str,
    /// Oldest version known here.
    pub(super) first: i16,
    /// Newest version known here.
    pub(super) last: i16,
    /// First flexible version.
    pub(super) flexible: i16,
    /// What the body consists of.
    pub(super) fields: &'static [Field],
}

/// One field of a struct.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// What Kafka calls it.
    pub(super) name: &'static str,
    /// First version that has it.
    pub(super) first: i16,
    /// Last version that has it.
    pub(super) last: i16,
    /// Whether it may be null.
    pub(super) nullable: bool,
    /// Its number, where it stands among the tagged fields.
    pub(super) tag: Option<u32>,
    /// What its value looks like.
    pub(super) shape: Shape,
}

/// What a value looks like on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// So many bytes.
    Fixed(usize),
    /// A length and UTF-8.
    Text,
    /// A length and bytes.
    Bytes,
    /// Fields, one after the other.
    Struct(&'static [Field]),
    /// A byte, 1 or -1 for null, and the fields if there are any.
    Optional(&'static [Field]),
    /// A count and as many numbers of so many bytes.
    Numbers(usize),
    /// A count and as many texts.
    Texts,
    /// A count and as many structs.
    Structs(&'static [Field]),
}

impl Request {
    /// Whether `version` is known here.
    pub(super) fn has(&self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

impl Field {
    const fn new(name: &'static str, shape: Shape) -> Self {
        Self {
            name,
            first: 0,
            last: i16::MAX,
            nullable: false,
            tag: None,
            shape,
        }
    }

    /// In versions from `version` on.
    pub(super) const fn since(mut self, version: i16) -> Self {
        self.first = version;
        self
    }

    /// In versions up to `version`.
    pub(super) const fn until(mut self, version: i16) -> Self {
        self.last = version;
        self
    }

    /// May be null. Kafka knows nullable fields that older versions do not let be null; what they
    /// mean then is the handler's to say.
    pub(super) const fn or_null(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// Stands among the tagged fields as number `tag`.
    pub(super) const fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Whether `version` has it.
    pub(super) fn is_in(&self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

pub(super) const fn boolean(name: &'static str) -> Field {
    Field::new(name, Shape::Fixed(1))
}

pub(super) const fn int8(name: &'static str) -> Field {
    Field::new(name, Shape::Fixed(1))
}

pub(super) const fn int16(name: &'static str) -> Field {
    Field::new(name, Shape::Fixed(2))
}

pub(super) const fn int32(name: &'static str) -> Field {
    Field::new(name, Shape::Fixed(4))
}

pub(super) const fn int64(name: &'static str) -> Field {
    Field::new(name, Shape::Fixed(8))
}

pub(super) const fn uuid(name: &'static str) -> Field {
    Field::new(name, Shape::Fixed(16))
}

pub(super) const fn text(name: &'static str) -> Field {
    Field::new(name, Shape::Text)
}

pub(super) const fn bytes(name: &'static str) -> Field {
    Field::new(name, Shape::Bytes)
}

pub(super) const fn one(name: &'static str, fields: &'static [Field]) -> Field {
    Field::new(name, Shape::Struct(fields))
}

pub(super) const fn maybe(name: &'static str, fields: &'static [Field]) -> Field {
    Field::new(name, Shape::Optional(fields))
}

pub(super) const fn int32s(name: &'static str) -> Field {
    Field::new(name, Shape::Numbers(4))
}

pub(super) const fn int64s(name: &'static str) -> Field {
    Field::new(name, Shape::Numbers(8))
}

pub(super) const fn texts(name: &'static str) -> Field {
    Field::new(name, Shape::Texts)
}

pub(super) const fn many(name: &'static str, fields: &'static [Field]) -> Field {
    Field::new(name, Shape::Structs(fields))
}
