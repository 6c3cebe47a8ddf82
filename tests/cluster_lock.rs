//! One cluster, one run at a time, whatever the store: the lease of the cluster, with processes that have state
//! directories of their own.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use rafay_relay_sop::journal::{ResumeMode, RunState};
use serde_json::json;
use tempfile::TempDir;

use test_support::{
    ProgramOutput, SCALE_UP, Serve, SimulateProcess, TestCluster, effective_calls, journal, signal,
    wait_until, wait_until_async,
};

/// A lease that can be waited for.
const LEASE: [&str; 2] = ["--lease-duration", "3s"];
const UPDATE: &str = "eks:UpdateNodegroupConfig";

/// Waits long enough to be met there, in a step that has changed nothing yet.
const WAITS_FIRST: &str = "\
name: waits-first
steps:
  - {id: wait, action: sleep, with: {duration: 1h}, timeout: 2h}
  - {id: cordon, action: cordon, with: {nodes: [ip-10-0-16-11.us-west-2.compute.internal]}}
";

/// A process that ends with this value at the latest.
struct RunningProgram(Child);

impl RunningProgram {
    /// Kills it as a crash would.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn succeeds(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A person with a state directory of their own.
struct Person<'a> {
    simulate: &'a SimulateProcess,
    dir: TempDir,
}

impl<'a> Person<'a> {
    fn of(simulate: &'a SimulateProcess) -> Self {
        Self { simulate, dir: tempfile::tempdir().unwrap() }
    }

    fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.simulate.program(self.state_dir());
        command.args(arguments);
        command
    }

    /// A run of a runbook at the speed of the simulator.
    fn run_command(&self, text: &str) -> Command {
        let name = text.lines().find_map(|line| line.strip_prefix("name: ")).unwrap();
        let runbook = self.dir.path().join(format!("{name}.yaml"));
        std::fs::write(&runbook, text).unwrap();
        let mut command = self.command(&["run", "--yes", "--speed", "60"]);
        command.args(LEASE).arg(&runbook);
        command
    }

    fn run(&self, text: &str) -> ProgramOutput {
        ProgramOutput::run(&mut self.run_command(text))
    }

    fn runs(&self, arguments: &[&str]) -> ProgramOutput {
        ProgramOutput::run(self.command(&["runs"]).args(arguments))
    }

    fn resume(&self, operation: &str) -> ProgramOutput {
        let flags = ["--last", "--yes", "--speed", "60"];
        self.runs(&[&[operation], &flags[..], &LEASE].concat())
    }

    /// Starts a run, and waits until its journal has a text.
    async fn start(&self, text: &str, until: &str) -> RunningProgram {
        let mut command = self.run_command(text);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut running = RunningProgram(child);
        wait_until(until, || {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none(), "the run ended with {ended:?}");
            journal(self.state_dir())?.contains(until).then_some(())
        })
        .await;
        running
    }

    /// Starts to scale up, and waits until that is decided and sent.
    async fn start_to_scale_up(&self) -> RunningProgram {
        // It rests for longer than any command of another person takes.
        let rest = "  - {id: rest, action: sleep, with: {duration: 10m}, timeout: 1h}\n";
        let text = format!("{SCALE_UP}{rest}");
        self.start(&text, r#""step":"new_nodes","event":"step_started""#).await
    }

    fn copy_runs_to(&self, other: &Self) {
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(self.state_dir().join("runs")).arg(other.state_dir());
        assert!(copy.status().unwrap().success());
    }

    fn run_id(&self) -> String {
        let output = self.runs(&["show", "--last", "--output", "json"]).expect_exit_code(0);
        let run: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        run["run"].as_str().unwrap().to_owned()
    }
}

