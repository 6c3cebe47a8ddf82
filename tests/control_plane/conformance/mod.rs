//! Compares the simulator with Kubernetes: tables of calls are sent to both, and both must respond
//! alike.
//!
//! A table is a file of calls, one after the other, in a namespace that is empty at first.
//! Responses are compared as a whole or where `show` points, without the values that each cluster
//! generates (`normalize`). A difference fails the test, unless the call's `known` names it with a
//! reason; a `known` difference that no longer exists fails too.

mod normalize;
mod runner;
mod table;

use std::{fmt::Write as _, sync::Arc};

use clock::Clock;
use serde_json::Value;
use simulator::{ContainerFailure, FailingImage, Options, Scenario, Simulator};

use crate::{
    cluster_store,
    fixture::ControlPlane,
    harness::{Test, test},
};

use runner::{CallResponse, ClusterSide};
use table::TableCall;

/// The namespace of every table's objects.
const TEST_NAMESPACE: &str = "conf";

/// At this speed the simulator's pods take about as long as kwok's.
const SPEED: f64 = 20.0;

/// How many characters of a response a failure shows.
const MAX_SHOWN_CHARS: usize = 300;

macro_rules! table {
    ($name:literal) => {
        test(concat!("conformance::", $name), async |plane| {
            compare(&plane, include_str!(concat!($name, ".yaml"))).await;
        })
    };
}

pub(crate) fn tests() -> Vec<Test> {
    vec![
        table!("objects"),
        table!("patches"),
        table!("lists"),
        table!("watches"),
        table!("nodes"),
        table!("deployments"),
        table!("rollouts"),
        table!("stateful_sets"),
        table!("daemon_sets"),
        table!("pods"),
        table!("budgets"),
        table!("evictions"),
        table!("scheduling"),
        table!("priorities"),
        table!("volumes"),
        table!("pod_deletion_order"),
        table!("quotas"),
        table!("events"),
        table!("program_calls"),
        test("conformance::runs", async |plane: Arc<ControlPlane>| {
            cluster_store::prepare(&plane).await;
            compare(&plane, include_str!("runs.yaml")).await;
        }),
    ]
}

async fn compare(plane: &Arc<ControlPlane>, table: &str) {
    let table = table::read(table);
    plane.namespace(TEST_NAMESPACE).await;
    let real = ClusterSide::new(plane.client.clone()).run(&table).await;
    let clock = Clock::scaled(SPEED).expect("20 is a valid speed");
    let options = Options { clock, ..Options::default() };
    let simulator = Simulator::start(scenario(), options).await.unwrap();
    let url = simulator.kubernetes_url().as_str().parse().expect("a URL is a URI");
    let mut config = kube::Config::new(url);
    config.default_retry = false;
    let side = ClusterSide::new(kube::Client::try_from(config).unwrap());
    side.make_namespace().await;
    let simulated = side.run(&table).await;
    let mut report = String::new();
    for ((call, real), simulated) in table.iter().zip(&real).zip(&simulated) {
        compare_responses(call, real, simulated, &mut report);
    }
    assert!(report.is_empty(), "the simulator differs from Kubernetes:\n{report}");
}

/// Returns the scenario. In the simulator a pod fails because of its image and on the control plane
/// because of its label `plays` (`stages.yaml`): a table gives both.
fn scenario() -> Scenario {
    let failing = |image: &str, failure| FailingImage { image: image.into(), failure, times: None };
    Scenario {
        failing_images: vec![
            failing("missing-image", ContainerFailure::ImagePull),
            failing("crash-loop", ContainerFailure::CrashLoop),
            failing("never-ready", ContainerFailure::NeverReady),
        ],
        ..Scenario::empty()
    }
}

/// Adds the differences between two responses to the report.
fn compare_responses(
    call: &TableCall,
    real: &CallResponse,
    simulated: &CallResponse,
    report: &mut String,
) {
    let sides = [("Kubernetes", real), ("the simulator", simulated)];
    let Some(name) = &call.name else {
        for (side, response) in sides.into_iter().filter(|(_, response)| !response.is_success()) {
            let _ = writeln!(report, "- {call:?}: {side} responded with {}", response.describe());
        }
        return;
    };
    if real.is_timed_out() || simulated.is_timed_out() {
        // There are no responses to compare.
        for (side, response) in sides.into_iter().filter(|(_, response)| response.is_timed_out()) {
            let _ = writeln!(report, "- {name}: {side} timed out: {}", response.describe());
        }
        return;
    }
    let mut differences = Vec::new();
    if real.status != simulated.status {
        let difference = format!("{} / {}", real.status, simulated.status);
        differences.push(("/code".to_owned(), difference));
    }
    collect_differences("", &real.shown, &simulated.shown, &mut differences);
    for part in call.known.keys() {
        if !differences.iter().any(|(path, _)| is_within(path, part)) {
            let _ = writeln!(report, "- {name}: {part} no longer differs; remove it from `known`");
        }
    }
    differences.retain(|(path, _)| !call.known.keys().any(|part| is_within(path, part)));
    if !differences.is_empty() {
        let _ = writeln!(report, "- {name} (Kubernetes / the simulator)");
    }
    for (path, difference) in differences {
        let _ = writeln!(report, "    {path}: {difference}");
    }
}

/// Returns whether a path is that of a part or inside of it.
fn is_within(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn collect_differences(
    path: &str,
    real: &Value,
    simulated: &Value,
    differences: &mut Vec<(String, String)>,
) {
    match (real, simulated) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> =
                one.keys().chain(other.keys()).collect();
            for key in keys {
                let (one, other) = (one.get(key), other.get(key));
                let absent = Value::String("(absent)".into());
                let path = format!("{path}/{key}");
                collect_differences(
                    &path,
                    one.unwrap_or(&absent),
                    other.unwrap_or(&absent),
                    differences,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                collect_differences(&format!("{path}/{at}"), one, other, differences);
            }
        }
        (one, other) if one == other => {}
        (one, other) => {
            differences.push((path.to_owned(), format!("{} / {}", truncate(one), truncate(other))));
        }
    }
}

fn truncate(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
