//! The limits of a runbook: what a run may not exceed, and what it must keep, whatever the parameters of its steps say.
//!
//! [`check`] compares the limits with a state that is planned, as data: it reads nothing, and a plan uses it as well as
//! a run. [`read()`] finds that state out before a change is made, and [`RemovalRules`] decide about each pod and
//! instance while a change is made. This module knows actions by their [`Impact`](crate::actions::Impact). It must not
//! depend on the engine or the journal.

mod guard;
mod read;

use std::collections::{BTreeMap, BTreeSet};

pub use guard::{KeptRemovals, RemovalRules};
pub use read::{RunSoFar, read};

use runbook::{Amount, KeptWorkload, Limits, Workload};
use text::{join_truncated, plural};

/// A cluster as a change would leave it, as far as limits are about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlannedState {
    /// How many nodes the groups are to have that the run sizes, with the change, by the group's name in messages.
    pub sizes: BTreeMap<String, u32>,
    /// Whether the change raises one of the sizes.
    pub raises_sizes: bool,
    /// How many nodes the cluster has.
    pub nodes: usize,
    /// The nodes that are cordoned, or are being cordoned by another part of the run.
    pub cordoned: BTreeSet<String>,
    /// Those of them that nothing uncordons while the change waits.
    pub stays_cordoned: BTreeSet<String>,
    /// The nodes that the change cordons.
    pub cordons: BTreeSet<String>,
    /// Whether the change takes pods or nodes away.
    pub takes_away: bool,
    /// The workloads of which pods are to be kept, by their names.
    pub workloads: BTreeMap<Workload, WorkloadState>,
}

/// A workload of which pods are to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkloadState {
    /// How many pods it is to have.
    pub replicas: usize,
    /// How many of its pods are Ready and do not end.
    pub ready: usize,
    /// How many of these the change takes away at once, at least; zero where it takes none of them.
    pub taken: usize,
    /// How many pods it is to have after the change, where the change lowers that.
    pub shrinks_to: Option<usize>,
}

/// A limit that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which limit, its value, and the state that violates it.
    pub message: String,
    /// The remedy.
    pub hint: String,
    /// Whether the limit can hold later without a person's help.
    pub can_wait: bool,
}

/// Returns the limits that a change would violate. It violates none that was violated before and that it does not
/// make worse.
pub fn check(limits: &Limits, state: &PlannedState) -> Vec<Violation> {
    let nodes = limits.nodes_at_most.and_then(|limit| check_nodes(limit, state));
    let cordons = limits.cordon_at_most.and_then(|limit| check_cordons(limit, state));
    let kept = limits.keep_ready.iter().filter_map(|kept| check_kept(kept, state));
    nodes.into_iter().chain(cordons).chain(kept).collect()
}

fn check_nodes(limit: u32, state: &PlannedState) -> Option<Violation> {
    let total: u64 = state.sizes.values().copied().map(u64::from).sum();
    if !state.raises_sizes || total <= u64::from(limit) {
        return None;
    }
    let named = state.sizes.iter().map(|(name, size)| format!("{name}: {size}"));
    let nodes = plural(usize::try_from(total).unwrap_or(usize::MAX), "node");
    Some(Violation {
        message: format!(
            "limit nodes_at_most is {limit}, and the run would ask for {nodes} ({})",
            join_truncated(named)
        ),
        hint: "ask for fewer nodes, or raise `nodes_at_most` of the runbook".into(),
        can_wait: false,
    })
}

fn check_cordons(limit: Amount, state: &PlannedState) -> Option<Violation> {
    let new: Vec<&String> = state.cordons.difference(&state.cordoned).collect();
    let allowed = limit.at_most_of(state.nodes);
    let total = state.cordoned.len() + new.len();
    if new.is_empty() || total <= allowed {
        return None;
    }
    let already = match state.cordoned.len() {
        0 => String::new(),
        _ => format!(", of which cordoned already: {}", join_truncated(&state.cordoned)),
    };
    let least = state.stays_cordoned.union(&state.cordons).count();
    Some(Violation {
        message: format!(
            "limit cordon_at_most is {limit}, which is {allowed} of {}, and {total} would be cordoned{already}",
            plural(state.nodes, "node"),
        ),
        hint: "cordon fewer nodes at a time, uncordon others, or raise `cordon_at_most` of the runbook"
            .into(),
        can_wait: least <= allowed,
    })
}

fn check_kept(kept: &KeptWorkload, state: &PlannedState) -> Option<Violation> {
    let KeptWorkload { workload, at_least } = kept;
    let hint =
        || format!("scale {workload} up, or lower `at_least` in `keep_ready` of the runbook");
    let is_missing = || Violation {
        message: format!("limit keep_ready: {workload} not found"),
        hint: "correct the name in `keep_ready` of the runbook".into(),
        can_wait: false,
    };
    if !state.takes_away {
        return None;
    }
    let Some(found) = state.workloads.get(workload) else { return Some(is_missing()) };
    let least = at_least.at_least_of(found.replicas);
    if let Some(after) = found.shrinks_to.filter(|after| *after < least) {
        let pods = plural(after, "pod");
        let message =
            format!("limit keep_ready: {workload} would have {pods}, and {least} must be Ready");
        return Some(Violation { message, hint: hint(), can_wait: false });
    }
    let required = least + found.taken;
    if found.ready >= required {
        return None;
    }
    Some(Violation {
        message: describe_kept(kept, *found),
        hint: hint(),
        can_wait: found.replicas >= required,
    })
}

