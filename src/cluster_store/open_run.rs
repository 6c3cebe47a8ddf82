//! A run that this process writes to: what it knows of the run, and how it appends.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use tokio::sync::Mutex as AsyncMutex;

use super::{
    Journal, LiveRun, Shared,
    attempts::{Attempts, DENIED_PATIENCE},
    compaction::compact,
    event_recorder::EventRecorder,
    failure::{Call, deleted, is_ending, is_too_large, other_version, too_large},
    parts::{self, Chunk},
    projection::Projection,
    requests::is_request,
    status_writer::{StatusWriter, renewed},
};
use crate::{
    journal::{
        Checksum, Event, RecordedEvent, RequestAnswer, RunEvent, RunHead, RunId, StoreError,
        no_start, to_lines,
    },
    platform::{
        Error as PlatformError, ErrorKind,
        kubernetes::{ENCODING, RunEvents, RunEventsPart, RunbookRun, RunbookRunSpec},
    },
};

/// How long an append is tried while the API server does not answer: a restart of it takes less. The run waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// For how long events that need no sync are kept back: as long as people hardly notice.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// A run that this process has read or created, and appends to.
pub(super) struct OpenRun {
    owner: Owner,
    /// How many events are in the cluster.
    stored: u64,
    /// The checksum of these.
    sum: Checksum,
    projection: Projection,
    status: StatusWriter,
    recorder: EventRecorder,
    /// Whether this process has appended since it opened the run.
    has_appended: bool,
    /// Whether a task will store the events that need no sync.
    will_flush: bool,
    /// Whether it is not known which events are stored.
    is_unsure: bool,
    /// The version of the object of a request that this process has claimed, until the first event is stored.
    claimed: Option<String>,
}

/// The place of a run that is open. An append holds it for as long as it takes.
pub(super) type Slot = Arc<AsyncMutex<Option<OpenRun>>>;

/// The object that owns the events of a run.
#[derive(Clone)]
pub(super) struct Owner {
    pub(super) run: RunId,
    reference: OwnerReference,
}

/// The result of an append.
pub(super) struct Appended {
    /// The head of the run with the events.
    pub(super) head: RunHead,
    /// The run, where [`flush`] is to be called for it.
    pub(super) to_flush: Option<Slot>,
}

/// Appends events.
pub(super) async fn append(
    shared: &Arc<Shared>,
    run: &RunId,
    expected: u64,
    events: &[RecordedEvent],
    sync: bool,
) -> Result<Appended, StoreError> {
    let writer = shared.writer("write to")?.to_owned();
    let cell = Arc::clone(shared.state().open.entry(run.clone()).or_default());
    let mut slot = cell.lock().await;
    let mut pending = shared.live(run).map(|live| live.pending).unwrap_or_default();
    let opened = match slot.take() {
        Some(open) if !open.is_unsure => Ok(open),
        None if expected == 0 => create(shared, run, &writer, events).await,
        // Until the run is open again, one that is unsure renews its status.
        _unsure => open(shared, run, &writer, &pending).await,
    };
    let mut open = opened.inspect_err(|_| shared.forget(run))?;
    // An append that was canceled may have stored them.
    pending.retain(|event| event.seq >= open.stored);
    let found = open.stored + pending.len() as u64;
    if found != expected {
        *slot = Some(open);
        return Err(StoreError::Conflict { run: run.clone(), expected, found });
    }
    pending.extend_from_slice(events);
    // Of a run that was created or opened just now, some are known already, and others are not known yet.
    let known = open.projection.head().events;
    let unknown: Vec<RecordedEvent> =
        pending.iter().filter(|event| event.seq >= known).cloned().collect();
    if sync {
        // After a failure the next append opens the run anew, and reads what the cluster holds.
        if let Err(error) = open.store(shared, &writer, &pending).await {
            if let Some(version) = open.claimed.take() {
                give_back(shared, run, &version, &error).await;
            }
            shared.forget(run);
            return Err(error);
        }
        open.claimed = None;
        pending.clear();
    }
    unknown.iter().for_each(|event| open.projection.apply(event));
    open.recorder.record(events);
    let head = open.projection.head().clone();
    shared.state().live.insert(run.clone(), LiveRun { head: head.clone(), pending });
    let mut status = open.projection.status(Some(&writer));
    if head.ended_at.is_none() || !sync {
        open.status.write(status);
        let must_flush = !sync && !std::mem::replace(&mut open.will_flush, true);
        *slot = Some(open);
        return Ok(Appended { head, to_flush: must_flush.then(|| Arc::clone(&cell)) });
    }
    if head.is_final()
        && let Err(error) = compact(shared, &open.owner, &writer).await
    {
        tracing::warn!(%error, run = run.as_str(), "the events of the run stay in several objects");
        // Then the next process that lists runs reads the journal, and compacts it.
        status.head = None;
    }
    tokio::join!(open.status.end(status), open.recorder.end());
    shared.forget(run);
    Ok(Appended { head, to_flush: None })
}

