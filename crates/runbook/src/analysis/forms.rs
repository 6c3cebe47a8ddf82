//! Templates that are written as other tools write them, or without braces: they would be passed on as texts.

use std::ops::Range;

use super::super::document::{Document, RawStep};
use super::super::registry::ActionSignature;
use super::super::source::Source;
use super::super::template::{self, SymbolTable, is_template};
use super::super::types::Type;
use super::super::yaml::{Node, NodeKind, ScalarStyle, SourceMap, in_double_quotes};

/// A template that is written wrongly.
pub(crate) struct WrittenForm {
    pub(crate) span: Range<usize>,
    /// The value that it is a part of.
    pub(crate) value: Range<usize>,
    /// The template as written.
    pub(crate) written: String,
    /// The template as it is to be written.
    pub(crate) template: String,
    /// The text to replace the span with.
    pub(crate) suggestion: Option<String>,
    /// Whether it has no braces at all.
    pub(crate) is_bare: bool,
    /// Whether it names an input or a step.
    pub(crate) is_known: bool,
    /// Whether only the braces before it are missing.
    pub(crate) is_unopened: bool,
}

/// The delimiters of other tools, longer ones first. The third says what else can close it.
const DELIMITERS: &[(&str, &str)] = &[
    ("${{", "}}"),
    ("<%=", "%>"),
    ("<%", "%>"),
    ("<<", ">>"),
    ("[[", "]]"),
    ("((", "))"),
    ("${", "}"),
    ("$(", ")"),
    ("#{", "}"),
    ("@{", "}"),
    ("%{", "}"),
    ("%(", ")s"),
    ("%(", ")"),
    ("{ {", "} }"),
    ("{", "}}"),
    ("{", "}"),
];

/// Finds all wrongly written templates of a document.
pub(super) fn find(
    source: &Source,
    document: &Document<'_>,
    symbols: &SymbolTable<'_>,
    signatures: &[Option<&ActionSignature>],
) -> Vec<WrittenForm> {
    let mut finder =
        Finder { source, symbols, has_each: false, is_prose: false, forms: Vec::new() };
    for (step, signature) in document.steps.iter().zip(signatures) {
        finder.step(step, *signature);
    }
    finder.has_each = false;
    for (_, value) in &document.outputs {
        finder.value(value, None, false);
    }
    finder.forms
}

struct Finder<'s, 't> {
    source: &'s Source,
    symbols: &'s SymbolTable<'t>,
    /// Whether the step has `each`.
    has_each: bool,
    /// Whether the text is for a reader, and no shell sees it.
    is_prose: bool,
    forms: Vec<WrittenForm>,
}

impl Finder<'_, '_> {
    fn step(&mut self, step: &RawStep<'_>, signature: Option<&ActionSignature>) {
        self.has_each = step.for_each.is_some();
        for text in [step.name, step.description, step.log].into_iter().flatten() {
            self.is_prose = is_for_a_reader(text);
            self.text(text, false);
        }
        self.is_prose = false;
        for value in [step.for_each, step.at_once].into_iter().flatten() {
            self.value(value, Some(&Type::list(Type::Any)), false);
        }
        if let Some(when) = step.when {
            self.text(when, false);
        }
        let Some(with) = step.with else { return };
        let is_flow = self.is_flow(with);
        match (with.pairs(), signature) {
            (Some(pairs), Some(signature)) => {
                for (key, value) in pairs {
                    let field = key.text().and_then(|key| signature.params.field(key));
                    self.is_prose = field.is_some_and(|field| PROSE.contains(&field.name.as_str()))
                        && is_for_a_reader(value);
                    self.value(value, field.map(|field| &field.ty), is_flow);
                    self.is_prose = false;
                }
            }
            _ => self.value(with, None, false),
        }
    }

    /// Whether a list or mapping is written in brackets.
    fn is_flow(&self, node: &Node) -> bool {
        let rest = self.source.text().get(node.span.start..).unwrap_or_default();
        node.text().is_none() && rest.starts_with(['{', '['])
    }

    /// Reads a value of a type.
    fn value(&mut self, node: &Node, ty: Option<&Type>, is_flow: bool) {
        if self.in_brackets(node) {
            return;
        }
        let is_flow = is_flow || self.is_flow(node);
        match &node.kind {
            NodeKind::Scalar { .. } => {
                if !self.text(node, is_flow) {
                    self.bare(node, ty);
                }
            }
            NodeKind::List(items) => {
                let of = match ty.map(Type::non_null) {
                    Some(Type::List(of, _)) => Some(&**of),
                    _ => None,
                };
                for item in items {
                    self.value(item, of, is_flow);
                }
            }
            NodeKind::Map(pairs) => {
                for (key, value) in pairs {
                    let of = match ty.map(Type::non_null) {
                        Some(Type::Map(of, _)) => Some(&**of),
                        Some(Type::Record(record)) => {
                            let field = key.text().and_then(|key| record.field(key));
                            field.map(|field| &field.ty)
                        }
                        _ => None,
                    };
                    self.value(value, of, is_flow);
                }
            }
            NodeKind::Broken => {}
        }
    }

