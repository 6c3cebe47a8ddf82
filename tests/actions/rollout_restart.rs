//! `rollout_restart`.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams,
    },
};
use rafay_relay_sop::{
    engine::Control,
    journal::{ResumeMode, RunState},
};
use serde_json::json;
use simulator::{ContainerFailure, Scenario};

use super::{
    NAMESPACE, assert_left_alone, client, fail_and_resume, fail_and_roll_back, image_patch,
    patch_deployment, patch_node, runbook_yaml, scenario_with_failing_image, uids_of,
};
use test_support::{TestCluster, wait_until_async};

const RESTART: &str = "  - {id: it, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry, give_up_after: 1s}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_is_replaced_once() {
    let cluster = TestCluster::new().await;
    let before = uids_of(&cluster, "rafay-sentry").await;
    let ended = cluster.run(&runbook_yaml(RESTART)).await.expect_success();
    let after = uids_of(&cluster, "rafay-sentry").await;
    assert_eq!(after.len(), before.len());
    assert!(after.is_disjoint(&before));
    let output = ended.output("it");
    assert_eq!(output["replicas"], json!(2));
    let state = cluster.simulator.state().await.unwrap();
    let stamp = &state.deployments[&format!("{NAMESPACE}/rafay-sentry")].restarted_at;
    assert_eq!(json!(stamp), output["restarted_at"]);
    assert_eq!(cluster.effective_calls(), [format!("patch deployments/{NAMESPACE}/rafay-sentry")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_restart_does_not_restart_again() {
    let cluster = TestCluster::new().await;
    let ended = fail_and_resume(&cluster, RESTART, "patch deployments/*", async || {})
        .await
        .expect_success();
    let first = ended.output("it")["restarted_at"].clone();
    assert_eq!(cluster.effective_calls(), [format!("patch deployments/{NAMESPACE}/rafay-sentry")]);
    assert!(first.as_str().unwrap().ends_with('Z'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_somebody_else_began_meanwhile_is_a_conflict() {
    let cluster = TestCluster::new().await;
    let annotation = json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
    let theirs = json!({"spec": {"template": {"metadata": {"annotations": annotation}}}});
    let ended = fail_and_resume(&cluster, RESTART, "patch deployments/*", async || {
        patch_deployment(&cluster, "rafay-sentry", theirs).await;
    })
    .await
    .expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("was changed by another client: expected none"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_restart_undo_logs_that_nothing_is_restored() {
    let cluster = TestCluster::new().await;
    let ended =
        fail_and_roll_back(&cluster, RESTART, async || {}).await.expect_state(RunState::RolledBack);
    assert_left_alone(&ended, "left the new pods of deployment rafay-core/rafay-sentry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_is_refused() {
    let mut scenario = Scenario::default();
    for deployment in &mut scenario.deployments {
        deployment.paused = true;
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let ended = cluster.run(&runbook_yaml(RESTART)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("is paused"), "{}", ended.error());
    assert_eq!(cluster.effective_calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn crashing_new_pods_fail_rollout_restart_with_the_cause() {
    for (failure, reason) in [
        (ContainerFailure::CrashLoop, "CrashLoopBackOff in container rafay-sentry"),
        (ContainerFailure::ImagePull, "ImagePull"),
    ] {
        let cluster =
            TestCluster::with_scenario(scenario_with_failing_image("broken", failure)).await;
        let image = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "rafay-sentry", "image": "registry.example.com/broken:2.0"},
        ]}}}});
        // Held back until the restart: only its pods are of the broken image.
        patch_deployment(&cluster, "rafay-sentry", json!({"spec": {"paused": true}})).await;
        patch_deployment(&cluster, "rafay-sentry", image).await;
        let steps = RESTART;
        patch_deployment(&cluster, "rafay-sentry", json!({"spec": {"paused": false}})).await;
        let ended = cluster.run(&runbook_yaml(steps)).await.expect_state(RunState::Failed);
        let error = ended.error();
        assert!(
            error.contains("rollout of deployment rafay-core/rafay-sentry is stuck"),
            "{error}"
        );
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_exceeds_its_deadline_has_failed() {
    let mut scenario = scenario_with_failing_image("broken", ContainerFailure::NeverReady);
    for deployment in &mut scenario.deployments {
        deployment.progress_deadline = 5;
    }
    let cluster = TestCluster::with_scenario(scenario).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "rafay-sentry", "image": "registry.example.com/broken:2.0"},
    ]}}}});
    patch_deployment(&cluster, "rafay-sentry", image).await;
    let ended = cluster.run(&runbook_yaml(RESTART)).await.expect_state(RunState::Failed);
    assert!(ended.error().contains("ProgressDeadlineExceeded"), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_pods_without_a_node_fail_rollout_restart_with_the_cause() {
    let cluster = TestCluster::new().await;
    for name in cluster.simulator.state().await.unwrap().nodes.into_keys() {
        patch_node(&cluster, &name, json!({"spec": {"unschedulable": true}})).await;
    }
    let ended = cluster.run(&runbook_yaml(RESTART)).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("rollout of deployment rafay-core/rafay-sentry is stuck"), "{error}");
    assert!(error.contains("cannot be scheduled"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_in_progress_ends_before_the_restart_or_is_refused() {
    for refuse in [false, true] {
        let mut scenario = Scenario::default();
        // One that is refused must still be in progress, however slow this machine is.
        let pod_start = if refuse { Duration::from_hours(5) } else { Duration::from_mins(1) };
        scenario.times.pod_start = pod_start;
        scenario
            .deployments
            .iter_mut()
            .for_each(|deployment| deployment.progress_deadline = 86_400);
        let cluster = TestCluster::with_scenario(scenario).await;
        patch_deployment(&cluster, "rafay-sentry", image_patch("rafay-sentry", "better")).await;
        let restart = format!("patch deployments/{NAMESPACE}/rafay-sentry");
        if !refuse {
            cluster.run(&runbook_yaml(RESTART)).await.expect_success();
            assert_eq!(cluster.effective_calls(), [restart.clone(), restart], "theirs and ours");
            continue;
        }
        let steps = RESTART.replace("1s", "1s, rollout_in_progress: refuse");
        let ended = cluster.run(&runbook_yaml(&steps)).await.expect_state(RunState::Failed);
        assert!(ended.error().contains("is in progress"), "{}", ended.error());
        assert_eq!(cluster.effective_calls(), [restart], "theirs");
    }
}

/// A workload that is not a deployment, with two pods.
pub(super) struct OtherSet {
    pub(super) kind: &'static str,
    pub(super) parameter: &'static str,
}

pub(super) const OTHER_SETS: [OtherSet; 2] = [
    OtherSet { kind: "StatefulSet", parameter: "stateful_set: db" },
    OtherSet { kind: "DaemonSet", parameter: "daemon_set: db" },
];

impl OtherSet {
    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", self.kind))
    }

    fn api(&self, cluster: &TestCluster) -> Api<DynamicObject> {
        Api::namespaced_with(client(cluster), NAMESPACE, &self.resource())
    }

    /// Creates the workload, and waits until it is rolled out.
    pub(super) async fn create(&self, cluster: &TestCluster, strategy: &str) {
        let labels = json!({"app": "db"});
        let mut spec = json!({
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": strategy},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {"name": "db", "image": "registry.example.com/db:1"},
                        {"name": "agent", "image": "registry.example.com/agent:1"},
                    ],
                    // There are two of these nodes.
                    "nodeSelector": {"Name": "nodegroup-core-services"},
                },
            },
        });
        if self.kind == "StatefulSet" {
            spec["replicas"] = json!(2);
        }
        let object = json!({"metadata": {"name": "db", "namespace": NAMESPACE}, "spec": spec});
        let mut object: DynamicObject = serde_json::from_value(object).unwrap();
        object.types = Some(kube::core::TypeMeta {
            api_version: "apps/v1".into(),
            kind: self.resource().kind,
        });
        self.api(cluster).create(&PostParams::default(), &object).await.unwrap();
        self.wait_for_counts(cluster, 2, 2).await;
    }

    pub(super) async fn get(&self, cluster: &TestCluster) -> DynamicObject {
        self.api(cluster).get("db").await.unwrap()
    }

    /// Waits until this many pods have the newest template, and this many are Ready.
    async fn wait_for_counts(&self, cluster: &TestCluster, updated: u64, ready: u64) {
        let fields = match self.kind {
            "StatefulSet" => ["updatedReplicas", "readyReplicas"],
            _ => ["updatedNumberScheduled", "numberReady"],
        };
        wait_until_async("the pods", async || {
            let found = self.get(cluster).await;
            let status = &found.data["status"];
            let is_observed = json!(found.metadata.generation) == status["observedGeneration"];
            let counts = fields.map(|field| status[field].as_u64().unwrap_or(0));
            (is_observed && counts == [updated, ready]).then_some(())
        })
        .await;
    }

    async fn set_image(&self, cluster: &TestCluster, image: &str) {
        let containers = json!([
            {"name": "db", "image": image},
            {"name": "agent", "image": "registry.example.com/agent:1"},
        ]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let patch = Patch::Merge(patch);
        self.api(cluster).patch("db", &PatchParams::default(), &patch).await.unwrap();
    }

    fn step(&self, action: &str) -> String {
        format!(
            "  - {{id: it, action: {action}, with: {{namespace: {NAMESPACE}, {}}}}}\n",
            self.parameter
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_sets_and_daemon_sets_are_restarted_and_waited_for() {
    for workload in OTHER_SETS {
        let cluster = TestCluster::new().await;
        workload.create(&cluster, "RollingUpdate").await;
        let text = runbook_yaml(&workload.step("rollout_restart"));
        let ended = cluster.run(&text).await.expect_success();
        let output = ended.output("it");
        assert_eq!((&output["name"], &output["replicas"]), (&json!("db"), &json!(2)));
        assert_eq!(output["deployment"], json!(""), "it repeats a parameter that is not given");
        let now = workload.get(&cluster).await;
        let annotations = &now.data["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations["kubectl.kubernetes.io/restartedAt"], output["restarted_at"]);
        let waited = cluster.run(&runbook_yaml(&workload.step("wait_rollout"))).await;
        assert_eq!(waited.expect_success().output("it")["replicas"], json!(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_does_not_roll_out_or_does_not_exist_is_refused() {
    for workload in OTHER_SETS {
        let cluster = TestCluster::new().await;
        let restart = runbook_yaml(&workload.step("rollout_restart"));
        let missing = cluster.run(&restart).await.expect_state(RunState::Failed);
        assert!(missing.error().ends_with("set rafay-core/db not found"), "{}", missing.error());
        cluster.resume(missing.run.id(), ResumeMode::Rollback).await;
        workload.create(&cluster, "OnDelete").await;
        let refused = cluster.run(&restart).await.expect_state(RunState::Failed);
        let why =
            "set rafay-core/db has the update strategy OnDelete, so a restart would not begin";
        assert!(refused.error().ends_with(why), "{}", refused.error());
        cluster.resume(refused.run.id(), ResumeMode::Rollback).await;
        let text = restart
            .replace(&format!("{}}}", workload.parameter), "deployment: a, stateful_set: b}");
        assert!(cluster.accept(&text, json!({})).await.is_err(), "two names");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_of_a_stateful_set_in_progress_is_waited_for_or_refused() {
    for workload in OTHER_SETS {
        let scenario = scenario_with_failing_image("never", ContainerFailure::NeverReady);
        let cluster = TestCluster::with_scenario(scenario).await;
        workload.create(&cluster, "RollingUpdate").await;
        workload.set_image(&cluster, "registry.example.com/never:1").await;
        workload.wait_for_counts(&cluster, 1, 1).await;
        let restart = workload.step("rollout_restart");
        let refuse = restart.replace("}}", ", rollout_in_progress: refuse}}");
        let ended = cluster.run(&runbook_yaml(&refuse)).await.expect_state(RunState::Failed);
        assert!(ended.error().ends_with("is in progress: 1 of 2 new pods created"));
        cluster.resume(ended.run.id(), ResumeMode::Rollback).await;
        let wait = runbook_yaml(&workload.step("wait_rollout"));
        let accepted = cluster.accept(&wait, json!({})).await.unwrap();
        let id = accepted.run().id().clone();
        let operator = async {
            wait_until_async("the wait", async || {
                let records = format!("{:?}", cluster.store.read(&id, 0).await.ok()?);
                records.contains("rafay-core/db: 1 of 2 new pods created").then_some(())
            })
            .await;
            workload.set_image(&cluster, "registry.example.com/db:1").await;
            // A stateful set waits for the pod that does not become Ready, whatever its template is.
            let pods: Api<Pod> = Api::namespaced(client(&cluster), NAMESPACE);
            let broken = pods.list(&ListParams::default().labels("app=db")).await.unwrap();
            let is_broken = |pod: &&Pod| {
                let spec = pod.spec.as_ref().unwrap();
                spec.containers[0].image.as_deref() == Some("registry.example.com/never:1")
            };
            for pod in broken.iter().filter(is_broken) {
                let _ = pods.delete(&pod.name_any(), &DeleteParams::default()).await;
            }
        };
        let (ended, ()) = tokio::join!(cluster.drive(accepted, Control::default()), operator);
        ended.expect_success();
    }
}
