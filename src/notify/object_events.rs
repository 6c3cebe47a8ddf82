//! Kubernetes Events on the objects that a run changes, so that a person who reads about a node or a deployment finds
//! the run. They are a convenience: no run waits for one or fails by one, and what cannot be written is dropped. What
//! kubectl tells of the run itself, the cluster store writes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as KubernetesEvent},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use text::{hex, join_truncated, printable};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
};

use crate::{
    journal::{Event, RecordedChange, RecordedEvent, Run, RunEvent, RunId, RunObserver, StepEvent},
    platform::{Error, ErrorKind, Platform, kubernetes::ObjectAddress},
};

/// The name under which Kubernetes Events of this program are reported.
const CONTROLLER: &str = "rafay-relay-sop";
/// The namespace of an Event on an object without one.
const DEFAULT_NAMESPACE: &str = "default";
/// How many reports wait for the API server; further ones are dropped.
const QUEUE: usize = 256;
/// How many Events one object gets of one run.
const MAX_PER_OBJECT: usize = 6;
/// How many Events all objects together get of one run.
const MAX_PER_RUN: usize = 200;
/// How many runs are counted at a time.
const MAX_RUNS: usize = 256;
/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;
/// The longest value that a note shows, in characters.
const MAX_VALUE: usize = 48;
/// The longest beginning of the name of an Event, in bytes: a name has 253.
const MAX_STEM: usize = 200;

/// A kind of objects: as changes name it, and as the API does.
#[expect(clippy::struct_field_names, reason = "`kind` is the API's own word")]
struct Kind {
    noun: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    resource: &'static str,
    has_namespace: bool,
}

const fn kind(
    noun: &'static str,
    group: &'static str,
    version: &'static str,
    names: (&'static str, &'static str),
    has_namespace: bool,
) -> Kind {
    Kind { noun, group, version, kind: names.0, resource: names.1, has_namespace }
}

