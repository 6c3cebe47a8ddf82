//! The one seat for a run that a service drives.

use tokio::sync::watch;

use crate::{engine::Control, journal::RunId};

/// Who sits there. One value, so that no reader finds the seat half taken.
#[derive(Default)]
pub(super) struct Seat(watch::Sender<Option<Active>>);

struct Active {
    id: RunId,
    control: Control,
}

/// A run's hold on the seat. The seat is free again when this is dropped, whatever became of the run.
pub(super) struct Seated<'a> {
    seat: &'a Seat,
    id: RunId,
}

impl Seat {
    /// Seats a run.
    pub(super) fn take(&self, id: &RunId, control: &Control) {
        self.0.send_replace(Some(Active { id: id.clone(), control: control.clone() }));
    }

    /// What frees the seat of that run.
    pub(super) fn hold(&self, id: &RunId) -> Seated<'_> {
        Seated { seat: self, id: id.clone() }
    }

    /// The run that is being driven.
    pub(super) fn run(&self) -> Option<RunId> {
        self.0.borrow().as_ref().map(|active| active.id.clone())
    }

    /// The handle on that run, if it is the one that is being driven.
    pub(super) fn control_of(&self, id: &RunId) -> Option<Control> {
        self.0.borrow().as_ref().filter(|active| active.id == *id).map(|a| a.control.clone())
    }

    /// Tells the run, if there is one, that the process goes away, and waits until the seat is free.
    pub(super) async fn clear(&self) {
        if let Some(active) = self.0.borrow().as_ref() {
            active.control.shut_down();
        }
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.seat
            .0
            .send_if_modified(|active| active.take_if(|active| active.id == self.id).is_some());
    }
}
