//! The actions that the state of a run allows a person, each with what it will do. Pure.

use super::{
    watched_run::WatchedRun,
    words::{shown, value},
};
use crate::journal::{RunState, StepProgress};

/// How many steps and changes a confirmation lists.
const MAX_LISTED: usize = 200;

/// An action that the state of a run allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NextAction {
    /// The last part of the path that the form is posted to.
    pub(super) route: &'static str,
    /// The text of the button.
    pub(super) label: &'static str,
    /// Whether it is the natural next one.
    pub(super) is_primary: bool,
    /// Whether it gives something up.
    pub(super) is_dangerous: bool,
    /// Its effects, in sentences.
    pub(super) effects: Vec<String>,
    /// The parts of its effect, in their order.
    pub(super) list: Vec<String>,
    /// Before the list.
    pub(super) list_title: &'static str,
}

/// Returns the actions that a run allows. `is_recovering` says whether the service is about to continue it.
pub(super) fn next_actions(
    run: &WatchedRun,
    state: RunState,
    is_recovering: bool,
) -> Vec<NextAction> {
    let head = &run.run.head;
    if state.is_active() {
        let can_cancel = !head.is_cancel_requested() && head.restoring().is_none();
        return can_cancel.then(|| cancel(run, state)).into_iter().collect();
    }
    if !state.is_unfinished() {
        return Vec::new();
    }
    let mut actions = Vec::new();
    if !is_recovering {
        actions.push(resume(run));
    }
    if !head.is_rolling_back() {
        actions.push(rollback(run));
    }
    actions.push(abandon(run));
    actions
}

fn cancel(run: &WatchedRun, state: RunState) -> NextAction {
    let mut effects = Vec::new();
    if let Some(step) = run.current() {
        let name = shown(&step.name);
        effects.push(match (&step.intent, &step.receipt) {
            _ if state == RunState::RollingBack => {
                "An undo in flight is finished and recorded. Nothing else is undone.".to_owned()
            }
            (Some(_), None) => format!(
                "The change of “{name}” may be in flight: it is finished, and its result is recorded."
            ),
            (Some(_), Some(_)) => {
                format!("The change of “{name}” is sent. The run stops waiting for its effect.")
            }
            (None, _) => format!("“{name}” stops at once. It has changed nothing."),
        });
    }
    effects.push("No further step begins, and nothing is undone.".to_owned());
    effects.push(match run.run.head.has_changed {
        true => "The run stays unfinished and keeps the lock of its target, until it is resumed, rolled back or \
                 abandoned.".to_owned(),
        false => "The run has changed nothing so far, so it keeps no lock. It can be resumed later.".to_owned(),
    });
    NextAction {
        route: "cancel",
        label: "Cancel the run",
        is_primary: false,
        is_dangerous: true,
        effects,
        list: Vec::new(),
        list_title: "",
    }
}

fn resume(run: &WatchedRun) -> NextAction {
    let head = &run.run.head;
    if head.is_rolling_back() {
        return NextAction {
            route: "resume",
            label: "Continue the rollback",
            is_primary: true,
            is_dangerous: false,
            effects: vec![
                "The run undoes what is left of its changes, and does nothing else.".to_owned(),
            ],
            list: undone(run),
            list_title: "To be undone, in this order:",
        };
    }
    if head.restoring().is_some() {
        return NextAction {
            route: "resume",
            label: "Resume",
            is_primary: true,
            is_dangerous: false,
            effects: vec![
                "The steps are over. The run restores what is not to outlast it, and ends."
                    .to_owned(),
            ],
            list: Vec::new(),
            list_title: "",
        };
    }
    let mut effects = Vec::new();
    let open = run.top_level().into_iter().filter(|path| {
        !run.run.step(path).is_some_and(StepProgress::has_ended)
            && run.run.skipped_by(path).is_none()
    });
    let mut list: Vec<String> = open
        .map(|path| match run.run.step(&path) {
            Some(step) => format!("{} (again)", shown(&step.name)),
            None => {
                let step = run.outline.step(&path.to_string());
                let changes = step.is_some_and(|step| step.changes);
                let name = step.map_or_else(|| path.to_string(), |step| shown(&step.name));
                if changes { format!("{name} (changes something)") } else { name }
            }
        })
        .collect();
    match run.current() {
        Some(step) if step.intent.is_some() => effects.push(format!(
            "The run continues with “{}”, to the targets that were decided before: no change is made twice.",
            shown(&step.name)
        )),
        Some(step) => effects.push(format!("The run continues with “{}”.", shown(&step.name))),
        None => effects.push("The run continues where it stopped.".to_owned()),
    }
    effects.push(
        "It uses the text of the runbook and the inputs that it was started with.".to_owned(),
    );
    shorten(&mut list);
    NextAction {
        route: "resume",
        label: "Resume",
        is_primary: true,
        is_dangerous: false,
        effects,
        list,
        list_title: "Left to do:",
    }
}

