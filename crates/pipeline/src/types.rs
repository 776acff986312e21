//! Types of columns as written in the file: `DECIMAL(10,2) NOT NULL`.

use std::fmt;
use std::ops::Range;

use crate::SqlType;
use crate::suggest::closest;

/// Why a type, duration, size or other small language is not understood, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misread {
    pub(crate) range: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Types may nest this deep; the decoder nests with them.
const MAX_DEPTH: usize = 16;

/// Largest precision of a decimal: 128 bits hold it.
const MAX_PRECISION: u8 = 38;

const NAMES: [&str; 19] = [
    "STRING",
    "BOOLEAN",
    "INT",
    "INTEGER",
    "BIGINT",
    "LONG",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "DEC",
    "NUMERIC",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "BINARY",
    "ARRAY",
    "STRUCT",
    "MAP",
];

/// Reads a column's type and whether it takes nulls.
pub(crate) fn parse(text: &str) -> Result<(SqlType, bool), Misread> {
    let mut parser = Parser { text, at: 0 };
    let ty = parser.ty(0)?;
    let nullable = !parser.not_null()?;
    let rest = parser.token();
    if rest.is_empty() {
        Ok((ty, nullable))
    } else {
        Err(parser.misread(rest, "nothing more is expected after the type"))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next word or sign, without taking it; empty at the end.
    fn token(&mut self) -> Range<usize> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        let rest = &self.text[self.at..];
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let end = match rest.chars().next() {
            None => 0,
            Some('`') => rest[1..].find('`').map_or(rest.len(), |end| end + 2),
            Some(c) if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            Some(c) => c.len_utf8(),
        };
        self.at..self.at + end
    }

    fn take(&mut self, token: &Range<usize>) -> &'a str {
        self.at = token.end;
        &self.text[token.clone()]
    }

    fn is(&mut self, expected: &str) -> bool {
        let token = self.token();
        let same = self.text[token.clone()].eq_ignore_ascii_case(expected);
        if same {
            self.at = token.end;
        }
        same
    }

    fn expect(&mut self, sign: &str, after: &str) -> Result<(), Misread> {
        if self.is(sign) {
            return Ok(());
        }
        let token = self.token();
        Err(self.misread(token, format!("expected `{sign}` after {after}")))
    }

    fn misread(&self, range: Range<usize>, message: impl Into<String>) -> Misread {
        // At the end there is nothing to point at but the last character.
        let last = self.text.char_indices().next_back().map_or(0, |(at, _)| at);
        let range = if range.is_empty() {
            last..self.text.len()
        } else {
            range
        };
        Misread {
            range,
            message: message.into(),
            help: None,
        }
    }

    fn ty(&mut self, depth: usize) -> Result<SqlType, Misread> {
        let token = self.token();
        if depth > MAX_DEPTH {
            return Err(self.misread(token, format!("types nest at most {MAX_DEPTH} deep")));
        }
        if token.is_empty() {
            return Err(self.misread(token, "a type is missing here"));
        }
        let name = self.take(&token).to_ascii_uppercase();
        Ok(match name.as_str() {
            "STRING" => SqlType::String,
            "BOOLEAN" => SqlType::Boolean,
            "INT" | "INTEGER" => SqlType::Int,
            "BIGINT" | "LONG" => SqlType::BigInt,
            "FLOAT" | "REAL" => SqlType::Float,
            "DOUBLE" => SqlType::Double,
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "DATE" => SqlType::Date,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => SqlType::Timestamp,
            "BINARY" => SqlType::Binary,
            "ARRAY" => self.array(depth)?,
            "STRUCT" => self.fields(depth)?,
            "MAP" => self.map(depth)?,
            _ => return Err(self.unknown(token, &name)),
        })
    }

    fn unknown(&self, token: Range<usize>, name: &str) -> Misread {
        let help = match name {
            "TINYINT" | "BYTE" | "SMALLINT" | "SHORT" | "INT32" | "INT4" => Some("INT"),
            "CHAR" | "VARCHAR" | "TEXT" | "UUID" | "JSON" | "VARIANT" => Some("STRING"),
            "BOOL" => Some("BOOLEAN"),
            "INT64" | "INT8" | "UINT64" => Some("BIGINT"),
            "FLOAT64" | "FLOAT8" | "NUMBER" => Some("DOUBLE"),
            "FLOAT32" | "FLOAT4" => Some("FLOAT"),
            "DATETIME" | "TIMESTAMPTZ" | "TIMESTAMP_NTZ" => Some("TIMESTAMP"),
            "BYTES" | "BYTEA" | "VARBINARY" => Some("BINARY"),
            "LIST" => Some("ARRAY"),
            "ROW" | "OBJECT" => Some("STRUCT"),
            _ => None,
        };
        let help = match help {
            Some(other) => Some(format!("use `{other}`")),
            None => closest(name, NAMES).map(|other| format!("did you mean `{other}`?")),
        };
        Misread {
            help: help.or_else(|| {
                Some(
                    "types are STRING, BOOLEAN, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p,s), DATE, \
                     TIMESTAMP, BINARY, ARRAY<…>, STRUCT<…> and MAP<STRING, …>"
                        .to_owned(),
                )
            }),
            ..self.misread(token, "there is no such type")
        }
    }

    /// `(p)`, `(p, s)` or nothing, which is `(10, 0)` as in Spark.
    fn decimal(&mut self) -> Result<SqlType, Misread> {
        if !self.is("(") {
            return Ok(SqlType::Decimal(10, 0));
        }
        let precision = self.number(1, MAX_PRECISION, "the precision is 1 to 38")?;
        let scale = if self.is(",") {
            self.number(0, precision, "the scale is 0 to the precision")?
        } else {
            0
        };
        self.expect(")", "precision and scale")?;
        Ok(SqlType::Decimal(precision, scale))
    }

    fn number(&mut self, least: u8, most: u8, rule: &str) -> Result<u8, Misread> {
        let token = self.token();
        match self.text[token.clone()].parse::<u8>() {
            Ok(number) if (least..=most).contains(&number) => {
                self.at = token.end;
                Ok(number)
            }
            _ => Err(self.misread(token, rule)),
        }
    }

    fn array(&mut self, depth: usize) -> Result<SqlType, Misread> {
        self.expect("<", "ARRAY")?;
        let element = self.inner(depth)?;
        self.expect(">", "the type of the elements")?;
        Ok(SqlType::Array(Box::new(element)))
    }

    fn map(&mut self, depth: usize) -> Result<SqlType, Misread> {
        self.expect("<", "MAP")?;
        let token = self.token();
        let key = self.inner(depth)?;
        if key != SqlType::String {
            return Err(self.misread(token, "keys of a MAP are STRING: JSON has no others"));
        }
        self.expect(",", "the type of the keys")?;
        let value = self.inner(depth)?;
        self.expect(">", "the type of the values")?;
        Ok(SqlType::Map(Box::new(key), Box::new(value)))
    }

    fn fields(&mut self, depth: usize) -> Result<SqlType, Misread> {
        self.expect("<", "STRUCT")?;
        let mut fields: Vec<(String, SqlType)> = Vec::new();
        loop {
            let token = self.token();
            let name = self.take(&token).trim_matches('`').to_owned();
            if !name.chars().any(|c| c.is_alphanumeric() || c == '_') {
                return Err(self.misread(token, "the name of a field is missing here"));
            }
            if fields
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(&name))
            {
                return Err(self.misread(token, "there is a field of this name already"));
            }
            // Spark takes `name: TYPE` and `name TYPE`.
            self.is(":");
            let ty = self.inner(depth)?;
            fields.push((name, ty));
            if !self.is(",") {
                break;
            }
        }
        self.expect(">", "the last field")?;
        Ok(SqlType::Struct(fields))
    }

    /// A type inside another, which always takes nulls.
    fn inner(&mut self, depth: usize) -> Result<SqlType, Misread> {
        let ty = self.ty(depth + 1)?;
        let start = self.token().start;
        if self.not_null()? {
            let message = "only a whole column can be NOT NULL, what is inside it cannot";
            return Err(self.misread(start..self.at, message));
        }
        Ok(ty)
    }

    fn not_null(&mut self) -> Result<bool, Misread> {
        if !self.is("NOT") {
            return Ok(false);
        }
        self.expect("NULL", "NOT").map(|()| true)
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("STRING"),
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::Int => f.write_str("INT"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::Float => f.write_str("FLOAT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Decimal(precision, scale) => write!(f, "DECIMAL({precision},{scale})"),
            Self::Date => f.write_str("DATE"),
            Self::Timestamp => f.write_str("TIMESTAMP"),
            Self::Binary => f.write_str("BINARY"),
            Self::Array(element) => write!(f, "ARRAY<{element}>"),
            Self::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (i, (name, ty)) in fields.iter().enumerate() {
                    let separator = if i == 0 { "" } else { ", " };
                    write!(f, "{separator}`{name}`: {ty}")?;
                }
                f.write_str(">")
            }
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: &str) -> String {
        match parse(text) {
            Ok((ty, true)) => ty.to_string(),
            Ok((ty, false)) => format!("{ty} NOT NULL"),
            Err(misread) => format!("{}: {}", &text[misread.range], misread.message),
        }
    }

    #[test]
    fn every_type_is_read() {
        assert_eq!(reads("string"), "STRING");
        assert_eq!(reads(" Timestamp  not null "), "TIMESTAMP NOT NULL");
        assert_eq!(reads("DECIMAL"), "DECIMAL(10,0)");
        assert_eq!(reads("decimal( 12 )"), "DECIMAL(12,0)");
        assert_eq!(reads("DECIMAL(38,38)"), "DECIMAL(38,38)");
        assert_eq!(
            reads("array<struct<a: int, `b c` map<string,double>>> NOT NULL"),
            "ARRAY<STRUCT<`a`: INT, `b c`: MAP<STRING, DOUBLE>>> NOT NULL"
        );
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        assert_eq!(reads("DUBBLE"), "DUBBLE: there is no such type");
        assert_eq!(reads("DECIMAL(39)"), "39: the precision is 1 to 38");
        assert_eq!(reads("DECIMAL(4,5)"), "5: the scale is 0 to the precision");
        assert_eq!(
            reads("ARRAY<INT"),
            "T: expected `>` after the type of the elements"
        );
        assert_eq!(reads("INT NOT"), "T: expected `NULL` after NOT");
        assert_eq!(
            reads("INT NULL"),
            "NULL: nothing more is expected after the type"
        );
        assert_eq!(reads(""), ": a type is missing here");
        assert_eq!(
            reads("MAP<INT, INT>"),
            "INT: keys of a MAP are STRING: JSON has no others"
        );
        assert_eq!(
            reads("ARRAY<INT NOT NULL>"),
            "NOT NULL: only a whole column can be NOT NULL, what is inside it cannot"
        );
        assert_eq!(
            reads("STRUCT<a INT, A INT>"),
            "A: there is a field of this name already"
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}INT{}", "ARRAY<".repeat(100_000), ">".repeat(100_000));
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn what_is_printed_reads_back() {
        let text = "STRUCT<`a`: ARRAY<DECIMAL(5,2)>, `é`: MAP<STRING, DATE>>";
        assert_eq!(reads(text), text);
    }
}