/// The kinds that get Events. A Secret is not among them: the note would show what has changed in it.
const KINDS: [Kind; 11] = [
    kind("node", "", "v1", ("Node", "nodes"), false),
    kind("namespace", "", "v1", ("Namespace", "namespaces"), false),
    kind("pod", "", "v1", ("Pod", "pods"), true),
    kind("service", "", "v1", ("Service", "services"), true),
    kind("deployment", "apps", "v1", ("Deployment", "deployments"), true),
    kind("statefulset", "apps", "v1", ("StatefulSet", "statefulsets"), true),
    kind("daemonset", "apps", "v1", ("DaemonSet", "daemonsets"), true),
    kind("job", "batch", "v1", ("Job", "jobs"), true),
    kind("cronjob", "batch", "v1", ("CronJob", "cronjobs"), true),
    kind(
        "horizontalpodautoscaler",
        "autoscaling",
        "v2",
        ("HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        true,
    ),
    kind(
        "poddisruptionbudget",
        "policy",
        "v1",
        ("PodDisruptionBudget", "poddisruptionbudgets"),
        true,
    ),
];

/// Writes Kubernetes Events on the objects that runs change. Dropped, it writes no more.
pub struct ObjectEvents {
    queue: mpsc::Sender<Report>,
    counts: Mutex<HashMap<RunId, Counts>>,
    _task: JoinSet<()>,
}

/// How many Events a run has got.
#[derive(Default)]
struct Counts {
    all: usize,
    of_objects: HashMap<String, usize>,
}

/// The content of an Event.
#[derive(Debug, Clone, PartialEq)]
struct Report {
    run: RunId,
    seq: u64,
    time: Timestamp,
    object: ObjectAddress,
    /// The UID of the object, where the change has it.
    uid: Option<String>,
    is_warning: bool,
    reason: &'static str,
    action: &'static str,
    note: String,
}

/// An object that a step changes.
struct Touched {
    object: ObjectAddress,
    uid: Option<String>,
    changes: Vec<String>,
}

impl ObjectEvents {
    /// Starts the task that writes to the cluster of a platform.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(platform: Platform) -> Self {
        let (queue, reports) = mpsc::channel(QUEUE);
        let mut task = JoinSet::new();
        task.spawn(deliver(platform, reports));
        Self { queue, counts: Mutex::default(), _task: task }
    }

    /// Whether one more Event on an object of a run is within the bounds.
    fn count(&self, report: &Report) -> bool {
        let mut runs = self.counts();
        if runs.len() >= MAX_RUNS && !runs.contains_key(&report.run) {
            return false;
        }
        let counts = runs.entry(report.run.clone()).or_default();
        let of_object = counts.of_objects.get(&report.object.to_string()).copied().unwrap_or(0);
        if counts.all >= MAX_PER_RUN || of_object >= MAX_PER_OBJECT {
            return false;
        }
        counts.all += 1;
        if counts.all == MAX_PER_RUN {
            let run = report.run.as_str();
            tracing::info!(run, "further objects that the run changes get no Kubernetes Events");
        }
        counts.of_objects.insert(report.object.to_string(), of_object + 1);
        true
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<RunId, Counts>> {
        // A panic leaves a count that is off by one.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunObserver for ObjectEvents {
    fn on_event(&self, run: &Run, recorded: &RecordedEvent) {
        if let Event::Run(RunEvent::RunEnded { .. } | RunEvent::RunAbandoned { .. }) =
            recorded.event
        {
            self.counts().remove(run.id());
        }
        for report in reports(run, recorded) {
            if self.count(&report)
                && let Err(TrySendError::Full(report)) = self.queue.try_send(report)
            {
                let (run, object) = (report.run.as_str(), report.object.to_string());
                tracing::debug!(run, object, "dropped a Kubernetes Event: the API server is slow");
            }
        }
    }
}

/// Returns what an event has to report on the objects that its step has decided to change.
fn reports(run: &Run, recorded: &RecordedEvent) -> Vec<Report> {
    let Event::Step { path, event } = &recorded.event else { return Vec::new() };
    let (is_warning, reason, action, what) = match event {
        StepEvent::StepApplied { .. } => (false, "RunbookChanged", "Change", String::new()),
        StepEvent::StepFailed { failure, .. } => {
            (true, "RunbookStepFailed", "Fail", format!("failed: {}", failure.message))
        }
        StepEvent::StepUndoFinished { irreversible: true, .. } => return Vec::new(),
        StepEvent::StepUndoFinished { .. } => {
            (false, "RunbookUndone", "Undo", "was undone".to_owned())
        }
        StepEvent::StepUndoFailed { failure } => {
            (true, "RunbookUndoFailed", "Undo", format!("could not be undone: {}", failure.message))
        }
        _ => return Vec::new(),
    };
    let intent = run.step(path).and_then(|step| step.intent.as_ref());
    let mut objects: BTreeMap<String, Touched> = BTreeMap::new();
    for change in intent.into_iter().flat_map(|intent| &intent.changes) {
        if let Some((object, field)) = object_of(&change.target) {
            let entry = objects.entry(object.to_string());
            let touched =
                entry.or_insert_with(|| Touched { object, uid: None, changes: Vec::new() });
            touched.changes.push(change_text(field, change));
            // The value of an object that is removed is its UID.
            if field.is_empty() && change.after.is_null() {
                touched.uid = change.before.as_str().map(str::to_owned);
            }
        }
    }
    let of_step = format!("step {path} of run {} ({})", run.id(), run.spec.runbook);
    let report = |(text, Touched { object, uid, changes }): (String, Touched)| {
        let left = match event {
            StepEvent::StepUndoFinished { not_restored, .. } => {
                not_restored.iter().find(|line| names(line, &text))
            }
            _ => None,
        };
        let (is_warning, reason, what) = match (left, event) {
            (Some(line), _) => (true, "RunbookLeftAlone", format!("did not restore it: {line}")),
            (None, StepEvent::StepApplied { .. }) => {
                (is_warning, reason, format!("changed {}", join_truncated(changes)))
            }
            (None, _) => (is_warning, reason, what.clone()),
        };
        let note = cut(printable(&format!("{of_step} {what}")).into_owned());
        let (run, seq, time) = (run.id().clone(), recorded.seq, recorded.time);
        Report { run, seq, time, object, uid, is_warning, reason, action, note }
    };
    objects.into_iter().map(report).collect()
}

/// Returns the object that the target of a change names, with the field: `node a unschedulable`.
fn object_of(target: &str) -> Option<(ObjectAddress, &str)> {
    let (noun, rest) = target.split_once(' ')?;
    let kind = KINDS.iter().find(|kind| kind.noun == noun)?;
    let (name, field) = rest.split_once(' ').unwrap_or((rest, ""));
    let (namespace, name) = match kind.has_namespace {
        true => name.split_once('/').map(|(namespace, name)| (Some(namespace), name))?,
        false => (None, name),
    };
    let object = ObjectAddress {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        kind: kind.kind.to_owned(),
        resource: kind.resource.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    Some((object, field))
}

/// Returns a change of a field, with the values where they are short.
fn change_text(field: &str, RecordedChange { before, after, .. }: &RecordedChange) -> String {
    // An object without a field is made or removed.
    if field.is_empty() {
        return match after {
            Value::Null => "it: removed".to_owned(),
            _ => "it: created".to_owned(),
        };
    }
    match (short(before), short(after)) {
        (Some(before), Some(after)) => format!("{field}: {before} -> {after}"),
        _ => field.to_owned(),
    }
}

fn short(value: &Value) -> Option<String> {
    let text = value.to_string();
    (!value.is_object() && !value.is_array() && text.chars().count() <= MAX_VALUE).then_some(text)
}

/// Whether a line names an object, and not one whose name begins in the same way.
fn names(line: &str, object: &str) -> bool {
    line.match_indices(object).any(|(at, _)| {
        let after = line[at + object.len()..].chars().next();
        after.is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'))
    })
}

fn cut(mut note: String) -> String {
    const MARK: &str = "…";
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE - MARK.len()));
        note.push_str(MARK);
    }
    note
}

