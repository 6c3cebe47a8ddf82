//! Inter-pod affinity, anti-affinity and topology spread. What the pods on nodes mean for a group of
//! pods is counted by topology domain, and each count is kept up to date as pods and nodes come and
//! go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::kubernetes::object::{self, label, list, number, text};
use crate::kubernetes::selectors::selects;

use super::NodeInfo;
use super::filter::term_selects;

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The constraints that the existing pods put on the placement of a group's pods.
#[derive(Debug)]
pub(super) struct PlacementConstraints {
    /// The group's own terms.
    terms: Vec<AffinityTerm>,
    /// By topology key and domain, how many terms of existing pods keep the group's pods away.
    repelled: HashMap<String, HashMap<String, usize>>,
    spreads: Vec<TopologySpread>,
}

/// A term of the group's pods, and the pods that it matches.
#[derive(Debug)]
struct AffinityTerm {
    term: Value,
    key: String,
    effect: Effect,
    /// How many matched pods each node has that has any.
    pods: HashMap<Arc<str>, usize>,
    /// How many nodes with a matched pod each domain has that has any.
    domains: HashMap<String, i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// A domain with a matched pod is rejected.
    Repel,
    /// A domain without a matched pod is rejected. If the pods match their own term, the first one
    /// may be placed anywhere.
    Attract { matches_self: bool },
    /// Each node with a matched pod adds this to the score of its domain.
    Prefer(i64),
}

/// A topology spread constraint of the group's pods.
#[derive(Debug)]
struct TopologySpread {
    constraint: Value,
    key: String,
    max_skew: i64,
    is_required: bool,
    domains: HashMap<String, SpreadDomain>,
    /// How many domains have each number of pods.
    sizes: BTreeMap<i64, usize>,
}

#[derive(Debug, Default)]
struct SpreadDomain {
    nodes: usize,
    pods: i64,
}

/// The nodes that a change on one node reaches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The node itself and those in these domains, each by its key and value.
    Domains(BTreeSet<(String, String)>),
    Everything,
}

impl Reach {
    fn add(&mut self, key: &str, value: &str) {
        if let Self::Domains(domains) = self {
            domains.insert((key.to_owned(), value.to_owned()));
        }
    }

    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Domains(own), Self::Domains(mut others)) => own.append(&mut others),
            (_, Self::Everything) => *self = Self::Everything,
            (Self::Everything, _) => {}
        }
    }
}

impl Default for Reach {
    fn default() -> Self {
        Self::Domains(BTreeSet::new())
    }
}

impl PlacementConstraints {
    /// Returns the constraints of pods like this one, without any existing pod.
    pub(super) fn of(pod: &Value) -> Self {
        let mut own_terms = Vec::new();
        let mut add = |term: &Value, effect| {
            own_terms.push(AffinityTerm {
                term: term.clone(),
                key: text(term, "/topologyKey").to_owned(),
                effect,
                pods: HashMap::new(),
                domains: HashMap::new(),
            });
        };
        for term in terms(pod, "podAntiAffinity", REQUIRED) {
            add(term, Effect::Repel);
        }
        for term in terms(pod, "podAffinity", REQUIRED) {
            add(term, Effect::Attract { matches_self: term_matches(term, pod, pod) });
        }
        for (kind, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            for weighted in terms(pod, kind, PREFERRED) {
                let weight = number(weighted, "/weight").unwrap_or(1) * sign;
                add(&weighted["podAffinityTerm"], Effect::Prefer(weight));
            }
        }
        Self { terms: own_terms, repelled: HashMap::new(), spreads: spreads(pod) }
    }

    /// Returns the labels of nodes that make the domains.
    pub(super) fn topology_keys(&self) -> BTreeSet<String> {
        let of_terms = self.terms.iter().map(|term| term.key.clone());
        let of_spreads = self.spreads.iter().map(|spread| spread.key.clone());
        of_terms.chain(of_spreads).collect()
    }

    /// Counts a node and the pods on it. Returns how many pods were looked at.
    pub(super) fn add_node(&mut self, sample: &Value, info: &NodeInfo) -> (u64, Reach) {
        let mut reach = Reach::default();
        for spread in &mut self.spreads {
            spread.count(info, 0, 1, &mut reach);
        }
        (self.count_all(sample, info, 1, &mut reach), reach)
    }

