//! The store in the cluster: a run is a RunbookRun, and its events are RunEvents that it owns, all in one namespace.
//! `docs/cluster-store.md` has the layout for people.
//!
//! ```text
//! runbookruns/<run>               spec: what was asked for; status: a projection of the events, with the run's head
//! runevents/<run>-000000          the events from 0 on, as compressed JSON lines; never changed
//! runevents/<run>-000017          the events from 17 on
//! runevents/<run>-000000.all      after the end: all events, in the place of the others
//! ```
//!
//! - **An append is a creation.** The name of the object has the number of its first event, so of two writers that have
//!   seen the same events only one can append. The other finds an object that is not its own, and stops. An object is
//!   the writer's own when it has its id and its content: then the response to an earlier attempt was lost.
//! - **Events that need no sync** stay in memory until the next append that does, and are in the same object as that,
//!   or for a second. Readers of this process see them at once; other processes then, or never if this process dies.
//! - **A name stays taken** where a writer that has been replaced may come back: the first object of a writer that
//!   continues a run is kept when the others are replaced by compacted ones. After its first append, a writer that
//!   continues a run checks that there are no compacted objects; if there are, it has lost.
//! - **The status is never trusted for a run that is not over**: its journal is read. Nothing can follow after a run is
//!   over, so then the head in the status is final.

mod attempts;
mod compaction;
mod crds;
mod event_recorder;
mod failure;
mod follow;
mod kubernetes_events;
mod liveness;
mod open_run;
mod parts;
mod projection;
mod requests;
mod sharing;
mod status_writer;
mod watched_runs;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::{sync::broadcast, task::JoinSet};

pub use crds::definitions;

use self::{
    compaction::compact,
    event_recorder::EventAccess,
    failure::Call,
    liveness::{duration, says_driven, seems_renewed},
    open_run::{Appended, Owner, Slot, flush},
    projection::{Projection, head_of},
    requests::{is_refused, is_request},
    sharing::{answers_of, notified_of},
    watched_runs::WatchedRuns,
};
use crate::{
    journal::{
        Checksum, HeadEntry, HeadQuery, Notified, PostedAnswer, RecordedEvent, RunHead, RunId,
        RunStore, SharedStore, StoreError, StoreLocation, WATCH_BACKLOG, parse_lines,
    },
    lease::{LeaseTimes, ProcessId},
    platform::{
        Error as PlatformError, Platform,
        kubernetes::{RunObjects, RunbookRun},
    },
};

/// The API group of the objects of runs.
pub const GROUP: &str = "sop.rafay.dev";
/// The API group of Kubernetes Events.
pub const EVENTS_GROUP: &str = "events.k8s.io";
/// The calls of a process that writes Kubernetes Events: verbs, each with its resource.
pub const CALLS_OF_EVENTS: [(&str, &str); 2] = [("create", "events"), ("patch", "events")];
/// The calls of a process that removes old runs: verbs, each with its resource.
pub const CALLS_OF_RETENTION: [(&str, &str); 1] =
    [(Call::DELETE_RUN.verb, Call::DELETE_RUN.resource)];

/// Returns the calls of a process that drives runs: verbs, each with its resource.
pub fn calls_of_runs() -> impl Iterator<Item = (&'static str, &'static str)> {
    Call::OF_A_RUN.into_iter().map(|call| (call.verb, call.resource))
}

/// Runs in a namespace of a cluster.
pub struct ClusterStore {
    shared: Arc<Shared>,
    changes: broadcast::Sender<RunHead>,
    /// All runs, in a service.
    watched: OnceLock<WatchedRuns>,
    /// The tasks that store what needs no sync. They end with the store.
    flushes: Mutex<JoinSet<()>>,
}

