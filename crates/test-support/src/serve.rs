//! `serve`, as a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::{WAIT_TIMEOUT, Watchdog, signal};

/// A running service. It is killed with this value, and with this process.
pub struct Serve {
    pub url: String,
    pub client: Client,
    child: Child,
    watchdog: Option<Watchdog>,
    /// Reads the log, so that the pipe does not fill up, and returns it when the process has ended.
    log: Option<JoinHandle<Vec<String>>>,
}

impl Serve {
    /// Starts it on a free port; the command has everything else.
    pub fn start(command: &mut Command) -> Self {
        Self::start_listening(command.args(["--listen", "127.0.0.1:0"]))
    }

    /// Starts it where the command says.
    pub fn start_listening(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let watchdog = Some(Watchdog::guard(&child));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the service says where it listens").unwrap();
            if let Some(url) = line.strip_prefix("listening on ") {
                break url.to_owned();
            }
        };
        let log = Some(std::thread::spawn(move || lines.map_while(Result::ok).collect()));
        // A connection that the service closes while it is idle must not fail the next request.
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { url, client, child, watchdog, log }
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Polls the status until it is no longer `Running`.
    pub async fn wait_until_ended(&self) -> Value {
        let deadline = tokio::time::Instant::now() + WAIT_TIMEOUT;
        loop {
            let (_, status) = self.get("/status").await;
            if status["status"] != "Running" {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "{status:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the address on which the service listens.
    pub fn address(&self) -> &str {
        self.url.split_once("://").map_or(&self.url, |(_, address)| address)
    }

    /// Returns the number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to end, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.disarm();
        }
        status
    }

    /// Asks the process to end, and returns the lines of its log after the one that says where it listens.
    pub fn into_log(mut self) -> Vec<String> {
        self.terminate();
        self.log.take().unwrap().join().unwrap()
    }

    /// Asks the process to end, and checks that it does so by itself: it has a watchdog that ends it when its time is
    /// up, with the same exit code, and says so.
    pub fn expect_clean_end(mut self) {
        assert_eq!(self.terminate().code(), Some(0));
        let log = self.log.take().unwrap().join().unwrap();
        let is_late = |line: &&String| line.contains("in time; the run can be resumed");
        assert_eq!(log.iter().find(is_late), None, "what the process waited for did not end");
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Before the process is waited for: afterwards its number may be another process's.
        drop(self.watchdog.take());
        let _ = self.child.wait();
    }
}
