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

use super::{active_run::ActiveRun, error::ApiError, recovery::PendingRecovery, views};
use crate::{
    engine::{self, Control, Engine, ResumeMode, RunRequest, StartError, abandon},
    journal::{Run, RunId, RunState, RunStore, RunSummary, RunWriter, StoreError},
    runbook_dir::RunbookDir,
};
use runbook::Source;

/// How long to wait before an interrupted run is tried to be taken up again. After a reboot the network, the API
/// server or the credentials come some seconds after the service.
const RECOVERY_RETRY_INTERVAL: Duration = Duration::from_secs(5);

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
    active_run: ActiveRun,
    pending_recovery: PendingRecovery,
    closing: AtomicBool,
    /// The run whose journal could not be written, and why.
    journal_error: Mutex<Option<(RunId, String)>>,
}

impl Service {
    /// A service that runs what stands on `runbook_dir`.
    pub fn new(engine: Engine, runbook_dir: RunbookDir) -> Self {
        let shared = Shared {
            engine,
            runbook_dir,
            accepting: AsyncMutex::default(),
            active_run: ActiveRun::default(),
            pending_recovery: PendingRecovery::default(),
            closing: AtomicBool::default(),
            journal_error: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Looks for a run that this service was driving when it died, if that was not long ago: from now on `/status`
    /// tells it as one that goes on. An older one waits for a person: the world may have changed too much.
    pub fn expect_recovery(&self, max_age: Duration) {
        match self.latest() {
            Ok(Some(run)) if is_recoverable(&run, max_age) => {
                self.shared.pending_recovery.expect(run.id)
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "an interrupted run is left as it is"),
        }
    }

    /// Takes up the run that was found so. Tries again while the cluster or the account does not answer, and while the
    /// run is not too old.
    pub async fn recover_interrupted(&self, max_age: Duration) {
        while let Some(run) = self.shared.pending_recovery.run() {
            match self.recover(&run, max_age).await {
                Ok(true) => tracing::info!(run = run.as_str(), "resumed an interrupted run"),
                Ok(false) => tracing::warn!(run = run.as_str(), "the run is not taken up any more"),
                Err(StartError::Platform(error)) if error.is_retryable() => {
                    tracing::warn!(%error, "an interrupted run cannot be taken up yet");
                    self.shared.pending_recovery.set_delay(&error.to_string());
                    tokio::time::sleep(RECOVERY_RETRY_INTERVAL).await;
                    continue;
                }
                Err(error) => tracing::warn!(%error, "an interrupted run is left as it is"),
            }
            self.shared.pending_recovery.clear();
        }
    }

    async fn recover(&self, id: &RunId, max_age: Duration) -> Result<bool, StartError> {
        let _accepting = self.shared.accepting.lock().await;
        // Somebody may have decided otherwise meanwhile.
        let run = Run::read(self.store().as_ref(), id)?;
        if self.shared.active_run.id().is_some() || !is_recoverable(&run, max_age) {
            return Ok(false);
        }
        let run_writer =
            self.shared.engine.resume(id, ResumeMode::Continue, "http:restart").await?;
        self.drive(run_writer);
        Ok(true)
    }

    /// Starts nothing more, leaves the active run to be resumed, and waits until its call in flight is in the
    /// journal.
    pub async fn shut_down(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // A run that is being accepted right now is seated first, and then told to stop like any other.
        drop(self.shared.accepting.lock().await);
        self.shared.active_run.shut_down().await;
    }

    pub(super) async fn start(
        &self,
        runbook: &str,
        inputs: Map<String, Value>,
        key: Option<String>,
        actor: String,
    ) -> Result<Value, ApiError> {
        let source = self.shared.runbook_dir.find(runbook)?;
        let _accepting = self.shared.accepting.lock().await;
        if let Some(earlier) = self.find_run_by_key(key.as_deref())? {
            return response_to_same_request(&earlier, &source, &inputs);
        }
        self.ensure_idle()?;
        let request = RunRequest { source, inputs, actor, key };
        let run_writer = self.shared.engine.accept(request).await?;
        let response = views::started(run_writer.run());
        self.drive(run_writer);
        Ok(response)
    }

    pub(super) async fn resume(
        &self,
        id: &RunId,
        mode: ResumeMode,
        actor: &str,
    ) -> Result<Value, ApiError> {
        let _accepting = self.shared.accepting.lock().await;
        self.ensure_idle()?;
        let run_writer = self.shared.engine.resume(id, mode, actor).await?;
        let response = views::resumed(run_writer.run(), mode);
        self.drive(run_writer);
        Ok(response)
    }

    pub(super) fn cancel(&self, id: &RunId, actor: &str) -> Result<(), ApiError> {
        if let Some(control) = self.shared.active_run.control_of(id) {
            control.cancel(actor);
            return Ok(());
        }
        if self.shared.pending_recovery.delay_of(id).is_some() {
            let message = "the run is about to be taken up: abandon it or roll it back instead";
            return Err(ApiError::conflict(message));
        }
        let state = Run::read(self.store().as_ref(), id)?.state(false);
        Err(ApiError::conflict(&format!("run {id} is {state}: there is nothing to cancel")))
    }

    pub(super) async fn abandon(&self, id: &RunId, actor: &str) -> Result<(), ApiError> {
        let _accepting = self.shared.accepting.lock().await;
        if self.is_live(id) {
            return Err(ApiError::conflict("the run is active: cancel it first"));
        }
        Ok(abandon(Arc::clone(self.store()), id, actor)?)
    }

    /// Of the run that was asked for; else the active one; else the latest; else idle.
    pub(super) fn status(&self, id: Option<&RunId>) -> Result<Value, ApiError> {
        let active = self.shared.active_run.id();
        let latest = || self.store().list().map(|mut runs| runs.pop());
        let id = match id.cloned().or(active) {
            Some(id) => id,
            None => match latest()? {
                Some(id) => id,
                None => return Ok(views::idle()),
            },
        };
        // Asked in this order, a run that is taken up meanwhile is one or the other.
        let pending = self.shared.pending_recovery.delay_of(&id);
        let is_live = self.is_live(&id);
        let records = self.store().read(&id)?;
        let run = Run::from_records(&id, &records)
            .ok_or_else(|| ApiError::unavailable("the run's journal has no beginning"))?;
        let status = views::status(&run, &records, is_live, self.journal_error_of(&id).as_deref());
        match pending.filter(|_| !is_live) {
            Some(delay) => Ok(views::recovering(status, delay.as_deref())),
            None => Ok(status),
        }
    }

    /// Checks a runbook's text, which is then forgotten: nothing that is sent here can be run. A text that takes
    /// long to check holds up no other request.
    pub(super) async fn validate(&self, name: String, text: Vec<u8>) -> Result<Value, ApiError> {
        let check = move || match Source::from_bytes(name, text) {
            Ok(source) => {
                let checked = engine::check(&source);
                (source, checked.runbook, checked.diagnostics)
            }
            Err(error) => (error.readable, None, vec![error.diagnostic]),
        };
        let checked = tokio::task::spawn_blocking(check).await;
        let (source, runbook, findings) = checked
            .map_err(|_| ApiError::unavailable("the check did not end; the log has more"))?;
        match runbook {
            Some(runbook) => Ok(views::valid(&runbook, &source, &findings)),
            None => Err(StartError::Invalid { source_text: Box::new(source), findings }.into()),
        }
    }

    pub(super) fn runbooks(&self) -> Vec<String> {
        self.shared.runbook_dir.names()
    }

    pub(super) fn runs(&self) -> Result<Vec<RunSummary>, ApiError> {
        let ids = self.store().list()?;
        ids.iter().rev().map(|id| self.run(id)).collect()
    }

    pub(super) fn run(&self, id: &RunId) -> Result<RunSummary, ApiError> {
        let is_live = self.is_live(id);
        Ok(RunSummary::new(&Run::read(self.store().as_ref(), id)?, is_live))
    }

    /// Whether a run could be kept now.
    pub(super) fn is_ready(&self) -> Result<(), StoreError> {
        self.store().check_writable()
    }

    /// Drives a run in the background.
    fn drive(&self, run_writer: RunWriter) {
        let control = Control::default();
        let id = run_writer.run().id.clone();
        self.shared.active_run.set(&id, &control);
        let service = self.clone();
        tokio::spawn(async move {
            let shared = &service.shared;
            let _guard = shared.active_run.guard(&id);
            match shared.engine.drive(run_writer, control).await {
                Ok(state) => tracing::info!(run = id.as_str(), %state, "the run has stopped"),
                Err(error) => {
                    tracing::error!(run = id.as_str(), %error, "the journal cannot be written");
                    let mut journal_error =
                        shared.journal_error.lock().unwrap_or_else(PoisonError::into_inner);
                    *journal_error = Some((id.clone(), error.to_string()));
                }
            }
        });
    }

    fn ensure_idle(&self) -> Result<(), ApiError> {
        if self.shared.closing.load(Ordering::SeqCst) {
            return Err(ApiError::unavailable("the service is going away"));
        }
        let Some(id) = self.shared.active_run.id() else { return Ok(()) };
        let state = Run::read(self.store().as_ref(), &id)?.state(true);
        let message = format!("run {id} is {state}: wait for it to end, or cancel it");
        Err(ApiError::busy(id.as_str(), state.as_str(), &message, &["cancel"]))
    }

    fn journal_error_of(&self, id: &RunId) -> Option<String> {
        let journal_error =
            self.shared.journal_error.lock().unwrap_or_else(PoisonError::into_inner);
        journal_error.as_ref().filter(|(run, _)| run == id).map(|(_, error)| error.clone())
    }

    fn find_run_by_key(&self, key: Option<&str>) -> Result<Option<Run>, ApiError> {
        let Some(key) = key else { return Ok(None) };
        for id in self.store().list()?.iter().rev() {
            let run = Run::read(self.store().as_ref(), id)?;
            if run.spec.key.as_deref() == Some(key) {
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
        self.shared.active_run.id().as_ref() == Some(id)
    }

    fn store(&self) -> &Arc<dyn RunStore> {
        self.shared.engine.store()
    }
}

/// Whether a new process of the service goes on with a run by itself: one that it was driving when it died, not long ago.
fn is_recoverable(run: &Run, max_age: Duration) -> bool {
    let age = Duration::try_from(Timestamp::now() - run.last_event_at()).unwrap_or_default();
    run.actor.starts_with("http") && run.state(false) == RunState::Interrupted && age <= max_age
}

/// The answer to a key that has started a run before: that run, if the request is the same.
fn response_to_same_request(
    earlier: &Run,
    source: &Source,
    inputs: &Map<String, Value>,
) -> Result<Value, ApiError> {
    let spec = &earlier.spec;
    let is_same = spec.text == source.text()
        && inputs.iter().all(|(name, value)| spec.inputs.get(name) == Some(value));
    if is_same {
        return Ok(views::started(earlier));
    }
    Err(ApiError::conflict(&format!(
        "this key started run {} of {}, with another runbook or other inputs; choose a key of its own",
        earlier.id, spec.runbook
    )))
}