async fn updates(simulate: &SimulateProcess) -> usize {
    effective_calls(&simulate.calls().await).iter().filter(|call| *call == UPDATE).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_state_directories_do_not_change_one_cluster() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let mut run = ann.start_to_scale_up().await;
    let refused = bob.run(SCALE_UP).expect_exit_code(3);
    let directory = format!("directory {}", ann.state_dir().display());
    for part in [&ann.run_id(), "'scale-up' is running on this cluster", &directory, " on host "] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert!(
        refused.stderr.contains("hint: wait for it to end, or cancel it: "),
        "{}",
        refused.stderr
    );
    assert_eq!(updates(&simulate).await, 1);
    assert!(run.succeeds());
    bob.run(SCALE_UP).expect_exit_code(0);
    assert_eq!(updates(&simulate).await, 2, "the first run is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_process_died_holds_the_cluster_until_it_is_over() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let mut run = ann.start_to_scale_up().await;
    run.kill();
    // At first its process may live; for how long is up to its last renewal.
    bob.run(SCALE_UP).expect_exit_code(3);
    let state_dir =
        format!("--state-dir {} runs resume {}", ann.state_dir().display(), ann.run_id());
    wait_until("the process to be taken for dead", || {
        let refused = bob.run(SCALE_UP).expect_exit_code(3);
        refused.stderr.contains("its process does not answer").then(|| {
            assert!(refused.stderr.contains(&state_dir), "{}", refused.stderr);
        })
    })
    .await;
    ann.resume("resume").expect_exit_code(0);
    assert_eq!(updates(&simulate).await, 1);
    bob.run(SCALE_UP).expect_exit_code(0);
}

/// Another process on the same machine knows by the lock of the directory that the first one is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_resumed_from_its_own_directory_without_a_wait() {
    let simulate = SimulateProcess::start(60.0);
    let ann = Person::of(&simulate);
    let mut run = ann.start_to_scale_up().await;
    run.kill();
    let flags = ["runs", "rollback", "--last", "--yes", "--speed", "60", "--lease-duration", "10m"];
    ProgramOutput::run(&mut ann.command(&flags)).expect_exit_code(0);
    assert_eq!(updates(&simulate).await, 2, "there and back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stopped_before_it_changed_something_holds_nothing() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let fails = "\
name: fails
steps:
  - {id: doubt, action: assert, with: {that: false, message: not today}, on_failure: stop}
  - {id: cordon, action: cordon, with: {nodes: [none]}}
";
    ann.run(fails).expect_exit_code(4);
    bob.run(SCALE_UP).expect_exit_code(0);
    ann.run(SCALE_UP).expect_exit_code(0);
    assert_eq!(updates(&simulate).await, 2);
}

/// It can be resumed, unless another run holds the cluster by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_died_before_it_changed_something_is_waited_for() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let mut run = ann.start(WAITS_FIRST, r#""step":"wait","event":"step_waiting""#).await;
    run.kill();
    wait_until("the lease", || (bob.run(SCALE_UP).code == Some(0)).then_some(())).await;
    assert_eq!(updates(&simulate).await, 1);

    let cal = Person::of(&simulate);
    let mut run = cal.start_to_scale_up().await;
    let refused = ann.resume("resume").expect_exit_code(3);
    assert!(refused.stderr.contains(&cal.run_id()), "{}", refused.stderr);
    run.succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoning_a_run_frees_the_cluster() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let mut run = ann.start_to_scale_up().await;
    run.kill();
    ann.runs(&["abandon", "--last"]).expect_exit_code(0);
    bob.run(SCALE_UP).expect_exit_code(0);
    assert_eq!(updates(&simulate).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_journal_is_gone_is_removed_by_a_person() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let none = bob.runs(&["abandon", "--lock"]).expect_exit_code(0);
    assert!(none.stdout.starts_with("no run holds the cluster "), "{}", none.stdout);

    let mut run = ann.start_to_scale_up().await;
    let id = ann.run_id();
    let running = bob.runs(&["abandon", "--lock", "--confirm", "simulator"]).expect_exit_code(2);
    assert!(running.stderr.contains("the run is not over"), "{}", running.stderr);
    run.kill();
    drop(ann);

    let refused = wait_until("the process to be taken for dead", || {
        let refused = bob.runs(&["abandon", "--lock"]).expect_exit_code(2);
        refused.stderr.contains("no terminal to type at").then_some(refused)
    })
    .await;
    assert!(
        refused.stderr.contains(&format!("run {id} of runbook 'scale-up'")),
        "{}",
        refused.stderr
    );
    let hint = refused.stderr.lines().find_map(|line| line.strip_prefix("hint: pass --confirm "));
    let cluster = hint.unwrap_or_else(|| panic!("{}", refused.stderr)).to_owned();
    let wrong = bob.runs(&["abandon", "--lock", "--confirm", "another"]).expect_exit_code(2);
    assert!(wrong.stderr.contains("does not have the name of the cluster"), "{}", wrong.stderr);
    bob.run(SCALE_UP).expect_exit_code(3);
    let removed = bob.runs(&["abandon", "--lock", "--confirm", &cluster]).expect_exit_code(0);
    assert!(
        removed.stdout.contains(" is removed; its journal is not in this store"),
        "{}",
        removed.stdout
    );
    bob.run(SCALE_UP).expect_exit_code(0);
}

/// A laptop that sleeps: its run is continued elsewhere, from a copy of its directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_for_longer_than_the_lease_sends_nothing_more() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let text = format!(
        "{SCALE_UP}  - {{id: rest, action: sleep, with: {{duration: 1m}}, timeout: 1h}}\n  \
        - {{id: cordon, action: cordon, with: {{nodes: \"{{{{ scale_up.before.nodes | map(attribute='name') | list }}}}\"}}}}\n"
    );
    let mut run = ann.start(&text, r#""step":"new_nodes","event":"step_started""#).await;
    signal(run.0.id(), "STOP");
    ann.copy_runs_to(&bob);
    bob.resume("resume").expect_exit_code(0);
    let calls = effective_calls(&simulate.calls().await);
    signal(run.0.id(), "CONT");
    assert!(!run.succeeds());
    assert_eq!(effective_calls(&simulate.calls().await), calls, "nothing was sent afterwards");
    let shown = ann.runs(&["show", "--last"]).expect_exit_code(0).stdout;
    assert!(shown.contains(" took the lease of the cluster"), "{shown}");
    let cordons = calls.iter().filter(|call| call.starts_with("patch nodes/")).count();
    assert_eq!(cordons, 3, "{calls:?}");
    assert_eq!(updates(&simulate).await, 1);
}

