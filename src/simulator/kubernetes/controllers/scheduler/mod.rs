//! The scheduler: finds each pending pod a node that fits, and says why there is none. Filters and
//! preferences as the default profile has them; no preemption.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::simulator::kubernetes::object::{
    condition, controller, is_terminating, moment, name, namespace, number, put, set_condition,
    text,
};
use crate::simulator::kubernetes::resources::{NODES, PODS};

use super::{Memory, Plan, View, events};

mod affinity;
mod filter;
mod quantity;

use affinity::Neighbours;
use quantity::Amounts;

const COMPONENT: &str = "default-scheduler";

pub(super) fn plan(view: &View<'_>, _: &mut Memory) -> Plan {
    let mut plan = Plan::default();
    let mut pending: Vec<&Value> = view
        .store
        .list(&PODS, None)
        .map(AsRef::as_ref)
        .filter(|pod: &&Value| is_pending(pod))
        .collect();
    if pending.is_empty() {
        return plan;
    }
    pending.sort_by_key(|pod| {
        let priority = number(pod, "/spec/priority").unwrap_or(0);
        (-priority, moment(pod, "/metadata/creationTimestamp"), name(pod))
    });
    let mut rooms = rooms(view);
    // The pods of one replica set are alike: where one finds no place, neither does the next, until something moves.
    let mut no_place: HashMap<&str, String> = HashMap::new();
    for pod in pending {
        let kind = controller(pod).map(|owner| text(owner, "/uid"));
        if let Some(why) = kind.and_then(|kind| no_place.get(kind)) {
            refuse(view, &mut plan, pod, why.clone());
            continue;
        }
        match choose(&rooms, pod) {
            Ok(at) => {
                bind(view, &mut plan, pod, name(rooms[at].node));
                rooms[at].take(pod);
                no_place.clear();
            }
            Err(why) => {
                no_place.extend(kind.map(|kind| (kind, why.clone())));
                refuse(view, &mut plan, pod, why);
            }
        }
    }
    plan
}

fn is_pending(pod: &Value) -> bool {
    text(pod, "/spec/nodeName").is_empty()
        && text(pod, "/spec/schedulerName") == "default-scheduler"
        && text(pod, "/status/phase") == "Pending"
        && !is_terminating(pod)
}

/// A node and what stands on it.
pub(super) struct Room<'a> {
    pub(super) node: &'a Value,
    pub(super) free: Amounts,
    pub(super) pods: Vec<&'a Value>,
}

impl<'a> Room<'a> {
    fn take(&mut self, pod: &'a Value) {
        self.free = self.free.less(Amounts::asked_by(pod));
        self.pods.push(pod);
    }
}

fn rooms<'a>(view: &View<'a>) -> Vec<Room<'a>> {
    let mut rooms: Vec<Room<'_>> = view
        .store
        .list(&NODES, None)
        .filter(|node| !is_terminating(node))
        .map(|node| Room { node, free: Amounts::of_node(node), pods: Vec::new() })
        .collect();
    for pod in view.store.list(&PODS, None) {
        let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        let on = text(pod, "/spec/nodeName");
        if finished || on.is_empty() {
            continue;
        }
        // The store lists nodes by name.
        if let Ok(at) = rooms.binary_search_by_key(&on, |room| name(room.node)) {
            rooms[at].take(pod);
        }
    }
    rooms
}

/// The node for a pod, or why there is none.
fn choose(rooms: &[Room<'_>], pod: &Value) -> Result<usize, String> {
    let neighbours = Neighbours::of(rooms, pod);
    let mut reasons: Vec<(String, usize)> = Vec::new();
    let mut best: Option<(i64, usize)> = None;
    for (at, room) in rooms.iter().enumerate() {
        match filter::objection(room, pod, &neighbours) {
            Some(reason) => match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => reasons.push((reason, 1)),
            },
            None => {
                let score = score(room, pod, &neighbours);
                if best.is_none_or(|(highest, _)| score > highest) {
                    best = Some((score, at));
                }
            }
        }
    }
    best.map(|(_, at)| at).ok_or_else(|| explanation(rooms.len(), reasons))
}

fn explanation(nodes: usize, reasons: Vec<(String, usize)>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let helpless: usize = reasons
        .iter()
        .filter(|(reason, _)| !filter::could_be_preempted(reason))
        .map(|(_, count)| count)
        .sum();
    let preemption = [
        (nodes - helpless, "No preemption victims found for incoming pod"),
        (helpless, "Preemption is not helpful for scheduling"),
    ];
    let preemption = preemption.into_iter().filter(|(count, _)| *count > 0);
    format!(
        "0/{nodes} nodes are available: {}. no new claims to deallocate, preemption: 0/{nodes} \
         nodes are available: {}.",
        tally(reasons.into_iter().map(|(reason, count)| (count, reason))),
        tally(preemption)
    )
}

fn tally<T: std::fmt::Display>(parts: impl Iterator<Item = (usize, T)>) -> String {
    let mut parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    parts.sort_unstable();
    parts.join(", ")
}

/// How much a node is liked: wanted company first, then few pods of the same owner, then much room.
fn score(room: &Room<'_>, pod: &Value, neighbours: &Neighbours<'_>) -> i64 {
    let owner = controller(pod).map(|owner| text(owner, "/uid"));
    let siblings = room.pods.iter().filter(|other| {
        owner.is_some() && controller(other).map(|owner| text(owner, "/uid")) == owner
    });
    let room_left = room.free.share_of(Amounts::of_node(room.node));
    neighbours.preference(room, pod) * 1000 - siblings.count() as i64 * 200 + room_left
}

fn bind(view: &View<'_>, plan: &mut Plan, pod: &Value, node: &str) {
    let mut bound = pod.clone();
    put(&mut bound, &["spec", "nodeName"], node);
    let scheduled = json!({"type": "PodScheduled", "status": "True"});
    set_condition(&mut bound, scheduled, view.now);
    plan.update(&PODS, bound);
    let message = format!("Successfully assigned {}/{} to {node}", namespace(pod), name(pod));
    plan.event(events::normal(COMPONENT, pod, "Scheduled", message));
}

fn refuse(view: &View<'_>, plan: &mut Plan, pod: &Value, why: String) {
    let known = condition(pod, "PodScheduled");
    if known.is_some_and(|known| text(known, "/message") == why) {
        return;
    }
    let mut refused = pod.clone();
    let unscheduled = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": why,
        "observedGeneration": pod["metadata"]["generation"],
    });
    set_condition(&mut refused, unscheduled, view.now);
    plan.update(&PODS, refused);
    plan.event(events::warning(COMPONENT, pod, "FailedScheduling", why));
}
