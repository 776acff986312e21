//! Makes request bodies out of the table.
//!
//! The table says what they look like; `kafka-protocol` says whether it is right.

use crate::wire::schema::{Field, Request, Shape};

/// What is special about a body. Values that can be null and arrays are numbered in the order in
/// which they are written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whims {
    /// The value that is null, whether or not it may be.
    pub(super) null: Option<usize>,
    /// The array that says it has far more elements than it has.
    pub(super) lie: Option<usize>,
    /// The array that has so many elements.
    pub(super) grow: Option<(usize, usize)>,
    /// Every text, byte string and number is as short as can be, every array has so many elements.
    pub(super) least: Option<usize>,
    /// Each struct carries one unknown tagged field.
    pub(super) tag_each: bool,
    /// What texts are taken from; random letters if there are none.
    pub(super) words: &'static [&'static str],
    /// What numbers are taken from; random ones if there are none.
    pub(super) numbers: &'static [i64],
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct Maker {
    version: i16,
    flexible: bool,
    whims: Whims,
    state: u64,
    out: Vec<u8>,
    /// Values written that can be null.
    pub(super) nullables: usize,
    /// Arrays written.
    pub(super) arrays: usize,
}

impl Maker {
    /// A body of `request`, random by `seed`.
    pub(super) fn make(
        request: &Request,
        version: i16,
        seed: u64,
        whims: Whims,
    ) -> (Vec<u8>, Self) {
        let mut maker = Self {
            version,
            flexible: version >= request.flexible,
            whims,
            state: seed,
            out: Vec::new(),
            nullables: 0,
            arrays: 0,
        };
        maker.fields(request.fields);
        (std::mem::take(&mut maker.out), maker)
    }

    /// A number below `bound` (`SplitMix64`).
    fn below(&mut self, bound: u64) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound) as usize
    }

    fn fields(&mut self, fields: &[Field]) {
        let (version, flexible) = (self.version, self.flexible);
        for field in fields.iter().filter(|field| field.is_in(version)) {
            if field.tag.is_none() {
                self.value(field);
            }
        }
        if flexible {
            self.tagged_fields(fields);
        }
    }

    /// Known ones half of the time, unknown ones with numbers that are not known in any version.
    fn tagged_fields(&mut self, fields: &[Field]) {
        let mut tagged = Vec::new();
        for tag in 0..6 {
            let known = fields.iter().find(|field| field.tag == Some(tag));
            let wanted = match (known, self.whims.tag_each, self.whims.least) {
                (Some(field), ..) => field.is_in(self.version) && self.below(2) == 0,
                (None, true, _) => tag == 5,
                (None, false, Some(_)) => false,
                (None, false, None) => self.below(8) == 0,
            };
            if wanted {
                let outer = std::mem::take(&mut self.out);
                match known {
                    Some(field) => self.value(field),
                    None => self.random_bytes(),
                }
                tagged.push((tag, std::mem::replace(&mut self.out, outer)));
            }
        }
        self.varint(tagged.len());
        for (tag, bytes) in tagged {
            self.varint(tag as usize);
            self.varint(bytes.len());
            self.out.extend(bytes);
        }
    }

    fn value(&mut self, field: &Field) {
        match field.shape {
            Shape::Fixed(size) => self.number(size),
            Shape::Text => self.text(field.nullable),
            Shape::Bytes => {
                if self.is_null(field.nullable) {
                    return self.length32(None);
                }
                let outer = std::mem::take(&mut self.out);
                self.random_bytes();
                let bytes = std::mem::replace(&mut self.out, outer);
                self.length32(Some(bytes.len()));
                self.out.extend(bytes);
            }
            Shape::Struct(fields) => self.fields(fields),
            Shape::Optional(fields) => {
                if self.is_null(field.nullable) {
                    return self.out.push(0xff);
                }
                self.out.push(1);
                self.fields(fields);
            }
            Shape::Numbers(size) => self.array(field.nullable, |maker| maker.number(size)),
            Shape::Texts => self.array(field.nullable, |maker| maker.text(false)),
            Shape::Structs(fields) => self.array(field.nullable, |maker| maker.fields(fields)),
        }
    }

    fn array(&mut self, nullable: bool, element: impl Fn(&mut Self)) {
        if self.is_null(nullable) {
            return self.length32(None);
        }
        let this = self.arrays;
        self.arrays += 1;
        let count = match (self.whims.grow, self.whims.least) {
            (Some((array, count)), _) if array == this => count,
            (_, Some(count)) => count,
            (_, None) => self.below(4),
        };
        if self.whims.lie == Some(this) {
            self.length32(Some(i32::MAX as usize - 1));
        } else {
            self.length32(Some(count));
        }
        for _ in 0..count {
            element(self);
        }
    }

    fn is_null(&mut self, nullable: bool) -> bool {
        let this = self.nullables;
        self.nullables += 1;
        match (self.whims.null, self.whims.least) {
            (Some(null), _) => null == this,
            (None, Some(_)) => false,
            (None, None) => nullable && self.below(4) == 0,
        }
    }

    fn number(&mut self, size: usize) {
        if self.whims.numbers.is_empty() {
            return self.random(size);
        }
        let number = self.whims.numbers[self.below(self.whims.numbers.len() as u64)];
        let bytes = i128::from(number).to_be_bytes();
        self.out.extend(&bytes[bytes.len() - size..]);
    }

    fn random(&mut self, bytes: usize) {
        for _ in 0..bytes {
            let byte = self.below(256) as u8;
            self.out.push(byte);
        }
    }

    fn text(&mut self, nullable: bool) {
        let text = (!self.is_null(nullable)).then(|| self.some_text());
        let length = text.as_ref().map(Vec::len);
        if self.flexible {
            self.varint(length.map_or(0, |length| length + 1));
        } else {
            let length = length.map_or(-1, |length| length as i16);
            self.out.extend(length.to_be_bytes());
        }
        self.out.extend(text.unwrap_or_default());
    }

    fn some_text(&mut self) -> Vec<u8> {
        if !self.whims.words.is_empty() {
            let word = self.below(self.whims.words.len() as u64);
            return self.whims.words[word].as_bytes().to_vec();
        }
        if self.whims.least.is_some() {
            return Vec::new();
        }
        let most = if self.below(50) == 0 { 300 } else { 12 };
        let length = self.below(most);
        (0..length).map(|_| b'a' + self.below(26) as u8).collect()
    }

    fn random_bytes(&mut self) {
        if self.whims.least.is_none() {
            let length = self.below(20);
            self.random(length);
        }
    }

    fn length32(&mut self, length: Option<usize>) {
        if self.flexible {
            self.varint(length.map_or(0, |length| length + 1));
        } else {
            let length = length.map_or(-1, |length| length as i32);
            self.out.extend(length.to_be_bytes());
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