/// Writes reports, until one is denied.
async fn deliver(platform: Platform, mut reports: mpsc::Receiver<Report>) {
    let mut has_warned = false;
    while let Some(report) = reports.recv().await {
        let Err(error) = write(&platform, &report).await else { continue };
        let (run, object) = (report.run.as_str(), report.object.to_string());
        if error.kind() == ErrorKind::Denied {
            let rule = "{apiGroups: [events.k8s.io], resources: [events], verbs: [create]}";
            let hint = format!("add to a ClusterRole: {rule}; or pass --no-events");
            tracing::warn!(%error, %hint, "objects that runs change get no Kubernetes Events");
            return;
        }
        if std::mem::replace(&mut has_warned, true) {
            tracing::debug!(%error, run, object, "cannot write a Kubernetes Event on an object");
        } else {
            tracing::warn!(%error, run, object, "cannot write a Kubernetes Event on an object");
        }
    }
}

async fn write(platform: &Platform, report: &Report) -> Result<(), Error> {
    let kubernetes = platform.reader().kubernetes().await?;
    // Without its UID kubectl does not find the Event of an object. One that is gone, or may not be read, has none.
    let uid = match &report.uid {
        Some(uid) => Some(uid.clone()),
        None => {
            let found = kubernetes.get_any(&report.object).await.ok().flatten();
            found.and_then(|found| found.metadata.uid)
        }
    };
    let namespace = report.object.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let objects = platform.run_objects(Some(namespace)).await?;
    objects.create_kubernetes_event(&report.event(namespace, uid)).await
}

