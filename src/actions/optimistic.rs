//! A patch that takes effect only on the version of the object that it was decided on.

use std::{future::Future, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::{Error, Result};
use crate::platform::{
    self, ErrorKind,
    kubernetes::{AnyObject, KubernetesWriter, Object, ObjectAddress},
};
use clock::{Backoff, Pace};

/// Kubelets and controllers write an object's status all the time. More conflicts in a row than this are not chance.
const MAX_ATTEMPTS: u32 = 5;
/// The pauses between attempts: a controller that writes several times in a row is done after the first.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// Lets `decide` choose a merge patch (or none) for an object as it was `seen`, and sends the patch under the condition
/// that the object has not changed. If another client was quicker, reads the object and decides again. Returns the last
/// decision.
///
/// # Errors
/// `decide` refuses, or a call failed.
pub(super) async fn patch_if_unchanged<K: Object, T>(
    kubernetes: &KubernetesWriter,
    namespace: Option<&str>,
    name: &str,
    seen: Option<K>,
    decide: impl Fn(Option<&K>) -> Result<(T, Option<Value>)>,
) -> Result<T> {
    patch(PatchType::Merge, kubernetes, namespace, name, seen, decide).await
}

/// The same with a strategic merge patch, which merges the lists of containers of a built-in kind by name.
///
/// # Errors
/// `decide` refuses, or a call failed.
pub(super) async fn patch_strategically_if_unchanged<K: Object, T>(
    kubernetes: &KubernetesWriter,
    namespace: Option<&str>,
    name: &str,
    seen: Option<K>,
    decide: impl Fn(Option<&K>) -> Result<(T, Option<Value>)>,
) -> Result<T> {
    patch(PatchType::Strategic, kubernetes, namespace, name, seen, decide).await
}

/// The same for an object of any kind. Also returns the object as it is then.
///
/// # Errors
/// `decide` refuses, or a call failed.
pub(super) async fn patch_any_if_unchanged<T>(
    kubernetes: &KubernetesWriter,
    address: &ObjectAddress,
    decide: impl Fn(Option<&AnyObject>) -> Result<(T, Option<Value>)>,
) -> Result<(T, Option<AnyObject>)> {
    let calls = Calls {
        read: || async { super::objects::read(kubernetes.reader(), address).await },
        send: |patch: Value| async move { kubernetes.patch_any(address, &patch).await },
    };
    repeat(kubernetes, &address.to_string(), None, decide, calls).await
}

/// How a patch is merged.
#[derive(Debug, Clone, Copy)]
enum PatchType {
    Merge,
    Strategic,
}

async fn patch<K: Object, T>(
    patch_type: PatchType,
    kubernetes: &KubernetesWriter,
    namespace: Option<&str>,
    name: &str,
    seen: Option<K>,
    decide: impl Fn(Option<&K>) -> Result<(T, Option<Value>)>,
) -> Result<T> {
    let calls = Calls {
        read: || async { Ok(kubernetes.reader().get::<K>(namespace, name).await?) },
        send: |patch: Value| async move {
            match patch_type {
                PatchType::Merge => kubernetes.patch::<K>(namespace, name, &patch).await,
                PatchType::Strategic => {
                    kubernetes.patch_strategically::<K>(namespace, name, &patch).await
                }
            }
        },
    };
    let target = format!("{} {name}", K::kind(&()).to_lowercase());
    Ok(repeat(kubernetes, &target, seen, decide, calls).await?.0)
}

/// The calls for one object.
struct Calls<R, S> {
    read: R,
    send: S,
}

async fn repeat<K, T, R, S>(
    kubernetes: &KubernetesWriter,
    target: &str,
    mut seen: Option<K>,
    decide: impl Fn(Option<&K>) -> Result<(T, Option<Value>)>,
    calls: Calls<impl Fn() -> R, impl Fn(Value) -> S>,
) -> Result<(T, Option<K>)>
where
    K: kube::Resource,
    R: Future<Output = Result<Option<K>>>,
    S: Future<Output = Result<K, platform::Error>>,
{
    let mut pace = Pace::new(kubernetes.reader().clock(), BACKOFF);
    for _ in 0..MAX_ATTEMPTS {
        pace.next_turn().await;
        let found = match seen.take() {
            Some(seen) => Some(seen),
            None => (calls.read)().await?,
        };
        let (decision, patch) = decide(found.as_ref())?;
        let (object, patch) = match (found, patch) {
            (Some(object), Some(patch)) => (object, patch),
            (found, _) => return Ok((decision, found)),
        };
        match (calls.send)(with_resource_version(patch, object.meta())).await {
            Ok(patched) => return Ok((decision, Some(patched))),
            // Another client has changed the object, or it is gone: the next read shows which.
            Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::busy(format!("{target} keeps being changed by other clients")))
}

/// Returns the patch with the condition that the object has the version that was read.
fn with_resource_version(mut patch: Value, metadata: &ObjectMeta) -> Value {
    patch["metadata"]["resourceVersion"] = json!(metadata.resource_version);
    patch
}
