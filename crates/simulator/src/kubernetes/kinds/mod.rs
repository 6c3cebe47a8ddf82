//! The kinds that the simulated API serves. A kind is one value in one file, of data and functions: its names, its
//! defaults, its validation, its columns. Its line in [`KINDS`] makes the API serve it. Everything else treats all
//! kinds alike, or names the one that it is about.

use serde_json::Value;

use super::custom;
use super::object::{at_path, remove};
use super::status_error::StatusCause;
use super::write::{DeleteOptions, ObjectPart};

use column::{AGE, NAME};

mod check;
pub(crate) mod column;
mod pod_spec;

mod autoscaler;
mod config_map;
mod cron_job;
mod daemon_set;
mod deployment;
mod event;
mod job;
mod lease;
mod limit_range;
mod namespace;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_disruption_budget;
mod priority_class;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod run_events;
mod runbook_run;
mod secret;
mod service;
mod service_account;
mod stateful_set;
mod storage_class;

pub(crate) use autoscaler::AUTOSCALERS;
pub(crate) use column::Column;
pub(crate) use config_map::CONFIG_MAPS;
pub(crate) use cron_job::CRON_JOBS;
pub(crate) use daemon_set::{DAEMON_SETS, template_generation};
pub(crate) use deployment::DEPLOYMENTS;
pub(crate) use event::{EVENTS, NEW_EVENTS};
pub(crate) use job::JOBS;
pub(crate) use lease::LEASES;
pub(crate) use limit_range::LIMIT_RANGES;
pub(crate) use namespace::NAMESPACES;
pub(crate) use node::NODES;
pub(crate) use persistent_volume::PERSISTENT_VOLUMES;
pub(crate) use persistent_volume_claim::PERSISTENT_VOLUME_CLAIMS;
pub(crate) use pod::PODS;
pub(crate) use pod_disruption_budget::BUDGETS;
pub(crate) use pod_spec::{DELETION_COST, parse_cost};
pub(crate) use priority_class::PRIORITY_CLASSES;
pub(crate) use replica_set::REPLICA_SETS;
pub(crate) use replication_controller::REPLICATION_CONTROLLERS;
pub(crate) use resource_quota::RESOURCE_QUOTAS;
pub(crate) use run_events::RUN_EVENTS;
pub(crate) use runbook_run::RUNBOOK_RUNS;
pub(crate) use secret::SECRETS;
pub(crate) use service::SERVICES;
pub(crate) use service_account::SERVICE_ACCOUNTS;
pub(crate) use stateful_set::STATEFUL_SETS;
pub(crate) use storage_class::STORAGE_CLASSES;

/// Every kind, in the order in which discovery lists them.
pub(crate) static KINDS: [&Kind; 27] = [
    &NAMESPACES,
    &NODES,
    &PODS,
    &CONFIG_MAPS,
    &EVENTS,
    &SECRETS,
    &SERVICES,
    &SERVICE_ACCOUNTS,
    &RESOURCE_QUOTAS,
    &LIMIT_RANGES,
    &DEPLOYMENTS,
    &REPLICA_SETS,
    &DAEMON_SETS,
    &STATEFUL_SETS,
    &JOBS,
    &BUDGETS,
    &AUTOSCALERS,
    &LEASES,
    &NEW_EVENTS,
    &CRON_JOBS,
    &REPLICATION_CONTROLLERS,
    &PERSISTENT_VOLUMES,
    &PERSISTENT_VOLUME_CLAIMS,
    &STORAGE_CLASSES,
    &PRIORITY_CLASSES,
    &RUNBOOK_RUNS,
    &RUN_EVENTS,
];

/// A kind of object that the API serves.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "a row of a table: facts of Kubernetes, named as it names them"
)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) subresources: &'static [&'static str],
    /// Whether the API counts changes in `metadata.generation`.
    pub(crate) generation: bool,
    /// Whether `kubectl get all` lists the kind.
    pub(crate) common: bool,
    /// The kind in whose form the objects are kept, if it is another one.
    pub(crate) kept_as: Option<&'static Kind>,
    /// Whether names are labels, without dots.
    name_is_label: bool,
    /// Sets what a client has left out. It is applied at each write.
    set_defaults: fn(&mut Value),
    /// Sets what admission plugins add to a new object, and its initial status.
    admit: fn(&mut Value),
    /// The fields that are not written if they have their zero value.
    omitted_when_empty: &'static [&'static [&'static str]],
    /// The fields of the spec that are whole numbers of 32 bits.
    integers: &'static [&'static str],
    /// Adds what is invalid in an object by itself.
    validate: fn(&Value, &mut Vec<StatusCause>),
    /// Adds what is invalid in a change of an object.
    validate_update: fn(&Value, &Value, &mut Vec<StatusCause>),
    /// Sets what the API server counts in a change, besides the generation.
    note_change: fn(&Value, &mut Value),
    /// Whether a change counts in the generation.
    counts: fn(ObjectPart, &Value, &Value) -> bool,
    /// Whether a new object keeps the status that its client gives it.
    pub(crate) keeps_first_status: bool,
    /// The metadata that a component may write together with the status.
    pub(crate) status_metadata: &'static [&'static str],
    /// For how many seconds a deleted object stays; not at all if `None`.
    pub(crate) grace: Option<fn(&Value, &DeleteOptions) -> i64>,
    /// Marks an object whose deletion has begun.
    pub(crate) mark_deleted: fn(&mut Value),
    /// Whether something in an object delays its removal.
    pub(crate) has_content: fn(&Value) -> bool,
    /// Whether the response to a deletion is the object.
    pub(crate) is_shown_when_deleted: bool,
    /// Whether there are many objects that are seldom read, so that they are kept as text.
    pub(crate) is_seldom_read: bool,
    /// Whether a quota can count the objects by the plural alone.
    pub(crate) is_counted_by_plural: bool,
    /// The key by which a strategic merge finds the elements of a list `ports`.
    pub(crate) port_key: &'static str,
    /// The fields besides the name by which objects can be selected.
    pub(crate) fields: &'static [&'static str],
    /// The columns of tables; those of custom kinds are in their definitions.
    pub(crate) columns: &'static [Column],
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Kind {}

