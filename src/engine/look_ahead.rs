//! What a run would find, for whoever has to say yes to it: the steps at its beginning that only look, taken without a
//! journal.

use serde_json::{Map, Value};

use super::{Engine, Refusal, accept::checked};
use crate::actions::{self, Operations, Progress};
use runbook::{EvaluationScope, Source};

impl Engine {
    /// Takes the leading steps that read, up to the first that does anything else, and returns their messages.
    ///
    /// # Errors
    /// The runbook has errors, the inputs do not fit, or a step fails: the run would fail in the same way.
    pub async fn look_ahead(
        &self,
        source: &Source,
        inputs: &Map<String, Value>,
    ) -> Result<Vec<String>, Refusal> {
        let runbook = checked(source)?;
        let mut scope = EvaluationScope::new(&runbook.bind(inputs).map_err(Refusal::Inputs)?);
        let reader = self.platform.reader();
        let mut messages = Vec::new();
        for step in &runbook.steps {
            let look = actions::find(&step.action).map(|entry| &entry.operations);
            let Some(Operations::Read(read)) = look else { break };
            let ahead = |error: String| Refusal::LookAhead { step: step.name.clone(), error };
            if !step.should_run(&scope).map_err(|error| ahead(error.to_string()))? {
                break;
            }
            let arguments = step.arguments(&scope).map_err(|error| ahead(error.to_string()))?;
            let output = read(arguments, &reader, &Progress::silent())
                .await
                .map_err(|error| ahead(error.to_string()))?;
            scope.insert(&step.id, &output);
            messages.extend(step.message(&scope).ok().flatten());
        }
        Ok(messages)
    }
}
