//! `runs watch`: shows a run while it goes on, whichever process drives it, from its journal in the store.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{
    cli::{
        CliError, Exit, Global,
        durations::elapsed_text,
        live::{Outline, Presenter},
        run, stdout,
        store::OpenStore,
        target::ClusterArgs,
        timeline::Timeline,
    },
    journal::{
        HeadQuery, RecordedEvent, Run, RunId, RunState, RunStore, StoreError, no_start,
        with_liveness,
    },
};

/// How often a run that is followed is read.
const INTERVAL: Duration = Duration::from_millis(250);
/// The same where each reading is some calls to an API server.
const CLUSTER_INTERVAL: Duration = Duration::from_secs(2);
/// The most of the time that is spent with reading: a long journal is read less often.
const SHARE_OF_READING: u32 = 8;
/// How long another process has for continuing a run whose process has ended. A service does so when it starts.
const RESUME_TIME: Duration = Duration::from_secs(10);
/// The same where a process must first see for the duration of a lease that the other one is gone.
const CLUSTER_RESUME_TIME: Duration = Duration::from_secs(90);
/// How long a store may fail before the watching ends.
const FAILURE_TIME: Duration = Duration::from_secs(60);

/// Which run to watch.
#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// The id of the run [default: the latest run that a process drives, else the latest run]
    run: Option<RunId>,
    /// The latest run
    #[arg(long, conflicts_with = "run")]
    last: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Returns how often a run of a store is read.
pub(super) fn interval(store: &OpenStore) -> Duration {
    if store.is_shared() { CLUSTER_INTERVAL } else { INTERVAL }
}

impl WatchArgs {
    pub(super) fn cluster(&self) -> ClusterArgs {
        self.cluster.clone()
    }

    /// Watches the run until it stops.
    pub(super) async fn run(self, store: &OpenStore, global: &Global) -> Result<Exit, CliError> {
        let runs = store.as_run_store();
        let id = self.find(runs.as_ref()).await?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut watch = Watch {
            id: id.clone(),
            interval: interval(store),
            resume_time: if store.is_shared() { CLUSTER_RESUME_TIME } else { RESUME_TIME },
            run: None,
            timeline: Timeline::default(),
            was_live: false,
            presenter: None,
        };
        let ended = tokio::select! {
            ended = watch.follow(runs.as_ref(), global) => Some(ended),
            _ = interrupted.recv() => None,
        };
        watch.presenter.iter_mut().for_each(Presenter::finish);
        let Some(ended) = ended else {
            let again = format!("rafay-relay-sop{} runs", global.store_flags());
            stdout::write_stderr(&format!(
                "the watching has ended, and run {id} goes on\n\
                 hint: `{again} watch {id}` shows it again, `{again} cancel {id}` stops it\n"
            ));
            return Ok(Exit::Interrupted);
        };
        let state = ended?;
        if let Some(ended) = &watch.run {
            let step_count = Outline::of(ended.text()).len().max(top_level_count(ended));
            run::print_result(ended, Some(&watch.timeline), step_count, global, None)?;
        }
        Ok(run::exit_of(state))
    }

    async fn find(&self, store: &dyn RunStore) -> Result<RunId, CliError> {
        if let Some(run) = &self.run {
            return Ok(run.clone());
        }
        if !self.last {
            for entry in store.heads(HeadQuery::Open).await?.into_iter().rev() {
                // One that cannot be read cannot be watched either.
                let Ok(head) = entry.head else { continue };
                if with_liveness(store, head).await.is_ok_and(|(_, is_live)| is_live) {
                    return Ok(entry.run);
                }
            }
        }
        super::RunSelector { run: None, last: true }.find(store).await
    }
}

fn top_level_count(run: &Run) -> usize {
    run.steps().iter().filter(|step| step.path.is_top_level()).count()
}

/// A run that is being watched.
struct Watch {
    id: RunId,
    interval: Duration,
    resume_time: Duration,
    /// The run as far as it was read.
    run: Option<Run>,
    timeline: Timeline,
    /// Whether a process was seen that drives it.
    was_live: bool,
    presenter: Option<Presenter>,
}

impl Watch {
    /// Shows the run until no process drives it any more, and returns its state. Where its process has ended before the
    /// run has, another process may continue it: that is waited for.
    async fn follow(
        &mut self,
        store: &dyn RunStore,
        global: &Global,
    ) -> Result<RunState, CliError> {
        let mut failing_since: Option<Instant> = None;
        let mut lost_since: Option<Instant> = None;
        loop {
            let began = Instant::now();
            // Asked first: a run that ends in between then has its end.
            let is_live = store.is_live(&self.id).await;
            match store.read(&self.id, self.run.as_ref().map_or(0, |run| run.head.events)).await {
                Ok(events) => {
                    if failing_since.take().is_some() {
                        self.note(None, false);
                    }
                    let state = self.show(&events, global)?.state(is_live);
                    self.was_live |= is_live;
                    if !state.is_active() {
                        let is_new = lost_since.is_none();
                        let since = *lost_since.get_or_insert(began);
                        if !self.may_be_resumed(state, since) {
                            return Ok(state);
                        }
                        let left = elapsed_text(self.resume_time.saturating_sub(since.elapsed()));
                        let note = format!(
                            "its process has ended before the run has; waiting {left} for another one to continue it"
                        );
                        self.note(Some(&note), is_new);
                    } else if lost_since.take().is_some() {
                        self.note(None, false);
                    }
                }
                Err(error) => {
                    let since = *failing_since.get_or_insert(began);
                    let can_return = matches!(
                        error,
                        StoreError::Cluster { .. } | StoreError::Unavailable { .. }
                    );
                    if self.run.is_none() || !can_return || since.elapsed() > FAILURE_TIME {
                        return Err(error.into());
                    }
                    let note = format!("the run cannot be read at the moment: {error}");
                    self.note(Some(&note), since == began);
                }
            }
            let pause = self.interval.max(began.elapsed() * SHARE_OF_READING);
            tokio::time::sleep(pause).await;
        }
    }

    /// Shows the next events, and returns the run with them.
    fn show(&mut self, events: &[RecordedEvent], global: &Global) -> Result<&Run, StoreError> {
        match &mut self.presenter {
            Some(presenter) => events.iter().for_each(|event| presenter.take(event)),
            None => {
                let mut presenter = Presenter::for_watching(global);
                presenter.begin_watching(&self.id, events);
                self.presenter = Some(presenter);
            }
        }
        events.iter().for_each(|event| self.timeline.apply(event));
        if let Some(run) = &mut self.run {
            events.iter().for_each(|event| run.apply(event));
        } else {
            self.run = Run::of(&self.id, events);
        }
        self.run.as_ref().ok_or_else(|| no_start(&self.id))
    }

    /// Whether a run that no process drives may be continued by one without a person.
    fn may_be_resumed(&self, state: RunState, since: Instant) -> bool {
        state == RunState::Interrupted && self.was_live && since.elapsed() < self.resume_time
    }

    fn note(&mut self, note: Option<&str>, is_new: bool) {
        self.presenter.iter_mut().for_each(|presenter| presenter.note(note, is_new));
    }
}
