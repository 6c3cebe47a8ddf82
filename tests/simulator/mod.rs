//! The simulator, used as by any other client: through its sockets, with the clients of real
//! clusters.

mod aws;
mod faults;
mod growth;
mod kubernetes_api;
mod nodes;
mod policy;
mod quotas;
mod workloads;

use std::{fmt::Debug, future::Future, time::Duration};

use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use clock::Clock;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use simulator::{Options, Scenario, Simulator};

/// The namespace of the default scenario's workloads.
const NAMESPACE: &str = "rafay-core";

/// The nodegroup that relay-scale scales.
const RELAY: &str = "relay-services-1a2b3c";

/// How long a test waits for a condition before it fails.
const WAIT_TIMEOUT: Duration = Duration::from_mins(1);

async fn start(scenario: Scenario) -> Simulator {
    start_at(scenario, 300.0).await
}

async fn start_at(scenario: Scenario, speed: f64) -> Simulator {
    let clock = Clock::scaled(speed).unwrap();
    Simulator::start(scenario, Options { clock, ..Options::default() }).await.unwrap()
}

fn client(simulator: &Simulator) -> Client {
    let uri = simulator.kubernetes_url().as_str().parse().unwrap();
    let mut config = kube::Config::new(uri);
    // A test must see a rejected call, so it is not retried.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn credentials() -> aws_sdk_eks::config::Credentials {
    aws_sdk_eks::config::Credentials::new("simulator", "simulator", None, None, "test")
}

/// Returns a client of one AWS service, without retries.
macro_rules! aws_client {
    ($sdk:ident, $simulator:expr) => {{
        let config = $sdk::Config::builder()
            .behavior_version(crate::simulator::BehaviorVersion::latest())
            .region($sdk::config::Region::new("us-west-2"))
            .endpoint_url($simulator.aws_url().as_str())
            .credentials_provider(crate::simulator::credentials())
            .retry_config($sdk::config::retry::RetryConfig::disabled())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        $sdk::Client::from_conf(config)
    }};
}
pub(crate) use aws_client;

async fn pods_of(client: &Client, app: &str) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let selected = ListParams::default().labels(&format!("app={app}"));
    pods.list(&selected).await.unwrap().items
}

async fn deployment(client: &Client, name: &str) -> Deployment {
    Api::namespaced(client.clone(), NAMESPACE).get(name).await.unwrap()
}

async fn nodes_of(client: &Client, nodegroup: &str) -> Vec<Node> {
    let nodes: Api<Node> = Api::all(client.clone());
    let selected =
        ListParams::default().labels(&format!("eks.amazonaws.com/nodegroup={nodegroup}"));
    nodes.list(&selected).await.unwrap().items
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn node_is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn names<K: ResourceExt>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

/// Waits until `condition` returns a value.
async fn wait_until<T, F, L>(what: &'static str, mut condition: L) -> T
where
    F: Future<Output = Option<T>>,
    L: FnMut() -> F,
{
    let deadline = tokio::time::Instant::now() + WAIT_TIMEOUT;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "timed out waiting for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the code and the reason of an error of the Kubernetes API.
#[track_caller]
fn refusal<T: Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone()),
        other => panic!("expected an error of the API, got {other:?}"),
    }
}
