//! Runs that keep to an approved plan, and what refuses a run that was planned, as people and clients see it.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{ProgramOutput, Serve, SimulateProcess, effective_calls, program};

const SPEED: f64 = 600.0;
const GROUP: [&str; 6] = [
    "--input",
    "region=us-west-2",
    "--input",
    "cluster=rafay-cluster",
    "--input",
    "nodegroup=relay-services-1a2b3c",
];

/// A person before a simulated cluster, who writes plans to a file.
struct Person {
    simulate: SimulateProcess,
    dir: TempDir,
}

impl Person {
    fn new() -> Self {
        Self { simulate: SimulateProcess::start(SPEED), dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> String {
        self.dir.path().join("plan.json").display().to_string()
    }

    fn program(&self, arguments: &[&str]) -> ProgramOutput {
        let mut command = self.simulate.program(self.dir.path());
        ProgramOutput::run(command.args(arguments))
    }

    fn plan(&self, runbook: &str, arguments: &[&str]) -> ProgramOutput {
        let file = self.file();
        let plan = ["plan", "--speed", "600", "--out", &file, runbook];
        self.program(&[&plan[..], arguments].concat())
    }

    fn run_as_planned(&self, runbook: &str) -> ProgramOutput {
        let file = self.file();
        self.program(&["run", "--yes", "--speed", "600", "--plan", &file, runbook])
    }

    async fn changes(&self) -> Vec<String> {
        effective_calls(&self.simulate.calls().await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_nodes_keeps_to_its_plan_wherever_pods_go() {
    let person = Person::new();
    person.plan("rotate-nodegroup", &GROUP).expect_exit_code(5);
    let ended = person.run_as_planned("rotate-nodegroup").expect_exit_code(0);
    assert!(ended.stdout.contains("Summary: succeeded"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_does_not_say_what_a_step_changes_is_refused() {
    let person = Person::new();
    person.plan("relay-scale", &["--no-rehearsal"]).expect_exit_code(5);
    let refused = person.run_as_planned("relay-scale").expect_exit_code(3);
    let expected = "the plan does not say what these steps change: restart_sentry, ";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    assert_eq!(person.changes().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_another_runbook_is_refused() {
    let person = Person::new();
    person.plan("relay-scale", &[]).expect_exit_code(5);
    let refused = person.run_as_planned("restart-deployments").expect_exit_code(2);
    let expected = "the plan is of runbook relay-scale, not restart-deployments";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_refused_when_the_cluster_has_changed_since() {
    let person = Person::new();
    person.plan("relay-scale", &[]).expect_exit_code(5);
    let smaller = ["run", "--yes", "--speed", "600", "scale-nodegroup", "--input", "desired=4"];
    person.program(&[&smaller[..], &GROUP].concat()).expect_exit_code(0);
    let before = person.changes().await;
    let refused = person.run_as_planned("relay-scale").expect_exit_code(3);
    let expected = "nodegroup relay-services-1a2b3c desired: planned 3 -> 6, now 4 -> 8";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    assert_eq!(person.changes().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_with_which_a_plan_was_made_are_those_of_its_run() {
    const ASKS: &str = "\
name: asks
defaults: {timeout: 10m, on_failure: stop}
steps:
- id: size
  action: wait_approval
  with:
    expires: 1h
    message: How many?
    ask: {replicas: {type: integer, minimum: 1, maximum: 5}}
- id: scale
  action: scale_deployment
  with: {namespace: rafay-core, deployment: relay-cache, replicas: \"{{ size.answers.replicas }}\"}
";
    let person = Person::new();
    let file = person.dir.path().join("asks.yaml");
    std::fs::write(&file, ASKS).unwrap();
    let file = file.display().to_string();
    person.plan(&file, &["--answer", "replicas=4"]).expect_exit_code(5);
    let plan: Value =
        serde_json::from_str(&std::fs::read_to_string(person.file()).unwrap()).unwrap();
    assert_eq!(plan["answers"], json!({"replicas": "4"}));
    let unanswered = person.plan(&file, &[]).expect_exit_code(6);
    assert!(unanswered.stdout.contains("--answer"), "{}", unanswered.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_in_which_a_called_runbook_is_not_known_changes_something() {
    let person = Person::new();
    let dir = person.dir.path().join("runbooks");
    std::fs::create_dir_all(&dir).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write(
        "outer.yaml",
        "name: outer\ndefaults: {timeout: 10m}\nsteps:\n- {id: later, action: sleep, with: {duration: 1s}}\n\
         - {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: relay-cache}}\n\
         - {id: inner, call: inner, with: {count: \"{{ pods.count }}\"}}\n",
    );
    write(
        "inner.yaml",
        "name: inner\ninputs: {count: {type: integer}}\ndefaults: {timeout: 10m}\nsteps:\n\
         - {id: more, action: scale_deployment, with: {namespace: rafay-core, deployment: relay-cache, replicas: \"{{ inputs.count + 1 }}\"}}\n",
    );
    let outer = dir.join("outer.yaml").display().to_string();
    let dir = dir.display().to_string();
    let planned = person.program(&["plan", "--no-rehearsal", "--runbooks", &dir, &outer]);
    planned.expect_exit_code(5);
}

/// A service that plans its runs, before a simulated cluster.
fn serve(simulate: &SimulateProcess, dir: &Path, arguments: &[&str]) -> Serve {
    let mut command = program();
    command.envs(simulate.environment.iter().cloned());
    command.args(["serve", "--speed", "600", "--state-dir"]).arg(dir.join("state"));
    Serve::start(command.args(arguments))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_refuses_what_a_finding_speaks_against_and_starts_what_is_accepted() {
    let (simulate, dir) = (SimulateProcess::start(SPEED), tempfile::tempdir().unwrap());
    let service = serve(&simulate, dir.path(), &[]);
    let body = |accept: Value| {
        json!({
            "inputs": {"deployments": ["relay-cache", "no-such"]},
            "accept": accept,
        })
    };
    let path = "/run?runbook=restart-deployments";
    let (code, refused) = service.post(path, body(json!(["no_such_code"]))).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "{refused:#}");
    let (code, refused) = service.post(path, body(json!([]))).await;
    assert_eq!(code, StatusCode::CONFLICT, "{refused:#}");
    assert_eq!(refused["findings"][0]["code"], "object_missing", "{refused:#}");
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("object_missing: "), "{error}");
    assert_eq!(effective_calls(&simulate.calls().await), [""; 0]);
    let (code, started) = service.post(path, body(json!(["object_missing", "own_pod"]))).await;
    assert_eq!(code, StatusCode::OK, "{started:#}");
    let status = service.wait_until_ended().await;
    let run = status["run"].as_str().unwrap();
    let journal = test_support::journal(&dir.path().join("state")).unwrap();
    let consent = r#""consent":{"accepted":["object_missing"]}"#;
    assert!(journal.contains(consent), "{run}: what was not needed is not journaled\n{journal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_names_the_run_that_holds_the_cluster_and_not_what_that_run_is_changing() {
    let simulate = SimulateProcess::start(5.0);
    let dir = tempfile::tempdir().unwrap();
    let service = serve(&simulate, dir.path(), &[]);
    let (code, started) = service.post("/run?runbook=relay-scale", json!({})).await;
    assert_eq!(code, StatusCode::OK, "{started:#}");
    test_support::wait_until_async("the update", async || {
        let changes = effective_calls(&simulate.calls().await);
        (!changes.is_empty()).then_some(())
    })
    .await;
    let (code, refused) = service.post("/run?runbook=relay-scale", json!({})).await;
    assert_eq!(code, StatusCode::CONFLICT, "{refused:#}");
    let text = refused.to_string();
    assert!(text.contains(started["run"].as_str().unwrap()), "{refused:#}");
    assert!(!text.contains("update_in_flight"), "{refused:#}");
}
