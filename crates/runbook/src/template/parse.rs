//! Parses a text into minijinja's syntax tree. What a runbook does not support is rejected before the
//! parser runs.

use std::ops::Range;

use minijinja::machinery::ast::{EmitExpr, Expr, Stmt};
use minijinja::machinery::{self, Span, Token};
use minijinja::syntax::SyntaxConfig;

use super::{TemplateIssue, TemplateIssueKind};

/// The most tokens of one expression. minijinja's parser recurses once per operator, which takes about
/// 1.8 KB of stack in a debug build.
pub(crate) const MAX_TOKENS: usize = 256;

/// The maximum nesting of brackets. minijinja's parser recurses through ten functions for each.
pub(crate) const MAX_BRACKETS: usize = 24;

/// The maximum size of a text with a template. minijinja counts lines and columns in 16 bits and panics
/// beyond them.
pub(crate) const MAX_BYTES: usize = 32 * 1024;

/// A parsed text.
pub(crate) struct Template<'t> {
    text: &'t str,
    root: Stmt<'t>,
}

/// Whether a text contains the start of a template.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Parses a text.
pub(crate) fn parse(text: &str) -> Result<Template<'_>, Box<TemplateIssue>> {
    if text.len() > MAX_BYTES {
        return Err(new_issue(0..0, TemplateIssueKind::TooManyBytes));
    }
    check_tokens(text)?;
    let root = machinery::parse(text, "template", SyntaxConfig::default());
    let root = root.map_err(|error| syntax_issue(text, &error))?;
    Ok(Template { text, root })
}

impl<'t> Template<'t> {
    /// Returns the parsed text.
    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    fn statements(&self) -> &[Stmt<'t>] {
        match &self.root {
            Stmt::Template(template) => &template.children,
            _ => &[],
        }
    }

    /// Returns the expressions in order.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expr<'t>> {
        self.emitted().map(|emit| &emit.expr)
    }

    fn emitted(&self) -> impl Iterator<Item = &EmitExpr<'t>> {
        self.statements().iter().filter_map(|statement| match statement {
            Stmt::EmitExpr(emit) => Some(&**emit),
            _ => None,
        })
    }

    /// Returns the expression, if only whitespace surrounds it: its value is then passed on with its
    /// type.
    pub(crate) fn whole(&self) -> Option<&Expr<'t>> {
        let is_blank = |statement: &&Stmt| match statement {
            Stmt::EmitRaw(raw) => raw.raw.trim().is_empty(),
            _ => false,
        };
        let mut rest = self.statements().iter().filter(|statement| !is_blank(statement));
        match (rest.next(), rest.next()) {
            (Some(Stmt::EmitExpr(emit)), None) => Some(&emit.expr),
            _ => None,
        }
    }
}

/// Returns the text of a whole expression without its braces.
pub(crate) fn inside_braces(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    Some(inside.strip_suffix(['-', '+']).unwrap_or(inside).trim())
}

/// Rejects statements, comments and long expressions by their tokens, which are found without
/// recursion.
fn check_tokens(text: &str) -> Result<(), Box<TemplateIssue>> {
    let mut tokens_inside = 0;
    let mut brackets = 0_usize;
    let mut inside = None;
    let mut covered = 0;
    for token in machinery::tokenize(text, false, SyntaxConfig::default()) {
        let (token, span) = token.map_err(|error| syntax_issue(text, &error))?;
        let span = bytes(text, span);
        if inside.is_none() {
            reject_comments(text, covered..span.start)?;
        }
        covered = covered.max(span.end);
        match token {
            Token::BlockStart => {
                return Err(new_issue(
                    statement_span(text, span.start),
                    TemplateIssueKind::Statement,
                ));
            }
            Token::VariableStart => {
                (inside, tokens_inside, brackets) = (Some(span), 0, 0);
            }
            Token::VariableEnd => {
                if let Some(start) = inside.take().filter(|_| tokens_inside == 0) {
                    return Err(new_issue(start.start..span.end, TemplateIssueKind::Empty));
                }
            }
            Token::TemplateData(_) => {}
            token => {
                tokens_inside += 1;
                if tokens_inside > MAX_TOKENS {
                    return Err(new_issue(span, TemplateIssueKind::TooLong));
                }
                match token {
                    Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => brackets += 1,
                    Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                        brackets = brackets.saturating_sub(1);
                    }
                    _ => {}
                }
                if brackets > MAX_BRACKETS {
                    return Err(new_issue(span, TemplateIssueKind::TooDeep));
                }
            }
        }
    }
    reject_comments(text, covered..text.len())?;
    inside.map_or(Ok(()), |start| Err(new_issue(start, TemplateIssueKind::Unclosed)))
}

/// Rejects comments, which have no token: they are gaps between two tokens.
fn reject_comments(text: &str, gap: Range<usize>) -> Result<(), Box<TemplateIssue>> {
    let Some(at) = text.get(gap.clone()).and_then(|gap| gap.find("{#")) else {
        return Ok(());
    };
    let start = gap.start + at;
    let end = text[start..].find("#}").map_or(gap.end, |end| start + end + 2);
    Err(new_issue(start..end, TemplateIssueKind::Comment))
}

/// Returns the span of a whole `{% … %}`.
fn statement_span(text: &str, start: usize) -> Range<usize> {
    let end = text[start..].find("%}").map_or(start + 2, |end| start + end + 2);
    start..end.min(text.len())
}

fn new_issue(span: Range<usize>, kind: TemplateIssueKind) -> Box<TemplateIssue> {
    Box::new(TemplateIssue { span, kind })
}

/// Returns the byte range of a span; minijinja's spans may be out of bounds or split a character.
pub(crate) fn bytes(text: &str, span: Span) -> Range<usize> {
    clamp(text, span.start_offset as usize..span.end_offset as usize)
}

fn clamp(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start.min(text.len()));
    let end = range.end.clamp(start, text.len());
    start..text.ceil_char_boundary(end)
}

fn syntax_issue(text: &str, error: &minijinja::Error) -> Box<TemplateIssue> {
    let span = clamp(text, error.range().unwrap_or(0..text.len()));
    let detail = error.detail().unwrap_or("not an expression");
    if detail.contains("unexpected end of input") || detail.contains("end of template") {
        let open = text.rfind("{{").unwrap_or(span.start);
        if !text[open..].contains("}}") {
            return new_issue(open..open + 2, TemplateIssueKind::Unclosed);
        }
    }
    new_issue(span, TemplateIssueKind::Syntax(detail.to_owned()))
}
