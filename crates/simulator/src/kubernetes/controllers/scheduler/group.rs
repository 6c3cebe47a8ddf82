//! Pending pods that are alike, and how well each node suits them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::kubernetes::object::{self, as_count, controller, text};
use crate::kubernetes::quantity::ResourceAmounts;

use super::affinity::{PlacementConstraints, Reach};
use super::{NodeInfo, Nodes, QueuePlace, filter};

/// Pods that no node can tell apart.
#[derive(Debug)]
pub(super) struct PodGroup {
    /// The pods that wait for a node, in the order of the queue.
    pub(super) pending: BTreeMap<QueuePlace, Arc<Value>>,
    /// The pending pods that have not been reported.
    pub(super) fresh: BTreeSet<QueuePlace>,
    /// The message with which the other pending pods have been reported.
    reported: String,
    /// One of the pods.
    sample: Arc<Value>,
    owner: Option<String>,
    requested: ResourceAmounts,
    constraints: PlacementConstraints,
    /// For each volume that only some nodes can mount, the node selector terms of which one must match.
    volumes: Vec<Value>,
    /// The result for each node.
    verdicts: HashMap<Arc<str>, Verdict>,
    /// The nodes that suit, the best first: the one with the highest score, the first by name of
    /// several.
    suitable: BTreeSet<(Reverse<i64>, Arc<str>)>,
    /// How many nodes were rejected for each reason.
    reasons: BTreeMap<&'static str, usize>,
    has_looked: bool,
    /// The number of nodes and pods that were looked at.
    examined: u64,
}

/// The score of a node, or the reason why it was rejected.
type Verdict = Result<i64, &'static str>;

/// Returns a text that is equal for pods of one group.
pub(super) fn identity(pod: &Value, volumes: &[Value]) -> String {
    let owner = controller(pod).map_or("", |owner| text(owner, "/uid"));
    let labels = &pod["metadata"]["labels"];
    let volumes: String = volumes.iter().map(|terms| format!("\n{terms}")).collect();
    format!("{}\n{owner}\n{labels}\n{}{volumes}", object::namespace(pod), pod["spec"])
}

impl PodGroup {
    /// Returns a group for pods like this one, which has not looked at the nodes.
    pub(super) fn new(pod: &Arc<Value>, volumes: Vec<Value>) -> Self {
        Self {
            pending: BTreeMap::new(),
            fresh: BTreeSet::new(),
            reported: String::new(),
            sample: Arc::clone(pod),
            owner: controller(pod).map(|owner| text(owner, "/uid").to_owned()),
            requested: ResourceAmounts::requested_by(pod),
            constraints: PlacementConstraints::of(pod),
            volumes,
            verdicts: HashMap::new(),
            suitable: BTreeSet::new(),
            reasons: BTreeMap::new(),
            has_looked: false,
            examined: 0,
        }
    }

    /// Examines all nodes if the group has not done so. From then on it is to be told about changes.
    pub(super) fn look_at_nodes(&mut self, nodes: &mut Nodes) {
        if std::mem::replace(&mut self.has_looked, true) {
            return;
        }
        for key in self.constraints.topology_keys() {
            nodes.track_domain(&key);
        }
        for info in nodes.all() {
            let (examined, _) = self.constraints.add_node(&self.sample, info);
            self.examined += examined;
        }
        self.judge_all(nodes);
    }

    pub(super) fn has_looked(&self) -> bool {
        self.has_looked
    }

    /// Returns the number of nodes and pods that were looked at since the last call.
    pub(super) fn take_examined(&mut self) -> u64 {
        std::mem::take(&mut self.examined)
    }

    /// Returns the name of the node that suits best.
    pub(super) fn best_node(&self) -> Option<Arc<str>> {
        self.suitable.first().map(|(_, name)| Arc::clone(name))
    }

    pub(super) fn requested(&self) -> ResourceAmounts {
        self.requested
    }

    /// Returns whether nothing but a lack of capacity keeps the pods away from a node.
    pub(super) fn lacks_only_capacity(&self, info: &NodeInfo) -> bool {
        filter::can_mount(&info.node, &self.volumes)
            && self.constraints.rejection_reason(&info.node).is_none()
    }

