//! Finds the cause of a syntax error in a text that the parser rejects. The parser knows where it gave up and which of
//! its own productions failed; a person wants to know where the mistake is and what to write.

mod cause;
mod characters;
mod flow;
mod lines;
mod outline;
mod scalars;
#[cfg(test)]
mod tests;

use std::ops::Range;

use granit_parser::ErrorKind;

pub(crate) use cause::Cause;
pub(crate) use scalars::in_double_quotes;

use lines::Line;

/// A cause with its place in the text.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) span: Range<usize>,
    pub(crate) cause: Cause,
    /// The text to replace the span with.
    pub(crate) suggestion: Option<String>,
}

impl Found {
    fn new(span: Range<usize>, cause: Cause) -> Self {
        Self { span, cause, suggestion: None }
    }

    /// Adds a text to replace the span with, unless it is too long to be shown.
    fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        const MAX_LENGTH: usize = 400;
        self.suggestion = Some(suggestion.into()).filter(|text| text.len() <= MAX_LENGTH);
        self
    }
}

/// Returns a name for a message, shortened when it is long.
fn shown(name: &str) -> String {
    const MAX_SHOWN: usize = 40;
    let short: String = name.chars().take(MAX_SHOWN).collect();
    if short.len() < name.len() { format!("{short}…") } else { short }
}

/// Finds the cause of an error that the parser reports at a byte of the text.
pub(crate) fn find(text: &str, kind: &ErrorKind, at: usize) -> Found {
    let lines = lines::read(text);
    let last = lines.partition_point(|line| line.start <= at).max(1);
    // What follows the place where the parser gave up is not the cause. It gives up a line early at most.
    let before = &lines[..last.min(lines.len())];
    let and_next = &lines[..(last + 1).min(lines.len())];
    conflict(before)
        .or_else(|| characters::find(text, before))
        .or_else(|| tab(and_next))
        .or_else(|| comment(and_next))
        .or_else(|| outline::find(&lines, at))
        .or_else(|| literal(before))
        .unwrap_or_else(|| by_kind(text, kind, at))
}

/// Finds a conflict that git has left in the file.
fn conflict(lines: &[Line<'_>]) -> Option<Found> {
    let is_marker = |line: &&Line<'_>| {
        let mark = |sign: &str| line.text.strip_prefix(sign);
        let rest = mark("<<<<<<<").or(mark("=======")).or(mark(">>>>>>>")).or(mark("|||||||"));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\r']))
    };
    let line = lines.iter().find(is_marker)?;
    Some(Found::new(line.span(), Cause::Conflict(line.text.chars().take(7).collect())))
}

