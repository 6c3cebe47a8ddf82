//! The limits of a runbook in a run: before a run starts as far as they are decided then, before each change is decided
//! on, and before each removal. A limit that can hold later is waited for; an undo is never held.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::sync::MutexGuard;

use super::{
    Engine, Preflight, StartError,
    action_run::{ActionRun, AttemptError},
    checked::is_of_kind,
    drive::Driver,
    interruptible::{Interruption, StopReason, caught},
    preview::LeadingReads,
};
use crate::{
    actions::{self, ChangeOps, Impact, KnownTargets, Operations},
    journal::{Failure, FailureKind, StepPath, StepProgress},
    limits::{self, RemovalRules, RunSoFar, Violation},
    platform::{Progress, RemovalGuard},
};
use runbook::{ActionKind, EvaluationError, EvaluationScope, KeptWorkload, Limits, Step};

/// How long each change may take to be decided on before a run, for the comparison with the limits.
const PREPARE_LIMIT: Duration = Duration::from_secs(5);

/// The limits of the runbook that is run, or of one that is called.
struct LimitsInForce {
    /// The step or item that calls the runbook, and its name; none for the runbook that is run.
    called: Option<(StepPath, String)>,
    limits: Limits,
}

impl LimitsInForce {
    /// Whether a step is one of the runbook's, or of those that it calls.
    fn covers(&self, path: &StepPath) -> bool {
        self.called.as_ref().is_none_or(|(caller, _)| path.is_part_of(caller))
    }

    /// Returns an error that waits for the limit, or one that fails the step.
    fn error(&self, violation: Violation) -> actions::Error {
        let Violation { message, hint, can_wait } = violation;
        let message = match &self.called {
            Some((_, runbook)) => format!("{message} (a limit of runbook {runbook})"),
            None => message,
        };
        match can_wait {
            true => actions::Error::Busy { message, hint: Some(hint) },
            false => actions::Error::Precondition { message, hint: Some(hint) },
        }
    }
}

impl Driver<'_> {
    /// Lets one step after another be compared with the limits and journaled, so that each counts what those before it
    /// have decided. Nothing is held where the runbook has no limits.
    pub(super) async fn take_limits_turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.checked.runbook().has_limits() {
            true => Some(self.limits_turn.lock().await),
            false => None,
        }
    }

    /// Returns the limits that hold for a step: those of the runbook that is run, and of each one that is called on the
    /// path of the step.
    fn limits_in_force(&self, path: &StepPath) -> Result<Vec<LimitsInForce>, EvaluationError> {
        let runbook = self.checked.runbook();
        if !runbook.has_limits() {
            return Ok(Vec::new());
        }
        let run = self.run();
        let limits = runbook.limits(&EvaluationScope::new(run.inputs()))?;
        let mut in_force = vec![LimitsInForce { called: None, limits }];
        for caller in callers(path) {
            let step = self.checked.step(&caller);
            let called = step.and_then(|step| step.call.as_ref());
            let inputs = run.step(&caller).and_then(|recorded| recorded.inputs.as_ref());
            if let Some((called, inputs)) = called.zip(inputs) {
                let runbook = called.runbook();
                let limits = runbook.limits(&EvaluationScope::new(inputs))?;
                in_force
                    .push(LimitsInForce { called: Some((caller, runbook.name.clone())), limits });
            }
        }
        in_force.retain(|one| !one.limits.is_empty());
        Ok(in_force)
    }

    /// Returns what the run has done before a step, as far as the limits are about it.
    fn done_before(&self, path: &StepPath, in_force: &LimitsInForce) -> RunSoFar {
        let run = self.run();
        let mut so_far = RunSoFar::default();
        let is_other = |step: &&StepProgress| step.path != *path;
        // What goes on beside this step may uncordon what it has cordoned.
        let is_alone = !run.steps().iter().filter(is_other).any(|step| {
            step.outcome.is_none() && !path.is_part_of(&step.path) && !step.path.is_part_of(path)
        });
        for step in run.steps().iter().filter(is_other).filter(|step| step.may_need_undo()) {
            let Some(impact) = self.impact_of(step) else { continue };
            let is_decided_only = step.receipt.is_none() && step.outcome.is_none();
            if is_decided_only {
                so_far.cordons.extend(impact.cordons.iter().cloned());
            }
            if is_alone {
                so_far.cordoned.extend(impact.cordons);
            }
            if in_force.covers(&step.path) {
                so_far.sizes.extend(impact.sizes);
            }
        }
        so_far
    }

    /// Returns the impact of a step that has decided on its changes.
    fn impact_of(&self, recorded: &StepProgress) -> Option<Impact> {
        let intent = recorded.intent.as_ref()?;
        let step = self.checked.step(&recorded.path)?;
        let Operations::Change(operations) = &actions::find(&step.action)?.operations else {
            return None;
        };
        (operations.impact)(&intent.value).ok()
    }

    /// Returns the rules for what a step removes; none where no workload is kept. With `report`, they refuse nothing.
    pub(super) fn removal_guard(
        &self,
        path: &StepPath,
        report: Option<Progress>,
    ) -> Result<Option<Arc<dyn RemovalGuard>>, EvaluationError> {
        let in_force = self.limits_in_force(path)?;
        let kept: Vec<KeptWorkload> =
            in_force.into_iter().flat_map(|one| one.limits.keep_ready).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let (removals, reader) = (Arc::clone(&self.kept_removals), self.engine.platform.reader());
        Ok(Some(Arc::new(RemovalRules { kept, removals, reader, report })))
    }
}