/// Stores the events that need no sync, so that other processes see them, too. What cannot be stored now is stored with
/// the next append.
pub(super) async fn flush(shared: Arc<Shared>, run: RunId, slot: Slot) {
    tokio::time::sleep(FLUSH_INTERVAL).await;
    let mut slot = slot.lock().await;
    let (Some(open), Some(live), Some(writer)) = (slot.as_mut(), shared.live(&run), &shared.writer)
    else {
        return;
    };
    open.will_flush = false;
    let mut pending = live.pending;
    if pending.is_empty() || open.is_unsure {
        return;
    }
    match open.store(&shared, writer, &pending).await {
        Ok(()) => pending.clear(),
        // The next append opens the run anew, and finds what is stored.
        Err(error) => {
            let what = match error {
                StoreError::Conflict { .. } => "another process has continued the run",
                _ => "events are stored with the next ones",
            };
            tracing::warn!(%error, run = run.as_str(), "{what}");
            open.is_unsure = true;
        }
    }
    shared.state().live.insert(run, LiveRun { head: live.head, pending });
}

/// Creates the object of a new run.
async fn create(
    shared: &Arc<Shared>,
    run: &RunId,
    writer: &str,
    events: &[RecordedEvent],
) -> Result<OpenRun, StoreError> {
    let projection = Projection::of(run, &events[..events.len().min(1)]);
    let (Some(projection), Some(Event::Run(RunEvent::RunStarted(spec)))) =
        (projection, events.first().map(|first| &first.event))
    else {
        return Err(no_start(run));
    };
    let spec = RunbookRunSpec {
        runbook: spec.runbook.clone(),
        inputs: spec.inputs.clone(),
        key: spec.key.clone(),
        requested_by: Some(spec.actor.clone()),
        writer: Some(writer.to_owned()),
        start_before: None,
        // The journal has both.
        accept: Vec::new(),
        outside_window: None,
    };
    let object = RunbookRun::new(run.as_str(), spec);
    let objects = &shared.objects;
    let mut attempts = Attempts::new();
    let created = loop {
        let error = match objects.create_run(&object).await {
            Ok(created) => break created,
            Err(error) => error,
        };
        if error.code() == "AlreadyExists" {
            match shared.object(run).await? {
                // The response to an earlier attempt was lost.
                Some(found)
                    if found.spec.writer.as_deref() == Some(writer) && attempts.has_repeated() =>
                {
                    break found;
                }
                // A person has asked for the run. Of the processes that start it, one can append its first event.
                Some(found) if is_request(&found) => break found,
                _ => {
                    let journal = shared.journal(run).await?;
                    let found = journal.map_or(1, |journal| journal.events.len() as u64);
                    return Err(StoreError::Conflict { run: run.clone(), expected: 0, found });
                }
            }
        }
        let paused = pause(&mut attempts, shared.patience, false, error).await;
        paused.map_err(|error| Call::CREATE_RUN.failed(objects, &error))?;
    };
    let is_claimed = is_request(&created);
    let created = match is_claimed {
        true => claim(shared, run, &created, &projection, writer).await?,
        false => created,
    };
    if created.spec.writer.as_deref().is_some_and(|found| found != writer) {
        return Err(other_version(objects, "runbookruns"));
    }
    let status = StatusWriter::new(objects.clone(), run.clone(), &created, writer, shared.times);
    let recorder = EventRecorder::new(objects, &shared.event_access, &created, writer, &[]);
    let claimed = created.metadata.resource_version.clone().filter(|_| is_claimed);
    Ok(OpenRun { claimed, ..OpenRun::new(run, &created, projection, status, recorder) })
}

