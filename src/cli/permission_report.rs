//! Checks the permissions of runbooks, and prints what was found.

use std::{fmt::Write as _, sync::Arc};

use serde_json::{Map, Value, json};

use super::{CliError, Exit, Global, Output, stdout};
use crate::{
    engine::{CheckedRunbook, Engine},
    journal::MemoryStore,
    permissions::{AnswerSource, Missing, PermissionReport, Requirement, Unchecked, describe_all},
    platform::Platform,
};

/// Checks whether the account has what each runbook needs with its inputs, and prints what it has not.
pub(super) async fn check(
    platform: Platform,
    runbooks: impl IntoIterator<Item = (CheckedRunbook, &Map<String, Value>)>,
    global: &Global,
) -> Result<Exit, CliError> {
    // Nothing is started, so nothing is kept.
    let engine = Engine::new(platform, Arc::new(MemoryStore::default()), false);
    let mut reports = Vec::new();
    for (checked, inputs) in runbooks {
        let name = checked.runbook().name.clone();
        let preflight = engine.prepare(checked, inputs).await?;
        reports.push((name, engine.check_permissions(&preflight).await));
    }
    print(&reports, global.output)?;
    match reports.iter().any(|(_, report)| report.is_denied()) {
        true => Ok(Exit::Failed),
        false => Ok(Exit::Success),
    }
}

/// Prints the reports of runbooks.
fn print(reports: &[(String, PermissionReport)], output: Output) -> Result<(), CliError> {
    let text = match output {
        Output::Text => reports.iter().map(|(runbook, report)| describe(runbook, report)).collect(),
        Output::Json | Output::Ndjson => {
            let reports: Vec<Value> =
                reports.iter().map(|(runbook, report)| to_json(runbook, report)).collect();
            format!("{:#}\n", json!({ "permissions": reports }))
        }
    };
    Ok(stdout::write(&text)?)
}

fn describe(runbook: &str, report: &PermissionReport) -> String {
    let PermissionReport { allowed, missing, unchecked } = report;
    let missing_required = |source: AnswerSource| -> Vec<&Requirement> {
        let of_source = report.required().filter(|missing| missing.source == source);
        of_source.map(|missing| &missing.requirement).collect()
    };
    let optional = missing.iter().filter(|missing| missing.requirement.is_optional);
    let missing_optional: Vec<&Requirement> =
        optional.map(|missing| &missing.requirement).collect();
    let mut text = format!(
        "{runbook}: {allowed} allowed, {} missing, {} not checked\n",
        missing.len(),
        unchecked.len()
    );
    let groups = [
        ("missing, as the API server says", missing_required(AnswerSource::AccessReview)),
        ("missing, because the call was refused", missing_required(AnswerSource::Tried)),
        ("missing, as IAM simulates it", missing_required(AnswerSource::Simulated)),
        ("missing, and optional", missing_optional),
    ];
    for (title, requirements) in groups {
        for line in describe_all(requirements) {
            let _ = writeln!(text, "  {title}: {line}");
        }
    }
    for Unchecked { requirement, reason } in unchecked {
        let (what, needed_by) = (requirement.describe(), requirement.needed_by());
        let _ = writeln!(text, "  not checked: {what} (for {needed_by}): {reason}");
    }
    for rule in report.rules_to_add() {
        let _ = writeln!(text, "  add {rule}");
    }
    text::printable_lines(&text).into_owned()
}

fn to_json(runbook: &str, report: &PermissionReport) -> Value {
    let missing = |Missing { requirement, source }: &Missing| {
        json!({
            "permission": requirement.describe(),
            "neededBy": requirement.needed_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "optional": requirement.is_optional,
            "source": match source {
                AnswerSource::AccessReview => "access_review",
                AnswerSource::Tried => "tried",
                AnswerSource::Simulated => "simulated",
            },
        })
    };
    let unchecked = |Unchecked { requirement, reason }: &Unchecked| {
        json!({
            "permission": requirement.describe(),
            "neededBy": requirement.needed_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "reason": reason,
        })
    };
    json!({
        "runbook": runbook,
        "allowed": report.allowed,
        "missing": report.missing.iter().map(missing).collect::<Vec<_>>(),
        "unchecked": report.unchecked.iter().map(unchecked).collect::<Vec<_>>(),
        "rulesToAdd": report.rules_to_add(),
    })
}
