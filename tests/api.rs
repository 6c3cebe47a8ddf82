//! The HTTP API beyond the words of the Go service, over real sockets: events, journals, pages of runs, tags, gzip, its
//! own document, and who may read.

use std::{collections::BTreeSet, fs, io::Read as _};

use flate2::read::GzDecoder;
use reqwest::{Response, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use test_support::wait_until_async;

use crate::service::{SimulatedService, write_secret};

const TOKEN: &str = "correct-horse-battery-staple";

/// A service with a token.
fn guarded(arguments: &[&str]) -> SimulatedService {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    write_secret(&token, TOKEN);
    let path = token.display().to_string();
    SimulatedService::in_dir(dir, &[&["--token-file", &path], arguments].concat())
}

/// A service whose runs take their time.
fn slow(arguments: &[&str]) -> SimulatedService {
    SimulatedService::start_at_speed("1", arguments)
}

impl SimulatedService {
    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = self.client.get(format!("{}{path}", self.url));
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .send()
            .await
            .unwrap()
    }

    /// Starts a run and waits until it has ended.
    async fn run_to_the_end(&self) -> String {
        let (_, started) = self.post("/run", json!({})).await;
        self.wait_until_ended().await;
        started["run"].as_str().unwrap().to_owned()
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events in server-sent form: id, name and data of each.
fn server_sent(text: &str) -> Vec<(Option<u64>, String, Value)> {
    let event = |block: &str| {
        let field = |name: &str| {
            block.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().to_owned()))
        };
        let data = field("data:")?;
        let id = field("id:").map(|id| id.parse().unwrap());
        Some((id, field("event:").unwrap(), serde_json::from_str(&data).unwrap()))
    };
    text.split("\n\n").filter_map(event).collect()
}