/// Finds a tab among the spaces before a line.
fn tab(lines: &[Line<'_>]) -> Option<Found> {
    let has_tab = |line: &&Line<'_>| !line.is_literal && line.blanks().contains('\t');
    let line = lines.iter().find(has_tab)?;
    let blanks = line.blanks();
    let at = line.start + blanks.find('\t')?;
    let end = line.start + blanks.len();
    let tabs = blanks.get(at - line.start..)?.replace('\t', "  ");
    Some(Found::new(at..end, Cause::Tab).suggest(tabs))
}

/// The signs with which comments of other languages begin.
const COMMENTS: [&str; 3] = ["//", "/*", "<!--"];

/// Finds a comment of another language on one of the last lines.
fn comment(lines: &[Line<'_>]) -> Option<Found> {
    /// The parser can read a few lines more before it gives up.
    const LINES: usize = 5;
    let last = lines.get(lines.len().saturating_sub(LINES)..)?;
    last.iter().filter(|line| !line.is_literal).find_map(|line| {
        let indent = line.indent();
        let content = line.text.get(indent..)?.trim_end();
        let sign = COMMENTS.iter().find(|sign| content.starts_with(*sign))?;
        Some(foreign_comment(line.start + indent, content, sign))
    })
}

/// Returns the cause for a comment of another language, which is a text at a place.
fn foreign_comment(at: usize, text: &str, sign: &'static str) -> Found {
    let found = Found::new(at..at + text.len(), Cause::ForeignComment(sign));
    let inner = text.strip_prefix(sign).unwrap_or(text);
    let inner = match sign {
        "//" => Some(inner),
        "/*" => inner.strip_suffix("*/"),
        _ => inner.strip_suffix("-->"),
    };
    match inner {
        Some(inner) => found.suggest(format!("# {}", inner.trim())),
        None => found,
    }
}

/// Finds a line of a text after `|` that is indented less than the text.
fn literal(lines: &[Line<'_>]) -> Option<Found> {
    let line = lines.last().filter(|line| line.is_literal)?;
    Some(Found::new(line.start + line.indent()..line.span().end, Cause::BlockScalarIndent))
}

/// Finds the first backslash of a string in double quotes that has no meaning with the character after it.
fn escape(text: &str, from: usize) -> Option<Found> {
    let mut at = from;
    loop {
        at += text.get(at..)?.find('\\')?;
        let rest = text.get(at + 1..)?;
        let character = rest.chars().next()?;
        let digits = match character {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0' | 'a' | 'b' | 't' | 'n' | 'v' | 'f' | 'r' | 'e' | ' ' | '"' | '/' | '\\' | 'N'
            | '_' | 'L' | 'P' | '\t' | '\n' | '\r' => 0,
            _ => usize::MAX,
        };
        let is_hexadecimal = |hex: &str| hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let has_meaning =
            digits == 0 || digits < 9 && rest.get(1..=digits).is_some_and(is_hexadecimal);
        let end = at + 1 + character.len_utf8();
        if !has_meaning {
            let escape = text.get(at..end)?;
            let found = Found::new(at..end, Cause::Escape(escape.to_owned()));
            return Some(found.suggest(format!("\\{escape}")));
        }
        at = end;
    }
}

/// Returns the cause that the parser names, where the text shows no other.
fn by_kind(text: &str, kind: &ErrorKind, at: usize) -> Found {
    let character = text.get(at..).and_then(|rest| rest.chars().next());
    if matches!(
        kind,
        ErrorKind::UnknownQuotedScalarEscape
            | ErrorKind::InvalidQuotedScalarHexEscape
            | ErrorKind::InvalidUnicodeEscape
    ) && let Some(found) = escape(text, at)
    {
        return found;
    }
    let here = at..at + character.map_or(0, char::len_utf8);
    let cause = match kind {
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            Cause::Control(*character)
        }
        ErrorKind::UnexpectedCharacter { character } => Cause::Reserved(*character),
        ErrorKind::MissingAnchorOrAliasName => Cause::Reserved(character.unwrap_or('*')),
        ErrorKind::UnclosedQuotedScalar => Cause::UnclosedQuote(character.unwrap_or('"')),
        ErrorKind::UnclosedFlowCollection { open } => Cause::UnclosedBracket(*open),
        ErrorKind::MismatchedFlowCollectionEnd { close, .. } => Cause::ExtraBracket(*close),
        ErrorKind::MisplacedFlowCollectionEnd => Cause::ExtraBracket(character.unwrap_or('}')),
        ErrorKind::DirectiveDisallowed => Cause::Reserved('%'),
        ErrorKind::BlockSequenceEntryNotAllowed | ErrorKind::BlockEntryInFlowCollection => {
            Cause::DashAfterKey
        }
        ErrorKind::InvalidBlockScalarHeader | ErrorKind::ZeroBlockScalarIndent => {
            Cause::BlockScalarHeader
        }
        ErrorKind::InvalidBlockScalarIndent | ErrorKind::TabAtBlockScalarStart => {
            Cause::BlockScalarIndent
        }
        ErrorKind::CommentNotSeparated => Cause::GluedComment,
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar => Cause::Tab,
        ErrorKind::InvalidDocumentEnd => Cause::AfterEnd,
        ErrorKind::MappingKeyNotAllowed => Cause::Reserved('?'),
        ErrorKind::InvalidIndentation | ErrorKind::InvalidQuotedScalarIndent => Cause::Indentation,
        _ => Cause::Other,
    };
    Found::new(here, cause)
}
