//! The HTTP service, over real sockets.

use std::{
    fs,
    ops::{Deref, DerefMut},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use test_support::{ProgramOutput, SCALE_UP, Serve, program, wait_until_async};

/// `serve --simulate` with its own state directory.
pub(crate) struct SimulatedService {
    serve: Serve,
    pub(crate) dir: TempDir,
}

impl SimulatedService {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::in_dir(dir, arguments)
    }

    pub(crate) fn in_dir(dir: TempDir, arguments: &[&str]) -> Self {
        let serve = Serve::start(&mut Self::command(dir.path(), arguments));
        Self { serve, dir }
    }

    /// A service whose simulated time passes so many times faster than the clock.
    pub(crate) fn start_at_speed(speed: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let serve = Serve::start(&mut Self::command_at_speed(dir.path(), speed, arguments));
        Self { serve, dir }
    }

    /// A service that listens where the arguments say.
    pub(crate) fn listening(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let serve = Serve::start_listening(&mut Self::command(dir.path(), arguments));
        Self { serve, dir }
    }

    pub(crate) fn command(dir: &Path, arguments: &[&str]) -> Command {
        Self::command_at_speed(dir, "600", arguments)
    }

    fn command_at_speed(dir: &Path, speed: &str, arguments: &[&str]) -> Command {
        let runbooks = dir.join("runbooks");
        fs::create_dir_all(&runbooks).unwrap();
        let default = SCALE_UP.replace("name: scale-up", "name: relay-scale");
        fs::write(runbooks.join("relay-scale.yaml"), default).unwrap();
        fs::write(runbooks.join("broken.yaml"), "name: broken\nsteps: [{id: a, action: b}]\n")
            .unwrap();
        let mut command = program();
        command.args(["serve", "--simulate", "--speed", speed]);
        command.arg("--state-dir").arg(dir.join("state"));
        command.arg("--runbooks").arg(&runbooks).args(arguments);
        command
    }
}

impl SimulatedService {
    /// Asks the service to end, and returns the lines of its log.
    pub(crate) fn into_log(self) -> Vec<String> {
        self.serve.into_log()
    }

    /// Returns the directory of a service that was ended, for the next one.
    pub(crate) fn into_dir(self) -> TempDir {
        self.dir
    }

    /// Asks the service to end, and checks that it does so by itself.
    pub(crate) fn expect_clean_end(self) {
        self.serve.expect_clean_end();
    }
}

impl Deref for SimulatedService {
    type Target = Serve;

    fn deref(&self) -> &Serve {
        &self.serve
    }
}

