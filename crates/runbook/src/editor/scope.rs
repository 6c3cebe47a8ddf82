//! The names that a template can use at the cursor, and the types of expressions there.

use std::ops::Range;

use super::super::analysis::Analysis;
use super::super::source::Source;
use super::super::template::{self, Names, Narrowing};
use super::super::types::Type;
use super::cursor::Cursor;
use super::expression;

/// The place of a template in an analysis.
pub(super) struct Scope<'s, 'a> {
    pub(super) analysis: &'s Analysis<'a>,
    /// The position of the step; behind the last one for what follows all steps.
    pub(super) index: usize,
    pub(super) names: Names,
}

impl<'s, 'a> Scope<'s, 'a> {
    /// Returns the scope at an offset; none where no template has a value.
    pub(super) fn at(
        analysis: &'s Analysis<'a>,
        cursor: &Cursor<'_>,
        offset: usize,
    ) -> Option<Self> {
        let keys: Vec<Option<&str>> =
            cursor.path.iter().map(|entry| cursor.entry(*entry)?.key).collect();
        let steps = &analysis.document.steps;
        let (index, names) = match keys.first()? {
            Some("steps") => {
                let begun = steps.iter().take_while(|step| step.node.span.start <= offset).count();
                let names = match keys.get(2) {
                    Some(Some("with")) => Names::Each,
                    Some(Some("log")) => Names::EachAndOwn,
                    _ => Names::Earlier,
                };
                (begun.checked_sub(1)?, names)
            }
            Some("outputs") => (steps.len(), Names::Earlier),
            Some("limits") => (0, Names::Earlier),
            _ => return None,
        };
        Some(Self { analysis, index, names })
    }

    /// Returns the type of an expression; `Any` if it has none.
    pub(super) fn type_of(&self, expression: &str) -> Type {
        // As in a text in single quotes; elsewhere, two quotes are an empty string, which has no fields.
        let text = format!("{{{{ {} }}}}", expression.replace("''", "'"));
        let Ok(template) = template::parse(&text) else { return Type::Any };
        let (symbols, nothing) = (&self.analysis.symbols, Narrowing::default());
        template::infer(&template, symbols, self.index, self.names, &nothing).ty
    }

    /// Returns the positions of the steps whose outputs can be used, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = usize> {
        let own = usize::from(self.names == Names::EachAndOwn);
        0..(self.index + own).min(self.analysis.document.steps.len())
    }

    /// Returns the type of `each`, if the step has items.
    pub(super) fn each(&self) -> Option<&Type> {
        let items = self.analysis.symbols.outputs.get(self.index)?.items.as_ref()?;
        (self.names != Names::Earlier).then_some(&items.each)
    }
}

/// An offset of a text that is asked about, with what is there.
pub(super) struct Asked<'t> {
    /// The offset, within the text.
    pub(super) offset: usize,
    pub(super) text: &'t str,
    pub(super) cursor: Cursor<'t>,
    /// The span between the braces of the template there.
    pub(super) template: Option<Range<usize>>,
}

impl<'t> Asked<'t> {
    pub(super) fn at(source: &'t Source, offset: usize) -> Self {
        let offset = source.clamp(offset..offset).start;
        let text = source.text();
        let cursor = Cursor::at(text, offset);
        let template = template(text, &cursor, offset);
        Self { offset, text, cursor, template }
    }
}

/// Returns the template at the cursor: the span between its braces.
fn template(text: &str, cursor: &Cursor<'_>, offset: usize) -> Option<Range<usize>> {
    let line = text.get(..offset)?.rfind('\n').map_or(0, |at| at + 1);
    let last = cursor.path.last().and_then(|entry| cursor.entry(*entry));
    // A text of several lines begins at its key.
    let start = last.filter(|entry| entry.key.is_some()).map_or(line, |entry| entry.span.end);
    expression::around(text, start.min(offset)..text.len(), offset)
}