fn rollback(run: &WatchedRun) -> NextAction {
    let list = undone(run);
    let effects = match list.is_empty() {
        true => vec!["No step has decided on a change: there is nothing to undo, and the run ends.".to_owned()],
        false => vec![
            "The run undoes its changes, the last first, and ends. What another client has changed since is left as it \
             is, and reported.".to_owned(),
        ],
    };
    NextAction {
        route: "rollback",
        label: "Roll back",
        is_primary: false,
        is_dangerous: false,
        effects,
        list,
        list_title: "To be undone, in this order:",
    }
}

fn abandon(run: &WatchedRun) -> NextAction {
    let differences = run.run.differences();
    let mut list: Vec<String> = differences
        .iter()
        .map(|one| shown(&format!("{}: {} → {}", one.target, value(&one.before), value(&one.now))))
        .collect();
    let mut effects = vec![
        "The run is declared to be over. Nothing is changed and nothing is undone.".to_owned(),
    ];
    if run.run.head.has_changed {
        effects.push("The lock of the target is released, and other runs may start.".to_owned());
    }
    if !list.is_empty() {
        effects.push("The run cannot be resumed or rolled back afterwards.".to_owned());
    }
    shorten(&mut list);
    NextAction {
        route: "abandon",
        label: "Abandon",
        is_primary: false,
        is_dangerous: true,
        effects,
        list,
        list_title: "What stays different from before the run:",
    }
}

/// Returns the changes that a rollback undoes, in its order.
fn undone(run: &WatchedRun) -> Vec<String> {
    let mut list = Vec::new();
    for step in run.run.rollback_order() {
        let name = shown(&step.name);
        let changes = step.intent.as_ref().map_or(&[][..], |intent| &intent.changes);
        if changes.is_empty() {
            list.push(name.clone());
        }
        list.extend(changes.iter().map(|change| {
            let (now, before) = (value(&change.after), value(&change.before));
            format!("{name}: {} {now} → {before}", shown(&change.target))
        }));
    }
    shorten(&mut list);
    list
}

fn shorten(list: &mut Vec<String>) {
    let more = list.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        list.truncate(MAX_LISTED);
        list.push(format!("and {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::watched_run::tests::{completed, failed, prepared, started, watched},
        *,
    };
    use crate::journal::{Event, RunEvent, RunOutcome};

    fn ended(outcome: RunOutcome) -> Event {
        Event::Run(RunEvent::RunEnded { outcome, failure: None, differences: None })
    }

    fn routes(rest: Vec<Event>, is_live: bool, is_recovering: bool) -> Vec<&'static str> {
        let run = watched(rest);
        let state = run.run.state(is_live);
        next_actions(&run, state, is_recovering).iter().map(|action| action.route).collect()
    }

    #[test]
    fn the_state_decides_what_can_be_done() {
        let cancelled = || Event::Run(RunEvent::RunCancelRequested { actor: "me".into() });
        assert_eq!(routes(vec![started("a")], true, false), ["cancel"]);
        assert_eq!(routes(vec![started("a"), cancelled()], true, false), [""; 0]);
        assert_eq!(routes(vec![started("a")], false, false), ["resume", "rollback", "abandon"]);
        assert_eq!(routes(vec![started("a")], false, true), ["rollback", "abandon"]);
        let failed = vec![started("a"), failed("a"), ended(RunOutcome::Failed)];
        assert_eq!(routes(failed, false, false), ["resume", "rollback", "abandon"]);
        let succeeded = vec![started("a"), completed("a", json!(1)), ended(RunOutcome::Succeeded)];
        assert_eq!(routes(succeeded, false, false), [""; 0]);
        let not_undone = vec![
            started("a"),
            prepared("a", json!(1), json!(2)),
            ended(RunOutcome::RollbackFailed),
        ];
        let mut resumed = not_undone.clone();
        resumed.insert(
            2,
            Event::Run(RunEvent::RunResumed {
                actor: "me".into(),
                version: "1".into(),
                format: crate::journal::Format::CURRENT,
                mode: crate::journal::ResumeMode::Rollback,
                amendment: None,
            }),
        );
        assert_eq!(routes(resumed, false, false), ["resume", "abandon"]);
    }

    #[test]
    fn a_rollback_lists_what_it_undoes_the_last_first() {
        let run = watched(vec![
            started("a"),
            prepared("a", json!(2), json!(4)),
            completed("a", json!(1)),
            started("b"),
            prepared("b", json!(false), json!(true)),
            ended(RunOutcome::Cancelled),
        ]);
        let actions = next_actions(&run, run.run.state(false), false);
        let rollback = actions.iter().find(|action| action.route == "rollback").unwrap();
        assert_eq!(
            rollback.list,
            [
                "Step b: nodegroup relay desired true → false",
                "Step a: nodegroup relay desired 4 → 2",
            ]
        );
        let abandon = actions.iter().find(|action| action.route == "abandon").unwrap();
        assert_eq!(abandon.list.len(), 2);
    }

    #[test]
    fn a_cancel_says_what_becomes_of_the_step_in_flight() {
        let effect = |rest: Vec<Event>| {
            let run = watched(rest);
            next_actions(&run, RunState::Running, false)[0].effects[0].clone()
        };
        assert!(effect(vec![started("a")]).contains("has changed nothing"));
        let prepared = vec![started("a"), prepared("a", json!(2), json!(4))];
        assert!(effect(prepared).contains("may be in flight"));
    }
}
