//! What is held back, because it follows from a mistake that is reported, or may: it is reported when that is
//! corrected.

use std::collections::HashSet;
use std::ops::Range;

use super::{
    Analysis, Diagnostics, Severity, exactly_one_of, expression_type_mismatch, invalid_enum_value,
    invalid_format, invalid_input, invalid_object, invalid_type, literal_type_mismatch,
    missing_key, missing_parameter, out_of_range, unknown_key, unknown_parameter, unused_input,
    unused_output,
};
use crate::diagnostics::enclosing;
use crate::yaml::{Node, NodeKind};

/// The rules about what is not there.
const MISSING: [&str; 5] = [
    missing_key::RULE.code,
    missing_parameter::RULE.code,
    exactly_one_of::RULE.code,
    invalid_object::RULE.code,
    invalid_input::RULE.code,
];

/// The rules about what has no use.
const UNUSED: [&str; 2] = [unused_input::RULE.code, unused_output::RULE.code];

/// The rules about a key that is not known.
const UNKNOWN: [&str; 2] = [unknown_key::RULE.code, unknown_parameter::RULE.code];

/// The rules about values.
const OF_VALUES: [&str; 6] = [
    invalid_type::RULE.code,
    literal_type_mismatch::RULE.code,
    out_of_range::RULE.code,
    invalid_format::RULE.code,
    invalid_enum_value::RULE.code,
    expression_type_mismatch::RULE.code,
];

/// Whether a rule is about what has no use, which is reported only while nothing is wrong.
pub(crate) fn is_about_unused(code: &str) -> bool {
    UNUSED.contains(&code)
}

/// Removes what follows, or may follow, from what else is reported.
pub(super) fn hold_back(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    // As long as anything is wrong, the use can be what is wrong.
    if diagnostics.iter().any(|one| one.severity == Severity::Error) {
        diagnostics.retain(|one| !UNUSED.contains(&one.code));
    }
    let of_unknown = diagnostics.iter().filter(|one| UNKNOWN.contains(&one.code));
    let unknown: HashSet<usize> = of_unknown.map(|one| one.span.start).collect();
    let Some(tree) = analysis.tree.filter(|_| !unknown.is_empty()) else { return };
    let mut found = Found::default();
    found.walk(tree, None, &unknown);
    // The keys of a mapping can come after the mappings in it.
    found.mappings.sort_by_key(|range| range.start);
    // What is missing beside an unknown key is probably what it means.
    diagnostics.retain(|one| {
        !(MISSING.contains(&one.code) && is_within(&one.span, &found.mappings)
            || OF_VALUES.contains(&one.code) && is_within(&one.span, &found.values))
    });
}

/// The places of unknown keys, in the order of the text.
#[derive(Default)]
struct Found {
    /// The steps, or else the mappings, that have one.
    mappings: Vec<Range<usize>>,
    /// Their values.
    values: Vec<Range<usize>>,
}

impl Found {
    /// Finds the keys that begin at these positions below a node, which is a part of this step.
    fn walk(&mut self, node: &Node, step: Option<&Range<usize>>, unknown: &HashSet<usize>) {
        match &node.kind {
            NodeKind::Map(pairs) => {
                let is_runbook =
                    step.is_none() && pairs.iter().any(|(key, _)| key.text() == Some("steps"));
                for (key, value) in pairs {
                    if unknown.contains(&key.span.start) {
                        let range = match step {
                            Some(step) => step.clone(),
                            // Its own missing keys are reported at its first one, and those of its steps are others.
                            None if is_runbook => node.span.start..pairs[0].0.span.end,
                            None => node.span.clone(),
                        };
                        self.mappings.push(range);
                        self.values.push(value.span.clone());
                    }
                    let is_steps = step.is_none() && key.text() == Some("steps");
                    match value.items().filter(|_| is_steps) {
                        Some(steps) => {
                            steps.iter().for_each(|one| self.walk(one, Some(&one.span), unknown));
                        }
                        None => self.walk(value, step, unknown),
                    }
                }
            }
            NodeKind::List(items) => {
                items.iter().for_each(|item| self.walk(item, step, unknown));
            }
            NodeKind::Scalar { .. } | NodeKind::Broken => {}
        }
    }
}

fn is_within(span: &Range<usize>, ranges: &[Range<usize>]) -> bool {
    enclosing(ranges, |range| range, span).next().is_some()
}
