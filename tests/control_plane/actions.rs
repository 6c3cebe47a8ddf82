//! Every Kubernetes action alone: what it does, and what its undo does.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{ConfigMap, Node, Pod},
    events::v1::Event,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use rafay_relay_sop::journal::RunState;
use serde_json::json;
use simulator::ClusterState;
use test_support::ProgramOutput;

use crate::{
    cli_run::{CliRun, NAMESPACE, simulate_scenario_over},
    cluster::{one_pod_per_node, wait_until},
    fixture::ControlPlane,
    harness::{Test, test},
    run_as::{FAILING_STEP, run, runbook_yaml},
};

const TEST_NAMESPACE: &str = "actions";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("actions::read_config_returns_region_and_cluster", read_config),
        test("actions::cordon_leaves_a_cordoned_node_as_it_is", cordon),
        test("actions::cordon_is_undone_only_where_the_run_set_it", cordon_undone),
        test("actions::uncordon_is_undone_only_where_the_run_cleared_it", uncordon_undone),
        test("actions::list_nodes_returns_the_nodes_of_a_nodegroup", list_nodes),
        test("actions::list_pods_returns_owned_pods_with_nodes_and_instances", list_pods),
        test("actions::rollout_restart_replaces_every_pod", rollout_restart),
        test("actions::a_rollback_logs_what_cannot_be_undone", not_undone),
        test("actions::scale_deployment_scales_up_and_down", scale_up_and_back),
        test("actions::scale_deployment_undo_removes_the_pods_that_it_created", scale_up_undone),
        test("actions::scale_deployment_undo_restores_the_replica_count", scale_down_undone),
        test("actions::scale_deployment_keeps_the_listed_pods", scale_keeping),
        test("actions::delete_pods_deletes_pods_by_uid", delete_pods),
        test("actions::delete_pods_evicts_as_a_budget_allows", evict),
        test("actions::drain_evicts_as_a_budget_allows_and_its_undo_uncordons", drain),
        test("actions::labels_and_taints_are_set_and_restored", label_and_taint),
        test(
            "actions::annotations_are_set_and_restored_and_an_event_is_written",
            annotate_and_report,
        ),
        test("actions::a_job_runs_to_its_end_and_its_undo_deletes_it", run_job),
        test("actions::stateful_and_daemon_sets_are_restarted", restart_sets),
        test("actions::a_stateful_set_is_scaled_and_restored", scale_set),
        test("actions::images_are_set_and_restored", set_image),
        test("actions::a_rollout_is_undone_and_the_undo_goes_back", rollout_undo),
        test("actions::wait_rollout_waits_for_the_new_revision", wait_rollout),
        test("actions::wait_pods_waits_until_ready_and_until_gone", wait_pods),
        test("actions::objects_of_any_kind_are_read_changed_and_waited_for", objects_of_any_kind),
        test("actions::an_object_that_cannot_be_read_or_changed_is_an_error", refused_objects),
        test("actions::update_nodegroup_version_replaces_every_node", update_version),
    ]
}

/// EKS is the simulator, whose nodes join the real control plane, and whose evictions ask its budgets.
async fn update_version(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let scenario = "nodegroups:\n- {name: relay, version: '1.34', max: 3, desired: 2}\n";
    let simulate = simulate_scenario_over(&plane, scenario);
    plane.deployment(NAMESPACE, "relay", 2, json!({})).await;
    budget(&plane, NAMESPACE, json!({"maxUnavailable": 1})).await;
    let before = simulate.state().await;
    let runbook = "name: relay-scale\nsteps:\n  \
        - {id: version, action: update_nodegroup_version, timeout: 2h, with: {nodegroup: {region: us-west-2, cluster: rafay-cluster, name: relay}, version: '1.35'}}\n";
    let dir = tempfile::tempdir().unwrap();
    let mut command = CliRun::of(runbook).command(&simulate, dir.path());
    ProgramOutput::run_async(&mut command).await.expect_exit_code(0);
    let after = simulate.state().await;
    let instances = |state: &ClusterState| {
        state.nodegroups["relay"].instances.keys().cloned().collect::<BTreeSet<String>>()
    };
    assert_eq!(instances(&after).len(), 2);
    assert!(instances(&after).is_disjoint(&instances(&before)));
    let nodes: BTreeSet<String> =
        after.nodes.values().filter_map(|node| node.instance.clone()).collect();
    assert_eq!(nodes, instances(&after), "no old node is left");
}

