//! The runs of the namespace as a service sees them all the time: one watch, instead of a list for each request, and
//! the time since which each open run has not changed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use super::{follow::follow, liveness};
use crate::{
    journal::RunId,
    platform::kubernetes::{ObjectView, ObjectWatch, RunObjects, RunbookRun},
};

/// The watched runs. Dropped, they are watched no more.
pub(super) struct WatchedRuns {
    state: Arc<Mutex<State>>,
    changes: watch::Receiver<()>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// The objects; none while the watch is interrupted, and they may be old.
    view: Option<ObjectView<RunbookRun>>,
    /// The version of each run that a process says it drives, and since when it has it.
    driven: HashMap<String, (Option<String>, Instant)>,
    /// The versions of those among them that cannot be continued.
    given_up: HashMap<String, Option<String>>,
}

impl WatchedRuns {
    /// Begins to watch.
    pub(super) fn start(objects: RunObjects) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let (notify, changes) = watch::channel(());
        let observe = {
            let state = Arc::clone(&state);
            move |runs: Option<&ObjectWatch<RunbookRun>>| -> Option<()> {
                match runs {
                    Some(runs) => {
                        lock(&state).observe(runs.view());
                        notify.send_replace(());
                    }
                    // They are asked for until the watch goes on.
                    None => lock(&state).forget(),
                }
                None
            }
        };
        let mut task = JoinSet::new();
        task.spawn(async move {
            let problem = "the runs of the namespace cannot be watched";
            follow(|| objects.watch_runs(), problem, observe).await;
        });
        Self { state, changes, _task: task }
    }

    /// Returns the objects as they are now; `None` while that is not known.
    pub(super) fn current(&self) -> Option<Vec<Arc<RunbookRun>>> {
        let view = lock(&self.state).view.clone();
        view.map(|view| view.objects())
    }

    /// Returns the object of a run as it is now; `None` where there is none, or that is not known.
    pub(super) fn find(&self, run: &RunId) -> Option<Arc<RunbookRun>> {
        let named =
            |object: &Arc<RunbookRun>| object.metadata.name.as_deref() == Some(run.as_str());
        self.current()?.into_iter().find(named)
    }

    /// Returns for how long a run that a process says it drives has not changed.
    pub(super) fn unchanged_for(&self, run: &RunbookRun) -> Option<Duration> {
        let name = run.metadata.name.as_ref()?;
        let state = lock(&self.state);
        let (version, since) = state.driven.get(name)?;
        (*version == run.metadata.resource_version).then(|| since.elapsed())
    }

    /// Takes note that a run cannot be continued as it is.
    pub(super) fn give_up(&self, run: &RunbookRun) {
        if let Some(name) = run.metadata.name.clone() {
            lock(&self.state).given_up.insert(name, run.metadata.resource_version.clone());
        }
    }

    /// Whether that was so, and the run has not changed since.
    pub(super) fn was_given_up(&self, run: &RunbookRun) -> bool {
        let state = lock(&self.state);
        let version = run.metadata.name.as_ref().and_then(|name| state.given_up.get(name));
        version == Some(&run.metadata.resource_version)
    }

    /// Returns a receiver that is told of each change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }
}

impl State {
    /// Forgets what was seen: a process may have renewed its run since, unseen.
    fn forget(&mut self) {
        self.view = None;
        self.driven.clear();
    }

    fn observe(&mut self, view: ObjectView<RunbookRun>) {
        let now = Instant::now();
        let mut driven = HashMap::new();
        for run in view.objects() {
            let Some(name) = run.metadata.name.clone().filter(|_| liveness::says_driven(&run))
            else {
                continue;
            };
            let version = run.metadata.resource_version.clone();
            let known = self.driven.remove(&name).filter(|(known, _)| *known == version);
            driven.insert(name, known.unwrap_or((version, now)));
        }
        self.given_up.retain(|name, _| driven.contains_key(name));
        self.driven = driven;
        self.view = Some(view);
    }
}

/// Every change of the state is one assignment: a panic leaves nothing half done.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
