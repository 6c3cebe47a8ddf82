//! Seeded schedules: a run in virtual time is disturbed by faults of the platform, crashes of its process, a cancel and
//! changes of others, all drawn from a seed. Whatever happens, the run reaches its target exactly once, or what it changed
//! is restored, or it says what differs. A seed that fails is replayed alone:
//!
//! ```text
//! SOP_SEEDS=4711 cargo test --test main schedules      one schedule
//! SOP_SEEDS=0..100000 cargo test --test main schedules many
//! ```
//!
//! `subjects` has the runbooks, and what must hold where one has succeeded.

mod subjects;

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
    engine::{Control, Engine},
    journal::{MemoryStore, Run, RunState, RunStore, UndoStatus},
};
use serde_json::{Map, Value, json};
use simulator::{ClusterState, Effect, Fault, InstanceFacts, Scenario};
use test_support::{InterruptingStore, Moment, Point, VirtualCluster, checked, in_virtual_time};

/// More processes than any schedule kills.
const MAX_PROCESSES: usize = 12;
/// How long a schedule may take in virtual time.
const TIME_LIMIT: Duration = Duration::from_hours(24);

/// A runbook, its inputs and its world.
struct Subject {
    name: &'static str,
    /// How many schedules a test runs, unless the environment names others.
    schedules: u64,
    /// How long its run takes when nothing disturbs it.
    length: Duration,
    scenario: Scenario,
    /// A runbook that has run before, undisturbed and with the same inputs.
    first: Option<&'static str>,
    inputs: Value,
    /// What must hold where the run has succeeded.
    succeeds: fn(&Outcome) -> Result<(), String>,
}

/// What happens to a run, as drawn from a seed.
#[derive(Debug, Clone, Default)]
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
        "eks:UpdateNodegroupVersion",
        "autoscaling:SetInstanceProtection",
        "autoscaling:TerminateInstanceInAutoScalingGroup",
        "autoscaling:SuspendProcesses",
        "autoscaling:ResumeProcesses",
        "patch nodes/*",
        "patch deployments/*",
        "create pods/*",
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
        "eks:UpdateNodegroupVersion",
        "autoscaling:SetInstanceProtection",
        "autoscaling:TerminateInstanceInAutoScalingGroup",
        "autoscaling:ResumeProcesses",
        "patch nodes/*",
        "patch deployments/*",
        "create pods/*",
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
    /// Whether others have changed something.
    has_others: bool,
    /// How long it took in virtual time.
    length: Duration,
}

async fn run_schedule(subject: &Subject, schedule: &Schedule) -> Result<Outcome, String> {
    let cluster = VirtualCluster::new(subject.scenario.clone()).await;
    if let Some(first) = subject.first {
        let (memory, undisturbed) = (Arc::default(), Schedule::default());
        drive(first, &subject.inputs, &undisturbed, &cluster, &memory).await?;
    }
    let began = tokio::time::Instant::now();
    let before = cluster.simulator.state().await.map_err(|error| error.to_string())?;
    let memory = Arc::new(MemoryStore::default());
    let others = schedule.others.iter().copied();
    for (after, other) in others {
        tokio::spawn(disturb(cluster.foreign_client(), after, other));
    }
    schedule.faults.iter().cloned().for_each(|fault| cluster.simulator.inject(fault));
    let ended = drive(subject.name, &subject.inputs, schedule, &cluster, &memory);
    let ended = tokio::time::timeout(TIME_LIMIT, ended).await;
    let (length, has_others) = (began.elapsed(), !schedule.others.is_empty());
    let (run, processes) = ended.map_err(|_| "the run did not end within a day".to_owned())??;
    let after = cluster.simulator.state().await.map_err(|error| error.to_string())?;
    Ok(Outcome { run, before, after, processes, has_others, length })
}

/// Drives the run to its end, in as many processes as it takes.
async fn drive(
    name: &str,
    inputs: &Value,
    schedule: &Schedule,
    cluster: &VirtualCluster,
    memory: &Arc<MemoryStore>,
) -> Result<(Run, usize), String> {
    let Value::Object(inputs) = inputs else { return Err("inputs".into()) };
    let began = tokio::time::Instant::now();
    let (mut id, mut refusal) = (None, String::new());
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
        let driving = process_of(&engine, name, inputs, id.clone(), control);
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
            // The process has died, perhaps at the last event of the run.
            None => {
                let Some(id) = &id else { continue };
                let run =
                    Run::read(memory.as_ref(), id).await.map_err(|error| error.to_string())?;
                if run.head.is_final() {
                    return Ok((run, process));
                }
            }
            Some(Ok(run)) if run.state(false) == RunState::Interrupted => {}
            Some(Ok(run)) => return Ok((run, process)),
            // Refused because the platform did not answer, before anything was changed: a person tries again.
            Some(Err(error)) => refusal = error,
        }
    }
    Err(format!("the run did not end in any process: {refusal}"))
}

