//! Applies the suggestions of diagnostics to a text, where the text with them is checked and has no new diagnostic.
//! Pure: from text to text.

use std::ops::Range;

use super::diagnostics::Diagnostic;
use super::rules::{held_back, too_many_findings};
use super::{ActionRegistry, Library, Position, Source, diagnose};

/// A text with the suggestions that could be applied.
#[derive(Debug, Clone)]
pub struct FixedText {
    /// The text. Every byte that no fix replaces is as it was.
    pub source: Source,
    /// The replacements, in the order in which they were made.
    pub fixes: Vec<AppliedFix>,
}

/// A replacement that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedFix {
    /// The code of the rule that suggested it.
    pub code: &'static str,
    /// The place of the text that was replaced.
    pub position: Position,
    /// The text that was replaced.
    pub old: String,
    /// The text in its place.
    pub new: String,
}

/// A replacement that a diagnostic suggests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// The code of the rule.
    pub code: &'static str,
    /// The byte range to replace.
    pub span: Range<usize>,
    /// The text in its place.
    pub replacement: String,
}

impl Fix {
    /// Returns the fix that a diagnostic suggests.
    pub fn of(source: &Source, diagnostic: &Diagnostic) -> Option<Self> {
        let suggestion = diagnostic.suggestion.as_ref()?;
        // A line ends as the other lines of the file do.
        let is_dos = suggestion.contains('\n') && source.text().contains("\r\n");
        let replacement = match is_dos {
            true => suggestion.replace('\n', "\r\n"),
            false => suggestion.clone(),
        };
        let span = source.clamp(diagnostic.span.clone());
        Some(Self { code: diagnostic.code, span, replacement })
    }

    fn applied(&self, source: &Source) -> AppliedFix {
        AppliedFix {
            code: self.code,
            position: source.position(self.span.start),
            old: source.text().get(self.span.clone()).unwrap_or_default().to_owned(),
            new: self.replacement.clone(),
        }
    }

    /// Returns the text with the fix.
    pub fn apply(&self, source: &Source) -> Source {
        apply(source, std::slice::from_ref(self))
    }
}

/// Applies every suggestion of a text that is safe: the text with it has one diagnostic less, and no new one. A name
/// that becomes known can uncover other mistakes; then their suggestions are applied with it, or it is not applied.
pub fn fix(source: &Source, registry: &ActionRegistry, library: &dyn Library) -> FixedText {
    let check = |source: &Source| diagnose(source, registry, library);
    let mut fixed = FixedText { source: source.clone(), fixes: Vec::new() };
    let mut found = check(&fixed.source);
    // What was tried alone since the text was like this, in vain.
    let mut rejected: Vec<Fix> = Vec::new();
    let mut is_stale = false;
    // Each round removes a diagnostic, rejects fixes, or is the last one with those that were rejected.
    loop {
        let suggested = found.iter().filter_map(|one| Fix::of(&fixed.source, one));
        let untried: Vec<Fix> = suggested.filter(|fix| !rejected.contains(fix)).collect();
        let before = Places::of(&found);
        let source = &fixed.source;
        let try_all =
            |fixes: Vec<Fix>| attempt(source, fixes, before.clone(), MAX_UNCOVERED, &check);
        // All at once is usually right, and needs one check. What is wrong together can be right alone.
        let mut better = try_all(without_overlaps(&untried));
        let mut alone = untried.into_iter();
        while let (None, Some(fix)) = (&better, alone.next()) {
            better = try_all(vec![fix.clone()]);
            if better.is_none() {
                rejected.push(fix);
            }
        }
        match better {
            Some(better) => {
                for fix in &mut rejected {
                    let start = better.moved(fix.span.start);
                    fix.span = start..start + fix.span.len();
                }
                fixed.fixes.extend(better.applied);
                (fixed.source, found, is_stale) = (better.text, better.diagnostics, true);
            }
            // They may be right in the text as it is now.
            None if is_stale && !rejected.is_empty() => {
                rejected.clear();
                is_stale = false;
            }
            None => return fixed,
        }
    }
}

