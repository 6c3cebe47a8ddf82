//! Company that pods want, avoid or forbid: affinity, anti-affinity and topology spread.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::simulator::kubernetes::object::{label, list, namespace, number, text};
use crate::simulator::kubernetes::selectors::selects;

use super::Room;
use super::filter::term_selects;

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

type Domain<'a> = (&'a str, &'a str);

/// What the pods that stand mean for one that is to be placed, by topology domain.
pub(super) struct Neighbours<'a> {
    /// Where a pod stands that the new one must not stand beside, or that does not want it.
    forbidden: HashMap<&'a str, HashSet<&'a str>>,
    /// For each of the pod's required affinities, where it is met.
    wanted: Vec<Wanted<'a>>,
    /// How much the pod likes each domain.
    liked: HashMap<&'a str, HashMap<&'a str, i64>>,
    spreads: Vec<Spread<'a>>,
}

struct Wanted<'a> {
    key: &'a str,
    met: HashSet<&'a str>,
    /// Whether the pod itself is what it wants: then the first of its kind may stand anywhere.
    itself: bool,
}

struct Spread<'a> {
    key: &'a str,
    most: i64,
    counts: HashMap<&'a str, i64>,
    hard: bool,
}

impl<'a> Neighbours<'a> {
    pub(super) fn of(rooms: &[Room<'a>], pod: &'a Value) -> Self {
        let mut neighbours = Self {
            forbidden: HashMap::new(),
            wanted: Vec::new(),
            liked: HashMap::new(),
            spreads: spreads(rooms, pod),
        };
        for term in terms(pod, "podAntiAffinity", REQUIRED) {
            for (key, value) in domains(rooms, pod, term) {
                neighbours.forbid(key, value);
            }
        }
        for term in terms(pod, "podAffinity", REQUIRED) {
            let met = domains(rooms, pod, term).map(|(_, value)| value).collect();
            neighbours.wanted.push(Wanted {
                key: text(term, "/topologyKey"),
                met,
                itself: concerns(term, pod, pod),
            });
        }
        for (kind, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            for weighted in terms(pod, kind, PREFERRED) {
                let weight = number(weighted, "/weight").unwrap_or(1) * sign;
                let term = &weighted["podAffinityTerm"];
                for domain in domains(rooms, pod, term) {
                    let (key, value) = domain;
                    *neighbours.liked.entry(key).or_default().entry(value).or_default() += weight;
                }
            }
        }
        neighbours.hear_objections(rooms, pod);
        neighbours
    }

    fn forbid(&mut self, key: &'a str, value: &'a str) {
        self.forbidden.entry(key).or_default().insert(value);
    }

    /// Anti-affinity holds in both directions.
    fn hear_objections(&mut self, rooms: &[Room<'a>], pod: &Value) {
        for room in rooms {
            for standing in &room.pods {
                for term in terms(standing, "podAntiAffinity", REQUIRED) {
                    let key = text(term, "/topologyKey");
                    if let Some(value) = label(room.node, key)
                        && concerns(term, standing, pod)
                    {
                        self.forbid(key, value);
                    }
                }
            }
        }
    }

    /// What speaks against a node.
    pub(super) fn objection(&self, room: &Room<'_>, _: &Value) -> Option<&'static str> {
        let node = room.node;
        for spread in self.spreads.iter().filter(|spread| spread.hard) {
            let Some(value) = label(node, spread.key) else {
                return Some(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                );
            };
            let least = spread.counts.values().min().copied().unwrap_or(0);
            if spread.counts.get(value).copied().unwrap_or(0) + 1 - least > spread.most {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        for wanted in &self.wanted {
            let value = label(node, wanted.key);
            let met = value.is_some_and(|value| wanted.met.contains(value));
            let first = wanted.met.is_empty() && wanted.itself && value.is_some();
            if !met && !first {
                return Some("node(s) didn't match pod affinity rules");
            }
        }
        let refused = self
            .forbidden
            .iter()
            .any(|(key, values)| label(node, key).is_some_and(|value| values.contains(value)));
        refused.then_some("node(s) didn't match pod anti-affinity rules")
    }

    /// How much the pod likes a node.
    pub(super) fn preference(&self, room: &Room<'_>, pod: &Value) -> i64 {
        let node = room.node;
        let company: i64 =
            self.liked.iter().filter_map(|(key, values)| values.get(label(node, key)?)).sum();
        let terms = pod
            .pointer(&format!("/spec/affinity/nodeAffinity/{PREFERRED}"))
            .and_then(Value::as_array);
        let place: i64 = terms
            .into_iter()
            .flatten()
            .filter(|term| term_selects(&term["preference"], node))
            .map(|term| number(term, "/weight").unwrap_or(1))
            .sum();
        let crowd: i64 = self
            .spreads
            .iter()
            .filter_map(|spread| spread.counts.get(label(node, spread.key)?))
            .sum();
        company + place - crowd
    }
}

fn terms<'a>(pod: &'a Value, kind: &str, strength: &str) -> impl Iterator<Item = &'a Value> {
    list(pod, &format!("/spec/affinity/{kind}/{strength}")).iter()
}

/// The domains in which a pod stands that the term of `owner` is about.
fn domains<'a>(
    rooms: &[Room<'a>],
    owner: &'a Value,
    term: &'a Value,
) -> impl Iterator<Item = Domain<'a>> {
    let key = text(term, "/topologyKey");
    rooms.iter().filter_map(move |room| {
        let value = label(room.node, key)?;
        let met = room.pods.iter().any(|pod| concerns(term, owner, pod));
        met.then_some((key, value))
    })
}

/// Whether the term of `owner` is about `pod`.
fn concerns(term: &Value, owner: &Value, pod: &Value) -> bool {
    let spaces = list(term, "/namespaces");
    let everywhere = term.pointer("/namespaceSelector").is_some();
    let here = if spaces.is_empty() && !everywhere {
        namespace(owner) == namespace(pod)
    } else {
        everywhere || spaces.iter().any(|space| space == namespace(pod))
    };
    here && selects(term.get("labelSelector"), pod)
}

fn spreads<'a>(rooms: &[Room<'a>], pod: &'a Value) -> Vec<Spread<'a>> {
    list(pod, "/spec/topologySpreadConstraints")
        .iter()
        .map(|constraint| {
            let key = text(constraint, "/topologyKey");
            let mut counts: HashMap<&str, i64> = HashMap::new();
            for room in rooms {
                let Some(value) = label(room.node, key) else {
                    continue;
                };
                let same = room.pods.iter().filter(|other| {
                    namespace(other) == namespace(pod)
                        && selects(constraint.get("labelSelector"), other)
                });
                *counts.entry(value).or_default() += same.count() as i64;
            }
            Spread {
                key,
                most: number(constraint, "/maxSkew").unwrap_or(1),
                counts,
                hard: text(constraint, "/whenUnsatisfiable") != "ScheduleAnyway",
            }
        })
        .collect()
}
