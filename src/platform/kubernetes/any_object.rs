//! Objects of kinds that are known only in a run: which fields they have is the business of the caller.

use std::fmt;
use std::sync::Arc;

use kube::api::{Api, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, DynamicObject};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::platform::error::Error;

use super::writer::patch_params;
use super::{
    Connection, KubernetesReader, KubernetesWriter, Listing, MAX_READ_ATTEMPTS, ObjectWatch,
    Selection,
};

/// An object of any kind.
pub type AnyObject = DynamicObject;

/// The place of one object of any kind. `Display` names it for messages: `deployment rafay-core/rafay-relay`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectAddress {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version in the group.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The kind in URLs, in the plural.
    pub resource: String,
    /// The namespace; none for an object of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl ObjectAddress {
    fn api(&self, connection: &Connection) -> Api<AnyObject> {
        let Self { group, version, kind, resource, namespace, .. } = self;
        let slash = if group.is_empty() { "" } else { "/" };
        let resource = ApiResource {
            api_version: format!("{group}{slash}{version}"),
            group: group.clone(),
            version: version.clone(),
            kind: kind.clone(),
            plural: resource.clone(),
        };
        let client = connection.client.clone();
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }
}

impl fmt::Display for ObjectAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.to_lowercase())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

impl KubernetesReader {
    /// Returns an object of any kind; none if it does not exist.
    ///
    /// # Errors
    /// The call failed, repeatedly where that can help; the code is `404` where the API server does not serve the kind.
    pub async fn get_any(&self, address: &ObjectAddress) -> Result<Option<AnyObject>, Error> {
        let api = address.api(&self.connection);
        let call = format!("get {address}");
        let read = || api.get(&address.name);
        match self.connection.read(&call, MAX_READ_ATTEMPTS, read).await {
            Err(error) if error.code() == "NotFound" => Ok(None),
            found => found.map(Some),
        }
    }

    /// Returns the live set of one object of any kind: the object, while it exists.
    pub fn watch_any(&self, address: &ObjectAddress) -> ObjectWatch<AnyObject> {
        let all = Selection { namespace: address.namespace.clone(), ..Selection::default() };
        let listing = Listing {
            api: address.api(&self.connection),
            selection: all.named(&address.name),
            description: address.to_string(),
        };
        ObjectWatch::new(Arc::clone(&self.connection), listing)
    }
}

impl KubernetesWriter {
    /// Merges `patch` into an object of any kind (RFC 7386), which the API server refuses if it has a field that the
    /// kind does not have. It is [`patch`](Self::patch) otherwise.
    ///
    /// # Errors
    /// As [`patch`](Self::patch).
    pub async fn patch_any(
        &self,
        address: &ObjectAddress,
        patch: &Json,
    ) -> Result<AnyObject, Error> {
        let api = address.api(self.connection());
        let call = format!("patch {address}");
        // Without this an unknown field is dropped in silence.
        let params =
            PatchParams { field_validation: Some(ValidationDirective::Strict), ..patch_params() };
        self.write(&call, || async {
            api.patch(&address.name, &params, &Patch::Merge(patch)).await
        })
        .await
    }
}