/// Returns the text of a runbook, with the one that it calls.
fn text_of(name: &str) -> String {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks");
    let read = |name: &str| std::fs::read_to_string(format!("{directory}/{name}.yaml")).unwrap();
    match name {
        "rotate-nodegroup" => [read(name), read("replace-node")].join("\n---\n"),
        _ => read(name),
    }
}

async fn process_of(
    engine: &Engine,
    name: &str,
    inputs: &Map<String, Value>,
    id: Option<rafay_relay_sop::journal::RunId>,
    control: Control,
) -> Result<Run, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let accepted = match id {
        None => {
            let checked = checked(&text_of(name)).map_err(|error| text(&error))?;
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
    let mut fact = |target: String, value: String| facts.insert(target, value);
    for (name, group) in &state.nodegroups {
        for (what, size) in [("desired", group.desired), ("min", group.min), ("max", group.max)] {
            fact(format!("nodegroup {name} {what}"), size.to_string());
        }
        fact(format!("nodegroup {name} version"), group.version.clone());
        for key in NOTES {
            let value = group.labels.get(key).cloned().unwrap_or_default();
            fact(format!("nodegroup {name} label {key}"), value);
        }
        let suspended = group.suspended.contains("AZRebalance").to_string();
        let group_name = &group.group;
        fact(
            format!("process AZRebalance of Auto Scaling group {group_name} suspended"),
            suspended,
        );
        for (id, instance) in &group.instances {
            fact(format!("instance {id}"), is_staying(instance).to_string());
            if is_staying(instance) {
                let target = format!("instance {id} protected from scale-in");
                fact(target, instance.protected.to_string());
            }
        }
    }
    for (name, node) in &state.nodes {
        fact(format!("node {name} unschedulable"), node.unschedulable.to_string());
    }
    for (path, deployment) in &state.deployments {
        fact(format!("deployment {path} replicas"), deployment.replicas.to_string());
        let mut note = |key: &str, target: String| {
            fact(target, deployment.annotations.get(key).cloned().unwrap_or_default());
        };
        let path = format!("deployment {path} .metadata.annotations['{PARKED_REPLICAS}']");
        note(PARKED_REPLICAS, path);
    }
    facts
}

/// What park remembers on a nodegroup.
const NOTES: [&str; 2] = ["sop.rafay.dev/parked-desired", "sop.rafay.dev/parked-min"];
/// What park remembers on a deployment.
const PARKED_REPLICAS: &str = "sop.rafay.dev/parked-replicas";

fn is_staying(instance: &InstanceFacts) -> bool {
    !instance.lifecycle.starts_with("Terminat")
}

/// The facts that differ from the start, among what was there at the start. Of an instance that has ended only the end
/// differs.
fn changed(outcome: &Outcome) -> BTreeSet<String> {
    let (before, after) = (facts(&outcome.before), facts(&outcome.after));
    let differs = before.iter().filter(|(target, value)| match after.get(*target) {
        Some(now) => now != *value,
        None => target.starts_with("instance ") && !target.contains("protected"),
    });
    differs.map(|(target, _)| target.clone()).collect()
}

/// Whether a run has told that a target differs. Where EKS replaces the nodes, they stand for their instances, and an
/// update that EKS has not finished for all of them.
fn is_told(target: &str, told: &BTreeSet<String>, before: &ClusterState) -> bool {
    if told.contains(target) {
        return true;
    }
    before.nodegroups.iter().any(|(name, group)| {
        let is_updating = told.contains(&format!("nodegroup {name} update in progress"));
        group.instances.iter().any(|(id, instance)| {
            let node = format!("node {}", instance.node);
            let is_its =
                target == format!("instance {id}") || target == format!("{node} unschedulable");
            is_its && (is_updating || told.contains(&node))
        })
    })
}

/// Checks the promise.
fn check(outcome: &Outcome, subject: &Subject) -> Result<(), String> {
    let state = outcome.run.state(false);
    match state {
        RunState::Succeeded => {
            let held = changed(outcome).into_iter().find(|target| target.starts_with("process "));
            held.map_or(Ok(()), |held| Err(format!("{held} is not as before")))?;
            (subject.succeeds)(outcome)
        }
        // Everything was done, and something was to be undone at the end that could not be.
        RunState::SucceededWithFailures => {
            let mut undone = outcome.run.steps().iter().filter_map(|step| step.undo.as_ref());
            if !undone.any(|undo| matches!(undo, UndoStatus::Failed { .. })) {
                return Err(format!("{state} without a failure"));
            }
            (subject.succeeds)(outcome)
        }
        RunState::RolledBack
        | RunState::Failed
        | RunState::Cancelled
        | RunState::RollbackFailed => {
            let told: BTreeSet<String> =
                outcome.run.differences().into_iter().map(|difference| difference.target).collect();
            let is_own = |target: &String| {
                // What others changed is not the run's to tell.
                !outcome.has_others || !target.starts_with("node ")
            };
            let silent: Vec<String> = changed(outcome)
                .into_iter()
                .filter(|target| is_own(target) && !is_told(target, &told, &outcome.before))
                .collect();
            if silent.is_empty() {
                return Ok(());
            }
            Err(format!("{state}, and these differ without a word: {silent:?}; told: {told:?}"))
        }
        _ => Err(format!("the run ended as {state}")),
    }
}

/// The schedules to run: those of the environment, else as many as fit into a test.
fn seeds(subject: &Subject) -> Range<u64> {
    let Ok(text) = std::env::var("SOP_SEEDS") else { return 0..subject.schedules };
    let parsed = match text.split_once("..") {
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()).map(|(from, to)| from..to),
        None => text.parse().ok().map(|seed: u64| seed..seed + 1),
    };
    parsed
        .unwrap_or_else(|| panic!("SOP_SEEDS={text} is neither a seed nor a range such as 0..100"))
}

