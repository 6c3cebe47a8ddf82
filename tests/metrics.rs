//! `/metrics` of a service in which runs end in several ways, and after a restart.

use std::{collections::BTreeMap, fs, net::TcpListener, path::Path};

use reqwest::{
    StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::json;

use test_support::wait_until_async;

use crate::service::SimulatedService;

const FAILS: &str = r#"
name: fails
steps:
  - {id: check, action: assert, with: {that: "{{ 1 == 2 }}", message: "one is not two"}}
"#;

/// A change, and a step that fails after it.
const ROLLS_BACK: &str = r#"
name: rolls-back
steps:
  - {id: all, action: list_nodes, with: {selector: Name=nodegroup-relay-services}}
  - {id: cordon, action: cordon, with: {nodes: "{{ [all.names[0]] }}"}}
  - id: check
    action: assert
    with: {that: "{{ cordon.nodes | length == 0 }}", message: "none was cordoned"}
    on_failure: rollback
"#;

/// A run that cannot be continued without a person.
const STOPS: &str = r#"
name: stops
steps:
  - id: check
    action: assert
    with: {that: "{{ 1 == 2 }}", message: "one is not two"}
    on_failure: stop
"#;

/// The values of series, each as it is written.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn of(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            // An exemplar follows its value.
            let sample = line.split(" # ").next().unwrap();
            let (series, value) = sample.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    fn expect(&self, expected: &[(&str, f64)]) {
        for (series, value) in expected {
            assert_eq!(self.value(series), Some(*value), "{series} in {:#?}", self.0);
        }
    }
}

async fn read(service: &SimulatedService, accept: &str) -> (String, String) {
    let request = service.client.get(format!("{}/metrics", service.url)).header(ACCEPT, accept);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let kind = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    (kind, response.text().await.unwrap())
}

async fn metrics(service: &SimulatedService) -> Metrics {
    Metrics::of(&read(service, "*/*").await.1)
}

/// Runs a runbook, and returns the state in which it ends.
async fn run(service: &SimulatedService, runbook: &str) -> String {
    let (code, started) = service.post(&format!("/run?runbook={runbook}"), json!({})).await;
    assert_eq!(code, StatusCode::OK, "{started:#}");
    service.wait_until_ended().await["state"].as_str().unwrap().to_owned()
}

fn add(dir: &Path, runbook: &str) {
    let name = runbook.lines().find_map(|line| line.strip_prefix("name: ")).unwrap();
    fs::create_dir_all(dir.join("runbooks")).unwrap();
    fs::write(dir.join(format!("runbooks/{name}.yaml")), runbook).unwrap();
}

