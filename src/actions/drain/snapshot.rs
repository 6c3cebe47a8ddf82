//! The pods of some nodes with their controllers at one moment: which of them must leave, which may be evicted now, and
//! which replacements are missing. Both drains decide by it: the action, round by round, and the undo of
//! `scale_nodegroup`, on watches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::apps::v1::{ReplicaSet, StatefulSet},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::platform::kubernetes::pod::Pod;
use crate::{
    actions::{
        Result,
        budgets::BlockedEviction,
        concurrency::try_join_bounded,
        pod_causes::CauseView,
        workload::{self, describe_unready, expired_problem, pod_name},
    },
    platform::{
        kubernetes::{KubernetesWriter, pod},
        wait::{GraceTimer, WaitState},
    },
};
use text::{join_truncated, plural};

/// Which pods leave their nodes, and how many of one workload at a time.
#[derive(Debug, Clone, Default)]
pub(in crate::actions) struct DrainRules {
    /// Whether pods that have finished are removed too.
    pub(in crate::actions) removes_finished: bool,
    /// The UIDs of the pods that were to leave at first. A later pod that tolerates a cordon is left: its controller
    /// would put the next one there too. Without this set, such pods are followed.
    pub(in crate::actions) planned: Option<BTreeSet<String>>,
    /// How many Ready pods of one controller may be missing; without it, a quarter of them, and at least one.
    pub(in crate::actions) max_unavailable: Option<u32>,
}

/// The pods of the cluster and their controllers, for some nodes.
pub(in crate::actions) struct DrainSnapshot {
    pub(in crate::actions) nodes: BTreeSet<String>,
    pub(in crate::actions) rules: DrainRules,
    pub(in crate::actions) pods: Vec<Arc<Pod>>,
    pub(in crate::actions) replica_sets: Vec<Arc<ReplicaSet>>,
    pub(in crate::actions) stateful_sets: Vec<Arc<StatefulSet>>,
    pub(in crate::actions) causes: CauseView,
}

impl DrainSnapshot {
    /// Returns the pods that are still to be evicted or to end.
    pub(in crate::actions) fn remaining(&self) -> Vec<Arc<Pod>> {
        let is_here = |pod: &Pod| pod::node(pod).is_some_and(|node| self.nodes.contains(node));
        let pods = self.pods.iter().filter(|pod| is_here(pod) && self.must_leave(pod));
        pods.cloned().collect()
    }

    fn must_leave(&self, pod: &Pod) -> bool {
        if pod::is_mirror(pod) {
            return false;
        }
        if pod::is_finished(pod) {
            return self.rules.removes_finished;
        }
        let is_planned = |planned: &BTreeSet<String>| {
            planned.contains(uid(&pod.metadata)) || !pod::tolerates_cordon(pod)
        };
        !pod::is_daemon(pod) && self.rules.planned.as_ref().is_none_or(is_planned)
    }

    /// Returns the remaining pods that are neither evicted nor terminating.
    pub(in crate::actions) fn to_evict(&self, evicted: &BTreeSet<String>) -> Vec<Arc<Pod>> {
        let mut pods = self.remaining();
        pods.retain(|pod| !pod::is_terminating(pod) && !evicted.contains(uid(&pod.metadata)));
        pods
    }

    /// Returns the pods that can be evicted now.
    pub(in crate::actions) fn evictable(
        &self,
        expected_ready: &BTreeMap<String, usize>,
        evicted: &BTreeSet<String>,
    ) -> Vec<Arc<Pod>> {
        let mut pods = self.to_evict(evicted);
        let mut allowed_disruptions: BTreeMap<String, usize> = BTreeMap::new();
        pods.retain(|pod| {
            // A pod that is not Ready serves no requests.
            let Some(owner) = controller_uid(pod).filter(|_| pod::is_ready(pod)) else {
                return true;
            };
            let allowed_disruptions =
                allowed_disruptions.entry(owner.to_owned()).or_insert_with(|| {
                    self.allowed_disruptions(
                        owner,
                        expected_ready.get(owner).copied().unwrap_or(0),
                        evicted,
                    )
                });
            let can_go = *allowed_disruptions > 0;
            *allowed_disruptions = allowed_disruptions.saturating_sub(1);
            can_go
        });
        pods
    }

    /// Returns how many Ready pods of a controller may be missing.
    fn allowed_disruptions(
        &self,
        owner_uid: &str,
        expected_ready: usize,
        evicted: &BTreeSet<String>,
    ) -> usize {
        let due = expected_ready.min(self.desired_replicas(owner_uid));
        let may_miss = match self.rules.max_unavailable {
            Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
            None => (due / 4).max(1),
        };
        let least = due.saturating_sub(may_miss);
        let ready = self.ready_pods_of(owner_uid);
        let not_evicted = ready.iter().filter(|pod| !evicted.contains(uid(&pod.metadata))).count();
        not_evicted.saturating_sub(least)
    }

