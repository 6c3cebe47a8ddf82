//! The work queue of a controller: the objects that it has to reconcile now, and those that it reconciles again at a
//! later time. A queued object is reconciled once, however many changes have queued it.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use crate::kubernetes::kinds::{KINDS, Kind, PODS};
use crate::kubernetes::object;

use super::ClusterView;

/// The object that a controller reconciles. Keys are in the order of the kinds, then of the objects in lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WorkKey {
    rank: usize,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl WorkKey {
    /// Returns the key of an object.
    pub(super) fn of(resource: &Kind, object: &Value) -> Self {
        Self::named(resource, object::namespace(object), object::name(object))
    }

    /// Returns the key of the object with a name.
    pub(super) fn named(resource: &Kind, namespace: &str, name: &str) -> Self {
        Self { rank: resource.rank(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) fn resource(&self) -> &'static Kind {
        KINDS[self.rank]
    }
}

/// A queue without duplicates, in the order of the keys.
#[derive(Debug, Default)]
pub(super) struct WorkQueue {
    ready: BTreeSet<WorkKey>,
    due: HashMap<WorkKey, Timestamp>,
    by_time: BTreeSet<(Timestamp, WorkKey)>,
}

impl WorkQueue {
    /// Queues an object.
    pub(super) fn add(&mut self, key: WorkKey) {
        self.ready.insert(key);
    }

    /// Queues the pods that are bound to a node.
    pub(super) fn add_pods_on(&mut self, view: &ClusterView<'_>, node: &Value) {
        for pod in view.pods_on(object::name(node)) {
            self.add(WorkKey::of(&PODS, pod));
        }
    }

    /// Sets the time at which an object is queued even if nothing changes.
    pub(super) fn set_due(&mut self, key: &WorkKey, due: Option<Timestamp>) {
        if let Some(earlier) = self.due.remove(key) {
            self.by_time.remove(&(earlier, key.clone()));
        }
        if let Some(due) = due {
            self.due.insert(key.clone(), due);
            self.by_time.insert((due, key.clone()));
        }
    }

    /// Takes the queued objects and those whose time has come, at most `most`.
    pub(super) fn take(&mut self, now: Timestamp, most: usize) -> BTreeSet<WorkKey> {
        while self.by_time.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.by_time.pop_first() else {
                break;
            };
            self.due.remove(&key);
            self.ready.insert(key);
        }
        let left = match self.ready.iter().nth(most).cloned() {
            Some(next) => self.ready.split_off(&next),
            None => BTreeSet::new(),
        };
        std::mem::replace(&mut self.ready, left)
    }

    /// Returns whether an object is queued.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns when the next object is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::kinds::NODES;

    #[test]
    fn a_queue_yields_each_object_once_and_in_the_order_of_lists() {
        let mut queue = WorkQueue::default();
        let keys = [
            WorkKey::named(&NODES, "", "z"),
            WorkKey::named(&PODS, "a", "q"),
            WorkKey::named(&PODS, "b", "p"),
        ];
        for key in keys.iter().rev().chain(&keys) {
            queue.add(key.clone());
        }
        assert!(queue.take(Timestamp::MIN, 2).into_iter().eq(keys[..2].iter().cloned()));
        assert!(queue.has_ready());
        assert!(queue.take(Timestamp::MIN, 2).into_iter().eq(keys[2..].iter().cloned()));
        assert!(queue.take(Timestamp::MIN, 9).is_empty());
    }

    #[test]
    fn an_object_is_queued_when_its_last_time_has_come() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (key, other) = (WorkKey::named(&PODS, "n", "p"), WorkKey::named(&PODS, "n", "q"));
        let mut queue = WorkQueue::default();
        queue.set_due(&key, Some(at(1)));
        queue.set_due(&other, Some(at(1)));
        queue.set_due(&key, Some(at(5)));
        queue.set_due(&other, None);
        assert_eq!(queue.next_due(), Some(at(5)));
        assert!(queue.take(at(4), 9).is_empty());
        assert_eq!(queue.take(at(5), 9), BTreeSet::from([key]));
        assert_eq!(queue.next_due(), None);
    }
}