#[tokio::test]
async fn the_events_of_a_run_are_sent_until_it_ends() {
    let service = SimulatedService::start(&[]);
    let (_, started) = service.post("/run", json!({})).await;
    let run = started["run"].as_str().unwrap();
    let path = format!("/runs/{run}/events");
    // Two clients follow the run from its beginning, in both forms.
    let event_stream = [("accept", "text/event-stream")];
    let (plain, sent) = tokio::join!(service.ask(&path, &[]), service.ask(&path, &event_stream));
    assert_eq!(plain.headers()["content-type"], "application/x-ndjson");
    assert_eq!(sent.headers()["content-type"], "text/event-stream");
    assert_eq!(sent.headers()["x-accel-buffering"], "no");
    let (plain, sent) = tokio::join!(plain.text(), sent.text());
    let (plain, mut sent) = (lines(&plain.unwrap()), server_sent(&sent.unwrap()));
    assert_eq!(plain.first().unwrap()["event"], "run_started");
    assert_eq!(plain.last().unwrap()["event"], "run_ended");
    let numbers: Vec<u64> = plain.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..plain.len() as u64).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(sent.pop().unwrap(), (None, "end".into(), json!({"state": "succeeded"})));
    for ((id, name, data), event) in sent.iter().zip(&plain) {
        assert_eq!(
            (*id, name.as_str(), data),
            (event["seq"].as_u64(), event["event"].as_str().unwrap(), event)
        );
    }
    assert_eq!(sent.len(), plain.len());
}

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_after_the_last_event_that_arrived() {
    let service = SimulatedService::start(&[]);
    let run = service.run_to_the_end().await;
    let path = format!("/runs/{run}/events");
    let all = lines(&service.ask(&path, &[]).await.text().await.unwrap());
    let rest = service.ask(&path, &[("last-event-id", "4")]).await.text().await.unwrap();
    assert_eq!(lines(&rest), all[5..]);
    let from = service.ask(&format!("{path}?from=5&follow=false"), &[]).await.text().await.unwrap();
    assert_eq!(lines(&from), all[5..]);
    let after_all = service.ask(&format!("{path}?from=100000"), &[]).await.text().await.unwrap();
    assert_eq!(after_all, "");
    let wrong = service.ask(&path, &[("last-event-id", "x")]).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    let unknown = service.ask("/runs/none/events", &[]).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_stream_ends_with_the_service_and_another_service_goes_on_with_it() {
    let mut service = slow(&[]);
    let (_, started) = service.post("/run", json!({})).await;
    let path = format!("/runs/{}/events", started["run"].as_str().unwrap());
    let stream = service.ask(&path, &[]).await;
    let text = tokio::spawn(stream.text());
    // The watchdog of the test ends what does not end.
    assert_eq!(service.terminate().code(), Some(0));
    let seen = lines(&text.await.unwrap().unwrap());
    assert_eq!(seen.first().unwrap()["event"], "run_started");
    let next = SimulatedService::in_dir(service.into_dir(), &[]);
    let last = (seen.len() - 1).to_string();
    let path = format!("{path}?follow=false");
    let rest = next.ask(&path, &[("last-event-id", &last)]).await.text().await.unwrap();
    let rest = lines(&rest);
    assert_eq!(rest.first().unwrap()["seq"], json!(seen.len()));
    assert_eq!(
        rest.last().unwrap()["event"],
        "run_ended",
        "with what was written after the streams had ended"
    );
}

#[tokio::test]
async fn so_many_streams_are_open_at_a_time() {
    let service = slow(&["--max-connections-per-peer", "200"]);
    let (_, started) = service.post("/run", json!({})).await;
    let path = format!("/runs/{}/events", started["run"].as_str().unwrap());
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(service.ask(&path, &[]).await);
    }
    let refused = service.ask(&path, &[]).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(service.get("/health").await.0, StatusCode::OK, "others are answered");
    open.pop();
    wait_until_async("a place for a stream", async || {
        (service.ask(&path, &[]).await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_journal_of_a_run_is_a_file_that_another_store_can_read() {
    let service = SimulatedService::start(&[]);
    let run = service.run_to_the_end().await;
    let response = service.ask(&format!("/runs/{run}/journal"), &[]).await;
    assert_eq!(
        response.headers()["content-disposition"],
        format!("attachment; filename=\"{run}.jsonl\"")
    );
    let journal = response.text().await.unwrap();
    let kept =
        fs::read_to_string(service.dir.path().join(format!("state/runs/{run}.jsonl"))).unwrap();
    assert_eq!(journal, kept, "with the same checksums");
}

/// Over plain HTTP a browser does not say which page a link is on, and the page keeps its address back.
#[tokio::test]
async fn a_browser_downloads_a_journal_by_a_link() {
    let service = SimulatedService::start(&[]);
    let run = service.run_to_the_end().await;
    let browser = [
        ("accept", "text/html,*/*"),
        ("accept-language", "en"),
        ("upgrade-insecure-requests", "1"),
    ];
    let response = service.ask(&format!("/runs/{run}/journal"), &browser).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_page_of_runs_can_be_of_one_state_and_runbook() {
    let service = SimulatedService::start(&[]);
    let first = service.run_to_the_end().await;
    let (_, started) = service.post("/run", json!({})).await;
    let second = started["run"].as_str().unwrap().to_owned();
    service.post(&format!("/runs/{second}/cancel"), json!({})).await;
    service.wait_until_ended().await;
    let runs = async |query: &str| -> Vec<String> {
        let (code, page) = service.get(&format!("/runs{query}")).await;
        assert_eq!(code, StatusCode::OK, "{page:#}");
        page["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["run"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(runs("").await, [second.clone(), first.clone()]);
    assert_eq!(runs("?state=succeeded").await, [first.as_str()]);
    assert_eq!(runs("?state=cancelled,failed").await, [second.as_str()]);
    assert_eq!(runs("?runbook=relay-scale&limit=1").await, [second.as_str()]);
    assert_eq!(runs("?runbook=other").await, [] as [String; 0]);
    assert_eq!(runs(&format!("?state=succeeded&continue={second}")).await, [first.as_str()]);
    let (code, error) = service.get("/runs?state=done").await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert_eq!(error["error"], "`state`: \"done\" is not a state of a run");
    assert!(error["hint"].as_str().unwrap().contains("succeeded_with_failures"), "{error:#}");
}

#[tokio::test]
async fn a_client_that_has_the_answer_already_gets_no_body() {
    let service = SimulatedService::start(&[]);
    let run = service.run_to_the_end().await;
    for path in
        ["/status".to_owned(), format!("/runs/{run}"), "/runs".into(), "/openapi.json".into()]
    {
        let first = service.ask(&path, &[]).await;
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        let again = service.ask(&path, &[("if-none-match", &tag)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(again.headers()["etag"], tag.as_str());
        assert_eq!(again.text().await.unwrap(), "");
    }
    let tag = service.ask("/status", &[]).await.headers()["etag"].to_str().unwrap().to_owned();
    service.run_to_the_end().await;
    let changed = service.ask("/status", &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status(), StatusCode::OK, "another run");
}

#[tokio::test]
async fn answers_are_compressed_for_clients_that_ask_for_it() {
    let service = SimulatedService::start(&[]);
    service.run_to_the_end().await;
    let plain = service.ask("/status", &[]).await.bytes().await.unwrap();
    let response = service.ask("/status", &[("accept-encoding", "gzip")]).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let compressed = response.bytes().await.unwrap();
    assert!(compressed.len() * 2 < plain.len(), "{} of {}", compressed.len(), plain.len());
    let mut text = Vec::new();
    GzDecoder::new(&*compressed).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain);
}

#[tokio::test]
async fn an_unknown_path_is_answered_with_those_that_there_are() {
    let service = SimulatedService::start(&[]);
    let (code, error) = service.get("/run/relay-scale").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    assert_eq!(error["status"], "error");
    assert_eq!(error["error"], "no such route: /run/relay-scale");
    assert_eq!(error["detail"], error["error"]);
    assert_eq!(error["type"], "urn:rafay-relay-sop:usage");
    let (_, document) = service.get("/openapi.json").await;
    let hint = error["hint"].as_str().unwrap();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(hint.contains(path), "{path} in {hint}");
    }
}

/// What the document promises is there: each path and method is answered by its handler, not by the fallback.
#[tokio::test]
async fn the_document_of_the_api_has_exactly_the_routes_that_there_are() {
    let service = SimulatedService::start(&[]);
    let (_, document) = service.get("/openapi.json").await;
    let methods = ["get", "post", "put", "patch", "delete"];
    for (path, operations) in document["paths"].as_object().unwrap() {
        let documented: BTreeSet<&str> =
            methods.into_iter().filter(|method| operations.get(method).is_some()).collect();
        for method in methods {
            // An id that no run has, so that nothing is done; and a body that is refused before anything is.
            let url = format!("{}{}", service.url, path.replace("{id}", "no-such-run"));
            let request = service.client.request(method.to_uppercase().parse().unwrap(), url);
            let request = if method == "get" { request } else { request.body("{\"x\"") };
            let request = request.query(&[("no_such_parameter", "1")]);
            let is_answered =
                request.send().await.unwrap().status() != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_answered, documented.contains(method), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn clients_without_a_token_read_what_the_service_lets_them() {
    let read = async |service: &SimulatedService, path: &str| service.ask(path, &[]).await.status();
    let paths = ["/health", "/status", "/runs", "/runbooks", "/runs/a/events", "/runs/a/journal"];
    let (ok, no, none) = (StatusCode::OK, StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND);
    for (choice, expected) in [
        ("none", [ok, no, no, no, no, no]),
        ("status", [ok, ok, no, no, no, no]),
        ("all", [ok, ok, ok, ok, no, no]),
    ] {
        let service = guarded(&["--anonymous-reads", choice]);
        for (path, expected) in paths.iter().zip(expected) {
            assert_eq!(read(&service, path).await, expected, "{choice} {path}");
            let with_token = [("authorization", format!("Bearer {TOKEN}"))];
            let with_token = with_token.each_ref().map(|(name, value)| (*name, value.as_str()));
            let status = service.ask(path, &with_token).await.status();
            assert!(status == ok || status == none, "{choice} {path}: {status}");
        }
    }
    // A service that knows nobody hides nothing.
    let service = SimulatedService::start(&["--anonymous-reads", "none"]);
    assert_eq!(read(&service, "/runs").await, ok);
}

#[tokio::test]
async fn a_browser_logs_in_once_and_has_a_cookie_that_no_script_reads() {
    let service = guarded(&[]);
    let browser = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let page = |path: &str| {
        browser.get(format!("{}{path}", service.url)).header("accept", "text/html,*/*")
    };
    let asked = page("/runs?limit=5").send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::SEE_OTHER);
    assert_eq!(asked.headers()["location"], "/login?next=%2Fruns%3Flimit%3D5");
    let log_in = async |token: &str, next: &str| {
        let body = format!("token={token}&next={next}");
        let request = browser.post(format!("{}/login", service.url)).body(body);
        request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()
    };
    let refused = log_in("wrong-horse-battery-staple", "/").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(!refused.headers().contains_key("set-cookie"));
    let elsewhere = log_in(TOKEN, "//evil.example/").await;
    assert_eq!(elsewhere.headers()["location"], "/");
    let entered = log_in(TOKEN, "/runs?limit=5").await;
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    assert_eq!(entered.headers()["location"], "/runs?limit=5");
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    let with_cookie = page("/runs?limit=5").header("cookie", session).send().await.unwrap();
    assert_eq!(with_cookie.status(), StatusCode::OK);

    // The cookie starts a run from a page of the service, and from no other site's.
    let start = async |origin: &str| {
        let request = browser.post(format!("{}/run", service.url)).header("cookie", session);
        request.header("origin", origin).send().await.unwrap().status()
    };
    assert_eq!(start("http://evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(start(&service.url).await, StatusCode::OK);
    service.wait_until_ended().await;

    // Whoever replaces the token ends the sessions of those who had it.
    write_secret(&service.dir.path().join("token"), "another-horse-battery-staple");
    let revoked = page("/runs?limit=5").header("cookie", session).send().await.unwrap();
    assert_eq!(revoked.status(), StatusCode::SEE_OTHER);
    let left = browser.post(format!("{}/logout", service.url)).send().await.unwrap();
    assert!(left.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}
