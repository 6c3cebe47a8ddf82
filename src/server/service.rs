//! The one active run of a service, and everything that can be asked of it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::Mutex as AsyncMutex;

use super::{answer::Refused, comeback::Comeback, seat::Seat, views};
use crate::{
    engine::{self, Control, Direction, Engine, Refusal, Request, abandon},
    journal::{Recorder, Run, RunId, State, Store, StoreError, Summary},
    runbook_dir::RunbookDir,
};
use runbook::Source;

/// How long to wait before an interrupted run is tried to be taken up again. After a reboot the network, the API
/// server or the credentials come some seconds after the service.
const RESUME_PAUSE: Duration = Duration::from_secs(5);

/// The service; clones share it.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    runbook_dir: RunbookDir,
    /// Held while a run is being accepted, so that two requests at once cannot both find the seat free.
    accepting: AsyncMutex<()>,
    seat: Seat,
    comeback: Comeback,
    closing: AtomicBool,
    /// The run whose journal could not be written, and why.
    trouble: Mutex<Option<(RunId, String)>>,
}

impl Service {
    /// A service that runs what stands on `shelf`.
    pub fn new(engine: Engine, runbook_dir: RunbookDir) -> Self {
        let shared = Shared {
            engine,
            runbook_dir,
            accepting: AsyncMutex::default(),
            seat: Seat::default(),
            comeback: Comeback::default(),
            closing: AtomicBool::default(),
            trouble: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Looks for a run that this service was driving when it died, if that was not long ago: from now on `/status`
    /// tells it as one that goes on. An older one waits for a person: the world may have changed too much.
    pub fn expect_interrupted(&self, within: Duration) {
        match self.latest() {
            Ok(Some(run)) if may_be_resumed(&run, within) => self.shared.comeback.expect(run.id),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "an interrupted run is left as it is"),
        }
    }

    /// Takes up the run that was found so. Tries again while the cluster or the account does not answer, and while the
    /// run is not too old.
    pub async fn resume_interrupted(&self, within: Duration) {
        while let Some(run) = self.shared.comeback.expected() {
            match self.resume(&run, within).await {
                Ok(true) => tracing::info!(run = run.as_str(), "resumed an interrupted run"),
                Ok(false) => tracing::warn!(run = run.as_str(), "the run is not taken up any more"),
                Err(Refusal::Platform(error)) if error.is_retryable() => {
                    tracing::warn!(%error, "an interrupted run cannot be taken up yet");
                    self.shared.comeback.delayed(&error.to_string());
                    tokio::time::sleep(RESUME_PAUSE).await;
                    continue;
                }
                Err(error) => tracing::warn!(%error, "an interrupted run is left as it is"),
            }
            self.shared.comeback.is_over();
        }
    }

    async fn resume(&self, id: &RunId, within: Duration) -> Result<bool, Refusal> {
        let _accepting = self.shared.accepting.lock().await;
        // Somebody may have decided otherwise meanwhile.
        let run = Run::read(self.store().as_ref(), id)?;
        if self.shared.seat.run().is_some() || !may_be_resumed(&run, within) {
            return Ok(false);
        }
        let recorder = self.shared.engine.take_up(id, Direction::On, "http:restart").await?;
        self.drive(recorder);
        Ok(true)
    }

    /// Starts nothing more, leaves the active run to be resumed, and waits until its call in flight is in the
    /// journal.
    pub async fn shut_down(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // A run that is being accepted right now is seated first, and then told to stop like any other.
        drop(self.shared.accepting.lock().await);
        self.shared.seat.clear().await;
    }

    pub(super) async fn start(
        &self,
        runbook: &str,
        inputs: Map<String, Value>,
        key: Option<String>,
        actor: String,
    ) -> Result<Value, Refused> {
        let source = self.shared.runbook_dir.by_name(runbook)?;
        let _accepting = self.shared.accepting.lock().await;
        if let Some(earlier) = self.run_with_key(key.as_deref())? {
            return same_request(&earlier, &source, &inputs);
        }
        self.refuse_unless_free()?;
        let request = Request { source, inputs, actor, key };
        let recorder = self.shared.engine.accept(request).await?;
        let answer = views::started(recorder.run());
        self.drive(recorder);
        Ok(answer)
    }

    pub(super) async fn take_up(
        &self,
        id: &RunId,
        direction: Direction,
        actor: &str,
    ) -> Result<Value, Refused> {
        let _accepting = self.shared.accepting.lock().await;
        self.refuse_unless_free()?;
        let recorder = self.shared.engine.take_up(id, direction, actor).await?;
        let answer = views::taken_up(recorder.run(), direction);
        self.drive(recorder);
        Ok(answer)
    }

    pub(super) fn cancel(&self, id: &RunId, actor: &str) -> Result<(), Refused> {
        if let Some(control) = self.shared.seat.control_of(id) {
            control.cancel(actor);
            return Ok(());
        }
        if self.shared.comeback.of(id).is_some() {
            let message = "the run is about to be taken up: abandon it or roll it back instead";
            return Err(Refused::conflict(message));
        }
        let state = Run::read(self.store().as_ref(), id)?.state(false);
        Err(Refused::conflict(&format!("run {id} is {state}: there is nothing to cancel")))
    }

    pub(super) async fn abandon(&self, id: &RunId, actor: &str) -> Result<(), Refused> {
        let _accepting = self.shared.accepting.lock().await;
        if self.is_live(id) {
            return Err(Refused::conflict("the run is active: cancel it first"));
        }
        Ok(abandon(Arc::clone(self.store()), id, actor)?)
    }

    /// Of the run that was asked for; else the active one; else the latest; else idle.
    pub(super) fn status(&self, id: Option<&RunId>) -> Result<Value, Refused> {
        let active = self.shared.seat.run();
        let latest = || self.store().list().map(|mut runs| runs.pop());
        let id = match id.cloned().or(active) {
            Some(id) => id,
            None => match latest()? {
                Some(id) => id,
                None => return Ok(views::idle()),
            },
        };
        // Asked in this order, a run that is taken up meanwhile is one or the other.
        let comeback = self.shared.comeback.of(&id);
        let is_live = self.is_live(&id);
        let records = self.store().read(&id)?;
        let run = Run::of(&id, &records)
            .ok_or_else(|| Refused::unavailable("the run's journal has no beginning"))?;
        let status = views::status(&run, &records, is_live, self.trouble_of(&id).as_deref());
        match comeback.filter(|_| !is_live) {
            Some(delay) => Ok(views::coming_back(status, delay.as_deref())),
            None => Ok(status),
        }
    }

    /// Checks a runbook's text, which is then forgotten: nothing that is sent here can be run. A text that takes
    /// long to check holds up no other request.
    pub(super) async fn validate(&self, name: String, text: Vec<u8>) -> Result<Value, Refused> {
        let check = move || match Source::from_bytes(name, text) {
            Ok(source) => {
                let checked = engine::check(&source);
                (source, checked.runbook, checked.diagnostics)
            }
            Err(error) => (error.readable, None, vec![error.diagnostic]),
        };
        let checked = tokio::task::spawn_blocking(check).await;
        let (source, runbook, findings) =
            checked.map_err(|_| Refused::unavailable("the check did not end; the log has more"))?;
        match runbook {
            Some(runbook) => Ok(views::valid(&runbook, &source, &findings)),
            None => Err(Refusal::Invalid { source_text: Box::new(source), findings }.into()),
        }
    }

    pub(super) fn runbooks(&self) -> Vec<String> {
        self.shared.runbook_dir.names()
    }

    pub(super) fn runs(&self) -> Result<Vec<Summary>, Refused> {
        let ids = self.store().list()?;
        ids.iter().rev().map(|id| self.run(id)).collect()
    }

    pub(super) fn run(&self, id: &RunId) -> Result<Summary, Refused> {
        let is_live = self.is_live(id);
        Ok(Summary::of(&Run::read(self.store().as_ref(), id)?, is_live))
    }

    /// Whether a run could be kept now.
    pub(super) fn is_ready(&self) -> Result<(), StoreError> {
        self.store().check_writable()
    }

    /// Drives a run in the background.
    fn drive(&self, recorder: Recorder) {
        let control = Control::default();
        let id = recorder.run().id.clone();
        self.shared.seat.take(&id, &control);
        let service = self.clone();
        tokio::spawn(async move {
            let shared = &service.shared;
            let _seated = shared.seat.hold(&id);
            match shared.engine.drive(recorder, control).await {
                Ok(state) => tracing::info!(run = id.as_str(), %state, "the run has stopped"),
                Err(error) => {
                    tracing::error!(run = id.as_str(), %error, "the journal cannot be written");
                    let mut trouble = shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                    *trouble = Some((id.clone(), error.to_string()));
                }
            }
        });
    }

    fn refuse_unless_free(&self) -> Result<(), Refused> {
        if self.shared.closing.load(Ordering::SeqCst) {
            return Err(Refused::unavailable("the service is going away"));
        }
        let Some(id) = self.shared.seat.run() else { return Ok(()) };
        let state = Run::read(self.store().as_ref(), &id)?.state(true);
        let message = format!("run {id} is {state}: wait for it to end, or cancel it");
        Err(Refused::busy(id.as_str(), state.as_str(), &message, &["cancel"]))
    }

    fn trouble_of(&self, id: &RunId) -> Option<String> {
        let trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().filter(|(run, _)| run == id).map(|(_, error)| error.clone())
    }

    fn run_with_key(&self, key: Option<&str>) -> Result<Option<Run>, Refused> {
        let Some(key) = key else { return Ok(None) };
        for id in self.store().list()?.iter().rev() {
            let run = Run::read(self.store().as_ref(), id)?;
            if run.started.key.as_deref() == Some(key) {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn latest(&self) -> Result<Option<Run>, StoreError> {
        let store = self.store();
        store.list()?.pop().map(|id| Run::read(store.as_ref(), &id)).transpose()
    }

    /// Whether a run is being driven. To be asked before its journal is read: a run that ends in between has then an
    /// end in the journal; asked afterwards, it would look as if its process had died.
    fn is_live(&self, id: &RunId) -> bool {
        self.shared.seat.run().as_ref() == Some(id)
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.shared.engine.store()
    }
}

/// Whether a new process of the service goes on with a run by itself: one that it was driving when it died, not long ago.
fn may_be_resumed(run: &Run, within: Duration) -> bool {
    let age = Duration::try_from(Timestamp::now() - run.last_event_at()).unwrap_or_default();
    run.actor.starts_with("http") && run.state(false) == State::Interrupted && age <= within
}

/// The answer to a key that has started a run before: that run, if the request is the same.
fn same_request(
    earlier: &Run,
    source: &Source,
    inputs: &Map<String, Value>,
) -> Result<Value, Refused> {
    let started = &earlier.started;
    let is_same = started.text == source.text()
        && inputs.iter().all(|(name, value)| started.inputs.get(name) == Some(value));
    if is_same {
        return Ok(views::started(earlier));
    }
    Err(Refused::conflict(&format!(
        "this key started run {} of {}, with another runbook or other inputs; choose a key of its own",
        earlier.id, started.runbook
    )))
}