impl Kind {
    /// Returns `v1` or `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns the name in most messages, `pods` or `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Returns the name in messages about validity, `Pod` or `Deployment.apps`.
    pub(crate) fn qualified_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.to_owned()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// Returns what identifies the kind.
    pub(crate) fn key(&self) -> (&'static str, &'static str) {
        (self.group, self.plural)
    }

    /// Returns the position of the kind in the registry.
    pub(crate) fn rank(&self) -> usize {
        let position = KINDS.iter().position(|kind| *kind == self);
        position.expect("a kind is one of the registry")
    }

    /// Returns the kind in whose form the objects are kept.
    pub(crate) fn kept(&'static self) -> &'static Self {
        self.kept_as.unwrap_or(self)
    }

    /// Returns whether the kind has a status subresource.
    pub(crate) fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }
}

const fn core(plural: &'static str, kind: &'static str, namespaced: bool) -> Kind {
    Kind {
        group: "",
        version: "v1",
        plural,
        kind,
        namespaced,
        short_names: &[],
        subresources: &[],
        generation: false,
        common: false,
        kept_as: None,
        name_is_label: false,
        set_defaults: |_| {},
        admit: |_| {},
        omitted_when_empty: &[],
        integers: &[],
        validate: |_, _| {},
        validate_update: |_, _, _| {},
        note_change: |_, _| {},
        counts: |_, old, new| old.get("spec") != new.get("spec"),
        keeps_first_status: false,
        status_metadata: &[],
        grace: None,
        mark_deleted: |_| {},
        has_content: |_| false,
        is_shown_when_deleted: false,
        is_seldom_read: false,
        is_counted_by_plural: false,
        port_key: "containerPort",
        fields: &[],
        columns: &[NAME, AGE],
    }
}

/// Returns a kind of a group, with nothing of its own.
pub(crate) const fn grouped(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Kind {
    Kind { group, version, ..core(plural, kind, true) }
}

/// Returns the kind that a path names.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS
        .into_iter()
        .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// Sets the defaults of an object.
pub(crate) fn set_defaults(kind: &Kind, object: &mut Value) {
    (kind.set_defaults)(object);
}

/// Sets what admission plugins add to a new object, and the initial status of its kind.
pub(crate) fn admit(kind: &Kind, object: &mut Value) {
    (kind.admit)(object);
}

/// Removes the fields that the API server does not write: nulls, and fields whose zero value is
/// omitted.
pub(crate) fn normalize(kind: &Kind, object: &mut Value) {
    if custom::is_custom(kind) {
        // Their members may be null.
        object.get_mut("metadata").into_iter().for_each(prune_nulls);
        custom::prune_and_default(kind, object);
    } else {
        prune_nulls(object);
    }
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let path = ["metadata", field];
        if is_empty(at_path(object, &path)) {
            remove(object, &path);
        }
    }
    for path in kind.omitted_when_empty {
        if is_empty(at_path(object, path)) {
            remove(object, path);
        }
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(flag)) => !flag,
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        _ => false,
    }
}

fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// Returns whether the API counts this change in `metadata.generation`.
pub(crate) fn bumps_generation(kind: &Kind, part: ObjectPart, old: &Value, new: &Value) -> bool {
    if custom::is_custom(kind) {
        let without = |object: &Value| {
            let mut rest = object.clone();
            remove(&mut rest, &["metadata"]);
            if kind.has_status() {
                remove(&mut rest, &["status"]);
            }
            rest
        };
        return without(old) != without(new);
    }
    (kind.counts)(part, old, new)
}

/// Returns the decoder's message about a field of the wrong type, if there is one.
pub(crate) fn type_error(kind: &Kind, object: &Value) -> Option<String> {
    let is_integer = |value: &Value| value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
    let field = kind.integers.iter().find(|field| {
        let value = object.pointer(&format!("/spec/{field}"));
        value.is_some_and(|value| !value.is_null() && !is_integer(value))
    })?;
    let name = kind.kind;
    let value = match &object["spec"][*field] {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        _ => "object",
    };
    Some(format!(
        "json: cannot unmarshal {value} into Go struct field {name}Spec.spec.{field} of type int32"
    ))
}

/// Returns what is invalid in an object by itself.
pub(crate) fn validate(kind: &Kind, object: &Value) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    check::validate_name(kind, object, &mut causes);
    (kind.validate)(object, &mut causes);
    causes.extend(custom::validate(kind, object));
    causes
}

/// Sets what the API server counts in a change, besides the generation.
pub(crate) fn note_change(kind: &Kind, old: &Value, new: &mut Value) {
    (kind.note_change)(old, new);
}

/// Returns what is invalid in a change of an object.
pub(crate) fn validate_update(kind: &Kind, old: &Value, new: &Value) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    (kind.validate_update)(old, new, &mut causes);
    causes.extend(custom::validate_update(kind, old, new));
    causes
}