struct Shared {
    objects: RunObjects,
    /// How often a process that drives a run says so, and for how long others believe it.
    times: LeaseTimes,
    /// This process: no other one has the same text. None in a store that only reads.
    writer: Option<String>,
    url: Option<String>,
    event_access: Arc<EventAccess>,
    /// How long an append is tried while the API server does not answer.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The runs that this process writes to.
    open: HashMap<RunId, Slot>,
    /// The same runs as readers see them, who do not wait for an append.
    live: HashMap<RunId, LiveRun>,
}

/// A run that this process writes to.
#[derive(Clone)]
struct LiveRun {
    head: RunHead,
    /// The events that are not in the cluster yet.
    pending: Vec<RecordedEvent>,
}

/// A run in a list.
struct ListedRun {
    run: RunId,
    /// The time in its id; of an object that was created by hand, when that was.
    time: Option<Timestamp>,
    object: Arc<RunbookRun>,
}

impl ListedRun {
    /// Returns the run of an object; `None` where its name is no run's.
    fn of(object: Arc<RunbookRun>) -> Option<Self> {
        let run: RunId = object.metadata.name.as_ref()?.parse().ok()?;
        let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        Some(Self { time: run.time().or(created), run, object })
    }

    fn order(&self) -> (Option<Timestamp>, &RunId) {
        (self.time, &self.run)
    }

    /// Returns where a run is in a sorted list, or would be.
    fn position(runs: &[Self], run: &RunId) -> usize {
        let found = runs.iter().position(|listed| listed.run == *run);
        found.unwrap_or_else(|| runs.partition_point(|listed| listed.order() < (run.time(), run)))
    }
}

/// The journal of a run as the cluster has it.
struct Journal {
    events: Vec<RecordedEvent>,
    sum: Checksum,
}

impl ClusterStore {
    /// Opens the store in a namespace (the named one, else that of the pod or of the kubeconfig's context) for writing.
    /// `url` is where the service that writes to it listens, if it is one. Nothing is called.
    ///
    /// # Errors
    /// The client cannot be created, or there is no namespace.
    pub async fn for_writing(
        platform: &Platform,
        namespace: Option<&str>,
        url: Option<String>,
        times: LeaseTimes,
    ) -> Result<Self, PlatformError> {
        let writer = Some(ProcessId::of_this_process().to_string());
        Self::open(platform, namespace, writer, url, times).await
    }

    /// Opens the store in a namespace for reading.
    ///
    /// # Errors
    /// As [`for_writing`](Self::for_writing).
    pub async fn for_reading(
        platform: &Platform,
        namespace: Option<&str>,
    ) -> Result<Self, PlatformError> {
        Self::open(platform, namespace, None, None, LeaseTimes::default()).await
    }

    async fn open(
        platform: &Platform,
        namespace: Option<&str>,
        writer: Option<String>,
        url: Option<String>,
        times: LeaseTimes,
    ) -> Result<Self, PlatformError> {
        let objects = platform.run_objects(namespace).await?;
        let (changes, _) = broadcast::channel(WATCH_BACKLOG);
        let (patience, state) = (open_run::PATIENCE, Mutex::default());
        let event_access = Arc::default();
        let shared = Shared { objects, times, writer, url, event_access, patience, state };
        let (watched, flushes) = (OnceLock::new(), Mutex::default());
        Ok(Self { shared: Arc::new(shared), changes, watched, flushes })
    }

