//! What a run that did not succeed has left different from what it found: read once, at its end, from every target of
//! its changes.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{drive::Driver, interruptible::caught, step::action_of};
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
    pub(super) async fn differences(&self) -> Vec<RecordedDifference> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let mut found: Vec<RecordedDifference> = Vec::new();
        let prepared: Vec<StepProgress> =
            self.run().prepared_steps().into_iter().cloned().collect();
        for step in &prepared {
            let differences = match self.read_targets(step, deadline).await {
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
        // The last change first, as in a rollback: a command may need what an earlier one would take away.
        found.reverse();
        found
    }

    async fn read_targets(
        &self,
        step: &StepProgress,
        deadline: Instant,
    ) -> Option<Vec<TargetState>> {
        let intent = &step.intent.as_ref()?.value;
        let Operations::Change(operations) =
            &action_of(self.checked.step(&step.path)?).ok()?.operations
        else {
            return None;
        };
        let reader = self.engine.platform.reader();
        let read = timeout_at(deadline, caught((operations.read_targets)(intent, &reader))).await;
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
        let run = self.run();
        let steps = run.prepared_steps();
        let changes = || {
            let intents = steps.iter().filter_map(|step| step.intent.as_ref());
            intents.flat_map(|intent| &intent.changes).filter(|change| change.target == target)
        };
        // A value that no step found or set is another client's: no command is offered against it.
        let is_ours = changes().any(|change| now == change.before || now == change.after);
        let is_foreign = changes().next().is_some() && !is_ours;
        // The cluster of a simulation ends with it, and the names may exist on a real one.
        let is_offered = !is_foreign && !run.spec.target.simulated;
        let restore = restore.filter(|_| is_offered).map(|command| self.in_context(command));
        RecordedDifference { target, before, now, unverified: false, restore }
    }

    /// Returns the command as text, for the cluster and the account of the run.
    fn in_context(&self, command: RestoreCommand) -> String {
        let target = self.run().spec.target.clone();
        let context = target.kubernetes.as_ref().and_then(|cluster| cluster.context.clone());
        let context = context.into_iter().flat_map(|context| ["--context".to_owned(), context]);
        let platform = &self.engine.platform;
        let words: Vec<String> = match command {
            RestoreCommand::Kubectl(arguments) => ["kubectl".to_owned()]
                .into_iter()
                .chain(platform.kubectl_flags())
                .chain(context)
                .chain(arguments)
                .collect(),
            RestoreCommand::Aws(arguments) => ["aws".to_owned()]
                .into_iter()
                .chain(platform.aws_flags())
                .chain(arguments)
                .collect(),
        };
        let words = words.iter().map(String::as_str);
        // Only NUL cannot be quoted, and no name of an object has one.
        shlex::try_join(words.clone()).unwrap_or_else(|_| words.collect::<Vec<_>>().join(" "))
    }
}
