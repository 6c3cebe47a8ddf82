//! `scale_nodegroup` and `wait_nodes` alone, between moto and the control plane.

use std::{collections::BTreeSet, sync::Arc};

use kube::ResourceExt as _;
use rafay_relay_sop::journal::State;
use serde_json::Value;

use super::{
    Moto,
    account::{Account, Sizes},
    record::Record,
    world::{CLUSTER, LABEL, NODEGROUP, World},
};
use crate::{
    audit,
    desk::{Desk, UNDO, book},
    fixture::ControlPlane,
    harness::{Test, test},
    support::Ended,
};

type Both = (Arc<ControlPlane>, Arc<Moto>);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("moto::nodegroup::is_scaled_and_its_nodes_are_awaited", scaled),
        test("moto::nodegroup::is_scaled_back_to_the_nodes_it_had", scaled_back),
        test("moto::nodegroup::stays_as_it_is_for_another_cluster", another_cluster),
        test("moto::nodegroup::whose_instances_never_become_nodes", no_nodes),
    ]
}

const SCALE: &str = "  - {id: relay, action: find_nodegroup, with: {region: us-west-2, cluster: prod, labels: {Name: nodegroup-relay-services}}}\n  \
                       - {id: scale, action: scale_nodegroup, with: {nodegroup: '{{ relay }}', desired: 5, raise_max: true}}\n";
const WAIT: &str = "  - {id: nodes, action: wait_nodes, timeout: 20s, with: {nodegroup: '{{ scale }}', count: 5, previous: '{{ scale.before.nodes }}'}}\n";

/// Runs these steps with exactly the permissions that they declare.
async fn run(world: &World, steps: &str) -> Ended {
    let text = book(steps);
    let desk = Desk::of(world.service_account(&text).await, &world.moto.url);
    let ended = world.during(desk.run(&text)).await;
    assert_eq!(audit::denied(&world.plane, &desk.account).await, [""; 0]);
    ended
}

async fn node_names(world: &World) -> BTreeSet<String> {
    world.nodes().await.iter().map(|node| node.name_any()).collect()
}

/// The names of nodes in an output.
fn names(records: &Value) -> BTreeSet<String> {
    let records = records.as_array().unwrap();
    records.iter().map(|record| record["name"].as_str().unwrap().to_owned()).collect()
}

async fn scaled((plane, moto): Both) {
    let world = World::new(plane, moto, 2).await;
    let before = node_names(&world).await;
    let record = Record::start(&world.moto);
    let ended = run(&world, &format!("{SCALE}{WAIT}")).await.succeeded();
    assert_eq!(record.changes(), ["UpdateNodegroupConfig"]);
    assert_eq!(world.account.sizes(NODEGROUP).await, Sizes(1, 5, 5));
    let after = node_names(&world).await;
    let output = ended.output("nodes");
    assert_eq!(output["count"], 5);
    assert_eq!(names(&output["nodes"]), after);
    assert_eq!(names(&output["new_nodes"]), after.difference(&before).cloned().collect());
    assert_eq!(names(&ended.output("scale")["before"]["nodes"]), before);
}

async fn scaled_back((plane, moto): Both) {
    let world = World::new(plane, moto, 2).await;
    let (facts, nodes) = (world.facts().await, node_names(&world).await);
    run(&world, &format!("{SCALE}{WAIT}{UNDO}")).await.is(State::RolledBack);
    world.until_nodes(2).await;
    assert_eq!(world.facts().await, facts);
    assert_eq!(node_names(&world).await, nodes);
}

/// The kubeconfig names a cluster whose nodes are none of the nodegroup's instances.
async fn another_cluster((plane, moto): Both) {
    let mut world = World::new(plane, moto, 2).await;
    // The same names, and other instances behind them.
    world.account = Account::new(&world.moto, CLUSTER).await;
    let labels = [("Name", LABEL)];
    world.account.nodegroup(NODEGROUP, &labels, Sizes(1, 3, 2)).await;
    let text = book(SCALE);
    let desk = Desk::of(world.service_account(&text).await, &world.moto.url);
    let record = Record::start(&world.moto);
    let ended = desk.run(&text).await.is(State::RolledBack);
    let refused = "cannot tell that the Kubernetes cluster is EKS cluster prod";
    assert!(ended.error().contains(refused), "{}", ended.error());
    assert_eq!(record.changes(), [""; 0]);
    assert_eq!(world.account.sizes(NODEGROUP).await, Sizes(1, 3, 2));
}

async fn no_nodes((plane, moto): Both) {
    let mut world = World::new(plane, moto, 2).await;
    world.instances_boot = false;
    let wait = WAIT.replace("count: 5", "count: 5, ready_within: 3s");
    let ended = run(&world, &format!("{SCALE}{wait}")).await.is(State::RolledBack);
    let error = ended.error();
    let late = " has no node (in service for 3s); 2 of 5 nodes are Ready";
    assert!(error.contains("instance i-") && error.contains(late), "{error}");
    assert_eq!(world.account.sizes(NODEGROUP).await, Sizes(1, 3, 2));
    assert_eq!(world.account.protections(&world.group).await.len(), 2);
}
