//! relay-scale against moto and a real control plane, started as users start it, with only the addresses of the two
//! platforms in the environment.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    Moto,
    relay_cluster::{NAMESPACE, RelayCluster},
    request_log::RequestLog,
};
use crate::{
    assert_same::assert_same,
    audit,
    cli_run::{RELAY_SCALE, rolled_back_runbook},
    fixture::ControlPlane,
    harness::{Test, test},
};
use test_support::{ProgramOutput, Serve, Watchdog, program, wait_until};

type PlaneAndMoto = (Arc<ControlPlane>, Arc<Moto>);

/// The changes that the procedure makes in the account.
pub(crate) const AWS_CHANGES: [&str; 3] =
    ["UpdateNodegroupConfig", "SetInstanceProtection", "SetInstanceProtection"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("moto::relay_scale::succeeds_by_run", by_run),
        test("moto::relay_scale::succeeds_by_post_to_serve", by_post),
        test("moto::relay_scale::protects_more_instances_than_one_call_allows", protects_many),
        test("moto::relay_scale::is_rolled_back", is_rolled_back),
        killed_in("moto::relay_scale::is_resumed_before_scaling", "step_prepared", "scale_up"),
        killed_in("moto::relay_scale::is_resumed_while_scaling", "step_applied", "scale_up"),
        killed_in(
            "moto::relay_scale::is_resumed_while_restarting",
            "step_applied",
            "restart_sentry",
        ),
        killed_in("moto::relay_scale::is_resumed_while_cordoning", "step_prepared", "cordon_old"),
        killed_in("moto::relay_scale::is_resumed_while_relay_grows", "step_applied", "scale_relay"),
        killed_in("moto::relay_scale::is_resumed_while_deleting", "step_prepared", "delete_old"),
        killed_in(
            "moto::relay_scale::is_resumed_while_relay_shrinks",
            "step_prepared",
            "scale_back",
        ),
        test("moto::relay_scale::is_resumed_by_the_next_serve", is_resumed_by_serve),
    ]
}

/// Returns the program with the two addresses and without configuration files.
fn command(cluster: &RelayCluster, kubeconfig: &Path, dir: &Path) -> Command {
    let mut command = program();
    command.env("KUBECONFIG", kubeconfig).env("AWS_ENDPOINT_URL", &cluster.moto.url);
    command.env("HOME", dir).arg("--state-dir").arg(dir.join("state"));
    command
}

fn serve(cluster: &RelayCluster, kubeconfig: &Path, dir: &Path) -> Serve {
    Serve::start(command(cluster, kubeconfig, dir).arg("serve"))
}

/// Runs a program to its end while the world goes on.
async fn run_to_end(cluster: &RelayCluster, mut command: Command) -> ProgramOutput {
    cluster.during(ProgramOutput::run_async(&mut command)).await
}

/// Returns the facts after the procedure, with `count` nodes and as many relay pods.
pub(crate) fn facts_after_success(count: usize) -> Vec<String> {
    let sizes = format!("Sizes(1, {0}, {0})", 2 * count);
    let mut facts = [
        repeat_fact(1, &format!("EKS: {sizes}")),
        repeat_fact(1, &format!("Auto Scaling: {sizes}")),
        repeat_fact(count, "an old instance, protected: false"),
        repeat_fact(count, "a new instance, protected: true"),
        repeat_fact(count, "an old node, cordoned: true, marked: true"),
        repeat_fact(count, "a new node, cordoned: false, marked: false"),
        repeat_fact(count, "relay pod on a new node, whose instance is protected: true, marks: 0"),
        repeat_fact(1, &all_ready("rafay-relay", count, false)),
        repeat_fact(1, &all_ready("rafay-sentry", 2, true)),
    ]
    .concat();
    facts.sort();
    facts
}

fn repeat_fact(count: usize, fact: &str) -> Vec<String> {
    vec![fact.to_owned(); count]
}

fn all_ready(name: &str, count: usize, restarted: bool) -> String {
    let count = Some(count);
    format!("{name}: {count:?} wanted, {count:?} there, {count:?} ready, restarted: {restarted}")
}

