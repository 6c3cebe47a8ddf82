//! Causes that the status of a pod does not name: the events of a pod that does not become ready, and the node of a pod
//! that neither becomes ready nor ends. They are read only for pods that have made no progress for a while, a few at a
//! time, because events are many and a watch of them would be larger than that of the pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use tokio::time::Instant;

use super::{Progress, workload::pod_name};
use crate::platform::kubernetes::{node::Node, pod::Pod};
use crate::platform::{
    Error, ErrorKind, Latest, PollSource, PollTrigger,
    kubernetes::{KubernetesReader, Selection, node, pod},
    wait::{Failure, GraceTimer, WaitSource},
};
use clock::Clock;

/// How long a pod makes no progress before its causes are read. Most pods start and end within this time.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Kubelets repeat an event every ten seconds at first, and seldom later.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// The number of pods whose causes are read at a time. A message names fewer.
const MAX_PODS: usize = 5;
/// The reasons of events that last until something else changes: a secret, a volume, the network of the node. Each can
/// still heal. FailedAttachVolume is not among them: a volume of a dead node is released after six minutes.
const LASTING_REASONS: [&str; 4] =
    ["FailedCreatePodContainer", "FailedCreatePodSandBox", "FailedMapVolume", "FailedMount"];
/// The reason with which a volume is still held elsewhere, and FailedMount only its consequence.
const ATTACHING: &str = "FailedAttachVolume";

/// The reads of the causes, as a source of a wait.
pub(super) struct PodCauses {
    source: PollSource<BTreeMap<String, PodCause>>,
    view: CauseView,
}

/// The causes that were read last. Clones share them.
#[derive(Clone, Default)]
pub(super) struct CauseView {
    found: Latest<BTreeMap<String, PodCause>>,
    stuck: Arc<Mutex<StuckPods>>,
    stuck_after: Duration,
    trigger: PollTrigger,
}

/// The pods that make no progress.
#[derive(Default)]
struct StuckPods {
    /// Since when, by UID.
    since: BTreeMap<String, Instant>,
    /// Those for which it has been long enough.
    due: Vec<StuckPod>,
}

#[derive(Debug, Clone, PartialEq)]
struct StuckPod {
    namespace: String,
    uid: String,
    node: String,
    /// Whether events can say more than the pod's status.
    has_events: bool,
}

/// The causes of one pod.
#[derive(Debug, Clone, Default, PartialEq)]
struct PodCause {
    event: Option<EventCause>,
    /// Why the node does not run the pod.
    node: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct EventCause {
    text: String,
    is_lasting: bool,
}

impl PodCauses {
    /// Returns a source that reads nothing until a pod has been stuck.
    pub(super) fn new(kubernetes: &KubernetesReader, clock: Clock, progress: &Progress) -> Self {
        let stuck = Arc::new(Mutex::new(StuckPods::default()));
        let reads = Arc::new(CauseReads {
            kubernetes: kubernetes.clone(),
            progress: progress.clone(),
            has_reported_denial: AtomicBool::new(false),
        });
        let source = PollSource::new(&clock, POLL_INTERVAL, {
            let stuck = Arc::clone(&stuck);
            move || {
                let due = lock(&stuck).due.clone();
                let reads = Arc::clone(&reads);
                async move { Ok(reads.read(&due).await) }
            }
        });
        let view = CauseView {
            found: source.view(),
            stuck,
            stuck_after: clock.deadline(STUCK_AFTER),
            trigger: source.poll_trigger(),
        };
        Self { source, view }
    }

    pub(super) fn source(&mut self) -> &mut dyn WaitSource {
        &mut self.source
    }

    pub(super) fn view(&self) -> CauseView {
        self.view.clone()
    }
}

impl CauseView {
    /// Takes all pods that are waited for in one evaluation, and has the causes of the stuck ones read.
    pub(super) fn observe<'a>(&self, pods: impl IntoIterator<Item = &'a Arc<Pod>>) {
        self.observe_at(Instant::now(), pods);
    }

