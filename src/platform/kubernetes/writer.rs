//! The calls that change a cluster. Each is sent once: whether a call without a response took effect is for the caller
//! to find out with a read. Only a call that was throttled, and so had no effect, is retried here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use serde_json::{Value as Json, json};

use crate::platform::error::{Error, ErrorKind};
use crate::platform::{PROGRAM, WriteFence, removal::Removals};

use super::{BACKOFF, Connection, KubernetesReader, Object, object_ref, requested_delay};

/// A program that is told to end has thirty seconds to finish the call in flight and note its receipt.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// A throttled call takes no time, so only the delays are added to those twenty seconds.
const MAX_WRITE_ATTEMPTS: u32 = 3;
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The outcome of a request to remove a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The API server accepted it; the pod ends within its grace period.
    Accepted,
    /// The pod was gone already, or another one now has its name.
    Gone,
}

/// Changes a cluster.
#[derive(Clone)]
pub struct KubernetesWriter {
    reader: KubernetesReader,
    fence: WriteFence,
    removals: Removals,
}

impl KubernetesWriter {
    pub(in crate::platform) fn new(
        connection: Arc<Connection>,
        fence: WriteFence,
        removals: Removals,
    ) -> Self {
        Self { reader: KubernetesReader::new(connection), fence, removals }
    }

    /// Returns the reader of the same cluster.
    pub fn reader(&self) -> &KubernetesReader {
        &self.reader
    }