    /// No longer counts a node and the pods on it. Returns how many pods were looked at.
    pub(super) fn remove_node(&mut self, sample: &Value, info: &NodeInfo) -> (u64, Reach) {
        let mut reach = Reach::default();
        let examined = self.count_all(sample, info, -1, &mut reach);
        for spread in &mut self.spreads {
            spread.count(info, 0, -1, &mut reach);
        }
        (examined, reach)
    }

    fn count_all(
        &mut self,
        sample: &Value,
        info: &NodeInfo,
        change: i64,
        reach: &mut Reach,
    ) -> u64 {
        // Without terms of the group, only pods with terms of their own matter.
        let matter = if self.terms.is_empty() && self.spreads.is_empty() {
            &info.repelling
        } else {
            &info.pods
        };
        for pod in matter.values() {
            reach.merge(self.count(sample, info, pod, change));
        }
        matter.len() as u64
    }

    /// Counts a pod on a node.
    pub(super) fn add_pod(&mut self, sample: &Value, info: &NodeInfo, pod: &Value) -> Reach {
        self.count(sample, info, pod, 1)
    }

    /// No longer counts a pod on a node.
    pub(super) fn remove_pod(&mut self, sample: &Value, info: &NodeInfo, pod: &Value) -> Reach {
        self.count(sample, info, pod, -1)
    }

    fn count(&mut self, sample: &Value, info: &NodeInfo, pod: &Value, change: i64) -> Reach {
        let mut reach = Reach::default();
        for term in &mut self.terms {
            if label(&info.node, &term.key).is_some() && term_matches(&term.term, sample, pod) {
                term.count(info, change, &mut reach);
            }
        }
        for spread in &mut self.spreads {
            if object::namespace(pod) == object::namespace(sample)
                && selects(spread.constraint.get("labelSelector"), pod)
            {
                spread.count(info, change, 0, &mut reach);
            }
        }
        // Anti-affinity holds in both directions.
        for term in terms(pod, "podAntiAffinity", REQUIRED) {
            let key = text(term, "/topologyKey");
            if let Some(value) = label(&info.node, key)
                && term_matches(term, pod, sample)
            {
                self.repel(key, value, change, &mut reach);
            }
        }
        reach
    }

    fn repel(&mut self, key: &str, value: &str, change: i64, reach: &mut Reach) {
        let domains = self.repelled.entry(key.to_owned()).or_default();
        let count = domains.entry(value.to_owned()).or_default();
        let was = *count;
        *count = count.saturating_add_signed(isize::try_from(change).unwrap_or(0));
        if (was == 0) != (*count == 0) {
            reach.add(key, value);
        }
        if *count == 0 {
            domains.remove(value);
        }
    }

