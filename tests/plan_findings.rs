//! What a plan finds, and what it must not find: each world has one conflict, or none.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment as LiveDeployment;
use kube::api::{Api, Patch, PatchParams};
use rafay_relay_sop::{
    engine::Engine,
    journal::MemoryStore,
    plan::{self, Plan, Rehearsal, Severity},
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use serde_json::{Map, Value, json};
use simulator::{
    ContainerFailure, Deployment, FailingImage, LaunchFailure, PlainGroup, Scenario, Spread,
};
use test_support::{SCALE_UP, TestCluster, checked, wait_until_async};

use crate::{
    crash::RELAY_SCALE,
    library::runbook,
    plan::{options, plan_of, plan_with},
};

const GROUP: &str = "relay-services-1a2b3c";
const NAMESPACE: &str = "rafay-core";

fn deployment<'s>(scenario: &'s mut Scenario, name: &str) -> &'s mut Deployment {
    scenario.deployments.iter_mut().find(|found| found.name == name).unwrap()
}

fn with_object(object: Value) -> Scenario {
    let mut scenario = Scenario::default();
    scenario.objects.push(object);
    scenario
}

fn budget(name: &str, app: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": app}});
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
}

fn autoscaler(name: &str, minimum: i64) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": minimum, "maxReplicas": 10,
        },
    })
}

/// A runbook with these steps.
fn steps(steps: &str) -> String {
    format!("name: steps\ndefaults: {{timeout: 10m, on_failure: stop}}\nsteps:\n{steps}")
}

/// The findings of a code, by severity.
fn found<'p>(plan: &'p Plan, code: &str) -> Vec<(Severity, &'p str)> {
    let of_code = plan.findings.iter().filter(|finding| finding.code == code);
    of_code.map(|finding| (finding.severity, finding.message.as_str())).collect()
}

#[track_caller]
fn assert_found(plan: &Plan, code: &str, severity: Severity) {
    let findings = found(plan, code);
    assert!(findings.iter().any(|(found, _)| *found == severity), "{code}: {:#?}", plan.findings);
    let all = plan.findings.iter();
    all.for_each(|finding| {
        assert!(!finding.evidence.is_empty() && finding.hint.is_some(), "{finding:#?}");
    });
}

#[track_caller]
fn assert_no_errors(plan: &Plan) {
    assert_eq!(plan.errors(&[]).collect::<Vec<_>>(), Vec::<&plan::Finding>::new());
    let Rehearsal::Done { outcome, .. } = &plan.rehearsal else { panic!("{:?}", plan.rehearsal) };
    assert_eq!(outcome, "succeeded", "{:#?}", plan.rehearsal);
}