    /// Merges `patch` into an object (RFC 7386: null removes a field) and returns what it became. With
    /// `metadata.resourceVersion` in the patch it takes effect only if the object is still of that version.
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::Busy`] if the version had moved on.
    pub async fn patch<K: Object>(
        &self,
        namespace: Option<&str>,
        name: &str,
        patch: &Json,
    ) -> Result<K, Error> {
        self.patch_with(namespace, name, &Patch::Merge(patch)).await
    }

    /// Merges `patch` into an object of a built-in kind as the kind's strategy says: a list of containers is merged by
    /// name, so that fields that this program does not know stay. It is [`patch`](Self::patch) otherwise.
    ///
    /// # Errors
    /// As [`patch`](Self::patch).
    pub async fn patch_strategically<K: Object>(
        &self,
        namespace: Option<&str>,
        name: &str,
        patch: &Json,
    ) -> Result<K, Error> {
        self.patch_with(namespace, name, &Patch::Strategic(patch)).await
    }

    async fn patch_with<K: Object>(
        &self,
        namespace: Option<&str>,
        name: &str,
        patch: &Patch<&Json>,
    ) -> Result<K, Error> {
        let api = self.connection().api::<K>(namespace);
        let call = format!("patch {}", object_ref::<K>(namespace, name));
        self.write(&call, || async { api.patch(name, &patch_params(), patch).await }).await
    }

    /// Creates an object that the caller has named. Returns none if there is one of this name: perhaps the response to
    /// an earlier attempt was lost.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create<K: Object + serde::Serialize>(
        &self,
        object: &K,
    ) -> Result<Option<K>, Error> {
        let metadata = object.meta();
        let namespace = metadata.namespace.as_deref();
        let name = metadata.name.as_deref().unwrap_or_default();
        let api = self.connection().api::<K>(namespace);
        let call = format!("create {}", object_ref::<K>(namespace, name));
        let params =
            PostParams { field_manager: Some(PROGRAM.to_owned()), ..PostParams::default() };
        match self.write(&call, || api.create(&params, object)).await {
            Err(error) if error.code() == "AlreadyExists" => Ok(None),
            result => result.map(Some),
        }
    }

    /// Deletes the object of this name if it is the one with this UID; what it owns is deleted in the background. One
    /// that is gone, and another one of this name, is no error.
    ///
    /// # Errors
    /// The call failed.
    pub async fn delete_if_same<K: Object>(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(), Error> {
        let api = self.connection().api::<K>(Some(namespace));
        let call = format!("delete {}", object_ref::<K>(Some(namespace), name));
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.write(&call, || async { api.delete(name, &params).await.map(drop) }).await {
            Err(error) if error.kind() == ErrorKind::NotFound || error.code() == "Conflict" => {
                Ok(())
            }
            result => result,
        }
    }

    /// Sets the replicas of a workload through its scale subresource, which needs no permission on the rest of it. With
    /// a `resource_version` it takes effect only if the workload is still of that version.
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::Busy`] if the version had moved on.
    pub async fn scale<K: Object>(
        &self,
        namespace: &str,
        name: &str,
        replicas: u32,
        resource_version: Option<&str>,
    ) -> Result<Scale, Error> {
        let api = self.connection().api::<K>(Some(namespace));
        let call = format!("scale {}", object_ref::<K>(Some(namespace), name));
        let patch = Patch::Merge(scale_patch(replicas, resource_version));
        self.write(&call, || async {
            let scaled: Json =
                serde_json::to_value(api.patch_scale(name, &patch_params(), &patch).await?)
                    .map_err(kube::Error::SerdeError)?;
            serde_json::from_value(scaled).map_err(kube::Error::SerdeError)
        })
        .await
    }

    /// Deletes the pod of this name if it is the one with this UID. No disruption budget is asked.
    ///
    /// # Errors
    /// The pod is held by a guard, or the call failed.
    pub async fn delete_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        grace: Option<u32>,
    ) -> Result<Removal, Error> {
        let api = self.connection().api::<Pod>(Some(namespace));
        let call = format!("delete {}", object_ref::<Pod>(Some(namespace), name));
        let params = DeleteParams {
            grace_period_seconds: grace,
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let _permit = self.removals.permit_pod(namespace, uid).await?;
        let result =
            self.write(&call, || async { api.delete(name, &params).await.map(drop) }).await;
        self.removal_outcome(result, namespace, name, uid).await
    }

    /// Asks that the pod of this name be evicted if it is the one with this UID. Disruption budgets are asked.
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::Busy`] at once, with the budget's or the guard's message, if one of them does not
    /// allow it now.
    pub async fn evict_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        grace: Option<u32>,
    ) -> Result<Removal, Error> {
        let api = self.connection().api::<Pod>(Some(namespace));
        let call = format!("evict {}", object_ref::<Pod>(Some(namespace), name));
        let body = eviction(namespace, name, uid, grace);
        let params = PostParams::default();
        let _permit = self.removals.permit_pod(namespace, uid).await?;
        let result = self
            .write(&call, || async {
                api.create_subresource::<_, Status>("eviction", name, &params, &body)
                    .await
                    .map(drop)
            })
            .await;
        self.removal_outcome(result, namespace, name, uid).await
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.reader.connection
    }

    /// Sends a call that changes something, and retries it only if the API server throttled it.
    pub(super) async fn write<T, F>(&self, call: &str, send: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let connection = self.connection();
        let send_once = || {
            let sending = connection.send(call, WRITE_TIMEOUT, send());
            self.fence.guard(call, &connection.server, sending)
        };
        let mut delays = BACKOFF.delays();
        for _ in 1..MAX_WRITE_ATTEMPTS {
            match send_once().await {
                Err(error) if was_throttled(&error) => {
                    tracing::debug!(%error, "retrying a write to Kubernetes");
                    let delay = delays.next_delay();
                    let delay = requested_delay(&error).unwrap_or(delay);
                    connection.clock.sleep(delay.min(MAX_BACKOFF)).await;
                }
                result => return result,
            }
        }
        send_once().await
    }

    /// Turns a refusal into success when the pod no longer exists.
    async fn removal_outcome(
        &self,
        result: Result<(), Error>,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Removal, Error> {
        match result {
            Ok(()) => Ok(Removal::Accepted),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Removal::Gone),
            Err(error) if error.code() == "Conflict" => {
                let now: Option<Pod> = self.reader.get(Some(namespace), name).await?;
                match now.and_then(|pod| pod.uid()) {
                    Some(present) if present == uid => Err(error),
                    _ => Ok(Removal::Gone),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns whether the API server's flow control answered 429, which it does before it processes the request.
fn was_throttled(error: &Error) -> bool {
    error.kind() == ErrorKind::Transient && matches!(error.code(), "TooManyRequests" | "429")
}

pub(super) fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(PROGRAM.to_owned()), ..PatchParams::default() }
}

fn scale_patch(replicas: u32, resource_version: Option<&str>) -> Json {
    let mut scale = json!({"spec": {"replicas": replicas}});
    if let Some(version) = resource_version {
        scale["metadata"] = json!({"resourceVersion": version});
    }
    scale
}

/// Written by hand: kube's own sends the grace period under a name that the API server does not know.
fn eviction(namespace: &str, name: &str, uid: &str, grace: Option<u32>) -> Json {
    let mut options = json!({"preconditions": {"uid": uid}});
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": namespace, "name": name},
        "deleteOptions": options,
    })
}