async fn read_config(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    let data = json!({"aws-region": "eu-north-1", "eks-cluster": "prod"});
    plane
        .create::<ConfigMap>(
            TEST_NAMESPACE,
            json!({"metadata": {"name": "settings"}, "data": data}),
        )
        .await;
    let text = runbook_yaml(
        "  - {id: config, action: read_config, with: {namespace: actions, name: settings}}\n",
    );
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_success();
    assert_eq!(ended.output("config")["region"], json!("eu-north-1"));
    assert_eq!(ended.output("config")["cluster"], json!("prod"));
}

const SETTINGS: &str = "api_version: v1, kind: ConfigMap, namespace: actions, name: settings";

async fn settings(plane: &ControlPlane) {
    plane.namespace(TEST_NAMESPACE).await;
    let settings = json!({"metadata": {"name": "settings"}, "data": {"size": "3", "old": "yes"}});
    plane.create::<ConfigMap>(TEST_NAMESPACE, settings).await;
}

async fn objects_of_any_kind(plane: Arc<ControlPlane>) {
    crate::cluster_store::prepare(&plane).await;
    settings(&plane).await;
    let steps = format!(
        "  - {{id: read, action: get_object, with: {{{SETTINGS}, fields: {{size: {{path: .data.size, type: string}}}}}}}}\n  \
         - {{id: patch, action: patch_object, with: {{{SETTINGS}, patch: {{data: {{size: '{{{{ (read.size | int) + 1 }}}}', old: null, new: added}}, metadata: {{annotations: {{example.com/size: 7}}}}}}}}}}\n  \
         - {{id: wait, action: wait_object, with: {{{SETTINGS}, until: [{{path: .data.size, equals: 4}}, {{path: .data.old, exists: false}}]}}}}\n  \
         - {{id: namespace, action: get_object, with: {{api_version: v1, kind: Namespace, name: actions, fields: {{phase: {{path: .status.phase, type: string}}}}}}}}\n  \
         - {{id: defined, action: wait_object, with: {{api_version: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, name: runbookruns.sop.rafay.dev, until: [{{condition: Established}}]}}}}\n  \
         - {{id: custom, action: get_object, with: {{api_version: sop.rafay.dev/v1alpha1, kind: RunbookRun, resource: runbookruns, namespace: actions, name: absent, may_be_missing: true, fields: {{runbook: {{path: .spec.runbook, type: string}}}}}}}}\n  \
         - {{id: gone, action: wait_object, with: {{api_version: v1, kind: ConfigMap, namespace: actions, name: absent, gone: true}}}}\n  \
         - {{id: used, action: assert, with: {{that: \"{{{{ namespace.phase == 'Active' and custom.runbook is none }}}}\", message: no}}}}\n"
    );
    let text = runbook_yaml(&format!("{steps}{FAILING_STEP}"));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.output("patch")["changed"].as_array().unwrap().len(), 4);
    let maps = plane.api::<ConfigMap>(TEST_NAMESPACE);
    let restored = maps.get("settings").await.unwrap();
    assert_eq!(json!(restored.data), json!({"size": "3", "old": "yes"}));
    assert_eq!(restored.metadata.annotations.unwrap_or_default().len(), 0);

    run(&plane, TEST_NAMESPACE, &runbook_yaml(&steps)).await.expect_success();
    let changed = maps.get("settings").await.unwrap();
    assert_eq!(json!(changed.data), json!({"size": "4", "new": "added"}));
    assert_eq!(json!(changed.metadata.annotations), json!({"example.com/size": "7"}));
}

