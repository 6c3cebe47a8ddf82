//! The facts that an action reads and those that it changes, as far as its permissions say: a step is evaluated before
//! a run only if no step before it would change what it reads. What is not certain counts as changed.

use crate::{
    actions::{Access, ActionDef},
    permissions::{is_read, is_read_verb},
};

/// Kinds of facts about a cluster and its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts(u8);

const AWS: Facts = Facts(1);
const NODES: Facts = Facts(2);
const PODS: Facts = Facts(4);
const WORKLOADS: Facts = Facts(8);
const OTHER_OBJECTS: Facts = Facts(16);

impl Facts {
    /// Everything.
    pub(super) const ALL: Self = Self(31);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have a kind in common.
    pub(super) const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Returns the facts that an action reads.
pub(super) fn facts_read_by(action: &ActionDef) -> Facts {
    let of = |access: &Access| match access {
        Access::Aws { action, .. } if is_read(action) => AWS,
        Access::Aws { .. } => Facts::default(),
        Access::Kubernetes { resource, verbs, .. }
            if verbs.iter().any(|verb| is_read_verb(verb)) =>
        {
            kind_of(resource)
        }
        Access::Kubernetes { .. } => Facts::default(),
        Access::Object { .. } => Facts::ALL,
    };
    gather(action, of)
}

/// Returns the facts that an action changes, those that follow from its change included.
pub(super) fn facts_changed_by(action: &ActionDef) -> Facts {
    let of = |access: &Access| match access {
        // Instances come and go with their nodes and pods.
        Access::Aws { action, .. } if !is_read(action) => AWS.and(NODES).and(PODS),
        Access::Aws { .. } => Facts::default(),
        Access::Kubernetes { resource, verbs, .. }
            if !verbs.iter().all(|verb| is_read_verb(verb)) =>
        {
            match kind_of(resource) {
                // What a job does is known to its program alone.
                _ if *resource == "jobs" => Facts::ALL,
                NODES => NODES.and(PODS),
                WORKLOADS => WORKLOADS.and(PODS),
                kind => kind,
            }
        }
        Access::Kubernetes { .. } => Facts::default(),
        Access::Object { verbs } if verbs.iter().all(|verb| is_read_verb(verb)) => Facts::default(),
        Access::Object { .. } => Facts::ALL,
    };
    gather(action, of)
}

fn gather(action: &ActionDef, of: impl Fn(&Access) -> Facts) -> Facts {
    let each = action.permissions.iter().map(|permission| of(&permission.access));
    each.fold(Facts::default(), Facts::and)
}

fn kind_of(resource: &str) -> Facts {
    match resource.split('/').next().unwrap_or_default() {
        "nodes" => NODES,
        "pods" => PODS,
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" | "jobs" => WORKLOADS,
        // No action reads events.
        "events" => Facts::default(),
        _ => OTHER_OBJECTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions;

    fn action(name: &str) -> &'static ActionDef {
        actions::find(name).unwrap()
    }

    #[test]
    fn a_job_can_change_whatever_another_step_reads() {
        let changed = facts_changed_by(action("run_job"));
        for name in ["find_nodegroup", "list_nodes", "list_pods", "read_config", "get_object"] {
            assert!(changed.overlaps(facts_read_by(action(name))), "{name}");
        }
    }

    #[test]
    fn what_a_change_does_not_touch_is_still_known() {
        let changed = facts_changed_by(action("rollout_restart"));
        assert!(changed.overlaps(facts_read_by(action("list_pods"))));
        assert!(!changed.overlaps(facts_read_by(action("find_nodegroup"))));
    }
}