/// Between the two, another run has doubled the nodes: what the first one had read is no longer so.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_held_no_lock_reads_everything_again() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let wait =
        "  - {id: wait, action: sleep, with: {duration: 1m}, timeout: 1h}\n\n  - id: scale_up\n";
    let text = SCALE_UP.replacen("  - id: scale_up\n", wait, 1);
    let mut run = ann.start(&text, r#""step":"wait","event":"step_waiting""#).await;
    run.kill();
    wait_until("the lease", || (bob.run(SCALE_UP).code == Some(0)).then_some(())).await;
    ann.resume("resume").expect_exit_code(0);
    assert_eq!(simulate.state().await.nodegroups["relay-services-1a2b3c"].desired, 12, "3, 6, 12");
}

/// Without the lease it is not known whether another run has held it meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_alone_keeps_what_it_has_read_unless_the_lease_is_gone() {
    let text = "\
name: stops
steps:
  - {id: nodes, action: list_nodes, with: {}}
  - {id: pause, action: sleep, with: {duration: 1s}}
  - {id: doubt, action: assert, with: {that: false, message: not today}, on_failure: stop}
  - {id: cordon, action: cordon, with: {nodes: [none]}}
";
    for is_gone in [false, true] {
        let cluster = TestCluster::new().await;
        let stopped = cluster.run(text).await.expect_state(RunState::Failed);
        let reads = cluster.count_calls("list nodes");
        if is_gone {
            let path = "apis/coordination.k8s.io/v1/namespaces/kube-system/leases/rafay-relay-sop";
            let url = cluster.simulator.kubernetes_url().join(path).unwrap();
            let removed = reqwest::Client::new().delete(url).send().await.unwrap();
            assert!(removed.status().is_success());
        }
        let resumed = cluster.resume(stopped.run.id(), ResumeMode::Continue).await;
        resumed.expect_state(RunState::Failed);
        assert_eq!(cluster.count_calls("list nodes") - reads, usize::from(is_gone), "{is_gone}");
    }
}

