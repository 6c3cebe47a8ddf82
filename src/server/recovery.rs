//! Runs whose process has died: found when the service starts, or when another process of the service dies, and resumed
//! without a person, if that was not long ago. An older one waits for a person: the cluster may have changed too much.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::Service;
use crate::{
    engine::StartError,
    journal::{
        Event, InterruptedRun, RecordedEvent, ResumeMode, RunEvent, RunHead, RunId, RunState,
        RunsElsewhere, SharedStore, StepEvent, StoreError,
    },
};
use clock::{Backoff, Clock, Pace};

/// The pauses between attempts to resume an interrupted run. After a reboot the network, the API server or the
/// credentials come some seconds after the service; what is missing for longer is not there a second later.
const RECOVERY_BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), MAX_PAUSE);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The actor of a run that is continued without a person.
const RESTART: &str = "http:restart";

/// How often a run is continued after its process has died, before a step completes: a run may be what its processes
/// die of.
const MAX_CRASHES: usize = 3;

/// The attempts to resume the runs of other processes.
type Attempts = HashMap<RunId, Attempt>;

/// The attempts to resume a run as it is after some number of events.
struct Attempt {
    events: u64,
    failures: u32,
    /// When the next one may be made; none is where a person must act.
    next: Option<Instant>,
}

impl Service {
    /// Finds a run that this service was driving when it died, if that was not long ago: from now on `/status` reports
    /// it as running. In a store to which several processes write, [`recover`](Self::recover) finds it.
    pub async fn expect_recovery(&self, max_age: Duration) {
        if self.store().shared().is_some() {
            return;
        }
        match self.latest().await {
            Ok(Some(head)) if is_recoverable(&head) && is_recent_run(&head, max_age) => {
                self.active().expect_recovery(head.run);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "no interrupted run is resumed"),
        }
    }

    /// Resumes the runs of the service that were interrupted no longer ago than `max_age`: the one that
    /// [`expect_recovery`](Self::expect_recovery) has found, or, in a store to which several processes write, for as
    /// long as this is awaited, each whose process dies.
    pub async fn recover(&self, max_age: Duration) {
        match self.store().shared() {
            Some(shared) => self.take_over(shared, max_age).await,
            None => self.recover_own(max_age).await,
        }
    }

    /// Retries while the cluster or the account cannot be reached, and while the run is not too old.
    async fn recover_own(&self, max_age: Duration) {
        let mut pace = Pace::new(&Clock::real(), RECOVERY_BACKOFF);
        loop {
            pace.next_turn().await;
            // A client may have resumed or ended the run during the pause.
            let Some(run) = self.active().recovering() else { return };
            let resumed = match self.store().head(&run).await {
                Ok(head) if !is_recent_run(&head, max_age) => Ok(false),
                Ok(_) => self.resume_interrupted(&run).await,
                Err(error) => Err(error.into()),
            };
            match resumed {
                Ok(true) => tracing::info!(run = run.as_str(), "resumed an interrupted run"),
                Ok(false) => tracing::warn!(
                    run = run.as_str(),
                    "skipped automatic resume: the run is too old or was handled"
                ),
                Err(error) if error.is_temporary() => {
                    tracing::warn!(%error, "cannot resume an interrupted run yet");
                    self.active().delay_recovery(&run, error.to_string());
                    continue;
                }
                Err(error) => tracing::warn!(%error, "cannot resume an interrupted run"),
            }
            self.active().end_recovery(&run);
        }
    }

    /// Resumes runs whose process is gone. All processes of the service try; the lease of the cluster, and the next
    /// append to the run, are one process's.
    async fn take_over(&self, shared: &dyn SharedStore, max_age: Duration) {
        let mut attempts = Attempts::new();
        let interval = self.engine().observation_interval();
        let mut pace = Pace::new(&Clock::real(), Backoff::new(interval, interval));
        let mut changes = shared.changes();
        loop {
            pace.next_turn().await;
            let Some(RunsElsewhere { may_be_driven, mut interrupted }) =
                shared.runs_elsewhere().await
            else {
                // A change is told. The store lives as long as this.
                let _ = timeout(MAX_PAUSE, changes.changed()).await;
                continue;
            };
            interrupted.retain(|run| is_recoverable(&run.head));
            self.forget_others(&interrupted, &mut attempts);
            let may_be_resumed = |run: &InterruptedRun| {
                let attempt = attempts.get(&run.head.run);
                let attempt = attempt.filter(|attempt| attempt.events == run.head.events);
                attempt.is_none_or(|attempt| attempt.next.is_some())
            };
            if may_be_driven || interrupted.iter().any(may_be_resumed) {
                self.engine().observe_lease().await;
            } else {
                let _ = timeout(MAX_PAUSE, changes.changed()).await;
            }
            for run in &interrupted {
                self.attempt(run, &mut attempts, max_age).await;
            }
        }
    }

    /// Forgets what is no longer this process's to resume.
    fn forget_others(&self, interrupted: &[InterruptedRun], attempts: &mut Attempts) {
        let is_here = |run: &RunId| interrupted.iter().any(|found| found.head.run == *run);
        self.active().keep_recovering(is_here);
        attempts.retain(|run, _| is_here(run));
    }