    fn observe_at<'a>(&self, now: Instant, pods: impl IntoIterator<Item = &'a Arc<Pod>>) {
        let mut stuck = lock(&self.stuck);
        let mut since = BTreeMap::new();
        let mut due = Vec::new();
        for found in pods.into_iter().filter_map(|pod| stuck_pod(pod)) {
            let start = stuck.since.get(&found.uid).copied().unwrap_or(now);
            since.insert(found.uid.clone(), start);
            if now.saturating_duration_since(start) >= self.stuck_after && due.len() < MAX_PODS {
                due.push(found);
            }
        }
        let is_new = due.iter().any(|pod| !stuck.due.contains(pod));
        *stuck = StuckPods { since, due };
        drop(stuck);
        if is_new {
            self.trigger.trigger();
        }
    }

    /// Returns all that is known about a pod beside its status, for a message.
    pub(super) fn describe(&self, pod: &Pod) -> Option<String> {
        let cause = self.cause(pod)?;
        let event = cause.event.filter(|_| has_events(pod)).map(|event| event.text);
        let texts: Vec<String> = cause.node.into_iter().chain(event).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Returns the problem that keeps an active pod from becoming ready until something else changes.
    pub(super) fn lasting_problem(&self, pod: &Pod) -> Option<String> {
        let event = self.cause(pod)?.event?;
        (event.is_lasting && has_events(pod)).then_some(event.text)
    }

    /// Returns the failure for a terminating pod whose node has not been Ready for too long.
    pub(super) fn expired_termination<'a>(
        &self,
        grace: &mut GraceTimer,
        pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    ) -> Option<Failure> {
        let mut hints = BTreeMap::new();
        let mut problems = Vec::new();
        for pod in pods.into_iter().filter(|pod| pod::is_terminating(pod)) {
            let Some(node) = self.cause(pod).and_then(|cause| cause.node) else { continue };
            let message = format!("pod {} cannot end: {node}", pod_name(pod));
            hints.insert(message.clone(), force_hint(pod));
            problems.push((uid(pod).to_owned(), message));
        }
        let expired = grace.expired(Instant::now(), problems)?;
        let hint = hints.remove(&expired);
        Some(Failure { message: expired, hint })
    }

    fn cause(&self, pod: &Pod) -> Option<PodCause> {
        self.found.get()?.get(uid(pod)).cloned()
    }
}

/// Returns the remedy for a pod whose node does not answer.
fn force_hint(pod: &Pod) -> String {
    format!(
        "if the node will not come back, delete the pod by force: `kubectl delete pod {} --namespace {} \
         --grace-period=0 --force`, or `delete_pods` with `force_after`",
        pod_name(pod),
        pod.metadata.namespace.as_deref().unwrap_or_default()
    )
}

/// Returns the pod as one that may be stuck: it has a node, and is terminating or not ready.
fn stuck_pod(pod: &Pod) -> Option<StuckPod> {
    if pod::is_finished(pod) || pod::is_ready(pod) {
        return None;
    }
    Some(StuckPod {
        namespace: pod.metadata.namespace.clone()?,
        uid: pod.metadata.uid.clone()?,
        node: pod::node(pod)?.to_owned(),
        has_events: has_events(pod),
    })
}

/// Returns whether events can say more than the status of the pod.
fn has_events(pod: &Pod) -> bool {
    pod::is_active(pod) && !pod::is_ready(pod) && pod::problem(pod).is_none()
}

/// The reads of one wait.
struct CauseReads {
    kubernetes: KubernetesReader,
    progress: Progress,
    has_reported_denial: AtomicBool,
}

impl CauseReads {
    /// Reads the causes of these pods. What cannot be read is left out, because it must not end a wait that may
    /// succeed.
    async fn read(&self, pods: &[StuckPod]) -> BTreeMap<String, PodCause> {
        let mut nodes = BTreeMap::new();
        for name in pods.iter().map(|pod| pod.node.as_str()).collect::<BTreeSet<_>>() {
            let found = self.kubernetes.list::<Node>(&Selection::all().named(name)).await;
            let found = self.readable("nodes", found);
            nodes.insert(name, found.and_then(|found| node_problem(name, found.first())));
        }
        let mut causes = BTreeMap::new();
        for pod in pods {
            let event = match pod.has_events {
                true => self.read_event(pod).await,
                false => None,
            };
            let node = nodes.get(pod.node.as_str()).cloned().flatten();
            causes.insert(pod.uid.clone(), PodCause { event, node });
        }
        causes
    }

    async fn read_event(&self, pod: &StuckPod) -> Option<EventCause> {
        let selection = Selection::in_namespace(&pod.namespace)
            .with_fields(format!("involvedObject.uid={}", pod.uid));
        let events = self.kubernetes.list::<Event>(&selection).await;
        event_cause(&self.readable("events", events)?)
    }

