//! relay-scale in a world of which nothing is ours, as its users start it: with the addresses of the two platforms in the
//! environment and nothing else.

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
    record::Record,
    world::{NAMESPACE, World},
};
use crate::{
    audit,
    fixture::ControlPlane,
    harness::{Test, test},
    outcome::{BOOK, rolled_back_book},
    same::same,
    support::{Program, Serve, Watchdog, program, until},
};

type Both = (Arc<ControlPlane>, Arc<Moto>);

/// What the procedure changes in the account.
const IN_THE_ACCOUNT: [&str; 3] =
    ["UpdateNodegroupConfig", "SetInstanceProtection", "SetInstanceProtection"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("moto::relay_scale::by_run", by_run),
        test("moto::relay_scale::by_post_to_serve", by_post),
        test("moto::relay_scale::of_more_relay_pods_than_a_call_protects", of_many),
        test("moto::relay_scale::is_rolled_back", is_rolled_back),
        killed_in("moto::relay_scale::is_resumed_before_scaling", "prepared", "scale_up"),
        killed_in("moto::relay_scale::is_resumed_while_scaling", "applied", "scale_up"),
        killed_in("moto::relay_scale::is_resumed_while_restarting", "applied", "restart_sentry"),
        killed_in("moto::relay_scale::is_resumed_while_cordoning", "prepared", "cordon_old"),
        killed_in("moto::relay_scale::is_resumed_while_relay_grows", "applied", "scale_relay"),
        killed_in("moto::relay_scale::is_resumed_while_deleting", "prepared", "delete_old"),
        killed_in("moto::relay_scale::is_resumed_while_relay_shrinks", "prepared", "scale_back"),
        test("moto::relay_scale::is_resumed_by_the_next_serve", is_resumed_by_serve),
    ]
}

/// The program with the two addresses, and nobody's files.
fn command(world: &World, kubeconfig: &Path, folder: &Path) -> Command {
    let mut command = program();
    command.env("KUBECONFIG", kubeconfig).env("AWS_ENDPOINT_URL", &world.moto.url);
    command.env("HOME", folder).arg("--state-dir").arg(folder.join("state"));
    command
}

fn serve(world: &World, kubeconfig: &Path, folder: &Path) -> Serve {
    Serve::start(command(world, kubeconfig, folder).arg("serve"))
}

/// Runs a program to its end while the world goes on.
async fn ended(world: &World, mut command: Command) -> Program {
    world.during(Program::beside(&mut command)).await
}

/// What stands after the procedure, of `count` nodes and as many relay pods.
fn done(count: usize) -> Vec<String> {
    let sizes = format!("Sizes(1, {0}, {0})", 2 * count);
    let mut facts = [
        times(1, &format!("EKS: {sizes}")),
        times(1, &format!("Auto Scaling: {sizes}")),
        times(count, "an old instance, protected: false"),
        times(count, "a new instance, protected: true"),
        times(count, "an old node, cordoned: true, marked: true"),
        times(count, "a new node, cordoned: false, marked: false"),
        times(count, "relay pod on a new node, whose instance is protected: true, marks: 0"),
        times(1, &all_ready("rafay-relay", count, false)),
        times(1, &all_ready("rafay-sentry", 2, true)),
    ]
    .concat();
    facts.sort();
    facts
}

fn times(count: usize, fact: &str) -> Vec<String> {
    vec![fact.to_owned(); count]
}

fn all_ready(name: &str, count: usize, restarted: bool) -> String {
    let count = Some(count);
    format!("{name}: {count:?} wanted, {count:?} there, {count:?} ready, restarted: {restarted}")
}

/// The lines of a log without their times, and without those that only say for what is waited.
fn steady<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let said = lines.filter_map(|line| line.split_once("] ")).map(|(_, said)| said.to_owned());
    said.filter(|said| !said.starts_with("Waiting: ")).collect()
}

/// The steps that are left out here, where every old node has a relay pod.
const LEFT_OUT: [&str; 2] = [
    "Keep new relay pods off the old nodes that had none",
    "Open the old nodes that had no relay pod again",
];

/// That each step is begun and completed, in order: thirteen, of which the ninth is two, and one that checks.
#[track_caller]
fn tells_every_step(lines: &[String]) {
    // The first name is the runbook's own.
    let names = BOOK.lines().filter_map(|line| line.trim().strip_prefix("name: ")).skip(1);
    let expected: Vec<String> = names
        .filter(|name| !LEFT_OUT.contains(name))
        .flat_map(|name| [format!("Starting step: {name}"), format!("Completed step: {name}")])
        .collect();
    assert_eq!(expected.len(), 2 * 15);
    let is_of_step =
        |line: &&String| line.starts_with("Starting step") || line.starts_with("Completed step");
    let told: Vec<String> = lines.iter().filter(is_of_step).cloned().collect();
    same("the steps", &told, &expected);
}

async fn by_run((plane, moto): Both) {
    let world = World::new(plane, moto, 3).await;
    let account = world.service_account(BOOK).await;
    let folder = tempfile::tempdir().unwrap();
    let record = Record::start(&world.moto);
    let mut command = command(&world, &account.kubeconfig, folder.path());
    command.args(["run", "relay-scale", "--yes"]);
    let start = Instant::now();
    let ended = ended(&world, command).await.ends_with(0);
    // For docs/performance.md; nothing depends on it.
    eprint!("({:.1} s) ", start.elapsed().as_secs_f64());
    same("what stands", &world.facts().await, &done(3));
    tells_every_step(&steady(ended.stdout.lines()));
    assert_eq!(record.changes(), IN_THE_ACCOUNT);
    assert_eq!(audit::denied(&world.plane, &account).await, [""; 0]);
}