/// Its journal says so, and only there.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_could_not_be_removed_at_the_end_is_removed_by_the_next_run() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    // Taken, taken again, noted: the fourth write is the release, which is tried for a second.
    let fault = json!({
        "matching": "update leases/*", "nth": 3, "times": 1000,
        "effect": {"fail": {"status": 500, "code": "InternalError"}},
    });
    simulate.inject(&fault).await;
    let ended = ann.run(SCALE_UP).expect_exit_code(0);
    assert!(ended.stderr.contains("the lease of the cluster is not released"), "{}", ended.stderr);
    simulate.clear_faults().await;
    let refused = bob.run(SCALE_UP).expect_exit_code(3);
    assert!(refused.stderr.contains(&ann.run_id()), "{}", refused.stderr);
    ann.run(SCALE_UP).expect_exit_code(0);
    bob.run(SCALE_UP).expect_exit_code(0);
}

/// The copy says that the run is over; its process, which writes to the original, lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_state_directory_does_not_take_the_cluster_from_a_live_run() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let mut run = ann.start_to_scale_up().await;
    ann.copy_runs_to(&bob);
    let abandoned = bob.runs(&["abandon", "--last"]).expect_exit_code(0);
    assert!(abandoned.stderr.contains("the process of the run is alive"), "{}", abandoned.stderr);
    bob.run(SCALE_UP).expect_exit_code(3);
    assert!(run.succeeds());
    assert_eq!(updates(&simulate).await, 1);
}

/// A client of a service is not kept waiting for as long as a lease lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_says_when_the_process_of_another_run_is_known_to_be_gone() {
    let simulate = SimulateProcess::start(60.0);
    let (ann, bob) = (Person::of(&simulate), Person::of(&simulate));
    let mut run = ann.start(WAITS_FIRST, r#""step":"wait","event":"step_waiting""#).await;
    run.kill();
    let runbooks = tempfile::tempdir().unwrap();
    std::fs::write(runbooks.path().join("scale-up.yaml"), SCALE_UP).unwrap();
    let mut command = bob.command(&["serve", "--no-plan", "--speed", "60", "--runbooks"]);
    let service = Serve::start(command.arg(runbooks.path()).args(LEASE));
    let start = async || service.post("/run?runbook=scale-up", json!({})).await;
    wait_until_async("the process to be taken for dead", async || {
        let (_, response) = start().await;
        let text = response.to_string();
        text.contains("it is not known yet whether it is alive").then(|| {
            assert!(text.contains("try again in "), "{text}");
        })
    })
    .await;
    wait_until_async("a start", async || start().await.0.is_success().then_some(())).await;
}

/// For longer than the fence is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_cannot_be_renewed_for_a_while_costs_time_only() {
    let simulate = SimulateProcess::start(60.0);
    let ann = Person::of(&simulate);
    let text = format!(
        "{SCALE_UP}  - {{id: cordon, action: cordon, with: {{nodes: \"{{{{ scale_up.before.nodes | map(attribute='name') | list }}}}\"}}}}\n"
    );
    let mut run = ann.start(&text, r#""step":"new_nodes","event":"step_started""#).await;
    let fault = json!({
        "matching": "* leases/kube-system/rafay-relay-sop", "times": 12,
        "effect": {"fail": {"status": 503, "code": "ServiceUnavailable"}},
    });
    simulate.inject(&fault).await;
    assert!(run.succeeds());
    let cordons = effective_calls(&simulate.calls().await);
    assert_eq!(cordons.iter().filter(|call| call.starts_with("patch nodes/")).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_that_changes_nothing_needs_no_lease() {
    let cluster = TestCluster::new().await;
    let text = "name: reads\nsteps:\n  - {id: nodes, action: list_nodes, with: {}}\n";
    cluster.run(text).await.expect_success();
    assert_eq!(cluster.count_calls("get leases"), 0);
    cluster.run(SCALE_UP).await.expect_success();
    assert_eq!(cluster.count_calls("get leases"), 2);
    assert_eq!(
        cluster.count_calls("create leases") + cluster.count_calls("update leases"),
        4,
        "created, taken, noted, released"
    );
}
