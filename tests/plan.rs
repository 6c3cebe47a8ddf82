//! Plans: what a run would do, found out by reads and by a rehearsal; conflicts planted one at a time; and runs that keep
//! to an approved plan.

use rafay_relay_sop::{
    journal::{ApprovedPlan, RecordedChange, RunState},
    plan::{self, Basis, CODES, Effect, Plan, PlanOptions, Rehearsal, Severity},
};
use serde_json::{Map, Value, json};
use simulator::Scenario;
use test_support::{FinishedRun, SCALE_UP, TestCluster, checked, effective_calls};

use crate::crash::RELAY_SCALE;

const GROUP: &str = "relay-services-1a2b3c";

pub(crate) fn options() -> PlanOptions {
    PlanOptions { ranges: false, ..PlanOptions::default() }
}

pub(crate) async fn plan_with(
    cluster: &TestCluster,
    text: &str,
    inputs: Value,
    options: &PlanOptions,
) -> Plan {
    let Value::Object(inputs) = inputs else { panic!("inputs are a mapping") };
    let bound = checked(text).unwrap().bind(&inputs).unwrap();
    let preflight = cluster.engine.prepare_to_plan(bound).await.unwrap();
    plan::make(&cluster.engine, &preflight, options).await
}

pub(crate) async fn plan_of(scenario: Scenario, text: &str) -> Plan {
    let cluster = TestCluster::with_scenario(scenario).await;
    plan_with(&cluster, text, json!({}), &options()).await
}

