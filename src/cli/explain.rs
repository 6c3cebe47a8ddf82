//! `explain`: the rules that `validate` checks.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CliError, Exit, Global, Output, stdout};
use runbook::Rule;

/// Explains a rule that `validate` checks; without RULE, lists all rules.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The rule's code, such as RB012, or its name
    rule: Option<String>,
}

impl ExplainArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit, CliError> {
        let text = match (&self.rule, global.output) {
            (Some(word), Output::Text) => details(find(word)?),
            (Some(word), Output::Json | Output::Ndjson) => format!("{:#}\n", document(find(word)?)),
            (None, Output::Text) => runbook::rules().iter().map(line).collect(),
            (None, Output::Json | Output::Ndjson) => {
                let all: Vec<Value> = runbook::rules().iter().map(document).collect();
                format!("{:#}\n", json!(all))
            }
        };
        stdout::write(&text)?;
        Ok(Exit::Success)
    }
}

fn find(word: &str) -> Result<&'static Rule, CliError> {
    let rules = runbook::rules();
    runbook::find_rule(word).ok_or_else(|| {
        let near = runbook::nearest(word, rules.iter().flat_map(|rule| [rule.code, rule.name]));
        let hint = match near {
            Some(near) => format!("did you mean '{near}'?"),
            None => "run `rafay-relay-sop explain` to list all rules".to_owned(),
        };
        CliError::usage_with_hint(format!("rule '{word}' not found"), hint)
    })
}

fn line(rule: &Rule) -> String {
    format!("{}  {:<8} {:<24} {}\n", rule.code, rule.severity.as_str(), rule.name, rule.summary)
}

fn details(rule: &Rule) -> String {
    let mut text = format!("{} {} ({})\n", rule.code, rule.name, rule.severity.as_str());
    let _ = write!(text, "{}.\n\n{}\n", capitalized(rule.summary), rule.explanation);
    text
}

/// Returns the text with its first letter in upper case.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

fn document(rule: &Rule) -> Value {
    json!({
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity.as_str(),
        "summary": rule.summary,
        "explanation": rule.explanation,
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_rule_is_found_by_its_code_its_name_and_its_former_name() {
        for word in ["RB018", "rb018", "invalid_enum_value", "unknown_word"] {
            assert_eq!(find(word).ok().map(|rule| rule.code), Some("RB018"), "{word}");
        }
        assert!(find("no_such_rule").is_err());
    }
}