    /// Finds `{ inputs.x }` and `[[ inputs.x ]]` without quotes, which YAML reads as a mapping and as a list.
    fn in_brackets(&mut self, node: &Node) -> bool {
        let inside = match &node.kind {
            NodeKind::Map(pairs) => match pairs.as_slice() {
                [(key, value)] if value.is_null() => key.text(),
                _ => None,
            },
            NodeKind::List(items) => match items.as_slice() {
                [inner] => match inner.items() {
                    Some([item]) => item.text(),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        let Some(inside) = inside.filter(|_| self.is_flow(node)) else { return false };
        let Some(expression) = self.reference(inside) else { return false };
        let is_known = true;
        let written = self.source.text().get(node.span.clone()).unwrap_or_default().to_owned();
        if written.contains(':') {
            return false;
        }
        let template = format!("{{{{ {expression} }}}}");
        let span = node.span.clone();
        let suggestion = Some(in_double_quotes(&template));
        let value = span.clone();
        self.forms.push(WrittenForm {
            span,
            value,
            written,
            template,
            suggestion,
            is_bare: false,
            is_known,
            is_unopened: false,
        });
        true
    }

    /// Finds the forms in a text, and returns whether there is one.
    fn text(&mut self, node: &Node, is_flow: bool) -> bool {
        let NodeKind::Scalar { text, style } = &node.kind else { return false };
        if !text.contains(OPENING) && !text.contains("}}") {
            return false;
        }
        let before = self.forms.len();
        let (mut at, mut from) = (0, 0);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with("{{") {
                at += rest.find("}}").map_or(rest.len(), |end| end + 2);
                from = at;
                continue;
            }
            if rest.starts_with("}}") {
                if let Some((start, expression)) = self.unopened(text, from..at) {
                    self.add_form(node, *style, text, start..at + 2, &expression, is_flow);
                }
                at += 2;
                from = at;
                continue;
            }
            match self.form_at(rest) {
                Some((length, expression)) => {
                    self.add_form(node, *style, text, at..at + length, &expression, is_flow);
                    at += length;
                    from = at;
                }
                None => at += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
        self.forms.len() > before
    }

    /// Returns where the expression begins that `}}` closes at the end of a range, where it names an input or a step.
    fn unopened(&self, text: &str, range: Range<usize>) -> Option<(usize, String)> {
        let from = range.start.max(range.end.saturating_sub(MAX_EXPRESSION));
        let from = text.ceil_char_boundary(from);
        let before = text.get(from..range.end)?;
        let starts = before.char_indices().filter(|(at, c)| {
            let is_first = !before[..*at].ends_with(|c: char| is_name(c) || c == '.');
            is_first && c.is_ascii_lowercase()
        });
        // The longest expression.
        starts.take(MAX_WORDS).find_map(|(at, _)| {
            let expression = self.reference(&before[at..])?;
            let is_valid = template::parse(&format!("{{{{ {expression} }}}}")).is_ok();
            is_valid.then_some((from + at, expression))
        })
    }

    /// Returns the length of the form at the start of a text, and its expression.
    fn form_at(&self, text: &str) -> Option<(usize, String)> {
        if let Some(rest) = text.strip_prefix("$inputs.") {
            let name = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            let path = &text[1.."$inputs.".len() + name];
            return self.reference(path).map(|path| (1 + path.len(), path));
        }
        // A template is short; a text of nothing but braces is not searched again and again.
        let text = &text[..text.floor_char_boundary(text.len().min(MAX_EXPRESSION))];
        if !text.starts_with(OPENING) {
            return None;
        }
        let found = DELIMITERS.iter().find_map(|(open, close)| {
            let inside = text.strip_prefix(open)?;
            let end = inside.find(close)?;
            Some((*open, open.len() + end + close.len(), &inside[..end]))
        });
        let (open, length, inside) = found?;
        if open == "${{" {
            let inside = inside.trim();
            return Some((length, self.reference(inside).unwrap_or_else(|| inside.to_owned())));
        }
        let variable = || self.variable(inside).filter(|_| open == "${");
        self.reference(inside).or_else(variable).map(|expression| (length, expression))
    }

    /// Returns the input that is meant by a variable of a shell with its name, in a text that no shell reads.
    fn variable(&self, name: &str) -> Option<String> {
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if !self.is_prose || !name.chars().all(is_name) {
            return None;
        }
        let input = name.to_ascii_lowercase();
        self.symbols.inputs.field(&input).map(|_| format!("inputs.{input}"))
    }

    fn add_form(
        &mut self,
        node: &Node,
        style: ScalarStyle,
        text: &str,
        range: Range<usize>,
        expression: &str,
        is_flow: bool,
    ) {
        let template = format!("{{{{ {expression} }}}}");
        let source_map = SourceMap::new(self.source.text(), node);
        let mut span = source_map.range(range.clone());
        let written = text.get(range.clone()).unwrap_or_default().to_owned();
        let is_known = self.reference(expression).is_some();
        let is_plain = style == ScalarStyle::Plain;
        let suggestion = if !is_known {
            None
        } else if is_plain && range.start == 0 {
            let rest = text.get(range.end..).unwrap_or_default();
            span = node.span.clone();
            (!text.contains('\n')).then(|| in_double_quotes(&format!("{template}{rest}")))
        } else if is_plain && is_flow || expression.contains(['"', '\\', '\'']) {
            None
        } else {
            Some(template.clone())
        };
        let value = node.span.clone();
        self.forms.push(WrittenForm {
            span,
            value,
            written,
            template,
            suggestion,
            is_bare: false,
            is_known,
            is_unopened: text.get(range).is_some_and(|text| !text.starts_with(OPENING)),
        });
    }

    /// Finds a value that is an expression without braces.
    fn bare(&mut self, node: &Node, ty: Option<&Type>) {
        let Some(text) = node.text().filter(|text| !is_template(text)) else { return };
        let expression = text.trim();
        let takes_text = match ty.map(Type::non_null) {
            None | Some(Type::Any) => true,
            Some(ty) => ty.is_text() || matches!(ty, Type::Duration | Type::Enum(_)),
        };
        let is_meant = if self.is_path(expression) {
            true
        } else if takes_text || expression.len() > MAX_EXPRESSION {
            false
        } else if self.symbols.steps.contains_key(expression) {
            !matches!(ty.map(Type::non_null), Some(Type::Boolean))
        } else {
            // A text is no value of this type, so that an expression is meant.
            self.reference(expression).is_some()
                && template::parse(&format!("{{{{ {expression} }}}}")).is_ok()
        };
        if !is_meant {
            return;
        }
        let path = self.reference(expression).unwrap_or_else(|| expression.to_owned());
        let template = format!("{{{{ {path} }}}}");
        let suggestion = (!expression.contains('\n')).then(|| in_double_quotes(&template));
        let span = node.span.clone();
        let value = span.clone();
        let written = expression.to_owned();
        self.forms.push(WrittenForm {
            span,
            value,
            written,
            template,
            suggestion,
            is_bare: true,
            is_known: true,
            is_unopened: false,
        });
    }

    /// Whether a text is nothing but the path of a declared input, or of a field that a step has.
    fn is_path(&self, text: &str) -> bool {
        let text = text.strip_prefix("steps.").unwrap_or(text);
        let Some((root, path)) = text.split_once('.') else { return false };
        let path = path.strip_prefix("outputs.").unwrap_or(path);
        let is_path_character = |c: char| is_name(c) || matches!(c, '.' | '[' | ']');
        if !path.chars().all(is_path_character) {
            return false;
        }
        let field = path.split(['.', '[']).next().unwrap_or_default();
        if root == "inputs" {
            return self.symbols.inputs.field(field).is_some();
        }
        if root == "each" {
            return self.has_each;
        }
        let Some(step) = self.symbols.steps.get(root) else { return false };
        let output = self.symbols.outputs.get(*step).and_then(|output| output.record.as_ref());
        output.is_some_and(|record| record.field(field).is_some())
    }

    /// Returns the expression of a text that begins with the name of an input or of a step with a field.
    fn reference(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
        let (root, rest) = text.split_at(end);
        if root == "each" && self.has_each {
            return Some(text.to_owned());
        }
        let path = rest.strip_prefix('.')?;
        if !path.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') {
            return None;
        }
        if root == "steps" {
            // The form of GitHub Actions: steps.ID.outputs.NAME.
            let (id, field) = path.split_once('.')?;
            let field = field.strip_prefix("outputs.").unwrap_or(field);
            return self.symbols.steps.contains_key(id).then(|| format!("{id}.{field}"));
        }
        let is_known = root == "inputs" || self.symbols.steps.contains_key(root);
        is_known.then(|| text.to_owned())
    }
}

/// Whether a text is no command for the shell of its reader.
fn is_for_a_reader(node: &Node) -> bool {
    let signs = ["kubectl ", "aws ", "export ", "=", ";", "`"];
    node.text().is_some_and(|text| !signs.iter().any(|sign| text.contains(sign)))
}

/// The parameters with texts for a reader.
const PROSE: [&str; 2] = ["message", "note"];

/// The characters with which the forms of other tools begin.
const OPENING: [char; 8] = ['$', '{', '%', '<', '[', '#', '@', '('];

/// The most words before `}}` that are read as the start of an expression.
const MAX_WORDS: usize = 40;

/// The length of the longest text that is read as an expression.
const MAX_EXPRESSION: usize = 400;

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}