/// Returns the steps and items that call the runbooks of which a step is a part, the outermost first.
fn callers(path: &StepPath) -> Vec<StepPath> {
    let mut callers: Vec<StepPath> = std::iter::successors(path.outer(), StepPath::outer).collect();
    callers.reverse();
    callers
}

impl ActionRun<'_> {
    /// Compares a change that is not decided yet with the limits.
    ///
    /// # Errors
    /// [`actions::Error::Busy`] where a limit does not hold and can later; [`actions::Error::Precondition`] where it
    /// cannot.
    pub(super) fn ensure_within_limits<'a>(
        &'a mut self,
        impact: &'a Impact,
    ) -> BoxFuture<'a, Result<(), AttemptError>> {
        // Made here, and not where it is awaited: steps within steps share one stack.
        Box::pin(self.compare_with_limits(impact))
    }

    async fn compare_with_limits(&mut self, impact: &Impact) -> Result<(), AttemptError> {
        let in_force = self.driver.limits_in_force(&self.path).map_err(StopReason::from)?;
        let reader = self.driver.engine.platform.reader();
        for one in in_force {
            let so_far = self.driver.done_before(&self.path, &one);
            let read = async { Ok(limits::read(&one.limits, impact, &so_far, &reader).await?) };
            let state = self.run_operation(Interruption::Allowed, read).await?;
            if let Some(violation) = most_serious(limits::check(&one.limits, &state)) {
                return Err(AttemptError::Action(one.error(violation)));
            }
        }
        Ok(())
    }
}

/// Returns the violation that counts most: one for which it is no use to wait.
fn most_serious(violations: Vec<Violation>) -> Option<Violation> {
    violations.into_iter().min_by_key(|violation| violation.can_wait)
}

impl Engine {
    /// Refuses a run that would violate a limit whatever happens: by the sizes that its steps ask for, as far as their
    /// parameters are known from the inputs and the leading reads, and by what its first change takes away.
    ///
    /// # Errors
    /// [`StartError::PreviewFailed`] with the first limit that cannot hold.
    pub(super) fn ensure_limits_can_hold<'a>(
        &'a self,
        preflight: &'a Preflight,
        reads: &'a LeadingReads,
    ) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(self.compare_early(preflight, reads))
    }

    async fn compare_early(
        &self,
        preflight: &Preflight,
        reads: &LeadingReads,
    ) -> Result<(), StartError> {
        let runbook = preflight.checked.runbook();
        let limits = preflight.checked.limits(&EvaluationScope::new(&preflight.inputs))?;
        if limits.is_empty() {
            return Ok(());
        }
        let changes = |step: &&Step| step.call.is_some() || is_of_kind(step, ActionKind::Change);
        let mut so_far = RunSoFar::default();
        for (index, step) in runbook.steps.iter().filter(changes).enumerate() {
            let Some(impact) = self.early_impact(step, &reads.scope).await else { continue };
            // The cluster may be another one before a later change.
            let is_first = index == 0;
            let limits = match is_first {
                true => limits.clone(),
                false => Limits { nodes_at_most: limits.nodes_at_most, ..Limits::default() },
            };
            let state = limits::read(&limits, &impact, &so_far, &self.platform.reader()).await?;
            let mut violations = limits::check(&limits, &state).into_iter();
            if let Some(violation) = violations.find(|violation| !violation.can_wait) {
                let Violation { message, hint, .. } = violation;
                let failure =
                    Failure::new(FailureKind::Precondition, message).with_hint(Some(&hint));
                let step = step.display_name(&reads.scope);
                return Err(StartError::PreviewFailed { step, failure: Box::new(failure) });
            }
            so_far.sizes.extend(impact.sizes);
        }
        Ok(())
    }

    /// Returns what a step takes away and adds, if that can be told before the run.
    async fn early_impact(&self, step: &Step, scope: &EvaluationScope) -> Option<Impact> {
        let Operations::Change(ChangeOps { prepare, impact, .. }) =
            &actions::find(&step.action)?.operations
        else {
            return None;
        };
        if step.is_loop() || !step.should_run(scope).ok()? {
            return None;
        }
        let arguments = step.arguments(scope).ok()?;
        let (known, reader) = (Arc::new(KnownTargets::default()), self.platform.reader());
        let progress = Progress::silent();
        let prepared = caught(prepare(arguments, &known, &reader, &progress));
        // Some wait for what is in progress: the run does that, and its start does not.
        let intent = tokio::time::timeout(PREPARE_LIMIT, prepared).await.ok()?.ok()?;
        impact(&intent).ok()
    }
}