/// How often in a row a fix may uncover mistakes that are fixed with it.
const MAX_UNCOVERED: usize = 2;

/// A text with fixes that was checked.
struct Attempt {
    text: Source,
    diagnostics: Vec<Diagnostic>,
    /// The fixes that were applied one group after another.
    groups: Vec<Vec<Fix>>,
    applied: Vec<AppliedFix>,
}

impl Attempt {
    /// Returns the place of an offset of the text before.
    fn moved(&self, offset: usize) -> usize {
        self.groups.iter().fold(offset, |at, fixes| moved(fixes, at))
    }
}

/// Returns the text with fixes, and with those of what they uncover; none if it has a diagnostic that was not there
/// before.
fn attempt(
    source: &Source,
    fixes: Vec<Fix>,
    mut before: Places,
    uncovered: usize,
    check: &dyn Fn(&Source) -> Vec<Diagnostic>,
) -> Option<Attempt> {
    if fixes.is_empty() {
        return None;
    }
    let text = apply(source, &fixes);
    let diagnostics = check(&text);
    before.fix(&fixes);
    let new = before.new_of(&diagnostics);
    let applied: Vec<AppliedFix> = fixes.iter().map(|fix| fix.applied(source)).collect();
    if new.is_empty() {
        return Some(Attempt { text, diagnostics, groups: vec![fixes], applied });
    }
    let next: Option<Vec<Fix>> = new.iter().map(|one| Fix::of(&text, one)).collect();
    let next = next.filter(|next| uncovered > 0 && without_overlaps(next).len() == next.len())?;
    // They are new, and are removed as they were added.
    before.places.extend(new.iter().map(|one| place(one)));
    let mut attempt = attempt(&text, next, before, uncovered - 1, check)?;
    attempt.groups.insert(0, fixes);
    attempt.applied.splice(0..0, applied);
    Some(attempt)
}

/// The places of diagnostics, with their codes. A message may name what a fix has changed, and so is not compared.
#[derive(Clone)]
struct Places {
    places: Vec<(usize, &'static str)>,
    /// The last place of a text with too many diagnostics. The ones behind it were not listed.
    last: Option<(usize, &'static str)>,
}

fn place(diagnostic: &Diagnostic) -> (usize, &'static str) {
    (diagnostic.span.start, diagnostic.code)
}

fn is_count(diagnostic: &Diagnostic) -> bool {
    diagnostic.code == too_many_findings::RULE.code
}

impl Places {
    fn of(diagnostics: &[Diagnostic]) -> Self {
        let is_cut = diagnostics.iter().any(is_count);
        let places: Vec<_> = diagnostics.iter().filter(|one| !is_count(one)).map(place).collect();
        let last = places.iter().max().copied().filter(|_| is_cut);
        Self { places, last }
    }

    /// Removes the diagnostics of fixes, and moves the others with the text.
    fn fix(&mut self, fixes: &[Fix]) {
        for fix in fixes {
            let mut places = self.places.iter();
            if let Some(at) = places.position(|place| *place == (fix.span.start, fix.code)) {
                self.places.swap_remove(at);
            }
        }
        for place in self.places.iter_mut().chain(&mut self.last) {
            place.0 = moved(fixes, place.0);
        }
    }

    /// Returns the diagnostics that are at none of the places.
    fn new_of<'d>(&self, diagnostics: &'d [Diagnostic]) -> Vec<&'d Diagnostic> {
        let mut old = self.places.clone();
        // What has no use is reported when the last error is gone: it was there before.
        let is_listed = |one: &&Diagnostic| {
            !is_count(one)
                && !held_back::is_about_unused(one.code)
                && self.last.is_none_or(|last| place(one) < last)
        };
        let listed = diagnostics.iter().filter(is_listed);
        let new = listed.filter(|one| match old.iter().position(|old| *old == place(one)) {
            Some(at) => {
                old.swap_remove(at);
                false
            }
            None => true,
        });
        new.collect()
    }
}