async fn refused_objects(plane: Arc<ControlPlane>) {
    settings(&plane).await;
    let relay = "api_version: example.com/v1, kind: Relay, resource: relays, namespace: actions, name: relay";
    for (step, message) in [
        (
            format!(
                "get_object, with: {{{relay}, fields: {{size: {{path: .spec.size, type: integer}}}}}}"
            ),
            "the API server does not serve relays.example.com in version v1",
        ),
        (
            format!("wait_object, with: {{{relay}, gone: true}}"),
            "the API server does not serve relays.example.com in version v1",
        ),
        (format!("patch_object, with: {{{SETTINGS}, patch: {{dta: {{a: b}}}}}}"), "unknown field"),
    ] {
        let text = runbook_yaml(&format!("  - {{id: it, on_failure: stop, action: {step}}}\n"));
        let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::Failed);
        assert!(ended.error().contains(message), "{}", ended.error());
    }
}

const LIST: &str =
    "  - {id: pods, action: list_pods, with: {namespace: actions, deployment: relay}}\n";
const RESTART: &str =
    "  - {id: restart, action: rollout_restart, with: {namespace: actions, deployment: relay}}\n";
const SCALE: &str = "  - {id: scale, action: scale_deployment, with: {namespace: actions, deployment: relay, replicas: 4}}\n";
const CORDON: &str = "  - {id: cordon, action: cordon, with: {nodes: [one, two]}}\n";

async fn two_nodes(plane: &ControlPlane, second_is_cordoned: bool) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.node("two", json!({"spec": {"unschedulable": second_is_cordoned}})).await;
}

async fn list_nodes(plane: Arc<ControlPlane>) {
    two_nodes(&plane, true).await;
    let labels = json!({"metadata": {"labels": {
        "eks.amazonaws.com/nodegroup": "relay",
        "topology.kubernetes.io/zone": "eu-north-1a",
    }}});
    plane.node("three", labels).await;
    let group = "{region: eu-north-1, cluster: prod, name: relay}";
    let text = runbook_yaml(&format!(
        "  - {{id: all, action: list_nodes, with: {{}}}}\n  \
         - {{id: group, action: list_nodes, with: {{nodegroup: {group}}}}}\n  \
         - {{id: zone, action: list_nodes, with: {{zone: eu-north-1a, ready: true, not_version: '9.9'}}}}\n  \
         - {{id: cordoned, action: list_nodes, with: {{cordoned: true, conditions: {{DiskPressure: false}}}}}}\n  \
         - {{id: named, action: list_nodes, with: {{selector: kubernetes.io/hostname=one, ready: true}}}}\n"
    ));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_success();
    assert_eq!(ended.output("all")["count"], json!(3));
    assert_eq!(ended.output("all")["cordoned"], json!(["two"]));
    assert_eq!(ended.output("group")["nodes"][0]["name"], json!("three"));
    assert_eq!(ended.output("group")["count"], json!(1));
    let names = |id: &str| ended.output(id)["names"].clone();
    assert_eq!(names("zone"), json!(["three"]));
    assert_eq!(names("cordoned"), json!(["two"]));
    assert_eq!(names("named"), json!(["one"]));
}

/// Whether each of the two nodes is cordoned, and whether it carries an annotation of this program.
async fn cordons(plane: &ControlPlane) -> [(bool, bool); 2] {
    let nodes = Api::<Node>::all(plane.client.clone());
    let mut cordons = [(false, false); 2];
    for (cordon, name) in cordons.iter_mut().zip(["one", "two"]) {
        let node = nodes.get(name).await.unwrap();
        let marked = node.annotations().keys().any(|key| key.starts_with("rafay-relay-sop"));
        *cordon = (node.spec.and_then(|spec| spec.unschedulable).unwrap_or(false), marked);
    }
    cordons
}

async fn cordon(plane: Arc<ControlPlane>) {
    two_nodes(&plane, true).await;
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(CORDON)).await.expect_success();
    assert_eq!(ended.output("cordon")["changed"], json!(["one"]));
    assert_eq!(cordons(&plane).await, [(true, true), (true, false)]);
    // New pods find no place any more.
    plane.create::<Pod>(TEST_NAMESPACE, pod("late")).await;
    wait_until("the pod to be found unschedulable", async || {
        let pod = plane.api::<Pod>(TEST_NAMESPACE).get("late").await.unwrap();
        let conditions = pod.status.unwrap_or_default().conditions.unwrap_or_default();
        conditions.iter().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
    })
    .await;
}