    fn readable<T>(&self, what: &str, found: Result<T, Error>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                let is_denied = error.kind() == ErrorKind::Denied;
                if is_denied && !self.has_reported_denial.swap(true, Ordering::Relaxed) {
                    self.progress.report(&format!(
                        "causes that {what} name cannot be read, and the wait goes on without them: {error}"
                    ));
                }
                None
            }
        }
    }
}

/// Returns why a node does not run the pods that are bound to it.
pub(super) fn node_problem(name: &str, found: Option<&Node>) -> Option<String> {
    match found {
        None => Some(format!("its node {name} no longer exists")),
        Some(found) => {
            node::why_not_ready(found).map(|why| format!("its node {name} is not Ready: {why}"))
        }
    }
}

/// Returns what the events of a pod with a node say: the newest, unless it reports progress.
fn event_cause(events: &[Event]) -> Option<EventCause> {
    let is_warning = |event: &Event| event.type_.as_deref() == Some("Warning");
    // The scheduler's are about the time before the pod had a node.
    let is_relevant =
        |event: &&Event| !matches!(reason(event), "FailedScheduling" | "Scheduled" | "Preempting");
    // Of two events in the same second the warning is the one to name.
    let newest = events
        .iter()
        .filter(is_relevant)
        .max_by_key(|event| (last_seen(event), is_warning(event)))?;
    if !is_warning(newest) && reason(newest) != "Pulling" {
        return None;
    }
    // The output of a probe has lines of its own, and a cause is a part of a sentence.
    let message = newest.message.as_deref().unwrap_or_default();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_attaching = events.iter().any(|event| reason(event) == ATTACHING);
    Some(EventCause {
        text: format!("{}: {message}", reason(newest)),
        is_lasting: is_warning(newest)
            && LASTING_REASONS.contains(&reason(newest))
            && !is_attaching,
    })
}

fn reason(event: &Event) -> &str {
    event.reason.as_deref().unwrap_or_default()
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let in_series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let in_series = in_series.or(event.event_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let created = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    last.max(in_series).or(created)
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn lock(stuck: &Mutex<StuckPods>) -> std::sync::MutexGuard<'_, StuckPods> {
    stuck.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(kind: &str, reason: &str, second: u8) -> Event {
        serde_json::from_value(json!({
            "metadata": {},
            "involvedObject": {},
            "type": kind,
            "reason": reason,
            "message": "why",
            "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        }))
        .unwrap()
    }

    #[test]
    fn the_newest_event_is_named_unless_it_reports_progress() {
        let cause =
            |events: &[Event]| event_cause(events).map(|cause| (cause.text, cause.is_lasting));
        let mount = event("Warning", "FailedMount", 10);
        let lasting = Some(("FailedMount: why".to_owned(), true));
        assert_eq!(cause(&[]), None);
        assert_eq!(cause(&[event("Warning", "FailedScheduling", 1)]), None);
        assert_eq!(cause(&[mount.clone(), event("Normal", "Scheduled", 20)]), lasting);
        assert_eq!(
            cause(&[event("Normal", "Pulled", 10), mount.clone()]),
            lasting,
            "in the same second"
        );
        assert_eq!(cause(&[mount.clone(), event("Normal", "Pulled", 11)]), None);
        let pulling = Some(("Pulling: why".to_owned(), false));
        assert_eq!(cause(&[mount.clone(), event("Normal", "Pulling", 11)]), pulling);
        let heals = Some(("FailedMount: why".to_owned(), false));
        assert_eq!(cause(&[event("Warning", "FailedAttachVolume", 9), mount]), heals);
        let unhealthy = Some(("Unhealthy: why".to_owned(), false));
        assert_eq!(cause(&[event("Warning", "Unhealthy", 1)]), unhealthy);
    }

    fn pod(uid: &str, status: Value) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": uid, "namespace": "n", "uid": uid},
                "spec": {"containers": [], "nodeName": "node-1"},
                "status": status,
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_pod_is_stuck_after_a_while_without_progress() {
        let view = CauseView { stuck_after: STUCK_AFTER, ..CauseView::default() };
        let due = || lock(&view.stuck).due.iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>();
        let start = Instant::now();
        let starting = || pod("a", json!({"phase": "Pending"}));
        view.observe_at(start, [&starting()]);
        assert_eq!(due(), [""; 0]);
        view.observe_at(start + STUCK_AFTER, [&starting(), &pod("b", json!({"phase": "Pending"}))]);
        assert_eq!(due(), ["a"]);
        let ready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        view.observe_at(start + 2 * STUCK_AFTER, [&pod("a", ready)]);
        assert_eq!(due(), [""; 0]);
    }
}