/// Runs all schedules of a runbook, on as many threads as there are processors, and checks that they have led to these
/// ends, each several times. A few schedules alone need not.
fn assert_promise(subject: &Subject, expected: &[&str]) {
    let seeds = Mutex::new(seeds(subject));
    let results = Mutex::new((BTreeMap::<String, usize>::new(), String::new()));
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = next(&seeds) {
                    let (end, failure) = run_one(subject, seed);
                    let mut results = results.lock().unwrap();
                    end.into_iter().for_each(|end| *results.0.entry(end).or_default() += 1);
                    results.1.push_str(&failure);
                }
            });
        }
    });
    let (ends, failures) = results.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures}");
    if std::env::var("SOP_SEEDS").is_err() {
        for end in expected {
            assert!(ends.get(*end).is_some_and(|count| *count > 3), "{end}: {ends:?}");
        }
    }
}

fn next(seeds: &Mutex<Range<u64>>) -> Option<u64> {
    seeds.lock().unwrap().next()
}

/// Runs one schedule, and returns how the run ended and what is wrong about that.
fn run_one(subject: &Subject, seed: u64) -> (Vec<String>, String) {
    let schedule = Schedule::draw(&mut Rng::with_seed(seed), subject.length);
    let mut ends = Vec::new();
    let ended = in_virtual_time(seed, || run_schedule(subject, &schedule));
    let checked = ended.and_then(|outcome| {
        ends.push(outcome.run.state(false).to_string());
        if outcome.processes > 1 {
            ends.push("in several processes".into());
        }
        check(&outcome, subject)
    });
    let failure = checked
        .err()
        .map(|error| format!("SOP_SEEDS={seed} ({}): {error}\n  {schedule:?}\n", subject.name));
    (ends, failure.unwrap_or_default())
}

/// What is drawn for a run falls into it, so the lengths that the subjects state must be about right.
#[test]
fn an_undisturbed_run_succeeds_in_the_time_that_its_schedules_are_drawn_for() {
    let mut wrong = Vec::new();
    for subject in subjects::all() {
        let undisturbed = Schedule::default();
        let outcome = in_virtual_time(1, || run_schedule(&subject, &undisturbed)).unwrap();
        assert_eq!(outcome.run.state(false), RunState::Succeeded, "{}", subject.name);
        check(&outcome, &subject).unwrap_or_else(|error| panic!("{}: {error}", subject.name));
        let length = outcome.length.as_secs_f64();
        if !(0.7..1.3).contains(&(subject.length.as_secs_f64() / length)) {
            wrong.push(format!("{}: {length} s", subject.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The same seed is the same world, the same disturbances and the same end.
#[test]
fn a_schedule_is_replayed_by_its_seed() {
    let subject = subjects::relay_scale();
    for seed in [3, 14] {
        let replay = || {
            let schedule = Schedule::draw(&mut Rng::with_seed(seed), subject.length);
            let outcome = in_virtual_time(seed, || run_schedule(&subject, &schedule)).unwrap();
            (outcome.run.state(false), facts(&outcome.after))
        };
        assert_eq!(replay(), replay(), "seed {seed}");
    }
}
