//! Inter-pod affinity, anti-affinity and topology spread.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::kubernetes::object::{self, label, list, number, text};
use crate::kubernetes::selectors::selects;

use super::NodeInfo;
use super::filter::term_selects;

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

type Domain<'a> = (&'a str, &'a str);

/// The constraints that the existing pods put on the placement of a pod, by topology domain.
pub(super) struct PlacementConstraints<'a> {
    /// The domains of pods that anti-affinity, of either side, keeps apart from the pod.
    forbidden: HashMap<&'a str, HashSet<&'a str>>,
    /// For each of the pod's required affinity terms, the domains that satisfy it.
    required: Vec<RequiredAffinity<'a>>,
    /// The pod's preference for each domain.
    preferred: HashMap<&'a str, HashMap<&'a str, i64>>,
    spreads: Vec<TopologySpread<'a>>,
}

struct RequiredAffinity<'a> {
    key: &'a str,
    matched: HashSet<&'a str>,
    /// Whether the pod matches its own term: then the first such pod may be placed anywhere.
    matches_self: bool,
}

struct TopologySpread<'a> {
    key: &'a str,
    max_skew: i64,
    counts: HashMap<&'a str, i64>,
    is_required: bool,
}

impl<'a> PlacementConstraints<'a> {
    pub(super) fn of(node_infos: &[NodeInfo<'a>], pod: &'a Value) -> Self {
        let mut constraints = Self {
            forbidden: HashMap::new(),
            required: Vec::new(),
            preferred: HashMap::new(),
            spreads: spreads(node_infos, pod),
        };
        for term in terms(pod, "podAntiAffinity", REQUIRED) {
            for (key, value) in domains(node_infos, pod, term) {
                constraints.forbid(key, value);
            }
        }
        for term in terms(pod, "podAffinity", REQUIRED) {
            let matched = domains(node_infos, pod, term).map(|(_, value)| value).collect();
            constraints.required.push(RequiredAffinity {
                key: text(term, "/topologyKey"),
                matched,
                matches_self: term_matches(term, pod, pod),
            });
        }
        for (kind, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            for weighted in terms(pod, kind, PREFERRED) {
                let weight = number(weighted, "/weight").unwrap_or(1) * sign;
                let term = &weighted["podAffinityTerm"];
                for domain in domains(node_infos, pod, term) {
                    let (key, value) = domain;
                    *constraints.preferred.entry(key).or_default().entry(value).or_default() +=
                        weight;
                }
            }
        }
        constraints.add_existing_anti_affinity(node_infos, pod);
        constraints
    }

    fn forbid(&mut self, key: &'a str, value: &'a str) {
        self.forbidden.entry(key).or_default().insert(value);
    }

    /// Adds the anti-affinity of existing pods, because anti-affinity holds in both directions.
    fn add_existing_anti_affinity(&mut self, node_infos: &[NodeInfo<'a>], pod: &Value) {
        for node_info in node_infos {
            for existing in &node_info.pods {
                for term in terms(existing, "podAntiAffinity", REQUIRED) {
                    let key = text(term, "/topologyKey");
                    if let Some(value) = label(node_info.node, key)
                        && term_matches(term, existing, pod)
                    {
                        self.forbid(key, value);
                    }
                }
            }
        }
    }

    /// Returns why a node does not satisfy the constraints, if it does not.
    pub(super) fn rejection_reason(
        &self,
        node_info: &NodeInfo<'_>,
        _: &Value,
    ) -> Option<&'static str> {
        let node = node_info.node;
        for spread in self.spreads.iter().filter(|spread| spread.is_required) {
            let Some(value) = label(node, spread.key) else {
                return Some(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                );
            };
            let least = spread.counts.values().min().copied().unwrap_or(0);
            if spread.counts.get(value).copied().unwrap_or(0) + 1 - least > spread.max_skew {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        for required in &self.required {
            let value = label(node, required.key);
            let matched = value.is_some_and(|value| required.matched.contains(value));
            let first = required.matched.is_empty() && required.matches_self && value.is_some();
            if !matched && !first {
                return Some("node(s) didn't match pod affinity rules");
            }
        }
        let is_forbidden = self
            .forbidden
            .iter()
            .any(|(key, values)| label(node, key).is_some_and(|value| values.contains(value)));
        is_forbidden.then_some("node(s) didn't match pod anti-affinity rules")
    }

    /// Returns the pod's preference for a node.
    pub(super) fn preference(&self, node_info: &NodeInfo<'_>, pod: &Value) -> i64 {
        let node = node_info.node;
        let affinity_score: i64 =
            self.preferred.iter().filter_map(|(key, values)| values.get(label(node, key)?)).sum();
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
            .filter_map(|spread| spread.counts.get(label(node, spread.key)?))
            .sum();
        affinity_score + node_score - spread_count
    }
}

fn terms<'a>(pod: &'a Value, kind: &str, strength: &str) -> impl Iterator<Item = &'a Value> {
    list(pod, &format!("/spec/affinity/{kind}/{strength}")).iter()
}

/// Returns the domains with a pod that the term of `owner` matches.
fn domains<'a>(
    node_infos: &[NodeInfo<'a>],
    owner: &'a Value,
    term: &'a Value,
) -> impl Iterator<Item = Domain<'a>> {
    let key = text(term, "/topologyKey");
    node_infos.iter().filter_map(move |node_info| {
        let value = label(node_info.node, key)?;
        let matched = node_info.pods.iter().any(|pod| term_matches(term, owner, pod));
        matched.then_some((key, value))
    })
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

fn spreads<'a>(node_infos: &[NodeInfo<'a>], pod: &'a Value) -> Vec<TopologySpread<'a>> {
    list(pod, "/spec/topologySpreadConstraints")
        .iter()
        .map(|constraint| {
            let key = text(constraint, "/topologyKey");
            let mut counts: HashMap<&str, i64> = HashMap::new();
            for node_info in node_infos {
                let Some(value) = label(node_info.node, key) else {
                    continue;
                };
                let same = node_info.pods.iter().filter(|other| {
                    object::namespace(other) == object::namespace(pod)
                        && selects(constraint.get("labelSelector"), other)
                });
                *counts.entry(value).or_default() += object::as_count(same.count());
            }
            TopologySpread {
                key,
                max_skew: number(constraint, "/maxSkew").unwrap_or(1),
                counts,
                is_required: text(constraint, "/whenUnsatisfiable") != "ScheduleAnyway",
            }
        })
        .collect()
}