    /// Returns the nodes that were rejected because they have not enough left.
    pub(super) fn preemptible_nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.verdicts.iter().filter_map(|(name, verdict)| {
            let reason = verdict.err()?;
            filter::is_capacity_reason(reason).then_some(name)
        })
    }

    /// Returns the nodes that were rejected, with the reasons.
    pub(super) fn rejections(&self) -> impl Iterator<Item = (&Arc<str>, &'static str)> {
        self.verdicts.iter().filter_map(|(name, verdict)| Some((name, verdict.err()?)))
    }

    pub(super) fn reasons(&self) -> &BTreeMap<&'static str, usize> {
        &self.reasons
    }

    /// Reports the pending pods for which this is not known yet.
    pub(super) fn report(&mut self, why: &str, mut report: impl FnMut(&Value)) {
        if self.reported == why {
            for place in &self.fresh {
                if let Some(pod) = self.pending.get(place) {
                    report(pod);
                }
            }
        } else {
            self.pending.values().for_each(|pod| report(pod));
            why.clone_into(&mut self.reported);
        }
        self.fresh.clear();
    }

    pub(super) fn add_node(&mut self, nodes: &Nodes, name: &str) {
        let Some(info) = nodes.get(name) else {
            return;
        };
        let (examined, reach) = self.constraints.add_node(&self.sample, info);
        self.examined += examined;
        self.judge_reached(nodes, name, &reach);
    }

    pub(super) fn remove_node(&mut self, nodes: &Nodes, removed: &NodeInfo) {
        self.forget(&removed.name);
        let (examined, reach) = self.constraints.remove_node(&self.sample, removed);
        self.examined += examined;
        self.judge_reached(nodes, &removed.name, &reach);
    }

    pub(super) fn add_pod(&mut self, nodes: &Nodes, node: &str, pod: &Arc<Value>) {
        let Some(info) = nodes.get(node) else {
            return;
        };
        let reach = self.constraints.add_pod(&self.sample, info, pod);
        self.judge_reached(nodes, node, &reach);
    }

    pub(super) fn remove_pod(&mut self, nodes: &Nodes, node: &str, pod: &Arc<Value>) {
        let Some(info) = nodes.get(node) else {
            return;
        };
        let reach = self.constraints.remove_pod(&self.sample, info, pod);
        self.judge_reached(nodes, node, &reach);
    }

    /// Examines a node again, and those that a change of it reaches.
    fn judge_reached(&mut self, nodes: &Nodes, name: &str, reach: &Reach) {
        match reach {
            Reach::Everything => self.judge_all(nodes),
            Reach::Domains(domains) => {
                if let Some(info) = nodes.get(name) {
                    self.judge(info);
                }
                for (key, value) in domains {
                    for info in nodes.in_domain(key, value).filter(|info| *info.name != *name) {
                        self.judge(info);
                    }
                }
            }
        }
    }

    fn judge_all(&mut self, nodes: &Nodes) {
        for info in nodes.all() {
            self.judge(info);
        }
    }

    fn judge(&mut self, info: &NodeInfo) {
        self.examined += 1;
        let pod = &self.sample;
        let rejection =
            filter::rejection_reason(info, pod, self.requested, &self.constraints, &self.volumes);
        let verdict = rejection.map_or_else(|| Ok(self.score(info)), Err);
        if self.verdicts.get(&info.name) == Some(&verdict) {
            return;
        }
        self.forget(&info.name);
        match verdict {
            Ok(score) => {
                self.suitable.insert((Reverse(score), Arc::clone(&info.name)));
            }
            Err(reason) => *self.reasons.entry(reason).or_default() += 1,
        }
        self.verdicts.insert(Arc::clone(&info.name), verdict);
    }

    fn forget(&mut self, name: &Arc<str>) {
        match self.verdicts.remove(name) {
            Some(Ok(score)) => {
                self.suitable.remove(&(Reverse(score), Arc::clone(name)));
            }
            Some(Err(reason)) => {
                if let Some(count) = self.reasons.get_mut(reason) {
                    *count -= 1;
                    if *count == 0 {
                        self.reasons.remove(reason);
                    }
                }
            }
            None => {}
        }
    }

    /// Returns the score of a node: first the pods' preferences, then few pods of the same owner,
    /// then much free capacity.
    fn score(&self, info: &NodeInfo) -> i64 {
        let siblings = self.owner.as_deref().map_or(0, |owner| info.owned_by(owner));
        let free_share = info.free.share_of(info.allocatable);
        self.constraints.preference(&info.node, &self.sample) * 1000 - as_count(siblings) * 200
            + free_share
    }
}
