//! `run_job`.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{batch::v1::Job, core::v1::ConfigMap};
use kube::{Api, api::ListParams};
use rafay_relay_sop::{
    engine::Control,
    journal::{ResumeMode, RunState},
};
use serde_json::json;
use simulator::{ContainerFailure, Effect, Fault, Scenario};

use super::{
    NAMESPACE, client, create, fail_and_roll_back, runbook_yaml, scenario_with_failing_image,
};
use test_support::{TestCluster, wait_until_async};

const IMAGE: &str = "registry.example.com/migrate:1";

fn step(more: &str) -> String {
    format!(
        "  - {{id: it, action: run_job, with: {{namespace: {NAMESPACE}, name: migrate{more}}}}}\n"
    )
}

fn inline() -> String {
    step(&format!(
        ", spec: {{image: '{IMAGE}', command: [migrate, up], env: {{STAGE: blue}}, service_account: migrator}}"
    ))
}

async fn jobs(cluster: &TestCluster) -> Vec<Job> {
    let jobs: Api<Job> = Api::namespaced(client(cluster), NAMESPACE);
    jobs.list(&ListParams::default()).await.unwrap().items
}

async fn names(cluster: &TestCluster) -> BTreeSet<String> {
    jobs(cluster).await.into_iter().filter_map(|job| job.metadata.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_job_waits_until_the_job_has_completed_and_keeps_the_end_of_its_log() {
    let cluster = TestCluster::new().await;
    let ended = cluster.run(&runbook_yaml(&inline())).await.expect_success();
    let output = ended.output("it");
    assert_eq!((&output["exit_code"], &output["message"]), (&json!(0), &json!(null)));
    let log: Vec<&str> = output["log"].as_str().unwrap().lines().collect();
    assert_eq!((log.len(), log[0]), (20, "line 12 of 30"));
    assert_eq!(log[19], "job ends with exit code 0");
    let found = jobs(&cluster).await;
    assert_eq!(found.len(), 1, "it is kept for an hour");
    let job = json!(found[0]);
    assert_eq!(output["job"], job["metadata"]["name"]);
    assert!(output["pod"].as_str().unwrap().starts_with(output["job"].as_str().unwrap()));
    assert_eq!(job["spec"]["activeDeadlineSeconds"], json!(600));
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], json!(3600));
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], json!("migrator"));
    assert_eq!(pod["containers"][0]["command"], json!(["migrate", "up"]));
    assert_eq!(pod["containers"][0]["env"], json!([{"name": "STAGE", "value": "blue"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_job_runs_the_manifest_in_a_config_map() {
    let cluster = TestCluster::new().await;
    let manifest = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: other, labels: {{team: relay}}}}\nspec:\n  \
         ttlSecondsAfterFinished: 7200\n  template:\n    spec:\n      restartPolicy: Never\n      \
         containers: [{{name: work, image: '{IMAGE}'}}]\n"
    );
    let data = json!({"job.yaml": manifest, "text": "kind: Pod"});
    let map = json!({"metadata": {"name": "jobs", "namespace": NAMESPACE}, "data": data});
    create::<ConfigMap>(&cluster, map).await;
    let of_map = |name: &str, key: &str| {
        step(&format!(", config_map: {{namespace: {NAMESPACE}, name: {name}, key: {key}}}"))
    };
    let ended = cluster.run(&runbook_yaml(&of_map("jobs", "job.yaml"))).await.expect_success();
    let log = ended.output("it")["log"].as_str().unwrap();
    assert!(log.ends_with("work ends with exit code 0"), "{log}");
    let job = json!(jobs(&cluster).await[0]);
    assert_eq!(job["metadata"]["labels"]["team"], json!("relay"));
    assert!(job["metadata"]["name"].as_str().unwrap().starts_with("migrate-"));
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], json!(7200));
    for (name, key, expected) in [
        ("nothing", "job.yaml", "ConfigMap rafay-core/nothing not found"),
        ("jobs", "nothing", "has no key nothing"),
        ("jobs", "text", "it is not a Job of batch/v1"),
    ] {
        let ended = cluster.run(&runbook_yaml(&of_map(name, key))).await;
        let ended = ended.expect_state(RunState::Failed);
        assert!(ended.error().contains(expected), "{}", ended.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_is_named_with_its_exit_code_its_message_and_its_log() {
    let cluster = TestCluster::with_scenario(scenario_with_failing_image(
        "migrate",
        ContainerFailure::Exit(3),
    ))
    .await;
    let ended = cluster.run(&runbook_yaml(&inline())).await.expect_state(RunState::Failed);
    for expected in [
        "has failed: BackoffLimitExceeded",
        "ended with exit code 3",
        "simulated container job has failed",
        "line 30 of 30\njob ends with exit code 3",
    ] {
        assert!(ended.error().contains(expected), "{expected}: {}", ended.error());
    }
    assert_eq!(jobs(&cluster).await.len(), 1, "it can be looked at");
}

/// Each attempt has a job of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_is_run_again_as_often_as_the_step_allows() {
    let cluster = TestCluster::with_scenario(scenario_with_failing_image(
        "migrate",
        ContainerFailure::Exit(3),
    ))
    .await;
    let text = runbook_yaml(&inline()).replace("attempts: 1", "attempts: 2, backoff: 0s");
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    let before = names(&cluster).await;
    assert_eq!(before.len(), 2);
    let back = cluster.resume(ended.run.id(), ResumeMode::Rollback).await;
    back.expect_state(RunState::RolledBack);
    assert_eq!(names(&cluster).await, BTreeSet::new(), "the undo deletes both");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_started_once_when_its_response_is_lost() {
    for before in [true, false] {
        let cluster = TestCluster::new().await;
        let effect = Effect::Drop { before };
        cluster.simulator.inject(Fault {
            matching: "create jobs*".into(),
            nth: 1,
            times: 1,
            effect,
        });
        let text = runbook_yaml(&inline()).replace("attempts: 1", "attempts: 3, backoff: 0s");
        let ended = cluster.run(&text).await.expect_success();
        let job = ended.output("it")["job"].as_str().unwrap().to_owned();
        assert_eq!(names(&cluster).await, BTreeSet::from([job]), "before: {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_deletes_the_job_and_its_pods() {
    let cluster = TestCluster::new().await;
    let back = fail_and_roll_back(&cluster, &inline(), async || {}).await;
    back.expect_state(RunState::RolledBack);
    assert_eq!(names(&cluster).await, BTreeSet::new());
    wait_until_async("the pods to be deleted", async || {
        let state = cluster.simulator.state().await.unwrap();
        let is_left = state.pods.keys().any(|name| name.contains("/migrate-"));
        (!is_left).then_some(())
    })
    .await;
}

/// It is left until its own time limit, unless the run is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_start_fails_early() {
    let failure = ContainerFailure::ImagePull;
    let cluster = TestCluster::with_scenario(scenario_with_failing_image("migrate", failure)).await;
    let patient = inline().replace("name: migrate,", "name: migrate, time_limit: 100h,");
    let text = runbook_yaml(&patient).replace("timeout: 5m", "timeout: 200h");
    let ended = cluster.run(&text).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("cannot run: pod") && error.contains("(for 2m)"), "{error}");
    assert_eq!(names(&cluster).await.len(), 1);
    cluster.resume(ended.run.id(), ResumeMode::Rollback).await.expect_state(RunState::RolledBack);
    assert_eq!(names(&cluster).await, BTreeSet::new());
}

/// A migration must not be killed because the service is rolled out, nor begun anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_when_its_run_stops_and_the_resumed_run_waits_for_it() {
    type Case = (fn(&Control), RunState);
    let requests: [Case; 2] = [
        (|control| control.cancel("test"), RunState::Cancelled),
        (Control::shut_down, RunState::Interrupted),
    ];
    for (request, state) in requests {
        let mut scenario = Scenario::default();
        scenario.times.job = Duration::from_mins(4);
        let cluster = TestCluster::with_scenario(scenario).await;
        let accepted = cluster.accept(&runbook_yaml(&inline()), json!({})).await.unwrap();
        let (id, control) = (accepted.run().id().clone(), Control::default());
        let stopping = async {
            let is_there = async || (!names(&cluster).await.is_empty()).then_some(());
            wait_until_async("the job", is_there).await;
            request(&control);
        };
        let (ended, ()) = tokio::join!(cluster.drive(accepted, control.clone()), stopping);
        ended.expect_state(state);
        let job = names(&cluster).await;
        assert_eq!(job.len(), 1);
        cluster.resume(&id, ResumeMode::Continue).await.expect_success();
        assert_eq!(names(&cluster).await, job, "it was not started again");
    }
}
