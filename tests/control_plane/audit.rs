//! The calls of an account, read from the API server's audit log and named as the simulator names its calls.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::{Api, api::PostParams};
use serde::Deserialize;
use simulator::RecordedCall;

use crate::{accounts::TestServiceAccount, cluster::wait_until, fixture::ControlPlane};

/// The interval at which the log is read while a test waits for an event.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditEvent {
    verb: String,
    user: User,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    object_ref: AuditObject,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    uid: String,
}

#[derive(Default, Deserialize)]
struct AuditObject {
    #[serde(default)]
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

/// The successful calls of an account that may have changed something, in order: `patch nodes/NAME`.
pub(crate) async fn mutations(plane: &ControlPlane, account: &TestServiceAccount) -> Vec<String> {
    let events = events(plane, account).await;
    let changes = |event: &&AuditEvent| {
        !matches!(event.verb.as_str(), "get" | "list" | "watch")
            && event.object_ref.resource != "selfsubjectaccessreviews"
            && !test_support::is_bookkeeping(&event.operation())
            && !event.request_uri.contains("dryRun=All")
            && event.response_status.as_ref().is_some_and(|status| status.code < 300)
    };
    events.iter().filter(changes).map(AuditEvent::operation).collect()
}

/// The calls of an account that the API server refused for lack of permission.
pub(crate) async fn denied_calls(
    plane: &ControlPlane,
    account: &TestServiceAccount,
) -> Vec<String> {
    calls_with_status(plane, account, 403).await
}

/// Counts how often an account has made a call.
pub(crate) async fn count_calls(
    plane: &ControlPlane,
    account: &TestServiceAccount,
    operation: &str,
) -> usize {
    let events = events(plane, account).await;
    events.iter().filter(|event| event.operation() == operation).count()
}

/// The calls of an account that were answered with that status.
pub(crate) async fn calls_with_status(
    plane: &ControlPlane,
    account: &TestServiceAccount,
    code: u16,
) -> Vec<String> {
    let events = events(plane, account).await;
    let so = |event: &&AuditEvent| event.response_status.as_ref().is_some_and(|it| it.code == code);
    events.iter().filter(so).map(AuditEvent::operation).collect()
}

/// Waits until the account watches each of these resources.
pub(crate) async fn wait_for_watches(
    plane: &ControlPlane,
    account: &TestServiceAccount,
    resources: &[&str],
) {
    let is_watched = |events: &[AuditEvent], resource: &str| {
        events.iter().any(|event| event.verb == "watch" && event.object_ref.resource == resource)
    };
    wait_until("the watches", async || {
        let events = read(plane, account);
        resources.iter().all(|resource| is_watched(&events, resource))
    })
    .await;
}

/// Returns from the simulator's record what [`mutations`] returns from the audit log.
pub(crate) fn simulated_mutations(calls: &[RecordedCall]) -> Vec<String> {
    let changes = |call: &&RecordedCall| {
        let is_change = call.mutating && !test_support::is_bookkeeping(&call.operation);
        call.service == "kubernetes" && is_change && (200..300).contains(&call.status)
    };
    calls.iter().filter(changes).map(|call| call.operation.clone()).collect()
}

/// Counts each call. The order is left out, because it is not determined where several objects are changed at once.
pub(crate) fn count_by_operation(operations: &[String]) -> Vec<String> {
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations {
        *counted.entry(operation).or_default() += 1;
    }
    counted.into_iter().map(|(operation, times)| format!("{times} x {operation}")).collect()
}

/// Every event of the account, once all of them are written.
async fn events(plane: &ControlPlane, account: &TestServiceAccount) -> Vec<AuditEvent> {
    // The API server writes an event after it has answered, in order: when this call is there, the others are.
    let last = Api::<SelfSubjectAccessReview>::all(account.client().await);
    let before = count_reviews(&read(plane, account));
    // Its answer is of no interest, an object without a question is refused.
    let _ = last.create(&PostParams::default(), &SelfSubjectAccessReview::default()).await;
    for _ in 0..200 {
        let events = read(plane, account);
        if count_reviews(&events) > before {
            return events;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    panic!("no new event in the audit log");
}

fn count_reviews(events: &[AuditEvent]) -> usize {
    events.iter().filter(|event| event.object_ref.resource == "selfsubjectaccessreviews").count()
}

fn read(plane: &ControlPlane, account: &TestServiceAccount) -> Vec<AuditEvent> {
    let text = std::fs::read_to_string(plane.audit_log()).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let events =
        whole.lines().map(|line| serde_json::from_str::<AuditEvent>(line).expect("an event"));
    events.filter(|event| event.user.uid == account.uid).collect()
}

impl AuditEvent {
    fn operation(&self) -> String {
        let object = &self.object_ref;
        // A new object's name may stand in its body alone.
        let name =
            object.name.as_ref().filter(|_| self.verb != "create" || object.subresource.is_some());
        let parts =
            [Some(&object.resource), object.namespace.as_ref(), name, object.subresource.as_ref()];
        let path: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        format!("{} {}", self.verb, path.join("/"))
    }
}
