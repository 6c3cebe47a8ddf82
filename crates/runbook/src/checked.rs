//! A checked runbook: what the engine interprets. It owns everything and borrows nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::analysis::{Analysis, AnalyzedStep};
use super::document::OnFailure;
use super::duration::Duration;
use super::evaluate::{Argument, CompiledArgument, EvaluationError, EvaluationScope};
use super::inputs::{self, Input, InputError};
use super::yaml::Node;

/// A runbook without a mistake that could be seen in its text.
#[derive(Debug, Clone)]
pub struct Runbook {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What a run of it is given.
    pub inputs: Vec<Input>,
    /// What a run of it does, in order.
    pub steps: Vec<Step>,
}

/// A step of a checked runbook.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name under which later steps see its output.
    pub id: String,
    /// The name that people read; the id where none is given.
    pub name: String,
    /// The action.
    pub action: String,
    /// How long it may take, retries included.
    pub timeout: Duration,
    /// How often it is tried.
    pub retry: Retry,
    /// What its failure means.
    pub on_failure: OnFailure,
    arguments: CompiledArgument,
    when: Option<CompiledArgument>,
    log: Option<CompiledArgument>,
    uses: BTreeSet<String>,
}

/// How often a step is tried, and how long it rests in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries, the first included.
    pub attempts: u32,
    /// The first rest; each is twice the one before.
    pub backoff: Duration,
    /// The longest rest.
    pub max_backoff: Duration,
}

impl Runbook {
    /// The runbook of a book in which nothing is wrong.
    pub(crate) fn new(analysis: &Analysis<'_>) -> Option<Self> {
        let text = |node: Option<&Node>| node.and_then(Node::text).map(str::to_owned);
        let input =
            |(declared, default): (&super::document::InputDeclaration<'_>, &Option<Json>)| Input {
                name: declared.name.to_owned(),
                ty: declared.ty.clone(),
                default: default.clone(),
                description: declared.description.map(str::to_owned),
            };
        let steps = (0..analysis.steps.len()).map(|index| Step::new(analysis, index));
        Some(Self {
            name: text(analysis.document.name)?,
            description: text(analysis.document.description),
            inputs: analysis.document.inputs.iter().zip(&analysis.defaults).map(input).collect(),
            steps: steps.collect::<Option<_>>()?,
        })
    }

    /// The inputs of a run: those given, of the right type and within their limits, and defaults
    /// for the rest.
    ///
    /// # Errors
    /// Everything that is wrong with what was given, all at once.
    pub fn bind(&self, given: &Map<String, Json>) -> Result<Map<String, Json>, Vec<InputError>> {
        inputs::bind(&self.inputs, given)
    }

    /// The value that a text such as `--input NAME=TEXT` stands for, by the input's type.
    ///
    /// # Errors
    /// There is no such input, or the text is no value of it.
    pub fn parse_input(&self, name: &str, text: &str) -> Result<Json, InputError> {
        inputs::parse(&self.inputs, name, text)
    }
}

impl Step {
    fn new(analysis: &Analysis<'_>, index: usize) -> Option<Self> {
        let raw = &analysis.document.steps[index];
        let analyzed: &AnalyzedStep<'_> = &analysis.steps[index];
        let id = raw.id_text()?.to_owned();
        let name = raw.name.and_then(Node::text).unwrap_or(&id).to_owned();
        let policy = &analyzed.policy;
        let uses = analyzed.uses.iter().map(|step| analysis.id(*step).to_owned());
        Some(Self {
            name,
            action: raw.action.and_then(Node::text)?.to_owned(),
            timeout: policy.timeout,
            retry: Retry {
                attempts: policy.attempts,
                backoff: policy.backoff,
                max_backoff: policy.max_backoff,
            },
            on_failure: policy.on_failure,
            arguments: Argument::map(analyzed.arguments.clone()?).compile(),
            when: analyzed.when.as_ref().map(Argument::compile),
            log: analyzed.log.as_ref().map(Argument::compile),
            uses: uses.collect(),
            id,
        })
    }

    /// Whether the step is to run: its `when`.
    ///
    /// # Errors
    /// The condition cannot be evaluated.
    pub fn should_run(&self, scope: &EvaluationScope) -> Result<bool, EvaluationError> {
        match &self.when {
            None => Ok(true),
            Some(when) => Ok(when.evaluate(scope)? == Json::Bool(true)),
        }
    }

    /// Its parameters as JSON, each of the type that the action declares; what is not given is left
    /// to the action.
    ///
    /// # Errors
    /// A template cannot be evaluated, or yields a value outside the parameter's limits.
    pub fn arguments(&self, scope: &EvaluationScope) -> Result<Json, EvaluationError> {
        self.arguments.evaluate(scope)
    }

    /// The message to log after success; the scope must hold the step's own output.
    ///
    /// # Errors
    /// A template cannot be evaluated.
    pub fn message(&self, scope: &EvaluationScope) -> Result<Option<String>, EvaluationError> {
        let Some(log) = &self.log else {
            return Ok(None);
        };
        let message = log.evaluate(scope)?;
        Ok(message.as_str().map(str::to_owned))
    }

    /// The ids of the steps whose outputs its `with` and `when` name.
    pub fn uses(&self) -> &BTreeSet<String> {
        &self.uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The engine moves runbooks between its tasks.
    #[test]
    fn a_runbook_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Runbook>();
        shared::<EvaluationScope>();
        shared::<EvaluationError>();
    }
}
