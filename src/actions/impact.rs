//! What a change takes away and adds, in the terms of the limits of a runbook. Each action declares the impact of its
//! intent beside its planned changes.

use runbook::{LimitKind, Workload};

/// The impact of a change. A change that only reads more, or changes other things, has the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impact {
    /// The sizes of nodegroups and Auto Scaling groups that it sets.
    pub sizes: Vec<SizeChange>,
    /// Names of the nodes that it cordons and that were not cordoned.
    pub cordons: Vec<String>,
    /// UIDs of the pods that it removes one by one.
    pub pods: Vec<String>,
    /// Names of the nodes that it takes away one by one, with the pods that are there.
    pub nodes: Vec<String>,
    /// Names of the nodes whose pods it removes at once.
    pub emptied_nodes: Vec<String>,
    /// The workloads of which it lowers the number of pods.
    pub shrunk: Vec<ShrunkWorkload>,
    /// The workloads whose pods their controller replaces, as many at a time as their rollout strategy allows.
    pub rolled: Vec<Workload>,
    /// Whether the platform takes pods or nodes away that the change does not choose.
    pub takes_others: bool,
}

/// A size of a group before and after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeChange {
    /// The Auto Scaling group.
    pub group: String,
    /// The name for messages: `nodegroup relay`.
    pub name: String,
    /// How many nodes the group was to have.
    pub before: u32,
    /// How many nodes it is to have.
    pub after: u32,
}

/// A workload that is to have fewer pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShrunkWorkload {
    /// The workload.
    pub workload: Workload,
    /// How many pods it is to have.
    pub after: u32,
}

impl Impact {
    /// The limits that a change can reach which removes pods and nothing else.
    pub(super) const REMOVES_PODS: &'static [LimitKind] = &[LimitKind::KeepReady];
    /// The limits that a change can reach which cordons nodes.
    pub(super) const CORDONS: &'static [LimitKind] =
        &[LimitKind::CordonAtMost, LimitKind::KeepReady];
    /// The limits that a change can reach which sizes a group.
    pub(super) const SIZES: &'static [LimitKind] = &[LimitKind::NodesAtMost, LimitKind::KeepReady];

    /// Returns the impact of another number of pods of a workload.
    pub(super) fn of_size(workload: Workload, before: u32, after: u32) -> Self {
        let shrunk = (after < before).then_some(ShrunkWorkload { workload, after });
        Self { shrunk: shrunk.into_iter().collect(), ..Self::default() }
    }

    /// Whether the change takes pods or nodes away, or keeps pods off nodes.
    pub fn takes_away(&self) -> bool {
        let names = [&self.cordons, &self.pods, &self.nodes, &self.emptied_nodes];
        self.takes_others
            || names.into_iter().any(|names| !names.is_empty())
            || !self.shrunk.is_empty()
            || !self.rolled.is_empty()
    }
}