#[tokio::test]
async fn runs_that_succeed_fail_and_roll_back_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    [FAILS, ROLLS_BACK].iter().for_each(|runbook| add(dir.path(), runbook));
    let service = SimulatedService::in_dir(dir, &["--no-plan"]);
    let before = metrics(&service).await;
    before.expect(&[
        ("sop_lease_held", 0.0),
        ("sop_lease_losses_total", 0.0),
        ("sop_streams", 0.0),
        ("sop_runs_unreadable", 0.0),
        (r#"sop_journal_errors_total{store="directory"}"#, 0.0),
        (r#"sop_runbook_valid{runbook="relay-scale"}"#, 1.0),
        (r#"sop_runbook_valid{runbook="broken"}"#, 0.0),
    ]);
    assert!(before.0.keys().all(|series| !series.starts_with("sop_run_state")));

    assert_eq!(run(&service, "relay-scale").await, "succeeded");
    assert_eq!(run(&service, "fails").await, "failed");
    assert_eq!(run(&service, "rolls-back").await, "rolled_back");
    // What does not exist makes no series.
    let (code, _) = service.post("/run?runbook=no-such-runbook", json!({})).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    service.get("/runs/20260101t000000z-no-such-run-0000").await;
    service.get("/no/such/route").await;

    // The state of the store is looked at anew after five seconds.
    let after = wait_until_async("the states of the runs", async || {
        let metrics = metrics(&service).await;
        metrics.value(r#"sop_run_state{runbook="rolls-back",state="rolled_back"}"#).map(|_| metrics)
    })
    .await;
    after.expect(&[
        (r#"sop_runs_total{runbook="relay-scale",result="succeeded"}"#, 1.0),
        (r#"sop_runs_total{runbook="fails",result="failed"}"#, 1.0),
        (r#"sop_runs_total{runbook="rolls-back",result="rolled_back"}"#, 1.0),
        (r#"sop_run_duration_seconds_count{runbook="relay-scale",result="succeeded"}"#, 1.0),
        (r#"sop_run_state{runbook="relay-scale",state="succeeded"}"#, 1.0),
        (r#"sop_run_state{runbook="fails",state="failed"}"#, 1.0),
        (r#"sop_run_state{runbook="rolls-back",state="rolled_back"}"#, 1.0),
        (r#"sop_run_state{runbook="rolls-back",state="running"}"#, 0.0),
        (r#"sop_steps_total{action="scale_nodegroup",result="completed"}"#, 1.0),
        (r#"sop_steps_total{action="assert",result="failed"}"#, 2.0),
        (r#"sop_step_attempts_total{action="cordon"}"#, 1.0),
        (r#"sop_changes_total{kind="node",way="apply"}"#, 1.0),
        (r#"sop_changes_total{kind="node",way="undo"}"#, 1.0),
        (r#"sop_http_requests_total{route="/run",method="POST",code="200"}"#, 3.0),
        (r#"sop_http_requests_total{route="/run",method="POST",code="404"}"#, 1.0),
        (r#"sop_http_requests_total{route="/runs/{id}",method="GET",code="404"}"#, 1.0),
        (r#"sop_http_requests_total{route="other",method="GET",code="404"}"#, 1.0),
        ("sop_lease_held", 0.0),
        ("sop_lease_losses_total", 0.0),
    ]);
    let is_there = |begin: &str| {
        after.0.iter().any(|(series, value)| series.starts_with(begin) && *value > 0.0)
    };
    for begin in [
        r#"sop_api_requests_total{service="eks",operation="UpdateNodegroupConfig",code="200"}"#,
        r#"sop_api_requests_total{service="kubernetes",operation="patch nodes",code="200"}"#,
        r#"sop_api_request_duration_seconds_count{service="sts",operation="GetCallerIdentity"}"#,
        r#"sop_journal_append_duration_seconds_count{store="directory"}"#,
        r#"sop_wait_seconds_total{action="wait_nodes""#,
        r#"sop_run_last_end_timestamp_seconds{runbook="relay-scale",result="succeeded"}"#,
        r#"sop_run_last_progress_timestamp_seconds{runbook="fails",state="failed"}"#,
        "sop_lease_transitions_total",
    ] {
        assert!(is_there(begin), "{begin} in {:#?}", after.0);
    }
    for series in after.0.keys() {
        let forbidden = ["no-such", "ip-10-", "i-0", "t0", "one is not two"];
        let found = forbidden.iter().find(|text| series.contains(**text));
        assert_eq!(found, None, "a label with a name: {series}");
    }
}

#[tokio::test]
async fn a_client_chooses_the_format_and_open_metrics_have_the_run_as_an_exemplar() {
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), FAILS);
    let service = SimulatedService::in_dir(dir, &[]);
    let (_, started) = service.post("/run?runbook=fails", json!({})).await;
    service.wait_until_ended().await;
    let (kind, text) =
        read(&service, "application/openmetrics-text;version=1.0.0, text/plain;q=0.5").await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"));
    let line = text.lines().find(|line| line.starts_with("sop_runs_total")).unwrap();
    assert!(line.contains(&format!("# {{run={}}}", started["run"])), "{line}");
    let (kind, text) = read(&service, "text/plain").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.contains("# TYPE sop_runs_total counter\n") && !text.contains("# EOF"));
    let line = text.lines().find(|line| line.starts_with("sop_runs_total")).unwrap();
    assert_eq!(line, r#"sop_runs_total{runbook="fails",result="failed"} 1"#);
}

#[tokio::test]
async fn a_run_that_is_unfinished_is_seen_after_a_restart_and_gone_when_it_is_abandoned() {
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), STOPS);
    let mut service = SimulatedService::in_dir(dir, &[]);
    let (_, started) = service.post("/run?runbook=stops", json!({})).await;
    service.wait_until_ended().await;
    service.terminate();
    let dir = std::mem::replace(&mut service.dir, tempfile::tempdir().unwrap());
    drop(service);

    let service = SimulatedService::in_dir(dir, &[]);
    let state = r#"sop_run_state{runbook="stops",state="failed"}"#;
    let progress = r#"sop_run_last_progress_timestamp_seconds{runbook="stops",state="failed"}"#;
    let metrics_after_restart = metrics(&service).await;
    assert_eq!(metrics_after_restart.value(state), Some(1.0));
    assert!(metrics_after_restart.value(progress).unwrap() > 1.7e9);
    let abandon = format!("/runs/{}/abandon", started["run"].as_str().unwrap());
    assert_eq!(service.post(&abandon, json!({})).await.0, StatusCode::OK);
    let after = wait_until_async("the state of the run", async || {
        let metrics = metrics(&service).await;
        (metrics.value(state) == Some(0.0)).then_some(metrics)
    })
    .await;
    assert_eq!(after.value(progress), None);
    after.expect(&[
        (r#"sop_run_state{runbook="stops",state="abandoned"}"#, 1.0),
        (r#"sop_runs_total{runbook="stops",result="abandoned"}"#, 1.0),
    ]);
}

#[tokio::test]
async fn the_address_of_the_metrics_has_nothing_else() {
    // Another process may take the port in between; then the service says so, and the test fails.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let service = SimulatedService::start(&["--metrics-listen", &address]);
    let get = async |path: &str| {
        let response = service.client.get(format!("http://{address}{path}")).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    };
    let (code, text) = get("/metrics").await;
    assert_eq!(code, StatusCode::OK);
    assert!(text.contains("sop_build_info"));
    for path in ["/", "/status", "/run", "/runs"] {
        let (code, text) = get(path).await;
        assert_eq!(code, StatusCode::NOT_FOUND, "{path}");
        assert!(text.contains("only /metrics is here"), "{text}");
    }
    let posted = service.client.post(format!("http://{address}/metrics")).send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    service.expect_clean_end();
}