async fn by_post((plane, moto): Both) {
    let world = World::new(plane, moto, 3).await;
    let account = world.service_account(BOOK).await;
    let folder = tempfile::tempdir().unwrap();
    let service = serve(&world, &account.kubeconfig, folder.path());
    let record = Record::start(&world.moto);
    let (code, started) = service.post("/run?runbook=relay-scale", json!({})).await;
    assert_eq!((code, &started["status"]), (StatusCode::OK, &json!("started")), "{started:#}");
    let status = world.during(service.ended()).await;
    assert_eq!(status["status"], "Success", "{status:#}");
    same("what stands", &world.facts().await, &done(3));
    let logs = status["logs"].as_array().unwrap();
    tells_every_step(&steady(logs.iter().filter_map(Value::as_str)));
    assert_eq!(record.changes(), IN_THE_ACCOUNT);
    assert_eq!(audit::denied(&world.plane, &account).await, [""; 0]);
}

/// More than fifty instances, which take two calls.
async fn of_many((plane, moto): Both) {
    let world = World::new(plane, moto, 55).await;
    let account = world.service_account(BOOK).await;
    let folder = tempfile::tempdir().unwrap();
    let record = Record::start(&world.moto);
    let mut command = command(&world, &account.kubeconfig, folder.path());
    command.args(["run", "relay-scale", "--yes"]);
    ended(&world, command).await.ends_with(0);
    same("what stands", &world.facts().await, &done(55));
    let sizes: Vec<usize> = record
        .calls("SetInstanceProtection")
        .iter()
        .map(|call| call.keys().filter(|key| key.starts_with("InstanceIds.member.")).count())
        .collect();
    assert_eq!(sizes, [2, 50, 5]);
}

async fn is_rolled_back((plane, moto): Both) {
    let world = World::new(plane, moto, 3).await;
    let before = world.facts().await;
    let book = rolled_back_book();
    let account = world.service_account(&book).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay-scale.yaml");
    std::fs::write(&file, book).unwrap();
    let mut command = command(&world, &account.kubeconfig, folder.path());
    command.args(["run", "--yes"]).arg(&file);
    ended(&world, command).await.ends_with(1);
    // A restart cannot be undone, which the run says beforehand.
    let restarted = all_ready("rafay-sentry", 2, true);
    let before: Vec<String> = before
        .into_iter()
        .map(|fact| if fact.starts_with("rafay-sentry") { restarted.clone() } else { fact })
        .collect();
    world.during(world.plane.until_ready(NAMESPACE, "rafay-sentry", 2)).await;
    world.until_nodes(3).await;
    same("what stands", &world.facts().await, &before);
    assert_eq!(audit::denied(&world.plane, &account).await, [""; 0]);
}

/// A test in which the program is killed as soon as the journal has that event of a step.
fn killed_in(name: &'static str, event: &'static str, step: &'static str) -> Test {
    test(name, async move |both: Both| is_resumed(both, &of_step(event, step)).await)
}

/// What the journal says of a step's event.
fn of_step(event: &str, step: &str) -> String {
    format!(r#""{event}","step":"{step}""#)
}

async fn is_resumed((plane, moto): Both, moment: &str) {
    let world = World::new(plane, moto, 3).await;
    let account = world.service_account(BOOK).await;
    let folder = tempfile::tempdir().unwrap();
    let record = Record::start(&world.moto);
    let start = || command(&world, &account.kubeconfig, folder.path());
    let mut first = start();
    first.args(["run", "relay-scale", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut second = start();
    second.args(["runs", "resume", "--last", "--yes"]);
    let resumed = world.during(async {
        let mut first = first.spawn().unwrap();
        let watchdog = Watchdog::over(&first);
        journaled(&folder.path().join("state"), moment).await;
        // SIGKILL.
        drop(watchdog);
        first.wait().unwrap();
        Program::beside(&mut second).await
    });
    resumed.await.ends_with(0);
    same("what stands", &world.facts().await, &done(3));
    let changes = record.changes();
    let updates = changes.iter().filter(|change| *change == IN_THE_ACCOUNT[0]).count();
    assert_eq!(updates, 1, "{changes:?}");
}

async fn is_resumed_by_serve((plane, moto): Both) {
    let mut world = World::new(plane, moto, 3).await;
    let account = world.service_account(BOOK).await;
    let folder = tempfile::tempdir().unwrap();
    let record = Record::start(&world.moto);
    world.instances_boot = false;
    let first = serve(&world, &account.kubeconfig, folder.path());
    first.post("/run", json!({})).await;
    let waiting = of_step("step_started", "new_nodes");
    world.during(journaled(&folder.path().join("state"), &waiting)).await;
    // SIGKILL.
    drop(first);
    world.instances_boot = true;
    let second = serve(&world, &account.kubeconfig, folder.path());
    let status = world.during(second.ended()).await;
    assert_eq!(status["status"], "Success", "{status:#}");
    same("what stands", &world.facts().await, &done(3));
    assert_eq!(record.changes(), IN_THE_ACCOUNT);
}

/// Until the journal says so.
async fn journaled(state: &Path, what: &str) {
    let said = || crate::support::journal(state)?.contains(what).then_some(());
    until(what, said).await;
}
