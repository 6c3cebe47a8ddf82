//! The one active run of a service, and everything that can be asked of it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::{Mutex as AsyncMutex, watch};

use super::{answer::Refused, views};
use crate::{
    engine::{self, Control, Direction, Engine, Refusal, Request, abandon},
    journal::{Recorder, Run, RunId, State, Store, StoreError, Summary},
    runbook::Source,
    shelf::Shelf,
};

/// The service; clones share it.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    shelf: Shelf,
    /// Held while a run is being accepted, so that two requests at once cannot both find the place free.
    accepting: AsyncMutex<()>,
    active: Mutex<Option<Active>>,
    /// Whether a run is being driven; for whoever waits for its end.
    busy: watch::Sender<bool>,
}

struct Active {
    id: RunId,
    control: Control,
}

impl Service {
    /// A service that runs what stands on `shelf`.
    pub fn new(engine: Engine, shelf: Shelf) -> Self {
        let shared = Shared {
            engine,
            shelf,
            accepting: AsyncMutex::default(),
            active: Mutex::default(),
            busy: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes up a run that this service was driving when it died, if that was not long ago. An older one waits for a
    /// person: the world may have changed too much.
    ///
    /// # Errors
    /// The run cannot be taken up; it stays as it is.
    pub async fn resume_interrupted(
        &self,
        now: Timestamp,
        within: Duration,
    ) -> Result<Option<RunId>, Refusal> {
        let Some(run) = self.latest()? else { return Ok(None) };
        let age = Duration::try_from(now - run.last_event_at()).unwrap_or_default();
        let ours = run.started.actor.starts_with("http");
        if !ours || run.state(false) != State::Interrupted || age > within {
            return Ok(None);
        }
        let recorder = self.shared.engine.take_up(&run.id, Direction::On, "http:restart").await?;
        self.drive(recorder);
        Ok(Some(run.id))
    }

    /// Leaves the active run to be resumed, and waits until its call in flight is in the journal.
    pub async fn shut_down(&self) {
        if let Some(active) = self.active().as_ref() {
            active.control.shut_down();
        }
        // The sender lives as long as `self`.
        let _ = self.shared.busy.subscribe().wait_for(|busy| !busy).await;
    }

    pub(super) async fn start(
        &self,
        runbook: &str,
        inputs: Map<String, Value>,
        key: Option<String>,
        actor: String,
    ) -> Result<Value, Refused> {
        let source = self.shared.shelf.by_name(runbook)?;
        let _accepting = self.shared.accepting.lock().await;
        if let Some(same) = self.run_with_key(key.as_deref())? {
            return Ok(views::started(&same));
        }
        self.refuse_while_active()?;
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
        self.refuse_while_active()?;
        let recorder = self.shared.engine.take_up(id, direction, actor).await?;
        let answer = views::started(recorder.run());
        self.drive(recorder);
        Ok(answer)
    }

    pub(super) fn cancel(&self, id: &RunId, actor: &str) -> Result<(), Refused> {
        if let Some(active) = self.active().as_ref().filter(|active| active.id == *id) {
            active.control.cancel(actor);
            return Ok(());
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
        let active = self.active().as_ref().map(|active| active.id.clone());
        let latest = || self.store().list().map(|mut runs| runs.pop());
        let id = match id.cloned().or(active) {
            Some(id) => id,
            None => match latest()? {
                Some(id) => id,
                None => return Ok(views::idle()),
            },
        };
        let is_live = self.is_live(&id);
        let records = self.store().read(&id)?;
        let run = Run::of(&id, &records)
            .ok_or_else(|| Refused::unavailable("the run's journal has no beginning"))?;
        Ok(views::status(&run, &records, is_live))
    }

    /// Checks a runbook's text, which is then forgotten: nothing that is sent here can be run. A text that takes
    /// long to check holds up no other request.
    pub(super) async fn validate(&self, name: String, text: Vec<u8>) -> Result<Value, Refused> {
        let check = move || match Source::from_bytes(name, text) {
            Ok(source) => {
                let checked = engine::check(&source);
                (source, checked.runbook, checked.findings)
            }
            Err(error) => (error.readable, None, vec![error.finding]),
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
        self.shared.shelf.names()
    }

    pub(super) fn runs(&self) -> Result<Vec<Summary>, Refused> {
        let ids = self.store().list()?;
        ids.iter().rev().map(|id| self.run(id)).collect()
    }

    pub(super) fn run(&self, id: &RunId) -> Result<Summary, Refused> {
        let is_live = self.is_live(id);
        Ok(Summary::of(&Run::read(self.store().as_ref(), id)?, is_live))
    }

    /// Whether runs can be kept: the state folder can be read.
    pub(super) fn is_ready(&self) -> Result<(), StoreError> {
        self.store().list().map(drop)
    }

    /// Drives a run in the background.
    fn drive(&self, recorder: Recorder) {
        let control = Control::default();
        let id = recorder.run().id.clone();
        *self.active() = Some(Active { id: id.clone(), control: control.clone() });
        self.shared.busy.send_replace(true);
        let service = self.clone();
        tokio::spawn(async move {
            match service.shared.engine.drive(recorder, control).await {
                Ok(state) => tracing::info!(run = id.as_str(), %state, "the run has stopped"),
                Err(error) => {
                    tracing::error!(run = id.as_str(), %error, "the journal cannot be written");
                }
            }
            *service.active() = None;
            service.shared.busy.send_replace(false);
        });
    }

    fn refuse_while_active(&self) -> Result<(), Refused> {
        let Some(id) = self.active().as_ref().map(|active| active.id.clone()) else {
            return Ok(());
        };
        let state = Run::read(self.store().as_ref(), &id)?.state(true);
        let message = format!("run {id} is {state}: wait for it to end, or cancel it");
        Err(Refused::busy(id.as_str(), state.as_str(), &message, &["cancel"]))
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
        self.active().as_ref().is_some_and(|active| active.id == *id)
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.shared.engine.store()
    }

    fn active(&self) -> MutexGuard<'_, Option<Active>> {
        // Nothing that holds it can panic half way through a change.
        self.shared.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