impl Report {
    /// Returns the object. Its name follows from the event of the run, so that a repetition is not a second one.
    fn event(&self, namespace: &str, uid: Option<String>) -> KubernetesEvent {
        let ObjectAddress { group, version, kind, name, .. } = &self.object;
        let slash = if group.is_empty() { "" } else { "/" };
        let stem = &name[..name.floor_char_boundary(MAX_STEM)];
        let digest = Sha256::digest(format!("{} {} {}", self.run, self.seq, self.object));
        let suffix = hex(&digest[..8]);
        KubernetesEvent {
            metadata: ObjectMeta {
                name: Some(format!("{}.{suffix}", stem.trim_end_matches(['-', '.']))),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(self.time)),
            type_: Some(if self.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(self.reason.to_owned()),
            action: Some(self.action.to_owned()),
            note: Some(self.note.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(format!("{group}{slash}{version}")),
                kind: Some(kind.clone()),
                name: Some(name.clone()),
                namespace: self.object.namespace.clone(),
                uid,
                ..ObjectReference::default()
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(CONTROLLER.to_owned()),
            ..KubernetesEvent::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::parse_lines;

    /// A restart and a scale-down, which are rolled back.
    const ROLLED_BACK: &str = include_str!(
        "../../tests/fixtures/journals/format-1.0/20261125t090002z-rolled-back-0003.jsonl"
    );

    #[test]
    fn each_object_that_a_run_changes_is_told_what_happened_to_it() {
        let (events, _) = parse_lines("fixture", ROLLED_BACK.as_bytes()).unwrap();
        let run: RunId = "20261125t090002z-rolled-back-0003".parse().unwrap();
        let mut told = Vec::new();
        for at in 0..events.len() {
            let run = Run::of(&run, &events[..=at]).unwrap();
            for report in reports(&run, &events[at]) {
                assert!(report.note.contains("of run 20261125t090002z-rolled-back-0003"));
                told.push((report.object.to_string(), report.reason));
            }
        }
        let reasons: Vec<&str> = told.iter().map(|(_, reason)| *reason).collect();
        assert_eq!(
            reasons,
            ["RunbookChanged", "RunbookChanged", "RunbookUndone", "RunbookLeftAlone"]
        );
        assert!(told.iter().all(|(object, _)| object.starts_with("deployment ")), "{told:?}");
    }

    #[test]
    fn the_target_of_a_change_names_its_object() {
        let object = |target: &str| {
            object_of(target).map(|(object, field)| (object.to_string(), field.to_owned()))
        };
        let expected = |object: &str, field: &str| Some((object.to_owned(), field.to_owned()));
        assert_eq!(object("node ip-1 unschedulable"), expected("node ip-1", "unschedulable"));
        assert_eq!(object("deployment a/b replicas"), expected("deployment a/b", "replicas"));
        assert_eq!(object("pod a/b"), expected("pod a/b", ""));
        for other in ["nodegroup relay desired", "secret a/b data.x", "pod b", "Event on node a"] {
            assert_eq!(object(other), None, "{other}");
        }
    }

    #[test]
    fn a_line_names_an_object_as_a_whole() {
        assert!(names("left node a-1 cordoned: by another client", "node a-1"));
        assert!(!names("left node a-12 cordoned: by another client", "node a-1"));
        assert!(names("node a-1 no longer exists", "node a-1"));
    }

    #[test]
    fn a_note_shows_short_values_only() {
        let change = |before: Value, after: Value| RecordedChange {
            target: "node a x".to_owned(),
            before,
            after,
        };
        assert_eq!(change_text("x", &change(json!(1), json!(2))), "x: 1 -> 2");
        assert_eq!(change_text("x", &change(json!(1), json!({"a": 1}))), "x");
        assert_eq!(change_text("x", &change(json!(1), json!("a".repeat(99)))), "x");
        assert_eq!(change_text("", &change(json!("uid"), Value::Null)), "it: removed");
    }

    #[test]
    fn an_event_names_its_object_and_its_name_follows_from_the_event_of_the_run() {
        let (object, _) = object_of("deployment core/relay replicas").unwrap();
        let report = Report {
            run: "run".parse().unwrap(),
            seq: 3,
            time: Timestamp::UNIX_EPOCH,
            object,
            uid: None,
            is_warning: true,
            reason: "RunbookStepFailed",
            action: "Fail",
            note: "step a of run run (b) failed: no".to_owned(),
        };
        let event = report.event("core", Some("u".to_owned()));
        assert_eq!(event, report.event("core", Some("u".to_owned())));
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.api_version.as_deref(), Some("apps/v1"));
        assert_eq!(
            (regarding.kind.as_deref(), regarding.uid.as_deref()),
            (Some("Deployment"), Some("u"))
        );
        assert!(event.metadata.name.unwrap().starts_with("relay."));
    }

    #[test]
    fn an_object_gets_some_events_of_a_run_and_not_more() {
        let (queue, _reports) = mpsc::channel(1);
        let events = ObjectEvents { queue, counts: Mutex::default(), _task: JoinSet::new() };
        let report = |name: usize| Report {
            run: "run".parse().unwrap(),
            seq: 0,
            time: Timestamp::UNIX_EPOCH,
            object: object_of(&format!("node n-{name} unschedulable")).unwrap().0,
            uid: None,
            is_warning: false,
            reason: "RunbookChanged",
            action: "Change",
            note: String::new(),
        };
        let counted = (0..10).filter(|_| events.count(&report(0))).count();
        assert_eq!(counted, MAX_PER_OBJECT);
        let counted = (1..1_000).filter(|name| events.count(&report(*name))).count();
        assert_eq!(counted, MAX_PER_RUN - MAX_PER_OBJECT);
    }
}
