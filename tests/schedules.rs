//! Seeded schedules: a run in virtual time is disturbed by faults of the platform, crashes of its process, a cancel and
//! changes of others, all drawn from a seed. Whatever happens, the run reaches its target exactly once, or what it changed
//! is restored, or it says what differs. A seed that fails is replayed alone:
//!
//! ```text
//! SOP_SEEDS=4711 cargo test --test main schedules      one schedule
//! SOP_SEEDS=0..100000 cargo test --test main schedules many
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use rafay_relay_sop::{
    engine::{CheckedRunbook, Control, Engine},
    journal::{MemoryStore, Run, RunState, RunStore},
};
use runbook::Source;
use serde_json::{Map, Value, json};
use simulator::{ClusterState, Effect, Fault, Scenario};
use test_support::{InterruptingStore, Moment, Point, VirtualCluster, in_virtual_time};

/// How many schedules a test runs for each runbook, unless the environment names others.
const SCHEDULES: Range<u64> = 0..120;
/// More processes than any schedule kills.
const MAX_PROCESSES: usize = 12;
/// How long a schedule may take in virtual time.
const TIME_LIMIT: Duration = Duration::from_hours(24);

/// A runbook and its inputs.
struct Subject {
    name: &'static str,
    /// How long its run takes when nothing disturbs it.
    length: Duration,
    text: &'static str,
    inputs: Value,
}

/// What happens to a run, as drawn from a seed.
#[derive(Debug, Clone)]
struct Schedule {
    faults: Vec<Fault>,
    /// The appends at which the process dies, one after the other.
    crashes: Vec<(u64, Moment)>,
    /// When somebody cancels the run.
    cancel_after: Option<Duration>,
    /// What others do, and when.
    others: Vec<(Duration, Other)>,
}

/// A change that the run does not make.
#[derive(Debug, Clone, Copy)]
enum Other {
    DeletePod(usize),
    Uncordon(usize),
}

impl Schedule {
    /// Draws a schedule for a run that takes so long.
    fn draw(random: &mut Rng, length: Duration) -> Self {
        let seconds = |random: &mut Rng| length.mul_f64(random.f64());
        let mut faults: Vec<Fault> = (0..random.usize(0..4)).map(|_| fault(random)).collect();
        if random.u8(0..3) == 0 {
            faults.push(lasting_fault(random));
        }
        let moment = |random: &mut Rng| match random.bool() {
            true => Moment::BeforeEvent,
            false => Moment::AfterEvent,
        };
        let crashes =
            (0..random.usize(0..3)).map(|_| (random.u64(1..150), moment(random))).collect();
        let cancel_after = (random.u8(0..3) == 0).then(|| seconds(random));
        let other = |random: &mut Rng| match random.bool() {
            true => Other::DeletePod(random.usize(0..20)),
            false => Other::Uncordon(random.usize(0..8)),
        };
        let others = match random.u8(0..4) {
            0 => (0..random.usize(1..3)).map(|_| (seconds(random), other(random))).collect(),
            _ => Vec::new(),
        };
        Self { faults, crashes, cancel_after, others }
    }
}

fn fault(random: &mut Rng) -> Fault {
    let operations = [
        "*",
        "eks:*",
        "autoscaling:*",
        "patch *",
        "list *",
        "watch *",
        "get *",
        "create *",
        "delete *",
        "eks:UpdateNodegroupConfig",
        "autoscaling:SetInstanceProtection",
        "patch nodes/*",
        "patch deployments/*",
        "update leases/*",
    ];
    let effects = [
        Effect::Throttle,
        Effect::Drop { before: true },
        Effect::Drop { before: false },
        Effect::Delay { by: Duration::from_millis(random.u64(0..40_000)) },
        Effect::Fail { status: 500, code: "InternalError".into(), message: "a fault".into() },
        Effect::Fail { status: 503, code: "ServiceUnavailable".into(), message: "a fault".into() },
    ];
    Fault {
        matching: random.choice(operations).unwrap_or("*").to_owned(),
        nth: random.u32(1..60),
        times: random.u32(1..4),
        effect: effects[random.usize(0..effects.len())].clone(),
    }
}

/// Lasts until a step has used all its attempts.
fn lasting_fault(random: &mut Rng) -> Fault {
    let operations = [
        "eks:UpdateNodegroupConfig",
        "autoscaling:SetInstanceProtection",
        "patch nodes/*",
        "patch deployments/*",
        "list pods*",
    ];
    let effect =
        Effect::Fail { status: 500, code: "InternalError".into(), message: "a fault".into() };
    let matching = random.choice(operations).unwrap_or("*").to_owned();
    Fault { matching, nth: random.u32(1..4), times: random.u32(10..40), effect }
}

