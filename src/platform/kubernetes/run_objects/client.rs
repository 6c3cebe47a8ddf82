//! The calls for the objects of runs in one namespace. Each change is sent once; the caller knows what may be repeated.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use super::{RunEvents, RunbookRun, RunbookRunStatus};
use crate::platform::{
    PROGRAM,
    error::Error,
    kubernetes::{
        AccessQuestion, Connection, MAX_READ_ATTEMPTS, Object, ObjectWatch, Selection, object_ref,
    },
};

/// The time limit of one change.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The page size of events: 16 of the largest objects that etcd keeps are 24 MB.
const EVENTS_PAGE_SIZE: u32 = 16;

/// The label with the run of a RunEvents.
const RUN_LABEL: &str = "sop.rafay.dev/run";
/// The label of RunEvents that replace others.
const COMPACTED_LABEL: &str = "sop.rafay.dev/compacted";

/// Reads and writes the objects of runs in a namespace.
#[derive(Clone)]
pub struct RunObjects {
    pub(super) connection: Arc<Connection>,
    namespace: String,
}

impl RunObjects {
    pub(in crate::platform) fn new(connection: Arc<Connection>, namespace: String) -> Self {
        Self { connection, namespace }
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the API server's address.
    pub fn server(&self) -> &str {
        &self.connection.server
    }

    /// Returns a run, if there is one of this name.
    ///
    /// # Errors
    /// The call failed, repeatedly where that can help.
    pub async fn get_run(&self, name: &str) -> Result<Option<RunbookRun>, Error> {
        let (api, call) = (self.api::<RunbookRun>(), self.call::<RunbookRun>("get", name));
        self.connection.read(&call, MAX_READ_ATTEMPTS, || api.get_opt(name)).await
    }

    /// Returns all runs, read in pages.
    ///
    /// # Errors
    /// As [`get_run`](Self::get_run).
    pub async fn list_runs(&self) -> Result<Vec<RunbookRun>, Error> {
        let all = Selection::in_namespace(&self.namespace);
        let listing = self.connection.listing(&all);
        Ok(self.connection.list(&listing, MAX_READ_ATTEMPTS).await?.items)
    }

    /// Checks that runs can be read, with one short call.
    ///
    /// # Errors
    /// As [`get_run`](Self::get_run).
    pub async fn probe(&self) -> Result<(), Error> {
        let call = format!("list runbookruns in {}", self.namespace);
        let (api, one) = (self.api::<RunbookRun>(), ListParams::default().limit(1));
        self.connection.read(&call, 1, || api.list_metadata(&one)).await.map(drop)
    }

    /// Whether the caller may do something with all objects of a resource in the namespace, as the API server says.
    ///
    /// # Errors
    /// The API server does not answer the question.
    pub async fn is_allowed(&self, verb: &str, resource: &str) -> Result<bool, Error> {
        let group = RunbookRun::group(&());
        let namespace = Some(self.namespace.as_str());
        let question = AccessQuestion { verb, group: &group, resource, namespace, name: None };
        self.connection.is_allowed(question).await
    }

    /// Creates a run.
    ///
    /// # Errors
    /// The call failed; the code is `AlreadyExists` where there is one of its name.
    pub async fn create_run(&self, run: &RunbookRun) -> Result<RunbookRun, Error> {
        self.create(run).await
    }

    /// Replaces the status of a run, if it still is of this version. Returns the run as it is then.
    ///
    /// # Errors
    /// The call failed; the code is `Conflict` where the run is of another version.
    pub async fn write_status(
        &self,
        name: &str,
        version: Option<&str>,
        status: &RunbookRunStatus,
    ) -> Result<RunbookRun, Error> {
        // A member that is absent would keep its value.
        let mut members = json!({
            "step": null, "progress": null, "waitingFor": null, "holder": null, "renewedAt": null,
            "leaseDurationSeconds": null, "target": null, "startedAt": null, "endedAt": null, "failure": null,
            "events": null, "head": null,
        });
        if let (Some(members), serde_json::Value::Object(present)) =
            (members.as_object_mut(), json!(status))
        {
            members.extend(present);
        }
        let mut patch = json!({"status": members});
        if let Some(version) = version {
            patch["metadata"] = json!({"resourceVersion": version});
        }
        let (api, patch) = (self.api::<RunbookRun>(), Patch::Merge(patch));
        let params = patch_params();
        let call = self.call::<RunbookRun>("patch status of", name);
        let sent = api.patch_status(name, &params, &patch);
        self.connection.send(&call, WRITE_TIMEOUT, sent).await
    }

    /// Writes an annotation of a run, or removes it.
    ///
    /// # Errors
    /// The call failed.
    pub async fn annotate_run(
        &self,
        name: &str,
        annotation: &str,
        value: Option<&str>,
    ) -> Result<RunbookRun, Error> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: value}}}));
        let (api, params) = (self.api::<RunbookRun>(), patch_params());
        let call = self.call::<RunbookRun>("patch", name);
        self.connection.send(&call, WRITE_TIMEOUT, api.patch(name, &params, &patch)).await
    }

    /// Returns the live set of all runs.
    pub fn watch_runs(&self) -> ObjectWatch<RunbookRun> {
        self.watch(Selection::in_namespace(&self.namespace))
    }

    /// Returns the live set of one run.
    pub fn watch_run(&self, name: &str) -> ObjectWatch<RunbookRun> {
        self.watch(Selection::in_namespace(&self.namespace).named(name))
    }

    fn watch(&self, selection: Selection) -> ObjectWatch<RunbookRun> {
        ObjectWatch::new(Arc::clone(&self.connection), self.connection.listing(&selection))
    }

    /// Deletes a run; the API server then deletes what it owns. One that is gone is no error.
    ///
    /// # Errors
    /// The call failed.
    pub async fn delete_run(&self, run: &RunbookRun) -> Result<(), Error> {
        let name = run.metadata.name.as_deref().unwrap_or_default();
        self.delete::<RunbookRun>(name, run.metadata.uid.clone()).await
    }

    /// Returns the events that the run with this UID owns, as they were at one moment. Those of an earlier run of its
    /// name may not be collected yet.
    ///
    /// # Errors
    /// As [`get_run`](Self::get_run).
    pub async fn list_events(&self, run: &str, uid: &str) -> Result<Vec<RunEvents>, Error> {
        let of_run = Selection::in_namespace(&self.namespace)
            .with_labels(format!("{RUN_LABEL}={run}"))
            .with_page_size(EVENTS_PAGE_SIZE);
        let mut events: Vec<RunEvents> =
            self.connection.list(&self.connection.listing(&of_run), MAX_READ_ATTEMPTS).await?.items;
        events.retain(|part| is_owned(&part.metadata, uid));
        Ok(events)
    }

    /// Whether the run with this UID has events that replace others.
    ///
    /// # Errors
    /// As [`get_run`](Self::get_run).
    pub async fn has_compacted_events(&self, run: &str, uid: &str) -> Result<bool, Error> {
        let labels = format!("{RUN_LABEL}={run},{COMPACTED_LABEL}=true");
        let call = format!("list runevents in {} with {labels}", self.namespace);
        let api = self.api::<RunEvents>();
        let params = ListParams::default().labels(&labels);
        let found = self.connection.read(&call, MAX_READ_ATTEMPTS, || api.list_metadata(&params));
        Ok(found.await?.items.iter().any(|part| is_owned(&part.metadata, uid)))
    }

    /// Returns some events, if there are any of this name.
    ///
    /// # Errors
    /// As [`get_run`](Self::get_run).
    pub async fn get_events(&self, name: &str) -> Result<Option<RunEvents>, Error> {
        let (api, call) = (self.api::<RunEvents>(), self.call::<RunEvents>("get", name));
        self.connection.read(&call, MAX_READ_ATTEMPTS, || api.get_opt(name)).await
    }

    /// Creates some events, with the labels by which they are found.
    ///
    /// # Errors
    /// The call failed; the code is `AlreadyExists` where there are some of this name.
    pub async fn create_events(&self, run: &str, events: &RunEvents) -> Result<RunEvents, Error> {
        let mut events = events.clone();
        let labels = events.metadata.labels.get_or_insert_default();
        labels.insert(RUN_LABEL.into(), run.into());
        if events.spec.compacted {
            labels.insert(COMPACTED_LABEL.into(), "true".into());
        }
        self.create(&events).await
    }

    /// Deletes some events. Events that are gone are no error.
    ///
    /// # Errors
    /// The call failed.
    pub async fn delete_events(&self, events: &RunEvents) -> Result<(), Error> {
        let name = events.metadata.name.as_deref().unwrap_or_default();
        self.delete::<RunEvents>(name, events.metadata.uid.clone()).await
    }

    pub(super) async fn create<K: Object + serde::Serialize>(
        &self,
        object: &K,
    ) -> Result<K, Error> {
        let name = object.meta().name.as_deref().unwrap_or_default();
        let (api, call) = (self.api::<K>(), self.call::<K>("create", name));
        let params = PostParams { field_manager: Some(PROGRAM.into()), ..PostParams::default() };
        self.connection.send(&call, WRITE_TIMEOUT, api.create(&params, object)).await
    }

    async fn delete<K: Object>(&self, name: &str, uid: Option<String>) -> Result<(), Error> {
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        let (api, call) = (self.api::<K>(), self.call::<K>("delete", name));
        match self.connection.send(&call, WRITE_TIMEOUT, api.delete(name, &params)).await {
            Err(error) if error.code() == "NotFound" => Ok(()),
            result => result.map(drop),
        }
    }

    pub(super) fn api<K: Object>(&self) -> Api<K> {
        self.connection.api::<K>(Some(&self.namespace))
    }

    pub(super) fn call<K: Object>(&self, verb: &str, name: &str) -> String {
        format!("{verb} {}", object_ref::<K>(Some(&self.namespace), name))
    }
}

fn is_owned(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(PROGRAM.into()), ..PatchParams::default() }
}
