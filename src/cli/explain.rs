//! `explain`: the rules that runbooks are held to.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Exit, Global, Output, Trouble, standard_output};
use crate::runbook::{self, Rule};

/// Explains a rule that a runbook is held to; without one, lists them all.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The rule's code, as findings name it, or its name
    #[arg(value_name = "RB012")]
    rule: Option<String>,
}

impl Explain {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Trouble> {
        let text = match (&self.rule, global.output) {
            (Some(word), Output::Text) => whole(find(word)?),
            (Some(word), Output::Json) => format!("{:#}\n", document(find(word)?)),
            (None, Output::Text) => runbook::rules().iter().map(line).collect(),
            (None, Output::Json) => {
                let all: Vec<Value> = runbook::rules().iter().map(document).collect();
                format!("{:#}\n", json!(all))
            }
        };
        standard_output::write(&text)?;
        Ok(Exit::Done)
    }
}

fn find(word: &str) -> Result<&'static Rule, Trouble> {
    let rules = runbook::rules();
    let is_it = |rule: &&Rule| rule.code.eq_ignore_ascii_case(word) || rule.name == word;
    rules.iter().find(is_it).ok_or_else(|| {
        let near = runbook::nearest(word, rules.iter().flat_map(|rule| [rule.code, rule.name]));
        let hint = match near {
            Some(near) => format!("did you mean '{near}'?"),
            None => "`explain` alone lists them".to_owned(),
        };
        Trouble::Usage(format!("there is no rule '{word}'; {hint}"))
    })
}

fn line(rule: &Rule) -> String {
    format!("{}  {:<8} {:<20} {}\n", rule.code, rule.severity.word(), rule.name, rule.summary)
}

fn whole(rule: &Rule) -> String {
    let mut text = format!("{} {} ({})\n", rule.code, rule.name, rule.severity.word());
    let _ = write!(text, "{}.\n\n{}\n", sentence(rule.summary), rule.explanation);
    text
}

/// With its first letter large.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

fn document(rule: &Rule) -> Value {
    json!({
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity.word(),
        "summary": rule.summary,
        "explanation": rule.explanation,
    })
}