async fn cordon_undone(plane: Arc<ControlPlane>) {
    two_nodes(&plane, true).await;
    run(&plane, TEST_NAMESPACE, &runbook_yaml(&format!("{CORDON}{FAILING_STEP}")))
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(cordons(&plane).await, [(false, false), (true, false)]);
}

async fn uncordon_undone(plane: Arc<ControlPlane>) {
    two_nodes(&plane, true).await;
    let uncordon = CORDON.replace("cordon", "uncordon");
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(&uncordon)).await.expect_success();
    assert_eq!(ended.output("uncordon")["changed"], json!(["two"]));
    assert!(cordons(&plane).await.iter().all(|(cordoned, _)| !cordoned));

    two_nodes(&plane, true).await;
    run(&plane, TEST_NAMESPACE, &runbook_yaml(&format!("{uncordon}{FAILING_STEP}")))
        .await
        .expect_state(RunState::RolledBack);
    assert_eq!(cordons(&plane).await, [(false, false), (true, false)]);
}

async fn list_pods(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    let node = plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    // It has the deployment's label and is none of its pods.
    let mut stranger = pod("stranger");
    stranger["metadata"]["labels"] = json!({"app": "relay-like"});
    plane.create::<Pod>(TEST_NAMESPACE, stranger).await;
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(LIST)).await.expect_success();
    let output = ended.output("pods");
    assert_eq!(output["count"], json!(2));
    assert_eq!(output["nodes"], json!(["one"]));
    let provider = node.spec.unwrap().provider_id.unwrap();
    assert_eq!(output["instances"], json!([provider.rsplit('/').next()]));
}

async fn rollout_restart(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 3, json!({})).await;
    let before = names(&plane).await;
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(RESTART)).await.expect_success();
    let deployment = plane.api::<Deployment>(TEST_NAMESPACE).get("relay").await.unwrap();
    let annotations = deployment.spec.template.metadata.unwrap().annotations.unwrap();
    let written = &annotations["kubectl.kubernetes.io/restartedAt"];
    assert_eq!(json!(written), ended.output("restart")["restarted_at"]);
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 3).await;
    assert!(before.is_disjoint(&names(&plane).await), "every pod is new");
}

async fn wait_rollout(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 3, json!({})).await;
    let before = names(&plane).await;
    let template = json!({"metadata": {"annotations": {"revision": "two"}}});
    let patch = Patch::Merge(json!({"spec": {"template": template}}));
    let deployments = plane.api::<Deployment>(TEST_NAMESPACE);
    deployments.patch("relay", &PatchParams::default(), &patch).await.unwrap();
    let text = runbook_yaml(
        "  - {id: it, action: wait_rollout, with: {namespace: actions, deployment: relay}}\n",
    );
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_success();
    let pods = ended.output("it")["pods"].as_array().unwrap().clone();
    assert_eq!((pods.len(), &ended.output("it")["replicas"]), (3, &json!(3)));
    for pod in pods {
        assert!(!before.contains(pod["name"].as_str().unwrap()), "{pod} is new");
    }
}

async fn scale_up_and_back(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    for name in ["one", "two", "three", "four"] {
        plane.node(name, json!({})).await;
    }
    plane.deployment(TEST_NAMESPACE, "relay", 2, one_pod_per_node("relay")).await;
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(SCALE)).await.expect_success();
    assert_eq!(ended.output("scale")["before"]["replicas"], json!(2));
    assert_eq!(ended.output("scale")["new_pods"].as_array().unwrap().len(), 2);
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 4).await;

    let again = SCALE.replace("replicas: 4", "replicas: 2");
    run(&plane, TEST_NAMESPACE, &runbook_yaml(&again)).await.expect_success();
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 2).await;
}

