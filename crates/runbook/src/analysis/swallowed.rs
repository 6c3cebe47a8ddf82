//! Steps that YAML reads as further keys of the step above, because their dash is missing.

use std::collections::HashMap;
use std::ops::Range;

use super::super::document::RawStep;
use super::super::yaml::{YamlIssue, YamlIssueKind};

/// A step without a dash.
pub(crate) struct Swallowed {
    /// The step above.
    pub(crate) step: usize,
    /// The first key, with its place.
    pub(crate) key: String,
    pub(crate) span: Range<usize>,
    /// Whether the step above begins with the same key.
    pub(crate) is_first: bool,
}

/// Finds the steps in which the keys of another step are given again.
pub(super) fn find(steps: &[RawStep<'_>], issues: &[YamlIssue], text: &str) -> Vec<Swallowed> {
    // The places where the key at a place is given again, first one first.
    let mut again: HashMap<usize, &Range<usize>> = HashMap::new();
    for issue in issues {
        if let YamlIssueKind::DuplicateKey { first, .. } = &issue.kind {
            again.entry(first.start).or_insert(&issue.span);
        }
    }
    if again.is_empty() {
        return Vec::new();
    }
    let swallowed = |(index, step): (usize, &RawStep<'_>)| {
        let pairs = step.node.pairs().unwrap_or_default();
        let is_flow = text.get(step.node.span.start..).is_some_and(|rest| rest.starts_with('{'));
        let repeated = pairs.iter().filter(|(key, _)| again.contains_key(&key.span.start));
        let names: Vec<&str> = repeated.clone().filter_map(|(key, _)| key.text()).collect();
        let is_step = names.iter().any(|name| matches!(*name, "action" | "call" | "id"));
        if is_flow || names.len() < 2 || !is_step {
            return None;
        }
        let places = repeated
            .filter_map(|(key, _)| Some((key.text()?, (*again.get(&key.span.start)?).clone())));
        let (key, span) = places.min_by_key(|(_, span)| span.start)?;
        let first = pairs.first().and_then(|(key, _)| key.text());
        Some(Swallowed { step: index, key: key.to_owned(), span, is_first: first == Some(key) })
    };
    steps.iter().enumerate().filter_map(swallowed).collect()
}
