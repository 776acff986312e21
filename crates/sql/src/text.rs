//! SQL text: tokens, the parser, and places in the text.
//!
//! The parser counts lines and characters; everything outside this module speaks of byte ranges
//! in one query's text.

use std::any::TypeId;
use std::ops::Range;

use datafusion_sql::sqlparser::ast::{self, Query};
use datafusion_sql::sqlparser::dialect::{Dialect, SparkSqlDialect};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace,
};

/// Nesting of expressions and subqueries beyond which a query is refused.
const MAX_NESTING: usize = 64;

/// Spark's dialect, with the string escapes and intervals that Spark takes.
#[derive(Debug)]
struct Spark;

impl Dialect for Spark {
    fn dialect(&self) -> TypeId {
        TypeId::of::<SparkSqlDialect>()
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        SparkSqlDialect.is_delimited_identifier_start(ch)
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        SparkSqlDialect.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        SparkSqlDialect.is_identifier_part(ch)
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }
    fn supports_lambda_functions(&self) -> bool {
        true
    }
    fn supports_select_wildcard_except(&self) -> bool {
        true
    }
    fn supports_struct_literal(&self) -> bool {
        true
    }
    fn supports_nested_comments(&self) -> bool {
        true
    }
    fn supports_long_type_as_bigint(&self) -> bool {
        true
    }
    fn supports_bang_not_operator(&self) -> bool {
        true
    }
    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }
    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &ast::Expr,
        precedence: u8,
    ) -> Option<Result<ast::Expr, ParserError>> {
        SparkSqlDialect.parse_infix(parser, expr, precedence)
    }
}

/// A problem and where in the text it is.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: Option<Range<usize>>,
    pub(super) message: String,
}

/// One query's text with its tokens.
#[derive(Debug)]
pub(super) struct Text<'a> {
    sql: &'a str,
    line_starts: Vec<usize>,
    tokens: Vec<TokenWithSpan>,
}

impl<'a> Text<'a> {
    /// Splits `text` into tokens.
    pub(super) fn new(text: &'a str) -> Result<Self, SyntaxError> {
        let line_starts = std::iter::once(0)
            .chain(
                text.bytes()
                    .enumerate()
                    .filter(|(_, b)| *b == b'\n')
                    .map(|(i, _)| i + 1),
            )
            .collect();
        let mut this = Self {
            sql: text,
            line_starts,
            tokens: Vec::new(),
        };
        match Tokenizer::new(&Spark, text).tokenize_with_location() {
            Ok(tokens) => {
                this.tokens = tokens;
                Ok(this)
            }
            Err(error) => {
                let start = this.byte(error.location);
                Err(SyntaxError {
                    at: start.map(|s| s..this.char_end(s)),
                    message: error.message,
                })
            }
        }
    }

    /// Parses one query. Names in backticks come out in lower case like all others: Spark
    /// compares names without regard to case.
    pub(super) fn query(&self) -> Result<Query, SyntaxError> {
        self.parse(|parser| parser.parse_query().map(|q| *q))
    }

    /// Parses one expression.
    pub(super) fn expr(&self) -> Result<ast::Expr, SyntaxError> {
        self.parse(Parser::parse_expr)
    }

