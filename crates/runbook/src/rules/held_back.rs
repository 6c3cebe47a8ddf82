//! What is held back, because it follows from a mistake that is reported, or may: it is reported when that is
//! corrected.

use std::collections::HashSet;
use std::ops::Range;

use super::{
    Analysis, Diagnostic, Diagnostics, Severity, exactly_one_of, expression_type_mismatch,
    hardcoded_secret, invalid_enum_value, invalid_format, invalid_input, invalid_object,
    invalid_type, literal_type_mismatch, missing_key, missing_parameter, out_of_range, unknown_key,
    unknown_parameter, unused_input, unused_output, wrong_default,
};
use crate::diagnostics::enclosing;
use crate::yaml::{Node, NodeKind, YamlIssue, YamlIssueKind};

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
    hold_back_merged(analysis, diagnostics);
    hold_back_refused_secrets(diagnostics);
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

/// Removes what is said of the form of a default that is refused because of the secret in it: the secret is an error
/// then.
fn hold_back_refused_secrets(diagnostics: &mut Diagnostics) {
    let is_secret = |one: &&Diagnostic| one.code == hardcoded_secret::RULE.code;
    let secrets: Vec<Range<usize>> =
        diagnostics.iter().filter(is_secret).map(|one| one.span.clone()).collect();
    let has = |default: &Diagnostic, secret: &Range<usize>| {
        default.span.start <= secret.start && secret.end <= default.span.end
    };
    let is_refused = |one: &Diagnostic| {
        one.code == wrong_default::RULE.code && secrets.iter().any(|secret| has(one, secret))
    };
    let refused: Vec<Range<usize>> =
        diagnostics.iter().filter(|one| is_refused(one)).map(|one| one.span.clone()).collect();
    if refused.is_empty() {
        return;
    }
    diagnostics.retain(|one| !is_refused(one));
    diagnostics.raise(|one| {
        one.code == hardcoded_secret::RULE.code
            && refused
                .iter()
                .any(|default| default.start <= one.span.start && one.span.end <= default.end)
    });
}

/// Removes what is missing in a step, or in a part of the runbook, into which other keys are merged.
fn hold_back_merged(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let is_merge = |issue: &&YamlIssue| matches!(issue.kind, YamlIssueKind::MergeKey);
    let steps = &analysis.document.steps;
    let merged = |issue: &YamlIssue| {
        let at = issue.span.start;
        let step = steps.partition_point(|step| step.node.span.start <= at).checked_sub(1);
        let step = step.and_then(|step| steps.get(step)).map(|step| &step.node.span);
        let parts = || analysis.root.iter().map(|(_, value)| &value.span);
        let is_around = |span: &&Range<usize>| span.start <= at && at < span.end;
        step.filter(is_around).or_else(|| parts().find(is_around)).cloned()
    };
    let mut merged: Vec<Range<usize>> =
        analysis.yaml.iter().filter(is_merge).filter_map(merged).collect();
    merged.sort_by_key(|range| range.start);
    if !merged.is_empty() {
        diagnostics.retain(|one| !(MISSING.contains(&one.code) && is_within(&one.span, &merged)));
    }
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
