//! The names that a rehearsal invents for what does not exist yet: the plan calls such a thing by its number, because
//! its real name is known only when it is there.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::rehearsal::Rehearsed;
use crate::journal::RecordedChange;

/// The invented names, each with the words that take its place.
#[derive(Debug, Default)]
pub(super) struct Invented(HashMap<String, String>);

impl Invented {
    /// Returns the names that a rehearsal has invented.
    pub(super) fn of(rehearsed: &Rehearsed) -> Self {
        let mut names = HashMap::new();
        let (before, after) = (&rehearsed.before, &rehearsed.after);
        let mut nodes = 0;
        let known: HashSet<&str> = before.nodes.values().map(|node| node.uid.as_str()).collect();
        let known_pods: HashSet<&str> = before.pods.values().map(|pod| pod.uid.as_str()).collect();
        let mut pods: HashMap<(String, String), usize> = HashMap::new();
        for created in &rehearsed.created {
            if known.contains(created.uid.as_str()) || known_pods.contains(created.uid.as_str()) {
                continue;
            }
            let label = if created.kind == "Node" {
                nodes += 1;
                if let Some(id) = after.nodes.get(&created.name).and_then(|n| n.instance.clone()) {
                    names.insert(id, format!("(new instance {nodes})"));
                }
                format!("(new node {nodes})")
            } else {
                let workload = created.workload.clone().unwrap_or_default();
                let number = pods.entry((created.namespace.clone(), workload.clone())).or_default();
                *number += 1;
                format!("(new pod {number} of {workload})")
            };
            names.insert(created.uid.clone(), label.clone());
            // A pod of a stateful set comes back under its name, which is known.
            let path = format!("{}/{}", created.namespace, created.name);
            if !before.pods.contains_key(&path) && !before.nodes.contains_key(&created.name) {
                names.insert(created.name.clone(), label);
            }
        }
        // Those that have no node yet, or none any more.
        let before: BTreeSet<&String> =
            before.nodegroups.values().flat_map(|group| group.instances.keys()).collect();
        for id in after.nodegroups.values().flat_map(|group| group.instances.keys()) {
            if !before.contains(id) && !names.contains_key(id) {
                nodes += 1;
                names.insert(id.clone(), format!("(new instance {nodes})"));
            }
        }
        Self(names)
    }

    /// Returns the words that take the place of a name, if it is invented.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Replaces the invented names in a text.
    pub(super) fn replace_in(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let word = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (name, tail) = rest.split_at(word);
            // A name at the end of a sentence.
            let bare = name.trim_end_matches('.');
            match self.label(bare) {
                Some(label) => {
                    replaced.push_str(label);
                    replaced.push_str(&name[bare.len()..]);
                }
                None => replaced.push_str(name),
            }
            let mut others = tail.chars();
            replaced.extend(others.next());
            rest = others.as_str();
        }
        replaced
    }

    /// Replaces the invented names in a value.
    pub(super) fn replace_in_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.replace_in(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace_in_value(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.replace_in_value(field));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Replaces the invented names in a change.
    pub(super) fn replace_in_change(&self, change: &RecordedChange) -> RecordedChange {
        let mut change = change.clone();
        change.target = self.replace_in(&change.target);
        self.replace_in_value(&mut change.before);
        self.replace_in_value(&mut change.after);
        change
    }
}