/// Returns the lines of a log without their times, and without those that report a wait.
fn without_times_and_waits<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let has_event =
        lines.filter_map(|line| line.split_once("] ")).map(|(_, has_event)| has_event.to_owned());
    has_event.filter(|has_event| !has_event.starts_with("Waiting: ")).collect()
}

/// The steps that are left out here, where every old node has a relay pod.
const SKIPPED_STEPS: [&str; 2] = [
    "Keep new relay pods off the old nodes that had none",
    "Open the old nodes that had no relay pod again",
];

/// Checks that each step is started and completed, in order: thirteen, of which the ninth is two, and one that checks.
#[track_caller]
fn assert_every_step_logged(lines: &[String]) {
    let checked = test_support::checked(RELAY_SCALE).unwrap();
    let inputs = checked.runbook().bind(&serde_json::Map::new()).unwrap();
    let scope = runbook::EvaluationScope::new(&inputs);
    let names = checked.runbook().steps.iter().map(|step| step.display_name(&scope));
    let expected: Vec<String> = names
        .filter(|name| !SKIPPED_STEPS.contains(&name.as_str()))
        .flat_map(|name| [format!("Starting step: {name}"), format!("Completed step: {name}")])
        .collect();
    assert_eq!(expected.len(), 2 * 23);
    let is_of_step =
        |line: &&String| line.starts_with("Starting step") || line.starts_with("Completed step");
    let logged: Vec<String> = lines.iter().filter(is_of_step).cloned().collect();
    assert_same("the steps", &logged, &expected);
}

async fn by_run((plane, moto): PlaneAndMoto) {
    let cluster = RelayCluster::new(plane, moto, 3).await;
    let account = cluster.service_account(RELAY_SCALE).await;
    let dir = tempfile::tempdir().unwrap();
    let requests = RequestLog::start(&cluster.moto);
    let mut command = command(&cluster, &account.kubeconfig, dir.path());
    command.args(["run", "relay-scale", "--yes"]);
    let start = Instant::now();
    let ended = run_to_end(&cluster, command).await.expect_exit_code(0);
    // For docs/performance.md; nothing depends on it.
    eprint!("({:.1} s) ", start.elapsed().as_secs_f64());
    assert_same("the cluster", &cluster.facts().await, &facts_after_success(3));
    assert_every_step_logged(&without_times_and_waits(ended.stdout.lines()));
    assert_eq!(requests.changes(), AWS_CHANGES);
    assert_eq!(audit::denied_calls(&cluster.plane, &account).await, [""; 0]);
}

async fn by_post((plane, moto): PlaneAndMoto) {
    let cluster = RelayCluster::new(plane, moto, 3).await;
    let account = cluster.service_account(RELAY_SCALE).await;
    let dir = tempfile::tempdir().unwrap();
    let service = serve(&cluster, &account.kubeconfig, dir.path());
    let requests = RequestLog::start(&cluster.moto);
    let (code, started) = service.post("/run?runbook=relay-scale", json!({})).await;
    assert_eq!((code, &started["status"]), (StatusCode::OK, &json!("started")), "{started:#}");
    let status = cluster.during(service.wait_until_ended()).await;
    assert_eq!(status["status"], "Success", "{status:#}");
    assert_same("the cluster", &cluster.facts().await, &facts_after_success(3));
    let logs = status["logs"].as_array().unwrap();
    assert_every_step_logged(&without_times_and_waits(logs.iter().filter_map(Value::as_str)));
    assert_eq!(requests.changes(), AWS_CHANGES);
    assert_eq!(audit::denied_calls(&cluster.plane, &account).await, [""; 0]);
}

/// More than fifty instances, which take two calls.
async fn protects_many((plane, moto): PlaneAndMoto) {
    let cluster = RelayCluster::new(plane, moto, 55).await;
    let account = cluster.service_account(RELAY_SCALE).await;
    let dir = tempfile::tempdir().unwrap();
    let requests = RequestLog::start(&cluster.moto);
    let mut command = command(&cluster, &account.kubeconfig, dir.path());
    command.args(["run", "relay-scale", "--yes"]);
    run_to_end(&cluster, command).await.expect_exit_code(0);
    assert_same("the cluster", &cluster.facts().await, &facts_after_success(55));
    let sizes: Vec<usize> = requests
        .calls("SetInstanceProtection")
        .iter()
        .map(|call| call.keys().filter(|key| key.starts_with("InstanceIds.member.")).count())
        .collect();
    assert_eq!(sizes, [2, 50, 5]);
}