    /// Returns whether the number of allowed disruptions may change soon: a pod is terminating, or a replacement is
    /// starting.
    pub(in crate::actions) fn is_progressing(
        &self,
        expected_ready: &BTreeMap<String, usize>,
    ) -> bool {
        let any_terminating = self.remaining().iter().any(|pod| pod::is_terminating(pod));
        let is_elsewhere =
            |pod: &Pod| !pod::node(pod).is_some_and(|node| self.nodes.contains(node));
        let is_starting = |owner: &String| {
            self.active_pods_of(owner).iter().any(|pod| is_elsewhere(pod) && !pod::is_ready(pod))
        };
        any_terminating || expected_ready.keys().any(is_starting)
    }

    /// Returns how many Ready pods each controller with a pod on the nodes had, without the previously pending ones.
    pub(in crate::actions) fn expected_ready(
        &self,
        previously_pending: &BTreeMap<String, usize>,
    ) -> BTreeMap<String, usize> {
        let mut remaining: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in self.remaining() {
            if let Some(owner) = controller_uid(&pod) {
                remaining.entry(owner.to_owned()).or_default().push(pod);
            }
        }
        let expected_ready = |(owner, pods): (String, Vec<Arc<Pod>>)| {
            let workload = pods.first().and_then(|pod| pod::workload(pod));
            let had_none =
                workload.and_then(|name| previously_pending.get(&name)).copied().unwrap_or(0);
            let expected_ready =
                self.ready_pods_of(&owner).len().saturating_sub(had_none.min(pods.len()));
            (owner, expected_ready)
        };
        remaining.into_iter().map(expected_ready).collect()
    }

    pub(in crate::actions) fn active_pods_of(&self, owner_uid: &str) -> Vec<Arc<Pod>> {
        let is_own =
            |pod: &&Arc<Pod>| controller_uid(pod) == Some(owner_uid) && pod::is_active(pod);
        self.pods.iter().filter(is_own).cloned().collect()
    }

    fn ready_pods_of(&self, owner_uid: &str) -> Vec<Arc<Pod>> {
        let mut pods = self.active_pods_of(owner_uid);
        pods.retain(|pod| pod::is_ready(pod));
        pods
    }

    /// Returns the desired number of pods of a controller; zero if the controller is gone.
    fn desired_replicas(&self, owner_uid: &str) -> usize {
        let of_set = self.replica_sets.iter().map(|set| (uid(&set.metadata), set.spec.replicas));
        let of_stateful =
            self.stateful_sets.iter().map(|set| (uid(&set.metadata), set.spec.replicas));
        let mut all = of_set.chain(of_stateful);
        let replicas = all.find(|(uid, _)| *uid == owner_uid).map(|(_, count)| count.unwrap_or(1));
        replicas.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    }

    /// Returns why a replica set does not get its pods.
    fn refused_pods_of(&self, owner_uid: &str) -> Option<String> {
        let set = self.replica_sets.iter().find(|set| uid(&set.metadata) == owner_uid)?;
        workload::refused_pods_of(set)
    }

    pub(in crate::actions) fn evaluate_replacements(
        &self,
        expected_ready: &BTreeMap<String, usize>,
        grace: &mut GraceTimer,
    ) -> WaitState<()> {
        let mut missing = 0;
        let mut waiting = Vec::new();
        let mut refused = None;
        for (owner, before) in expected_ready {
            let due = (*before)
                .min(self.desired_replicas(owner))
                .saturating_sub(self.ready_pods_of(owner).len());
            missing += due;
            if due > 0 {
                waiting.extend(self.active_pods_of(owner));
                refused = refused.or_else(|| self.refused_pods_of(owner));
            }
        }
        let remaining = self.remaining();
        self.causes.observe(waiting.iter().chain(&remaining));
        if missing == 0 {
            return WaitState::Ready(());
        }
        if let Some(why) = expired_problem(grace, &waiting, &self.causes, refused.clone()) {
            return WaitState::failed(format!("a replacement did not become Ready: {why}"));
        }
        let unready =
            describe_unready(&waiting, &self.causes, refused).map(|pods| format!(": {pods}"));
        let unready = unready.unwrap_or_default();
        WaitState::Pending(format!(
            "{} of evicted pods to be Ready{unready}",
            plural(missing, "replacement")
        ))
    }
}

/// Requests the eviction of these pods. Returns those that cannot be evicted yet, by UID.
pub(in crate::actions) async fn evict(
    pods: &[Arc<Pod>],
    grace_seconds: Option<u32>,
    evicted: &mut BTreeSet<String>,
    kubernetes: &KubernetesWriter,
) -> Result<BTreeMap<String, BlockedEviction>> {
    let calls: Vec<_> = pods
        .iter()
        .map(|pod| async move {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let (name, uid) = (pod_name(pod), uid(&pod.metadata));
            match kubernetes.evict_pod(namespace, name, uid, grace_seconds).await {
                Ok(_) => Ok((uid.to_owned(), None)),
                Err(error) => match BlockedEviction::of(namespace, name, uid, &error) {
                    Some(blocked) => Ok((uid.to_owned(), Some(blocked))),
                    None => Err(error.into()),
                },
            }
        })
        .collect();
    let mut blocked = BTreeMap::new();
    for (uid, refusal) in try_join_bounded(calls).await? {
        match refusal {
            Some(refusal) => drop(blocked.insert(uid, refusal)),
            None => drop(evicted.insert(uid)),
        }
    }
    Ok(blocked)
}

