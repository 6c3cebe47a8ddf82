//! A step that runs once for each of several items: which they are is decided once, and journaled; each item then has
//! the events of a step, at the path of the step with the item's index.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use super::{
    action_run::Phase, block::Block, deadline::Deadline, drive::Driver, interruptible::StopReason,
    step::revision_of,
};
use crate::journal::{AfterFailure, Event, Failure, StepEvent, StepOutcome, StepPath};
use runbook::{OnFailure, Step, each_of};
use text::printable;

/// The longest text of an item in the name that people read.
const MAX_LABEL: usize = 60;

/// The items of a step that is being run.
struct Loop<'r> {
    step: &'r Step,
    path: &'r StepPath,
    /// The display name of the step.
    name: String,
    count: usize,
    deadline: Deadline,
    /// Set when an item has failed: no other is begun.
    has_failed: AtomicBool,
}

impl Driver<'_> {
    /// Runs a step for each of its items, some at a time, and returns the outputs in the form of the items. An item
    /// that failed where the run continues has the output null.
    pub(super) async fn run_items(
        &self,
        block: &Block<'_>,
        step: &Step,
        path: &StepPath,
        deadline: Deadline,
    ) -> Result<Value, StopReason> {
        let at_once = step.at_once(&block.scope)?;
        let items = self.decided_items(block, step, path).await?;
        let each = each_of(Some(&items));
        let work = Loop {
            step,
            path,
            name: step.display_name(&block.scope),
            count: each.len(),
            deadline,
            has_failed: AtomicBool::new(false),
        };
        // The futures are made before they are streamed: a closure that borrows could not be sent between threads.
        let runs: Vec<_> = each
            .iter()
            .enumerate()
            .map(|(index, each)| {
                let run = self.run_item(&work, block, index, each);
                async move { (index, run.await) }
            })
            .collect();
        // In the order in which they end, so that a slow one does not hold up those after it.
        let ended = stream::iter(runs).buffer_unordered(at_once);
        let mut ended = ended.collect::<Vec<_>>().await;
        ended.sort_unstable_by_key(|(index, _)| *index);
        let outputs = gather(ended.into_iter().map(|(_, end)| end))?;
        let output = in_form_of(&items, outputs);
        let (revision, message) = (revision_of(step), None);
        let event = StepEvent::StepCompleted { revision, output: (&output).into(), message };
        self.append(Event::step(path, event)).await?;
        Ok(output)
    }

    /// Returns the items that were decided on before, or decides.
    async fn decided_items(
        &self,
        block: &Block<'_>,
        step: &Step,
        path: &StepPath,
    ) -> Result<Value, StopReason> {
        let decided = self.run().step(path).and_then(|recorded| recorded.items.clone());
        if let Some(items) = decided {
            return Ok(items);
        }
        let items = step.items(&block.scope)?.unwrap_or_default();
        let event = StepEvent::StepItemsDecided { items: items.clone() };
        self.append(Event::step(path, event)).await?;
        Ok(items)
    }

    /// Runs one item to its end; null for one that has failed, where the run continues, and for one that is not begun
    /// because another has failed.
    async fn run_item(
        &self,
        work: &Loop<'_>,
        block: &Block<'_>,
        index: usize,
        each: &Value,
    ) -> Result<Value, StopReason> {
        let path = work.path.item(u32::try_from(index).unwrap_or(u32::MAX));
        if let Some(failure) = self.left_at(&path) {
            work.has_failed.store(true, Ordering::Relaxed);
            return Err(StopReason::StepFailed(work.failure_of(index, each, failure)));
        }
        if let Some(output) = self.ended_output(&path) {
            return Ok(output);
        }
        let has_begun = self.run().step(&path).is_some();
        if work.has_failed.load(Ordering::Relaxed) && !has_begun {
            return Ok(Value::Null);
        }
        if let Some(request) = self.control.stop_requested() {
            return Err(StopReason::StopRequested(request));
        }
        let name = work.name_of(index, each);
        self.append(Event::step(&path, self.beginning(&path, name))).await?;
        let scope = block.scope.with_each(each);
        let stop_reason = match self.execute(work.step, &path, scope, work.deadline.clone()).await {
            Ok(output) => return Ok(output),
            Err(stop_reason) => stop_reason,
        };
        if matches!(stop_reason, StopReason::JournalError(_)) {
            return Err(stop_reason);
        }
        self.clean_up(work.step, &path, Phase::Apply).await?;
        let StopReason::StepFailed(failure) = stop_reason else { return Err(stop_reason) };
        let then = match work.step.on_failure {
            OnFailure::Continue => AfterFailure::Continue,
            // Others are still at work: the run goes on until the loop has failed.
            OnFailure::Stop | OnFailure::Rollback => AfterFailure::Leave,
        };
        // Before the event: no item begins after one has failed.
        if then != AfterFailure::Continue {
            work.has_failed.store(true, Ordering::Relaxed);
        }
        let event = StepEvent::StepFailed { failure: failure.clone(), then };
        self.append(Event::step(&path, event)).await?;
        match then {
            AfterFailure::Continue => Ok(Value::Null),
            _ => Err(StopReason::StepFailed(work.failure_of(index, each, failure))),
        }
    }

    /// Returns the output of an item that has ended, and gives its targets to later steps.
    fn ended_output(&self, path: &StepPath) -> Option<Value> {
        let output = {
            let run = self.run();
            let recorded = run.step(path).filter(|recorded| recorded.has_ended())?;
            match &recorded.outcome {
                Some(StepOutcome::Completed { output, .. }) => output.to_value(),
                _ => Value::Null,
            }
        };
        self.add_targets_of(path);
        Some(output)
    }

    fn beginning(&self, path: &StepPath, name: String) -> StepEvent {
        match self.run().step(path) {
            Some(_) => StepEvent::StepResumed { name },
            None => StepEvent::StepStarted { name, description: None },
        }
    }
}

