//! The steps of a plan: what was read before the run goes before what the rehearsal predicts.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    invented::Invented,
    model::{Basis, Effect, Placement, PlannedStep, Rehearsal, Span, Unplaced},
    rehearsal::Rehearsed,
};
use crate::{
    actions::{self, Access, ActionDef, Permission},
    engine::{Ahead, CheckedRunbook, ReadAhead, StepAhead, is_of_kind},
    journal::{Event, Run, RunState, StepEvent, StepOutcome, StepPath, StepProgress},
    permissions,
};
use runbook::{ActionKind, OnFailure, Reversibility, Step};

/// The same run, rehearsed with short, likely and long durations.
#[derive(Debug)]
pub(super) struct Rehearsals {
    /// With likely durations.
    pub(super) typical: Rehearsed,
    /// With others, as far as they were rehearsed.
    pub(super) others: Vec<Rehearsed>,
}

impl Rehearsals {
    /// Returns how long something takes in each of them.
    fn span(&self, of: impl Fn(&Run) -> Option<Duration>) -> Option<Span> {
        let typical = of(&self.typical.run)?;
        let mut all = vec![typical];
        all.extend(self.others.iter().filter_map(|other| of(&other.run)));
        let (low, high) = (all.iter().min().copied()?, all.iter().max().copied()?);
        Some(Span::of([low, typical, high]))
    }

    /// Returns the summary of the rehearsal.
    pub(super) fn summary(&self, invented: &Invented, durations: Vec<String>) -> Rehearsal {
        let run = &self.typical.run;
        let mut failure = run.head.failure.clone();
        if let Some(failure) = &mut failure {
            failure.message = invented.replace_in(&failure.message);
        }
        let takes =
            self.span(|run| Duration::try_from(run.head.ended_at? - run.head.started_at).ok());
        Rehearsal::Done {
            outcome: match self.typical.is_cut_off {
                true => "not_finished".to_owned(),
                false => run.state(false).to_string(),
            },
            failure: failure.filter(|_| run.state(false) != RunState::Succeeded),
            failed_step: run.head.failed_step.clone(),
            takes: takes.unwrap_or_default(),
            placements: placements(&self.typical, invented),
            unplaced: unplaced(&self.typical, invented),
            durations,
        }
    }
}

/// Returns the steps of a plan.
pub(super) fn steps(
    checked: &CheckedRunbook,
    ahead: &ReadAhead,
    rehearsals: Option<&Rehearsals>,
    invented: &Invented,
) -> Vec<PlannedStep> {
    let mut steps = match rehearsals {
        Some(rehearsals) => rehearsed_steps(checked, ahead, rehearsals, invented),
        None => ahead.steps.iter().map(of_ahead).collect(),
    };
    for step in &mut steps {
        let Some(declared) = checked.step(&step.path) else { continue };
        step.may_fail = declared.on_failure == OnFailure::Continue;
        let changes = |step: &Step| is_of_kind(step, ActionKind::Change);
        step.may_change = match &declared.call {
            Some(called) => called.runbook().all_steps().into_iter().any(changes),
            None => changes(declared),
        };
    }
    steps
}

fn rehearsed_steps(
    checked: &CheckedRunbook,
    ahead: &ReadAhead,
    rehearsals: &Rehearsals,
    invented: &Invented,
) -> Vec<PlannedStep> {
    let read: HashMap<&StepPath, &StepAhead> =
        ahead.steps.iter().map(|step| (&step.path, step)).collect();
    let waits = waits_of(&rehearsals.typical, invented);
    let messages = messages_of(&rehearsals.typical, invented);
    let rehearsed = rehearsals.typical.run.steps();
    let mut steps: Vec<PlannedStep> = Vec::new();
    for progress in rehearsed {
        let ahead = read.get(&progress.path).copied();
        let mut step = match ahead {
            Some(ahead) if is_certain(ahead) && !fails_otherwise(ahead, progress) => {
                of_ahead(ahead)
            }
            _ => predicted(checked, progress, ahead, invented),
        };
        step.takes = rehearsals.span(|run| duration_of(run.step(&progress.path)?));
        step.waits_for = waits.get(&progress.path).cloned().unwrap_or_default();
        if step.message.is_none() {
            step.message = messages.get(&progress.path).cloned();
        }
        steps.push(step);
    }
    let reached = |path: &StepPath| rehearsals.typical.run.step(path).is_some();
    let left = ahead.steps.iter().filter(|ahead| !reached(&ahead.path)).map(|ahead| {
        let effect = match &ahead.finding {
            Ahead::Skipped(reason) => Effect::Skipped { reason: reason.clone() },
            _ => Effect::NotReached,
        };
        PlannedStep { effect, changes: Vec::new(), basis: Basis::Predicted, ..of_ahead(ahead) }
    });
    steps.extend(left);
    steps
}

