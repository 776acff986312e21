//! Records to decode: what fits a schema in many spellings, what does not, and what is damaged.

use floodmark_pipeline::{Column, SqlType, TimestampFormat};
use rand::Rng;
use rand::rngs::SmallRng;

/// Writes a record for the columns: mostly what fits, in any order and spelling.
struct Writer<'a> {
    rng: &'a mut SmallRng,
    out: String,
}

impl Writer<'_> {
    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.rng.random_range(0..texts.len())]
    }

    fn put_one_of(&mut self, texts: &[&str]) {
        let text = self.one_of(texts);
        self.out += text;
    }

    fn gap(&mut self) {
        if self.rng.random_bool(0.1) {
            self.put_one_of(&["", " ", "\n\t", "\r "]);
        }
    }

    fn record(&mut self, columns: &[Column]) {
        let mut order: Vec<usize> = (0..columns.len()).collect();
        for last in (1..order.len()).rev() {
            if self.rng.random_bool(0.2) {
                order.swap(last, self.rng.random_range(0..=last));
            }
        }
        order.retain(|_| !self.rng.random_bool(0.05));
        if let Some(&again) = order.first().filter(|_| self.rng.random_bool(0.1)) {
            order.push(again);
        }
        let columns: Vec<_> = order.iter().map(|&at| &columns[at]).collect();
        let fields = columns
            .iter()
            .map(|c| (c.name.as_str(), &c.ty, c.timestamp_format));
        self.object(&fields.collect::<Vec<_>>());
    }

    fn object(&mut self, fields: &[(&str, &SqlType, TimestampFormat)]) {
        self.out.push('{');
        self.gap();
        let mut first = true;
        for (name, ty, format) in fields {
            if self.rng.random_bool(0.05) {
                self.comma(&mut first);
                self.out += "\"unknown\":";
                self.anything(3);
            }
            self.comma(&mut first);
            self.string(name);
            self.gap();
            self.out.push(':');
            self.gap();
            self.value(ty, *format);
            self.gap();
        }
        self.out.push('}');
    }

    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(',');
            self.gap();
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            if self.rng.random_bool(0.03) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.out += &format!("\\u{unit:04x}");
                }
            } else if matches!(c, '"' | '\\') {
                self.out.extend(['\\', c]);
            } else {
                self.out.push(c);
            }
        }
        self.out.push('"');
    }

    fn text(&mut self) {
        let alphabet = [
            "a", "Z", "0", " ", "é", "名", "🦀", "\\n", "\\u0007", "\\\"", "\\/", "\u{7f}",
        ];
        self.out.push('"');
        for _ in 0..self.rng.random_range(0..40) {
            if self.rng.random_bool(0.8) {
                self.out.push('x');
            } else {
                self.put_one_of(&alphabet);
            }
        }
        self.out.push('"');
    }

    fn number(&mut self) {
        let special = [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "1e5",
            "1E-7",
            "0e999999999999999999999",
            "5e-324",
            "2147483647",
            "2147483648",
            "-2147483648",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "0.1",
            "123456789012345678901234567890",
            "1.5",
            "2.5",
            "-0.5",
            "99999999999999999999999999999999999999",
            "0.00000000000000000000000000000000000001",
            "9007199254740993",
            "3.4028236e38",
            "1e39",
            "1e308",
            "1e-400",
            "1e400",
            "1755434096",
            "1755434096.123456789",
            "-62135596800",
            "253402300800",
            "4.9999999999999999999999",
        ];
        if self.rng.random_bool(0.3) {
            self.put_one_of(&special);
            return;
        }
        let (whole, fraction) = (self.rng.random::<i64>(), self.rng.random::<u64>());
        let whole = whole >> self.rng.random_range(0..64);
        self.out += &whole.to_string();
        if self.rng.random_bool(0.5) {
            self.out += &format!(".{}", fraction >> self.rng.random_range(0..64));
        }
        if self.rng.random_bool(0.1) {
            self.out += &format!("e{}", self.rng.random_range(-40..40));
        }
    }

    fn value(&mut self, ty: &SqlType, format: TimestampFormat) {
        if self.rng.random_bool(0.02) {
            return self.anything(3);
        }
        if self.rng.random_bool(0.05) {
            self.out += "null";
            return;
        }
        match ty {
            SqlType::String => self.text(),
            SqlType::Boolean => self.out += if self.rng.random() { "true" } else { "false" },
            SqlType::Int | SqlType::BigInt => self.integer(),
            SqlType::Float | SqlType::Double => self.number(),
            SqlType::Decimal(precision, scale) => self.decimal(*precision, *scale),
            SqlType::Date => self.date(),
            SqlType::Timestamp if format == TimestampFormat::Rfc3339 => self.timestamp(),
            SqlType::Timestamp => self.epoch(format),
            SqlType::Binary => {
                let all = [
                    "\"\"",
                    "\"AA==\"",
                    "\"TWE=\"",
                    "\"TWFu\"",
                    "\"\\/+8=\"",
                    "\"AB\"",
                    "\"A===\"",
                ];
                self.put_one_of(&all);
            }
            SqlType::Array(item) => {
                self.out.push('[');
                let mut first = true;
                for _ in 0..self.rng.random_range(0..4) {
                    self.comma(&mut first);
                    self.value(item, format);
                }
                self.out.push(']');
            }
            SqlType::Struct(fields) => {
                let fields = fields.iter().map(|(name, ty)| (name.as_str(), ty, format));
                let fields: Vec<_> = fields.collect();
                let count = self.rng.random_range(0..=fields.len());
                self.object(&fields[..count]);
            }
            SqlType::Map(_, value) => {
                let keys = ["k", "k", "é\""];
                let fields = keys.map(|key| (key, &**value, format));
                let count = self.rng.random_range(0..=fields.len());
                self.object(&fields[..count]);
            }
        }
    }

    fn epoch(&mut self, format: TimestampFormat) {
        if format == TimestampFormat::EpochSeconds {
            self.number();
        } else {
            self.integer();
        }
    }

    fn integer(&mut self) {
        if self.rng.random_bool(0.1) {
            return self.number();
        }
        let value = self.rng.random::<i64>() >> self.rng.random_range(0..64);
        self.out += &value.to_string();
    }

    fn decimal(&mut self, precision: u8, scale: u8) {
        if self.rng.random_bool(0.3) {
            return self.number();
        }
        let text = self.rng.random_bool(0.3);
        let quote = if text { "\"" } else { "" };
        let whole: String = (scale..precision).map(|_| '9').collect();
        let fraction: String = (0..scale).map(|_| self.one_of(&["0", "4", "9"])).collect();
        let more = self.one_of(&["", "4", "5", "49", "51"]);
        let (whole, digits) = (if whole.is_empty() { "0" } else { &whole }, fraction + more);
        let point = if digits.is_empty() { "" } else { "." };
        self.out += &format!("{quote}{whole}{point}{digits}{quote}");
    }

    fn date(&mut self) {
        let (y, m, d) = (
            self.rng.random_range(0..10_000),
            self.rng.random_range(0..14),
            self.rng.random_range(0..33),
        );
        self.out += &format!("\"{y:04}-{m:02}-{d:02}\"");
    }

    fn timestamp(&mut self) {
        let (y, m, d) = (
            self.one_of(&["2025", "0001", "9999", "1969", "2024", "0000"]),
            self.one_of(&["01", "02", "08", "12"]),
            self.one_of(&["01", "17", "28", "29", "30", "31"]),
        );
        let t = self.one_of(&["T", "T", "T", "t", " "]);
        let time = self.one_of(&["00:00:00", "12:34:56", "23:59:59", "23:59:60", "24:00:00"]);
        let all = [
            "",
            ".1",
            ".12",
            ".123",
            ".1234",
            ".123456",
            ".1234567",
            ".999999999",
            ".",
        ];
        let fraction = self.one_of(&all);
        let all = [
            "Z", "Z", "z", "", "+00:00", "-05:30", "+18:00", "-18:01", "+0200", "+02", "+2",
        ];
        let zone = self.one_of(&all);
        self.string(&format!("{y}-{m}-{d}{t}{time}{fraction}{zone}"));
    }

    fn anything(&mut self, depth: usize) {
        let container = if depth == 0 { 0 } else { 2 };
        match self.rng.random_range(0..5 + container) {
            0 => self.out += "null",
            1 => self.out += "true",
            2 => self.number(),
            3 => self.text(),
            4 => {
                let all = [
                    "\"NaN\"",
                    "\"-INF\"",
                    "\"Infinity\"",
                    "\"1,234.5\"",
                    "\"+.5e1\"",
                    "\"\"",
                ];
                self.put_one_of(&all);
            }
            5 => {
                self.out += "[ ";
                self.anything(depth - 1);
                self.out += " , ";
                self.anything(depth - 1);
                self.out += "]";
            }
            _ => {
                self.out += "{ \"x\" : ";
                self.anything(depth - 1);
                self.out += ",\"y\\u0020z\":";
                self.anything(depth - 1);
                self.out += "}";
            }
        }
    }
}

/// A record for the columns: mostly one that fits.
pub(super) fn write(rng: &mut SmallRng, columns: &[Column]) -> Vec<u8> {
    let mut writer = Writer {
        rng,
        out: String::new(),
    };
    writer.record(columns);
    writer.out.into_bytes()
}

/// Damages a record in one or two places.
pub(super) fn mutate(rng: &mut SmallRng, record: &mut Vec<u8>) {
    const PIECES: [&[u8]; 24] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"0",
        b"-",
        b".",
        b"e",
        b"\0",
        b"\x1f",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\udc00",
        b"\\ud83e\\udd80",
        b"null",
        b" ",
        b"\xef\xbb\xbf",
        b"9999",
    ];
    for _ in 0..rng.random_range(1..=2) {
        let at = rng.random_range(0..=record.len());
        match rng.random_range(0..5) {
            0 if at < record.len() => record[at] = rng.random(),
            1 if at < record.len() => drop(record.remove(at)),
            2 => record.truncate(at),
            3 if at < record.len() => {
                let other = rng.random_range(0..record.len());
                record.swap(at, other);
            }
            _ => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                record.splice(at..at, piece.iter().copied());
            }
        }
    }
}
