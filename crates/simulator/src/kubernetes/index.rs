//! The indexes of the store: by which values objects can be found without looking at all of them, as the caches of
//! real controllers have them.

use std::borrow::Cow;

use serde_json::Value;

use super::kinds::{EVENTS, Kind, PODS, REPLICA_SETS};
use super::object::{self, controller, list, map, text, uid};

/// A value by which objects are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Index {
    /// The UID of an object, except an Event.
    Uid,
    /// The UID of each owner of an object, except an Event.
    Owner,
    /// The name of a pod's node.
    Node,
    /// The namespace and a label of a pod, as [`label_value`] has them.
    Label,
    /// The UID of the object that an Event is about and the Event's reason, as [`event_subject`] has them.
    Subject,
    /// The namespace of a pod or a replica set that no controller owns.
    Uncontrolled,
}

/// Returns the values by which an object is found.
pub(super) fn entries<'a>(resource: &Kind, object: &'a Value) -> Vec<(Index, Cow<'a, str>)> {
    if *resource == EVENTS {
        let subject = event_subject(text(object, "/involvedObject/uid"), text(object, "/reason"));
        return vec![(Index::Subject, subject.into())];
    }
    let mut entries: Vec<(Index, Cow<'_, str>)> = vec![(Index::Uid, uid(object).into())];
    for owner in list(object, "/metadata/ownerReferences") {
        let entry = (Index::Owner, text(owner, "/uid").into());
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    let is_pod = *resource == PODS;
    if is_pod {
        let node = text(object, "/spec/nodeName");
        entries.extend((!node.is_empty()).then(|| (Index::Node, node.into())));
        for (key, value) in map(object, "/metadata/labels").into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            let value = label_value(object::namespace(object), key, value);
            entries.push((Index::Label, value.into()));
        }
    }
    if (is_pod || *resource == REPLICA_SETS) && controller(object).is_none() {
        entries.push((Index::Uncontrolled, object::namespace(object).into()));
    }
    entries
}

/// Returns the value by which [`Index::Subject`] finds the Events about the object with a UID that have a reason.
pub(crate) fn event_subject(uid: &str, reason: &str) -> String {
    format!("{uid} {reason}")
}

/// Returns the value by which [`Index::Label`] finds the pods of a namespace with a label.
pub(crate) fn label_value(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace} {key}={value}")
}