/// Whether nothing that the run does before a step changes what was read for it.
fn is_certain(ahead: &StepAhead) -> bool {
    match ahead.finding {
        Ahead::Reads { .. } | Ahead::Changes(_) | Ahead::Skipped(_) | Ahead::Fails(_) => true,
        Ahead::Waits
        | Ahead::Holds { .. }
        | Ahead::Parts
        | Ahead::KnownAfter(_)
        | Ahead::NotInTime(_) => false,
    }
}

/// Whether a step fails in the rehearsal for which it was found out what it would do.
fn fails_otherwise(ahead: &StepAhead, progress: &StepProgress) -> bool {
    matches!(progress.outcome, Some(StepOutcome::Failed { .. }))
        && !matches!(ahead.finding, Ahead::Fails(_))
}

fn of_ahead(ahead: &StepAhead) -> PlannedStep {
    let changes_something = ahead.kind == ActionKind::Change && ahead.action != "call";
    let mut step = PlannedStep {
        path: ahead.path.clone(),
        name: ahead.name.clone(),
        action: ahead.action.clone(),
        basis: Basis::Read,
        effect: Effect::Unknown,
        changes: Vec::new(),
        can_be_undone: changes_something
            .then(|| ahead.reversibility != Reversibility::Irreversible),
        restored_at_end: ahead.restore_at_end,
        known_after: Vec::new(),
        message: None,
        waits_for: Vec::new(),
        takes: None,
        arguments: ahead.arguments.clone(),
        may_fail: false,
        may_change: false,
        reads: reads_of(actions::find(&ahead.action)),
    };
    match &ahead.finding {
        Ahead::Reads { message, .. } => {
            step.effect = Effect::Reads;
            step.message.clone_from(message);
        }
        Ahead::Changes(changes) if changes.is_empty() => step.effect = Effect::Nothing,
        Ahead::Changes(changes) => {
            step.effect = Effect::Changes;
            step.changes.clone_from(changes);
        }
        Ahead::Holds { message } => {
            step.effect = Effect::Waits;
            step.message.clone_from(message);
        }
        Ahead::Waits => (step.effect, step.basis) = (Effect::Waits, Basis::Unknown),
        Ahead::Parts => step.effect = Effect::Parts,
        Ahead::Skipped(reason) => step.effect = Effect::Skipped { reason: reason.clone() },
        Ahead::Fails(failure) => step.effect = Effect::Fails { failure: failure.clone() },
        Ahead::KnownAfter(steps) => {
            step.basis = Basis::Unknown;
            step.known_after.clone_from(steps);
        }
        Ahead::NotInTime(wait) => {
            (step.basis, step.waits_for) = (Basis::Unknown, wait.iter().cloned().collect());
        }
    }
    step
}

/// Returns a step as the rehearsal has run it.
fn predicted(
    checked: &CheckedRunbook,
    progress: &StepProgress,
    ahead: Option<&StepAhead>,
    invented: &Invented,
) -> PlannedStep {
    let declared = checked.step(&progress.path);
    let action = declared.and_then(|step| actions::find(&step.action));
    let kind = action.map(ActionDef::kind);
    let has_parts = declared.is_some_and(|step| {
        step.call.is_some() || (step.is_loop() && progress.path.step_of_item().is_none())
    });
    let changes: Vec<_> = progress.intent.iter().flat_map(|intent| &intent.changes).collect();
    let changes: Vec<_> =
        changes.into_iter().map(|change| invented.replace_in_change(change)).collect();
    let effect = match &progress.outcome {
        Some(StepOutcome::Skipped { reason }) => {
            Effect::Skipped { reason: invented.replace_in(reason) }
        }
        Some(StepOutcome::Failed { failure, .. }) => {
            let mut failure = failure.clone();
            failure.message = invented.replace_in(&failure.message);
            Effect::Fails { failure }
        }
        Some(StepOutcome::Completed { .. }) | None => match kind {
            _ if has_parts => Effect::Parts,
            Some(ActionKind::Read) => Effect::Reads,
            Some(ActionKind::Wait) => Effect::Waits,
            Some(ActionKind::Change) if changes.is_empty() => Effect::Nothing,
            Some(ActionKind::Change) => Effect::Changes,
            None => Effect::Unknown,
        },
    };
    let known_after = match ahead.map(|ahead| &ahead.finding) {
        Some(Ahead::KnownAfter(steps)) => steps.clone(),
        _ => Vec::new(),
    };
    PlannedStep {
        path: progress.path.clone(),
        name: invented.replace_in(&progress.name),
        action: declared.map(|step| step.action.clone()).unwrap_or_default(),
        basis: Basis::Predicted,
        effect,
        changes,
        can_be_undone: (kind == Some(ActionKind::Change) && !has_parts).then(|| {
            action.is_some_and(|action| action.reversibility() != Reversibility::Irreversible)
        }),
        restored_at_end: declared.is_some_and(|step| step.restore_at_end),
        known_after,
        message: None,
        waits_for: Vec::new(),
        takes: None,
        arguments: ahead.and_then(|ahead| ahead.arguments.clone()),
        may_fail: false,
        may_change: false,
        reads: reads_of(action),
    }
}