    fn parse<T>(
        &self,
        parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T, SyntaxError> {
        let tokens = self.tokens.iter().cloned().map(lower_case).collect();
        let mut parser = Parser::new(&Spark)
            .with_recursion_limit(MAX_NESTING)
            .with_tokens_with_locations(tokens);
        let parsed = parse(&mut parser).map_err(|error| self.syntax_error(&error))?;
        while parser.consume_token(&Token::SemiColon) {}
        let next = parser.peek_token();
        if next.token == Token::EOF {
            return Ok(parsed);
        }
        Err(SyntaxError {
            at: self.range(next.span),
            message: format!("expected the end of the query, found `{}`", next.token),
        })
    }

    fn syntax_error(&self, error: &ParserError) -> SyntaxError {
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                return SyntaxError {
                    at: None,
                    message: format!("nested deeper than {MAX_NESTING} levels"),
                };
            }
            ParserError::TokenizerError(m) | ParserError::ParserError(m) => m,
        };
        // The parser has no typed place: "… at Line: 1, Column: 8".
        let (message, at) = match message.rsplit_once(" at Line: ") {
            Some((message, place)) => (message, self.place(place)),
            None => (message.as_str(), self.found(message)),
        };
        let mut message = message.replacen("Expected", "expected", 1);
        message = message.replacen("expected: ", "expected ", 1);
        message = message.replace("found: EOF", "found the end of the query");
        message = message.replace("found: ", "found ");
        SyntaxError { at, message }
    }

    /// The word that a message without a place says was found; the end of the text otherwise.
    fn found(&self, message: &str) -> Option<Range<usize>> {
        let found = message
            .rsplit_once("found")
            .and_then(|(_, rest)| rest.split_whitespace().last());
        found
            .and_then(|word| self.word(word))
            .or(Some(self.sql.len()..self.sql.len()))
    }

    fn place(&self, place: &str) -> Option<Range<usize>> {
        let (line, column) = place.split_once(", Column: ")?;
        let location = Location {
            line: line.parse().ok()?,
            column: column.trim().parse().ok()?,
        };
        let start = self.byte(location)?;
        let token = self
            .tokens
            .iter()
            .find(|t| self.byte(t.span.start) == Some(start));
        Some(
            token
                .and_then(|t| self.range(t.span))
                .unwrap_or(start..self.char_end(start)),
        )
    }

    /// The byte range of a span; `None` for an empty one.
    pub(super) fn range(&self, span: Span) -> Option<Range<usize>> {
        let (start, end) = (self.byte(span.start)?, self.byte(span.end)?);
        (start <= end).then_some(start..end)
    }

    /// The byte range of a span of the planner.
    pub(super) fn planner_range(&self, span: datafusion_common::Span) -> Option<Range<usize>> {
        let location = |l: datafusion_common::Location| Location {
            line: l.line,
            column: l.column,
        };
        self.range(Span::new(location(span.start), location(span.end)))
    }

    /// The text of a span as written.
    pub(super) fn slice(&self, span: Span) -> Option<&'a str> {
        self.sql.get(self.range(span)?)
    }

    fn byte(&self, location: Location) -> Option<usize> {
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
        let start = *self.line_starts.get(line)?;
        let rest = self.sql.get(start..)?;
        Some(
            rest.char_indices()
                .nth(column)
                .map_or(self.sql.len(), |(i, _)| start + i),
        )
    }

    fn char_end(&self, start: usize) -> usize {
        start
            + self
                .sql
                .get(start..)
                .and_then(|t| t.chars().next())
                .map_or(0, char::len_utf8)
    }

    /// The place of the first run of these keywords.
    pub(super) fn keywords(&self, keywords: &[Keyword]) -> Option<Range<usize>> {
        let words: Vec<_> = self
            .tokens
            .iter()
            .filter(|t| {
                !matches!(
                    t.token,
                    Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab)
                )
            })
            .collect();
        let run = words.windows(keywords.len()).find(|run| {
            run.iter()
                .zip(keywords)
                .all(|(t, k)| matches!(&t.token, Token::Word(w) if w.quote_style.is_none() && w.keyword == *k))
        })?;
        let (first, last) = (run.first()?, run.last()?);
        Some(self.range(first.span)?.start..self.range(last.span)?.end)
    }

    /// The place of the first word spelled like this, whatever its case.
    pub(super) fn word(&self, word: &str) -> Option<Range<usize>> {
        let token = self
            .tokens
            .iter()
            .find(|t| matches!(&t.token, Token::Word(w) if w.value.eq_ignore_ascii_case(word)))?;
        self.range(token.span)
    }
}

fn lower_case(mut token: TokenWithSpan) -> TokenWithSpan {
    if let Token::Word(word) = &mut token.token
        && word.quote_style.is_some()
    {
        word.value.make_ascii_lowercase();
    }
    token
}
