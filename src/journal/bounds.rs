//! Bounds on the texts of events: what a server or a container says in megabytes does not become a journal of that
//! size. Outputs and intents are the actions' own, and stay whole: later steps and the undo read them.

use super::{Event, Failure, RunEvent, StepEvent};

/// The longest text for people, in bytes. A message that explains something is some hundred.
const MAX_TEXT: usize = 4096;

impl Event {
    /// Shortens the texts for people that are too long.
    pub(super) fn bound(&mut self) {
        match self {
            Self::Run(
                RunEvent::RunEnded { failure, .. } | RunEvent::RunRestoring { failure, .. },
            ) => {
                failure.iter_mut().for_each(bound_all);
            }
            Self::Run(_) => {}
            Self::Step { event, .. } => bound_step(event),
        }
    }
}

fn bound_step(event: &mut StepEvent) {
    match event {
        StepEvent::StepMessage { message } | StepEvent::StepWaiting { message, .. } => {
            shorten(message);
        }
        StepEvent::StepCompleted { message, .. } => message.iter_mut().for_each(shorten),
        StepEvent::StepSkipped { reason, .. } => shorten(reason),
        StepEvent::StepUndoFinished { not_restored, .. } => {
            not_restored.iter_mut().for_each(shorten);
        }
        StepEvent::StepOperationFailed { failure, .. }
        | StepEvent::StepAttemptFailed { failure, .. }
        | StepEvent::StepFailed { failure, .. }
        | StepEvent::StepUndoFailed { failure } => bound_all(failure),
        StepEvent::StepStarted { description, .. } => description.iter_mut().for_each(shorten),
        StepEvent::StepApprovalRequested { message, .. } => shorten(message),
        StepEvent::StepApproved { note, .. } => note.iter_mut().for_each(shorten),
        StepEvent::StepRejected { reason, .. } => shorten(reason),
        StepEvent::StepItemsDecided { .. }
        | StepEvent::StepCalled { .. }
        | StepEvent::StepResumed { .. }
        | StepEvent::StepPrepared { .. }
        | StepEvent::StepApplied { .. }
        | StepEvent::StepUndoStarted => {}
    }
}

fn bound_all(failure: &mut Failure) {
    let Failure { message, call, code, hint, kind: _ } = failure;
    shorten(message);
    [call, code, hint].into_iter().flatten().for_each(shorten);
}

/// Leaves the beginning of a text, and says how much is left out.
fn shorten(text: &mut String) {
    if text.len() <= MAX_TEXT {
        return;
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    let left_out = text.len() - end;
    text.truncate(end);
    text.push_str(&format!("… ({left_out} bytes left out)"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{AfterFailure, FailureKind, StepPath};

    #[test]
    fn a_failure_of_megabytes_is_journaled_by_its_beginning() {
        let mut failure = Failure::new(FailureKind::Invalid, "é".repeat(10 << 20));
        failure.call = Some("x".repeat(MAX_TEXT));
        let path = StepPath::top_level("a");
        let mut event =
            Event::step(&path, StepEvent::StepFailed { failure, then: AfterFailure::Stop });
        event.bound();
        let Event::Step { event: StepEvent::StepFailed { failure, .. }, .. } = event else {
            panic!("another event")
        };
        let left_out = (20 << 20) - MAX_TEXT;
        assert!(failure.message.ends_with(&format!("é… ({left_out} bytes left out)")));
        assert_eq!(failure.call.unwrap().len(), MAX_TEXT, "a text that fits stays");
    }
}
