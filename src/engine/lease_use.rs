//! Who needs the lease of the cluster while a run is driven. A run that waits for persons, and does nothing else, gives
//! the lease back: the wait may take days. It is taken again before anything else is done. The lock of a run that has
//! changed something stays on the cluster meanwhile.

use std::time::Duration;

use super::{control::StopRequest, drive::Driver, interruptible::StopReason};
use crate::{
    journal::{Event, Failure, FailureKind, StepEvent, StepPath},
    lease::LeaseError,
};
use clock::{Backoff, Clock, Pace};

/// The pauses between attempts to take the lease again.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// The parts of a run that go on at the same time.
#[derive(Debug, Default)]
pub(super) struct LeaseUse {
    /// How many actions are executed.
    working: usize,
    /// How many steps wait for persons.
    waiting: usize,
    /// Whether another run has held the cluster since this one read what it knows.
    is_overtaken: bool,
}

impl Driver<'_> {
    /// Begins to execute an action of a step, with the lease.
    pub(super) async fn begin_work(&self, path: &StepPath) -> Result<(), StopReason> {
        if self.lease.is_none() {
            return Ok(());
        }
        let mut in_use = self.lease_use.lock().await;
        self.take_back(&mut in_use, path).await?;
        in_use.working += 1;
        Ok(())
    }

    /// Ends the execution of an action.
    pub(super) async fn end_work(&self) {
        let Some(lease) = &self.lease else { return };
        let mut in_use = self.lease_use.lock().await;
        in_use.working = in_use.working.saturating_sub(1);
        if in_use.working == 0 && in_use.waiting > 0 {
            lease.give_back().await;
        }
    }

    /// Begins to wait for persons.
    pub(super) async fn begin_wait(&self) {
        let Some(lease) = &self.lease else { return };
        let mut in_use = self.lease_use.lock().await;
        in_use.waiting += 1;
        if in_use.working == 0 {
            lease.give_back().await;
        }
    }

    /// Ends a wait for persons. A run that does not go on, and has changed nothing, has nothing left to do with the
    /// lease.
    pub(super) async fn end_wait(&self, path: &StepPath, goes_on: bool) -> Result<(), StopReason> {
        if self.lease.is_none() {
            return Ok(());
        }
        let mut in_use = self.lease_use.lock().await;
        in_use.waiting = in_use.waiting.saturating_sub(1);
        if goes_on || self.run().head.has_changed {
            self.take_back(&mut in_use, path).await?;
        }
        Ok(())
    }

    /// Takes the lease again, and waits while another run holds the cluster.
    async fn take_back(&self, in_use: &mut LeaseUse, path: &StepPath) -> Result<(), StopReason> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let mut pace = Pace::new(&Clock::real(), BACKOFF);
        let mut reported = None;
        // Once, so that a cancel does not keep a run from undoing what is not to outlast it.
        let is_stopping = self.control.stop_requested().is_some();
        loop {
            pace.next_turn().await;
            let error = match lease.take_back().await {
                Ok(is_continued) => {
                    in_use.is_overtaken |= !is_continued && !self.run().head.has_changed;
                    break;
                }
                Err(error) => error,
            };
            if !may_pass(&error) || is_stopping {
                lease.lose(error.to_string());
                return Err(StopReason::StopRequested(StopRequest::LeaseLost));
            }
            let message = error.to_string();
            if reported.as_ref() != Some(&message) {
                let event = StepEvent::StepWaiting { message: message.clone(), waited_ms: None };
                self.append(Event::step(path, event)).await?;
                reported = Some(message);
            }
            if let Some(request) = self.control.stop_requested() {
                return Err(StopReason::StopRequested(request));
            }
        }
        if in_use.is_overtaken {
            let message = "another run held the cluster while this one waited for approval";
            let failure = Failure::new(FailureKind::Conflict, message);
            let hint = "resume the run: it reads everything again, and asks again";
            return Err(StopReason::StepFailed(failure.with_hint(Some(hint))));
        }
        Ok(())
    }
}

/// Whether the lease may be taken later.
fn may_pass(error: &LeaseError) -> bool {
    match error {
        LeaseError::Held { .. } | LeaseError::HeldByOther(_) | LeaseError::MayBeHeld { .. } => true,
        LeaseError::LockRemoved => false,
        LeaseError::Platform(error) => error.is_retryable(),
    }
}
