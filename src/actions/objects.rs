//! The object of any kind that the parameters of an action name, and the values in it.

use serde_json::Value;

use super::{Error, Result};
use crate::platform::{
    self,
    kubernetes::{AnyObject, KubernetesReader, ObjectAddress},
};
use runbook::objects::ObjectKind;

/// The longest value that a message shows.
const MAX_SHOWN: usize = 80;

/// The parameters that name an object.
pub(super) struct ObjectParams {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) resource: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl ObjectParams {
    /// Returns the kind and the place of the object.
    ///
    /// # Errors
    /// The parameters name no kind, as the rules say before a run.
    pub(super) fn resolve(self) -> Result<(ObjectKind, ObjectAddress)> {
        let Self { api_version, kind, resource, namespace, name } = self;
        let kind = ObjectKind::new(&api_version, &kind, resource.as_deref(), namespace.is_some());
        let kind = kind.map_err(|error| Error::precondition(error.to_string()))?;
        let ObjectKind { group, version, kind: kind_name, resource } = kind.clone();
        let address = ObjectAddress { group, version, kind: kind_name, resource, namespace, name };
        Ok((kind, address))
    }
}

/// Returns the kind of an object.
pub(super) fn kind_of(address: &ObjectAddress) -> ObjectKind {
    let ObjectAddress { group, version, kind, resource, .. } = address.clone();
    ObjectKind { group, version, kind, resource }
}

/// Returns an object; none if it does not exist.
///
/// # Errors
/// The call failed, or the API server does not serve the kind.
pub(super) async fn read(
    kubernetes: &KubernetesReader,
    address: &ObjectAddress,
) -> Result<Option<AnyObject>> {
    let found = kubernetes.get_any(address).await;
    found.map_err(|error| explain(error.into(), address))
}

/// Returns the error with what it means, where the API server does not serve the kind.
pub(super) fn explain(error: Error, address: &ObjectAddress) -> Error {
    match error {
        Error::Platform(error) if is_not_served(&error) => {
            let ObjectKind { version, .. } = kind_of(address);
            let kind = kind_of(address);
            Error::precondition(format!(
                "the API server does not serve {kind} in version {version}"
            ))
            .with_hint("`kubectl api-resources` lists what it serves")
        }
        other => other,
    }
}

/// Whether an API server has no such path: an object that does not exist has another code.
fn is_not_served(error: &platform::Error) -> bool {
    error.code() == "404"
}

/// Returns the object as JSON.
pub(super) fn content(object: &AnyObject) -> Value {
    // Its data was read from JSON, so it can be written as JSON.
    serde_json::to_value(object).unwrap_or_default()
}

/// Returns a value for a message, shortened; "none" for one that is absent.
pub(super) fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => return "none".into(),
        Value::String(text) => format!("\"{text}\""),
        other => other.to_string(),
    };
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    text.chars().take(MAX_SHOWN).chain(['…']).collect()
}
