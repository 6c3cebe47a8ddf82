//! Reading ahead: what is known of the steps of a run before it starts.

use rafay_relay_sop::engine::{Ahead, StepAhead};
use serde_json::Map;
use test_support::{TestCluster, checked};

/// Reads the steps of a runbook without inputs ahead.
async fn read_ahead(cluster: &TestCluster, text: &str) -> Vec<StepAhead> {
    cluster.engine.read_ahead(&checked(text).unwrap(), &Map::new()).await.steps
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
    let steps = read_ahead(&cluster, text).await;
    let grow = step(&steps, "grow");
    let Ahead::Changes(changes) = &grow.finding else { panic!("{grow:#?}") };
    assert_eq!(changes[0].after.as_i64(), changes[0].before.as_i64().map(|before| before + 1));
    // A list stays a list.
    let steps = read_ahead(
        &cluster,
        &text
            .replace("{relay: rafay-relay, sentry: rafay-sentry}", "[rafay-relay, rafay-sentry]")
            .replace("each.value", "each")
            .replace("found['relay']", "found[0]"),
    )
    .await;
    assert!(matches!(step(&steps, "grow").finding, Ahead::Changes(_)), "{steps:#?}");
}
