//! A snapshot of a real control plane, and a simulator that begins with it.

use std::{collections::BTreeMap, sync::Arc};

use clock::Clock;
use rafay_relay_sop::{
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions, Progress},
    snapshot::{self, ClusterScope, Snapshot, Wanted},
};
use serde_json::{Value, json};
use simulator::{Options, Scenario, Simulator};

use crate::{
    fixture::ControlPlane,
    harness::{Test, test},
};

const NAMESPACE: &str = "snapshot";

/// No process listens there: the account is a gap.
const NO_AWS: &str = "http://127.0.0.1:1/";

pub(crate) fn tests() -> Vec<Test> {
    vec![test("snapshot::starts_a_simulator_in_the_state_of_a_real_control_plane", real)]
}

async fn real(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    for node in ["one", "two"] {
        plane.node(node, json!({})).await;
    }
    let secret = json!([{"name": "PASSWORD", "value": "hunter2"}]);
    let template = json!({"spec": {"containers": [
        {"name": "app", "image": "registry.example.com/app:1.0", "env": secret},
    ]}});
    plane.deployment(NAMESPACE, "relay", 3, json!({"spec": {"template": template}})).await;
    let access = KubernetesAccess::Inferred { kubeconfig: Some(plane.kubeconfig()), context: None };
    let found = take(access, NO_AWS).await;
    let relay = found.object("Deployment", NAMESPACE, "relay").unwrap();
    assert!(!relay.replicas_managers.is_empty(), "the client of the tests has set them");
    let text = found.to_scenario().to_yaml().unwrap();
    assert!(!text.contains("hunter2"));
    let gaps: Vec<&str> = found.gaps.iter().map(|gap| gap.what.as_str()).collect();
    assert!(gaps.iter().all(|what| !what.starts_with("list ")), "{gaps:?}");

    let scenario = Scenario::from_yaml(&text).unwrap();
    let clock = Clock::scaled(600.0).unwrap();
    let again = Simulator::start(scenario, Options { clock, ..Options::default() }).await.unwrap();
    let access = KubernetesAccess::Endpoint { url: again.kubernetes_url().clone() };
    let second = take(access, again.aws_url().as_str()).await;
    for kind in ["Node", "Pod", "ReplicaSet", "Deployment"] {
        assert_eq!(specs(&second, kind), specs(&found, kind), "{kind}");
    }
}

async fn take(kubernetes: KubernetesAccess, aws: &str) -> Snapshot {
    let platform = Platform::new(PlatformOptions {
        clock: Clock::real(),
        kubernetes,
        aws: AwsAccess::Endpoint { url: aws.parse().expect("a URL") },
        environment: BTreeMap::new(),
    });
    let scope = ClusterScope { region: Some("us-west-2".into()), cluster: Some("c".into()) };
    let wanted = Wanted::default();
    snapshot::take(&platform.reader(), &scope, &wanted, &Progress::silent()).await.unwrap()
}

/// The identities of the objects of a kind, and what they are to be.
fn specs(found: &Snapshot, kind: &str) -> Vec<Value> {
    let of_test = |object: &&snapshot::SnapshotObject| matches!(object.namespace(), "" | NAMESPACE);
    let objects = found.objects_of(kind).iter().filter(of_test);
    objects.map(|object| json!([object.name(), object.uid(), object.object["spec"]])).collect()
}
