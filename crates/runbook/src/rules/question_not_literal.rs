//! A template in what must be known before a person is asked.

use super::super::analysis::{ASK, EXPIRES, Role};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB071",
    name: "question_not_literal",
    severity: Severity::Error,
    summary: "a template in the questions of an approval, or in the time that it waits",
    explanation: "\
The answers to 'ask' are typed, so its questions are known before a run starts; and 'expires' says in
advance for how long a run may wait. Both are written as literals. What depends on the run belongs in
'message', which is a template:

    action: wait_approval
    with:
      message: \"{{ new_nodes.count }} nodes are Ready. Delete the old pods?\"
      ask: {factor: {type: integer, minimum: 2, maximum: 4}}
      expires: 4h",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let asks = |step: usize| {
        let step = analysis.steps.get(step);
        step.and_then(|step| step.signature).is_some_and(|action| action.asks)
    };
    for site in analysis.sites().filter(|site| asks(site.step)) {
        let Role::Parameter(path) = &site.role else { continue };
        let parameter = path.split(['.', '[']).next().unwrap_or_default();
        if [ASK, EXPIRES].contains(&parameter) {
            let message = format!("'{parameter}' cannot contain a template");
            let diagnostic = Diagnostic::new(&RULE, site.node.span.clone(), message);
            diagnostics.push(diagnostic.help("write the value; 'message' can have templates"));
        }
    }
}
