//! The whole procedure in different clusters, and the conditions that must hold after each run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rafay_relay_sop::journal::{
    self, Event, MemoryStore, RecordedEvent, RunId, RunStore, StepEvent, StoreError,
};
use runbook::{EvaluationScope, Source, types::Type};
use serde_json::{Value, json};
use simulator::{
    ClusterState, Deployment, NodeFacts, Nodegroup, NodegroupFacts, PodFacts, Scenario, Spread,
};

use test_support::{AroundAppend, FinishedRun, TestCluster, WrappedStore};

const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");
const RELAY: &str = "relay-services-1a2b3c";

/// The default world with its relay deployment and relay nodegroup changed.
fn relay_scenario(nodes: u32, replicas: u32, spread: Spread) -> Scenario {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == RELAY) {
        (group.min, group.desired, group.max) = (nodes.min(group.min), nodes, nodes + 1);
    }
    for deployment in relay_of(&mut scenario) {
        deployment.replicas = replicas;
        deployment.spread = spread;
    }
    scenario
}

fn relay_of(scenario: &mut Scenario) -> impl Iterator<Item = &mut Deployment> {
    scenario.deployments.iter_mut().filter(|deployment| deployment.name == "rafay-relay")
}

/// Runs the procedure and checks all that it promises, against the state before and after.
async fn run_and_check(cluster: &TestCluster, factor: u32) -> FinishedRun {
    let before = cluster.simulator.state().await.unwrap();
    let ended =
        cluster.run_with(RELAY_SCALE, json!({"scale_factor": factor})).await.expect_success();
    let after = cluster.simulator.state().await.unwrap();
    assert_nodegroup_grown(&before, &after, factor);
    assert_sentry_restarted(&before, &after);
    assert_old_relay_nodes_cordoned(&before, &after);
    assert_relay_moved(&before, &after);
    assert_relay_instances_protected(&after);
    ended
}

fn assert_nodegroup_grown(before: &ClusterState, after: &ClusterState, factor: u32) {
    let (was, is) = (&before.nodegroups[RELAY], &after.nodegroups[RELAY]);
    assert_eq!(
        (is.desired, is.group_desired),
        (was.group_desired * factor, was.group_desired * factor)
    );
    assert_eq!(is.instances.len(), is.desired as usize);
    assert_eq!((is.min, is.max), (was.min, was.max.max(is.desired)));
    let ready = nodes_of(after).values().filter(|node| node.ready).count();
    assert_eq!(ready, is.desired as usize, "every node of the group is Ready");
    for (name, was) in before.nodegroups.iter().filter(|(name, _)| *name != RELAY) {
        assert_eq!(&after.nodegroups[name], was, "the other nodegroups are left alone");
    }
}

fn assert_sentry_restarted(before: &ClusterState, after: &ClusterState) {
    let uids = |state: &ClusterState| -> BTreeSet<String> {
        pods_of(state, "rafay-sentry").values().map(|pod| pod.uid.clone()).collect()
    };
    assert_eq!(uids(before).len(), uids(after).len());
    assert!(uids(before).is_disjoint(&uids(after)));
}

fn assert_old_relay_nodes_cordoned(before: &ClusterState, after: &ClusterState) {
    let old = relay_nodes(before);
    for (name, node) in &after.nodes {
        let was = before.nodes.get(name).is_some_and(|node| node.unschedulable);
        assert_eq!(node.unschedulable, was || old.contains(name), "{name}");
    }
}

fn assert_relay_moved(before: &ClusterState, after: &ClusterState) {
    let key = "rafay-core/rafay-relay";
    assert_eq!(after.deployments[key].replicas, before.deployments[key].replicas);
    let pods = pods_of(after, "rafay-relay");
    assert_eq!(pods.len(), pods_of(before, "rafay-relay").len());
    let old = relay_nodes(before);
    for (name, pod) in pods {
        assert!(pod.ready && !pod.terminating, "{name}");
        assert!(!old.contains(pod.node.as_deref().unwrap()), "{name} is on an old node");
        let cost = "controller.kubernetes.io/pod-deletion-cost";
        assert!(!pod.annotations.contains_key(cost), "{name} keeps no deletion cost");
    }
}

fn assert_relay_instances_protected(after: &ClusterState) {
    let nodes = relay_nodes(after);
    let expected: BTreeSet<&str> =
        nodes.iter().filter_map(|name| after.nodes[name].instance.as_deref()).collect();
    let protected: BTreeSet<&str> = after.nodegroups[RELAY]
        .instances
        .iter()
        .filter(|(_, instance)| instance.protected)
        .map(|(id, _)| id.as_str())
        .collect();
    assert_eq!(protected, expected);
}

