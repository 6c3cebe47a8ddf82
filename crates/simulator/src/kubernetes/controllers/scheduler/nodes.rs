//! The nodes as the scheduler knows them, and the pods on them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::kubernetes::object::{self, controller, label, map, text};
use crate::kubernetes::quantity::ResourceAmounts;

use super::PodKey;
use super::affinity::{self, REQUIRED};

/// A node and the pods on it.
#[derive(Debug, Clone)]
pub(super) struct NodeInfo {
    pub(super) name: Arc<str>,
    pub(super) node: Arc<Value>,
    pub(super) allocatable: ResourceAmounts,
    pub(super) free: ResourceAmounts,
    pub(super) pods: BTreeMap<PodKey, Arc<Value>>,
    /// The pods whose anti-affinity keeps others away.
    pub(super) repelling: BTreeMap<PodKey, Arc<Value>>,
    /// How many pods each controller owns.
    owned: HashMap<String, usize>,
}

impl NodeInfo {
    fn new(node: &Arc<Value>) -> Self {
        let allocatable = ResourceAmounts::allocatable_of(node);
        Self {
            name: object::name(node).into(),
            node: Arc::clone(node),
            allocatable,
            free: allocatable,
            pods: BTreeMap::new(),
            repelling: BTreeMap::new(),
            owned: HashMap::new(),
        }
    }

    /// Returns how many pods the controller with this UID owns here.
    pub(super) fn owned_by(&self, uid: &str) -> usize {
        self.owned.get(uid).copied().unwrap_or(0)
    }

    fn add_pod(&mut self, key: PodKey, pod: &Arc<Value>) {
        self.free = self.free.minus(ResourceAmounts::requested_by(pod));
        if let Some(owner) = controller(pod) {
            *self.owned.entry(text(owner, "/uid").to_owned()).or_default() += 1;
        }
        if affinity::terms(pod, "podAntiAffinity", REQUIRED).next().is_some() {
            self.repelling.insert(key.clone(), Arc::clone(pod));
        }
        self.pods.insert(key, Arc::clone(pod));
    }

    fn remove_pod(&mut self, key: &PodKey) {
        let Some(pod) = self.pods.remove(key) else {
            return;
        };
        self.free = self.free.plus(ResourceAmounts::requested_by(&pod));
        if let Some(owner) = controller(&pod)
            && let Some(count) = self.owned.get_mut(text(owner, "/uid"))
        {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(text(owner, "/uid"));
            }
        }
        self.repelling.remove(key);
    }
}

/// Returns whether a node is the same in everything that matters to pods.
pub(super) fn is_same_for_pods(one: &Value, other: &Value) -> bool {
    ["/metadata/labels", "/spec/taints", "/spec/unschedulable", "/status/allocatable"]
        .iter()
        .all(|field| object::at(one, field) == object::at(other, field))
}

/// Returns whether a pod is the same in everything that matters to other pods.
fn is_same_for_others(one: &Value, other: &Value) -> bool {
    let owner = |pod| controller(pod).map(|owner| text(owner, "/uid"));
    map(one, "/metadata/labels") == map(other, "/metadata/labels")
        && owner(one) == owner(other)
        && ["/spec/affinity", "/spec/containers", "/spec/initContainers"]
            .iter()
            .all(|field| object::at(one, field) == object::at(other, field))
}

