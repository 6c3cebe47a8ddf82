//! Excerpts of the lines that a diagnostic is about, so that rendering takes time proportional to
//! those lines and not to the file.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Patch, Snippet};

use super::super::source::Source;
use super::Diagnostic;

/// Longer lines are not rendered.
const MAX_LINE_LENGTH: usize = 1_000;
/// Labels further away have a separate excerpt.
const MAX_LABEL_DISTANCE: usize = 40;

/// Whole lines of a text.
pub(super) struct Excerpt<'s> {
    source: &'s Source,
    bytes: Range<usize>,
    first_line: usize,
}

impl<'s> Excerpt<'s> {
    /// Returns the lines of a range; `None` when one of them is too long to be rendered.
    pub(super) fn new(source: &'s Source, range: Range<usize>) -> Option<Self> {
        let bytes = source.lines_of(range.clone());
        let text = &source.text()[bytes.clone()];
        let drawable = text.len() < MAX_LINE_LENGTH * MAX_LABEL_DISTANCE
            && text.lines().all(|line| line.len() <= MAX_LINE_LENGTH);
        drawable.then(|| Self { source, first_line: source.position(bytes.start).line, bytes })
    }

    /// Renders the lines with annotations, which must lie within the excerpt.
    pub(super) fn snippet(&self, notes: Vec<Annotation<'s>>) -> Snippet<'s, Annotation<'s>> {
        let text = &self.source.text()[self.bytes.clone()];
        let snippet = Snippet::source(text)
            .path(text::printable(self.source.name()))
            .line_start(self.first_line);
        snippet.annotations(notes)
    }

    /// Renders the lines with a replacement.
    pub(super) fn patched(&self, span: &Range<usize>, with: &'s str) -> Snippet<'s, Patch<'s>> {
        let text = &self.source.text()[self.bytes.clone()];
        let snippet = Snippet::source(text)
            .path(text::printable(self.source.name()))
            .line_start(self.first_line);
        snippet.patch(Patch::new(self.relative(span), with))
    }

    /// Returns a range of the text relative to the start of the excerpt.
    pub(super) fn relative(&self, span: &Range<usize>) -> Range<usize> {
        let start = span.start.saturating_sub(self.bytes.start);
        start..span.end.saturating_sub(self.bytes.start).min(self.bytes.len()).max(start)
    }
}

/// Returns the excerpt of a label in another file.
pub(super) fn snippet_elsewhere<'s>(
    source: &'s Source,
    label: &'s super::Label,
) -> Option<Snippet<'s, Annotation<'s>>> {
    let span = source.clamp(label.span.clone());
    let excerpt = Excerpt::new(source, span.clone())?;
    Some(excerpt.snippet(vec![AnnotationKind::Primary.span(excerpt.relative(&span))]))
}

/// Returns the excerpts of a diagnostic: one with its span and the labels near it, and one for each
/// distant label.
pub(super) fn snippets<'s>(
    source: &'s Source,
    diagnostic: &'s Diagnostic,
) -> Option<Vec<Snippet<'s, Annotation<'s>>>> {
    let primary = source.clamp(diagnostic.span.clone());
    let line = |at: usize| source.position(at).line;
    let own = diagnostic.labels.iter().filter(|label| label.file.is_none());
    let labels = own.map(|label| (source.clamp(label.span.clone()), label));
    let (near, far): (Vec<_>, Vec<_>) = labels
        .partition(|(span, _)| line(span.start).abs_diff(line(primary.start)) < MAX_LABEL_DISTANCE);
    let start = near.iter().map(|(span, _)| span.start).fold(primary.start, usize::min);
    let end = near.iter().map(|(span, _)| span.end).fold(primary.end, usize::max);
    let excerpt = Excerpt::new(source, start..end)?;
    let mut notes = vec![AnnotationKind::Primary.span(excerpt.relative(&primary))];
    for (span, label) in near {
        let note = AnnotationKind::Context.span(excerpt.relative(&span));
        notes.push(note.label(label.text.as_str()));
    }
    let mut all = vec![excerpt.snippet(notes)];
    for (span, label) in far {
        if let Some(excerpt) = Excerpt::new(source, span.clone()) {
            let note = AnnotationKind::Context.span(excerpt.relative(&span));
            all.push(excerpt.snippet(vec![note.label(label.text.as_str())]));
        }
    }
    Some(all)
}