    /// Sets how long an append is tried while the API server does not answer, and the run waits.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        // While a store is being made, it has one owner.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.patience = patience;
        }
        self
    }

    /// Writes no Kubernetes Events of runs from now on.
    pub fn write_no_kubernetes_events(&self) {
        self.shared.event_access.deny();
    }

    /// Returns all runs as they are watched from now on. A service does: it lists them without a call then, and finds
    /// what other processes do.
    fn watched(&self) -> &WatchedRuns {
        self.watched.get_or_init(|| WatchedRuns::start(self.shared.objects.clone()))
    }

    /// Returns all runs, the oldest first: as they were watched, or exactly as they are now.
    async fn objects(&self, exactly: bool) -> Result<Vec<ListedRun>, StoreError> {
        let watched = self.watched.get().filter(|_| !exactly).and_then(WatchedRuns::current);
        let objects = match watched {
            Some(objects) => objects,
            None => {
                let listed = self.shared.objects.list_runs().await;
                let failed = |error| Call::LIST_RUNS.failed(&self.shared.objects, &error);
                listed.map_err(failed)?.into_iter().map(Arc::new).collect()
            }
        };
        // An object whose name is not a valid run id was created by another program.
        let mut runs: Vec<ListedRun> = objects.into_iter().filter_map(ListedRun::of).collect();
        runs.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(runs)
    }

    /// Checks that the cluster has the definitions, and that this account may do all that a run needs.
    ///
    /// # Errors
    /// What is missing, all at once.
    pub async fn ensure_usable(&self) -> Result<(), StoreError> {
        let objects = &self.shared.objects;
        let reviews = Call::OF_A_RUN.map(|call| async move {
            let allowed = objects.is_allowed(call.verb, call.resource).await;
            // A cluster that does not answer this refuses the call itself later.
            (!allowed.unwrap_or(true)).then_some(call)
        });
        let denied: Vec<Call> = join_all(reviews).await.into_iter().flatten().collect();
        if !denied.is_empty() {
            return Err(failure::denied(objects, &denied));
        }
        // Each kind has a definition of its own. Names that no run has.
        let found = objects.get_run("none").await;
        found.map_err(|error| Call::GET_RUN.failed(objects, &error))?;
        let found = objects.get_events("none").await;
        found.map(drop).map_err(|error| Call::GET_EVENTS.failed(objects, &error))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self, operation: &'static str) -> Result<&str, StoreError> {
        self.writer.as_deref().ok_or_else(|| StoreError::Unavailable {
            operation,
            place: format!("namespace {}", self.objects.namespace()),
            problem: "it was opened for reading".into(),
        })
    }

    fn place(&self, run: &RunId) -> String {
        format!("runbookrun {}/{run}", self.objects.namespace())
    }

    fn not_found(&self, run: &RunId) -> StoreError {
        let place = format!("namespace {}", self.objects.namespace());
        StoreError::NotFound { run: run.clone(), place }
    }

    /// Returns the object of a run, if there is one.
    async fn object(&self, run: &RunId) -> Result<Option<RunbookRun>, StoreError> {
        if !is_object_name(run) {
            return Ok(None);
        }
        let found = self.objects.get_run(run.as_str()).await;
        found.map_err(|error| Call::GET_RUN.failed(&self.objects, &error))
    }

    /// Reads the journal of a run, as the cluster has it; `None` when there is no run, or it has no events.
    async fn journal(&self, run: &RunId) -> Result<Option<Journal>, StoreError> {
        match self.object(run).await? {
            Some(object) => self.journal_of(run, &object).await,
            None => Ok(None),
        }
    }

    /// Reads the journal of the run that has this object.
    async fn journal_of(
        &self,
        run: &RunId,
        object: &RunbookRun,
    ) -> Result<Option<Journal>, StoreError> {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let found = self.objects.list_events(run.as_str(), uid).await;
        let parts = found.map_err(|error| Call::LIST_EVENTS.failed(&self.objects, &error))?;
        let place = self.place(run);
        let read = parts::assemble(&place, &parts).and_then(|text| parse_lines(&place, &text));
        match read {
            Ok((events, _)) if events.is_empty() => Ok(None),
            Ok((events, sum)) => Ok(Some(Journal { events, sum })),
            // The parts of a run that was deleted go one by one.
            Err(error @ StoreError::Corrupt { .. }) => match self.object(run).await? {
                Some(found) if found.metadata.uid == object.metadata.uid => Err(error),
                _ => Ok(None),
            },
            Err(error) => Err(error),
        }
    }

    /// Returns the head of a run from its object, or from its journal where the object does not say how it ended. A run
    /// whose first event was never written is none.
    async fn head_of_object(
        &self,
        run: &RunId,
        object: &RunbookRun,
    ) -> Result<Option<RunHead>, StoreError> {
        if let Some(live) = self.state().live.get(run) {
            return Ok(Some(live.head.clone()));
        }
        // Before its first event, the status of a request says that a process has taken it.
        if is_refused(object) || is_request(object) {
            return Ok(None);
        }
        let known = head_of(object.status.as_ref());
        if let Some(head) = known.as_ref()
            && head.is_final()
            && head.format.is_known()
            && head.run == *run
        {
            return Ok(known);
        }
        let Some(journal) = self.journal_of(run, object).await? else { return Ok(None) };
        let Some(projection) = Projection::of(run, &journal.events) else {
            return Err(crate::journal::no_start(run));
        };
        // The status of a run that is driven is its driver's to write.
        if projection.head().ended_at.is_some()
            && known.as_ref() != Some(projection.head())
            && let Err(error) = self.repair(run, object, &projection).await
            && error.code() != "Conflict"
        {
            tracing::warn!(%error, run = run.as_str(), "cannot write the status of the run");
        }
        Ok(Some(projection.head().clone()))
    }

    /// Does what the process of a run that has stopped did not come to: compacts its events, and writes its status. The
    /// object is older than the journal that was read, so a status that another process has written meanwhile stays.
    ///
    /// # Errors
    /// The status was not written; the code is `Conflict` where the object has changed.
    async fn repair(
        &self,
        run: &RunId,
        object: &RunbookRun,
        projection: &Projection,
    ) -> Result<(), PlatformError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let (mut status, version) = (projection.status(None), &object.metadata.resource_version);
        // It says until when the run was alive.
        status.renewed_at = object.status.as_ref().and_then(|status| status.renewed_at.clone());
        if projection.head().is_final() {
            let owner = Owner::new(run, object);
            if let Err(error) = compact(self, &owner, writer).await {
                tracing::warn!(%error, run = run.as_str(), "the events of the run stay in several objects");
                status.head = None;
            }
        }
        self.objects.write_status(run.as_str(), version.as_deref(), &status).await.map(drop)
    }

    fn live(&self, run: &RunId) -> Option<LiveRun> {
        self.state().live.get(run).cloned()
    }
}

