//! What a run that did not succeed has left different from what it found: read once, at its end, from every target of
//! its changes.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{CheckedRunbook, drive::Driver, step::action_of};
use crate::{
    actions::{Operations, RestoreCommand, TargetState},
    journal::{RecordedDifference, StepProgress},
};

/// The time for reading all targets. A person who pressed Ctrl-C waits for it, and so does one whose cluster does not
/// answer.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

impl Driver<'_> {
    /// Returns what still differs from the start of the run. Where a target cannot be read, it returns the change that
    /// was decided on instead.
    pub(super) async fn differences(&self, checked: &CheckedRunbook) -> Vec<RecordedDifference> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let mut found: Vec<RecordedDifference> = Vec::new();
        for step in self.run_writer.run().prepared_steps() {
            let differences = match self.read_targets(checked, step, deadline).await {
                Some(targets) => {
                    targets.into_iter().map(|target| self.difference(target)).collect()
                }
                None if step.may_need_undo() => step.unverified_differences(),
                None => Vec::new(),
            };
            for difference in differences {
                // A later step found what an earlier one had left: only the first knows the start.
                if !found.iter().any(|earlier| earlier.target == difference.target) {
                    found.push(difference);
                }
            }
        }
        found.retain(|difference| difference.before != difference.now);
        found
    }

    async fn read_targets(
        &self,
        checked: &CheckedRunbook,
        step: &StepProgress,
        deadline: Instant,
    ) -> Option<Vec<TargetState>> {
        let intent = &step.intent.as_ref()?.value;
        let Operations::Change(operations) = &action_of(checked.step(&step.path)?).ok()?.operations
        else {
            return None;
        };
        let reader = self.engine.platform.reader();
        let read = timeout_at(deadline, (operations.read_targets)(intent, &reader)).await;
        match read {
            Ok(Ok(targets)) => Some(targets),
            Ok(Err(error)) => {
                tracing::debug!(step = %step.path, %error, "what the step left could not be read");
                None
            }
            Err(_) => None,
        }
    }

    fn difference(&self, state: TargetState) -> RecordedDifference {
        let TargetState { target, before, now, restore } = state;
        let restore = restore.map(|command| self.in_context(command));
        RecordedDifference { target, before, now, unverified: false, restore }
    }

    /// Returns the command as text, for the cluster of the run.
    fn in_context(&self, command: RestoreCommand) -> String {
        let target = &self.run_writer.run().spec.target;
        let context = target.kubernetes.as_ref().and_then(|cluster| cluster.context.as_deref());
        let words: Vec<&str> = match (&command, context) {
            (RestoreCommand::Kubectl(arguments), Some(context)) => {
                ["kubectl", "--context", context]
                    .into_iter()
                    .chain(arguments.iter().map(String::as_str))
                    .collect()
            }
            (RestoreCommand::Kubectl(arguments), None) => {
                ["kubectl"].into_iter().chain(arguments.iter().map(String::as_str)).collect()
            }
            (RestoreCommand::Aws(arguments), _) => {
                ["aws"].into_iter().chain(arguments.iter().map(String::as_str)).collect()
            }
        };
        // Only NUL cannot be quoted, and no name of an object has one.
        shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" "))
    }
}
