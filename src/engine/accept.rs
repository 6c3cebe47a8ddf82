//! The start of a run: everything that can be refused is refused here, before anything is changed.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    CheckedRunbook, Engine, StartError, VERSION,
    cluster_lock::{LockedRun, release},
    permission_check::refuse_if_denied,
    preview::LeadingReads,
};
use crate::{
    journal::{
        Consent, Format, HeadQuery, RecordedEvent, Run, RunId, RunSpec, RunTarget, RunWriter,
        StepPath, StoreError, with_liveness,
    },
    lease::HeldLease,
};
use runbook::EvaluationScope;
use text::hex;

/// Everything that was found out before a run is accepted: the checked runbook, its inputs and its target. Made once,
/// by [`Engine::prepare`]; what asks a person, and what starts the run, use the same value.
#[derive(Debug, Clone)]
pub struct Preflight {
    /// The runbook.
    pub checked: CheckedRunbook,
    /// Its inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// The cluster and account that the run may touch.
    pub target: RunTarget,
    /// Why it is started outside the change windows, where it is.
    pub outside_window: Option<String>,
    /// Warnings for a person who is about to start the run, a sentence each.
    pub warnings: Vec<String>,
    /// The consent of a person.
    pub consent: Consent,
    /// The outputs of the leading steps, where they were needed already.
    pub(super) reads: Option<LeadingReads>,
}

/// A runbook with the inputs of a run, of which everything was evaluated that depends on nothing else.
#[derive(Debug, Clone)]
pub struct BoundRunbook {
    checked: CheckedRunbook,
    inputs: Map<String, Value>,
}

impl BoundRunbook {
    /// Returns the runbook.
    pub fn checked(&self) -> &CheckedRunbook {
        &self.checked
    }
}

impl CheckedRunbook {
    /// Binds the inputs, and evaluates what depends on nothing else. This may take as long as a check.
    ///
    /// # Errors
    /// The inputs do not fit, or a step would fail by the inputs alone.
    pub fn bind(self, inputs: &Map<String, Value>) -> Result<BoundRunbook, StartError> {
        let inputs = self.runbook().bind(inputs).map_err(StartError::Inputs)?;
        let scope = EvaluationScope::new(&inputs);
        self.evaluate_early(&scope)?;
        self.limits(&scope)?;
        Ok(BoundRunbook { checked: self, inputs })
    }
}

/// A run that was started or resumed and is not driven yet.
pub struct AcceptedRun {
    pub(super) writer: RunWriter,
    pub(super) checked: CheckedRunbook,
    /// The lease of the cluster, where the run needs it.
    pub(super) lease: Option<HeldLease>,
}

impl AcceptedRun {
    /// Returns the run as it is now.
    pub fn run(&self) -> &Run {
        self.writer.run()
    }

    /// Returns the paths of its steps, in order.
    pub fn step_paths(&self) -> Vec<StepPath> {
        let steps = self.checked.runbook().steps.iter();
        steps.map(|step| StepPath::top_level(&step.id)).collect()
    }

    /// Returns everything that is appended from now on.
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Arc<RecordedEvent>> {
        self.writer.subscribe()
    }
}

/// Returns the SHA-256 of a runbook's text, in hexadecimal.
pub fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

impl Engine {
    /// Binds the inputs, evaluates what depends on nothing else, and asks the cluster and the account for their
    /// identities. Changes nothing.
    ///
    /// # Errors
    /// The inputs do not fit, a step would fail by the inputs alone, or the cluster or account cannot be asked.
    pub async fn prepare(
        &self,
        checked: CheckedRunbook,
        inputs: &Map<String, Value>,
    ) -> Result<Preflight, StartError> {
        self.prepare_bound(checked.bind(inputs)?).await
    }

    /// Asks the cluster and the account for their identities, and what the run may do there. Changes nothing, and
    /// computes nothing that takes long.
    ///
    /// # Errors
    /// The cluster or account cannot be asked, a permission is missing, or a limit of the runbook cannot hold.
    pub async fn prepare_bound(&self, bound: BoundRunbook) -> Result<Preflight, StartError> {
        let mut preflight = self.prepare_to_plan(bound).await?;
        if !preflight.checked.runbook().has_limits() {
            return Ok(preflight);
        }
        let reads = match preflight.reads.take() {
            Some(reads) => reads,
            None => self.read_leading_in_time(&preflight.checked, &preflight.inputs).await,
        };
        self.ensure_limits_can_hold(&preflight, &reads).await?;
        preflight.reads = Some(reads);
        Ok(preflight)
    }