fn nodes_of(state: &ClusterState) -> BTreeMap<&String, &NodeFacts> {
    state.nodes.iter().filter(|(_, node)| node.nodegroup.as_deref() == Some(RELAY)).collect()
}

fn pods_of<'a>(state: &'a ClusterState, app: &str) -> BTreeMap<&'a String, &'a PodFacts> {
    state.pods.iter().filter(|(_, pod)| pod.app.as_deref() == Some(app)).collect()
}

fn relay_nodes(state: &ClusterState) -> BTreeSet<String> {
    pods_of(state, "rafay-relay").values().filter_map(|pod| pod.node.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_completes_every_step_under_its_name() {
    let cluster = TestCluster::new().await;
    let ended = run_and_check(&cluster, 2).await;
    let completed: Vec<String> = ended
        .lines_without_waits()
        .into_iter()
        .filter_map(|line| line.strip_prefix("Completed step: ").map(str::to_owned))
        .collect();
    assert_eq!(
        completed,
        [
            "Get AWS region and EKS cluster from configmap",
            "Find nodegroup with label Name=nodegroup-relay-services and nodecount > 1",
            "Wait until no rollout of rafay-relay is in progress",
            "Scale nodegroup to 2X its current count",
            "Check that new nodes are showing up and node count matches",
            "Rollout restart rafay-sentry deployment",
            "Get list of nodes on which relay pods are running",
            "Get list of the nodes of the nodegroup",
            "Cordon nodes on which the old relay pods are running",
            "Scale rafay-relay deployment to 2x its current replica count",
            "Get list of the nodes of the nodegroup as it is now",
            "Check that the new relay pods run on the new nodes",
            "Delete old pods so they end up in pending state",
            "Scale back deployment",
            "Get list of nodes on which new relay pods are running",
            "Check if there are any scale in protections in place",
            "Remove existing scale in protections",
            "Get list of nodes on which relay pods are running now",
            "Add scale in protection for instances on which relay pods are running",
            "Get list of relay pods as they are at the end",
            "Get scale in protections as they are at the end",
            "Get list of the nodes of the nodegroup as they are at the end",
            "Check that relay pods are protected and exactly the old nodes are cordoned",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_works_with_other_factors() {
    for factor in [3, 4] {
        run_and_check(&TestCluster::new().await, factor).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_works_with_fewer_pods_than_nodes_and_without_anti_affinity() {
    for (nodes, replicas, spread) in [
        (3, 2, Spread::Required),
        (4, 1, Spread::Required),
        (3, 3, Spread::Preferred),
        (2, 5, Spread::Preferred),
        (3, 3, Spread::None),
    ] {
        run_and_check(
            &TestCluster::with_scenario(relay_scenario(nodes, replicas, spread)).await,
            2,
        )
        .await;
    }
}

/// Returns a value of a type whose lists have `count` items; lists within them have one.
fn large_value(ty: &Type, count: usize, at: usize) -> Value {
    match ty {
        Type::Any | Type::Null => Value::Null,
        Type::Boolean => json!(true),
        Type::Integer(_) | Type::Number(_) => json!(count),
        Type::String(_) => json!(format!("ip-10-0-{at}.us-west-2.compute.internal")),
        Type::Duration => json!("5s"),
        Type::Enum(values) => json!(values.first()),
        Type::List(of, _) => (0..count).map(|at| large_value(of, 1, at)).collect(),
        Type::Map(of, _) => json!({ "Name": large_value(of, 1, at) }),
        Type::Record(record) => {
            let fields = record.fields.iter();
            fields.map(|field| (field.name.clone(), large_value(&field.ty, count, at))).collect()
        }
        Type::Optional(of) => large_value(of, count, at),
    }
}

/// The simulator cannot keep up with so many nodes in a build without optimizations, and the templates do not need it.
#[test]
fn the_templates_of_relay_scale_are_evaluated_with_thousands_of_nodes() {
    const COUNT: usize = 4_000;
    let registry = rafay_relay_sop::engine::registry();
    let source = Source::new("relay-scale.yaml", RELAY_SCALE);
    let runbook = runbook::check(&source, registry).runbook.unwrap();
    let mut scope = EvaluationScope::new(&runbook.bind(&serde_json::Map::new()).unwrap());
    for step in &runbook.steps {
        step.should_run(&scope).unwrap();
        let arguments = step.arguments(&scope);
        if let Err(error) = &arguments {
            assert!(!error.kind.is_limit(), "{error}");
        }
        if step.id == "cordon_old" {
            assert_eq!(arguments.unwrap()["nodes"].as_array().unwrap().len(), COUNT);
        }
        let output = &registry.get(&step.action).unwrap().output;
        let fields = output.fields.iter();
        let output = fields.map(|field| (field.name.clone(), large_value(&field.ty, COUNT, 0)));
        scope.insert(&step.id, &output.collect());
        if let Err(error) = step.message(&scope) {
            assert!(!error.kind.is_limit(), "{error}");
        }
    }
}

/// The most likely reason for scaling: one relay pod more than the nodes can run. That pod takes the first new node,
/// and then only a larger factor leaves enough nodes for twice as many pods.
#[tokio::test(flavor = "multi_thread")]
async fn a_pending_relay_pod_does_not_block_relay_scale() {
    let crowded = || relay_scenario(3, 4, Spread::Required);
    run_and_check(&TestCluster::with_scenario(crowded()).await, 3).await;

    let cluster = TestCluster::with_scenario(crowded()).await;
    let before = cluster.simulator.state().await.unwrap();
    let ended =
        cluster.run_with(RELAY_SCALE, json!({})).await.expect_state(journal::RunState::RolledBack);
    assert!(ended.error().contains("rafay-relay"), "{}", ended.error());
    let after = cluster.simulator.state().await.unwrap();
    assert_eq!(groups(&after), groups(&before));
    assert_eq!(cordoned(&after), cordoned(&before));
    assert_eq!(relay_nodes(&after), relay_nodes(&before));
    assert_eq!(pods_of(&after, "rafay-relay").len(), 4);
}

/// A node of another nodegroup that the relay pods may run on too: its instance is none that could be protected here.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_pod_on_another_nodegroup_is_noticed_before_the_first_irreversible_step() {
    let mut scenario = relay_scenario(3, 3, Spread::Required);
    let relay = scenario.nodegroups.iter().find(|group| group.name == RELAY).unwrap().clone();
    let small = Nodegroup { name: "small".into(), min: 0, max: 4, desired: 4, ..relay };
    // More nodes than the other one has new ones, so that one at least is chosen.
    scenario.nodegroups.push(Nodegroup { protected: Vec::new(), ..small });
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == "small") {
        group.labels.insert("Name".into(), "nodegroup-others".into());
        group.labels.insert("relay".into(), "yes".into());
    }
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == RELAY) {
        group.labels.insert("relay".into(), "yes".into());
    }
    for deployment in relay_of(&mut scenario) {
        deployment.node_selector = [("relay".into(), "yes".into())].into();
        deployment.replicas = 4;
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = cluster.simulator.state().await.unwrap();
    let ended =
        cluster.run_with(RELAY_SCALE, json!({})).await.expect_state(journal::RunState::RolledBack);
    let noticed = "do not run on the nodegroup's new nodes: rafay-relay-";
    assert!(ended.error().contains(noticed), "{}", ended.error());
    let after = cluster.simulator.state().await.unwrap();
    assert_eq!(groups(&after), groups(&before), "protections too");
    assert_eq!(cordoned(&after), cordoned(&before));
}

/// At the end of the procedure every relay pod runs on a node that a rollback removes, and may have no budget.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_from_the_end_leaves_the_relay_in_service() {
    let mut scenario = relay_scenario(3, 3, Spread::Required);
    // Long enough to be seen.
    scenario.times.pod_start = Duration::from_mins(1);
    let cluster = TestCluster::with_scenario(scenario).await;
    let before = cluster.simulator.state().await.unwrap();
    let doubt = "\n  - {id: doubt, action: assert, with: {that: \"{{ new_relay.count == 0 }}\", message: not today}}\n";
    let runbook = format!("{RELAY_SCALE}{doubt}");
    let mut least = usize::MAX;
    let ended = {
        let run = cluster.run_with(&runbook, json!({}));
        tokio::pin!(run);
        loop {
            tokio::select! {
                ended = &mut run => break ended,
                state = cluster.simulator.state() => least = least.min(count_ready_relay_pods(&state.unwrap())),
            }
        }
    };
    let ended = ended.expect_state(journal::RunState::RolledBack);
    assert!(ended.error().contains("not today"), "{}", ended.error());
    assert_eq!(least, 2, "relay pods that served at the worst moment");
    let after = cluster.simulator.state().await.unwrap();
    assert_eq!(groups(&after), groups(&before));
    assert_eq!(count_ready_relay_pods(&after), 3);
}

fn count_ready_relay_pods(state: &ClusterState) -> usize {
    let relay = state.pods.values().filter(|pod| pod.app.as_deref() == Some("rafay-relay"));
    relay.filter(|pod| pod.ready && !pod.terminating).count()
}

/// The nodegroups without how often they were changed.
fn groups(state: &ClusterState) -> BTreeMap<&String, NodegroupFacts> {
    let group = |facts: &NodegroupFacts| NodegroupFacts { updates: 0, ..facts.clone() };
    state.nodegroups.iter().map(|(name, facts)| (name, group(facts))).collect()
}

fn cordoned(state: &ClusterState) -> BTreeSet<&String> {
    state.nodes.iter().filter(|(_, node)| node.unschedulable).map(|(name, _)| name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_works_a_second_time() {
    let cluster = TestCluster::new().await;
    run_and_check(&cluster, 2).await;
    run_and_check(&cluster, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_scale_sends_nothing_twice_and_polls_nothing_that_can_be_watched() {
    let cluster = TestCluster::new().await;
    run_and_check(&cluster, 2).await;
    let mut mutations: BTreeMap<String, usize> = BTreeMap::new();
    for call in cluster.simulator.calls().iter().filter(|call| call.mutating) {
        let kind = call.operation.split('/').next().unwrap_or_default().to_owned();
        *mutations.entry(kind).or_default() += 1;
    }
    // One update, one restart, two scales; a patch a cordoned node, a deletion a pod, two patches a kept pod, one
    // call a batch of protections. The lease is taken, is told that the cluster is about to be changed, and is released.
    let expected: Value = json!({
        "autoscaling:SetInstanceProtection": 2,
        "create leases": 1,
        "delete pods": 3,
        "eks:UpdateNodegroupConfig": 1,
        "patch deployments": 3,
        "patch nodes": 3,
        "patch pods": 6,
        "update leases": 3,
    });
    assert_eq!(json!(mutations), expected);
    for call in cluster.simulator.calls() {
        assert!(!call.mutating || call.effective, "{} changed nothing", call.operation);
    }
    // A look or a watch or two for each step that deals with pods, however long it waits.
    assert!(
        cluster.count_calls("list pods") <= 20,
        "{} lists of pods",
        cluster.count_calls("list pods")
    );
}

/// Counts the synced appends.
#[derive(Default)]
struct Syncs(AtomicUsize);

#[async_trait]
impl AroundAppend for Syncs {
    async fn append(
        &self,
        store: &dyn RunStore,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        self.0.fetch_add(usize::from(sync), Ordering::Relaxed);
        store.append(run, expected, events, sync).await
    }
}

/// The work is counted, not timed: it grows with the cluster and not with its square. The synced appends do not grow.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_350_nodes_costs_five_times_as_much_as_one_on_70() {
    let mut costs = Vec::new();
    for nodes in [70, 350] {
        let store = WrappedStore::around(Arc::new(MemoryStore::default()), Syncs::default());
        let store = Arc::new(store);
        let scenario = relay_scenario(nodes, nodes, Spread::Required);
        let cluster =
            TestCluster::with_store(scenario, Arc::clone(&store) as Arc<dyn RunStore>).await;
        let ended = run_and_check(&cluster, 2).await;
        // How often a wait says what it waits for depends on how long it takes.
        let is_kept = |recorded: &&RecordedEvent| {
            let Event::Step { event, .. } = &recorded.event else { return true };
            !matches!(event, StepEvent::StepWaiting { .. })
        };
        let kept = ended.records.iter().filter(is_kept);
        let bytes: usize = kept.map(|recorded| json!(recorded).to_string().len()).sum();
        let syncs = store.around.0.load(Ordering::Relaxed);
        costs.push((cluster.simulator.controller_work(), bytes, syncs));
    }
    let [small, large] = &costs[..] else { unreachable!("there are two runs") };
    assert!(large.0.changes < small.0.changes * 6, "{small:?} {large:?}");
    assert!(large.0.examined < small.0.examined * 6, "{small:?} {large:?}");
    assert!(large.1 < small.1 * 6, "{small:?} {large:?}");
    assert_eq!(large.2, small.2, "{small:?} {large:?}");
}
