//! `wait_approval`: a step that waits for persons.

use std::{collections::BTreeMap, sync::Arc};

use rafay_relay_sop::{
    engine::{
        AnswerError, AnswerRequest, Answered, Approver, Control, Engine, Verdict, answer_approval,
    },
    journal::{
        Decision, Failure, FailureKind, MemoryStore, PostedAnswer, ResumeMode, Run, RunId,
        RunState, RunStore, RunSummary, StepEvent, StepPath,
    },
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::Scenario;
use tokio::task::JoinHandle;

use crate::service::SimulatedService;
use test_support::{
    FinishedRun, InterruptingStore, Moment, Point, ProgramOutput, SimulateProcess, TestCluster,
    journal, wait_until, wait_until_async,
};

/// Closes a node, asks, and closes another one.
const GO: &str = "\
name: go
steps:
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- {id: first, action: cordon, with: {nodes: [\"{{ relay.nodes[0] }}\"]}}
- id: go
  name: Look at the first node
  action: wait_approval
  with: {message: \"Is {{ relay.nodes[0] }} as it should be?\", expires: 4h}
  log: \"approved by {{ go.approved_by | join(', ') }}\"
- {id: second, action: cordon, with: {nodes: [\"{{ relay.nodes[1] }}\"]}}
";

/// A run that is driven beside the test.
struct Driven {
    cluster: Arc<TestCluster>,
    id: RunId,
    control: Control,
    task: JoinHandle<Run>,
}

impl Driven {
    async fn start(cluster: &Arc<TestCluster>, text: &str) -> Self {
        let accepted = cluster.accept(text, json!({})).await.unwrap();
        Self::drive(cluster, accepted)
    }

    async fn resume(cluster: &Arc<TestCluster>, id: &RunId) -> Self {
        Self::drive(cluster, cluster.accept_resume(id, ResumeMode::Continue).await)
    }

    fn drive(cluster: &Arc<TestCluster>, accepted: rafay_relay_sop::engine::AcceptedRun) -> Self {
        let (cluster, control) = (Arc::clone(cluster), Control::default());
        let id = accepted.run().id().clone();
        let (engine, given) = (Arc::clone(&cluster.engine), control.clone());
        let task = tokio::spawn(async move { engine.drive(accepted, given).await.unwrap() });
        Self { cluster, id, control, task }
    }

    async fn run(&self) -> Run {
        Run::read(self.cluster.store.as_ref(), &self.id).await.unwrap()
    }

    /// Waits until the run waits for so many approvals, and returns their steps.
    async fn open(&self, count: usize) -> Vec<String> {
        wait_until_async("the approvals to be asked for", async || {
            let run = self.run().await;
            let open: Vec<String> =
                run.open_approvals().map(|(step, _)| step.to_string()).collect();
            (open.len() == count).then_some(open)
        })
        .await
    }

    async fn answer(&self, actor: &str, verdict: Verdict) -> Result<Answered, AnswerError> {
        answer(self.cluster.store.as_ref(), &self.id, None, actor, verdict).await
    }

    /// Approves the only open step, which is waited for.
    async fn approve(&self, actor: &str) -> Answered {
        self.open(1).await;
        self.answer(actor, approval(json!({}))).await.unwrap()
    }

    async fn ended(self) -> FinishedRun {
        let run = self.task.await.unwrap();
        FinishedRun::read(self.cluster.store.as_ref(), run).await
    }
}

async fn answer(
    store: &dyn RunStore,
    id: &RunId,
    step: Option<&str>,
    actor: &str,
    verdict: Verdict,
) -> Result<Answered, AnswerError> {
    let step = step.map(|step| step.parse::<StepPath>().unwrap());
    let request = AnswerRequest { step, actor: actor.to_owned(), verdict };
    answer_approval(store, id, request).await
}

fn approval(answers: Value) -> Verdict {
    let Value::Object(answers) = answers else { panic!("answers are a mapping") };
    Verdict::Approve { answers, texts: BTreeMap::new(), note: None }
}

fn rejection() -> Verdict {
    Verdict::Reject { reason: "the node is not empty".into() }
}

async fn cluster() -> Arc<TestCluster> {
    Arc::new(TestCluster::new().await)
}

fn refused(result: Result<Answered, AnswerError>) -> Failure {
    result.expect_err("the answer does not count").failure()
}

fn cordons(cluster: &TestCluster) -> usize {
    cluster.effective_calls().len()
}

fn is_asked(event: &StepEvent) -> bool {
    matches!(event, StepEvent::StepApprovalRequested { .. })
}

fn is_approved(event: &StepEvent) -> bool {
    matches!(event, StepEvent::StepApproved { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_when_somebody_else_has_approved() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, GO).await;
    assert_eq!(driven.open(1).await, ["go"]);
    assert_eq!(cordons(&cluster), 1);
    let summary = serde_json::to_value(RunSummary::of(&driven.run().await, true)).unwrap();
    assert_eq!(summary["waits_for_approval"], json!(["go"]));
    assert_eq!(summary["approvals"][0]["not_by"], json!(["test"]));
    // The actor that started the run.
    let own = refused(driven.answer("test", approval(json!({}))).await);
    assert_eq!(own.message, "test may not approve step go (`not_by`)");
    let answered = driven.approve("cli:ann").await;
    assert_eq!(answered.missing, Some(0));
    let store = Arc::clone(&cluster.store);
    let id = driven.id.clone();
    let ended = driven.ended().await.expect_success();
    assert_eq!(*ended.output("go"), json!({"approved_by": ["cli:ann"], "answers": {}}));
    let lines = ended.lines();
    assert!(lines.iter().any(|line| line == "approved by cli:ann"), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.starts_with("Waiting for approval: Is ip-")),
        "{lines:#?}"
    );
    assert_eq!(cordons(&cluster), 2);
    let late = refused(answer(store.as_ref(), &id, None, "cli:bob", approval(json!({}))).await);
    assert_eq!(late.kind, FailureKind::Conflict);
    assert_eq!(late.message, "the approval of step go was decided already: approved by cli:ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_fails_the_step_and_rolls_back_where_that_is_said() {
    let cluster = cluster().await;
    let text =
        GO.replace("  action: wait_approval", "  on_failure: rollback\n  action: wait_approval");
    let driven = Driven::start(&cluster, &text).await;
    driven.open(1).await;
    // One that may not approve may reject.
    driven.answer("test", rejection()).await.unwrap();
    let ended = driven.ended().await.expect_state(RunState::RolledBack);
    assert_eq!(ended.error(), "rejected by test: the node is not empty");
    assert_eq!(cordons(&cluster), 2, "what was closed is open again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_is_not_given_expires_and_can_be_asked_for_again() {
    let cluster = cluster().await;
    // A tenth of that at the speed of tests: long enough that a busy machine answers in time.
    let driven = Driven::start(&cluster, &GO.replace("4h", "60s")).await;
    let id = driven.id.clone();
    let ended = driven.ended().await.expect_state(RunState::Failed);
    assert!(ended.error().starts_with("the approval has expired: 0 of 1 given until "));
    assert_eq!(ended.failure().kind, FailureKind::TimedOut);
    let late = refused(answer(cluster.store.as_ref(), &id, None, "ann", approval(json!({}))).await);
    assert!(late.message.starts_with("the approval of step go has expired at "), "{late}");
    let again = Driven::resume(&cluster, &id).await;
    again.open(1).await;
    again.approve("ann").await;
    let ended = again.ended().await.expect_success();
    assert_eq!(ended.paths_with(is_asked), ["go", "go"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_an_approval_can_be_passed_over() {
    let cluster = cluster().await;
    let text =
        GO.replace("  action: wait_approval", "  on_failure: continue\n  action: wait_approval");
    let driven = Driven::start(&cluster, &text).await;
    driven.open(1).await;
    driven.answer("ann", rejection()).await.unwrap();
    driven.ended().await.expect_state(RunState::SucceededWithFailures);
    assert_eq!(cordons(&cluster), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_actor_counts_once() {
    let cluster = cluster().await;
    let text = GO.replace("expires: 4h", "expires: 4h, approvals: 2, not_by: [eve]");
    let driven = Driven::start(&cluster, &text).await;
    assert_eq!(driven.approve("test").await.missing, Some(1));
    let again = refused(driven.answer("test", approval(json!({}))).await);
    assert_eq!(again.message, "test has approved step go already, and counts once");
    let not = refused(driven.answer("eve", approval(json!({}))).await);
    assert_eq!(not.kind, FailureKind::Conflict);
    assert_eq!(driven.approve("bob").await.missing, Some(0));
    let ended = driven.ended().await.expect_success();
    assert_eq!(ended.output("go")["approved_by"], json!(["test", "bob"]));
}

/// Answers that are posted by hand, as with kubectl, are checked as well.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_count_is_reported_and_removed() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, GO).await;
    driven.open(1).await;
    let decision = Decision::Approve { answers: serde_json::Map::new(), note: None };
    let posted = PostedAnswer::new(StepPath::top_level("go"), "test", decision);
    cluster.store.post_answer(&driven.id, &posted).await.unwrap();
    wait_until_async("the answer to be removed", async || {
        cluster.store.answers(&driven.id).await.unwrap().is_empty().then_some(())
    })
    .await;
    driven.approve("ann").await;
    let ended = driven.ended().await.expect_success();
    let expected = "The answer of test does not count: test may not approve step go (`not_by`)";
    assert!(ended.lines().iter().any(|line| line == expected), "{:#?}", ended.lines());
}

const ASK: &str = "\
name: ask
steps:
- id: go
  action: wait_approval
  with:
    message: How many?
    approvals: 2
    ask:
      factor: {type: integer, minimum: 2, maximum: 4}
      zone: {type: enum, values: [east, west], default: east}
      reason: {type: optional string}
    expires: 1h
- id: check
  action: assert
  with:
    that: \"{{ go.answers.factor * 2 == 6 and go.answers.zone == 'east' and go.answers.reason is none }}\"
    message: no
";

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_types_of_their_questions() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, ASK).await;
    driven.open(1).await;
    for (answers, expected) in [
        (json!({}), "missing answer 'factor' of type integer"),
        (json!({"factor": 9}), "invalid answer 'factor': must be from 2 to 4"),
        (json!({"factor": "3"}), "invalid answer 'factor': must be an integer, not a string"),
        (json!({"factor": 3, "when": 1}), "unknown answer 'when'"),
        (json!({"factor": 3, "zone": "north"}), "invalid answer 'zone': must be one of east, west"),
    ] {
        let failure = refused(driven.answer("ann", approval(answers)).await);
        assert_eq!(
            (failure.kind, failure.message.as_str()),
            (FailureKind::InvalidInputs, expected)
        );
    }
    let texts = BTreeMap::from([("factor".to_owned(), "3".to_owned())]);
    let verdict =
        Verdict::Approve { answers: serde_json::Map::new(), texts, note: Some("so be it".into()) };
    assert_eq!(driven.answer("ann", verdict).await.unwrap().missing, Some(1));
    // The first one has decided; the second agrees, or does not.
    let other = refused(driven.answer("bob", approval(json!({"factor": 2}))).await);
    assert_eq!(other.message, "ann has answered 'factor' with 3");
    driven.answer("bob", approval(json!({}))).await.unwrap();
    let ended = driven.ended().await.expect_success();
    let answers = json!({"factor": 3, "reason": null, "zone": "east"});
    assert_eq!(ended.output("go")["answers"], answers);
    assert!(ended.lines().iter().any(|line| line == "Approved by ann: so be it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_answers_at_the_same_time_are_one() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, GO).await;
    driven.open(1).await;
    let (one, two) =
        tokio::join!(driven.answer("ann", approval(json!({}))), driven.answer("bob", rejection()));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let lost = refused(if one.is_ok() { two } else { one });
    assert_eq!(lost.kind, FailureKind::Conflict, "{lost}");
    driven.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_asks_again_when_it_is_resumed() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, &GO.replace("4h", "4h, approvals: 2")).await;
    driven.approve("ann").await;
    driven.control.cancel("me");
    let id = driven.id.clone();
    let ended = driven.ended().await.expect_state(RunState::Cancelled);
    assert_eq!(ended.run.open_approvals().count(), 0);
    let late = refused(answer(cluster.store.as_ref(), &id, None, "bob", approval(json!({}))).await);
    assert_eq!(late.message, format!("run {id} is cancelled and waits for no approval"));
    let again = Driven::resume(&cluster, &id).await;
    again.open(1).await;
    assert_eq!(again.approve("ann").await.missing, Some(1), "what was given before is forgotten");
    again.approve("bob").await;
    again.ended().await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_shut_down_keeps_what_it_has_asked() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, &GO.replace("4h", "4h, approvals: 2")).await;
    driven.approve("ann").await;
    let asked = driven.run().await.open_approvals().next().unwrap().1.clone();
    driven.control.shut_down();
    let id = driven.id.clone();
    driven.ended().await.expect_state(RunState::Interrupted);
    // It is there when a process drives the run again.
    let recorded = answer(cluster.store.as_ref(), &id, None, "bob", approval(json!({}))).await;
    assert_eq!(recorded.unwrap().missing, None);
    let ended = Driven::resume(&cluster, &id).await.ended().await.expect_success();
    assert_eq!(ended.output("go")["approved_by"], json!(["ann", "bob"]));
    assert_eq!(ended.paths_with(is_asked), ["go"]);
    let path = StepPath::top_level("go");
    let now = ended.run.step(&path).unwrap().approval.as_ref().unwrap();
    assert_eq!(now.expires_at, asked.expires_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_expires_also_while_no_process_runs() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, &GO.replace("4h", "10s")).await;
    driven.open(1).await;
    let expires_at = driven.run().await.open_approvals().next().unwrap().1.expires_at;
    driven.control.shut_down();
    let id = driven.id.clone();
    driven.ended().await.expect_state(RunState::Interrupted);
    answer(cluster.store.as_ref(), &id, None, "ann", approval(json!({}))).await.unwrap();
    wait_until("the time to be up", || (jiff::Timestamp::now() > expires_at).then_some(())).await;
    let ended = Driven::resume(&cluster, &id).await.ended().await;
    // An answer that no process has taken in time does not count.
    assert!(ended.error().starts_with("the approval has expired"), "{}", ended.error());
    assert_eq!(cordons(&cluster), 1);
}

/// In the items of a loop, in a called runbook, and several at a time.
const NESTED: &str = "\
name: nested
steps:
- id: all
  for_each: [a, b]
  at_once: 2
  timeout: 3h
  call: ask
  with: {name: \"{{ each }}\"}
- id: alone
  for_each: [c, d]
  action: wait_approval
  with: {message: \"{{ each }}?\", expires: 1h}
  log: \"{{ each }}: {{ alone.approved_by[0] }}\"
---
name: ask
inputs: {name: {type: string}}
steps:
- id: go
  action: wait_approval
  with: {message: \"{{ inputs.name }}?\", expires: 1h, ask: {n: {type: integer, default: 1}}}
outputs: {n: \"{{ go.answers.n }}\"}
";

#[tokio::test(flavor = "multi_thread")]
async fn the_step_is_named_where_several_ask() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, NESTED).await;
    let mut open = driven.open(2).await;
    open.sort();
    assert_eq!(open, ["all[0]/go", "all[1]/go"]);
    let which = refused(driven.answer("ann", approval(json!({}))).await);
    assert_eq!((which.kind, which.message.as_str()), (FailureKind::Usage, "2 approvals are open"));
    let hint = which.hint.unwrap();
    assert!(hint.contains("all[0]/go") && hint.contains("all[1]/go"), "{hint}");
    let store = cluster.store.as_ref();
    let given = approval(json!({"n": 7}));
    answer(store, &driven.id, Some("all[1]/go"), "ann", given).await.unwrap();
    assert_eq!(driven.open(1).await, ["all[0]/go"]);
    driven.approve("ann").await;
    for item in ["alone[0]", "alone[1]"] {
        wait_until_async(item, async || (driven.open(1).await == [item]).then_some(())).await;
        driven.approve("ann").await;
    }
    let ended = driven.ended().await.expect_success();
    assert_eq!(*ended.output("all"), json!([{"n": 1}, {"n": 7}]));
    assert!(ended.lines().iter().any(|line| line == "alone[1]: d: ann"), "{:#?}", ended.lines());
}

/// The holder of the lease of the cluster, and whether a run has a lock.
async fn lease(cluster: &TestCluster) -> (bool, bool) {
    let path = "apis/coordination.k8s.io/v1/namespaces/kube-system/leases/rafay-relay-sop";
    let url = cluster.simulator.kubernetes_url().join(path).unwrap();
    let lease: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let holder = lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty());
    (holder, lease["metadata"]["annotations"]["sop.rafay.dev/run"].is_string())
}

/// The wait may take days, and another process must see who holds the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_given_back_while_a_run_waits_and_the_lock_stays() {
    let cluster = cluster().await;
    let driven = Driven::start(&cluster, GO).await;
    driven.open(1).await;
    let released = async || (lease(&cluster).await == (false, true)).then_some(());
    wait_until_async("the lease to be given back", released).await;
    let id = driven.id.clone();
    // From another state directory.
    let store: Arc<dyn RunStore> = Arc::new(MemoryStore::default());
    let access = KubernetesAccess::Endpoint { url: cluster.simulator.kubernetes_url().clone() };
    let platform = Platform::new(PlatformOptions {
        clock: clock::Clock::scaled(test_support::SPEED).unwrap(),
        kubernetes: access,
        aws: AwsAccess::Endpoint { url: cluster.simulator.aws_url().clone() },
        environment: [].into(),
    });
    let other = Engine::new(platform, store, true);
    let checked = test_support::checked(GO).unwrap();
    let preflight = other.prepare(checked, &serde_json::Map::new()).await.unwrap();
    let refused = other.accept(preflight, "other", None).await.err().unwrap();
    let message = refused.to_string();
    assert!(message.contains(id.as_str()) && message.contains("(waits for approval)"), "{message}");
    assert!(refused.hint().unwrap().contains("runs approve"), "{:?}", refused.hint());
    driven.approve("ann").await;
    driven.ended().await.expect_success();
    assert_eq!(lease(&cluster).await, (false, false));
}

/// It has changed nothing, so it blocks nobody; what it has read may not be so any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_overtaken_while_it_waited_asks_again() {
    let cluster = cluster().await;
    let text = GO
        .replace("- {id: first, action: cordon, with: {nodes: [\"{{ relay.nodes[0] }}\"]}}\n", "");
    let driven = Driven::start(&cluster, &text).await;
    driven.open(1).await;
    let released = async || (lease(&cluster).await == (false, false)).then_some(());
    wait_until_async("the lease to be given back", released).await;
    let store: Arc<dyn RunStore> = Arc::new(MemoryStore::default());
    let access = KubernetesAccess::Endpoint { url: cluster.simulator.kubernetes_url().clone() };
    let platform = Platform::new(PlatformOptions {
        clock: clock::Clock::scaled(test_support::SPEED).unwrap(),
        kubernetes: access,
        aws: AwsAccess::Endpoint { url: cluster.simulator.aws_url().clone() },
        environment: [].into(),
    });
    let other = Engine::new(platform, store, true);
    let restart = "name: other\nsteps:\n- {id: restart, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}\n";
    let checked = test_support::checked(restart).unwrap();
    let preflight = other.prepare(checked, &serde_json::Map::new()).await.unwrap();
    let accepted = other.accept(preflight, "other", None).await.unwrap();
    let run = other.drive(accepted, Control::default()).await.unwrap();
    assert_eq!(run.state(false), RunState::Succeeded);
    driven.approve("ann").await;
    let id = driven.id.clone();
    let ended = driven.ended().await.expect_state(RunState::Failed);
    assert_eq!(ended.error(), "another run held the cluster while this one waited for approval");
    assert_eq!(ended.run.step(&StepPath::top_level("second")).map(|step| &step.path), None);
    let again = Driven::resume(&cluster, &id).await;
    again.open(1).await;
    again.approve("ann").await;
    again.ended().await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_undone_at_the_end_is_undone_when_the_wait_is_cancelled() {
    let cluster = cluster().await;
    let text = GO.replace("\"]}}\n- id: go", "\"]}, restore: at_end}\n- id: go");
    let driven = Driven::start(&cluster, &text).await;
    driven.open(1).await;
    driven.control.cancel("me");
    driven.ended().await.expect_state(RunState::Cancelled);
    assert_eq!(cordons(&cluster), 2, "closed, and opened again");
    assert_eq!(lease(&cluster).await, (false, true));
}

/// Approves as soon as the run asks, also where the answer was taken by a process that died.
async fn answer_until_it_counts(store: Arc<dyn RunStore>, id: RunId) {
    // `wait_until_async` borrows what it waits for, which a task of its own cannot.
    loop {
        match answer(store.as_ref(), &id, None, "ann", approval(json!({}))).await {
            Ok(Answered { missing: Some(_), .. }) | Err(AnswerError::Decided { .. }) => return,
            Ok(_) | Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    }
}

/// Interrupts a run at one of its events, and resumes it; whether it was interrupted.
async fn interrupted_at(event: u64, moment: Moment) -> bool {
    let memory = Arc::new(MemoryStore::default());
    let store: Arc<dyn RunStore> = Arc::clone(&memory) as Arc<dyn RunStore>;
    let (stopping, stopped) =
        InterruptingStore::stopping(Arc::clone(&store), Point::Event(event), moment);
    let cluster = Arc::new(TestCluster::with_store(Scenario::default(), Arc::new(stopping)).await);
    let accepting = cluster.accept(GO, json!({}));
    let accepted = tokio::select! {
        accepted = accepting => accepted.unwrap(),
        // There is no run, or nothing has been done for it.
        () = stopped.notified() => return true,
    };
    let id = accepted.run().id().clone();
    let answering = tokio::spawn(answer_until_it_counts(Arc::clone(&store), id.clone()));
    let driven = Driven::drive(&cluster, accepted);
    let was_interrupted = tokio::select! {
        () = stopped.notified() => true,
        () = async { while !driven.task.is_finished() { tokio::task::yield_now().await } } => false,
    };
    let at = format!("{moment:?} {event}");
    let ended = if was_interrupted {
        driven.task.abort();
        memory.forget_writers();
        cluster.let_lease_expire().await;
        let state = Run::read(store.as_ref(), &id).await.unwrap().state(false);
        match state {
            RunState::Succeeded => None,
            _ => Some(Driven::resume(&cluster, &id).await.ended().await),
        }
    } else {
        Some(driven.ended().await)
    };
    if let Some(ended) = ended {
        let ended = ended.expect_success();
        assert_eq!(ended.paths_with(is_asked), ["go"], "{at}");
        assert_eq!(ended.paths_with(is_approved), ["go"], "{at}");
    }
    answering.await.unwrap();
    assert_eq!(cordons(&cluster), 2, "{at}");
    assert!(store.answers(&id).await.unwrap().is_empty(), "{at}");
    was_interrupted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_event_asks_once_and_loses_no_answer() {
    for moment in [Moment::BeforeEvent, Moment::AfterEvent] {
        for event in 2.. {
            if !interrupted_at(event, moment).await {
                assert!(event > 15, "the run has {event} events");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_can_approve_by_itself() {
    let cluster = TestCluster::new().await;
    let access = KubernetesAccess::Endpoint { url: cluster.simulator.kubernetes_url().clone() };
    let platform = Platform::new(PlatformOptions {
        clock: clock::Clock::scaled(test_support::SPEED).unwrap(),
        kubernetes: access,
        aws: AwsAccess::Endpoint { url: cluster.simulator.aws_url().clone() },
        environment: [].into(),
    });
    let texts = BTreeMap::from([("factor".to_owned(), "3".to_owned())]);
    for (actors, error) in [
        (vec!["ann", "bob"], None),
        (vec!["ann"], Some("1 approval missing")),
        (vec!["ann", "test"], Some("test may not approve step go (`not_by`)")),
    ] {
        let actors = actors.into_iter().map(str::to_owned).collect();
        let approver = Approver::new(actors, texts.clone());
        let store: Arc<dyn RunStore> = Arc::new(MemoryStore::default());
        let engine = Engine::new(platform.clone(), store, true).approving_as(approver);
        let checked = test_support::checked(ASK).unwrap();
        let preflight = engine.prepare(checked, &serde_json::Map::new()).await.unwrap();
        let accepted = engine.accept(preflight, "test", None).await.unwrap();
        let run = engine.drive(accepted, Control::default()).await.unwrap();
        assert_eq!(run.head.failure.as_ref().map(|failure| failure.message.as_str()), error);
    }
}

/// `run` in one terminal, and the answer in another one.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_given_from_another_terminal() {
    let simulate = SimulateProcess::start(60.0);
    let dir = tempfile::tempdir().unwrap();
    let runbook = dir.path().join("go.yaml");
    std::fs::write(&runbook, GO.replace("expires: 4h", "expires: 4h, not_by: []")).unwrap();
    let mut running = simulate
        .program(dir.path())
        .args(["run", "--yes", "--speed", "60"])
        .arg(&runbook)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the approval", || {
        journal(dir.path())?.contains("step_approval_requested").then_some(())
    })
    .await;
    let runs = |arguments: &[&str]| {
        ProgramOutput::run(simulate.program(dir.path()).arg("runs").args(arguments))
    };
    let list = runs(&["list"]).expect_exit_code(0).stdout;
    assert!(list.trim_end().ends_with("running  (waits for approval: go)"), "{list}");
    let show = runs(&["show", "--last"]).expect_exit_code(0).stdout;
    assert!(show.contains("waits    Is ip-") && show.contains("runs approve"), "{show}");
    let wrong = runs(&["approve", "--last", "--answer", "a=1"]).expect_exit_code(3);
    assert!(wrong.stderr.contains("unknown answer 'a'"), "{}", wrong.stderr);
    let done = runs(&["approve", "--last", "--note", "fine"]).expect_exit_code(0);
    assert!(done.stdout.starts_with("approved: step go of run "), "{}", done.stdout);
    assert!(tokio::task::spawn_blocking(move || running.wait()).await.unwrap().unwrap().success());
    let again = runs(&["reject", "--last", "--reason", "no"]).expect_exit_code(3);
    assert!(again.stderr.contains("was decided already: approved by cli:sre"), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_given_over_http() {
    let service = SimulatedService::start(&[]);
    let text = ASK.replace("    approvals: 2\n", "    not_by: []\n");
    std::fs::write(service.dir.path().join("runbooks/ask.yaml"), text).unwrap();
    let (_, started) = service.post("/run?runbook=ask", json!({})).await;
    let run = started["run"].as_str().unwrap().to_owned();
    let status = wait_until_async("the approval", async || {
        let (_, status) = service.get("/status").await;
        status["approvals"].is_array().then_some(status)
    })
    .await;
    assert_eq!(status["status"], "Running");
    let asked = &status["approvals"][0];
    assert_eq!((&asked["step"], &asked["message"]), (&json!("go"), &json!("How many?")));
    assert_eq!(asked["ask"]["factor"]["type"], "integer");
    let approve = format!("/runs/{run}/approve");
    let (code, _) = service.post(&approve, json!({"step": "other"})).await;
    assert_eq!(code, StatusCode::CONFLICT);
    let (code, body) = service.post(&approve, json!({"answers": {"factor": 9}})).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{body:#}");
    let (code, body) = service.post(&format!("/runs/{run}/reject"), json!({})).await;
    assert_eq!(
        (code, &body["error"]),
        (StatusCode::BAD_REQUEST, &json!("the body has no `reason`"))
    );
    let (code, body) = service.post(&approve, json!({"answers": {"factor": 3}})).await;
    let expected = json!({"status": "approved", "run": run, "step": "go", "missing": 0});
    assert_eq!((code, body), (StatusCode::OK, expected));
    let status = service.wait_until_ended().await;
    assert_eq!(status["state"], "succeeded", "{status:#}");
    let (code, body) = service.post(&approve, json!({})).await;
    assert_eq!(code, StatusCode::CONFLICT, "{body:#}");
    let message = "the approval of step go was decided already: approved by http:127.0.0.1";
    assert_eq!(body["error"], message);
}
