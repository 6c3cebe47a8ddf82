//! `get_object`.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use rafay_relay_sop::journal::RunState;
use serde_json::{Value, json};

use super::{codes, create, patch_deployment, runbook_yaml};
use test_support::TestCluster;

const DEPLOYMENT: &str =
    "api_version: apps/v1, kind: Deployment, namespace: rafay-core, name: relay-cache";

/// A step that reads an object, and one that uses a field.
fn steps(object: &str, fields: &str, that: &str) -> String {
    format!(
        "  - {{id: it, action: get_object, with: {{{object}, fields: {{{fields}}}}}}}\n  \
           - {{id: used, action: assert, with: {{that: \"{{{{ {that} }}}}\", message: no}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_of_a_deployment_have_their_declared_types() {
    let cluster = TestCluster::new().await;
    let note = json!({"metadata": {"annotations": {"example.com/note": "7"}}});
    patch_deployment(&cluster, "relay-cache", note).await;
    let fields = "replicas: {path: .spec.replicas, type: integer}, \
        image: {path: '.spec.template.spec.containers[0].image', type: string}, \
        note: {path: \".metadata.annotations['example.com/note']\", type: optional string}, \
        labels: {path: .spec.selector.matchLabels, type: map of string}, \
        absent: {path: .spec.absent.deeper, type: optional integer}";
    let that = "it.replicas + 1 > 1 and it.absent is none and it.labels.app == 'relay-cache' \
        and (it.note | default('0') | int) == 7";
    let ended = cluster.run(&runbook_yaml(&steps(DEPLOYMENT, fields, that))).await.expect_success();
    let output = ended.output("it");
    let found = cluster.simulator.state().await.unwrap();
    assert_eq!(output["replicas"], json!(found.deployments["rafay-core/relay-cache"].replicas));
    assert_eq!(output["labels"], json!({"app": "relay-cache"}));
    assert_eq!(output["absent"], Value::Null);
    assert!(output["image"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_without_a_namespace_and_in_a_loop_are_read() {
    let cluster = TestCluster::new().await;
    let steps = "
  - id: it
    for_each: [rafay-core, kube-system]
    action: get_object
    with:
      {api_version: v1, kind: Namespace, name: '{{ each }}', fields: {phase: {path: .status.phase, type: string}}}
  - {id: used, action: assert, with: {that: \"{{ it[0].phase == 'Active' }}\", message: no}}
";
    let ended = cluster.run(&runbook_yaml(steps)).await.expect_success();
    assert_eq!(ended.output("it"), &json!([{"phase": "Active"}, {"phase": "Active"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_kind_is_read_by_its_resource() {
    let cluster = TestCluster::new().await;
    let object = "api_version: sop.rafay.dev/v1alpha1, kind: RunbookRun, resource: runbookruns, \
        namespace: rafay-core, name: absent, may_be_missing: true";
    let fields = "runbook: {path: .spec.runbook, type: string}";
    let steps = steps(object, fields, "it.runbook is none");
    let ended = cluster.run(&runbook_yaml(&steps)).await.expect_success();
    assert_eq!(ended.output("it"), &json!({"runbook": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_another_type_and_a_missing_field_fail_with_path_and_types() {
    let cluster = TestCluster::new().await;
    let map = json!({"metadata": {"name": "settings", "namespace": "rafay-core"}, "data": {"size": "many"}});
    create::<ConfigMap>(&cluster, map).await;
    let object = "api_version: v1, kind: ConfigMap, namespace: rafay-core, name: settings";
    for (field, that, message) in [
        (
            "size: {path: .data.size, type: integer}",
            "it.size > 1",
            ".data.size of configmap rafay-core/settings must be an integer, not a string",
        ),
        (
            "size: {path: .data.other, type: string}",
            "it.size == ''",
            "configmap rafay-core/settings has no .data.other",
        ),
    ] {
        let ended = cluster.run(&runbook_yaml(&steps(object, field, that))).await;
        let ended = ended.expect_state(RunState::Failed);
        assert!(ended.error().ends_with(message), "{}", ended.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_does_not_exist_fails_with_its_name() {
    let cluster = TestCluster::new().await;
    let object = DEPLOYMENT.replace("relay-cache", "relay-cahce");
    let fields = "replicas: {path: .spec.replicas, type: integer}";
    let ended = cluster.run(&runbook_yaml(&steps(&object, fields, "it.replicas > 0"))).await;
    let ended = ended.expect_state(RunState::Failed);
    let message = "deployment rafay-core/relay-cahce does not exist";
    assert!(ended.error().ends_with(message), "{}", ended.error());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_secret_comes_into_the_journal() {
    let cluster = TestCluster::new().await;
    let last_applied = "kubectl.kubernetes.io/last-applied-configuration";
    let secret = json!({
        "metadata": {
            "name": "token", "namespace": "rafay-core",
            "annotations": {last_applied: "aHVzaA==", "example.com/owner": "relay"},
        },
        "type": "Opaque", "data": {"token": "aHVzaA=="},
    });
    create::<Secret>(&cluster, secret).await;
    let object = "api_version: v1, kind: Secret, namespace: rafay-core, name: token";
    for path in [".data.token", ".data", ".metadata.annotations"] {
        let fields = format!("it: {{path: {path}, type: map of string}}");
        let text = runbook_yaml(&steps(object, &fields, "(it.it | length) > 0"));
        assert_eq!(codes(&text), ["RB070"], "{path}");
    }
    let fields = "owner: {path: \".metadata.annotations['example.com/owner']\", type: string}";
    let text = runbook_yaml(&steps(object, fields, "it.owner == 'relay'"));
    let ended = cluster.run(&text).await.expect_success();
    let journal = format!("{:?} {}", ended.lines(), ended.output("it"));
    assert!(!journal.contains("aHVzaA=="), "{journal}");
}
