//! A service of several processes, which keep their runs in the cluster: any of them answers and accepts requests, the
//! one that accepted a run drives it, and another one continues it when that process is gone.
//! `tests/control_plane/replicas.rs` has the same on a real API server.

use std::process::Command;

use rafay_relay_sop::journal::RunId;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use test_support::{
    ProgramOutput, SCALE_UP, Serve, SimulateProcess, effective_calls, signal, wait_until_async,
};

/// The store in the namespace that every simulated cluster has, and a lease that can be waited for.
const STORE: [&str; 4] = ["--store", "cluster", "--store-namespace", "rafay-core"];
const DRIVING: [&str; 4] = ["--lease-duration", "3s", "--speed", "60"];

/// Begins with a change, rests, and changes more.
const RESTS: &str = "  - {id: rest, action: sleep, with: {duration: 10m}, timeout: 1h}\n  \
    - {id: cordon, action: cordon, with: {nodes: \"{{ scale_up.before.nodes | map(attribute='name') | list }}\"}}\n";

/// Changes nothing, so it takes no lease of the cluster.
const READS: &str =
    "name: reads\nsteps:\n  - {id: rest, action: sleep, with: {duration: 10m}, timeout: 1h}\n";

/// Changes something, and asks.
const ASKS: &str = "\
name: asks
steps:
  - {id: restart, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}
  - {id: go, action: wait_approval, with: {message: Go on?, expires: 4h, not_by: [], approvals: 2}}
  - {id: again, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}
";

/// A simulated cluster and account, and the runbooks of the service.
struct World {
    simulate: SimulateProcess,
    runbooks: TempDir,
}

impl World {
    fn new() -> Self {
        let runbooks = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("scale-up", format!("{SCALE_UP}{RESTS}")),
            ("reads", READS.into()),
            ("asks", ASKS.into()),
        ] {
            std::fs::write(runbooks.path().join(format!("{name}.yaml")), text).unwrap();
        }
        Self { simulate: SimulateProcess::start(60.0), runbooks }
    }

    /// The program, with the store in the cluster.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = test_support::program();
        let environment = self.simulate.environment.iter();
        command.envs(environment.filter(|(name, _)| name != "SOP_STATE_DIR").cloned());
        command.args(STORE).arg("--runbooks").arg(self.runbooks.path()).args(arguments);
        command
    }

    fn replica(&self) -> Serve {
        Serve::start(self.command(&["serve"]).args(DRIVING))
    }

    fn replica_that_accepts_objects(&self) -> Serve {
        Serve::start(self.command(&["serve", "--accept-objects"]).args(DRIVING))
    }

    fn runs(&self, arguments: &[&str]) -> ProgramOutput {
        ProgramOutput::run(self.command(&["runs"]).args(arguments))
    }

    /// What a run is by `kubectl get`.
    async fn object(&self, run: &str) -> Value {
        reqwest::get(format!("{}/{run}", self.objects())).await.unwrap().json().await.unwrap()
    }

    /// Asks for a run by `kubectl create`.
    async fn create(&self, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "sop.rafay.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": name}, "spec": spec,
        });
        let created =
            reqwest::Client::new().post(self.objects()).json(&object).send().await.unwrap();
        assert!(created.status().is_success(), "{}", created.text().await.unwrap());
    }

    /// The address of the objects of runs.
    fn objects(&self) -> String {
        let server = self.simulate.environment.iter().find(|(name, _)| name == "KUBECONFIG");
        let kubeconfig = std::fs::read_to_string(&server.unwrap().1).unwrap();
        let (_, url) = kubeconfig.split_once("server: \"").unwrap();
        let (url, _) = url.split_once('"').unwrap();
        format!("{url}/apis/sop.rafay.dev/v1alpha1/namespaces/rafay-core/runbookruns")
    }

    async fn changes(&self) -> Vec<String> {
        effective_calls(&self.simulate.calls().await)
    }
}

/// Starts a run, and waits until it rests.
async fn start(replica: &Serve, runbook: &str) -> RunId {
    let (status, started) = replica.post(&format!("/run?runbook={runbook}"), json!({})).await;
    assert_eq!(status, StatusCode::OK, "{started:#}");
    let run: RunId = started["run"].as_str().unwrap().parse().unwrap();
    wait_until_async("the run to rest", async || {
        logs(replica, &run).await.contains("Waiting: 10m to pass").then_some(())
    })
    .await;
    run
}