/// Returns the fixes that do not overlap an earlier one; they are in the order of the text.
fn without_overlaps(fixes: &[Fix]) -> Vec<Fix> {
    let mut chosen: Vec<Fix> = Vec::new();
    for fix in fixes {
        if chosen.last().is_none_or(|last| last.span.end < fix.span.start) {
            chosen.push(fix.clone());
        }
    }
    chosen
}

/// Applies fixes that do not overlap and are in the order of the text.
fn apply(source: &Source, fixes: &[Fix]) -> Source {
    let mut text = String::with_capacity(source.text().len());
    let mut at = 0;
    for fix in fixes {
        text.push_str(source.text().get(at..fix.span.start).unwrap_or_default());
        text.push_str(&fix.replacement);
        at = fix.span.end;
    }
    text.push_str(source.text().get(at..).unwrap_or_default());
    Source::new(source.name(), text)
}

/// Returns the place of an offset in the text with the fixes.
fn moved(fixes: &[Fix], offset: usize) -> usize {
    let before = fixes.iter().take_while(|fix| fix.span.start < offset);
    before.fold(offset, |at, fix| {
        let inside = offset.min(fix.span.end) - fix.span.start;
        let kept = if offset < fix.span.end { 0 } else { fix.replacement.len() };
        at - inside + kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EmptyLibrary;

    fn fixed(text: &str) -> (String, Vec<String>) {
        let source = Source::new("-", text);
        let fixed = fix(&source, &ActionRegistry::from_json(ACTIONS).unwrap(), &EmptyLibrary);
        let shown = fixed.fixes.iter().map(|fix| {
            let Position { line, column } = fix.position;
            format!("{line}:{column}: {} -> {}", fix.old, fix.new)
        });
        (fixed.source.text().to_owned(), shown.collect())
    }

    const ACTIONS: &str = r#"[{"name": "sleep", "kind": "wait", "reversibility": "not_needed",
        "parameters": {"type": "object", "additionalProperties": false, "required": ["duration"],
            "properties": {"duration": {"type": "string", "x-syntax": "kubernetes-name"}}},
        "output": {"type": "object", "properties": {}}}]"#;

    #[test]
    fn every_other_byte_is_kept() {
        let wrong = "\u{feff}nme: x # 🚀\r\nsteps:\r\n  - {id: a,  action: sleep, with: {durtion: 5}}  \r\n";
        let right = "\u{feff}name: x # 🚀\r\nsteps:\r\n  - {id: a,  action: sleep, with: {duration: 5}}  \r\n";
        let (text, shown) = fixed(wrong);
        assert_eq!(text, right);
        assert_eq!(shown, ["1:1: nme -> name", "3:36: durtion -> duration"]);
        assert_eq!(fixed(right), (right.to_owned(), Vec::new()));
    }

    #[test]
    fn what_a_name_uncovers_is_fixed_with_it_or_the_name_stays() {
        let text = "name: x\nsteps:\n  - {id: a, action: slep, with: {durtion: 5}}\n";
        let right = text.replace("slep", "sleep").replace("durtion", "duration");
        let shown = ["3:21: slep -> sleep", "3:35: durtion -> duration"];
        assert_eq!(fixed(text), (right, shown.map(str::to_owned).to_vec()));
        let text = "name: x\nsteps:\n  - {id: a, action: slep, with: {color: 5}}\n";
        assert_eq!(fixed(text), (text.to_owned(), Vec::new()));
    }

    #[test]
    fn a_place_moves_with_the_text_before_it() {
        let fix = |span, replacement: &str| Fix { code: "", span, replacement: replacement.into() };
        let fixes = [fix(2..4, "abcd"), fix(6..8, "")];
        let places: Vec<usize> = (0..10).map(|at| moved(&fixes, at)).collect();
        assert_eq!(places, [0, 1, 2, 2, 6, 7, 8, 8, 8, 9]);
    }
}
