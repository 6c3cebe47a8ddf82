//! Taking up a run that stopped: forward, back, or not at all.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Engine, Refusal, VERSION, accept::checked};
use crate::{
    actions,
    journal::{Event, Outcome, Recorder, Run, RunId, Step, Store},
};
use runbook::{Runbook, Source};

/// Where a run that is taken up goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// On with the step at which it stopped; a run that was rolling back goes on rolling back.
    On,
    /// Back to where it began.
    Back,
}

impl Engine {
    /// Takes up an unfinished run in the state in which its events left it.
    ///
    /// # Errors
    /// It is over, was written by another revision of an action, or began against another cluster or account.
    pub async fn take_up(
        &self,
        id: &RunId,
        direction: Direction,
        actor: &str,
    ) -> Result<Recorder, Refusal> {
        let mut recorder = Recorder::take_up(Arc::clone(&self.store), id)?;
        let run = recorder.run();
        let what = match direction {
            Direction::On => "resumed",
            Direction::Back => "rolled back",
        };
        refuse_if_over(run, what)?;
        let runbook = runbook_of(run)?;
        refuse_other_revisions(run, &runbook)?;
        run.started.target.same_as(&self.identify(&runbook).await?)?;
        let back = direction == Direction::Back;
        let resumed = Event::RunResumed { actor: actor.into(), version: VERSION.into(), back };
        recorder.append(self.clock.now(), resumed)?;
        Ok(recorder)
    }

    /// A run as it stands.
    ///
    /// # Errors
    /// There is no such run, or its journal cannot be read.
    pub fn run(&self, id: &RunId) -> Result<Run, Refusal> {
        Ok(Run::read(self.store.as_ref(), id)?)
    }

    /// The text that a run began with.
    ///
    /// # Errors
    /// There is no such run, or its journal cannot be read.
    pub fn source_of(&self, id: &RunId) -> Result<Source, Refusal> {
        Ok(source_of(&self.run(id)?))
    }
}

/// Declares an unfinished run to be over. The world stays as it is, and is not asked.
///
/// # Errors
/// It is over already, or its journal cannot be read or written.
pub fn abandon(store: Arc<dyn Store>, id: &RunId, actor: &str) -> Result<(), Refusal> {
    let mut recorder = Recorder::take_up(store, id)?;
    refuse_if_over(recorder.run(), "abandoned")?;
    recorder.append(Timestamp::now(), Event::Abandoned { actor: actor.into() })?;
    Ok(())
}

fn source_of(run: &Run) -> Source {
    let name = format!("{} (as run {} began with)", run.started.runbook, run.id);
    Source::new(name, run.started.text.as_str())
}

/// The runbook that a run began with, whatever has happened to its file since.
///
/// # Errors
/// This version finds errors in it.
pub(super) fn runbook_of(run: &Run) -> Result<Runbook, Refusal> {
    checked(&source_of(run))
}

fn refuse_if_over(run: &Run, what: &'static str) -> Result<(), Refusal> {
    let state = run.state(false);
    if state.is_unfinished() {
        return Ok(());
    }
    Err(Refusal::Over { run: run.id.clone(), state, what })
}

fn refuse_other_revisions(run: &Run, runbook: &Runbook) -> Result<(), Refusal> {
    for step in &runbook.steps {
        let (Some(entry), Some(so_far)) = (actions::find(&step.action), run.step(&step.id)) else {
            continue;
        };
        if revisions(so_far).any(|revision| revision != entry.revision) {
            return Err(Refusal::OtherRevision {
                run: run.id.clone(),
                action: step.action.clone(),
                version: run.started.version.clone(),
            });
        }
    }
    Ok(())
}

/// The revisions of everything that a step has left in the journal.
fn revisions(step: &Step) -> impl Iterator<Item = u32> + '_ {
    let output = match &step.outcome {
        Some(Outcome::Completed { revision, .. }) => Some(*revision),
        _ => None,
    };
    step.intent.iter().map(|intent| intent.revision).chain(output)
}
