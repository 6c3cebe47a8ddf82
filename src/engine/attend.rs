//! Runs one verb of an action while listening: to what the action says, to the clock, and to whoever asks the run to
//! stop. Nothing else in the engine waits.

use std::{future::Future, pin::pin, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{control::Asked, drive::Driver};
use crate::{
    actions::{self, Progress, ProgressEvent},
    journal::{Event, StoreError},
};

/// Why a step did not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// It failed, for this reason.
    Failed(String),
    /// The outside asked for it.
    Asked(Asked),
    /// The journal cannot be written. Nothing more may be done, not even an orderly end.
    Journal(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Journal(error)
    }
}

/// What came of a verb.
pub(super) enum Attended<T> {
    /// It ended by itself.
    Ended(actions::Result<T>),
    /// The step's time was up.
    LateBecause(Option<String>),
}

/// Whether a verb may be dropped before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It only looks, or converges when it is called again.
    Allowed,
    /// It sends: it is finished whatever happens, so that what it did gets into the journal.
    Never,
}

/// Where the notes of a verb in progress arrive.
pub(super) struct Notes {
    sender: mpsc::UnboundedSender<ProgressEvent>,
    receiver: mpsc::UnboundedReceiver<ProgressEvent>,
}

impl Notes {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver }
    }

    /// The handle that an action speaks through.
    pub(super) fn progress(&self) -> Progress {
        let sender = self.sender.clone();
        // The receiver lives as long as the driver; a note after that is nobody's.
        Progress::new(move |note| drop(sender.send(note)))
    }
}

impl Driver<'_> {
    /// Runs `verb` to its end, or until the deadline or a request cuts it off where that is allowed.
    pub(super) async fn attend<T>(
        &mut self,
        step: &str,
        deadline: Instant,
        cut: Cut,
        verb: impl Future<Output = actions::Result<T>>,
    ) -> Result<Attended<T>, Halt> {
        let mut verb = pin!(verb);
        let (mut waiting_for, mut is_noted) = (None, false);
        let control = self.control.clone();
        let result = loop {
            tokio::select! {
                biased;
                Some(note) = self.notes.receiver.recv() => self.note(step, note, &mut waiting_for)?,
                result = &mut verb => break result,
                asked = control.asks(), if cut == Cut::Allowed => return Err(Halt::Asked(asked)),
                actor = control.cancelled(), if cut == Cut::Never && !is_noted => {
                    is_noted = true;
                    // A journal that cannot be written shows itself when the receipt is; the call must end first.
                    let _ = self.note_cancel(&actor);
                }
                () = tokio::time::sleep_until(deadline), if cut == Cut::Allowed => {
                    return Ok(Attended::LateBecause(waiting_for));
                }
            }
        };
        while let Ok(note) = self.notes.receiver.try_recv() {
            self.note(step, note, &mut waiting_for)?;
        }
        Ok(Attended::Ended(result))
    }

    /// Waits between two attempts; `false` when the step's time is up first.
    pub(super) async fn pause(&self, pause: Duration, deadline: Instant) -> Result<bool, Halt> {
        let until = Instant::now() + self.engine.clock.delay(pause);
        tokio::select! {
            biased;
            asked = self.control.asks() => Err(Halt::Asked(asked)),
            () = tokio::time::sleep_until(until.min(deadline)) => Ok(until < deadline),
        }
    }

    fn note(
        &mut self,
        step: &str,
        note: ProgressEvent,
        waiting_for: &mut Option<String>,
    ) -> Result<(), StoreError> {
        let step = step.to_owned();
        match note {
            ProgressEvent::Message(message) => self.append(Event::Said { step, message }),
            ProgressEvent::Waiting(message) => {
                *waiting_for = Some(message.clone());
                self.append(Event::Waiting { step, message })
            }
        }
    }
}
