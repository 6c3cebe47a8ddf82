//! The one seat for a run that a service drives.

use tokio::sync::watch;

use crate::{engine::Control, journal::RunId};

/// Who sits there. One value, so that no reader finds the seat half taken.
#[derive(Default)]
pub(super) struct ActiveRun(watch::Sender<Option<DrivenRun>>);

struct DrivenRun {
    id: RunId,
    control: Control,
}

/// A run's hold on the seat. The seat is free again when this is dropped, whatever became of the run.
pub(super) struct ActiveRunGuard<'a> {
    active_run: &'a ActiveRun,
    id: RunId,
}

impl ActiveRun {
    /// Seats a run.
    pub(super) fn set(&self, id: &RunId, control: &Control) {
        self.0.send_replace(Some(DrivenRun { id: id.clone(), control: control.clone() }));
    }

    /// What frees the seat of that run.
    pub(super) fn guard(&self, id: &RunId) -> ActiveRunGuard<'_> {
        ActiveRunGuard { active_run: self, id: id.clone() }
    }

    /// The run that is being driven.
    pub(super) fn id(&self) -> Option<RunId> {
        self.0.borrow().as_ref().map(|active| active.id.clone())
    }

    /// The handle on that run, if it is the one that is being driven.
    pub(super) fn control_of(&self, id: &RunId) -> Option<Control> {
        self.0.borrow().as_ref().filter(|active| active.id == *id).map(|a| a.control.clone())
    }

    /// Tells the run, if there is one, that the process goes away, and waits until the seat is free.
    pub(super) async fn shut_down(&self) {
        if let Some(active) = self.0.borrow().as_ref() {
            active.control.shut_down();
        }
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}

impl Drop for ActiveRunGuard<'_> {
    fn drop(&mut self) {
        self.active_run
            .0
            .send_if_modified(|active| active.take_if(|active| active.id == self.id).is_some());
    }
}
