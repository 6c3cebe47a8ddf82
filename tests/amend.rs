//! Resuming a run differently: with a changed runbook, from another step, or without some steps.

use rafay_relay_sop::{
    engine::{CheckedRunbook, Remaining, ResumeRequest},
    journal::{ResumeMode, Run, RunId, RunState},
};
use reqwest::StatusCode;
use runbook::{EmptyLibrary, Source};
use serde_json::{Value, json};

use test_support::{
    FinishedRun, ProgramOutput, SCALE_UP, SPEED, Serve, SimulateProcess, TestCluster, program,
};

/// Scales up, then stops at `sure`, after which there is one more step.
fn stopping() -> String {
    format!(
        "{SCALE_UP}  - {{id: sure, action: assert, with: {{that: false, message: 'not now'}}, on_failure: stop}}\n  \
         - {{id: rest, action: sleep, with: {{duration: 1s}}}}\n"
    )
}

fn changed(text: &str) -> ResumeRequest {
    let checked =
        CheckedRunbook::with_origin(Source::new("<changed>", text), "changed.yaml", &EmptyLibrary);
    ResumeRequest { runbook: Some(checked.unwrap()), ..ResumeRequest::default() }
}

fn from(step: &str) -> ResumeRequest {
    ResumeRequest { from: Some(step.into()), ..ResumeRequest::default() }
}

fn without(steps: &[&str]) -> ResumeRequest {
    let skip = steps.iter().map(|step| (*step).to_owned()).collect();
    ResumeRequest { skip, ..ResumeRequest::default() }
}

/// A run of `stopping` that has stopped.
async fn stopped_run(cluster: &TestCluster) -> RunId {
    stopped_run_of(cluster, &stopping()).await
}

/// A run that has stopped at a step.
async fn stopped_run_of(cluster: &TestCluster, text: &str) -> RunId {
    cluster.run(text).await.expect_state(RunState::Failed).run.id().clone()
}

/// The error and the hint of a request that is refused.
async fn refusal(cluster: &TestCluster, id: &RunId, request: ResumeRequest) -> (String, String) {
    match cluster.engine.prepare_resume(id, request).await {
        Ok(_) => panic!("it is not refused"),
        Err(error) => (error.to_string(), error.hint().unwrap_or_default()),
    }
}

