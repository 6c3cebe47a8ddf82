//! Reading ahead: what is known of the steps of a run before it starts.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use rafay_relay_sop::{
    engine::{Ahead, Engine, StepAhead},
    journal::{MemoryStore, StepPath},
};
use serde_json::{Map, json};
use simulator::Scenario;
use test_support::{TestCluster, VirtualCluster, checked, in_virtual_time};

/// Reads the steps of a runbook without inputs ahead.
async fn read_ahead(engine: &Engine, text: &str) -> Vec<StepAhead> {
    engine.read_ahead(&checked(text).unwrap(), &Map::new()).await.steps
}

#[track_caller]
fn step<'s>(steps: &'s [StepAhead], path: &str) -> &'s StepAhead {
    let found = steps.iter().find(|step| step.path.to_string() == path);
    found.unwrap_or_else(|| panic!("no {path}: {steps:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_loop_over_a_map_has_its_keys() {
    let cluster = TestCluster::new().await;
    let text = "\
name: loop
steps:
- id: found
  for_each: {relay: rafay-relay, sentry: rafay-sentry}
  action: get_object
  with:
    api_version: apps/v1
    kind: Deployment
    namespace: rafay-core
    name: \"{{ each.value }}\"
    fields: {replicas: {path: .spec.replicas, type: integer}}
- id: grow
  action: scale_deployment
  with: {namespace: rafay-core, deployment: rafay-relay, replicas: \"{{ found['relay'].replicas + 1 }}\"}
";
    let steps = read_ahead(&cluster.engine, text).await;
    let grow = step(&steps, "grow");
    let Ahead::Changes(changes) = &grow.finding else { panic!("{grow:#?}") };
    assert_eq!(changes[0].after.as_i64(), changes[0].before.as_i64().map(|before| before + 1));
    // A list stays a list.
    let steps = read_ahead(
        &cluster.engine,
        &text
            .replace("{relay: rafay-relay, sentry: rafay-sentry}", "[rafay-relay, rafay-sentry]")
            .replace("each.value", "each")
            .replace("found['relay']", "found[0]"),
    )
    .await;
    assert!(matches!(step(&steps, "grow").finding, Ahead::Changes(_)), "{steps:#?}");
}

/// The step waits for the end of the rollout before it decides on anything.
#[test]
fn a_rollout_in_progress_does_not_hold_up_what_is_read_ahead() {
    let (steps, took) = in_virtual_time(1, || async {
        let mut scenario = Scenario::default();
        scenario.times.pod_start = Duration::from_hours(1);
        let cluster = VirtualCluster::new(scenario).await;
        let deployments: Api<Deployment> = Api::namespaced(cluster.foreign_client(), "rafay-core");
        let template = json!({"metadata": {"annotations": {"restarted": "now"}}});
        let patch = Patch::Merge(json!({"spec": {"template": template}}));
        deployments.patch("rafay-relay", &PatchParams::default(), &patch).await.unwrap();
        let engine = cluster.engine(Arc::new(MemoryStore::default()));
        let text = "\
name: scale
steps:
- {id: grow, action: scale_deployment, with: {namespace: rafay-core, deployment: rafay-relay, replicas: 9}}
- {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- {id: config, action: read_config, with: {namespace: rafay-core, name: rafay-relay-sop-config}}
";
        let began = cluster.clock.now();
        let steps = read_ahead(&engine, text).await;
        (steps, cluster.clock.now().duration_since(began))
    });
    let grow = step(&steps, "grow");
    let Ahead::NotInTime(Some(wait)) = &grow.finding else { panic!("{grow:#?}") };
    assert!(wait.starts_with("rollout of deployment rafay-core/rafay-relay: "), "{wait}");
    let after = Ahead::KnownAfter(vec![StepPath::top_level("grow")]);
    assert_eq!(step(&steps, "pods").finding, after, "the step would change them");
    assert!(matches!(step(&steps, "config").finding, Ahead::Reads { .. }), "{steps:#?}");
    assert!(took.as_secs() < 60, "{took:?}");
}