/// The log lines of a run, as a replica has them.
async fn logs(replica: &Serve, run: &RunId) -> String {
    replica.get(&format!("/status?run={run}")).await.1["logs"].to_string()
}

/// Waits until a replica says that a run is in some state.
async fn wait_for_state(replica: &Serve, run: &RunId, state: &str) -> Value {
    wait_until_async(&format!("the run to be {state}"), async || {
        let (_, status) = replica.get(&format!("/status?run={run}")).await;
        (status["state"] == state).then_some(status)
    })
    .await
}

/// The changes of the run of `SCALE_UP` and `RESTS`.
fn all_changes() -> Vec<&'static str> {
    vec!["eks:UpdateNodegroupConfig", "patch nodes", "patch nodes", "patch nodes"]
}

fn without_names(calls: &[String]) -> Vec<&str> {
    calls.iter().map(|call| call.split_once('/').map_or(call.as_str(), |(verb, _)| verb)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_replica_answers_and_cancels_a_run_that_another_one_drives() {
    let world = World::new();
    let (one, two) = (world.replica(), world.replica());
    let run = start(&one, "scale-up").await;
    for replica in [&one, &two] {
        assert_eq!(replica.get("/ready").await.0, StatusCode::OK);
        let (_, status) = replica.get("/status").await;
        assert_eq!((&status["state"], &status["run"]), (&json!("running"), &json!(run)));
        let (_, page) = replica.get("/runs").await;
        assert_eq!(page["runs"][0]["state"], "running", "{page:#}");
    }
    let (code, refused) = two.post("/run?runbook=scale-up", json!({})).await;
    assert_eq!(code, StatusCode::CONFLICT, "{refused:#}");
    assert_eq!(refused["run"], json!(run), "{refused:#}");
    for operation in ["resume", "rollback", "abandon"] {
        let (code, refused) = two.post(&format!("/runs/{run}/{operation}"), json!({})).await;
        assert_eq!(code, StatusCode::CONFLICT, "{operation}: {refused:#}");
    }
    let (code, answer) = two.post(&format!("/runs/{run}/cancel"), json!({})).await;
    assert_eq!((code, &answer["status"]), (StatusCode::OK, &json!("cancelling")), "{answer:#}");
    wait_for_state(&one, &run, "cancelled").await;
    let cancelled = wait_for_state(&two, &run, "cancelled").await;
    assert_eq!(cancelled["error"], "cancelled by http:127.0.0.1");

    // Another replica may continue it, and the request to cancel it no longer counts.
    let (code, resumed) = two.post(&format!("/runs/{run}/resume"), json!({})).await;
    assert_eq!(code, StatusCode::OK, "{resumed:#}");
    wait_for_state(&one, &run, "succeeded").await;
    assert_eq!(without_names(&world.changes().await), all_changes());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_of_a_replica_that_is_killed_is_continued_by_another_one() {
    let world = World::new();
    let (one, two) = (world.replica(), world.replica());
    let run = start(&one, "scale-up").await;
    drop(one);
    let ended = wait_for_state(&two, &run, "succeeded").await;
    assert_eq!(without_names(&world.changes().await), all_changes(), "{ended:#}");
    assert!(ended["logs"].to_string().contains("Resumed by http:restart"), "{ended:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_asked_to_end_hands_its_run_over() {
    let world = World::new();
    let (mut one, two) = (world.replica(), world.replica());
    let run = start(&one, "scale-up").await;
    assert_eq!(one.terminate().code(), Some(0));
    wait_for_state(&two, &run, "succeeded").await;
    assert_eq!(without_names(&world.changes().await), all_changes());
}

/// A node whose kubelet hangs, a virtual machine that is moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_for_longer_than_the_lease_sends_nothing_more() {
    let world = World::new();
    let (one, two) = (world.replica(), world.replica());
    let run = start(&one, "scale-up").await;
    signal(one.pid(), "STOP");
    wait_for_state(&two, &run, "succeeded").await;
    let changes = world.changes().await;
    assert_eq!(without_names(&changes), all_changes());
    signal(one.pid(), "CONT");
    // It is told by its next append, and answers as the others do.
    wait_for_state(&one, &run, "succeeded").await;
    wait_until_async("the replica to have left the run", async || {
        let (code, _) = one.post("/run?runbook=reads", json!({})).await;
        (code == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(world.changes().await, changes);
}

/// The run is told apart from one whose process is gone although no lease says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_changes_nothing_is_left_to_the_replica_that_drives_it() {
    let world = World::new();
    // Its last event is older than that when its process dies, and the process was alive until then.
    let replica = || {
        let mut command = world.command(&["serve", "--resume-within", "8s"]);
        Serve::start(command.args(DRIVING))
    };
    let (one, two) = (replica(), replica());
    let run = start(&one, "reads").await;
    let first = world.object(run.as_str()).await["status"]["renewedAt"].clone();
    wait_until_async("some renewals", async || {
        let (_, status) = two.get("/status").await;
        assert_eq!(status["state"], "running", "{status:#}");
        let renewed = world.object(run.as_str()).await["status"]["renewedAt"].clone();
        let seconds =
            |time: &Value| time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        (seconds(&renewed) - seconds(&first) >= 6).then_some(())
    })
    .await;
    assert!(!logs(&two, &run).await.contains("Resumed by"));
    drop(one);
    wait_until_async("the other one to drive it", async || {
        logs(&two, &run).await.contains("Resumed by http:restart").then_some(())
    })
    .await;
    wait_for_state(&two, &run, "succeeded").await;
}

/// From a laptop, and without an address of the pod.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_canceled_from_the_command_line_of_another_machine() {
    let world = World::new();
    let one = world.replica();
    let run = start(&one, "scale-up").await;
    let asked = world.runs(&["cancel", run.as_str()]).expect_exit_code(0);
    assert!(
        asked.stdout.contains(&format!("drives run {run} is asked to cancel it")),
        "{}",
        asked.stdout
    );
    wait_for_state(&one, &run, "cancelled").await;
    let again = world.runs(&["cancel", run.as_str()]).expect_exit_code(2);
    assert!(again.stderr.contains("is cancelled: nothing to cancel"), "{}", again.stderr);
}

/// The process dies before it has seen the request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_cancel_is_honored_by_the_replica_that_continues_the_run() {
    let world = World::new();
    let (one, two) = (world.replica(), world.replica());
    let run = start(&one, "scale-up").await;
    signal(one.pid(), "STOP");
    world.runs(&["cancel", run.as_str()]).expect_exit_code(0);
    drop(one);
    wait_for_state(&two, &run, "cancelled").await;
    assert_eq!(without_names(&world.changes().await), ["eks:UpdateNodegroupConfig"]);
}

/// Nobody resumes the run of a person by itself; but its status says what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_the_command_line_that_is_killed_is_shown_as_interrupted_and_waits_for_a_person() {
    let world = World::new();
    let two = world.replica();
    let mut run = world.command(&["run", "scale-up", "--yes"]);
    let mut run = run.args(DRIVING).stdout(std::process::Stdio::null()).spawn().unwrap();
    let id = wait_until_async("the run to rest", async || {
        let (_, status) = two.get("/status").await;
        let logs = status["logs"].to_string();
        logs.contains("Waiting: 10m to pass")
            .then(|| status["run"].as_str().unwrap().parse::<RunId>().unwrap())
    })
    .await;
    run.kill().unwrap();
    run.wait().unwrap();
    wait_until_async("the status", async || {
        let status = world.object(id.as_str()).await["status"].clone();
        (status["state"] == "interrupted").then(|| {
            let finished = status["conditions"].as_array().unwrap()[0].clone();
            assert_eq!(
                (&finished["status"], &finished["reason"]),
                (&json!("True"), &json!("Interrupted"))
            );
        })
    })
    .await;
    wait_for_state(&two, &id, "interrupted").await;
    let resumed =
        world.runs(&["resume", id.as_str(), "--yes", "--lease-duration", "3s", "--speed", "60"]);
    resumed.expect_exit_code(0);
    assert_eq!(without_names(&world.changes().await), all_changes());
}

/// Waits until the object of a run is in some state, and returns its status.
async fn wait_for_object(world: &World, name: &str, state: &str) -> Value {
    wait_until_async(&format!("{name} to be {state}"), async || {
        let status = world.object(name).await["status"].clone();
        (status["state"] == state).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_by_creating_an_object() {
    let world = World::new();
    // Both see it, and one starts it.
    let (one, two) = (world.replica_that_accepts_objects(), world.replica_that_accepts_objects());
    let spec = json!({"runbook": "scale-up", "inputs": {"scale_factor": 3}, "requestedBy": "ann"});
    world.create("by-hand", spec.clone()).await;
    let run: RunId = "by-hand".parse().unwrap();
    wait_until_async("the run to rest", async || {
        logs(&two, &run).await.contains("Waiting: 10m to pass").then_some(())
    })
    .await;
    world.create("second", spec).await;
    let waits = wait_for_object(&world, "second", "pending").await;
    let reason = waits["waitingFor"].as_str().unwrap();
    assert!(reason.contains("run by-hand "), "{waits:#}");
    let ended = wait_for_object(&world, "by-hand", "succeeded").await;
    assert_eq!(ended["conditions"][1]["status"], "True", "{ended:#}");
    let lines = logs(&one, &run).await;
    assert!(lines.contains("requested by object:ann"), "{lines}");

    // Now the second one is started; by its name it is not the newest.
    wait_for_object(&world, "second", "running").await;
    let (_, page) = one.get("/runs").await;
    let runs: Vec<&Value> =
        page["runs"].as_array().unwrap().iter().map(|run| &run["run"]).collect();
    assert_eq!(runs, ["second", "by-hand"]);
    wait_for_object(&world, "second", "succeeded").await;
    let changes = world.changes().await;
    let updates = changes.iter().filter(|call| *call == "eks:UpdateNodegroupConfig").count();
    assert_eq!(updates, 2, "{changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_waits_until_a_change_window_opens() {
    let world = World::new();
    let windows = world.runbooks.path().join("windows");
    let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let later = day.checked_add(jiff::Span::new().days(2)).unwrap();
    let later = later.strftime("%a").to_string().to_lowercase();
    let file = format!("windows: [{{days: [{later}], from: '09:00', to: '10:00', tz: UTC}}]");
    std::fs::write(&windows, file).unwrap();
    let mut command = world.command(&["serve", "--accept-objects", "--windows"]);
    let _replica = Serve::start(command.arg(&windows).args(DRIVING));
    world.create("changes", json!({"runbook": "scale-up"})).await;
    let waits = wait_for_object(&world, "changes", "pending").await;
    let reason = waits["waitingFor"].as_str().unwrap();
    assert!(reason.contains("no change window is open: the next one opens"), "{waits:#}");
    world.create("reading", json!({"runbook": "reads"})).await;
    wait_for_object(&world, "reading", "succeeded").await;
    let outside = json!({"runbook": "scale-up", "outsideWindow": "change 4711"});
    world.create("at-once", outside).await;
    wait_for_object(&world, "at-once", "succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_accepts_a_finding_that_would_refuse_its_run() {
    let world = World::new();
    let restarts = "name: restarts\nsteps:\n  - {id: one, action: rollout_restart, on_failure: continue, \
        with: {namespace: rafay-core, deployment: rafay-sentry}}\n  - {id: two, action: rollout_restart, \
        with: {namespace: rafay-core, deployment: not-there}}\n";
    std::fs::write(world.runbooks.path().join("restarts.yaml"), restarts).unwrap();
    let _replica = world.replica_that_accepts_objects();
    world.create("refused", json!({"runbook": "restarts"})).await;
    let refused = wait_for_object(&world, "refused", "refused").await;
    let why = refused["conditions"][0]["message"].as_str().unwrap();
    assert!(why.contains("object_missing: "), "{refused:#}");
    assert_eq!(world.changes().await, [""; 0]);
    world.create("accepted", json!({"runbook": "restarts", "accept": ["object_missing"]})).await;
    wait_for_object(&world, "accepted", "failed").await;
    assert_eq!(world.changes().await.len(), 1, "the first deployment was restarted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_a_run_is_refused_with_the_reason() {
    let world = World::new();
    let broken = "name: broken\nsteps:\n  - {id: one, action: scale_nodegrup, with: {}}\n";
    std::fs::write(world.runbooks.path().join("broken.yaml"), broken).unwrap();
    let divides = "name: divides\ninputs:\n  by: {type: integer, default: 1}\nsteps:\n  \
        - {id: one, action: assert, with: {that: \"{{ 10 // inputs.by > 1 }}\", message: no}}\n";
    std::fs::write(world.runbooks.path().join("divides.yaml"), divides).unwrap();
    let replica = world.replica_that_accepts_objects();
    for (name, spec, expected) in [
        ("not-there", json!({"runbook": "not-there"}), "runbook 'not-there' not found"),
        ("broken", json!({"runbook": "broken"}), "3:23: RB012 unknown action"),
        (
            "divides",
            json!({"runbook": "divides", "inputs": {"by": 0}}),
            "{{ 10 // inputs.by > 1 }}",
        ),
        (
            "no-input",
            json!({"runbook": "scale-up", "inputs": {"factor": 2}}),
            "unknown input 'factor'",
        ),
        (
            "no-such-code",
            json!({"runbook": "scale-up", "accept": ["no_such_code"]}),
            "there is no finding with the code \"no_such_code\"",
        ),
        (
            "no-reason",
            json!({"runbook": "scale-up", "outsideWindow": " "}),
            "outsideWindow has no reason",
        ),
        (
            "too-late",
            json!({"runbook": "scale-up", "startBefore": "2026-01-01T00:00:00Z"}),
            "startBefore has passed: 2026-01-01",
        ),
    ] {
        world.create(name, spec).await;
        let status = wait_for_object(&world, name, "refused").await;
        let finished = &status["conditions"][0];
        assert_eq!((&finished["type"], &finished["status"]), (&json!("Finished"), &json!("True")));
        assert!(finished["message"].as_str().unwrap().contains(expected), "{status:#}");
    }
    // They are no runs.
    let (_, page) = replica.get("/runs").await;
    assert_eq!(page["runs"], json!([]));
    assert_eq!(world.changes().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_left_alone_by_a_service_that_does_not_accept_them() {
    let world = World::new();
    let (not, replica) = (world.replica(), world.replica_that_accepts_objects());
    drop(replica);
    world.create("by-hand", json!({"runbook": "reads"})).await;
    let run = start(&not, "reads").await;
    not.post(&format!("/runs/{run}/cancel"), json!({})).await;
    wait_for_state(&not, &run, "cancelled").await;
    assert_eq!(world.object("by-hand").await["status"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_removes_old_runs_from_the_cluster() {
    let world = World::new();
    for _ in 0..3 {
        let mut run = world.command(&["run", "reads", "--yes", "--speed", "600"]);
        ProgramOutput::run(&mut run).expect_exit_code(0);
    }
    let kept = world.runs(&["list", "--limit", "1", "--output", "json"]).expect_exit_code(0);
    let rule = ["--prune-keep", "1", "--prune-older-than", "0s"];
    let replica = Serve::start(world.command(&["serve"]).args(DRIVING).args(rule));
    wait_until_async("the removal", async || {
        let (_, page) = replica.get("/runs").await;
        (page["runs"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let left = world.runs(&["list", "--output", "json"]).expect_exit_code(0);
    assert_eq!(left.stdout, kept.stdout, "the latest one");
}

/// Its events are still in memory: they are in the cluster with the next ones, and the run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_events_cannot_be_stored_for_a_moment_stays_with_its_replica() {
    let world = World::new();
    let (one, two) = (world.replica(), world.replica());
    // The first creation is that of `run_started`.
    let fault = json!({
        "matching": "create runevents*", "nth": 2, "times": 1,
        "effect": {"fail": {"status": 422, "code": "Invalid"}},
    });
    world.simulate.inject(&fault).await;
    let run = start(&one, "reads").await;
    wait_for_state(&two, &run, "succeeded").await;
    assert!(!logs(&two, &run).await.contains("Resumed by"));
    let failed = world.simulate.calls().await;
    assert!(failed.iter().any(|call| call.status == 422), "the fault was met");
}

/// The process dies after it has taken the request, and before the first event of the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_process_dies_is_started_by_another_one() {
    let world = World::new();
    let fault = json!({
        "matching": "create runevents*", "times": 1000,
        "effect": {"fail": {"status": 503, "code": "ServiceUnavailable"}},
    });
    world.simulate.inject(&fault).await;
    let one = world.replica_that_accepts_objects();
    world.create("by-hand", json!({"runbook": "scale-up"})).await;
    wait_for_object(&world, "by-hand", "running").await;
    drop(one);
    world.simulate.clear_faults().await;
    let two = world.replica_that_accepts_objects();
    wait_for_object(&world, "by-hand", "succeeded").await;
    assert_eq!(without_names(&world.changes().await), all_changes());
    drop(two);
}

/// The events of the earlier run may still be there, or for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_the_name_of_one_that_was_deleted_has_none_of_its_events() {
    let world = World::new();
    let replica = world.replica_that_accepts_objects();
    world.create("again", json!({"runbook": "scale-up"})).await;
    wait_for_object(&world, "again", "succeeded").await;
    let client = reqwest::Client::new();
    let deleted = client
        .delete(format!("{}/again", world.objects()))
        .json(&json!({"propagationPolicy": "Orphan"}))
        .send();
    assert!(deleted.await.unwrap().status().is_success());
    world.create("again", json!({"runbook": "reads"})).await;
    wait_for_object(&world, "again", "succeeded").await;
    let (_, shown) = replica.get("/runs/again").await;
    assert_eq!((&shown["runbook"], &shown["state"]), (&json!("reads"), &json!("succeeded")));
}

/// Requests that wait are not tried with every change of the run for which they wait.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_make_few_calls() {
    let world = World::new();
    let one = world.replica_that_accepts_objects();
    let run = start(&one, "scale-up").await;
    for number in 0..5 {
        world.create(&format!("waits-{number}"), json!({"runbook": "scale-up"})).await;
    }
    wait_for_object(&world, "waits-4", "pending").await;
    wait_for_state(&one, &run, "succeeded").await;
    let calls = world.simulate.calls().await;
    let identities = calls.iter().filter(|call| call.operation == "sts:GetCallerIdentity").count();
    assert!(identities <= 5 * 4, "{identities} attempts in ten seconds");
}

/// What a person does from a laptop with runs that a replica has left.
#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_replica_are_rolled_back_and_abandoned_from_the_command_line() {
    let world = World::new();
    let one = world.replica();
    for (operation, state) in [("rollback", "rolled_back"), ("abandon", "abandoned")] {
        let run = start(&one, "scale-up").await;
        let live = world.runs(&[operation, run.as_str(), "--yes"]);
        assert_ne!(live.code, Some(0), "{operation} of a run that is driven: {}", live.stderr);
        one.post(&format!("/runs/{run}/cancel"), json!({})).await;
        wait_for_state(&one, &run, "cancelled").await;
        let arguments: &[&str] = match operation {
            "rollback" => &["--yes", "--lease-duration", "3s", "--speed", "60"],
            _ => &["--yes"],
        };
        let mut command = world.command(&["runs", operation, run.as_str()]);
        ProgramOutput::run(command.args(arguments)).expect_exit_code(0);
        wait_for_state(&one, &run, state).await;
        let shown = world.runs(&["show", run.as_str()]).expect_exit_code(0).stdout;
        assert!(shown.contains(state), "{shown}");
        let lines = world.runs(&["logs", run.as_str()]).expect_exit_code(0).stdout;
        assert!(lines.contains("Cancelled by http:127.0.0.1"), "{lines}");
    }
    // Nothing holds the cluster any more.
    let nodegroups = world.simulate.state().await.nodegroups;
    assert_eq!(
        nodegroups["relay-services-1a2b3c"].desired, 6,
        "rolled back, then doubled and kept"
    );
    start(&one, "scale-up").await;
}

/// All processes were away for longer than a run is continued by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_left_long_ago_waits_for_a_person() {
    let world = World::new();
    let one = world.replica();
    let run = start(&one, "scale-up").await;
    drop(one);
    let alive = world.object(run.as_str()).await["status"]["renewedAt"].clone();
    let alive: jiff::Timestamp = alive.as_str().unwrap().parse().unwrap();
    wait_until_async("some time", async || {
        (jiff::Timestamp::now().duration_since(alive).as_secs() >= 8).then_some(())
    })
    .await;
    let mut command = world.command(&["serve", "--resume-within", "6s"]);
    let two = Serve::start(command.args(DRIVING));
    wait_for_object(&world, run.as_str(), "interrupted").await;
    wait_for_state(&two, &run, "interrupted").await;
    assert!(!logs(&two, &run).await.contains("Resumed by"));
    assert!(two.into_log().iter().any(|line| line.contains("too old, and waits for a person")));
}

/// It says so while it waits, and not that it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_run_cannot_be_journaled_says_why() {
    let world = World::new();
    let fault = json!({
        "matching": "create runevents*", "times": 1000,
        "effect": {"fail": {"status": 403, "code": "Forbidden"}},
    });
    world.simulate.inject(&fault).await;
    let _replica = world.replica_that_accepts_objects();
    world.create("by-hand", json!({"runbook": "scale-up"})).await;
    let waits = wait_for_object(&world, "by-hand", "pending").await;
    let why = waits["waitingFor"].as_str().unwrap();
    assert!(why.contains("create runevents") && why.contains("hint: add to a Role"), "{waits:#}");
    assert_eq!((&waits["holder"], &waits["events"]), (&Value::Null, &Value::Null), "{waits:#}");
    world.simulate.clear_faults().await;
    wait_for_object(&world, "by-hand", "succeeded").await;
}

/// Starts a run, and waits until it asks.
async fn start_to_ask(replica: &Serve) -> RunId {
    let (status, started) = replica.post("/run?runbook=asks", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{started:#}");
    let run: RunId = started["run"].as_str().unwrap().parse().unwrap();
    wait_until_async("the approval to be asked for", async || {
        let (_, status) = replica.get(&format!("/status?run={run}")).await;
        status["approvals"].is_array().then_some(())
    })
    .await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn any_replica_and_any_command_line_answers_an_approval() {
    let world = World::new();
    let (one, two) = (world.replica(), world.replica());
    let run = start_to_ask(&one).await;
    wait_until_async("kubectl to say so", async || {
        let object = world.object(run.as_str()).await;
        (object["status"]["waitingFor"] == "approval of go: Go on?").then_some(())
    })
    .await;
    let (code, answer) = two.post(&format!("/runs/{run}/approve"), json!({})).await;
    assert_eq!((code, &answer["missing"]), (StatusCode::OK, &json!(1)), "{answer:#}");
    let (code, again) = one.post(&format!("/runs/{run}/approve"), json!({})).await;
    assert_eq!(code, StatusCode::CONFLICT, "{again:#}");
    let approved = world.runs(&["approve", run.as_str(), "go"]).expect_exit_code(0);
    assert_eq!(approved.stdout, format!("approved: step go of run {run}\n"));
    let ended = wait_for_state(&two, &run, "succeeded").await;
    assert!(ended["logs"].to_string().contains("Approved by cli:sre"), "{ended:#}");
    assert!(!world.object(run.as_str()).await.to_string().contains("sop.rafay.dev/answer-"));
}

/// The process dies before it has seen the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_taken_by_the_replica_that_continues_the_run() {
    let world = World::new();
    let (one, two) = (world.replica(), world.replica());
    let run = start_to_ask(&one).await;
    let (_, answer) = two.post(&format!("/runs/{run}/approve"), json!({})).await;
    assert_eq!(answer["missing"], 1, "{answer:#}");
    drop(one);
    wait_until_async("the other one to drive it", async || {
        logs(&two, &run).await.contains("Resumed by http:restart").then_some(())
    })
    .await;
    world.runs(&["approve", run.as_str()]).expect_exit_code(0);
    let ended = wait_for_state(&two, &run, "succeeded").await;
    assert_eq!(ended["logs"].to_string().matches("Waiting for approval").count(), 1, "{ended:#}");
}
