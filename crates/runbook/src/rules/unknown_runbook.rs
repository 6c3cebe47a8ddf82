//! A call of a runbook that is not there.

use std::{ffi::OsStr, path::Path};

use super::super::callables::CallProblem;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB065",
    name: "unknown_runbook",
    severity: Severity::Error,
    summary: "a call of a runbook that is not there",
    explanation: "\
A step calls a runbook by its name. It is found as `run NAME` finds it: in the directory of the file
that calls it, in the directory of runbooks (--runbooks), and among those that are built in.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (node, problem) in analysis.call_problems() {
        let name = node.text().unwrap_or_default();
        match problem {
            CallProblem::Unknown(names) => {
                let message = format!("unknown runbook {}", quoted(name));
                let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message);
                if analysis.registry.get(name).is_some() {
                    let help = format!("{name} is an action: write 'action: {name}'");
                    diagnostics.push(diagnostic.help(help));
                    continue;
                }
                let extension = Path::new(name).extension().and_then(OsStr::to_str);
                if name.contains(['/', '\\']) || matches!(extension, Some("yaml" | "yml")) {
                    let help =
                        "write the name alone: the name of its file, without directory and .yaml";
                    diagnostics.push(diagnostic.help(help));
                    continue;
                }
                let names = names.iter().map(String::as_str);
                diagnostics.push(diagnostic.suggest(&diagnostics.spelling, name, names));
            }
            CallProblem::Unreadable(why) => {
                let message = format!("cannot read the runbook {}: {why}", quoted(name));
                diagnostics.push(Diagnostic::new(&RULE, node.span.clone(), message));
            }
            _ => {}
        }
    }
}