/// Left to itself, Kubernetes would take those away that share a node, which are the old ones here.
async fn scale_up_undone(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    let before = names(&plane).await;
    plane.cordon_all(true).await;
    for name in ["two", "three"] {
        plane.node(name, json!({})).await;
    }
    let undone = runbook_yaml(&format!("{SCALE}{FAILING_STEP}"));
    run(&plane, TEST_NAMESPACE, &undone).await.expect_state(RunState::RolledBack);
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 2).await;
    assert_eq!(names(&plane).await, before, "the earlier pods are kept");
    no_marks(&plane).await;
}

async fn scale_down_undone(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 3, json!({})).await;
    let before = names(&plane).await;
    let keep = "replicas: 1, keep: ['{{ pods.pods | last }}']";
    let down = format!("{LIST}{}", SCALE.replace("replicas: 4", keep));
    run(&plane, TEST_NAMESPACE, &runbook_yaml(&format!("{down}{FAILING_STEP}")))
        .await
        .expect_state(RunState::RolledBack);
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 3).await;
    let after = names(&plane).await;
    let kept: Vec<&String> = before.intersection(&after).collect();
    assert_eq!(kept, [before.last().unwrap()], "two are new");
    no_marks(&plane).await;
}

async fn not_undone(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    let text = runbook_yaml(&format!("{RESTART}{LIST}{DELETE}{FAILING_STEP}"));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    let log = ended.lines().join("\n");
    assert!(log.contains("2 deleted pods cannot be restored: relay-"), "{log}");
    let kept = "left the new pods of deployment actions/relay: a restart cannot be undone";
    assert!(log.contains(kept), "{log}");
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 2).await;
}

async fn scale_keeping(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    let old = names(&plane).await;
    // Left to itself, Kubernetes removes the youngest pods first: these are to be kept.
    let text = runbook_yaml(
        "  - {id: up, action: scale_deployment, with: {namespace: actions, deployment: relay, replicas: 5}}\n  \
           - {id: down, action: scale_deployment, with: {namespace: actions, deployment: relay, replicas: 3, keep: '{{ up.new_pods }}'}}\n",
    );
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_success();
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 3).await;
    let kept = names(&plane).await;
    let new: BTreeSet<String> = ended.output("up")["new_pods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kept, new);
    assert!(old.is_disjoint(&kept));
    no_marks(&plane).await;
}

/// Checks that no pod still carries the deletion cost that kept it.
async fn no_marks(plane: &ControlPlane) {
    for pod in plane.pods(TEST_NAMESPACE, "relay").await {
        let cost = pod.annotations().get("controller.kubernetes.io/pod-deletion-cost");
        assert_eq!(cost, None, "{}", pod.name_any());
    }
}

const DELETE: &str = "  - {id: delete, action: delete_pods, with: {pods: '{{ pods.pods }}'}}\n";

async fn delete_pods(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    let before = names(&plane).await;
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(&format!("{LIST}{DELETE}")))
        .await
        .expect_success();
    assert_eq!(ended.output("delete")["deleted"].as_array().unwrap().len(), 2);
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 2).await;
    assert!(before.is_disjoint(&names(&plane).await));
}

async fn evict(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 3, json!({})).await;
    budget(&plane, TEST_NAMESPACE, json!({"maxUnavailable": 1})).await;
    let before = names(&plane).await;
    let evict = DELETE.replace("pods.pods }}'", "pods.pods }}', evict: true");
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(&format!("{LIST}{evict}")))
        .await
        .expect_success();
    assert_eq!(ended.output("delete")["deleted"].as_array().unwrap().len(), 3);
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 3).await;
    assert!(before.is_disjoint(&names(&plane).await));
}

async fn drain(plane: Arc<ControlPlane>) {
    two_nodes(&plane, false).await;
    plane.deployment(TEST_NAMESPACE, "relay", 4, json!({})).await;
    budget(&plane, TEST_NAMESPACE, json!({"maxUnavailable": 1})).await;
    let drain = "  - {id: drain, action: drain, with: {nodes: [one]}}\n";
    let text = runbook_yaml(&format!("{drain}{FAILING_STEP}"));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.output("drain")["changed"], json!(["one"]));
    let evicted = ended.output("drain")["evicted"].as_array().unwrap();
    assert!(!evicted.is_empty(), "the pods are spread over both nodes");
    assert!(evicted.iter().all(|pod| pod["node"] == json!("one")));
    plane.wait_until_ready(TEST_NAMESPACE, "relay", 4).await;
    let pods = plane.pods(TEST_NAMESPACE, "relay").await;
    let on_two = |pod: &&Pod| pod.spec.as_ref().unwrap().node_name.as_deref() == Some("two");
    assert_eq!(pods.iter().filter(on_two).count(), 4);
    assert_eq!(cordons(&plane).await, [(false, false), (false, false)]);
}

