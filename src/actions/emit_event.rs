//! `emit_event`: write a Kubernetes Event on an object.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Action, Change, Condition, Error, KnownTargets, KubernetesScope, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, Result, TargetState,
    object_target::{ObjectTarget, TargetNames},
};
use runbook::Reversibility;

/// The name under which Kubernetes Events of this program are reported.
const CONTROLLER: &str = "rafay-relay-sop";
/// The namespace of an Event on an object without one.
const DEFAULT_NAMESPACE: &str = "default";
/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Writes a Kubernetes Event on an object, which `kubectl describe` and `kubectl events` show.
///
/// The Event is written once, however often the step is repeated. It cannot be undone: it reports what happened, and
/// the API server removes it by its age, usually after an hour.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-exactly-one-of" = [["node", "namespace_object", "deployment", "stateful_set", "daemon_set", "pod"]],
    "x-requires" = [
        ["deployment", "namespace"], ["stateful_set", "namespace"], ["daemon_set", "namespace"], ["pod", "namespace"]
    ],
    "x-excludes" = [["node", "namespace"], ["namespace_object", "namespace"]],
    "x-repeats" = true
))]
pub struct Params {
    /// Namespace of the object; none for a node and for a namespace.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: Option<String>,
    /// Name of the node. The Event is in the namespace `default`.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "node-name"))]
    pub node: Option<String>,
    /// Name of the namespace that the Event itself is about. The Event is in the namespace `default`.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace_object: Option<String>,
    /// Name of the deployment.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "deployment-name"))]
    pub deployment: Option<String>,
    /// Name of the stateful set.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "stateful-set-name"))]
    pub stateful_set: Option<String>,
    /// Name of the daemon set.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "daemon-set-name"))]
    pub daemon_set: Option<String>,
    /// Name of the pod.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "pod-name"))]
    pub pod: Option<String>,
    /// The reason for the Event in one word, such as `Maintenance`.
    #[schemars(length(min = 1, max = 128), extend("x-syntax" = "event-reason"))]
    pub reason: String,
    /// The text for people, at most 1024 bytes.
    #[schemars(length(min = 1, max = 1024))]
    pub note: String,
    /// The type of the Event.
    #[serde(default, rename = "type")]
    pub event_type: EventType,
}

/// The type of an Event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    /// Something that was to be expected.
    #[default]
    Normal,
    /// Something that a person may have to look at.
    Warning,
}

/// The Event.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace of the Event.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the Event.
    pub name: String,
}

/// The Event to write. Its name is chosen once, so that a repetition does not write another one.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    target: ObjectTarget,
    uid: Option<String>,
    name: String,
    time: Timestamp,
    reason: String,
    note: String,
    #[serde(rename = "type")]
    event_type: EventType,
}

/// Nothing needs to be kept.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

pub(super) struct EmitEvent;

/// Why the action writes into a namespace that no parameter names.
const IN_DEFAULT: &str = "an Event on an object without a namespace is in the namespace default";

const fn of_object(name: &'static str) -> KubernetesScope {
    KubernetesScope::Object { namespace: "namespace", name }
}

const fn written(scope: KubernetesScope) -> Permission {
    Permission::kubernetes("events.k8s.io", "events", &["create"], scope)
}

impl Action for EmitEvent {
    const NAME: &'static str = "emit_event";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::core("nodes", &["get"], KubernetesScope::Cluster)
            .only(Condition::IfGiven("node")),
        Permission::core("namespaces", &["get"], KubernetesScope::Cluster)
            .only(Condition::IfGiven("namespace_object")),
        Permission::apps("deployments", &["get"], of_object("deployment"))
            .only(Condition::IfGiven("deployment")),
        Permission::apps("statefulsets", &["get"], of_object("stateful_set"))
            .only(Condition::IfGiven("stateful_set")),
        Permission::apps("daemonsets", &["get"], of_object("daemon_set"))
            .only(Condition::IfGiven("daemon_set")),
        Permission::core("pods", &["get"], of_object("pod")).only(Condition::IfGiven("pod")),
        written(KubernetesScope::Namespace("namespace")).only(Condition::IfGiven("namespace")),
        written(KubernetesScope::AllNamespaces(IN_DEFAULT)).only(Condition::IfGiven("node")),
        written(KubernetesScope::AllNamespaces(IN_DEFAULT))
            .only(Condition::IfGiven("namespace_object")),
    ];
    type Params = Params;
    type Output = Output;
}

impl Change for EmitEvent {
    const REVERSIBILITY: Reversibility = Reversibility::Irreversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let text = format!("{}: {}", intent.reason, intent.note);
        vec![PlannedChange::new(format!("Event on {}", intent.target.text()), Value::Null, text)]
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        _: &Progress,
    ) -> Result<Intent> {
        if params.note.len() > MAX_NOTE {
            let length = params.note.len();
            return Err(Error::precondition(format!(
                "the note has {length} bytes, and an Event takes {MAX_NOTE}"
            )));
        }
        let Params { node, namespace_object, deployment, stateful_set, daemon_set, pod, .. } =
            params;
        let names =
            TargetNames { node, namespace_object, deployment, stateful_set, daemon_set, pod };
        let target = names.target(params.namespace)?;
        let Some(found) = target.read(&reader.kubernetes().await?).await? else {
            return Err(Error::precondition(format!("{} not found", target.text())));
        };
        // Names of Events begin with that of their object.
        let name = format!("{}.{:016x}", target.name, fastrand::u64(..));
        Ok(Intent {
            name,
            uid: found.uid,
            time: reader.clock().now(),
            reason: params.reason,
            note: params.note,
            event_type: params.event_type,
            target,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        writer.kubernetes().await?.create(&intent.event()).await?;
        Ok(Receipt {})
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        _: &PlatformReader,
        _: &Progress,
    ) -> Result<Output> {
        Ok(Output { namespace: intent.namespace().to_owned(), name: intent.name.clone() })
    }

    async fn undo(
        _: &Intent,
        _: Option<&Receipt>,
        _: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn read_targets(_: &Intent, _: &PlatformReader) -> Result<Vec<TargetState>> {
        Ok(Vec::new())
    }
}

impl Intent {
    fn namespace(&self) -> &str {
        self.target.namespace().unwrap_or(DEFAULT_NAMESPACE)
    }

    fn event(&self) -> Event {
        let (kind, api_version) = self.target.kind.type_names();
        let event_type = match self.event_type {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        Event {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace().to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(self.time)),
            type_: Some(event_type.into()),
            reason: Some(self.reason.clone()),
            action: Some("Runbook".into()),
            note: Some(self.note.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(api_version),
                kind: Some(kind),
                name: Some(self.target.name.clone()),
                namespace: self.target.namespace().map(str::to_owned),
                uid: self.uid.clone(),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(CONTROLLER.into()),
            reporting_instance: Some(CONTROLLER.into()),
            ..Event::default()
        }
    }
}
