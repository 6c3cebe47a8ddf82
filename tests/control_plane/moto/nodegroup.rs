//! `scale_nodegroup` and `wait_nodes` alone, between moto and the control plane.

use std::{collections::BTreeSet, sync::Arc};

use rafay_relay_sop::journal::RunState;
use serde_json::Value;

use super::{
    Moto,
    aws_account::{AwsAccount, Sizes},
    relay_cluster::{CLUSTER, LABEL, NODEGROUP, RelayCluster},
    request_log::RequestLog,
};
use crate::{
    audit,
    fixture::ControlPlane,
    harness::{Test, test},
    run_as::{FAILING_STEP, RunAs, runbook_yaml},
};
use test_support::FinishedRun;

type PlaneAndMoto = (Arc<ControlPlane>, Arc<Moto>);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("moto::nodegroup::is_scaled_and_its_nodes_are_waited_for", scaled),
        test("moto::nodegroup::is_rolled_back_to_its_original_nodes", scaled_back),
        test(
            "moto::nodegroup::is_unchanged_when_the_kubeconfig_names_another_cluster",
            another_cluster,
        ),
        test("moto::nodegroup::fails_when_its_instances_never_become_nodes", no_nodes),
    ]
}

const SCALE: &str = "  - {id: relay, action: find_nodegroup, with: {region: us-west-2, cluster: prod, labels: {Name: nodegroup-relay-services}}}\n  \
                       - {id: scale, action: scale_nodegroup, with: {nodegroup: '{{ relay }}', desired: 5, raise_max: true}}\n";
const WAIT: &str = "  - {id: nodes, action: wait_nodes, timeout: 20s, with: {nodegroup: '{{ scale }}', count: 5, previous: '{{ scale.before.nodes }}'}}\n";

/// Runs these steps with exactly the permissions that they declare.
async fn run(cluster: &RelayCluster, steps: &str) -> FinishedRun {
    let text = runbook_yaml(steps);
    let run_as = RunAs::of(cluster.service_account(&text).await, &cluster.moto.url);
    let ended = cluster.during(run_as.run(&text)).await;
    assert_eq!(audit::denied_calls(&cluster.plane, &run_as.account).await, [""; 0]);
    ended
}

async fn node_names(cluster: &RelayCluster) -> BTreeSet<String> {
    cluster.nodes().await.iter().map(kube::ResourceExt::name_any).collect()
}

/// The names of nodes in an output.
fn names(records: &Value) -> BTreeSet<String> {
    let records = records.as_array().unwrap();
    records.iter().map(|record| record["name"].as_str().unwrap().to_owned()).collect()
}

async fn scaled((plane, moto): PlaneAndMoto) {
    let cluster = RelayCluster::new(plane, moto, 2).await;
    let before = node_names(&cluster).await;
    let requests = RequestLog::start(&cluster.moto);
    let ended = run(&cluster, &format!("{SCALE}{WAIT}")).await.expect_success();
    assert_eq!(requests.changes(), ["UpdateNodegroupConfig"]);
    assert_eq!(cluster.account.sizes(NODEGROUP).await, Sizes(1, 5, 5));
    let after = node_names(&cluster).await;
    let output = ended.output("nodes");
    assert_eq!(output["count"], 5);
    assert_eq!(names(&output["nodes"]), after);
    assert_eq!(names(&output["new_nodes"]), after.difference(&before).cloned().collect());
    assert_eq!(names(&ended.output("scale")["before"]["nodes"]), before);
}

async fn scaled_back((plane, moto): PlaneAndMoto) {
    let cluster = RelayCluster::new(plane, moto, 2).await;
    let (facts, nodes) = (cluster.facts().await, node_names(&cluster).await);
    run(&cluster, &format!("{SCALE}{WAIT}{FAILING_STEP}")).await.expect_state(RunState::RolledBack);
    cluster.run_until_nodes(2).await;
    assert_eq!(cluster.facts().await, facts);
    assert_eq!(node_names(&cluster).await, nodes);
}

/// The kubeconfig names a cluster whose nodes are none of the nodegroup's instances.
async fn another_cluster((plane, moto): PlaneAndMoto) {
    let mut cluster = RelayCluster::new(plane, moto, 2).await;
    // The same names, and other instances behind them.
    cluster.account = AwsAccount::new(&cluster.moto, CLUSTER).await;
    let labels = [("Name", LABEL)];
    cluster.account.nodegroup(NODEGROUP, &labels, Sizes(1, 3, 2)).await;
    let text = runbook_yaml(SCALE);
    let run_as = RunAs::of(cluster.service_account(&text).await, &cluster.moto.url);
    let requests = RequestLog::start(&cluster.moto);
    let ended = run_as.run(&text).await.expect_state(RunState::RolledBack);
    let refused = "cannot verify that the Kubernetes cluster is EKS cluster prod";
    assert!(ended.error().contains(refused), "{}", ended.error());
    assert_eq!(requests.changes(), [""; 0]);
    assert_eq!(cluster.account.sizes(NODEGROUP).await, Sizes(1, 3, 2));
}

async fn no_nodes((plane, moto): PlaneAndMoto) {
    let mut cluster = RelayCluster::new(plane, moto, 2).await;
    cluster.instances_boot = false;
    let wait = WAIT.replace("count: 5", "count: 5, ready_within: 3s");
    let ended = run(&cluster, &format!("{SCALE}{wait}")).await.expect_state(RunState::RolledBack);
    let error = ended.error();
    let late = " has no node (in service for 3s); 2 of 5 nodes are Ready";
    assert!(error.contains("instance i-") && error.contains(late), "{error}");
    assert_eq!(cluster.account.sizes(NODEGROUP).await, Sizes(1, 3, 2));
    assert_eq!(cluster.account.protections(&cluster.group).await.len(), 2);
}
