//! Creates a scenario's Kubernetes objects in a cluster, through the API. An object that exists
//! already is not changed.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Discovery};
use serde_json::{Value, json};

use super::scenario::Scenario;

/// The reason why a scenario's object was not created.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The API rejected the object or did not answer.
    #[error("could not create {what} in the cluster: {source}")]
    CreateFailed {
        /// Kind and name of the object.
        what: String,
        /// The error of the API.
        source: Box<kube::Error>,
    },
    /// The object has no `apiVersion`, `kind` or name, or the value is not an object.
    #[error("an object of the scenario has no apiVersion, kind or metadata.name: {0}")]
    MalformedObject(String),
    /// The cluster does not serve the object's kind.
    #[error("the cluster does not serve the kind {0}")]
    UnknownKind(String),
}

/// Creates everything that the scenario describes except nodes.
pub(crate) async fn create_objects(scenario: &Scenario, client: &Client) -> Result<(), SeedError> {
    let discovery = Discovery::new(client.clone()).run().await.map_err(|source| {
        SeedError::CreateFailed { what: "the scenario".to_owned(), source: Box::new(source) }
    })?;
    for name in namespaces(scenario) {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
        });
        create(client, &discovery, namespace).await?;
    }
    for config_map in &scenario.config_maps {
        create(client, &discovery, config_map.to_object()).await?;
    }
    for object in &scenario.objects {
        create(client, &discovery, object.clone()).await?;
    }
    for deployment in &scenario.deployments {
        create(client, &discovery, deployment.to_object()).await?;
    }
    Ok(())
}

/// Returns the namespaces that the scenario lists and those that its config maps and deployments
/// use.
fn namespaces(scenario: &Scenario) -> BTreeSet<&str> {
    let named = scenario.namespaces.iter();
    let of_maps = scenario.config_maps.iter().map(|map| &map.namespace);
    let of_deployments = scenario.deployments.iter().map(|deployment| &deployment.namespace);
    named.chain(of_maps).chain(of_deployments).map(String::as_str).collect()
}

/// The time that a real control plane has to start the scenario's pods.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until a real control plane has made the scenario's deployments available, for
/// [`CONVERGENCE_TIMEOUT`] at most.
pub(crate) async fn wait_until_available(scenario: &Scenario, client: &Client) {
    let waiting = async {
        for wanted in &scenario.deployments {
            let api: Api<Deployment> = Api::namespaced(client.clone(), &wanted.namespace);
            while !api.get_status(&wanted.name).await.is_ok_and(|found| is_available(&found)) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    // In some scenarios not every pod can be scheduled, so a timeout is not an error.
    let _ = tokio::time::timeout(CONVERGENCE_TIMEOUT, waiting).await;
}

fn is_available(deployment: &Deployment) -> bool {
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas);
    available.unwrap_or(0) >= deployment.spec.replicas.unwrap_or(1)
}

async fn create(client: &Client, discovery: &Discovery, object: Value) -> Result<(), SeedError> {
    let object: DynamicObject = serde_json::from_value(object.clone())
        .map_err(|_| SeedError::MalformedObject(object.to_string()))?;
    let malformed = || SeedError::MalformedObject(format!("{:?}", object.metadata));
    let types = object.types.as_ref().ok_or_else(malformed)?;
    let name = object.metadata.name.clone().ok_or_else(malformed)?;
    let kind = GroupVersionKind::try_from(types).map_err(|_| malformed())?;
    let (resource, capabilities) = discovery
        .resolve_gvk(&kind)
        .ok_or_else(|| SeedError::UnknownKind(format!("{} {}", types.api_version, types.kind)))?;
    let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
    let api = api_of(client, &resource, namespaced, object.metadata.namespace.as_deref());
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(source) => Err(SeedError::CreateFailed {
            what: format!("{} {name:?}", types.kind),
            source: Box::new(source),
        }),
    }
}

fn api_of(
    client: &Client,
    resource: &ApiResource,
    namespaced: bool,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    if namespaced {
        let namespace = namespace.unwrap_or("default");
        Api::namespaced_with(client.clone(), namespace, resource)
    } else {
        Api::all_with(client.clone(), resource)
    }
}