    /// Prepares a run that is planned only, or rehearsed: a limit that cannot hold is found where it is exceeded.
    ///
    /// # Errors
    /// The cluster or account cannot be asked, or a permission is missing.
    pub async fn prepare_to_plan(&self, bound: BoundRunbook) -> Result<Preflight, StartError> {
        let BoundRunbook { checked, inputs } = bound;
        let target = self.identify(checked.runbook()).await?;
        let mut preflight = Preflight {
            checked,
            inputs,
            target,
            outside_window: None,
            warnings: Vec::new(),
            consent: Consent::default(),
            reads: None,
        };
        if self.checks_permissions {
            let reads = self.read_leading_in_time(&preflight.checked, &preflight.inputs).await;
            refuse_if_denied(self.check_permissions_with(&preflight, &reads).await)?;
            preflight
                .warnings
                .extend(self.own_node_warning(&preflight.checked, &reads.scope).await);
            preflight.reads = Some(reads);
        }
        Ok(preflight)
    }

    /// Starts the run. Nothing on the platform has been changed when this returns. `key` is the caller's idempotency
    /// key.
    ///
    /// # Errors
    /// Another run holds the lock of the target, or the store failed; then there is no run.
    pub async fn accept(
        &self,
        preflight: Preflight,
        actor: &str,
        key: Option<String>,
    ) -> Result<AcceptedRun, StartError> {
        let last = self.store.heads(HeadQuery::Newest(1)).await?.pop().map(|entry| entry.run);
        let runbook = &preflight.checked.runbook().name;
        let id = RunId::new(self.clock.now(), runbook, last.as_ref());
        self.accept_as(preflight, actor, key, id).await
    }

    /// Starts the run with an id that the caller has chosen.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and there is a run with this id.
    pub async fn accept_as(
        &self,
        preflight: Preflight,
        actor: &str,
        key: Option<String>,
        id: RunId,
    ) -> Result<AcceptedRun, StartError> {
        let Preflight { checked, inputs, target, outside_window, warnings, consent, reads: _ } =
            preflight;
        for warning in &warnings {
            tracing::warn!(runbook = checked.runbook().name, "{warning}");
        }
        self.ensure_lock_is_free(&target, None).await?;
        let now = self.clock.now();
        let locked = LockedRun { id: &id, actor, has_changed: false, requires_lock: false };
        let lease = self.take_lease(checked.runbook(), &target, locked).await?;
        let text = checked.source().text().to_owned();
        let spec = RunSpec {
            format: Format::CURRENT,
            runbook: checked.runbook().name.clone(),
            origin: checked.origin().map(str::to_owned),
            digest: digest(&text),
            text,
            inputs,
            called: checked.called_texts(),
            actor: actor.to_owned(),
            key,
            outside_window,
            version: VERSION.into(),
            target,
            consent,
        };
        let (store, observers) = (Arc::clone(&self.store), Arc::clone(&self.observers));
        match RunWriter::start(store, observers, id, now, spec).await {
            Ok(writer) => Ok(AcceptedRun { writer, checked, lease }),
            Err(error) => {
                release(lease, None).await;
                Err(error.into())
            }
        }
    }

    /// A run in this store that is driven, or is unfinished and has changed something, holds the lock of its target:
    /// the natural next run would double again what it has doubled. `own` is the run that is to be resumed.
    pub(super) async fn ensure_lock_is_free(
        &self,
        target: &RunTarget,
        own: Option<&RunId>,
    ) -> Result<(), StartError> {
        for entry in self.store.heads(HeadQuery::Open).await?.into_iter().rev() {
            if own == Some(&entry.run) {
                continue;
            }
            match entry.head {
                Ok(head) if head.target.overlaps(target) => {
                    let (head, is_live) = with_liveness(self.store.as_ref(), head).await?;
                    if !head.holds_lock(is_live) {
                        continue;
                    }
                    let state = head.state(is_live);
                    let cause = head.failure.map(|failure| failure.message);
                    let target = Box::new(head.target);
                    return Err(StartError::Unfinished { run: head.run, state, target, cause });
                }
                Ok(_) => {}
                // What is known of it is in the error; the rest is the newer version's to know.
                Err(StoreError::TooNew { is_over: true, .. }) => {}
                Err(StoreError::TooNew { target: Some(other), .. }) if !other.overlaps(target) => {}
                Err(StoreError::TooNew { target: None, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