    async fn attempt(
        &self,
        InterruptedRun { head, alive_at }: &InterruptedRun,
        attempts: &mut Attempts,
        max_age: Duration,
    ) {
        let run = &head.run;
        let failures = match attempts.get(run).filter(|attempt| attempt.events == head.events) {
            Some(attempt) if attempt.next.is_none_or(|next| Instant::now() < next) => return,
            Some(attempt) => attempt.failures,
            None => 0,
        };
        if !is_recent(*alive_at, max_age) {
            tracing::warn!(
                run = run.as_str(),
                "an interrupted run is too old, and waits for a person"
            );
            let attempt = Attempt { events: head.events, failures, next: None };
            attempts.insert(run.clone(), attempt);
            return;
        }
        let backoff = Backoff::new(self.engine().observation_interval(), MAX_PAUSE);
        self.active().expect_recovery(run.clone());
        let next = match self.resume_interrupted(run).await {
            Ok(true) => {
                tracing::info!(run = run.as_str(), "continued the run of a process that is gone");
                return;
            }
            Ok(false) => None,
            Err(error)
                if error.is_temporary() || error.is_about_lease() || is_about_store(&error) =>
            {
                tracing::warn!(%error, run = run.as_str(), "cannot continue an interrupted run yet");
                self.active().delay_recovery(run, error.to_string());
                Some(Instant::now() + backoff.delay(failures))
            }
            Err(error) => {
                tracing::warn!(%error, run = run.as_str(), "cannot continue an interrupted run");
                None
            }
        };
        if next.is_none() {
            self.active().end_recovery(run);
        }
        let attempt = Attempt { events: head.events, failures: failures + 1, next };
        attempts.insert(run.clone(), attempt);
    }

    async fn resume_interrupted(&self, id: &RunId) -> Result<bool, StartError> {
        if !is_recoverable(&self.store().head(id).await?) {
            return Ok(false);
        }
        let crashes = crashes_in_a_row(&self.store().read(id, 0).await?);
        if crashes >= MAX_CRASHES {
            tracing::error!(
                run = id.as_str(),
                crashes,
                "the run ends each process that continues it, and waits for a person"
            );
            return Ok(false);
        }
        let preflight = self.engine().prepare_resume(id, ResumeMode::Continue).await?;
        let Some(admission) = self.active().admit().await else { return Ok(false) };
        // A client may have decided otherwise meanwhile.
        if self.is_live(id) || !is_recoverable(&self.store().head(id).await?) {
            return Ok(false);
        }
        let accepted = self.engine().resume_unattended(preflight, RESTART).await?;
        self.drive(&admission, accepted);
        Ok(true)
    }
}

/// Whether a process of the service resumes a run by itself: one that the service was driving when it died.
fn is_recoverable(head: &RunHead) -> bool {
    let is_of_service = ["http", "object:"].iter().any(|kind| head.actor.starts_with(kind));
    is_of_service && head.state(false) == RunState::Interrupted
}

/// Whether the last event of a run was not long ago. One that waits for approval has had none since it asked.
fn is_recent_run(head: &RunHead, max_age: Duration) -> bool {
    !head.open_approvals.is_empty() || is_recent(head.last_event_at, max_age)
}

/// Whether that was not long ago.
fn is_recent(alive_at: Timestamp, max_age: Duration) -> bool {
    Duration::try_from(Timestamp::now() - alive_at).unwrap_or_default() <= max_age
}

/// Whether the store did not answer, or another process was faster.
fn is_about_store(error: &StartError) -> bool {
    use StoreError::{Cluster, Conflict, Unavailable};
    let StartError::Store(error) = error else { return false };
    matches!(error, Cluster { .. } | Conflict { .. } | Unavailable { .. })
}

/// Returns how often a run was continued after its process had died, since a step completed or a person resumed it. A
/// process that was asked to end has said so.
fn crashes_in_a_row(events: &[RecordedEvent]) -> usize {
    let mut crashes = 0;
    for (index, recorded) in events.iter().enumerate().rev() {
        match &recorded.event {
            Event::Run(RunEvent::RunResumed { actor, .. }) if actor == RESTART => {
                let before = index.checked_sub(1).map(|index| &events[index].event);
                if !matches!(before, Some(Event::Run(RunEvent::RunEnded { .. }))) {
                    crashes += 1;
                }
            }
            Event::Run(RunEvent::RunResumed { .. })
            | Event::Step { event: StepEvent::StepCompleted { .. }, .. } => break,
            _ => {}
        }
    }
    crashes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Format, RunOutcome, StepPath};

    fn resumed(actor: &str) -> Event {
        let (actor, version) = (actor.to_owned(), "0.1.0".to_owned());
        let (format, mode) = (Format::CURRENT, ResumeMode::Continue);
        RunEvent::RunResumed { actor, version, format, mode, amendment: None }.into()
    }

    fn crashes(events: Vec<Event>) -> usize {
        let time = Timestamp::UNIX_EPOCH;
        let recorded = |(seq, event)| RecordedEvent { seq, time, event };
        crashes_in_a_row(&(0..).zip(events).map(recorded).collect::<Vec<_>>())
    }

    #[test]
    fn a_run_that_ends_its_processes_is_told_from_one_that_is_handed_over() {
        let step = |event| Event::Step { path: StepPath::top_level("one"), event };
        let begins = || step(StepEvent::StepUndoStarted);
        let ended = || {
            let outcome = RunOutcome::Interrupted;
            Event::from(RunEvent::RunEnded { outcome, failure: None, differences: None })
        };
        assert_eq!(crashes(vec![begins(), resumed(RESTART), begins(), resumed(RESTART)]), 2);
        assert_eq!(
            crashes(vec![begins(), resumed(RESTART), begins(), ended(), resumed(RESTART)]),
            1
        );
        let by_person =
            vec![begins(), resumed(RESTART), resumed("cli:ann"), begins(), resumed(RESTART)];
        assert_eq!(crashes(by_person), 1);
        let completed = step(StepEvent::StepCompleted {
            revision: 1,
            output: serde_json::Value::Null.into(),
            message: None,
        });
        assert_eq!(crashes(vec![resumed(RESTART), completed, begins()]), 0);
    }
}
