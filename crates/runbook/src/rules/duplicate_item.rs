//! An item that a `for_each` has twice.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use super::super::document::start_span;
use super::super::evaluate::Argument;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB061",
    name: "duplicate_item",
    severity: Severity::Error,
    summary: "an item that a 'for_each' has twice",
    explanation: "\
The step would do the same twice: a second restart, a second wait. With 'at_once' the two would run
at the same time and see each other's change as that of another client. A list that is known only in
the run can be made unique with {{ … | unique }}.",
};

/// The longest item that is named, in bytes.
const MAX_SHOWN: usize = 60;

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let Some(nodes) = raw.for_each.and_then(|node| node.items()) else { continue };
        let items: Vec<Argument> = match step.for_each.as_deref() {
            Some(Argument::List(items)) => items.clone(),
            Some(Argument::Literal(value)) => {
                value.as_array().into_iter().flatten().cloned().map(Argument::Literal).collect()
            }
            _ => continue,
        };
        // The first of equal items, by their hash: a list may have thousands.
        let (hashes, mut seen) = (RandomState::new(), HashMap::<u64, Vec<usize>>::new());
        for (index, item) in items.iter().enumerate() {
            let alike = seen.entry(hashes.hash_one(item)).or_default();
            let Some(first) = alike.iter().copied().find(|first| items[*first] == *item) else {
                alike.push(index);
                continue;
            };
            let name = nodes[index].text().filter(|text| text.len() <= MAX_SHOWN);
            let name = name.map_or_else(|| "this item".to_owned(), quoted);
            let message = format!("{name} is in the list twice");
            let diagnostic = Diagnostic::new(&RULE, start_span(&nodes[index]), message)
                .help("remove one of the two: the step would run twice for it");
            diagnostics.push(diagnostic.label(start_span(&nodes[first]), "it is first here"));
        }
    }
}
