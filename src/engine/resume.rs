//! Taking up a run that stopped: forward, back, or not at all.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Engine, StartError, VERSION, accept::require_valid};
use crate::{
    actions,
    journal::{Event, Run, RunId, RunStore, RunWriter, StepOutcome, StepProgress},
};
use runbook::{Runbook, Source};

/// Where a run that is taken up goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeMode {
    /// On with the step at which it stopped; a run that was rolling back goes on rolling back.
    Continue,
    /// Back to where it began.
    Rollback,
}

impl Engine {
    /// Takes up an unfinished run in the state in which its events left it.
    ///
    /// # Errors
    /// It is over, was written by another revision of an action, or began against another cluster or account.
    pub async fn resume(
        &self,
        id: &RunId,
        mode: ResumeMode,
        actor: &str,
    ) -> Result<RunWriter, StartError> {
        let mut run_writer = RunWriter::open(Arc::clone(&self.store), id)?;
        let run = run_writer.run();
        let operation = match mode {
            ResumeMode::Continue => "resumed",
            ResumeMode::Rollback => "rolled back",
        };
        ensure_unfinished(run, operation)?;
        let runbook = runbook_of(run)?;
        ensure_same_revisions(run, &runbook)?;
        run.spec.target.ensure_same(&self.identify(&runbook).await?)?;
        let rollback = mode == ResumeMode::Rollback;
        let resumed = Event::RunResumed { actor: actor.into(), version: VERSION.into(), rollback };
        run_writer.append(self.clock.now(), resumed)?;
        Ok(run_writer)
    }

    /// A run as it stands.
    ///
    /// # Errors
    /// There is no such run, or its journal cannot be read.
    pub fn run(&self, id: &RunId) -> Result<Run, StartError> {
        Ok(Run::read(self.store.as_ref(), id)?)
    }

    /// The text that a run began with.
    ///
    /// # Errors
    /// There is no such run, or its journal cannot be read.
    pub fn source_of(&self, id: &RunId) -> Result<Source, StartError> {
        Ok(source_of(&self.run(id)?))
    }
}

/// Declares an unfinished run to be over. The world stays as it is, and is not asked.
///
/// # Errors
/// It is over already, or its journal cannot be read or written.
pub fn abandon(store: Arc<dyn RunStore>, id: &RunId, actor: &str) -> Result<(), StartError> {
    let mut run_writer = RunWriter::open(store, id)?;
    ensure_unfinished(run_writer.run(), "abandoned")?;
    run_writer.append(Timestamp::now(), Event::RunAbandoned { actor: actor.into() })?;
    Ok(())
}

fn source_of(run: &Run) -> Source {
    let name = format!("{} (as run {} began with)", run.spec.runbook, run.id);
    Source::new(name, run.spec.text.as_str())
}

/// The runbook that a run began with, whatever has happened to its file since.
///
/// # Errors
/// This version finds errors in it.
pub(super) fn runbook_of(run: &Run) -> Result<Runbook, StartError> {
    require_valid(&source_of(run))
}

fn ensure_unfinished(run: &Run, operation: &'static str) -> Result<(), StartError> {
    let state = run.state(false);
    if state.is_unfinished() {
        return Ok(());
    }
    Err(StartError::AlreadyFinished { run: run.id.clone(), state, operation })
}

fn ensure_same_revisions(run: &Run, runbook: &Runbook) -> Result<(), StartError> {
    for step in &runbook.steps {
        let (Some(action), Some(recorded)) = (actions::find(&step.action), run.step(&step.id))
        else {
            continue;
        };
        if revisions(recorded).any(|revision| revision != action.revision) {
            return Err(StartError::RevisionMismatch {
                run: run.id.clone(),
                action: step.action.clone(),
                version: run.spec.version.clone(),
            });
        }
    }
    Ok(())
}

/// The revisions of everything that a step has left in the journal.
fn revisions(step: &StepProgress) -> impl Iterator<Item = u32> + '_ {
    let output = match &step.outcome {
        Some(StepOutcome::Completed { revision, .. }) => Some(*revision),
        _ => None,
    };
    step.intent.iter().map(|intent| intent.revision).chain(output)
}