async fn label_and_taint(plane: Arc<ControlPlane>) {
    two_nodes(&plane, false).await;
    let old = json!({"key": "old", "value": "1", "effect": "PreferNoSchedule"});
    let nodes = Api::<Node>::all(plane.client.clone());
    let patch = json!({"metadata": {"labels": {"stage": "before"}}, "spec": {"taints": [old]}});
    nodes.patch("one", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let steps = "  - {id: label, action: label_nodes, with: {nodes: [one, two], labels: {stage: new}}}\n  \
         - {id: taint, action: taint_nodes, with: {nodes: [one, two], remove: [{key: old}], \
         taints: [{key: dedicated, value: relay, effect: NoSchedule}]}}\n  \
         - {id: listed, action: list_nodes, with: {selector: stage=new}}\n";
    let text = runbook_yaml(&format!("{steps}{FAILING_STEP}"));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.output("label")["changed"], json!(["one", "two"]));
    assert_eq!(ended.output("taint")["changed"], json!(["one", "two"]));
    let set = json!({"key": "dedicated", "value": "relay", "effect": "NoSchedule"});
    for node in ended.output("listed")["nodes"].as_array().unwrap() {
        let taints = node["taints"].as_array().unwrap();
        assert!(taints.contains(&set) && taints.iter().all(|taint| taint["key"] != "old"));
    }
    let state = async |name: &str| {
        let node = nodes.get(name).await.unwrap();
        let stage = node.labels().get("stage").cloned();
        let taints = node.spec.unwrap().taints.unwrap_or_default();
        (stage, taints.into_iter().map(|taint| taint.key).collect::<Vec<_>>())
    };
    assert_eq!(state("one").await, (Some("before".into()), vec!["old".into()]));
    assert_eq!(state("two").await, (None, vec![]));
}

async fn annotate_and_report(plane: Arc<ControlPlane>) {
    two_nodes(&plane, false).await;
    plane.deployment(TEST_NAMESPACE, "relay", 1, json!({})).await;
    let object = "namespace: actions, deployment: relay";
    let steps = format!(
        "  - {{id: note, action: annotate, with: {{{object}, annotations: {{team/owner: relay}}}}}}\n  \
         - {{id: event, action: emit_event, with: {{{object}, reason: Maintenance, note: it moves}}}}\n"
    );
    let text = runbook_yaml(&format!("{steps}{FAILING_STEP}"));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.output("note")["changed"], json!(["team/owner"]));
    let deployments = Api::<Deployment>::namespaced(plane.client.clone(), TEST_NAMESPACE);
    let deployment = deployments.get("relay").await.unwrap();
    assert!(!deployment.annotations().contains_key("team/owner"), "the undo has removed it");
    let events = Api::<Event>::namespaced(plane.client.clone(), TEST_NAMESPACE);
    let name = ended.output("event")["name"].as_str().unwrap();
    let event = events.get(name).await.unwrap();
    assert_eq!(event.regarding.unwrap().uid, deployment.uid());
}

async fn run_job(plane: Arc<ControlPlane>) {
    two_nodes(&plane, false).await;
    let step = "  - {id: job, action: run_job, with: {namespace: actions, name: migrate, log_lines: 0, \
                spec: {image: 'registry.example.com/migrate:1'}}}\n";
    let text = runbook_yaml(&format!("{step}{FAILING_STEP}"));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.output("job")["namespace"], json!("actions"));
    let jobs = Api::<Job>::namespaced(plane.client.clone(), TEST_NAMESPACE);
    let name = ended.output("job")["job"].as_str().unwrap();
    wait_until("the job to be deleted", async || jobs.get_opt(name).await.unwrap().is_none()).await;
}