    /// Returns why a node does not satisfy the constraints, if it does not.
    pub(super) fn rejection_reason(&self, node: &Value) -> Option<&'static str> {
        for spread in self.spreads.iter().filter(|spread| spread.is_required) {
            let Some(value) = label(node, &spread.key) else {
                return Some(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                );
            };
            if spread.pods_in(value) + 1 - spread.least() > spread.max_skew {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        for term in &self.terms {
            let Effect::Attract { matches_self } = term.effect else {
                continue;
            };
            let value = label(node, &term.key);
            let matched = value.is_some_and(|value| term.domains.contains_key(value));
            let first = term.domains.is_empty() && matches_self && value.is_some();
            if !matched && !first {
                return Some("node(s) didn't match pod affinity rules");
            }
        }
        let own = self.terms.iter().filter(|term| term.effect == Effect::Repel);
        let mut own = own.map(|term| (&term.key, &term.domains));
        let is_repelled = own.any(|(key, domains)| {
            label(node, key).is_some_and(|value| domains.contains_key(value))
        }) || self.repelled.iter().any(|(key, domains)| {
            label(node, key).is_some_and(|value| domains.contains_key(value))
        });
        is_repelled.then_some("node(s) didn't match pod anti-affinity rules")
    }

    /// Returns the pods' preference for a node.
    pub(super) fn preference(&self, node: &Value, pod: &Value) -> i64 {
        let affinity_score: i64 = self
            .terms
            .iter()
            .filter_map(|term| {
                let Effect::Prefer(weight) = term.effect else {
                    return None;
                };
                Some(weight * term.domains.get(label(node, &term.key)?)?)
            })
            .sum();
        let terms = pod
            .pointer(&format!("/spec/affinity/nodeAffinity/{PREFERRED}"))
            .and_then(Value::as_array);
        let node_score: i64 = terms
            .into_iter()
            .flatten()
            .filter(|term| term_selects(&term["preference"], node))
            .map(|term| number(term, "/weight").unwrap_or(1))
            .sum();
        let spread_count: i64 = self
            .spreads
            .iter()
            .filter_map(|spread| Some(spread.pods_in(label(node, &spread.key)?)))
            .sum();
        affinity_score + node_score - spread_count
    }
}

impl AffinityTerm {
    /// Counts a matched pod on a node that has the label.
    fn count(&mut self, info: &NodeInfo, change: i64, reach: &mut Reach) {
        let Some(value) = label(&info.node, &self.key) else {
            return;
        };
        let pods = self.pods.entry(Arc::clone(&info.name)).or_default();
        let was = *pods;
        *pods = pods.saturating_add_signed(isize::try_from(change).unwrap_or(0));
        let is = *pods;
        if is == 0 {
            self.pods.remove(&info.name);
        }
        if (was == 0) == (is == 0) {
            return;
        }
        let was_empty = self.domains.is_empty();
        let nodes = self.domains.entry(value.to_owned()).or_default();
        *nodes += change;
        let is_first_or_last = *nodes == 0 || *nodes == change;
        if *nodes <= 0 {
            self.domains.remove(value);
        }
        match self.effect {
            // The first matched pod decides for nodes everywhere.
            Effect::Attract { .. } if was_empty != self.domains.is_empty() => {
                *reach = Reach::Everything;
            }
            Effect::Attract { .. } | Effect::Repel if !is_first_or_last => {}
            _ => reach.add(&self.key, value),
        }
    }
}

impl TopologySpread {
    fn pods_in(&self, value: &str) -> i64 {
        self.domains.get(value).map_or(0, |domain| domain.pods)
    }

    /// Returns the number of pods in the domain that has the fewest.
    fn least(&self) -> i64 {
        self.sizes.first_key_value().map_or(0, |(pods, _)| *pods)
    }

    /// Counts pods and nodes in the domain of a node.
    fn count(&mut self, info: &NodeInfo, pods: i64, nodes: isize, reach: &mut Reach) {
        let Some(value) = label(&info.node, &self.key) else {
            return;
        };
        let least = self.least();
        let domain = self.domains.entry(value.to_owned()).or_default();
        if domain.nodes > 0
            && let Some(count) = self.sizes.get_mut(&domain.pods)
        {
            *count -= 1;
            if *count == 0 {
                self.sizes.remove(&domain.pods);
            }
        }
        domain.pods += pods;
        domain.nodes = domain.nodes.saturating_add_signed(nodes);
        if domain.nodes > 0 {
            *self.sizes.entry(domain.pods).or_default() += 1;
        } else {
            self.domains.remove(value);
        }
        if least == self.least() {
            reach.add(&self.key, value);
        } else {
            *reach = Reach::Everything;
        }
    }
}

pub(super) fn terms<'a>(
    pod: &'a Value,
    kind: &str,
    strength: &str,
) -> impl Iterator<Item = &'a Value> {
    let affinity = pod.pointer("/spec/affinity").and_then(|affinity| affinity.get(kind));
    let terms = affinity.and_then(|affinity| affinity.get(strength)?.as_array());
    terms.into_iter().flatten()
}

/// Returns whether the term of `owner` matches `pod`.
fn term_matches(term: &Value, owner: &Value, pod: &Value) -> bool {
    let namespaces = list(term, "/namespaces");
    let everywhere = term.pointer("/namespaceSelector").is_some();
    let here = if namespaces.is_empty() && !everywhere {
        object::namespace(owner) == object::namespace(pod)
    } else {
        everywhere || namespaces.iter().any(|namespace| namespace == object::namespace(pod))
    };
    here && selects(term.get("labelSelector"), pod)
}

fn spreads(pod: &Value) -> Vec<TopologySpread> {
    list(pod, "/spec/topologySpreadConstraints")
        .iter()
        .map(|constraint| TopologySpread {
            key: text(constraint, "/topologyKey").to_owned(),
            max_skew: number(constraint, "/maxSkew").unwrap_or(1),
            is_required: text(constraint, "/whenUnsatisfiable") != "ScheduleAnyway",
            constraint: constraint.clone(),
            domains: HashMap::new(),
            sizes: BTreeMap::new(),
        })
        .collect()
}
