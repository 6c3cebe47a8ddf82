//! What can go wrong between the store and the API server, and what to do about it.

use std::collections::BTreeMap;

use super::parts::TooLarge;
use crate::{
    journal::StoreError,
    platform::{Error, ErrorKind, kubernetes::RunObjects},
};

/// The command that makes a cluster ready for runs.
const APPLY: &str = "`rafay-relay-sop crds | kubectl apply -f -`";

/// The remedy for a run whose objects are deleted while it is driven.
const LOST_RUN: &str = "its journal goes with it: look at what it has changed, then remove its lock: \
                        `rafay-relay-sop runs abandon --lock`";

/// A call for the objects of runs, as a rule of a Role names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
}

impl Call {
    pub(super) const CREATE_RUN: Self = Self::new("create", "runbookruns");
    pub(super) const GET_RUN: Self = Self::new("get", "runbookruns");
    pub(super) const LIST_RUNS: Self = Self::new("list", "runbookruns");
    pub(super) const WATCH_RUNS: Self = Self::new("watch", "runbookruns");
    pub(super) const PATCH_RUN: Self = Self::new("patch", "runbookruns");
    pub(super) const DELETE_RUN: Self = Self::new("delete", "runbookruns");
    pub(super) const CREATE_EVENTS: Self = Self::new("create", "runevents");
    pub(super) const GET_EVENTS: Self = Self::new("get", "runevents");
    pub(super) const LIST_EVENTS: Self = Self::new("list", "runevents");
    pub(super) const DELETE_EVENTS: Self = Self::new("delete", "runevents");
    pub(super) const WRITE_STATUS: Self = Self::new("patch", "runbookruns/status");

    /// The calls of a process that drives runs.
    pub(super) const OF_A_RUN: [Self; 10] = [
        Self::GET_RUN,
        Self::LIST_RUNS,
        Self::WATCH_RUNS,
        Self::CREATE_RUN,
        Self::PATCH_RUN,
        Self::WRITE_STATUS,
        Self::GET_EVENTS,
        Self::LIST_EVENTS,
        Self::CREATE_EVENTS,
        Self::DELETE_EVENTS,
    ];

    const fn new(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, resource }
    }

    fn is_append(self) -> bool {
        self.verb == Self::CREATE_EVENTS.verb && self.resource == Self::CREATE_EVENTS.resource
    }

    /// Returns the error of the store for this call.
    pub(super) fn failed(self, objects: &RunObjects, error: &Error) -> StoreError {
        let resource = self.resource;
        let namespace = objects.namespace();
        // A path that is not served; an object that does not exist has a reason.
        if error.code() == "404" {
            return StoreError::Cluster {
                message: format!(
                    "{} does not serve {resource} of sop.rafay.dev/v1alpha1",
                    objects.server()
                ),
                hint: Some(format!("apply the definitions: {APPLY}")),
            };
        }
        let message = error.to_string();
        let hint = match error.kind() {
            ErrorKind::Denied if is_ending(error) && self.is_append() => Some(LOST_RUN.to_owned()),
            ErrorKind::Denied if is_ending(error) => {
                Some("name another with --store-namespace".to_owned())
            }
            ErrorKind::Denied if error.code() == "Forbidden" => Some(rules(namespace, &[self])),
            ErrorKind::NotFound if self.is_append() => Some(LOST_RUN.to_owned()),
            ErrorKind::NotFound => {
                Some("create the namespace, or name another with --store-namespace".to_owned())
            }
            ErrorKind::Invalid if !is_too_large(error) => {
                Some(format!("the definitions may be of another version: {APPLY}"))
            }
            ErrorKind::Transient | ErrorKind::Unreachable if self.is_append() => {
                Some("when the API server answers again, resume the run".to_owned())
            }
            _ => error.hint().map(str::to_owned),
        };
        StoreError::Cluster { message, hint }
    }
}

/// Returns the error of an account that may not do all that a run needs.
pub(super) fn denied(objects: &RunObjects, calls: &[Call]) -> StoreError {
    let namespace = objects.namespace();
    let denied: Vec<String> =
        calls.iter().map(|Call { verb, resource }| format!("{verb} {resource}")).collect();
    StoreError::Cluster {
        message: format!(
            "the account may not {} of sop.rafay.dev in the namespace {namespace} ({})",
            denied.join(", "),
            objects.server()
        ),
        hint: Some(rules(namespace, calls)),
    }
}

/// Returns a hint with the rules that allow calls, one for each resource.
fn rules(namespace: &str, calls: &[Call]) -> String {
    let mut verbs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    calls.iter().for_each(|call| verbs.entry(call.resource).or_default().push(call.verb));
    let rule = |(resource, verbs): (&str, Vec<&str>)| {
        let verbs = verbs.join(", ");
        format!("{{apiGroups: [sop.rafay.dev], resources: [{resource}], verbs: [{verbs}]}}")
    };
    let rules: Vec<String> = verbs.into_iter().map(rule).collect();
    format!("add to a Role in the namespace {namespace}: {}", rules.join(", "))
}

/// Returns the error of a run that was deleted while it was driven.
pub(super) fn deleted(place: &str) -> StoreError {
    StoreError::Cluster { message: format!("{place} was deleted"), hint: Some(LOST_RUN.to_owned()) }
}

/// Returns the error of a cluster that keeps less of an object than this program has written.
pub(super) fn other_version(objects: &RunObjects, resource: &str) -> StoreError {
    StoreError::Cluster {
        message: format!("{} does not keep all members of {resource}", objects.server()),
        hint: Some(format!("the definitions are of another version: {APPLY}")),
    }
}

/// Returns the error of an event that fits into no object.
pub(super) fn too_large(place: &str, TooLarge { event, bytes }: &TooLarge) -> StoreError {
    StoreError::Cluster {
        message: format!(
            "event {event} of {place} is too large for an object of the cluster: {} KiB when it is compressed",
            bytes >> 10
        ),
        hint: Some("use a state directory for this runbook: --store directory".into()),
    }
}

/// Whether etcd refused an object for its size, which it reports as an error of the server.
pub(super) fn is_too_large(error: &Error) -> bool {
    error.code() == "RequestEntityTooLarge" || error.to_string().contains("request is too large")
}

/// Whether the API server refuses new objects because the namespace is being deleted.
pub(super) fn is_ending(error: &Error) -> bool {
    error.to_string().contains("is being terminated")
}
