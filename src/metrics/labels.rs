//! The labels, and the lists of what may be in them.

use prometheus_client::encoding::EncodeLabelSet;

use super::OTHER;

/// The methods of requests that are told apart.
pub(super) const METHODS: &[&str] = &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
            pub(super) struct $name {
                $(pub(super) $field: $type,)*
            }
        )*
    };
}

labels! {
    /// The program.
    Build { version: &'static str, revision: &'static str }
    /// A runbook.
    Runbook { runbook: String }
    /// A runbook and how its runs stopped.
    RunResult { runbook: String, result: &'static str }
    /// A runbook and a state of its runs.
    RunInState { runbook: String, state: &'static str }
    /// The exemplar of a run.
    RunLabel { run: String }
    /// An action.
    Action { action: String }
    /// An action and how its steps ended.
    StepResult { action: String, result: &'static str }
    /// A kind of object.
    Kind { kind: &'static str }
    /// A kind of object, and whether the change was applied or undone.
    Change { kind: &'static str, way: &'static str }
    /// An action and the reason for its waits.
    Wait { action: String, reason: &'static str }
    /// A service and an operation.
    ApiOperation { service: &'static str, operation: String }
    /// A service, an operation, and the status of its response.
    ApiCall { service: &'static str, operation: String, code: String }
    /// The kind of a store.
    Store { store: &'static str }
    /// A receiver of notifications, and what became of one.
    Notification { sink: String, result: &'static str }
    /// A request to the service.
    Request { route: String, method: &'static str, code: u16 }
}

/// The kinds of objects that changes are about, each with the words by which targets begin.
const KINDS: &[(&str, &[&str])] = &[
    ("node", &["node", "nodes"]),
    ("pod", &["pod", "pods"]),
    ("nodegroup", &["nodegroup"]),
    ("instance", &["instance", "instances"]),
    ("auto_scaling_group", &["group", "auto"]),
    ("deployment", &["deployment"]),
    ("statefulset", &["statefulset"]),
    ("daemonset", &["daemonset"]),
    ("job", &["job"]),
    ("event", &["event"]),
    ("configmap", &["configmap"]),
];

/// Returns the kind of the object that a target, or a sentence about one, names first.
pub(super) fn kind_of(text: &str) -> &'static str {
    // Whole words: a part of a name is not a kind.
    let mut words = text.split_whitespace().map(|word| word.trim_matches([',', ':', ';']));
    let kind_of = |word: &str| {
        let is_word = |other: &&str| other.eq_ignore_ascii_case(word);
        KINDS.iter().find(|(_, words)| words.iter().any(is_word))
    };
    words.find_map(kind_of).map_or(OTHER, |(kind, _)| kind)
}

/// The reasons for waits, each with words of the texts that tell it. The first one that a text has counts.
const REASONS: &[(&str, &[&str])] = &[
    ("pdb", &["budget"]),
    ("limit", &["limit", "within the limits"]),
    ("lease", &["lease", "holds the cluster", "hold the cluster"]),
    ("capacity", &["capacity", "launch", "no instance", "not joined", "unschedulable"]),
    ("update_in_progress", &["update", "in progress", "another operation", "resourceinuse"]),
    ("api", &["throttl", "timed out", "connection", "cannot resolve", "unavailable"]),
    ("rollout", &["rollout", "replica", "revision", "controller has not seen"]),
    ("removal", &["terminat", "remaining", "left", "deleted", "gone", "finalizer", "evict"]),
    ("not_ready", &["ready", "healthy", "inservice"]),
];

/// Returns the reason of a wait: one of a fixed list.
pub(super) fn reason_of(action: &str, message: &str) -> &'static str {
    match action {
        "wait_approval" => return "approval",
        "sleep" => return "time",
        "http_probe" => return "probe",
        _ => {}
    }
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    REASONS.iter().find(|(_, words)| has(words)).map_or(OTHER, |(reason, _)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_the_first_that_a_text_names() {
        for (text, kind) in [
            ("nodegroup relay desired", "nodegroup"),
            ("node ip-10-0-0-1 unschedulable", "node"),
            ("the template of deployment rafay-core/relay", "deployment"),
            ("left node ip-10-0-0-1 cordoned: it was cordoned by another client", "node"),
            ("2 pods cannot be restored: a, b", "pod"),
            ("scale-in protection of instance i-0123", "instance"),
            ("widget default/nodes-of-mine spec.size", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }

    #[test]
    fn a_reason_is_one_of_the_list() {
        for (action, message, reason) in [
            ("wait_nodes", "2 of 6 nodes are not Ready", "not_ready"),
            ("drain", "pod a/b: its disruption budget c allows no eviction", "pdb"),
            ("set_nodegroup", "nodegroup relay: an update is in progress", "update_in_progress"),
            ("wait_approval", "1 of 2 approvals", "approval"),
            ("sleep", "30s to pass", "time"),
            ("cordon", "run x of y holds the cluster", "lease"),
            ("cordon", "something that no list has", "other"),
        ] {
            assert_eq!(reason_of(action, message), reason, "{message}");
        }
    }
}
