//! The lines of a text that a finding is about, cut out: drawing them then costs what they are
//! long, and not what the file is.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Patch, Snippet};

use super::super::source::Source;
use super::Finding;

/// Longer lines are not drawn; nobody could read them.
const LONGEST_LINE: usize = 1_000;
/// Labels further away get an excerpt of their own.
const NEAR: usize = 40;

/// Some whole lines of a text.
pub(super) struct Excerpt<'s> {
    source: &'s Source,
    bytes: Range<usize>,
    first_line: usize,
}

impl<'s> Excerpt<'s> {
    /// The lines of a range; nothing when one of them is too long to be drawn.
    pub(super) fn of(source: &'s Source, range: Range<usize>) -> Option<Self> {
        let bytes = source.lines_of(range.clone());
        let text = &source.text()[bytes.clone()];
        let drawable =
            text.len() < LONGEST_LINE * NEAR && text.lines().all(|line| line.len() <= LONGEST_LINE);
        drawable.then(|| Self { source, first_line: source.position(bytes.start).line, bytes })
    }

    /// The lines with notes on them, which must lie within.
    pub(super) fn snippet(&self, notes: Vec<Annotation<'s>>) -> Snippet<'s, Annotation<'s>> {
        let text = &self.source.text()[self.bytes.clone()];
        let snippet = Snippet::source(text).path(self.source.name()).line_start(self.first_line);
        snippet.annotations(notes)
    }

    /// The lines with a replacement in them.
    pub(super) fn patched(&self, span: &Range<usize>, with: &'s str) -> Snippet<'s, Patch<'s>> {
        let text = &self.source.text()[self.bytes.clone()];
        let snippet = Snippet::source(text).path(self.source.name()).line_start(self.first_line);
        snippet.patch(Patch::new(self.inside(span), with))
    }

    /// A range of the text, counted from where the excerpt begins.
    pub(super) fn inside(&self, span: &Range<usize>) -> Range<usize> {
        let start = span.start.saturating_sub(self.bytes.start);
        start..span.end.saturating_sub(self.bytes.start).min(self.bytes.len()).max(start)
    }
}

/// The excerpts of a finding: one with its place and the labels near it, and one for each label
/// that is far.
pub(super) fn all<'s>(
    source: &'s Source,
    finding: &'s Finding,
) -> Option<Vec<Snippet<'s, Annotation<'s>>>> {
    let primary = source.clamp(finding.span.clone());
    let line = |at: usize| source.position(at).line;
    let labels = finding.labels.iter().map(|label| (source.clamp(label.span.clone()), label));
    let (near, far): (Vec<_>, Vec<_>) =
        labels.partition(|(span, _)| line(span.start).abs_diff(line(primary.start)) < NEAR);
    let start = near.iter().map(|(span, _)| span.start).fold(primary.start, usize::min);
    let end = near.iter().map(|(span, _)| span.end).fold(primary.end, usize::max);
    let excerpt = Excerpt::of(source, start..end)?;
    let mut notes = vec![AnnotationKind::Primary.span(excerpt.inside(&primary))];
    for (span, label) in near {
        let note = AnnotationKind::Context.span(excerpt.inside(&span));
        notes.push(note.label(label.text.as_str()));
    }
    let mut all = vec![excerpt.snippet(notes)];
    for (span, label) in far {
        if let Some(excerpt) = Excerpt::of(source, span.clone()) {
            let note = AnnotationKind::Context.span(excerpt.inside(&span));
            all.push(excerpt.snippet(vec![note.label(label.text.as_str())]));
        }
    }
    Some(all)
}
