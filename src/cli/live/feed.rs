//! The events of a run that this process drives.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::journal::{RecordedEvent, RunId, RunStore};

/// The events of a run, each once and in order. What was missed because the terminal was slow is read from the store.
pub(super) struct Feed {
    pub(super) events: Receiver<Arc<RecordedEvent>>,
    pub(super) store: Arc<dyn RunStore>,
    pub(super) run: RunId,
    /// The place of the next event.
    pub(super) next: u64,
    pub(super) read: VecDeque<RecordedEvent>,
}

impl Feed {
    /// Waits for the next event; `None` when the run has no writer any more.
    pub(super) async fn next(&mut self) -> Option<Arc<RecordedEvent>> {
        loop {
            if let Some(recorded) = self.read.pop_front() {
                self.next = recorded.seq + 1;
                return Some(Arc::new(recorded));
            }
            match self.events.recv().await {
                Ok(recorded) if recorded.seq < self.next => {}
                Ok(recorded) => {
                    if recorded.seq > self.next && self.read_missed().await {
                        continue;
                    }
                    self.next = recorded.seq + 1;
                    return Some(recorded);
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Reads what was missed. Returns whether there is something: a store that cannot be read keeps the rest of the run
    /// from being shown no longer than that.
    async fn read_missed(&mut self) -> bool {
        self.read = self.store.read(&self.run, self.next).await.unwrap_or_default().into();
        !self.read.is_empty()
    }
}
