//! A name that is neither `inputs` nor a step.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::super::analysis::{Role, TemplateSite};
use super::super::habits::{self, Rewrite};
use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity, unknown_input};

pub(crate) const RULE: Rule = Rule {
    code: "RB023",
    name: "unknown_step",
    severity: Severity::Error,
    summary: "a name that is neither 'inputs' nor a step",
    explanation: "\
A template refers to the inputs of the run as {{ inputs.NAME }} and to the output of an earlier step
as {{ ID.FIELD }}. A string in an expression is quoted: {{ 'text' }}.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    if analysis.has_lost_steps() {
        return; // the name may be that of a step that could not be read
    }
    let uses = uses(analysis);
    let declared = misspelled_ids(analysis, &uses, diagnostics);
    let mut reported: HashSet<&str> = HashSet::new();
    for (site, issue) in analysis.template_issues() {
        if let TemplateIssueKind::Hyphen { base, .. } = &issue.kind
            && base != "inputs"
        {
            diagnostics.push(unknown_input::hyphen(&RULE, issue));
        }
        let TemplateIssueKind::UnknownName(name) = &issue.kind else {
            continue;
        };
        let places = uses.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        if let Some(&step) = declared.get(name.as_str()) {
            if reported.insert(name) {
                let message =
                    format!("the step '{}' is used as '{name}' everywhere", analysis.id(step));
                let id =
                    analysis.document.steps[step].id.map(|id| id.span.clone()).unwrap_or_default();
                let diagnostic = Diagnostic::new(&RULE, id, message).replace(name.clone());
                diagnostics.push(unknown_input::labeled(diagnostic, places));
            }
            continue;
        }
        let diagnostic =
            Diagnostic::new(&RULE, issue.span.clone(), format!("unknown step '{name}'"));
        if analysis.symbols.inputs.field(name).is_some() {
            let mut diagnostic = diagnostic.help(format!("did you mean 'inputs.{name}'?"));
            diagnostic.suggestion = Some(format!("inputs.{name}"));
            diagnostics.push(diagnostic);
            continue;
        }
        if let Some((span, rewrite)) = habit(analysis, site, name, &issue.span) {
            let message = format!("there is no '{name}' in a template");
            diagnostics.push(Diagnostic::new(&RULE, span, message).rewrite(rewrite));
            continue;
        }
        let steps = &analysis.document.steps[..site.step];
        let earlier = steps.iter().filter_map(|step| step.id_text());
        let own = (site.role == Role::Log).then(|| analysis.id(site.step));
        let has_each = matches!(site.role, Role::Log | Role::Parameter(_))
            && analysis.symbols.outputs.get(site.step).is_some_and(|step| step.items.is_some());
        let more = own.filter(|id| !id.is_empty()).into_iter().chain(has_each.then_some("each"));
        let names = std::iter::once("inputs").chain(earlier).chain(more);
        let diagnostic = diagnostic.suggest(&diagnostics.spelling, name, names);
        let rest = analysis.source.text().get(issue.span.end..).unwrap_or_default();
        let has_field = rest.starts_with(['.', '[']);
        let is_word = name.len() <= 40 && diagnostic.suggestion.is_none() && !has_field;
        let diagnostic = match &diagnostic.help {
            Some(help) if help.starts_with("available") && is_word => {
                let help = format!("{help}; a text is written in quotes: '{name}'");
                diagnostic.help(help)
            }
            _ => diagnostic,
        };
        // A step that is missing is one mistake, however often its output is used.
        if diagnostic.suggestion.is_some() {
            diagnostics.push(diagnostic);
        } else if reported.insert(name) {
            diagnostics
                .push(unknown_input::labeled(diagnostic, places.get(1..).unwrap_or_default()));
        }
    }
}

/// Returns the places where each unknown name is used.
fn uses<'a>(analysis: &'a Analysis<'_>) -> HashMap<&'a str, Vec<Range<usize>>> {
    let mut uses: HashMap<&str, Vec<Range<usize>>> = HashMap::new();
    for (_, issue) in analysis.template_issues() {
        if let TemplateIssueKind::UnknownName(name) = &issue.kind {
            uses.entry(name).or_default().push(issue.span.clone());
        }
    }
    uses
}

/// Returns the unknown names that are used several times, each with the step of a similar id that no template uses:
/// its id is misspelled, and not each of the uses.
fn misspelled_ids<'a>(
    analysis: &Analysis<'_>,
    uses: &HashMap<&'a str, Vec<Range<usize>>>,
    diagnostics: &Diagnostics,
) -> HashMap<&'a str, usize> {
    let several: Vec<&'a str> =
        uses.iter().filter(|(_, places)| places.len() > 1).map(|(name, _)| *name).collect();
    if several.is_empty() {
        return HashMap::new();
    }
    let with_use: HashSet<usize> =
        analysis.sites().flat_map(|site| &site.inferred.steps).copied().collect();
    let ids = analysis.symbols.steps.iter().filter(|(_, step)| !with_use.contains(step));
    let ids: Vec<&str> = ids.map(|(id, _)| *id).collect();
    let declared = several.into_iter().filter_map(|name| {
        let id = diagnostics.spelling.correction(name, ids.iter().copied())?;
        Some((name, *analysis.symbols.steps.get(id.as_str())?))
    });
    declared.collect()
}

/// Returns what to write for a name of another tool, with the span of the path that it is the start of.
fn habit(
    analysis: &Analysis<'_>,
    site: &TemplateSite<'_>,
    name: &str,
    span: &Range<usize>,
) -> Option<(Range<usize>, Rewrite)> {
    /// The length of the longest path.
    const MAX_LENGTH: usize = 200;
    let rest = analysis.source.text().get(span.end..)?;
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']');
    let length = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
    let path = rest.get(..length).filter(|path| path.len() <= MAX_LENGTH)?.trim_end_matches('.');
    // A bracket of the expression around it is not a part of the path.
    let is_balanced = path.matches('[').count() == path.matches(']').count();
    let path = if is_balanced { path } else { path.split(['[', ']']).next().unwrap_or_default() };
    let step = site.step;
    // The step itself, and those after it, have no output yet.
    let is_log = site.role == Role::Log;
    let is_earlier = |of: usize| of < step || is_log && of == step;
    let is_step = |id: &str| analysis.symbols.steps.get(id).is_some_and(|of| is_earlier(*of));
    let is_input = |name: &str| analysis.symbols.inputs.field(name).is_some();
    let has_each = analysis.document.steps.get(step).is_some_and(|step| step.for_each.is_some());
    // `steps.ID.…` of a step that has no output yet.
    let of = path.strip_prefix('.').and_then(|path| path.split('.').next()).unwrap_or_default();
    if matches!(name, "steps" | "tasks" | "needs" | "jobs" | "outputs" | "results")
        && analysis.symbols.steps.contains_key(of)
        && !is_step(of)
    {
        let last = path.rsplit('.').next().unwrap_or_default();
        let rewrite = if is_input(last) {
            Rewrite::by(format!("inputs.{last}"))
        } else {
            let help = "use an input, or the output of an earlier step";
            Rewrite::help_by(format!("the step '{of}' has no output yet: {help}"))
        };
        return Some((span.start..span.end + path.len(), rewrite));
    }
    let rewrite = habits::name(name, path, &is_step, &is_input, has_each)?;
    let end = if rewrite.replacement.is_some() { span.end + path.len() } else { span.end };
    Some((span.start..end, rewrite))
}
