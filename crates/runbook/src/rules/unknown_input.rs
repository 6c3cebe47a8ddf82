//! An input that is not declared.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::super::template::{TemplateIssue, TemplateIssueKind};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB026",
    name: "unknown_input",
    severity: Severity::Error,
    summary: "an input that is not declared",
    explanation: "\
Every input is declared under 'inputs' with its type.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::Hyphen { base, .. } = &issue.kind else { continue };
        if base == "inputs" {
            diagnostics.push(hyphen(&RULE, issue));
        }
    }
    let mut uses: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
    for (_, issue) in analysis.template_issues() {
        if let TemplateIssueKind::UnknownInput(name) = &issue.kind {
            uses.entry(name).or_default().push(issue.span.clone());
        }
    }
    if uses.is_empty() {
        return;
    }
    let with_use: HashSet<&str> =
        analysis.sites().flat_map(|site| &site.inferred.inputs).map(String::as_str).collect();
    let names: Vec<&str> = analysis.symbols.inputs.names().collect();
    for (name, mut places) in uses {
        places.sort_by_key(|place| place.start);
        let correction = diagnostics.spelling.correction(name, names.iter().copied());
        let declared = correction.as_deref().filter(|declared| !with_use.contains(declared));
        // Several uses agree, and none has the name as it is declared: the declaration is wrong.
        let declaration = declared.filter(|_| places.len() > 1).and_then(|declared| {
            analysis.document.inputs.iter().find(|input| input.name == declared)
        });
        if let Some(input) = declaration {
            let message = format!("the input '{}' is used as '{name}' everywhere", input.name);
            let diagnostic = Diagnostic::new(&RULE, input.key.span.clone(), message);
            diagnostics.push(labeled(diagnostic.replace(name), &places));
            continue;
        }
        let new = |place: &Range<usize>| {
            // `inputs.parameters.name`, as Argo Workflows has it.
            let rest = analysis.source.text().get(place.end..).unwrap_or_default();
            let inner = rest.strip_prefix('.').and_then(|rest| {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                rest.split(|c| !is_part(c)).next().filter(|inner| names.contains(inner))
            });
            if let Some(inner) = inner {
                let message = format!("inputs have no '{name}': they are named directly");
                let span = place.start..place.end + 1 + inner.len();
                let mut diagnostic = Diagnostic::new(&RULE, span, message);
                diagnostic.help = Some(format!("write inputs.{inner}"));
                diagnostic.suggestion = Some(inner.to_owned());
                return diagnostic;
            }
            let message = format!("unknown input '{name}'");
            let diagnostic = Diagnostic::new(&RULE, place.clone(), message);
            match &correction {
                _ if names.is_empty() => {
                    diagnostic.help("declare the input under 'inputs' with its type")
                }
                Some(correction) => diagnostic.replace(correction.clone()),
                None => diagnostic.suggest(&diagnostics.spelling, name, names.iter().copied()),
            }
        };
        let found: Vec<Diagnostic> = match places.split_first() {
            // An input that is not declared is one mistake, however often it is used.
            Some((first, rest)) if correction.is_none() => vec![labeled(new(first), rest)],
            _ => places.iter().map(new).collect(),
        };
        found.into_iter().for_each(|diagnostic| diagnostics.push(diagnostic));
    }
}

/// Returns the diagnostic of a name with '-' in it.
pub(super) fn hyphen(rule: &Rule, issue: &TemplateIssue) -> Diagnostic {
    let TemplateIssueKind::Hyphen { base, name, meant } = &issue.kind else {
        return Diagnostic::new(rule, issue.span.clone(), "'-' is minus in a template");
    };
    let dot = if base.is_empty() { "" } else { "." };
    let (left, right) = name.rsplit_once('-').unwrap_or((name, ""));
    let message = format!("'-' is minus in a template: this is {base}{dot}{left} minus {right}");
    let diagnostic = Diagnostic::new(rule, issue.span.clone(), message);
    let Some(meant) = meant else {
        return diagnostic.help(match base.as_str() {
            "inputs" => "write the name of an input, which has '_' where other names have '-'",
            _ => "a name has '_' in place of '-'; a key of a map with '-' is written ['a-b']",
        });
    };
    let mut diagnostic = diagnostic.help(format!("write {meant}"));
    let own = meant.strip_prefix(base.as_str()).and_then(|rest| rest.strip_prefix(dot));
    diagnostic.suggestion = own.map(str::to_owned);
    diagnostic
}

/// Adds the first of the places where a name is used.
pub(super) fn labeled(diagnostic: Diagnostic, places: &[Range<usize>]) -> Diagnostic {
    const MAX_SHOWN: usize = 4;
    let shown = places.iter().take(MAX_SHOWN);
    shown.fold(diagnostic, |diagnostic, place| diagnostic.label(place.clone(), "used here"))
}