/// Says in the status of a request that this process starts its run: others leave it then, and continue the run when
/// this process dies.
async fn claim(
    shared: &Arc<Shared>,
    run: &RunId,
    request: &RunbookRun,
    projection: &Projection,
    writer: &str,
) -> Result<RunbookRun, StoreError> {
    let status = renewed(&projection.status(Some(writer)), shared.times);
    let version = request.metadata.resource_version.as_deref();
    match shared.objects.write_status(run.as_str(), version, &status).await {
        Ok(claimed) => Ok(claimed),
        Err(error) if error.code() == "Conflict" => {
            Err(StoreError::Conflict { run: run.clone(), expected: 0, found: 1 })
        }
        Err(error) => Err(Call::WRITE_STATUS.failed(&shared.objects, &error)),
    }
}

/// Makes a request of a run again whose first event could not be stored, so that its status says why.
async fn give_back(shared: &Shared, run: &RunId, version: &str, error: &StoreError) {
    // Where the outcome is unknown, the first event may be there: then the run is continued when this process is gone.
    let has_none = matches!(shared.journal(run).await, Ok(None));
    if has_none && !matches!(error, StoreError::Conflict { .. }) {
        let why = match error.hint() {
            Some(hint) => format!("{error}\nhint: {hint}"),
            None => error.to_string(),
        };
        let answer = RequestAnswer::Waits(why);
        if let Err(error) = shared.answer(run.as_str(), Some(version), &answer).await {
            tracing::warn!(%error, run = run.as_str(), "the request is answered later");
        }
    }
}

/// Opens a run that has events. `pending` are those of this process that may be stored or not.
async fn open(
    shared: &Arc<Shared>,
    run: &RunId,
    writer: &str,
    pending: &[RecordedEvent],
) -> Result<OpenRun, StoreError> {
    let object = shared.object(run).await?.ok_or_else(|| shared.not_found(run))?;
    let journal = shared.journal_of(run, &object).await?;
    let Journal { events, sum } = journal.ok_or_else(|| shared.not_found(run))?;
    let stored = |own: &RecordedEvent| events.iter().find(|event| event.seq == own.seq);
    if let Some(own) = pending.iter().find(|own| stored(own).is_some_and(|found| found != *own)) {
        let found = events.len() as u64;
        return Err(StoreError::Conflict { run: run.clone(), expected: own.seq, found });
    }
    let projection = Projection::of(run, &events).ok_or_else(|| no_start(run))?;
    let (objects, access) = (&shared.objects, &shared.event_access);
    let status = StatusWriter::new(objects.clone(), run.clone(), &object, writer, shared.times);
    let recorder = EventRecorder::new(objects, access, &object, writer, &events);
    let opened = OpenRun::new(run, &object, projection, status, recorder);
    Ok(OpenRun { stored: events.len() as u64, sum, ..opened })
}

impl Owner {
    /// Returns the UID of the object.
    pub(super) fn uid(&self) -> &str {
        &self.reference.uid
    }

    pub(super) fn new(run: &RunId, object: &RunbookRun) -> Self {
        // An object that the API server returns has a UID.
        let reference = object.owner_ref(&()).unwrap_or_default();
        Self { run: run.clone(), reference }
    }
}

impl OpenRun {
    fn new(
        run: &RunId,
        object: &RunbookRun,
        projection: Projection,
        status: StatusWriter,
        recorder: EventRecorder,
    ) -> Self {
        let owner = Owner::new(run, object);
        let sum = Checksum::default();
        Self {
            owner,
            stored: 0,
            sum,
            projection,
            status,
            recorder,
            has_appended: false,
            will_flush: false,
            is_unsure: false,
            claimed: None,
        }
    }

    /// Creates the objects of some events.
    async fn store(
        &mut self,
        shared: &Shared,
        writer: &str,
        events: &[RecordedEvent],
    ) -> Result<(), StoreError> {
        let run = self.owner.run.clone();
        if self.status.is_gone() {
            return Err(deleted(&shared.place(&run)));
        }
        let (text, sum) = to_lines(events, self.sum).map_err(|error| StoreError::Unavailable {
            operation: "write an event to",
            place: shared.place(&run),
            problem: error.to_string(),
        })?;
        let chunks = parts::split(self.stored, &parts::lines_of(&text))
            .map_err(|error| too_large(&shared.place(&run), &error))?;
        for chunk in chunks {
            let takes_over = !self.has_appended && self.stored > 0;
            let count = chunk.count;
            let part = part(&self.owner, writer, chunk, takes_over, false);
            create_part(shared, &run, &part, self.has_appended).await?;
            if takes_over {
                self.ensure_not_compacted(shared).await?;
            }
            self.has_appended = true;
            self.stored += count;
        }
        self.sum = sum;
        Ok(())
    }