/// Says what a limit keeps, and what there is.
fn describe_kept(
    KeptWorkload { workload, at_least }: &KeptWorkload,
    found: WorkloadState,
) -> String {
    let WorkloadState { replicas, ready, taken, .. } = found;
    let least = at_least.at_least_of(replicas);
    let share = match at_least {
        Amount::Count(_) => String::new(),
        Amount::Percent(_) => format!(" ({at_least})"),
    };
    let taken = match taken {
        0 => String::new(),
        1 => " after 1 is taken away".to_owned(),
        taken => format!(" after {taken} are taken away"),
    };
    format!(
        "limit keep_ready: {ready} of {replicas} pods of {workload} are Ready, and {least}{share} must be{taken}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook::WorkloadKind;

    fn relay() -> Workload {
        let (namespace, name) = ("core".to_owned(), "relay".to_owned());
        Workload { kind: WorkloadKind::Deployment, namespace, name }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn messages(limits: &Limits, state: &PlannedState) -> Vec<(String, bool)> {
        let violations = check(limits, state).into_iter();
        violations.map(|violation| (violation.message, violation.can_wait)).collect()
    }

    #[test]
    fn the_sizes_of_all_groups_of_the_run_count_together_where_one_is_raised() {
        let limits = Limits { nodes_at_most: Some(60), ..Limits::default() };
        let sizes = [("nodegroup a".to_owned(), 40), ("nodegroup b".to_owned(), 21)];
        let state =
            PlannedState { sizes: sizes.into(), raises_sizes: true, ..PlannedState::default() };
        let message = "limit nodes_at_most is 60, and the run would ask for 61 nodes (nodegroup a: 40, nodegroup b: 21)";
        assert_eq!(messages(&limits, &state), [(message.to_owned(), false)]);
        let lowers = PlannedState { raises_sizes: false, ..state };
        assert_eq!(messages(&limits, &lowers), []);
    }

    #[test]
    fn cordoned_nodes_of_the_whole_cluster_count() {
        let limits = Limits { cordon_at_most: Some(Amount::Percent(50)), ..Limits::default() };
        let state = PlannedState {
            nodes: 5,
            cordoned: names(&["a", "b"]),
            cordons: names(&["b", "c"]),
            ..PlannedState::default()
        };
        let message = "limit cordon_at_most is 50%, which is 2 of 5 nodes, and 3 would be cordoned, \
                       of which cordoned already: a, b";
        assert_eq!(messages(&limits, &state), [(message.to_owned(), true)]);
        let stays = PlannedState { stays_cordoned: names(&["a"]), ..state.clone() };
        assert_eq!(messages(&limits, &stays), [(message.to_owned(), false)]);
        let nothing_new = PlannedState { cordons: names(&["a"]), nodes: 2, ..state.clone() };
        assert_eq!(messages(&limits, &nothing_new), [], "it is violated, and not made worse");
        let fits = PlannedState { nodes: 6, ..state };
        assert_eq!(messages(&limits, &fits), []);
    }

    #[test]
    fn pods_are_kept_after_what_is_taken_away() {
        let at_least = Amount::Percent(50);
        let limits = Limits {
            keep_ready: vec![KeptWorkload { workload: relay(), at_least }],
            ..Limits::default()
        };
        let state = |found: WorkloadState| PlannedState {
            takes_away: true,
            workloads: [(relay(), found)].into(),
            ..PlannedState::default()
        };
        let found = WorkloadState { replicas: 3, ready: 2, taken: 1, shrinks_to: None };
        let message = "limit keep_ready: 2 of 3 pods of deployment core/relay are Ready, and 2 (50%) must be \
                       after 1 is taken away";
        assert_eq!(messages(&limits, &state(found)), [(message.to_owned(), true)]);
        let enough = WorkloadState { ready: 3, ..found };
        assert_eq!(messages(&limits, &state(enough)), []);
        let too_many = WorkloadState { ready: 3, taken: 2, ..found };
        let never = messages(&limits, &state(too_many));
        assert!(never[0].0.ends_with("after 2 are taken away") && !never[0].1, "{never:?}");
        let shrinks = WorkloadState { ready: 3, taken: 0, shrinks_to: Some(1), ..found };
        let message =
            "limit keep_ready: deployment core/relay would have 1 pod, and 2 must be Ready";
        assert_eq!(messages(&limits, &state(shrinks)), [(message.to_owned(), false)]);
        let unknown = PlannedState { takes_away: true, ..PlannedState::default() };
        let message = "limit keep_ready: deployment core/relay not found";
        assert_eq!(messages(&limits, &unknown), [(message.to_owned(), false)]);
        assert_eq!(messages(&limits, &PlannedState::default()), [], "it takes nothing away");
    }
}