async fn is_rolled_back((plane, moto): PlaneAndMoto) {
    let cluster = RelayCluster::new(plane, moto, 3).await;
    let before = cluster.facts().await;
    let runbook = rolled_back_runbook();
    let account = cluster.service_account(&runbook).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay-scale.yaml");
    std::fs::write(&file, runbook).unwrap();
    let mut command = command(&cluster, &account.kubeconfig, dir.path());
    command.args(["run", "--yes"]).arg(&file);
    run_to_end(&cluster, command).await.expect_exit_code(1);
    // A restart cannot be undone, which the run says beforehand.
    let restarted = all_ready("rafay-sentry", 2, true);
    let before: Vec<String> = before
        .into_iter()
        .map(|fact| if fact.starts_with("rafay-sentry") { restarted.clone() } else { fact })
        .collect();
    cluster.during(cluster.plane.wait_until_ready(NAMESPACE, "rafay-sentry", 2)).await;
    cluster.run_until_nodes(3).await;
    assert_same("the cluster", &cluster.facts().await, &before);
    assert_eq!(audit::denied_calls(&cluster.plane, &account).await, [""; 0]);
}

/// A test in which the program is killed as soon as the journal has that event of a step.
fn killed_in(name: &'static str, event: &'static str, step: &'static str) -> Test {
    test(name, async move |plane_and_moto: PlaneAndMoto| {
        is_resumed(plane_and_moto, &step_event(event, step)).await;
    })
}

/// Returns the text by which the journal has an event of a step.
fn step_event(event: &str, step: &str) -> String {
    format!(r#""step":"{step}","event":"{event}""#)
}

async fn is_resumed((plane, moto): PlaneAndMoto, event: &str) {
    let cluster = RelayCluster::new(plane, moto, 3).await;
    let account = cluster.service_account(RELAY_SCALE).await;
    let dir = tempfile::tempdir().unwrap();
    let requests = RequestLog::start(&cluster.moto);
    let start = || command(&cluster, &account.kubeconfig, dir.path());
    let mut first = start();
    first.args(["run", "relay-scale", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut second = start();
    second.args(["runs", "resume", "--last", "--yes"]);
    let resumed = cluster.during(async {
        let mut first = first.spawn().unwrap();
        let watchdog = Watchdog::guard(&first);
        wait_for_journal(&dir.path().join("state"), event).await;
        // SIGKILL.
        drop(watchdog);
        first.wait().unwrap();
        ProgramOutput::run_async(&mut second).await
    });
    resumed.await.expect_exit_code(0);
    assert_same("the cluster", &cluster.facts().await, &facts_after_success(3));
    let changes = requests.changes();
    let updates = changes.iter().filter(|change| *change == AWS_CHANGES[0]).count();
    assert_eq!(updates, 1, "{changes:?}");
}

async fn is_resumed_by_serve((plane, moto): PlaneAndMoto) {
    let mut cluster = RelayCluster::new(plane, moto, 3).await;
    let account = cluster.service_account(RELAY_SCALE).await;
    let dir = tempfile::tempdir().unwrap();
    let requests = RequestLog::start(&cluster.moto);
    cluster.instances_boot = false;
    let first = serve(&cluster, &account.kubeconfig, dir.path());
    first.post("/run", json!({})).await;
    let waiting = step_event("step_started", "new_nodes");
    cluster.during(wait_for_journal(&dir.path().join("state"), &waiting)).await;
    // SIGKILL.
    drop(first);
    cluster.instances_boot = true;
    let second = serve(&cluster, &account.kubeconfig, dir.path());
    let status = cluster.during(second.wait_until_ended()).await;
    assert_eq!(status["status"], "Success", "{status:#}");
    assert_same("the cluster", &cluster.facts().await, &facts_after_success(3));
    assert_eq!(requests.changes(), AWS_CHANGES);
}

/// Waits until the journal contains a text.
async fn wait_for_journal(state: &Path, what: &str) {
    let has_event = || test_support::journal(state)?.contains(what).then_some(());
    wait_until(what, has_event).await;
}