    /// Checks that the run was not ended between the reading of its events and the first append after that: its objects
    /// may have been replaced since, and their names are free again.
    async fn ensure_not_compacted(&self, shared: &Shared) -> Result<(), StoreError> {
        let run = &self.owner.run;
        let found = shared.objects.has_compacted_events(run.as_str(), self.owner.uid()).await;
        match found.map_err(|error| Call::LIST_EVENTS.failed(&shared.objects, &error))? {
            false => Ok(()),
            true => {
                let journal = shared.journal(run).await?;
                let found = journal.map_or(0, |journal| journal.events.len() as u64);
                Err(StoreError::Conflict { run: run.clone(), expected: self.stored, found })
            }
        }
    }
}

/// Returns the object for some events.
pub(super) fn part(
    owner: &Owner,
    writer: &str,
    chunk: Chunk,
    takes_over: bool,
    compacted: bool,
) -> RunEvents {
    let Chunk { first, count, lines } = chunk;
    let (writer, encoding) = (writer.to_owned(), ENCODING.to_owned());
    let suffix = if compacted { ".all" } else { "" };
    let name = format!("{}-{first:06}{suffix}", owner.run);
    let spec = RunEventsPart { first, count, writer, takes_over, compacted, encoding, lines };
    let mut part = RunEvents::new(&name, spec);
    part.metadata.owner_references = Some(vec![owner.reference.clone()]);
    part
}

/// Creates the object of some events. Where the outcome of the creation is unknown, it is sent again with the same
/// content.
///
/// # Errors
/// Another writer has created one of the same name, or the API server refuses, or does not answer for a long time.
pub(super) async fn create_part(
    shared: &Shared,
    run: &RunId,
    part: &RunEvents,
    was_allowed: bool,
) -> Result<(), StoreError> {
    let objects = &shared.objects;
    let name = part.metadata.name.as_deref().unwrap_or_default();
    let mut attempts = Attempts::new();
    loop {
        let (call, error) = match objects.create_events(run.as_str(), part).await {
            Ok(stored) if stored.spec == part.spec => return Ok(()),
            Ok(_) => return Err(other_version(objects, "runevents")),
            Err(error) if error.code() == "AlreadyExists" => match objects.get_events(name).await {
                Ok(Some(found)) if is_same(&found.spec, &part.spec) => {
                    tracing::debug!(name, "the response to an append was lost");
                    return Ok(());
                }
                Ok(found) => {
                    let expected = part.spec.first;
                    let found = found.map_or(expected + 1, |found| parts::end(&found.spec));
                    return Err(StoreError::Conflict { run: run.clone(), expected, found });
                }
                Err(error) => (Call::GET_EVENTS, error),
            },
            Err(error) => (Call::CREATE_EVENTS, error),
        };
        let paused = pause(&mut attempts, shared.patience, was_allowed, error).await;
        paused.map_err(|error| call.failed(objects, &error))?;
    }
}

/// Whether an object is the one that was to be created. All processes compact a run in the same way.
fn is_same(found: &RunEventsPart, own: &RunEventsPart) -> bool {
    let is_compacted = own.compacted && found.compacted;
    let writer = if is_compacted { &own.writer } else { &found.writer };
    *own == RunEventsPart { writer: writer.clone(), ..found.clone() }
}

/// Waits before the next attempt of a creation, or returns the error where there is none.
async fn pause(
    attempts: &mut Attempts,
    patience: Duration,
    was_allowed: bool,
    error: PlatformError,
) -> Result<(), PlatformError> {
    let patience = match error.kind() {
        ErrorKind::Transient | ErrorKind::Unreachable if !is_too_large(&error) => patience,
        ErrorKind::Denied if was_allowed && !is_ending(&error) => DENIED_PATIENCE.min(patience),
        _ => return Err(error),
    };
    if !attempts.are_left(patience) {
        return Err(error);
    }
    tracing::warn!(%error, "cannot write to the journal yet");
    attempts.pause().await;
    Ok(())
}

impl Shared {
    /// Forgets a run to which this process does not write any more.
    pub(super) fn forget(&self, run: &RunId) {
        let mut state = self.state();
        state.live.remove(run);
        state.open.remove(run);
    }
}
