//! What a run would find, for whoever has to say yes to it: the steps at its beginning that only look, taken without a
//! journal.

use serde_json::{Map, Value};

use super::{Engine, StartError, accept::require_valid};
use crate::actions::{self, Operations, Progress};
use runbook::{EvaluationScope, Source};

impl Engine {
    /// Takes the leading steps that read, up to the first that does anything else, and returns their messages.
    ///
    /// # Errors
    /// The runbook has errors, the inputs do not fit, or a step fails: the run would fail in the same way.
    pub async fn preview(
        &self,
        source: &Source,
        inputs: &Map<String, Value>,
    ) -> Result<Vec<String>, StartError> {
        let runbook = require_valid(source)?;
        let mut scope = EvaluationScope::new(&runbook.bind(inputs).map_err(StartError::Inputs)?);
        let reader = self.platform.reader();
        let mut messages = Vec::new();
        for step in &runbook.steps {
            let operation = actions::find(&step.action).map(|action| &action.operations);
            let Some(Operations::Read(read)) = operation else { break };
            let preview_failed =
                |error: String| StartError::PreviewFailed { step: step.name.clone(), error };
            if !step.should_run(&scope).map_err(|error| preview_failed(error.to_string()))? {
                break;
            }
            let arguments =
                step.arguments(&scope).map_err(|error| preview_failed(error.to_string()))?;
            let output = read(arguments, &reader, &Progress::silent())
                .await
                .map_err(|error| preview_failed(error.to_string()))?;
            scope.insert(&step.id, &output);
            messages.extend(step.message(&scope).ok().flatten());
        }
        Ok(messages)
    }
}