/// Returns the answer where it is not known whether a run is live.
fn may_be_live(error: &StoreError) -> bool {
    tracing::warn!(%error, "the run may be live: its object cannot be read");
    true
}

/// Whether a run id can be the name of an object. Those of journal format 0 cannot.
fn is_object_name(run: &RunId) -> bool {
    let text = run.as_str();
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 63
        && text.chars().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[async_trait]
impl RunStore for ClusterStore {
    async fn append(
        &self,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        let Appended { head, to_flush } =
            open_run::append(&self.shared, run, expected, events, sync).await?;
        if let Some(slot) = to_flush {
            let mut flushes = self.flushes.lock().unwrap_or_else(PoisonError::into_inner);
            while flushes.try_join_next().is_some() {}
            flushes.spawn(flush(Arc::clone(&self.shared), run.clone(), slot));
        }
        // A store that is not watched is fine.
        let _ = self.changes.send(head);
        Ok(())
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<RecordedEvent>, StoreError> {
        // Before the cluster is read: what is written meanwhile is then in both.
        let pending = self.shared.live(run).map(|live| live.pending).unwrap_or_default();
        let journal = self.shared.journal(run).await?;
        let mut events = journal.ok_or_else(|| self.shared.not_found(run))?.events;
        let known = events.len() as u64;
        events.extend(pending.into_iter().filter(|event| event.seq >= known));
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(events.len());
        events.drain(..from);
        Ok(events)
    }

    async fn heads(&self, query: HeadQuery) -> Result<Vec<HeadEntry>, StoreError> {
        let shared = &self.shared;
        // Of two requests with one key, the second one must find the run of the first.
        let runs = self.objects(matches!(query, HeadQuery::WithKey(_))).await?;
        let (limit, before) = match &query {
            HeadQuery::Newest(limit) => (*limit, None),
            HeadQuery::Before(run, limit) => (*limit, Some(run)),
            HeadQuery::All | HeadQuery::Open | HeadQuery::WithKey(_) => (usize::MAX, None),
        };
        let end = before.map_or(runs.len(), |before| ListedRun::position(&runs, before));
        let mut heads = Vec::new();
        for ListedRun { run, object, .. } in runs[..end].iter().rev() {
            if heads.len() >= limit {
                break;
            }
            if let HeadQuery::WithKey(key) = &query
                && object.spec.key.as_ref() != Some(key)
            {
                continue;
            }
            let head = match shared.head_of_object(run, object).await {
                Ok(None) => continue,
                Ok(Some(head)) if query == HeadQuery::Open && head.is_final() => continue,
                Ok(Some(head)) => Ok(head),
                // The journal of one run, which says nothing of the others.
                Err(error @ (StoreError::Corrupt { .. } | StoreError::TooNew { .. })) => Err(error),
                Err(error) => return Err(error),
            };
            heads.push(HeadEntry { run: run.clone(), head });
        }
        heads.reverse();
        Ok(heads)
    }

    async fn head(&self, run: &RunId) -> Result<RunHead, StoreError> {
        let shared = &self.shared;
        if let Some(live) = shared.live(run) {
            return Ok(live.head);
        }
        let object = shared.object(run).await?.ok_or_else(|| shared.not_found(run))?;
        let head = shared.head_of_object(run, &object).await?;
        head.ok_or_else(|| shared.not_found(run))
    }

    fn watch(&self) -> broadcast::Receiver<RunHead> {
        self.changes.subscribe()
    }

    /// Whether this process writes to the run, or the one that does seems to be alive.
    async fn is_live(&self, run: &RunId) -> bool {
        if self.shared.live(run).is_some() {
            return true;
        }
        // No clock of another host is asked where the runs are watched.
        if let Some(runs) = self.watched.get()
            && let Some(object) = runs.find(run)
        {
            let unchanged = runs.unchanged_for(&object);
            if says_driven(&object) && unchanged.is_none_or(|time| time < duration(&object)) {
                return true;
            }
            // A connection may be silent since a while: then its process was not seen to renew it.
            return match self.shared.object(run).await {
                Ok(Some(now)) => {
                    now.metadata.resource_version != object.metadata.resource_version
                        && says_driven(&now)
                }
                Ok(None) => false,
                Err(error) => may_be_live(&error),
            };
        }
        match self.shared.object(run).await {
            Ok(object) => object.is_some_and(|object| seems_renewed(&object, Timestamp::now())),
            Err(error) => may_be_live(&error),
        }
    }

    async fn post_answer(&self, run: &RunId, answer: &PostedAnswer) -> Result<(), StoreError> {
        self.shared.annotate_answer(run, &answer.id, Some(answer)).await
    }

    async fn answers(&self, run: &RunId) -> Result<Vec<PostedAnswer>, StoreError> {
        let object = self.shared.object(run).await?;
        Ok(object.as_ref().map(answers_of).unwrap_or_default())
    }

    async fn remove_answer(&self, run: &RunId, id: &str) -> Result<(), StoreError> {
        self.shared.annotate_answer(run, id, None).await
    }

    async fn notified(&self, run: &RunId) -> Result<Notified, StoreError> {
        let object = self.shared.object(run).await?;
        Ok(object.as_ref().map(notified_of).unwrap_or_default())
    }

    async fn set_notified(&self, run: &RunId, sink: &str, next: u64) -> Result<(), StoreError> {
        self.shared.annotate_notified(run, sink, next).await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        let probed = self.shared.objects.probe().await;
        probed.map_err(|error| Call::LIST_RUNS.failed(&self.shared.objects, &error))
    }

    fn location(&self) -> StoreLocation {
        StoreLocation {
            name: format!("namespace {}", self.shared.objects.namespace()),
            exclusive_id: None,
            url: self.shared.url.clone(),
        }
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}