async fn restart_sets(plane: Arc<ControlPlane>) {
    two_nodes(&plane, false).await;
    create_sets(&plane).await;
    let step = |id: &str, action: &str, name: &str| {
        format!("  - {{id: {id}, action: {action}, with: {{namespace: actions, {name}}}}}\n")
    };
    let text = runbook_yaml(&format!(
        "{}{}{}{}",
        step("a", "wait_rollout", "stateful_set: db"),
        step("b", "wait_rollout", "daemon_set: agent"),
        step("db", "rollout_restart", "stateful_set: db"),
        step("agent", "rollout_restart", "daemon_set: agent"),
    ));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_success();
    for id in ["db", "agent"] {
        assert_eq!(ended.output(id)["replicas"], json!(2));
        let stamp = ended.output(id)["restarted_at"].as_str().unwrap();
        let pods = plane.pods(TEST_NAMESPACE, id).await;
        let has_stamp = |pod: &&Pod| {
            pod.annotations().get("kubectl.kubernetes.io/restartedAt").is_some_and(|at| at == stamp)
        };
        assert_eq!(pods.iter().filter(has_stamp).count(), 2);
    }
}

async fn scale_set(plane: Arc<ControlPlane>) {
    two_nodes(&plane, false).await;
    create_sets(&plane).await;
    let replicas = async || {
        let found = plane.api::<StatefulSet>(TEST_NAMESPACE).get("db").await.unwrap();
        (found.spec.replicas, plane.pods(TEST_NAMESPACE, "db").await.len())
    };
    let step = |replicas: u32| {
        format!(
            "  - {{id: it, action: scale_deployment, with: {{namespace: actions, stateful_set: db, replicas: {replicas}}}}}\n"
        )
    };
    for count in [4, 1] {
        run(&plane, TEST_NAMESPACE, &runbook_yaml(&step(count))).await.expect_success();
        assert_eq!(replicas().await, (Some(count.cast_signed()), count as usize));
    }
    let text = runbook_yaml(&format!("{}{FAILING_STEP}", step(3)));
    run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_eq!(replicas().await.0, Some(1));
}

async fn set_image(plane: Arc<ControlPlane>) {
    two_nodes(&plane, false).await;
    create_sets(&plane).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    let container = |template: k8s_openapi::api::core::v1::PodTemplateSpec| {
        let container = template.spec.unwrap().containers.remove(0);
        (container.name, container.image.unwrap())
    };
    let images = async || {
        let relay = plane.api::<Deployment>(TEST_NAMESPACE).get("relay").await.unwrap();
        let db = plane.api::<StatefulSet>(TEST_NAMESPACE).get("db").await.unwrap();
        let agent = plane.api::<DaemonSet>(TEST_NAMESPACE).get("agent").await.unwrap();
        [relay.spec.template, db.spec.template, agent.spec.template].map(container)
    };
    let before = images().await;
    let step = |name: &str, parameter: &str, container: &str| {
        let image = format!("{{{container}: 'registry.example.com/other:2.0'}}");
        format!(
            "  - {{id: {name}, action: set_image, with: {{namespace: actions, {parameter}: {name}, images: {image}}}}}\n"
        )
    };
    let steps = [("relay", "deployment"), ("db", "stateful_set"), ("agent", "daemon_set")];
    let steps: String = steps
        .into_iter()
        .zip(&before)
        .map(|((name, parameter), (container, _))| step(name, parameter, container))
        .collect();
    let ended = run(&plane, TEST_NAMESPACE, &runbook_yaml(&format!("{steps}{FAILING_STEP}")))
        .await
        .expect_state(RunState::RolledBack);
    for name in ["relay", "db", "agent"] {
        assert_eq!(ended.output(name)["replicas"], json!(2), "{name}");
    }
    assert_eq!(images().await, before);
}

