//! The Kubernetes half of the simulator: an API server over a store of JSON objects, and the
//! controllers of a control plane. The AWS half reaches it through its socket only, like every
//! other client.

use std::sync::{Arc, Mutex};

use serde_json::json;

use clock::Clock;

use crate::authorize::AccessPolicy;
use crate::ids::IdGenerator;
use crate::scenario::Scenario;

use api::ApiServer;
use kinds::NAMESPACES;
use store::ObjectStore;
use write::ObjectWriter;

mod admission;
pub(crate) mod api;
pub(crate) mod cluster_objects;
pub(crate) mod controllers;
mod custom;
mod event_forms;
mod index;
mod kinds;
mod object;
mod patch;
mod quantity;
mod request;
mod selectors;
mod status_error;
mod store;
mod wire_types;
mod write;

/// The namespaces that every cluster has.
const NAMESPACE_NAMES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Returns an API server that has only the objects of every cluster, and those that the scenario has read from one.
pub(crate) fn api_server(
    scenario: &Scenario,
    clock: Clock,
    policy: Option<AccessPolicy>,
) -> Arc<ApiServer> {
    let seed = cluster_objects::seed(scenario.seed, &scenario.cluster_objects);
    let mut store = ObjectStore::new(IdGenerator::new(seed));
    let now = clock.now();
    for name in NAMESPACE_NAMES {
        let mut writer = ObjectWriter { store: &mut store, now, dry_run: false };
        let namespace = json!({"metadata": {"name": name}});
        // The names are valid and the store is empty, so this cannot fail.
        let Ok(made) = writer.create(&NAMESPACES, "", namespace) else {
            continue;
        };
        if name == "kube-system" {
            let uid =
                scenario.cluster_uid.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
            let mut namespace = serde_json::Value::clone(&made);
            namespace["metadata"]["uid"] = uid.into();
            store.put(&NAMESPACES, namespace);
        }
    }
    cluster_objects::load(&mut store, &scenario.cluster_objects, now);
    let version = scenario.version.clone();
    Arc::new(ApiServer { store: Mutex::new(store), clock, version, policy })
}
