//! The start of a run: everything that can be refused is refused here, before anything moves.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{Engine, StartError, VERSION};
use crate::{
    actions,
    journal::{Run, RunId, RunSpec, RunTarget, RunWriter},
};
use runbook::{Runbook, Source};

/// What somebody wants run.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The runbook's text and where it came from.
    pub source: Source,
    /// The inputs that were given; defaults are filled in.
    pub inputs: Map<String, Value>,
    /// Who asks.
    pub actor: String,
    /// The caller's own key: the same key never starts a second run.
    pub key: Option<String>,
}

/// SHA-256 of a runbook's text, in hexadecimal.
pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Engine {
    /// Checks the request and begins the run. Nothing has been changed when this returns.
    ///
    /// # Errors
    /// Why there is no run.
    pub async fn accept(&self, request: RunRequest) -> Result<RunWriter, StartError> {
        let runbook = require_valid(&request.source)?;
        let inputs = runbook.bind(&request.inputs).map_err(StartError::Inputs)?;
        self.ensure_no_unfinished_run()?;
        let target = self.identify(&runbook).await?;
        Ok(self.begin(&runbook, request, inputs, target)?)
    }

    /// What a run of this runbook would touch: for whoever asks a person first.
    ///
    /// # Errors
    /// The runbook has errors, or the cluster or account could not be asked.
    pub async fn target_of(&self, source: &Source) -> Result<RunTarget, StartError> {
        Ok(self.identify(&require_valid(source)?).await?)
    }

    fn begin(
        &self,
        runbook: &Runbook,
        request: RunRequest,
        inputs: Map<String, Value>,
        target: RunTarget,
    ) -> Result<RunWriter, crate::journal::StoreError> {
        let now = self.clock.now();
        let last = self.store.list()?.pop();
        let id = RunId::new(now, &runbook.name, last.as_ref());
        let text = request.source.text().to_owned();
        let spec = RunSpec {
            runbook: runbook.name.clone(),
            digest: digest(&text),
            text,
            inputs,
            actor: request.actor,
            key: request.key,
            version: VERSION.into(),
            target,
        };
        RunWriter::create(Arc::clone(&self.store), id, now, spec)
    }

    /// One unfinished run holds the lock: the natural next run would double again what it has doubled.
    fn ensure_no_unfinished_run(&self) -> Result<(), StartError> {
        for id in self.store.list()?.iter().rev() {
            let run = Run::read(self.store.as_ref(), id)?;
            // This process holds the folder and is not driving that run: nobody is.
            let state = run.state(false);
            if state.is_unfinished() {
                return Err(StartError::Unfinished { run: id.clone(), state, cause: run.error });
            }
        }
        Ok(())
    }
}

/// Checks a runbook's text against the actions that there are. Nothing is run.
pub fn check(source: &Source) -> runbook::CheckResult {
    runbook::check(source, actions::registry())
}

/// The runbook, if it has no errors.
pub(super) fn require_valid(source: &Source) -> Result<Runbook, StartError> {
    let checked = check(source);
    checked.runbook.ok_or_else(|| StartError::Invalid {
        source_text: Box::new(source.clone()),
        findings: checked.diagnostics,
    })
}