impl DerefMut for SimulatedService {
    fn deref_mut(&mut self) -> &mut Serve {
        &mut self.serve
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn the_readmes_http_examples_work() {
    let service = SimulatedService::start(&[]);
    assert_eq!(service.get("/health").await, (StatusCode::OK, json!({"status": "healthy"})));
    assert_eq!(
        service.get("/status").await,
        (StatusCode::OK, json!({"status": "Idle", "logs": []}))
    );

    let (code, started) = service.get("/run").await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(started["status"], "started");
    assert_eq!(started["message"], "SOP execution started");
    assert!(started["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(started["runbook"], "relay-scale");

    let status = service.wait_until_ended().await;
    assert_eq!(status["status"], "Success", "{status:#}");
    assert_eq!(status["state"], "succeeded");
    assert!(status["end_time"].is_string());
    assert!(status.get("error").is_none());
    let logs = status["logs"].as_array().unwrap();
    let has = |text: &str| logs.iter().any(|line| line.as_str().unwrap().ends_with(text));
    assert!(has("] Starting step: Get AWS region and EKS cluster from configmap"));
    assert!(has("] AWS Region: us-west-2, EKS Cluster: rafay-cluster"));
    assert!(has("] Completed step: Get AWS region and EKS cluster from configmap"));
}

#[tokio::test]
async fn a_second_run_is_refused_while_one_is_active() {
    // Slow enough to be active at the second request on a busy machine.
    let service = SimulatedService::start_at_speed("30", &[]);
    let (_, started) = service.post("/run?runbook=relay-scale", json!({})).await;
    let (code, busy) = service.get("/run").await;
    assert_eq!(code, StatusCode::CONFLICT, "{busy:#}");
    assert_eq!(busy["status"], "busy", "{busy:#}");
    assert_eq!(busy["run"], started["run"]);
    let cancel = format!("POST /runs/{}/cancel", started["run"].as_str().unwrap());
    assert_eq!(busy["choices"], json!([cancel]));
    service.wait_until_ended().await;
}

#[tokio::test]
async fn a_cancelled_run_blocks_new_runs_until_it_is_decided() {
    let service = SimulatedService::start(&[]);
    let (_, started) = service.post("/run", json!({})).await;
    let run = format!("/runs/{}", started["run"].as_str().unwrap());
    // Before that it would block nothing.
    wait_until_async("the first change", async || {
        let (_, run) = service.get(&run).await;
        run.to_string().contains(r#""changes":"#).then_some(())
    })
    .await;
    let (code, _) = service.post(&format!("{run}/cancel"), json!({})).await;
    assert_eq!(code, StatusCode::OK);
    let status = service.wait_until_ended().await;
    assert_eq!((&status["status"], &status["state"]), (&json!("Failed"), &json!("cancelled")));

    let (code, busy) = service.get("/run").await;
    assert_eq!(code, StatusCode::CONFLICT);
    assert_eq!(busy["choices"].as_array().unwrap().len(), 3);

    let (code, resumed) = service.post(&format!("{run}/resume"), json!({})).await;
    assert_eq!((code, &resumed["message"]), (StatusCode::OK, &json!("SOP execution resumed")));
    assert_eq!(service.wait_until_ended().await["status"], "Success");
    let (code, over) = service.post(&format!("{run}/abandon"), json!({})).await;
    assert_eq!(code, StatusCode::CONFLICT, "{over}");
}

#[tokio::test]
async fn the_command_line_cancels_a_run_of_the_service() {
    let service = SimulatedService::start(&[]);
    service.post("/run", json!({})).await;
    let state = service.dir.path().join("state");
    let cancel = async || {
        let mut command = program();
        command.arg("--state-dir").arg(&state).args(["runs", "cancel", "--last"]);
        ProgramOutput::run_async(&mut command).await
    };
    let expected = cancel().await.expect_exit_code(0);
    assert!(expected.stdout.contains("cancelling"), "{}", expected.stdout);
    assert_eq!(service.wait_until_ended().await["state"], "cancelled");
    let nothing = cancel().await.expect_exit_code(2);
    assert!(nothing.stderr.contains("nothing to cancel"), "{}", nothing.stderr);
}

#[tokio::test]
async fn the_same_key_never_starts_a_second_run() {
    let service = SimulatedService::start(&[]);
    let body = json!({"inputs": {"scale_factor": 3}, "key": "monday"});
    let (_, first) = service.post("/run", body.clone()).await;
    let (code, again) = service.post("/run", body.clone()).await;
    assert_eq!((code, &again["run"]), (StatusCode::OK, &first["run"]));
    service.wait_until_ended().await;
    let (_, later) = service.post("/run", body).await;
    assert_eq!(later["run"], first["run"]);
    let other = json!({"inputs": {"scale_factor": 4}, "key": "monday"});
    let (code, refused) = service.post("/run", other).await;
    assert_eq!(code, StatusCode::CONFLICT, "{refused:#}");
    let (_, run) = service.get(&format!("/runs/{}", first["run"].as_str().unwrap())).await;
    assert_eq!(run["inputs"]["scale_factor"], 3);
    let (_, runs) = service.get("/runs").await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_requests_are_explained_and_start_nothing() {
    let service = SimulatedService::start(&[]);
    let cases = [
        ("/run?runbook=nowhere", json!({}), StatusCode::NOT_FOUND, "'nowhere' not found"),
        ("/run?runbook=../x", json!({}), StatusCode::BAD_REQUEST, "not a valid runbook name"),
        ("/run?runbok=x", json!({}), StatusCode::BAD_REQUEST, "runbok"),
        ("/run?runbook=broken", json!({}), StatusCode::UNPROCESSABLE_ENTITY, "broken"),
        ("/run", json!({"inputs": {"x": 1}}), StatusCode::UNPROCESSABLE_ENTITY, "x"),
        ("/run", json!({"text": "name: x"}), StatusCode::BAD_REQUEST, "text"),
        ("/runs/none/cancel", json!({}), StatusCode::NOT_FOUND, "none"),
        ("/nothing", json!({}), StatusCode::NOT_FOUND, "/nothing"),
        ("/status", json!({}), StatusCode::METHOD_NOT_ALLOWED, "/status"),
    ];
    for (path, body, status, expected) in cases {
        let (code, response) = service.post(path, body).await;
        assert_eq!(code, status, "{path}: {response:#}");
        assert!(response["error"].as_str().unwrap().contains(expected), "{path}: {response:#}");
    }
    assert_eq!(service.get("/status").await.1["status"], "Idle");
}

/// A page reload and a link preview are GETs, too: each would double the nodes again.
#[tokio::test]
async fn a_get_does_not_repeat_a_run_that_has_just_succeeded() {
    let service = SimulatedService::start(&[]);
    let (_, first) = service.get("/run").await;
    assert_eq!(service.wait_until_ended().await["status"], "Success");

    for path in ["/run", "/run?runbook=relay-scale", "/run?again=false"] {
        let (code, refused) = service.get(path).await;
        assert_eq!(code, StatusCode::CONFLICT, "{path}: {refused:#}");
        assert_eq!(refused["run"], first["run"]);
        assert_eq!(refused["failure"]["kind"], "conflict");
        let hint = refused["failure"]["hint"].as_str().unwrap();
        for way in ["POST /run?runbook=relay-scale", "again=true"] {
            assert!(hint.contains(way), "{hint}");
        }
    }
    assert_eq!(service.get("/runs").await.1["runs"].as_array().unwrap().len(), 1);

    let (code, again) = service.get("/run?again=true").await;
    assert_eq!(code, StatusCode::OK, "{again:#}");
    let (code, busy) = service.get("/run").await;
    assert_eq!((code, &busy["status"]), (StatusCode::CONFLICT, &json!("busy")), "{busy:#}");
    service.wait_until_ended().await;
    let (code, posted) = service.post("/run", json!({})).await;
    assert_eq!(code, StatusCode::OK, "{posted:#}");
    service.wait_until_ended().await;
}

#[tokio::test]
async fn a_get_repeats_other_runs() {
    let service = SimulatedService::start(&[]);
    let other = SCALE_UP.replace("name: scale-up", "name: other");
    fs::write(service.dir.path().join("runbooks/other.yaml"), other).unwrap();
    service.get("/run").await;
    service.wait_until_ended().await;
    let (code, started) = service.get("/run?runbook=other").await;
    assert_eq!(code, StatusCode::OK, "another runbook: {started:#}");
    let run = format!("/runs/{}", started["run"].as_str().unwrap());
    service.post(&format!("{run}/cancel"), json!({})).await;
    service.wait_until_ended().await;
    service.post(&format!("{run}/abandon"), json!({})).await;
    let (code, again) = service.get("/run?runbook=other").await;
    assert_eq!(code, StatusCode::OK, "a run that did not succeed: {again:#}");
    service.wait_until_ended().await;
}

#[tokio::test]
async fn a_restart_guard_of_zero_refuses_no_get() {
    let service = SimulatedService::start(&["--restart-guard", "0"]);
    for _ in 0..2 {
        let (code, started) = service.get("/run").await;
        assert_eq!(code, StatusCode::OK, "{started:#}");
        assert_eq!(service.wait_until_ended().await["status"], "Success");
    }
}

#[tokio::test]
async fn a_prefetch_starts_no_run() {
    let service = SimulatedService::start(&[]);
    let headers = [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-purpose", "preview"),
        ("x-moz", "prefetch"),
    ];
    for (name, value) in headers {
        for path in ["/run", "/run?again=true"] {
            let request = service.client.get(format!("{}{path}", service.url)).header(name, value);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        }
    }
    assert_eq!(service.get("/status").await.1["status"], "Idle");
}

#[tokio::test]
async fn the_status_says_which_file_is_run() {
    let service = SimulatedService::start(&[]);
    service.post("/run", json!({})).await;
    let status = service.wait_until_ended().await;
    let path = service.dir.path().join("runbooks/relay-scale.yaml");
    assert_eq!(status["origin"], json!(path));
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(status["digest"], rafay_relay_sop::engine::digest(&text));
}

#[tokio::test]
async fn logs_follow_a_run_until_it_ends() {
    let service = SimulatedService::start(&[]);
    let state = service.dir.path().join("state");
    let follow = async |arguments: &[&str]| {
        let mut command = program();
        command.arg("--state-dir").arg(&state).args(["runs", "logs", "--follow", "--last"]);
        ProgramOutput::run_async(command.args(arguments)).await
    };
    service.post("/run", json!({})).await;
    let followed = follow(&[]).await.expect_exit_code(0).stdout;
    assert_eq!(service.get("/status").await.1["state"], "succeeded");
    let status = service.get("/status").await.1;
    let lines: Vec<&str> = followed.lines().collect();
    assert_eq!(json!(lines), status["logs"]);

    let (_, started) = service.post("/run", json!({})).await;
    let cancel = format!("/runs/{}/cancel", started["run"].as_str().unwrap());
    let (followed, _) = tokio::join!(follow(&[]), service.post(&cancel, json!({})));
    followed.expect_exit_code(130);
    // As JSON, each line of the log is a string on a line of its own.
    let followed = follow(&["--output", "json"]).await.expect_exit_code(130).stdout;
    let strings: Vec<serde_json::Value> =
        followed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(strings), service.get("/status").await.1["logs"]);
}

#[tokio::test]
async fn a_head_request_starts_no_run() {
    let service = SimulatedService::start(&[]);
    let head = service.client.head(format!("{}/run", service.url)).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(service.get("/status").await.1["status"], "Idle");
}

/// The service's process ends in time, and the run that a person cancelled stays cancelled.
#[tokio::test]
async fn a_cancelled_run_is_not_recovered_by_the_next_service() {
    let mut service = SimulatedService::start(&["--resume-within", "1h"]);
    let (_, started) = service.post("/run", json!({})).await;
    let run = started["run"].as_str().unwrap().to_owned();
    service.post(&format!("/runs/{run}/cancel"), json!({})).await;
    assert_eq!(service.serve.terminate().code(), Some(0));
    let state = service.dir.path().join("state");
    let list = ProgramOutput::run(program().arg("--state-dir").arg(&state).args(["runs", "list"]));
    assert!(list.expect_exit_code(0).stdout.contains("  cancelled"));
}

#[tokio::test]
async fn the_command_line_asks_the_service_that_locks_the_state_directory() {
    let service = SimulatedService::start(&[]);
    let (_, started) = service.post("/run", json!({})).await;
    let run = started["run"].as_str().unwrap().to_owned();
    service.post(&format!("/runs/{run}/cancel"), json!({})).await;
    service.wait_until_ended().await;
    let state = service.dir.path().join("state");
    let mut command = program();
    command.arg("--state-dir").arg(&state).args(["runs", "resume", "--last"]);
    ProgramOutput::run_async(&mut command).await.expect_exit_code(0);
    assert_eq!(service.wait_until_ended().await["status"], "Success");
}

#[tokio::test]
async fn another_sites_page_cannot_start_a_run() {
    let service = SimulatedService::start(&[]);
    let headers = [
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("host", "evil.example"),
    ];
    for (name, value) in headers {
        let url = format!("{}/run", service.url);
        let response = service.client.get(url).header(name, value).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}");
    }
    assert_eq!(service.get("/status").await.1["status"], "Idle");
}

#[tokio::test]
async fn a_token_protects_the_routes_that_change_something() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    write_secret(&token, "correct-horse-battery-staple\n");
    let path = token.display().to_string();
    let service = SimulatedService::in_dir(dir, &["--token-file", &path]);
    let url = format!("{}/run", service.url);
    let without = service.client.get(&url).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
    let challenge = without.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.starts_with("Bearer realm="), "{challenge}");
    let ask = async |authorization: &str| {
        let request = service.client.post(&url).header("authorization", authorization);
        request.send().await.unwrap()
    };
    let wrong = ask("Bearer wrong").await;
    assert_eq!(wrong.status(), StatusCode::FORBIDDEN);
    assert!(wrong.headers()["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    assert_eq!(service.get("/status").await.1["status"], "Idle", "reading needs no token");
    // The name of a scheme is written in any case.
    let response = ask("bearer correct-horse-battery-staple").await;
    assert_eq!(response.status(), StatusCode::OK);
    service.wait_until_ended().await;

    // The token is replaced while the service runs; then the file is removed.
    write_secret(&token, "another-horse-battery-staple\n");
    let old = ask("Bearer correct-horse-battery-staple").await;
    assert_eq!(old.status(), StatusCode::FORBIDDEN);
    let new = ask("Bearer another-horse-battery-staple").await;
    assert_eq!(new.status(), StatusCode::OK);
    service.wait_until_ended().await;

    // A program whose HTTP client sends what browsers send, such as fetch in Node: no page can send the token.
    let program = service.client.get(format!("{url}?again=true"));
    let program = program.header("sec-fetch-mode", "cors").header("accept-language", "*");
    let program = program.header("authorization", "Bearer another-horse-battery-staple");
    assert_eq!(program.send().await.unwrap().status(), StatusCode::OK);
    service.wait_until_ended().await;
    fs::remove_file(&token).unwrap();
    let gone = ask("Bearer another-horse-battery-staple").await;
    assert_eq!(gone.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_token_file_that_cannot_be_trusted_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let start = || {
        let mut command = program();
        command.args(["serve", "--simulate", "--listen", "127.0.0.1:0", "--token-file"]);
        ProgramOutput::run(command.arg(&token)).expect_exit_code(2).stderr
    };
    write_secret(&token, "correct-horse-battery\nanother-horse-battery\n");
    assert!(start().contains("has several lines"));
    write_secret(&token, "correct-horse-battery");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = start();
    assert!(refused.contains("every user of this machine (mode 0644)"), "{refused}");
    assert!(refused.contains("hint: `chmod 640"), "{refused}");
}

#[test]
fn serve_on_a_public_address_requires_a_token_decision() {
    for address in ["0.0.0.0:0", ":0"] {
        let ended =
            ProgramOutput::run(program().args(["serve", "--simulate", "--listen", address]))
                .expect_exit_code(2);
        assert!(ended.stderr.contains("--token-file"), "{}", ended.stderr);
    }
}

/// A name that is not `localhost` and leads to this machine, as in a hosts file. A page of that name is no other site's.
#[tokio::test]
async fn a_loopback_name_that_was_listened_on_addresses_the_service() {
    let service = SimulatedService::listening(&["--listen", "127.1:0"]);
    let port = service.address().rsplit_once(':').unwrap().1;
    let status = async |host: String| {
        let request = service.client.get(format!("{}/status", service.url)).header("host", host);
        request.send().await.unwrap().status()
    };
    assert_eq!(status(format!("127.1:{port}")).await, StatusCode::OK);
    assert_eq!(status(format!("127.0.0.1:{port}")).await, StatusCode::OK);
    assert_eq!(status(format!("127.2:{port}")).await, StatusCode::FORBIDDEN);
}

/// As curl and people write it.
#[tokio::test]
async fn serve_listens_on_a_name_and_on_a_port_alone() {
    let cases: [&[&str]; 2] =
        [&["--listen", "localhost:0"], &["--listen", ":0", "--allow-anonymous"]];
    for arguments in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program();
        command.args(["serve", "--simulate"]).arg("--state-dir").arg(dir.path()).args(arguments);
        let service = Serve::start_listening(&mut command);
        let port = service.url.rsplit_once(':').unwrap().1;
        let response = service.client.get(format!("http://localhost:{port}/health")).send().await;
        assert_eq!(response.unwrap().status(), StatusCode::OK, "{arguments:?}");
    }
}

/// As browsers send them over plain HTTP, where they send no fetch metadata: without a referrer, nothing names the page.
#[tokio::test]
async fn a_browsers_get_starts_a_run_only_from_a_page_of_the_service() {
    let service = SimulatedService::listening(&["--listen", ":0", "--allow-anonymous"]);
    let port = service.address().rsplit_once(':').unwrap().1;
    let host = format!("127.0.0.1:{port}");
    let url = format!("http://{host}/run");
    let chrome = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0 Safari/537.36");
    let firefox =
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0");
    let english = ("accept-language", "en-US,en;q=0.9");
    let image = ("accept", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8");
    let page = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    let cases: [(&str, &[(&str, &str)]); 9] = [
        ("<img referrerpolicy=no-referrer>", &[chrome, english, image]),
        ("the same without what a proxy may remove", &[image]),
        ("<script referrerpolicy=no-referrer>", &[firefox, english, ("accept", "*/*")]),
        ("<iframe>", &[chrome, english, page, ("upgrade-insecure-requests", "1")]),
        ("<link rel=prefetch>", &[firefox, ("x-moz", "prefetch"), ("accept", "*/*")]),
        ("a prefetch on loopback", &[("sec-purpose", "prefetch"), ("sec-fetch-site", "none")]),
        ("a typed address on loopback", &[page, ("sec-fetch-site", "none")]),
        ("fetch metadata without the site", &[("sec-fetch-mode", "no-cors")]),
        ("fetch metadata that cannot be read", &[("sec-fetch-site", "\u{e9}")]),
    ];
    for (case, headers) in cases {
        for url in [url.clone(), format!("{url}?again=true")] {
            let mut request = service.client.get(&url);
            for (name, value) in headers {
                request = request.header(*name, value.as_bytes());
            }
            assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{case}");
        }
    }
    for (case, header) in [("a form", "null"), ("another port", "http://127.0.0.1:1")] {
        let request = service.client.post(&url).header("origin", header);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{case}");
    }
    let status = service.client.get(format!("http://{host}/status")).send().await.unwrap();
    assert_eq!(status.json::<serde_json::Value>().await.unwrap()["status"], "Idle");

    let referer = format!("http://{host}/page");
    let request = service.client.get(&url).header("referer", referer).header(chrome.0, chrome.1);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "a page of the service");
}

#[tokio::test]
async fn a_page_of_runs_begins_after_a_run_that_exists() {
    let service = SimulatedService::start(&[]);
    let (_, started) = service.post("/run", json!({})).await;
    service.wait_until_ended().await;
    let (code, page) = service.get("/runs?continue=20991231t235959z-relay-scale-ffff").await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "{page:#}");
    let error = page["error"].as_str().unwrap();
    assert_eq!(error, "`continue`: run 20991231t235959z-relay-scale-ffff not found");
    let (code, page) =
        service.get(&format!("/runs?continue={}", started["run"].as_str().unwrap())).await;
    assert_eq!((code, page), (StatusCode::OK, json!({"runs": []})));
}

#[test]
fn a_port_in_use_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = ProgramOutput::run(program().args(["serve", "--simulate", "--listen", &address]))
        .expect_exit_code(3);
    let expected = format!("error: cannot listen on {address}");
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
}

#[tokio::test]
async fn a_type_that_is_nested_deeply_does_not_end_the_service() {
    let service = SimulatedService::start(&[]);
    let ty = format!("{}string", "list of ".repeat(5_000));
    let text = format!(
        "name: deep\ninputs:\n  a: {{type: {ty}, default: []}}\nsteps:\n  - {{id: a, action: sleep, with: {{duration: 1s}}}}\n"
    );
    let response = service.client.post(format!("{}/validate", service.url)).body(text).send().await;
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let answer: serde_json::Value = response.json().await.unwrap();
    assert!(
        answer.to_string().contains("the type is nested more than 16 levels deep"),
        "{answer:#}"
    );
    // Bodies of JSON and of YAML, too.
    for (path, body) in [("/run", "[".repeat(1_000_000)), ("/validate", "[".repeat(1_000_000))] {
        let request = service.client.post(format!("{}{path}", service.url)).body(body);
        let response = request.header("content-type", "application/json").send().await.unwrap();
        assert!(response.status().is_client_error(), "{path}: {}", response.status());
    }
    assert_eq!(service.get("/health").await.0, StatusCode::OK);
}