/// All nodes by name, and the pods that are bound to nodes, known or not.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_name: BTreeMap<String, NodeInfo>,
    node_of: HashMap<PodKey, String>,
    /// The pods on nodes that are not known.
    elsewhere: HashMap<String, BTreeMap<PodKey, Arc<Value>>>,
    /// The nodes by the labels that are topology keys of some pod.
    domains: HashMap<String, HashMap<String, BTreeSet<Arc<str>>>>,
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut NodeInfo> {
        self.by_name.get_mut(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &NodeInfo> {
        self.by_name.values()
    }

    /// Makes [`Self::in_domain`] know the label.
    pub(super) fn track_domain(&mut self, key: &str) {
        if self.domains.contains_key(key) {
            return;
        }
        let mut nodes: HashMap<String, BTreeSet<Arc<str>>> = HashMap::new();
        for info in self.by_name.values() {
            if let Some(value) = label(&info.node, key) {
                nodes.entry(value.to_owned()).or_default().insert(Arc::clone(&info.name));
            }
        }
        self.domains.insert(key.to_owned(), nodes);
    }

    /// Returns the nodes whose label `key` has this value.
    pub(super) fn in_domain(&self, key: &str, value: &str) -> impl Iterator<Item = &NodeInfo> {
        let nodes = self.domains.get(key).and_then(|domain| domain.get(value));
        nodes.into_iter().flatten().filter_map(|name| self.get(name))
    }

    /// Adds a node with the pods that are bound to it.
    pub(super) fn add(&mut self, node: &Arc<Value>) {
        let mut info = NodeInfo::new(node);
        for (key, pod) in self.elsewhere.remove(&*info.name).into_iter().flatten() {
            info.add_pod(key, &pod);
        }
        for (key, values) in &mut self.domains {
            if let Some(value) = label(node, key) {
                values.entry(value.to_owned()).or_default().insert(Arc::clone(&info.name));
            }
        }
        self.by_name.insert(info.name.to_string(), info);
    }

    /// Removes a node. The pods stay bound to it.
    pub(super) fn remove(&mut self, name: &str) -> Option<NodeInfo> {
        let info = self.by_name.remove(name)?;
        for (key, values) in &mut self.domains {
            if let Some(value) = label(&info.node, key)
                && let Some(nodes) = values.get_mut(value)
            {
                nodes.remove(name);
                if nodes.is_empty() {
                    values.remove(value);
                }
            }
        }
        if !info.pods.is_empty() {
            self.elsewhere.insert(name.to_owned(), info.pods.clone());
        }
        Some(info)
    }

    fn pods_mut(&mut self, node: &str) -> Option<&mut BTreeMap<PodKey, Arc<Value>>> {
        match self.by_name.get_mut(node) {
            Some(info) => Some(&mut info.pods),
            None => self.elsewhere.get_mut(node),
        }
    }

    /// Returns whether the pod is known on the node, with everything that matters to other pods.
    pub(super) fn is_known(&self, node: &str, pod: &Value) -> bool {
        let key = (object::namespace(pod).to_owned(), object::name(pod).to_owned());
        let known = match self.by_name.get(node) {
            Some(info) => info.pods.get(&key),
            None => self.elsewhere.get(node).and_then(|pods| pods.get(&key)),
        };
        known.is_some_and(|known| is_same_for_others(known, pod))
    }

    /// Replaces a pod by a version that is the same for other pods.
    pub(super) fn replace_pod(&mut self, node: &str, key: &PodKey, pod: &Arc<Value>) {
        if let Some(place) = self.pods_mut(node).and_then(|pods| pods.get_mut(key)) {
            *place = Arc::clone(pod);
        }
        let repelling = self.by_name.get_mut(node).map(|info| &mut info.repelling);
        if let Some(place) = repelling.and_then(|pods| pods.get_mut(key)) {
            *place = Arc::clone(pod);
        }
    }

    /// Adds a pod to a node.
    pub(super) fn add_pod(&mut self, node: &str, key: PodKey, pod: &Arc<Value>) {
        self.node_of.insert(key.clone(), node.to_owned());
        match self.by_name.get_mut(node) {
            Some(info) => info.add_pod(key, pod),
            None => {
                let pods = self.elsewhere.entry(node.to_owned()).or_default();
                pods.insert(key, Arc::clone(pod));
            }
        }
    }

    /// Removes a pod from its node, and returns both.
    pub(super) fn remove_pod(&mut self, key: &PodKey) -> Option<(String, Arc<Value>)> {
        let node = self.node_of.remove(key)?;
        let pod = self.pods_mut(&node)?.get(key).map(Arc::clone)?;
        match self.by_name.get_mut(&node) {
            Some(info) => info.remove_pod(key),
            None => {
                if let Some(pods) = self.elsewhere.get_mut(&node) {
                    pods.remove(key);
                    if pods.is_empty() {
                        self.elsewhere.remove(&node);
                    }
                }
            }
        }
        Some((node, pod))
    }
}