/// Says which pods are to leave these nodes, after the cause for which they do not.
pub(in crate::actions) fn describe(
    remaining: &[Arc<Pod>],
    nodes: &str,
    causes: &CauseView,
    refusal: Option<&str>,
) -> String {
    let names = remaining.iter().map(|pod| match causes.describe(pod) {
        Some(cause) if pod::is_terminating(pod) => format!("{} ({cause})", pod_name(pod)),
        _ => pod_name(pod).to_owned(),
    });
    let text =
        format!("{} to leave {nodes}: {}", plural(remaining.len(), "pod"), join_truncated(names));
    match refusal {
        Some(refusal) => format!("{refusal}; {text}"),
        None => text,
    }
}

pub(in crate::actions) fn controller_uid(pod: &Pod) -> Option<&str> {
    pod::controller(&pod.metadata).map(|owner| owner.uid.as_str())
}

pub(in crate::actions) fn uid(metadata: &ObjectMeta) -> &str {
    metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, more: Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "uid": "set", "controller": true},
            ]},
            "spec": {"nodeName": "here", "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        for (path, value) in more.as_object().unwrap() {
            *pod.pointer_mut(path).unwrap() = value.clone();
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn snapshot(pods: Vec<Arc<Pod>>, rules: DrainRules) -> DrainSnapshot {
        let set = json!({
            "metadata": {"name": "set", "uid": "set"},
            "spec": {"replicas": pods.len(), "selector": {}},
        });
        DrainSnapshot {
            nodes: BTreeSet::from(["here".to_owned()]),
            rules,
            pods,
            replica_sets: vec![Arc::new(serde_json::from_value(set).unwrap())],
            stateful_sets: Vec::new(),
            causes: CauseView::default(),
        }
    }

    fn ready_pods(count: usize) -> Vec<Arc<Pod>> {
        (0..count).map(|number| pod(&format!("p{number}"), json!({}))).collect()
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| pod_name(pod)).collect()
    }

    #[test]
    fn only_as_many_pods_as_may_be_missing_are_evictable() {
        let evictable = |pods: Vec<Arc<Pod>>, max_unavailable, ready: usize| {
            let rules = DrainRules { max_unavailable, ..DrainRules::default() };
            let ready = BTreeMap::from([("set".to_owned(), ready)]);
            snapshot(pods, rules).evictable(&ready, &BTreeSet::new()).len()
        };
        assert_eq!(evictable(ready_pods(8), None, 8), 2, "a quarter");
        assert_eq!(evictable(ready_pods(3), None, 3), 1, "at least one");
        assert_eq!(evictable(ready_pods(8), Some(1), 8), 1);
        assert_eq!(evictable(ready_pods(8), Some(9), 8), 8);
        let unready = json!({"/status/conditions/0/status": "False"});
        let mut pods = ready_pods(7);
        pods.push(pod(
            "starting",
            json!({"/spec/nodeName": "there", "/status/conditions/0/status": "False"}),
        ));
        assert_eq!(evictable(pods.clone(), Some(1), 8), 0, "a replacement is starting");
        assert_eq!(evictable(pods, Some(1), 7), 1, "it was not Ready before either");
        assert_eq!(evictable(vec![pod("p", unready)], Some(1), 0), 1, "it serves no requests");
    }

    #[test]
    fn pods_that_belong_to_the_node_and_later_ones_that_tolerate_a_cordon_stay() {
        let daemon = json!({"/metadata/ownerReferences/0/kind": "DaemonSet"});
        let finished = json!({"/status/phase": "Succeeded"});
        let elsewhere = json!({"/spec/nodeName": "there"});
        let mut tolerant = (*pod("tolerant", json!({}))).clone();
        let tolerations = json!([{"operator": "Exists"}]);
        tolerant.spec.as_mut().unwrap().tolerations = serde_json::from_value(tolerations).unwrap();
        let pods = || {
            vec![
                pod("plain", json!({})),
                pod("daemon", daemon.clone()),
                pod("finished", finished.clone()),
                pod("elsewhere", elsewhere.clone()),
                Arc::new(tolerant.clone()),
            ]
        };
        let remaining = |rules| snapshot(pods(), rules).remaining();
        assert_eq!(names(&remaining(DrainRules::default())), ["plain", "tolerant"]);
        let planned = |planned: &[&str]| DrainRules {
            removes_finished: true,
            planned: Some(planned.iter().map(|&uid| uid.to_owned()).collect()),
            max_unavailable: None,
        };
        assert_eq!(names(&remaining(planned(&["tolerant"]))), ["plain", "finished", "tolerant"]);
        assert_eq!(names(&remaining(planned(&[]))), ["plain", "finished"]);
    }
}
