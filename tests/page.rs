//! The page, over real sockets and without a browser. `tests/browser` has a browser.

use std::{fs, time::Duration};

use reqwest::{Client, Method, Response, StatusCode, redirect};
use serde_json::{Value, json};

use crate::service::SimulatedService;
use test_support::wait_until_async;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Has inputs of several types, reads, changes something, and has an output with HTML in it.
const FORM: &str = "\
name: form
description: Closes <some> nodes
inputs:
  count: {type: integer, minimum: 1, maximum: 9, default: 2}
  reason: {type: string, min_length: 3}
  mode: {type: enum, values: [slow, fast], default: slow}
steps:
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- id: close
  name: \"Close for {{ inputs.reason }}\"
  action: cordon
  with: {nodes: [\"{{ relay.nodes[0] }}\"]}
";

/// Closes a node, and asks.
const ASK: &str = "\
name: ask
steps:
- {id: relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- {id: first, action: cordon, with: {nodes: [\"{{ relay.nodes[0] }}\"]}}
- id: go
  name: Look at the node
  action: wait_approval
  with: {message: \"Is it <empty>?\", expires: 7d, not_by: [], ask: {ticket: {type: string, min_length: 3}}}
";

/// A service whose pages a browser asks for.
struct Pages {
    service: SimulatedService,
    /// Follows no redirect.
    client: Client,
}

impl Pages {
    fn start(arguments: &[&str]) -> Self {
        let service = SimulatedService::start(arguments);
        let runbooks = service.dir.path().join("runbooks");
        fs::write(runbooks.join("form.yaml"), FORM).unwrap();
        fs::write(runbooks.join("ask.yaml"), ASK).unwrap();
        let client = Client::builder()
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .build()
            .unwrap();
        Self { service, client }
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.service.url));
        request.header("accept", BROWSER).send().await.unwrap()
    }

    async fn html(&self, path: &str) -> (StatusCode, String) {
        let response = self.get(path).await;
        (response.status(), response.text().await.unwrap())
    }

    /// Sends a form as a page of the service does.
    async fn send(&self, path: &str, form: &str) -> Response {
        let request = self.client.post(format!("{}{path}", self.service.url));
        let request = request
            .header("accept", BROWSER)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", &self.service.url);
        request.body(form.to_owned()).send().await.unwrap()
    }

    /// Sends a form that leads to a run, and returns the run's path.
    async fn expect_run(&self, path: &str, form: &str) -> String {
        let response = self.send(path, form).await;
        let status = response.status();
        let location = response.headers().get("location").cloned();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::SEE_OTHER, "{text}");
        location.unwrap().to_str().unwrap().to_owned()
    }

    /// Waits until the page of a run has a text.
    async fn wait_for(&self, path: &str, text: &str) -> String {
        wait_until_async(text, async || {
            let (status, html) = self.html(path).await;
            assert_eq!(status, StatusCode::OK, "{html}");
            html.contains(text).then_some(html)
        })
        .await
    }
}

/// The messages of a stream: the event, the number, the data.
type Messages = Vec<(String, String, String)>;

async fn messages(response: Response) -> Messages {
    let text = response.text().await.unwrap();
    let field = |message: &str, name: &str| {
        let value = message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        value.trim().to_owned()
    };
    text.split("\n\n")
        .filter(|message| message.contains("event:"))
        .map(|message| (field(message, "event:"), field(message, "id:"), field(message, "data:")))
        .collect()
}

/// The ids of the lines of the log in messages, in order.
fn line_ids(messages: &Messages) -> Vec<String> {
    let html: Vec<String> = messages
        .iter()
        .filter(|(event, ..)| event == "parts")
        .map(|(_, _, data)| serde_json::from_str(data).unwrap())
        .collect();
    let html = html.concat();
    let lines = html.split("<p id=\"l").skip(1).filter_map(|part| part.split('"').next());
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_overview_shows_the_service_and_which_runbooks_are_valid() {
    let pages = Pages::start(&[]);
    let response = pages.get("/").await;
    assert_eq!(response.status(), StatusCode::OK);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-security-policy"), POLICY);
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "same-origin");
    assert_eq!(header("cache-control"), "no-store");
    let html = response.text().await.unwrap();
    assert!(html.contains("No run is active, and none is unfinished."), "{html}");
    assert!(html.contains(r#"href="/runbooks/relay-scale""#) && html.contains("ready"), "{html}");
    // What is wrong with the one that is broken is said here.
    assert!(html.contains("not valid") && html.contains("line 2: "), "{html}");
    assert!(!html.contains("<script>") && !html.contains(" style="), "nothing is inline");
}

#[tokio::test]
async fn the_same_path_is_a_page_for_browsers_and_json_for_programs() {
    let pages = Pages::start(&[]);
    let run = pages.expect_run("/page/runbooks/relay-scale/start", "").await;
    let html = pages.get(&run).await;
    assert_eq!(html.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(html.headers()["vary"], "Accept");
    for accept in ["*/*", "application/json"] {
        let request = pages.client.get(format!("{}{run}", pages.service.url));
        let response = request.header("accept", accept).send().await.unwrap();
        assert_eq!(response.headers()["vary"], "Accept", "{accept}");
        let json: Value = response.json().await.unwrap();
        assert_eq!(json["runbook"], "relay-scale", "{accept}");
    }
    pages.service.wait_until_ended().await;
}

#[tokio::test]
async fn a_run_is_started_watched_and_has_no_buttons_when_it_is_over() {
    let pages = Pages::start(&[]);
    let form = "in.count=3&in.reason=%3Cscript%3Ealert(1)%3C%2Fscript%3E&in.mode=fast&key=k1";
    let run = pages.expect_run("/page/runbooks/form/start", form).await;
    // The same form, sent twice, starts one run.
    assert_eq!(pages.expect_run("/page/runbooks/form/start", form).await, run);
    let html = pages.wait_for(&run, "succeeded").await;
    assert!(!html.contains("<script>alert"), "{html}");
    assert!(html.contains("script&#62;alert(1)") || html.contains("script&gt;alert(1)"), "{html}");
    assert!(html.contains("unschedulable"), "the change is shown: {html}");
    assert!(!html.contains("<form method=\"post\" action=\"/page/runs"), "{html}");
    let (_, overview) = pages.html("/").await;
    assert!(overview.contains(&format!("href=\"{run}\"")), "{overview}");
}

#[tokio::test]
async fn what_does_not_fit_is_said_at_its_field_and_stays_in_the_form() {
    let pages = Pages::start(&[]);
    let response =
        pages.send("/page/runbooks/form/start", "in.count=99&in.reason=%22%3E%3Cb%3E").await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let html = response.text().await.unwrap();
    assert!(html.contains("from 1 to 9"), "{html}");
    assert!(html.contains("value=\"99\"") && !html.contains("\"><b>"), "{html}");
    let response = pages.send("/page/runbooks/form/plan", "in.count=2").await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(response.text().await.unwrap().contains("is missing"));
    assert_eq!(pages.service.get("/status").await.1["status"], "Idle");
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_changes_nothing() {
    let pages = Pages::start(&[]);
    let response = pages.send("/page/runbooks/form/plan", "in.count=2&in.reason=a+test").await;
    let (status, html) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{html}");
    assert!(html.contains("would succeed") && html.contains("unschedulable"), "{html}");
    assert!(html.contains("value=\"a test\""), "what was typed stays: {html}");
    assert_eq!(pages.service.get("/status").await.1["status"], "Idle");
}

#[tokio::test]
async fn a_runbook_with_errors_shows_them_and_has_no_form() {
    let pages = Pages::start(&[]);
    let (status, html) = pages.html("/runbooks/broken").await;
    assert_eq!(status, StatusCode::OK);
    assert!(html.contains("line 2, column") && !html.contains("<form"), "{html}");
    let (status, html) = pages.html("/runbooks/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(html.contains("known runbooks: "), "{html}");
    let (status, html) = pages.html("/runs/not-there").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(html.contains("not-there not found"), "{html}");
}

#[tokio::test]
async fn the_state_decides_which_buttons_there_are() {
    let pages = Pages::start(&[]);
    let run = pages.expect_run("/page/runbooks/ask/start", "").await;
    let has = |html: &str, action: &str| html.contains(&format!("action=\"/page{run}/{action}\""));
    let html = pages.wait_for(&run, "Is it &").await;
    assert!(has(&html, "cancel") && has(&html, "approve") && has(&html, "reject"), "{html}");
    assert!(!has(&html, "resume") && !has(&html, "rollback") && !has(&html, "abandon"), "{html}");
    assert!(!html.contains("<empty>"), "{html}");

    assert_eq!(pages.expect_run(&format!("/page{run}/cancel"), "").await, run);
    let html = pages.wait_for(&run, "cancelled").await;
    let html = match has(&html, "rollback") {
        true => html,
        false => pages.wait_for(&run, &format!("action=\"/page{run}/rollback\"")).await,
    };
    assert!(has(&html, "resume") && has(&html, "abandon") && !has(&html, "cancel"), "{html}");
    assert!(html.contains("To be undone, in this order:"), "{html}");
    assert!(html.contains("Different from before the run"), "{html}");

    assert_eq!(pages.expect_run(&format!("/page{run}/rollback"), "").await, run);
    pages.service.wait_until_ended().await;
    let html = pages.wait_for(&run, "rolled back").await;
    let refused = pages.send(&format!("/page{run}/abandon"), "").await;
    assert_eq!(refused.status(), StatusCode::CONFLICT, "{html}");
    let html = refused.text().await.unwrap();
    assert!(html.contains("only an unfinished run can be abandoned"), "{html}");
}

#[tokio::test]
async fn an_approval_is_given_by_its_form() {
    let pages = Pages::start(&[]);
    let run = pages.expect_run("/page/runbooks/ask/start", "").await;
    pages.wait_for(&run, "name=\"in.ticket\"").await;
    let approve = format!("/page{run}/approve");
    let refused = pages.send(&approve, "step=go&in.ticket=x&note=seen").await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let html = refused.text().await.unwrap();
    assert!(html.contains("value=\"seen\"") && html.contains("value=\"x\""), "{html}");
    pages.expect_run(&approve, "step=go&in.ticket=OPS-1&note=seen").await;
    pages.wait_for(&run, "succeeded").await;
}

#[tokio::test]
async fn a_stream_has_each_change_once_and_continues_where_it_was_cut() {
    let pages = Pages::start(&[]);
    let run = pages.expect_run("/page/runbooks/relay-scale/start", "").await;
    let path = format!("{run}/stream?after=0");
    // While the run goes on, to its end.
    let response = pages.get(&path).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let live = messages(response).await;
    let (event, last, data) = live.last().unwrap();
    assert_eq!((event.as_str(), data.as_str()), ("end", "final"), "{live:?}");

    // Afterwards all is in one message, and is the same.
    let all = messages(pages.get(&path).await).await;
    assert_eq!(line_ids(&all), line_ids(&live));
    assert_eq!(all.last().unwrap().1, *last);
    let log = pages.service.get("/status").await.1["logs"].as_array().unwrap().len();
    // The page had the lines of the first event.
    let of_first = pages.html(&run).await.1.matches("<p id=\"l0-").count();
    assert!(of_first > 0);
    assert_eq!(line_ids(&all).len(), log - of_first);

    // Cut after any message, it continues with the next line.
    for cut in [1, live.len() / 2, live.len() - 1] {
        let (before, _) = live.split_at(cut);
        let before = before.to_vec();
        let id = before.iter().rev().map(|(_, id, _)| id).find(|id| !id.is_empty()).unwrap();
        let request = pages.client.get(format!("{}{path}", pages.service.url));
        let response = request.header("last-event-id", id).send().await.unwrap();
        let rest = messages(response).await;
        assert_eq!([line_ids(&before), line_ids(&rest)].concat(), line_ids(&live), "cut at {cut}");
    }

    // A number that the journal does not have is of another journal.
    let foreign = messages(pages.get(&format!("{run}/stream?after=999999")).await).await;
    assert_eq!(foreign[0].0, "reload");
    let (status, _) = pages.html("/runs/not-there/stream").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_stream_of_an_unfinished_run_says_that_it_may_go_on() {
    let pages = Pages::start(&[]);
    let run = pages.expect_run("/page/runbooks/ask/start", "").await;
    pages.wait_for(&run, "name=\"in.ticket\"").await;
    let stream = pages.get(&format!("{run}/stream?after=0")).await;
    pages.expect_run(&format!("/page{run}/cancel"), "").await;
    let stopped = messages(stream).await;
    let (event, last, data) = stopped.last().unwrap().clone();
    assert_eq!((event.as_str(), data.as_str()), ("end", "unfinished"));
    // A person who resumes it makes the page load again.
    pages.expect_run(&format!("/page{run}/resume"), "").await;
    let resumed = pages.get(&format!("{run}/stream?after={last}")).await;
    assert_eq!(messages(resumed).await[0].0, "reload");
    pages.expect_run(&format!("/page{run}/cancel"), "").await;
}

#[tokio::test]
async fn so_many_streams_are_open_and_no_more() {
    let pages = Pages::start(&["--max-connections-per-peer", "200"]);
    let mut streams = Vec::new();
    for _ in 0..64 {
        let stream = pages.get("/stream").await;
        assert_eq!(stream.status(), StatusCode::OK);
        streams.push(stream);
    }
    let refused = pages.get("/stream").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    streams.pop();
    wait_until_async("a place for another stream", async || {
        (pages.get("/stream").await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_overview_is_kept_current() {
    let pages = Pages::start(&[]);
    let mut stream = pages.get("/stream").await;
    let run = pages.expect_run("/page/runbooks/ask/start", "").await;
    let mut text = String::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while !text.contains("needs approval") || !text.contains(&run) {
        let chunk = tokio::time::timeout_at(end, stream.chunk()).await;
        let chunk = chunk.expect("the overview shows the run").unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    pages.expect_run(&format!("/page{run}/cancel"), "").await;
}

#[tokio::test]
async fn open_streams_do_not_hold_up_the_end_of_the_service() {
    let pages = Pages::start(&[]);
    let run = pages.expect_run("/page/runbooks/ask/start", "").await;
    let (run_stream, overview) =
        (pages.get(&format!("{run}/stream?after=0")).await, pages.get("/stream").await);
    pages.service.expect_clean_end();
    drop((run_stream, overview));
}

#[tokio::test]
async fn files_are_kept_by_browsers_until_they_change() {
    let pages = Pages::start(&[]);
    let (_, html) = pages.html("/").await;
    let path = html.split("href=\"").find(|part| part.starts_with("/assets/")).unwrap();
    let style = path.split('"').next().unwrap().replace("icon.svg", "style.css");
    let response = pages.get(&style).await;
    assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(response.headers()["content-type"], "text/css; charset=utf-8");
    let old = pages.get("/assets/0000/app.js").await;
    assert_eq!(
        (old.status(), &old.headers()["cache-control"]),
        (StatusCode::OK, &"no-store".parse().unwrap())
    );
    assert_eq!(pages.get("/assets/0000/other").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    let pages = Pages::start(&[]);
    for path in ["/page/runbooks/relay-scale/start", "/page/runs/x/cancel"] {
        let request = pages.client.post(format!("{}{path}", pages.service.url));
        let response = request.header("origin", "http://evil.example").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        let get = pages.client.request(Method::GET, format!("{}{path}", pages.service.url));
        assert_eq!(get.send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    let (_, runs) = pages.service.get("/runs").await;
    assert_eq!(runs["runs"], json!([]));
}