/// The outcome of a schedule.
struct Outcome {
    run: Run,
    before: ClusterState,
    after: ClusterState,
    processes: usize,
}

async fn run_schedule(subject: &Subject, schedule: &Schedule) -> Result<Outcome, String> {
    let cluster = VirtualCluster::new(Scenario::default()).await;
    let before = cluster.simulator.state().await.map_err(|error| error.to_string())?;
    let memory = Arc::new(MemoryStore::default());
    let others = schedule.others.iter().copied();
    for (after, other) in others {
        tokio::spawn(disturb(cluster.foreign_client(), after, other));
    }
    schedule.faults.iter().cloned().for_each(|fault| cluster.simulator.inject(fault));
    let ended = tokio::time::timeout(TIME_LIMIT, drive(subject, schedule, &cluster, &memory)).await;
    let (run, processes) = ended.map_err(|_| "the run did not end within a day".to_owned())??;
    let after = cluster.simulator.state().await.map_err(|error| error.to_string())?;
    Ok(Outcome { run, before, after, processes })
}

/// Drives the run to its end, in as many processes as it takes.
async fn drive(
    subject: &Subject,
    schedule: &Schedule,
    cluster: &VirtualCluster,
    memory: &Arc<MemoryStore>,
) -> Result<(Run, usize), String> {
    let Value::Object(inputs) = subject.inputs.clone() else { return Err("inputs".into()) };
    let began = tokio::time::Instant::now();
    let mut id = None;
    for process in 1..MAX_PROCESSES {
        memory.forget_writers();
        let crash = schedule.crashes.get(process - 1);
        let (point, moment) = crash.map_or((u64::MAX, Moment::AfterEvent), |crash| *crash);
        let (store, died) =
            InterruptingStore::stopping(memory.clone(), Point::Event(point), moment);
        let engine = cluster.engine(Arc::new(store));
        let control = Control::default();
        let cancel = schedule.cancel_after.map(|after| {
            let (control, left) = (control.clone(), after.saturating_sub(began.elapsed()));
            tokio::spawn(async move {
                tokio::time::sleep(left).await;
                control.cancel("schedule");
            })
        });
        let driving = process_of(&engine, subject, &inputs, id.clone(), control);
        let ended = tokio::select! {
            ended = driving => Some(ended),
            () = died.notified() => None,
        };
        if let Some(cancel) = cancel {
            cancel.abort();
        }
        let last = memory.heads(rafay_relay_sop::journal::HeadQuery::Newest(1)).await;
        id = last.map_err(|error| error.to_string())?.pop().map(|entry| entry.run);
        match ended {
            // The process has died.
            None => {}
            Some(Ok(run)) if run.state(false) == RunState::Interrupted => {}
            Some(Ok(run)) => return Ok((run, process)),
            // Refused because the platform did not answer, before anything was changed: a person tries again.
            Some(Err(_)) => {}
        }
    }
    Err("the run did not end in any process".into())
}

async fn process_of(
    engine: &Engine,
    subject: &Subject,
    inputs: &Map<String, Value>,
    id: Option<rafay_relay_sop::journal::RunId>,
    control: Control,
) -> Result<Run, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let accepted = match id {
        None => {
            let checked = CheckedRunbook::new(Source::new(subject.name, subject.text))
                .map_err(|error| text(&error))?;
            let preflight = engine.prepare(checked, inputs).await.map_err(|error| text(&error))?;
            engine.accept(preflight, "schedule", None).await.map_err(|error| text(&error))?
        }
        Some(id) => {
            let request = rafay_relay_sop::engine::ResumeRequest::default();
            let preflight =
                engine.prepare_resume(&id, request).await.map_err(|error| text(&error))?;
            engine.resume(preflight, "schedule").await.map_err(|error| text(&error))?
        }
    };
    engine.drive(accepted, control).await.map_err(|error| text(&error))
}