fn codes(plan: &Plan) -> Vec<&str> {
    plan.findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[track_caller]
fn assert_finding(plan: &Plan, code: &str, severity: Severity) {
    let found = plan.findings.iter().find(|finding| finding.code == code);
    let found = found.unwrap_or_else(|| panic!("no {code}: {:#?}", plan.findings));
    assert_eq!(found.severity, severity, "{found:#?}");
    assert!(!found.evidence.is_empty() && found.hint.is_some(), "{found:#?}");
}

/// Every change that the plan predicts happens, and no other.
#[track_caller]
fn assert_happened(plan: &Plan, ended: &FinishedRun) {
    let approved: ApprovedPlan = plan.approve("x".into(), &plan.existing);
    for step in ended.run.steps() {
        let changes: Vec<RecordedChange> =
            step.intent.iter().flat_map(|intent| intent.changes.clone()).collect();
        assert_eq!(
            approved.differences(&step.path, &changes),
            Vec::<String>::new(),
            "{}",
            step.path
        );
    }
    let Rehearsal::Done { outcome, .. } = &plan.rehearsal else { panic!("{:?}", plan.rehearsal) };
    assert_eq!(*outcome, ended.state.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_predicts_every_change_of_relay_scale_and_makes_none() {
    let cluster = TestCluster::new().await;
    let plan = plan_with(&cluster, RELAY_SCALE, json!({}), &PlanOptions::default()).await;
    assert_eq!(cluster.effective_calls(), Vec::<String>::new(), "a plan changes nothing");
    assert_eq!(codes(&plan), Vec::<&str>::new(), "{:#?}", plan.findings);
    let scale_up = plan.steps.iter().find(|step| step.path.to_string() == "scale_up").unwrap();
    assert_eq!(scale_up.basis, Basis::Read);
    assert_eq!(scale_up.changes[0].target, format!("nodegroup {GROUP} desired"));
    let protect = plan.steps.iter().find(|step| step.path.to_string() == "protect").unwrap();
    assert_eq!(protect.basis, Basis::Predicted);
    assert!(protect.changes[0].target.contains("(new instance "), "{protect:#?}");
    let Rehearsal::Done { takes, placements, .. } = &plan.rehearsal else {
        panic!("not rehearsed")
    };
    assert!(takes.low <= takes.typical && takes.typical <= takes.high, "{takes:?}");
    assert!(placements.iter().any(|place| place.node.starts_with("(new node ")), "{placements:?}");
    let ended = cluster.run(RELAY_SCALE).await.expect_success();
    assert_happened(&plan, &ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_a_rehearsal_says_after_which_step_it_is_known() {
    let cluster = TestCluster::new().await;
    let options = PlanOptions { rehearse: false, ..options() };
    let plan = plan_with(&cluster, SCALE_UP, json!({}), &options).await;
    assert!(matches!(plan.rehearsal, Rehearsal::NotDone { .. }));
    let last = plan.steps.last().unwrap();
    assert_eq!(last.effect, Effect::Unknown, "{last:#?}");
    assert!(!last.known_after.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_to_an_approved_plan() {
    let cluster = TestCluster::new().await;
    let plan = plan_with(&cluster, RELAY_SCALE, json!({}), &options()).await;
    let mut preflight =
        cluster.engine.prepare(checked(RELAY_SCALE).unwrap(), &Map::new()).await.unwrap();
    preflight.consent.plan = Some(plan.approve("x".into(), &plan.existing));
    let accepted = cluster.engine.accept(preflight, "test", None).await.unwrap();
    cluster.drive(accepted, Default::default()).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_not_as_approved_fails_before_anything_is_sent() {
    let cluster = TestCluster::new().await;
    let mut plan = plan_with(&cluster, SCALE_UP, json!({}), &options()).await;
    for step in &mut plan.steps {
        step.changes.iter_mut().filter(|change| change.after == 6).for_each(|c| c.after = json!(5));
    }
    let mut preflight =
        cluster.engine.prepare(checked(SCALE_UP).unwrap(), &Map::new()).await.unwrap();
    preflight.consent.plan = Some(plan.approve("x".into(), &plan.existing));
    let accepted = cluster.engine.accept(preflight, "test", None).await.unwrap();
    let ended = cluster.drive(accepted, Default::default()).await;
    assert_ne!(ended.state, RunState::Succeeded);
    let expected = format!("nodegroup {GROUP} desired: planned 3 -> 5, now 3 -> 6");
    assert!(ended.error().contains(&expected), "{}", ended.error());
    assert_eq!(effective_calls(&cluster.simulator.calls()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_plans_differ_by_what_has_changed_in_between() {
    let before = plan_of(Scenario::default(), SCALE_UP).await;
    let mut scenario = Scenario::default();
    (scenario.nodegroups[0].desired, scenario.nodegroups[0].max) = (4, 8);
    let now = plan_of(scenario, SCALE_UP).await;
    assert_eq!(before.differences(&before), Vec::<String>::new());
    let differences = before.differences(&now).join("\n");
    assert!(differences.contains("desired: planned 3 -> 6, now 4 -> 8"), "{differences}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_on_the_relay_is_found() {
    let mut scenario = Scenario::default();
    scenario.objects.push(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "relay", "namespace": "rafay-core"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "rafay-relay"},
            "minReplicas": 3, "maxReplicas": 10,
        },
    }));
    assert_finding(&plan_of(scenario, RELAY_SCALE).await, "replicas_managed", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_deployment_is_found() {
    let mut scenario = Scenario::default();
    scenario.deployments.retain(|deployment| deployment.name != "rafay-sentry");
    assert_finding(&plan_of(scenario, RELAY_SCALE).await, "object_missing", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_pods_is_found() {
    let mut scenario = Scenario::default();
    let relay = scenario.deployments.iter_mut().find(|found| found.name == "rafay-relay").unwrap();
    relay.replicas = 0;
    assert_finding(&plan_of(scenario, RELAY_SCALE).await, "zero_replicas", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_above_the_maximum_is_found() {
    let text = RELAY_SCALE.replace("raise_max: true", "raise_max: false");
    let plan = plan_of(Scenario::default(), &text).await;
    assert_finding(&plan, "maximum_too_small", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_would_be_exceeded_is_found() {
    let text = RELAY_SCALE.replace("defaults: {", "limits: {nodes_at_most: 5}\ndefaults: {");
    let cluster = TestCluster::new().await;
    let plan = plan_with(&cluster, &text, json!({}), &options()).await;
    assert_finding(&plan, "limit_exceeded", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_launches_are_found() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].suspended_processes = vec!["Launch".into()];
    assert_finding(&plan_of(scenario, SCALE_UP).await, "processes_suspended", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_that_is_being_updated_is_found() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].status = "UPDATING".into();
    assert_finding(&plan_of(scenario, SCALE_UP).await, "update_in_flight", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_are_born_protected_are_found() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].new_instances_protected = true;
    assert_finding(&plan_of(scenario, SCALE_UP).await, "born_protected", Severity::Warning);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_autoscaler_that_would_remove_the_new_nodes_is_found() {
    let mut scenario = Scenario::default();
    let mut autoscaler = scenario.deployments[0].clone();
    autoscaler.namespace = "kube-system".into();
    autoscaler.name = "cluster-autoscaler".into();
    scenario.deployments.push(autoscaler);
    assert_finding(&plan_of(scenario, SCALE_UP).await, "cluster_autoscaler", Severity::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_never_allows_an_eviction_is_found() {
    let mut scenario = Scenario::default();
    scenario.objects.push(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "relay", "namespace": "rafay-core"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "rafay-relay"}}},
    }));
    let text = "\
name: drain
steps:
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- id: empty
  action: drain
  timeout: 3m
  with: {nodes: \"{{ relay.nodes }}\"}
";
    assert_finding(&plan_of(scenario, text).await, "budget_blocks", Severity::Error);
}

#[test]
fn the_document_of_plans_lists_every_code() {
    let document = include_str!("../docs/plan.md");
    let listed = document.split("<!-- findings -->").nth(1).unwrap();
    let listed = listed.split("<!-- /findings -->").next().unwrap().trim();
    let rows: Vec<String> =
        CODES.iter().map(|(code, meaning)| format!("| `{code}` | {meaning} |")).collect();
    assert_eq!(listed, rows.join("\n"));
}
