//! Change windows: when runs that change something may start.

use std::{fs, path::Path};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::service::SimulatedService;
use test_support::{ProgramOutput, SimulateProcess, program, wait_until_async};

const NEVER: &str = "windows: []\n";

const ALWAYS: &str = "\
windows:
- {days: [mon, tue, wed, thu, fri, sat, sun], from: \"00:00\", to: \"24:00\", tz: Europe/Berlin}
";

/// A window of an hour that opens tomorrow, or the day after that where tomorrow is close.
fn opening_later() -> String {
    let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let later = day.checked_add(jiff::Span::new().days(2)).unwrap();
    let name = later.strftime("%a").to_string().to_lowercase();
    format!("windows: [{{days: [{name}], from: \"09:00\", to: \"10:00\", tz: UTC}}]\n")
}

const READS: &str = "\
name: reads
steps:
- {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
";

/// A service with these windows.
fn service(windows: &str) -> SimulatedService {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("windows.yaml");
    fs::write(&file, windows).unwrap();
    fs::create_dir_all(dir.path().join("runbooks")).unwrap();
    fs::write(dir.path().join("runbooks/reads.yaml"), READS).unwrap();
    SimulatedService::in_dir(dir, &["--windows", file.to_str().unwrap()])
}

#[tokio::test]
async fn outside_every_window_nothing_starts_that_changes_something() {
    let service = service(&opening_later());
    for (path, refused) in [
        ("/run", service.post("/run", json!({})).await),
        ("/run", service.get("/run").await),
        ("/run", service.post("/run?runbook=relay-scale", json!({"key": "k"})).await),
    ] {
        let (code, refused) = refused;
        assert_eq!(code, StatusCode::CONFLICT, "{path}: {refused:#}");
        let error = refused["error"].as_str().unwrap();
        assert!(
            error.starts_with(
                "relay-scale changes something, and no change window is open: the next one opens "
            ),
            "{error}"
        );
        assert!(error.ends_with(" 09:00 UTC"), "{error}");
        assert!(refused["failure"]["hint"].as_str().unwrap().contains("outside_window=REASON"));
        assert_eq!(refused["change_window"]["open"], false);
        assert!(refused["change_window"]["opens"].as_str().unwrap().ends_with("T09:00:00Z"));
    }
    assert_eq!(service.get("/runs").await.1["runs"], json!([]));
    let (code, started) = service.post("/run?runbook=reads", json!({})).await;
    assert_eq!(code, StatusCode::OK, "it only reads: {started:#}");
    let status = service.wait_until_ended().await;
    assert_eq!(status["state"], "succeeded");
    assert_eq!(status["change_window"]["open"], false, "{status:#}");
    assert_eq!(service.get("/health").await.1["change_window"], status["change_window"]);
}

#[tokio::test]
async fn a_reason_starts_a_run_outside_the_windows_and_is_recorded() {
    let service = service(NEVER);
    let (code, refused) = service.post("/run?outside_window=%20", json!({})).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "{refused:#}");
    let (_, refused) = service.post("/run", json!({})).await;
    assert!(
        refused["error"].as_str().unwrap().ends_with("no change window is open: there is none")
    );
    let (code, started) =
        service.post("/run?outside_window=the%20relay%20is%20down", json!({"key": "k"})).await;
    assert_eq!(code, StatusCode::OK, "{started:#}");
    let run = format!("/runs/{}", started["run"].as_str().unwrap());
    // An unfinished run can be ended at any time.
    wait_until_async("the first change", async || {
        service.get(&run).await.1.to_string().contains(r#""changes":"#).then_some(())
    })
    .await;
    service.post(&format!("{run}/cancel"), json!({})).await;
    assert_eq!(service.wait_until_ended().await["state"], "cancelled");
    let (code, resumed) = service.post(&format!("{run}/resume"), json!({})).await;
    assert_eq!(code, StatusCode::OK, "{resumed:#}");
    let status = service.wait_until_ended().await;
    assert_eq!(status["state"], "succeeded");
    assert_eq!(status["outside_window"], "the relay is down");
    assert!(status["logs"].to_string().contains("Outside the change windows: the relay is down"));
    assert_eq!(service.get(&run).await.1["outside_window"], "the relay is down");
    // The same request is answered with the same run.
    let (code, again) = service.post("/run?outside_window=again", json!({"key": "k"})).await;
    assert_eq!((code, &again["run"]), (StatusCode::OK, &started["run"]), "{again:#}");
    let mut show = program();
    show.arg("--state-dir").arg(service.dir.path().join("state")).args(["runs", "show", "--last"]);
    let shown = ProgramOutput::run_async(&mut show).await.expect_exit_code(0).stdout;
    assert!(shown.contains("outside  the change windows: the relay is down"), "{shown}");
    let log = service.into_log().join("\n");
    assert!(log.contains(r#""outside_window":"the relay is down""#), "{log}");
}

#[tokio::test]
async fn in_a_window_runs_start_and_health_says_until_when() {
    let service = service(ALWAYS);
    let (code, health) = service.get("/health").await;
    let expected = json!({"status": "healthy", "change_window": {"open": true, "until": null}});
    assert_eq!((code, health), (StatusCode::OK, expected));
    let (code, started) = service.post("/run?outside_window=unneeded", json!({})).await;
    assert_eq!(code, StatusCode::OK, "{started:#}");
    let status = service.wait_until_ended().await;
    assert_eq!(status["outside_window"], Value::Null, "it was not needed: {status:#}");
}

#[tokio::test]
async fn a_file_that_is_not_valid_stops_the_service_before_it_listens() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("windows.yaml");
    fs::write(&file, ALWAYS.replace("Berlin", "Bonn")).unwrap();
    let serve = |file: &Path| {
        let mut command = program();
        command.args(["serve", "--simulate", "--listen", "127.0.0.1:0", "--windows"]).arg(file);
        command.arg("--state-dir").arg(dir.path().join("state"));
        ProgramOutput::run(&mut command)
    };
    let refused = serve(&file).expect_exit_code(2);
    assert!(refused.stderr.contains("window 1: `tz`: unknown time zone"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: a valid file is: windows: ["), "{}", refused.stderr);
    let missing = serve(&dir.path().join("none.yaml")).expect_exit_code(2);
    assert!(missing.stderr.contains("cannot read"), "{}", missing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_takes_the_same_file() {
    let simulate = SimulateProcess::start(600.0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("windows.yaml");
    fs::write(&file, opening_later()).unwrap();
    let runbook = dir.path().join("restart.yaml");
    let step = "{id: restart, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}";
    fs::write(&runbook, format!("name: restart\nsteps: [{step}]\n")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = simulate.program(dir.path());
        command.env("SOP_WINDOWS", &file).args(["run", "--yes"]).arg(&runbook).args(arguments);
        ProgramOutput::run(&mut command)
    };
    let refused = run(&[]);
    assert_ne!(refused.code, Some(0));
    let stderr = &refused.stderr;
    assert!(
        stderr.contains(
            "restart changes something, and no change window is open: the next one opens"
        ),
        "{stderr}"
    );
    assert!(stderr.contains("pass --outside-window REASON"), "{stderr}");
    run(&["--outside-window", ""]).expect_exit_code(2);
    let started = run(&["--outside-window", "agreed with the customer"]).expect_exit_code(0);
    let journal = test_support::journal(dir.path()).unwrap();
    assert!(
        journal.contains(r#""outside_window":"agreed with the customer""#),
        "{}",
        started.stdout
    );
    let mut rehearsal = program();
    rehearsal.env("SOP_WINDOWS", &file).args(["run", "--simulate"]).arg(&runbook);
    rehearsal.arg("--state-dir").arg(dir.path().join("rehearsal"));
    ProgramOutput::run(&mut rehearsal).expect_exit_code(0);
}