fn has_line(ended: &FinishedRun, line: &str) -> bool {
    ended.lines().iter().any(|other| other == line)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_finishes_with_a_changed_runbook() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    // Names, messages, time limits and the steps that have not run may differ.
    let text = stopping()
        .replace("that: false", "that: true")
        .replace("name: Scale nodegroup to 2X its current count", "name: Double the nodes")
        .replace(
            "inputs:\n",
            "inputs:\n  delay: {type: duration, default: 2s, description: Time}\n",
        )
        .replace("duration: 1s", "duration: \"{{ inputs.delay }}\"");
    let ended = cluster.resume(&id, changed(&text)).await.expect_success();
    assert_eq!(cluster.effective_calls(), ["eks:UpdateNodegroupConfig"], "nothing is done twice");
    let digest = rafay_relay_sop::engine::digest(&text);
    let line = format!("Changed runbook file: changed.yaml (sha256 {})", &digest[..12]);
    assert!(has_line(&ended, &line), "{:#?}", ended.lines());
    assert_eq!(ended.run.text(), text);
    assert_eq!(ended.run.inputs()["delay"], json!("2s"));
    assert_eq!(ended.run.spec.text, stopping(), "the journal keeps what the run was started with");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_stopped_the_run_may_be_removed() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    let without_sure: String = stopping()
        .lines()
        .filter(|line| !line.contains("id: sure"))
        .map(|l| format!("{l}\n"))
        .collect();
    cluster.resume(&id, changed(&without_sure)).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_run_must_stay_as_it_was() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    let inserted = "steps:\n  - {id: first, action: sleep, with: {duration: 1s}}\n";
    let cases = [
        (
            "name: scale-up",
            "name: other",
            "the run is one of the runbook 'scale-up', and the file has the runbook 'other'",
        ),
        (
            "min_nodes: 2",
            "min_nodes: 1",
            "step 'relay_group' has run already, and does something else in the changed runbook",
        ),
        (
            "raise_max: true",
            "raise_max: false",
            "step 'scale_up' has run already, and does something else in the changed runbook",
        ),
        (
            "    action: wait_nodes",
            "    when: \"{{ scale_up.desired > 1 }}\"\n    action: wait_nodes",
            "step 'new_nodes' has run already, and does something else in the changed runbook",
        ),
        (
            "steps:\n",
            inserted,
            "step 'config' has run already, and is no longer at its place in the changed runbook",
        ),
    ];
    for (old, new, error) in cases {
        let text = stopping().replace(old, new);
        assert_ne!(text, stopping(), "{old}");
        assert_eq!(refusal(&cluster, &id, changed(&text)).await.0, error);
    }
    let needs_input =
        stopping().replace("inputs:\n", "inputs:\n  who: {type: string, description: Who}\n");
    let needs_input = needs_input.replace("message: 'not now'", "message: \"{{ inputs.who }}\"");
    let (error, _) = refusal(&cluster, &id, changed(&needs_input)).await;
    assert_eq!(error, "missing input 'who' of type string");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_skipped_also_by_the_process_after_the_next() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    // The process dies before the step is reached.
    drop(cluster.accept_resume(&id, without(&["sure"])).await);
    let ended = cluster.resume(&id, ResumeRequest::default()).await.expect_success();
    assert!(has_line(&ended, "Skipping: sure"), "{:#?}", ended.lines());
    assert!(has_line(&ended, "Skipped step: sure (skipped by test)"), "{:#?}", ended.lines());
    assert!(has_line(&ended, "Completed step: rest"), "{:#?}", ended.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_continues_from_a_later_step() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    let ended = cluster.resume(&id, from("rest")).await.expect_success();
    assert!(has_line(&ended, "Continuing from step: rest"), "{:#?}", ended.lines());
    assert!(has_line(&ended, "Skipped step: sure (skipped by test)"), "{:#?}", ended.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_continues_from_an_earlier_step_that_only_read() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    let request = ResumeRequest { skip: vec!["sure".into()], ..from("new_nodes") };
    assert_eq!(request.confirmation().as_deref(), Some("new_nodes sure"));
    let ended = cluster.resume(&id, request).await.expect_success();
    assert!(has_line(&ended, "Running again: new_nodes"), "{:#?}", ended.lines());
    let name = "Check that new nodes are showing up and node count matches";
    let completed = format!("Completed step: {name}");
    assert_eq!(ended.lines().iter().filter(|line| **line == completed).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_of_steps_that_cannot_work_is_refused() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    let cases = [
        (
            from("scale_up"),
            "cannot continue from step 'scale_up': step 'scale_up' has changed something, and would do so again",
        ),
        (
            from("config"),
            "cannot continue from step 'config': step 'scale_up' has changed something, and would do so again",
        ),
        (without(&["config"]), "step 'config' cannot be skipped: it has ended already"),
        (without(&["shure"]), "the runbook has no step 'shure'"),
    ];
    for (request, error) in cases {
        assert_eq!(refusal(&cluster, &id, request).await.0, error);
    }
    assert_eq!(refusal(&cluster, &id, without(&["shure"])).await.1, "did you mean 'sure'?");
    let calls = cluster.effective_calls();
    assert_eq!(calls, ["eks:UpdateNodegroupConfig"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_runbook_that_would_fail_later_is_refused_before_the_run_is_resumed() {
    let cluster = TestCluster::new().await;
    let run = cluster.run_with(&stopping(), json!({"scale_factor": 3})).await;
    let id = run.expect_state(RunState::Failed).run.id().clone();
    // With the default of the input it would be one.
    let fails = "duration: \"{{ inputs.scale_factor // (3 - inputs.scale_factor) }}s\"";
    let text = stopping().replace("duration: 1s", fails);
    let (error, _) = refusal(&cluster, &id, changed(&text)).await;
    let expected = "rest: duration: `{{ inputs.scale_factor // (3 - inputs.scale_factor) }}s`: ";
    assert!(error.starts_with(expected), "{error}");
    let run = Run::read(&*cluster.store, &id).await.unwrap();
    assert_eq!(run.state(false), RunState::Failed, "nothing was written");
}

/// The preview does not list a step whose failure was accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_failed_under_continue_is_not_left() {
    let cluster = TestCluster::new().await;
    let may_fail =
        "  - {id: may_fail, action: cordon, with: {nodes: [none-such]}, on_failure: continue}\n";
    let text = stopping().replace("  - {id: sure", &format!("{may_fail}  - {{id: sure"));
    let id = stopped_run_of(&cluster, &text).await;
    let preflight = cluster.engine.prepare_resume(&id, ResumeMode::Continue).await.unwrap();
    assert_eq!(preflight.remaining(), Remaining::Forward(Vec::new()));
}

/// The lock of the run is on what it was started with.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_runbook_does_not_act_where_the_run_holds_no_lock() {
    let cluster = TestCluster::new().await;
    let text = "name: outputs
steps:
  - {id: sure, action: assert, with: {that: false, message: 'no'}, on_failure: stop}
";
    let id = stopped_run_of(&cluster, text).await;
    let more = format!(
        "{text}  - {{id: pods, action: list_pods, with: {{namespace: rafay-core, selector: app=x}}}}\n"
    );
    let (error, _) = refusal(&cluster, &id, changed(&more)).await;
    assert_eq!(error, "the changed runbook acts on Kubernetes, and the run was started without it");
}

/// The journal has the steps in the order in which they ran.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_changed_again_after_a_step_was_inserted() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    let inserted = stopping().replace(
        "  - {id: sure,",
        "  - {id: between, action: sleep, with: {duration: 1s}}\n  - {id: sure,",
    );
    let ended = cluster.resume(&id, changed(&inserted)).await.expect_state(RunState::Failed);
    let digest = rafay_relay_sop::engine::digest(&inserted);
    assert_eq!((ended.run.digest(), &ended.run.head.digest), (digest.as_str(), &digest));
    let moved = inserted.replace("id: between", "id: late");
    assert_eq!(
        refusal(&cluster, &id, changed(&moved)).await.0,
        "step 'between' has run already, and is no longer at its place in the changed runbook"
    );
    let mended = inserted.replace("that: false", "that: true");
    cluster.resume(&id, changed(&mended)).await.expect_success();
}

/// What they read is of use to that step only.
#[tokio::test(flavor = "multi_thread")]
async fn the_reads_before_a_skipped_step_are_not_repeated() {
    let cluster = TestCluster::new().await;
    let text = "name: outputs
steps:
  - {id: pods, action: list_pods, with: {namespace: rafay-core, selector: app=rafay-relay}}
  - {id: sure, action: assert, with: {that: \"{{ pods.count > 99 }}\", message: few}, on_failure: stop}
  - {id: rest, action: sleep, with: {duration: 1s}}
";
    let id = stopped_run_of(&cluster, text).await;
    let reads = cluster.count_calls("list pods");
    cluster.resume(&id, without(&["sure"])).await.expect_success();
    assert_eq!(cluster.count_calls("list pods"), reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_to_be_skipped_runs_when_the_run_continues_from_it() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    drop(cluster.accept_resume(&id, without(&["sure", "rest"])).await);
    let ended = cluster.resume(&id, from("rest")).await.expect_success();
    assert!(has_line(&ended, "Completed step: rest"), "{:#?}", ended.lines());
    assert!(has_line(&ended, "Skipped step: sure (skipped by test)"), "{:#?}", ended.lines());
}

/// The step would fail in the middle of the run; one with a guard does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_not_skipped_when_its_output_is_needed() {
    let cluster = TestCluster::new().await;
    let text = "name: outputs
steps:
  - {id: sure, action: assert, with: {that: false, message: 'no'}, on_failure: stop}
  - {id: pods, action: list_pods, with: {namespace: rafay-core, selector: app=rafay-relay}}
  - {id: some, action: assert, with: {that: \"{{ pods.count > 0 }}\", message: none}}
  - {id: guarded, action: sleep, with: {duration: 1s}, when: \"{{ pods is defined and pods.count > 0 }}\"}
";
    let id = stopped_run_of(&cluster, text).await;
    let (error, hint) = refusal(&cluster, &id, without(&["sure", "pods"])).await;
    assert_eq!(error, "step 'some' uses the output of step 'pods', which has none");
    assert!(hint.starts_with("skip these steps too"), "{hint}");
    cluster.resume(&id, without(&["sure", "pods", "some"])).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_rolls_back_is_not_amended() {
    let cluster = TestCluster::new().await;
    let id = stopped_run(&cluster).await;
    let request = ResumeRequest {
        mode: rafay_relay_sop::journal::ResumeMode::Rollback,
        ..without(&["sure"])
    };
    let (error, _) = refusal(&cluster, &id, request).await;
    assert_eq!(
        error,
        "a run that is rolling back, or is to be rolled back, cannot be continued differently"
    );
}

/// A run of `stopping` from a file, on a simulated cluster.
struct StoppedProgram {
    simulate: SimulateProcess,
    dir: tempfile::TempDir,
    runbook: String,
}

impl StoppedProgram {
    fn start() -> Self {
        let (simulate, dir) = (SimulateProcess::start(SPEED), tempfile::tempdir().unwrap());
        let runbook = dir.path().join("scale-up.yaml").display().to_string();
        std::fs::write(&runbook, stopping()).unwrap();
        let stopped = Self { simulate, dir, runbook };
        stopped.program(&["run", &stopped.runbook, "--yes"], 4);
        stopped
    }

    fn program(&self, arguments: &[&str], code: i32) -> ProgramOutput {
        let mut command = self.simulate.program(self.dir.path());
        let speed: &[&str] = if arguments[1] == "show" { &[] } else { &["--speed", "600"] };
        ProgramOutput::run(command.args(arguments).args(speed)).expect_exit_code(code)
    }
}

#[test]
fn a_changed_file_is_reported_and_used_only_when_asked_for() {
    let stopped = StoppedProgram::start();
    let resume = ["runs", "resume", "--last", "--yes"];
    assert!(!stopped.program(&resume, 4).stderr.contains("note:"));

    std::fs::write(&stopped.runbook, stopping().replace("that: false", "that: true")).unwrap();
    let note = format!(
        "note: {} has changed since its text was read; the run continues with that text\n\
         hint: pass --runbook to continue with the text of a file\n",
        stopped.runbook
    );
    let resumed = stopped.program(&resume, 4);
    assert!(resumed.stderr.starts_with(&note), "{}", resumed.stderr);

    stopped.program(&[&resume[..], &["--runbook", &stopped.runbook]].concat(), 0);
    let show = stopped.program(&["runs", "show", "--last"], 0).stdout;
    assert!(show.contains(&format!("         with {} (sha256 ", stopped.runbook)), "{show}");
    assert!(
        show.contains("         -  - {id: sure, action: assert, with: {that: false,"),
        "{show}"
    );
    assert!(show.contains("         +  - {id: sure, action: assert, with: {that: true,"), "{show}");
    let document = stopped.program(&["runs", "show", "--last", "--output", "json"], 0).stdout;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert!(document["amendments"][0]["runbook"]["diff"].as_str().unwrap().contains("that: true"));
}

#[test]
fn yes_does_not_confirm_that_a_step_is_skipped() {
    let stopped = StoppedProgram::start();
    let skip = ["runs", "resume", "--last", "--yes", "--skip", "sure"];
    let refused = stopped.program(&skip, 2);
    assert_eq!(
        refused.stderr,
        "error: refusing to change which steps are run without confirmation: no terminal to type at\n\
         hint: pass --confirm sure\n"
    );
    stopped.program(&[&skip[..], &["--confirm", "rest"]].concat(), 2);
    let done = stopped.program(&[&skip[..], &["--confirm", "sure"]].concat(), 0);
    assert!(done.stdout.contains("Skipped step: sure (skipped by cli:"), "{}", done.stdout);
    let show = stopped.program(&["runs", "show", "--last"], 0).stdout;
    assert!(show.contains(", without sure\n"), "{show}");
}

/// `script` makes a terminal of its own for what it runs.
#[cfg(target_os = "linux")]
#[test]
fn the_prompt_shows_the_difference_and_lets_the_ids_be_typed() {
    use std::{io::Write as _, process::Stdio};
    let stopped = StoppedProgram::start();
    std::fs::write(&stopped.runbook, stopping().replace("duration: 1s", "duration: 2s")).unwrap();
    let call = format!(
        "--state-dir {} runs resume --last --speed 600 --skip sure --runbook {}",
        stopped.dir.path().display(),
        stopped.runbook
    );
    let resume = |answers: &[u8], code| {
        let mut command = test_support::on_terminal(200, &call);
        command.env("TERM", "dumb").envs(stopped.simulate.environment.iter().cloned());
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(answers).unwrap();
        ProgramOutput::from(child.wait_with_output().unwrap()).expect_exit_code(code).stdout
    };
    let declined = resume(b"y\nyes\n", 3);
    for part in [
        "+  - {id: rest, action: sleep, with: {duration: 2s}}",
        "  sure is skipped",
        "Type the ids of the steps to confirm (sure): ",
    ] {
        assert!(declined.contains(part), "{part:?} is not in {declined:?}");
    }
    resume(b"y\nsure\n", 0);
}

#[tokio::test]
async fn the_service_resumes_differently_when_the_request_confirms_it() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = dir.path().join("scale-up.yaml");
    std::fs::write(&runbook, stopping()).unwrap();
    let mut command = program();
    command.args(["serve", "--simulate", "--speed", "600", "--state-dir"]);
    command.arg(dir.path().join("state")).arg("--runbooks").arg(dir.path());
    let service = Serve::start(&mut command);
    let (_, started) = service.post("/run?runbook=scale-up", json!({})).await;
    let resume = format!("/runs/{}/resume", started["run"].as_str().unwrap());
    assert_eq!(service.wait_until_ended().await["state"], "failed");

    let (code, refused) = service.post(&resume, json!({"skip": ["sure"]})).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "{refused:#}");
    assert_eq!(refused["failure"]["hint"], json!("add \"confirm\": \"sure\""));
    let (code, refused) = service.post(&resume, json!({"skipped": []})).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "{refused:#}");

    std::fs::write(&runbook, stopping().replace("duration: 1s", "duration: 2s")).unwrap();
    let (code, resumed) = service.post(&resume, json!({})).await;
    assert_eq!(code, StatusCode::OK, "{resumed:#}");
    assert!(resumed["note"].as_str().unwrap().contains("has changed since its text was read"));
    assert_eq!(service.wait_until_ended().await["state"], "failed");

    let body = json!({"runbook": "scale-up", "skip": ["sure"], "confirm": "sure"});
    let (code, resumed) = service.post(&resume, body).await;
    assert_eq!((code, resumed.get("note")), (StatusCode::OK, None), "{resumed:#}");
    assert_eq!(service.wait_until_ended().await["state"], "succeeded");
}
