//! An input that is not used.

use std::collections::HashSet;

use super::super::document::is_name;
use super::super::habits;
use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB042",
    name: "unused_input",
    severity: Severity::Warning,
    summary: "an input that is not used",
    explanation: "\
A caller who sets the input expects it to have an effect. Remove the input, or use it: {{
inputs.NAME }}.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    if !analysis.is_fully_parsed() || analysis.sites().any(|site| site.inferred.all_inputs) {
        return;
    }
    let mut used: HashSet<String> =
        analysis.sites().flat_map(|site| &site.inferred.inputs).cloned().collect();
    for (_, issue) in analysis.template_issues() {
        if let TemplateIssueKind::UnknownInput(name) | TemplateIssueKind::UnknownName(name) =
            &issue.kind
        {
            // The name of any input, where 'inputs' itself is misspelled.
            let is_root = matches!(issue.kind, TemplateIssueKind::UnknownName(_));
            let root = diagnostics.spelling.correction(name, ["inputs"]);
            if is_root
                && (root.is_some()
                    || habits::name(name, "", &|_| false, &|_| true, false).is_some())
            {
                return;
            }
            let names = analysis.symbols.inputs.names();
            used.extend(diagnostics.spelling.correction(name, names)); // used, but misspelled
            used.insert(name.clone());
        }
    }
    for input in &analysis.document.inputs {
        if !used.contains(input.name) && is_name(input.name) {
            let message = format!("the input '{}' is not used", input.name);
            let help = format!("use it: {{{{ inputs.{} }}}}, or remove it", input.name);
            diagnostics.push(Diagnostic::new(&RULE, input.key.span.clone(), message).help(help));
        }
    }
}