// What lies behind the first conflict, and beside it.

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_behind_another_one_is_found_with_it() {
    let mut scenario = with_object(autoscaler("rafay-relay", 3));
    deployment(&mut scenario, "rafay-sentry").paused = true;
    let plan = plan_of(scenario, RELAY_SCALE).await;
    assert_found(&plan, "rollout_paused", Severity::Error);
    assert_found(&plan, "replicas_managed", Severity::Error);
    assert_eq!(found(&plan, "replicas_managed").len(), 1, "{:#?}", plan.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_with_a_conflict_is_named() {
    let scenario = with_object(autoscaler("rafay-relay", 3));
    let mut scenario = scenario;
    scenario.objects.push(autoscaler("relay-cache", 2));
    let text = steps(
        "- {id: one, action: scale_deployment, with: {namespace: rafay-core, deployment: rafay-relay, replicas: 4}}\n\
         - {id: two, action: scale_deployment, with: {namespace: rafay-core, deployment: relay-cache, replicas: 4}}\n",
    );
    let plan = plan_of(scenario, &text).await;
    assert_eq!(found(&plan, "replicas_managed").len(), 2, "{:#?}", plan.findings);
}

// What an earlier step puts right, or what asks nobody, is no error.

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_asks_no_budget_is_not_blocked_by_one() {
    let scenario = with_object(budget("relay", "rafay-relay", json!({"minAvailable": "100%"})));
    assert_no_errors(&plan_of(scenario, RELAY_SCALE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_blocks_only_until_the_run_scales_up_is_no_error() {
    let mut scenario = with_object(budget("cache", "relay-cache", json!({"minAvailable": 1})));
    deployment(&mut scenario, "relay-cache").replicas = 1;
    // One relay pod a node would find no other.
    deployment(&mut scenario, "rafay-relay").spread = Spread::Preferred;
    let text = steps(
        "- {id: more, action: scale_deployment, with: {namespace: rafay-core, deployment: relay-cache, replicas: 3}}\n\
         - {id: cache, action: list_pods, with: {namespace: rafay-core, deployment: relay-cache}}\n\
         - {id: empty, action: drain, with: {nodes: [\"{{ cache.nodes[0] }}\"]}}\n",
    );
    let plan = plan_of(scenario, &text).await;
    assert_eq!(found(&plan, "budget_blocks"), []);
    assert_no_errors(&plan);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_group_whose_protection_the_run_removes_is_no_error() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].protected = vec![1, 2, 3];
    scenario.objects.push(autoscaler("rafay-relay", 3));
    let inputs = json!({
        "region": "us-west-2", "cluster": "rafay-cluster",
        "nodegroups": [GROUP], "deployments": ["rafay-relay", "relay-cache"],
    });
    assert_no_errors(
        &plan_with(
            &TestCluster::with_scenario(scenario).await,
            &runbook("park"),
            inputs,
            &options(),
        )
        .await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_the_run_gives_pods_before_it_restarts_it_is_no_error() {
    let mut scenario = Scenario::default();
    deployment(&mut scenario, "relay-cache").replicas = 0;
    let text = steps(
        "- {id: more, action: scale_deployment, with: {namespace: rafay-core, deployment: relay-cache, replicas: 2}}\n\
         - {id: again, action: rollout_restart, with: {namespace: rafay-core, deployment: relay-cache}}\n\
         - {id: note, action: annotate, with: {namespace: rafay-core, deployment: relay-cache, annotations: {a/b: c}}}\n",
    );
    let plan = plan_of(scenario.clone(), &text).await;
    assert_eq!(found(&plan, "zero_replicas"), []);
    let restart = steps(
        "- {id: again, action: rollout_restart, with: {namespace: rafay-core, deployment: relay-cache}}\n",
    );
    assert_found(&plan_of(scenario, &restart).await, "zero_replicas", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_failure_the_run_survives_is_a_warning() {
    let text = steps(
        "- id: gone\n  action: list_pods\n  on_failure: continue\n  \
         with: {namespace: rafay-core, deployment: no-such}\n",
    );
    let plan = plan_of(Scenario::default(), &text).await;
    assert_found(&plan, "object_missing", Severity::Warning);
    assert_eq!(plan.errors(&[]).count(), 0, "{:#?}", plan.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_an_author_are_no_finding_of_their_own() {
    let text = steps(
        "- {id: no, action: assert, with: {that: false, message: \"the disruption budget is paused, not found\"}}\n",
    );
    let plan = plan_of(Scenario::default(), &text).await;
    assert_eq!(found(&plan, "budget_blocks"), []);
    assert_found(&plan, "rehearsal_failed", Severity::Warning);
}

// Who else changes what the run changes.

fn client_of(cluster: &TestCluster) -> kube::Client {
    kube::Client::try_from(kube::Config::new(
        cluster.simulator.kubernetes_url().as_str().parse().unwrap(),
    ))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_with_several_groups_is_found() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].more_groups = vec!["eks-second".into()];
    assert_found(&plan_of(scenario, RELAY_SCALE).await, "several_groups", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_that_is_not_well_is_found() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].status = "DEGRADED".into();
    let plan = plan_of(scenario, SCALE_UP).await;
    // The size of a group that EKS calls degraded can be changed, as the rehearsal shows.
    assert_found(&plan, "nodegroup_unhealthy", Severity::Warning);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_known_by_its_name_also_where_that_has_spaces() {
    let mut scenario = Scenario::default();
    scenario.auto_scaling_groups.push(PlainGroup {
        name: "batch workers of 2024".into(),
        tags: [("team".to_owned(), "batch".to_owned())].into(),
        desired: 2,
        max: 6,
        new_instances_protected: true,
        ..PlainGroup::default()
    });
    let text = steps(
        "- {id: group, action: find_auto_scaling_group, with: {region: us-west-2, tags: {team: batch}}}\n\
         - {id: more, action: scale_auto_scaling_group, with: {auto_scaling_group: \"{{ group }}\", desired: 4}}\n",
    );
    assert_found(&plan_of(scenario, &text).await, "born_protected", Severity::Warning);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_protected_instances_that_is_to_shrink_is_found() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].protected = vec![1, 2, 3];
    let inputs = json!({
        "region": "us-west-2", "cluster": "rafay-cluster", "nodegroup": GROUP, "desired": 2,
    });
    let plan = plan_with(
        &TestCluster::with_scenario(scenario).await,
        &runbook("scale-nodegroup"),
        inputs,
        &options(),
    )
    .await;
    assert_found(&plan, "all_protected", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_of_the_program_on_a_node_that_is_closed_is_found() {
    let cluster = TestCluster::new().await;
    let engine =
        engine_with(&cluster, [("SOP_NODE_NAME", "ip-10-0-16-11.us-west-2.compute.internal")]);
    let bound = checked(RELAY_SCALE).unwrap().bind(&Map::new()).unwrap();
    let preflight = engine.prepare_to_plan(bound).await.unwrap();
    let plan = plan::make(&engine, &preflight, &options()).await;
    assert_found(&plan, "own_pod", Severity::Warning);
}

/// An engine of a process with these environment variables.
fn engine_with<const N: usize>(cluster: &TestCluster, variables: [(&str, &str); N]) -> Engine {
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let platform = Platform::new(PlatformOptions {
        clock: clock::Clock::real(),
        kubernetes: KubernetesAccess::Endpoint { url: cluster.simulator.kubernetes_url().clone() },
        aws: AwsAccess::Endpoint { url: cluster.simulator.aws_url().clone() },
        environment: variables.into(),
    });
    Engine::new(platform, Arc::new(MemoryStore::default()), true)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_of_the_program_counts_in_a_rehearsal() {
    let mut scenario = Scenario::default();
    scenario.config_maps[0].data.insert("aws-region".into(), "eu-west-1".into());
    let cluster = TestCluster::with_scenario(scenario).await;
    let engine = engine_with(&cluster, [("AWS_REGION", "us-west-2")]);
    let bound = checked(RELAY_SCALE).unwrap().bind(&Map::new()).unwrap();
    let preflight = engine.prepare_to_plan(bound).await.unwrap();
    assert_no_errors(&plan::make(&engine, &preflight, &options()).await);
}

// Rollouts, and pods that cannot run.

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_rollout_is_found_and_its_repair_is_not_refused() {
    let mut scenario = Scenario::default();
    let sentry = deployment(&mut scenario, "rafay-sentry");
    sentry.progress_deadline = 60;
    let broken =
        FailingImage { image: "broken".into(), failure: ContainerFailure::ImagePull, times: None };
    scenario.failing_images = vec![broken];
    let cluster = TestCluster::with_scenario(scenario).await;
    let deployments = Api::<LiveDeployment>::namespaced(client_of(&cluster), NAMESPACE);
    let image = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "rafay-sentry", "image": "registry.example.com/broken:2"},
    ]}}}});
    deployments
        .patch("rafay-sentry", &PatchParams::default(), &Patch::Strategic(image))
        .await
        .unwrap();
    wait_until_async("the deadline", async || {
        let found = deployments.get("rafay-sentry").await.unwrap();
        let conditions = found.status?.conditions.unwrap_or_default();
        conditions.into_iter().find(|it| it.reason.as_deref() == Some("ProgressDeadlineExceeded"))
    })
    .await;
    let restart = steps(
        "- {id: again, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}\n",
    );
    let plan = plan_with(&cluster, &restart, json!({}), &options()).await;
    let codes = ["rollout_stuck", "step_fails"];
    assert!(codes.iter().any(|code| !found(&plan, code).is_empty()), "{:#?}", plan.findings);
    let undo = steps(
        "- {id: back, action: rollout_undo, with: {namespace: rafay-core, deployment: rafay-sentry}}\n",
    );
    assert_no_errors(&plan_with(&cluster, &undo, json!({}), &options()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_a_quota_forbids_are_found() {
    let scenario = with_object(json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "team", "namespace": NAMESPACE}, "spec": {"hard": {"pods": "9"}},
    }));
    assert_found(&plan_of(scenario, RELAY_SCALE).await, "quota_exceeded", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_without_a_place_are_an_error_unless_something_adds_nodes() {
    let text = steps(
        "- {id: cache, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}\n\
         - {id: close, action: cordon, with: {nodes: \"{{ cache.nodes }}\"}}\n\
         - {id: gone, action: delete_pods, with: {pods: \"{{ cache.pods }}\"}}\n",
    );
    assert_found(&plan_of(Scenario::default(), &text).await, "pods_not_placed", Severity::Error);
    let mut scenario = Scenario::default();
    let mut karpenter = scenario.deployments[1].clone();
    (karpenter.namespace, karpenter.name) = ("kube-system".into(), "karpenter".into());
    scenario.deployments.push(karpenter);
    assert_found(&plan_of(scenario, &text).await, "pods_not_placed", Severity::Warning);
}

#[tokio::test(flavor = "multi_thread")]
async fn launches_that_have_just_failed_are_found() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].launch_failures =
        vec![LaunchFailure { times: 1_000, message: "no capacity".into() }];
    let cluster = TestCluster::with_scenario(scenario).await;
    cluster.run(SCALE_UP).await;
    assert_found(
        &plan_with(&cluster, SCALE_UP, json!({}), &options()).await,
        "launches_fail",
        Severity::Warning,
    );
}

// What a copy does not have.

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_about_objects_that_are_not_copied_is_not_rehearsed() {
    let text = steps(
        "- id: service\n  action: get_object\n  with:\n    api_version: v1\n    kind: Service\n    \
         namespace: rafay-core\n    name: relay\n    may_be_missing: true\n    \
         fields: {ip: {path: .spec.clusterIP, type: string}}\n",
    );
    let plan = plan_of(Scenario::default(), &text).await;
    let Rehearsal::NotDone { reason } = &plan.rehearsal else { panic!("{:?}", plan.rehearsal) };
    assert_eq!(reason, "step service uses services, of which a copy of the cluster has none");
    assert_eq!(plan.errors(&[]).count(), 0, "{:#?}", plan.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_omits_does_not_change_what_a_client_writes() {
    // A rollback writes the pods of the copy, and an undone rollout a template of it.
    let (reversible, _) = RELAY_SCALE.split_once("  - id: delete_old\n").unwrap();
    let text = format!(
        "{reversible}\n  - id: doubt\n    action: assert\n    with: {{that: \"{{{{ scale_relay.replicas == 0 }}}}\", message: no}}\n"
    );
    let plan = plan_of(Scenario::default(), &text).await;
    let Rehearsal::Done { outcome, .. } = &plan.rehearsal else { panic!("{:?}", plan.rehearsal) };
    assert_eq!(outcome, "rolled_back");
    assert_found(&plan, "rehearsal_failed", Severity::Warning);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_after_a_wait_is_not_what_is_there_before() {
    let mut scenario = Scenario::default();
    scenario.times.pod_start = std::time::Duration::from_secs(3 * 3600);
    let cluster = TestCluster::with_scenario(scenario).await;
    let deployments = Api::<LiveDeployment>::namespaced(client_of(&cluster), NAMESPACE);
    let note = json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}});
    deployments.patch("relay-cache", &PatchParams::default(), &Patch::Merge(note)).await.unwrap();
    let text = steps(
        "- {id: over, action: wait_rollout, with: {namespace: rafay-core, deployment: relay-cache}}\n\
         - {id: cache, action: list_pods, with: {namespace: rafay-core, deployment: relay-cache}}\n\
         - {id: gone, action: delete_pods, with: {pods: \"{{ cache.pods }}\"}}\n",
    );
    let plan =
        plan_with(&cluster, &text.replace("timeout: 10m", "timeout: 1d"), json!({}), &options())
            .await;
    let gone = plan.steps.last().unwrap();
    assert_eq!(gone.basis, plan::Basis::Predicted, "{gone:#?}");
    assert!(gone.changes.iter().any(|change| change.target.contains("(new pod ")), "{gone:#?}");
}
