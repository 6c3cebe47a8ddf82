//! Sends the calls of a table to one side.

use std::{collections::BTreeMap, time::Duration};

use axum::http::{Request, header};
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::{
    TEST_NAMESPACE,
    normalize::{normalize, normalize_part},
    table::TableCall,
    truncate,
};

/// How long a condition may take. A healthy cluster needs a second or two.
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);

/// How often a call that waits for a condition is repeated.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// One of the two clusters.
pub(super) struct ClusterSide {
    client: Client,
}

/// The response to a call.
pub(super) struct CallResponse {
    pub(super) status: u16,
    pub(super) shown: Value,
}

impl CallResponse {
    /// No API server responds with this status.
    const TIMED_OUT: u16 = 0;

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn describe(&self) -> String {
        format!("{} {}", self.status, truncate(&self.shown))
    }

    /// Returns whether the condition that the call waited for did not occur.
    pub(super) fn is_timed_out(&self) -> bool {
        self.status == Self::TIMED_OUT
    }

    fn timed_out(last: Value) -> Self {
        Self { status: Self::TIMED_OUT, shown: last }
    }
}

impl ClusterSide {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) async fn make_namespace(&self) {
        let body = json!({"metadata": {"name": TEST_NAMESPACE}});
        let made =
            self.send("POST", "/api/v1/namespaces", "application/json", false, body.to_string());
        assert_eq!(made.await.0, 201);
    }

    /// Sends the calls in order.
    pub(super) async fn run(&self, table: &[TableCall]) -> Vec<CallResponse> {
        let mut kept = BTreeMap::new();
        let mut responses = Vec::new();
        for call in table {
            responses.push(self.run_call(call, &mut kept).await);
        }
        responses
    }

    async fn run_call(
        &self,
        call: &TableCall,
        kept: &mut BTreeMap<String, String>,
    ) -> CallResponse {
        if let Some(name) = &call.settled {
            return self.wait_until_settled(name).await;
        }
        let deadline = tokio::time::Instant::now() + WAIT_TIMEOUT;
        loop {
            let (status, body) = self.send_call(call, kept).await;
            let until = call.until.iter().flatten();
            let holds = until.clone().all(|(pointer, wanted)| &select(&body, pointer) == wanted);
            if !holds && tokio::time::Instant::now() > deadline {
                return CallResponse::timed_out(body);
            }
            if holds {
                keep(call, &body, kept);
                return CallResponse { status, shown: show(call, &body) };
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn send_call(&self, call: &TableCall, kept: &BTreeMap<String, String>) -> (u16, Value) {
        let (method, path) = call.call.split_once(' ').unwrap_or_else(|| panic!("{call:?}"));
        let fill = |text: String| {
            kept.iter().fold(text, |text, (key, value)| text.replace(&format!("${key}"), value))
        };
        let content = call.patch.map_or("application/json", |patch| patch.content_type());
        let body = call.raw.clone().or_else(|| call.body.as_ref().map(Value::to_string));
        self.send(
            method,
            &fill(whole_path(path)),
            content,
            call.table,
            fill(body.unwrap_or_default()),
        )
        .await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content: &str,
        table: bool,
        body: String,
    ) -> (u16, Value) {
        let accept =
            if table { "application/json;as=Table;v=v1;g=meta.k8s.io" } else { "application/json" };
        let mut request =
            Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, content);
        }
        let request =
            request.body(Body::from(body.into_bytes())).expect("the table has valid paths");
        let response =
            self.client.send(request).await.unwrap_or_else(|why| panic!("{path}: {why}"));
        let status = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        (status, json_or_lines(&text))
    }

    /// Waits until the deployment's status is complete and no pod is terminating.
    async fn wait_until_settled(&self, name: &str) -> CallResponse {
        let deadline = tokio::time::Instant::now() + WAIT_TIMEOUT;
        let path = whole_path(&format!("deployments/{name}"));
        let pods = whole_path("pods");
        loop {
            let (_, deployment) = self.send("GET", &path, "", false, String::new()).await;
            let (_, pods) = self.send("GET", &pods, "", false, String::new()).await;
            let ending = select(&pods, "/items/*/metadata/deletionTimestamp");
            let ends = ending.as_array().is_some_and(|all| all.iter().any(|one| !one.is_null()));
            if is_settled(&deployment) && !ends {
                return CallResponse { status: 200, shown: Value::Null };
            }
            if tokio::time::Instant::now() > deadline {
                return CallResponse::timed_out(deployment["status"].clone());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

fn is_settled(deployment: &Value) -> bool {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let count = |key: &str| status[key].as_i64().unwrap_or(0);
    let wanted = spec["replicas"].as_i64().unwrap_or(0);
    let conditions = status["conditions"].as_array();
    let done = |condition: &Value| condition["reason"] == "NewReplicaSetAvailable";
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|key| count(key) == wanted)
        && count("terminatingReplicas") == 0
        && conditions.is_some_and(|all| all.iter().any(done))
}

/// Returns the API's path of `deployments/web`. A path that begins with a slash is not changed.
fn whole_path(path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let plural = path.split(['/', '?']).next().expect("splitting gives one part at least");
    let inside = match plural {
        "nodes" | "namespaces" => return format!("/api/v1/{path}"),
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => "apis/apps/v1",
        "poddisruptionbudgets" => "apis/policy/v1",
        "horizontalpodautoscalers" => "apis/autoscaling/v2",
        "leases" => "apis/coordination.k8s.io/v1",
        "runbookruns" | "runevents" => "apis/sop.rafay.dev/v1alpha1",
        _ => "api/v1",
    };
    format!("/{inside}/namespaces/{TEST_NAMESPACE}/{path}")
}

/// Parses one document or the events of a watch; any other text becomes a string.
fn json_or_lines(text: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    lines.map_or_else(|_| Value::String(text.trim().to_owned()), Value::Array)
}

fn show(call: &TableCall, body: &Value) -> Value {
    match &call.show {
        None => normalize(body),
        Some(pointers) => {
            let parts = pointers
                .iter()
                .map(|pointer| (pointer.clone(), normalize_part(pointer, &select(body, pointer))));
            Value::Object(parts.collect())
        }
    }
}

fn keep(call: &TableCall, body: &Value, kept: &mut BTreeMap<String, String>) {
    for (name, pointer) in &call.keep {
        let value = select(body, pointer);
        let value = value.as_str().unwrap_or_else(|| panic!("{call:?}: no {pointer} in {body}"));
        kept.insert(name.clone(), value.to_owned());
    }
}

/// Returns a part of a document. `*` selects every item, sorted, because the two sides list items
/// in different orders.
fn select(value: &Value, pointer: &str) -> Value {
    let Some((before, after)) = pointer.split_once("/*") else {
        return value.pointer(pointer).cloned().unwrap_or(Value::Null);
    };
    let items = value.pointer(before).and_then(Value::as_array);
    let mut parts: Vec<Value> =
        items.into_iter().flatten().map(|item| select(item, after)).collect();
    parts.sort_by_key(|part| normalize(part).to_string());
    Value::Array(parts)
}