async fn rollout_undo(plane: Arc<ControlPlane>) {
    two_nodes(&plane, false).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    let deployments = plane.api::<Deployment>(TEST_NAMESPACE);
    let template = async || {
        let spec = deployments.get("relay").await.unwrap().spec;
        (spec.template.spec.unwrap().containers[0].image.clone(), spec.template.metadata)
    };
    let first = template().await;
    let other = "registry.example.com/other:2.0";
    let container = deployments.get("relay").await.unwrap().spec.template.spec.unwrap();
    let container = json!({"name": container.containers[0].name, "image": other});
    let patch = json!({"spec": {"template": {
        "metadata": {"annotations": {"second": "yes"}},
        "spec": {"containers": [container]},
    }}});
    deployments.patch("relay", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    wait_until("the second revision", async || {
        let annotations = deployments.get("relay").await.unwrap().metadata.annotations;
        annotations.unwrap().get("deployment.kubernetes.io/revision").is_some_and(|it| it == "2")
    })
    .await;
    let second = template().await;
    let undo =
        "  - {id: undo, action: rollout_undo, with: {namespace: actions, deployment: relay}}\n";
    let text = runbook_yaml(&format!("{undo}{FAILING_STEP}"));
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_state(RunState::RolledBack);
    assert_eq!(ended.output("undo")["revision"], json!(1));
    assert_eq!(template().await, second);
    run(&plane, TEST_NAMESPACE, &runbook_yaml(undo)).await.expect_success();
    assert_eq!(template().await, first);
}

/// A stateful set `db` and a daemon set `agent`, both with two pods on two nodes.
async fn create_sets(plane: &ControlPlane) {
    let spec = |name: &str| {
        let image = format!("registry.example.com/{name}:1.0");
        json!({
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "app", "image": image}],
                },
            },
        })
    };
    let mut stateful = spec("db");
    stateful["replicas"] = json!(2);
    stateful["serviceName"] = json!("db");
    let object = |name: &str, spec| json!({"metadata": {"name": name}, "spec": spec});
    plane.create::<StatefulSet>(TEST_NAMESPACE, object("db", stateful)).await;
    plane.create::<DaemonSet>(TEST_NAMESPACE, object("agent", spec("agent"))).await;
    wait_until("the pods", async || {
        let pods = async |app| plane.pods(TEST_NAMESPACE, app).await.len();
        pods("db").await == 2 && pods("agent").await == 2
    })
    .await;
}

async fn wait_pods(plane: Arc<ControlPlane>) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 2, json!({})).await;
    let text = runbook_yaml(
        "  - {id: ready, action: wait_pods, with: {namespace: actions, deployment: relay}}\n  \
           - {id: selected, action: wait_pods, with: {namespace: actions, selector: app=relay, count: 1}}\n",
    );
    let ended = run(&plane, TEST_NAMESPACE, &text).await.expect_success();
    assert_eq!(ended.output("ready")["count"], json!(2));

    let text = runbook_yaml(
        "  - {id: gone, action: wait_pods, with: {namespace: actions, selector: app=relay, until: gone}}\n",
    );
    let deployments = plane.api::<Deployment>(TEST_NAMESPACE);
    let delete = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        deployments.delete("relay", &kube::api::DeleteParams::background()).await.unwrap();
    };
    let (ended, ()) = tokio::join!(run(&plane, TEST_NAMESPACE, &text), delete);
    assert_eq!(ended.expect_success().output("gone")["count"], json!(2));
}

/// A disruption budget for the pods of `relay` that the controller has taken note of.
pub(crate) async fn budget(plane: &ControlPlane, namespace: &str, spec: serde_json::Value) {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "relay"}});
    let budget = json!({"metadata": {"name": "relay-budget"}, "spec": spec});
    plane.create::<PodDisruptionBudget>(namespace, budget).await;
    let budgets = plane.api::<PodDisruptionBudget>(namespace);
    wait_until("the budget's status", async || {
        let budget = budgets.get("relay-budget").await.unwrap();
        budget.status.is_some_and(|status| status.observed_generation == budget.metadata.generation)
    })
    .await;
}

async fn names(plane: &ControlPlane) -> BTreeSet<String> {
    plane.pods(TEST_NAMESPACE, "relay").await.iter().map(kube::ResourceExt::name_any).collect()
}

fn pod(name: &str) -> serde_json::Value {
    json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1.0"}]},
    })
}