impl Loop<'_> {
    /// Returns the name of an item for people: `Restart [2/3]: relay`.
    fn name_of(&self, index: usize, each: &Value) -> String {
        let place = format!("{} [{}/{}]", self.name, index + 1, self.count);
        match label(each) {
            Some(label) => format!("{place}: {label}"),
            None => place,
        }
    }

    fn failure_of(&self, index: usize, each: &Value, failure: Failure) -> Failure {
        let label = label(each).map_or_else(String::new, |label| format!(" ({label})"));
        let place = format!("item {} of {}{label}", index + 1, self.count);
        Failure { message: format!("{place}: {}", failure.message), ..failure }
    }
}

/// Returns what tells an item from the others: a text or a number, the key of a map, or the name in a record.
fn label(each: &Value) -> Option<String> {
    let text = match each {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(fields) => {
            let named = ["key", "name", "id"].iter().find_map(|name| fields.get(*name));
            return label(named.filter(|value| !value.is_object())?);
        }
        _ => return None,
    };
    let text = printable(&text);
    let end = text.floor_char_boundary(MAX_LABEL);
    Some(if end < text.len() { format!("{}…", &text[..end]) } else { text.into_owned() })
}

/// Returns all outputs, or the reason that counts most: a journal that cannot be written before a request to stop,
/// and that before a failure. Items that have begun come to their end when the run is resumed, and the failure of
/// another, which is in the journal, decides then.
fn gather(
    ended: impl Iterator<Item = Result<Value, StopReason>>,
) -> Result<Vec<Value>, StopReason> {
    let mut outputs = Vec::new();
    let mut stop_reason: Option<StopReason> = None;
    let rank = |reason: &StopReason| match reason {
        StopReason::JournalError(_) => 2,
        StopReason::StopRequested(_) => 1,
        StopReason::StepFailed(_) => 0,
    };
    for end in ended {
        match end {
            Ok(output) => outputs.push(output),
            Err(reason) => match &stop_reason {
                Some(earlier) if rank(earlier) >= rank(&reason) => {}
                _ => stop_reason = Some(reason),
            },
        }
    }
    stop_reason.map_or(Ok(outputs), Err)
}

/// Returns the outputs of items in the form that the items have: by their names where they have names.
pub(super) fn in_form_of(items: &Value, outputs: Vec<Value>) -> Value {
    match items {
        Value::Object(fields) => fields.keys().cloned().zip(outputs).collect(),
        _ => Value::Array(outputs),
    }
}