async fn disturb(client: kube::Client, after: Duration, other: Other) {
    tokio::time::sleep(after).await;
    match other {
        Other::DeletePod(nth) => {
            let all = Api::<Pod>::all(client.clone()).list(&Default::default()).await;
            let Some(pod) = all.ok().and_then(|all| all.items.into_iter().nth(nth)) else { return };
            let namespace = pod.metadata.namespace.unwrap_or_default();
            let api = Api::<Pod>::namespaced(client, &namespace);
            let name = pod.metadata.name.unwrap_or_default();
            let _ = api.delete(&name, &DeleteParams::default()).await;
        }
        Other::Uncordon(nth) => {
            let nodes: Api<Node> = Api::all(client);
            let all = nodes.list(&Default::default()).await;
            let Some(node) = all.ok().and_then(|all| all.items.into_iter().nth(nth)) else {
                return;
            };
            let name = node.metadata.name.unwrap_or_default();
            let patch = Patch::Merge(json!({"spec": {"unschedulable": null}}));
            let _ = nodes.patch(&name, &PatchParams::default(), &patch).await;
        }
    }
}

/// The facts that these runbooks change, by the targets that a run names.
fn facts(state: &ClusterState) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for (name, group) in &state.nodegroups {
        facts.insert(format!("nodegroup {name} desired"), group.desired.to_string());
        facts.insert(format!("nodegroup {name} max"), group.max.to_string());
        for (id, instance) in &group.instances {
            let target = format!("instance {id} protected from scale-in");
            facts.insert(target, instance.protected.to_string());
        }
    }
    for (name, node) in &state.nodes {
        facts.insert(format!("node {name} unschedulable"), node.unschedulable.to_string());
    }
    for (path, deployment) in &state.deployments {
        facts.insert(format!("deployment {path} replicas"), deployment.replicas.to_string());
    }
    facts
}

/// The facts that differ from the start, among what was there at the start.
fn changed(outcome: &Outcome) -> BTreeSet<String> {
    let (before, after) = (facts(&outcome.before), facts(&outcome.after));
    let differs = before.iter().filter(|(target, value)| after.get(*target) != Some(value));
    differs.map(|(target, _)| target.clone()).collect()
}

/// Checks the promise.
fn check(
    outcome: &Outcome,
    schedule: &Schedule,
    succeeds: fn(&Outcome) -> Result<(), String>,
) -> Result<(), String> {
    let state = outcome.run.state(false);
    match state {
        RunState::Succeeded => succeeds(outcome),
        RunState::RolledBack
        | RunState::Failed
        | RunState::Cancelled
        | RunState::RollbackFailed => {
            let told: BTreeSet<String> =
                outcome.run.differences().into_iter().map(|difference| difference.target).collect();
            let is_own = |target: &String| {
                // What others changed is not the run's to tell.
                schedule.others.is_empty() || !target.starts_with("node ")
            };
            let silent: Vec<String> = changed(outcome)
                .into_iter()
                .filter(|target| is_own(target) && !told.contains(target))
                .collect();
            if silent.is_empty() {
                return Ok(());
            }
            Err(format!("{state}, and these differ without a word: {silent:?}; told: {told:?}"))
        }
        _ => Err(format!("the run ended as {state}")),
    }
}

fn relay_scale_succeeds(outcome: &Outcome) -> Result<(), String> {
    let (before, after) = (facts(&outcome.before), facts(&outcome.after));
    let relay = "nodegroup relay-services-1a2b3c desired";
    if before[relay] != "3" || after[relay] != "6" {
        return Err(format!("{relay}: {} -> {}", before[relay], after[relay]));
    }
    let replicas = "deployment rafay-core/rafay-relay replicas";
    if before[replicas] != after[replicas] {
        return Err(format!("{replicas}: {} -> {}", before[replicas], after[replicas]));
    }
    Ok(())
}

/// The schedules to run: those of the environment, else as many as fit into a test.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("SOP_SEEDS") else { return SCHEDULES };
    let parsed = match text.split_once("..") {
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()).map(|(from, to)| from..to),
        None => text.parse().ok().map(|seed: u64| seed..seed + 1),
    };
    parsed
        .unwrap_or_else(|| panic!("SOP_SEEDS={text} is neither a seed nor a range such as 0..100"))
}

/// Runs all schedules of a runbook, on as many threads as there are processors, and returns how many runs ended in which
/// state.
fn run_all(
    subject: &Subject,
    succeeds: fn(&Outcome) -> Result<(), String>,
) -> BTreeMap<String, usize> {
    let seeds = Mutex::new(seeds());
    let results = Mutex::new((BTreeMap::<String, usize>::new(), String::new()));
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = next(&seeds) {
                    let (end, failure) = run_one(subject, seed, succeeds);
                    let mut results = results.lock().unwrap();
                    end.into_iter().for_each(|end| *results.0.entry(end).or_default() += 1);
                    results.1.push_str(&failure);
                }
            });
        }
    });
    let (ends, failures) = results.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures}");
    ends
}

