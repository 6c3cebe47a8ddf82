//! Rehearsals: a whole runbook on a copy of a cluster, in virtual time and without sockets.

use std::time::Duration;

use jiff::Timestamp;
use rafay_relay_sop::{
    engine::CheckedRunbook,
    journal::RunState,
    plan::{RehearsalRequest, Rehearsed},
};
use runbook::Source;
use serde_json::{Map, Value, json};
use simulator::Scenario;

const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

async fn rehearse(text: &str, inputs: Value, world: Scenario) -> Rehearsed {
    let Value::Object(inputs) = inputs else { panic!("inputs are a mapping") };
    let checked = CheckedRunbook::new(Source::new("<test>", text)).unwrap();
    let inputs: Map<String, Value> = checked.runbook().bind(&inputs).unwrap();
    let request = RehearsalRequest {
        checked,
        inputs,
        world,
        starts_at: start(),
        endpoint: None,
        answers: [].into(),
        environment: [].into(),
    };
    request.run().await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn relay_scale_is_rehearsed_in_virtual_time() {
    let rehearsed = rehearse(RELAY_SCALE, json!({}), Scenario::default()).await;
    assert_eq!(rehearsed.run.state(false), RunState::Succeeded, "{:#?}", rehearsed.run.head);
    let ended = rehearsed.run.head.ended_at.unwrap();
    let took = Duration::try_from(ended - start()).unwrap();
    assert!(took > Duration::from_secs(40), "a node takes 40 s to boot, and the run {took:?}");
    assert!(took < Duration::from_secs(600), "{took:?}");
    assert_eq!(rehearsed.after.nodes.len(), rehearsed.before.nodes.len() + 3);
    assert!(!rehearsed.is_cut_off);
}