/// Returns what an action reads.
fn reads_of(action: Option<&ActionDef>) -> Vec<String> {
    let declared = action.into_iter().flat_map(|action| action.permissions);
    let is_read = |permission: &&Permission| match permission.access {
        Access::Aws { action, .. } => permissions::is_read(action),
        Access::Kubernetes { verbs, .. } | Access::Object { verbs } => {
            verbs.iter().all(|verb| permissions::is_read_verb(verb))
        }
    };
    let reads = declared.filter(|found| !found.is_for_undo).filter(is_read);
    reads.map(ToString::to_string).collect()
}

fn duration_of(progress: &StepProgress) -> Option<Duration> {
    Duration::try_from(progress.ended_at? - progress.started_at?).ok()
}

/// Returns what each step has logged when it was done.
fn messages_of(rehearsed: &Rehearsed, invented: &Invented) -> BTreeMap<StepPath, String> {
    let message = |event: &Event| match event {
        Event::Step { path, event: StepEvent::StepCompleted { message: Some(message), .. } } => {
            Some((path.clone(), invented.replace_in(message)))
        }
        _ => None,
    };
    rehearsed.events.iter().filter_map(|recorded| message(&recorded.event)).collect()
}

/// Returns what each step has waited for.
fn waits_of(rehearsed: &Rehearsed, invented: &Invented) -> BTreeMap<StepPath, Vec<String>> {
    let mut waits: BTreeMap<StepPath, Vec<String>> = BTreeMap::new();
    for recorded in &rehearsed.events {
        let Event::Step { path, event: StepEvent::StepWaiting { message, waited_ms: None } } =
            &recorded.event
        else {
            continue;
        };
        let message = invented.replace_in(message);
        let of_step = waits.entry(path.clone()).or_default();
        if !of_step.contains(&message) {
            of_step.push(message);
        }
    }
    waits
}

/// Returns where the pods run at the end that did not exist before.
fn placements(rehearsed: &Rehearsed, invented: &Invented) -> Vec<Placement> {
    let mut counts: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for created in rehearsed.created.iter().filter(|created| created.kind == "Pod") {
        let path = format!("{}/{}", created.namespace, created.name);
        let pod = rehearsed.after.pods.get(&path).filter(|pod| pod.uid == created.uid);
        let is_new = !rehearsed.before.pods.contains_key(&path);
        if let Some(node) = pod.filter(|_| is_new).and_then(|pod| pod.node.as_deref()) {
            let workload = created.workload.clone().unwrap_or_else(|| created.name.clone());
            let node = invented.label(node).unwrap_or(node).to_owned();
            *counts.entry((created.namespace.clone(), workload, node)).or_default() += 1;
        }
    }
    let each = counts.into_iter().map(|((namespace, workload, node), pods)| Placement {
        namespace,
        workload,
        node,
        pods,
    });
    each.collect()
}

/// Returns the pods that no node takes at the end and that did not wait before.
fn unplaced(rehearsed: &Rehearsed, invented: &Invented) -> Vec<Unplaced> {
    let waited_before =
        |path: &String| rehearsed.before.pods.get(path).is_some_and(|pod| pod.node.is_none());
    let pending = rehearsed.after.pods.iter().filter(|(path, pod)| {
        pod.node.is_none() && !pod.terminating && pod.phase == "Pending" && !waited_before(path)
    });
    let each = pending.filter_map(|(path, pod)| {
        let (namespace, name) = path.split_once('/').unwrap_or(("", path));
        // Without a reason, the scheduler has not come to it.
        let reason = pod.unschedulable.clone()?;
        let pod = invented.label(name).unwrap_or(name).to_owned();
        Some(Unplaced { namespace: namespace.to_owned(), pod, reason })
    });
    each.collect()
}