fn next(seeds: &Mutex<Range<u64>>) -> Option<u64> {
    seeds.lock().unwrap().next()
}

/// Runs one schedule, and returns how the run ended and what is wrong about that.
fn run_one(
    subject: &Subject,
    seed: u64,
    succeeds: fn(&Outcome) -> Result<(), String>,
) -> (Vec<String>, String) {
    let schedule = Schedule::draw(&mut Rng::with_seed(seed), subject.length);
    let mut ends = Vec::new();
    let ended = in_virtual_time(seed, || run_schedule(subject, &schedule));
    let checked = ended.and_then(|outcome| {
        ends.push(outcome.run.state(false).to_string());
        if outcome.processes > 1 {
            ends.push("in several processes".into());
        }
        check(&outcome, &schedule, succeeds)
    });
    let failure = checked
        .err()
        .map(|error| format!("SOP_SEEDS={seed} ({}): {error}\n  {schedule:?}\n", subject.name));
    (ends, failure.unwrap_or_default())
}

/// Checks that the schedules have led to these ends, each several times. A few schedules alone need not.
fn assert_ends(ends: &BTreeMap<String, usize>, expected: &[&str]) {
    if std::env::var("SOP_SEEDS").is_ok() {
        return;
    }
    for end in expected {
        assert!(ends.get(*end).is_some_and(|count| *count > 3), "{end}: {ends:?}");
    }
}

fn relay_scale() -> Subject {
    let text = include_str!("../runbooks/relay-scale.yaml");
    Subject { name: "relay-scale", length: Duration::from_secs(110), text, inputs: json!({}) }
}

#[test]
fn relay_scale_keeps_its_promise_under_any_schedule() {
    let ends = run_all(&relay_scale(), relay_scale_succeeds);
    assert_ends(&ends, &["succeeded", "rolled_back", "cancelled", "in several processes"]);
}

#[test]
fn park_keeps_its_promise_under_any_schedule() {
    let inputs = json!({
        "region": "us-west-2",
        "cluster": "rafay-cluster",
        "nodegroups": ["relay-services-1a2b3c"],
        "deployments": ["rafay-sentry"],
    });
    let text = include_str!("../runbooks/park.yaml");
    let subject = Subject { name: "park", length: Duration::from_secs(40), text, inputs };
    let succeeds = |outcome: &Outcome| {
        let after = facts(&outcome.after);
        let parked = |target: &str| match after[target].as_str() {
            "0" => Ok(()),
            other => Err(format!("{target}: {other}")),
        };
        parked("nodegroup relay-services-1a2b3c desired")?;
        parked("deployment rafay-core/rafay-sentry replicas")
    };
    let ends = run_all(&subject, succeeds);
    assert_ends(&ends, &["succeeded", "cancelled", "in several processes"]);
}

#[test]
fn restart_deployments_keeps_its_promise_under_any_schedule() {
    let inputs = json!({"deployments": ["rafay-sentry", "relay-cache"]});
    let text = include_str!("../runbooks/restart-deployments.yaml");
    let subject =
        Subject { name: "restart-deployments", length: Duration::from_secs(15), text, inputs };
    let succeeds = |outcome: &Outcome| {
        for path in ["rafay-core/rafay-sentry", "rafay-core/relay-cache"] {
            let deployment = &outcome.after.deployments[path];
            if deployment.restarted_at == outcome.before.deployments[path].restarted_at {
                return Err(format!("{path} was not restarted: {deployment:?}"));
            }
        }
        Ok(())
    };
    let ends = run_all(&subject, succeeds);
    assert_ends(&ends, &["succeeded", "cancelled", "in several processes"]);
}

/// The same seed is the same world, the same disturbances and the same end.
#[test]
fn a_schedule_is_replayed_by_its_seed() {
    let subject = relay_scale();
    for seed in [3, 14] {
        let replay = || {
            let schedule = Schedule::draw(&mut Rng::with_seed(seed), subject.length);
            let outcome = in_virtual_time(seed, || run_schedule(&subject, &schedule)).unwrap();
            (outcome.run.state(false), facts(&outcome.after))
        };
        assert_eq!(replay(), replay(), "seed {seed}");
    }
}
