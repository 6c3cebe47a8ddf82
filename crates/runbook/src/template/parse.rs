//! Parses a text into minijinja's syntax tree. What a runbook does not support is rejected before the
//! parser runs.

use std::ops::Range;

use minijinja::machinery::ast::{EmitExpr, Expr, Stmt};
use minijinja::machinery::{self, Span, Token};
use minijinja::syntax::SyntaxConfig;

use super::{TemplateIssue, TemplateIssueKind, span};

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
    match parsed(text) {
        Ok(root) => Ok(Template { text, root }),
        Err(Rejection::Issue(issue)) => Err(match issue.kind {
            // An open bracket hides the braces that close the template.
            TemplateIssueKind::Unclosed if text[issue.span.end..].contains("}}") => {
                let (span, problem) = super::syntax::explain(text, issue.span, "");
                new_issue(clamp(text, span), TemplateIssueKind::Syntax(Box::new(problem)))
            }
            _ => issue,
        }),
        Err(Rejection::Syntax(error)) => Err(syntax_issue(text, &error)),
    }
}

/// Whether a text parses.
pub(super) fn is_valid(text: &str) -> bool {
    text.len() <= MAX_BYTES && parsed(text).is_ok()
}

/// The reason why a text does not parse.
enum Rejection {
    Issue(Box<TemplateIssue>),
    Syntax(Box<minijinja::Error>),
}

impl From<Box<TemplateIssue>> for Rejection {
    fn from(issue: Box<TemplateIssue>) -> Self {
        Self::Issue(issue)
    }
}

impl From<minijinja::Error> for Rejection {
    fn from(error: minijinja::Error) -> Self {
        Self::Syntax(Box::new(error))
    }
}

fn parsed(text: &str) -> Result<Stmt<'_>, Rejection> {
    check_tokens(text)?;
    Ok(machinery::parse(text, "template", SyntaxConfig::default())?)
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

    /// Returns the spans of the text around the expressions.
    pub(crate) fn literal_parts(&self) -> impl Iterator<Item = Range<usize>> {
        self.statements().iter().filter_map(|statement| match statement {
            Stmt::EmitRaw(raw) => Some(span::of_name(self.text, raw.raw)),
            _ => None,
        })
    }

    /// Returns the text with this in the place of each expression.
    pub(crate) fn filled(&self, with: &str) -> String {
        let parts = self.statements().iter().map(|statement| match statement {
            Stmt::EmitRaw(raw) => raw.raw,
            _ => with,
        });
        parts.collect()
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
fn check_tokens(text: &str) -> Result<(), Rejection> {
    let mut tokens_inside = 0;
    let mut brackets = 0_usize;
    let mut inside = None;
    let mut covered = 0;
    for token in machinery::tokenize(text, false, SyntaxConfig::default()) {
        let (token, span) = token?;
        let span = bytes(text, span);
        if inside.is_none() {
            reject_comments(text, covered..span.start)?;
        }
        covered = covered.max(span.end);
        match token {
            Token::BlockStart => {
                let span = statement_span(text, span.start);
                return Err(new_issue(span, TemplateIssueKind::Statement).into());
            }
            Token::VariableStart => {
                (inside, tokens_inside, brackets) = (Some(span), 0, 0);
            }
            Token::VariableEnd => {
                if let Some(start) = inside.take().filter(|_| tokens_inside == 0) {
                    return Err(new_issue(start.start..span.end, TemplateIssueKind::Empty).into());
                }
            }
            Token::TemplateData(_) => {}
            token => {
                tokens_inside += 1;
                if tokens_inside > MAX_TOKENS {
                    return Err(new_issue(span, TemplateIssueKind::TooLong).into());
                }
                match token {
                    Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => brackets += 1,
                    Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                        brackets = brackets.saturating_sub(1);
                    }
                    _ => {}
                }
                if brackets > MAX_BRACKETS {
                    return Err(new_issue(span, TemplateIssueKind::TooDeep).into());
                }
            }
        }
    }
    reject_comments(text, covered..text.len())?;
    inside.map_or(Ok(()), |start| Err(new_issue(start, TemplateIssueKind::Unclosed).into()))
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
    let detail = error.detail().unwrap_or_default();
    if let Some(open) = unclosed(text) {
        return new_issue(open..open + 2, TemplateIssueKind::Unclosed);
    }
    let (span, problem) = super::syntax::explain(text, span, detail);
    new_issue(clamp(text, span), TemplateIssueKind::Syntax(Box::new(problem)))
}

/// Returns the place of a last template that is not closed.
fn unclosed(text: &str) -> Option<usize> {
    let open = text.rfind("{{")?;
    (!text[open..].contains("}}")).then_some(open)
}
