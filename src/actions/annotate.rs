//! `annotate`: set or remove annotations of an object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Action, Change, Condition, Error, KnownTargets, KubernetesScope, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, RestoreCommand, Result, TargetState,
    compare_and_set::{WriteDecision, decide_write},
    known_targets::report_gone,
    node_entries::{BeforeAndAfter, Shown},
    object_target::{ObjectTarget, TargetKind, TargetNames},
};
use runbook::Reversibility;

/// The annotations of this program, which tell it what it has changed.
const OWN_PREFIX: &str = "rafay-relay-sop/";

/// Sets or removes annotations of a node, a namespace, a deployment, a stateful set, a daemon set or a pod.
///
/// The annotations are those of the object itself: pods that a workload makes do not get them, and no rollout begins.
/// The undo restores each annotation that still has the value that this step set. A node that an earlier step listed
/// and that has ended since is reported as gone; any other object that is not found is an error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-exactly-one-of" = [["node", "namespace_object", "deployment", "stateful_set", "daemon_set", "pod"]],
    "x-requires" = [
        ["deployment", "namespace"], ["stateful_set", "namespace"], ["daemon_set", "namespace"], ["pod", "namespace"]
    ],
    "x-excludes" = [["node", "namespace"], ["namespace_object", "namespace"]]
))]
pub struct Params {
    /// Namespace of the object; none for a node and for a namespace.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: Option<String>,
    /// Name of the node.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "node-name"))]
    pub node: Option<String>,
    /// Name of the namespace that is itself annotated.
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
    /// The annotations: a value sets an annotation, null removes it. Others stay as they are.
    #[schemars(
        length(min = 1),
        extend(
            "x-keys" = "label-key",
            "x-refused" = [{
                "text": "rafay-relay-sop/*",
                "why": "these annotations tell this program what it has changed",
                "help": "choose another key"
            }]
        )
    )]
    pub annotations: BTreeMap<String, Option<AnnotationValue>>,
}

/// The value of an annotation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct AnnotationValue(#[schemars(length(max = 4096))] String);

/// The annotated object.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Its kind as kubectl names it, such as `deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The keys that this step changed; those that had these values before are left out.
    pub changed: Vec<String>,
    /// Whether the object has ended since an earlier step listed it.
    pub gone: bool,
}

/// The annotations as they were, and as they are to be.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    target: ObjectTarget,
    /// The UID of the object; none for one that was gone already.
    uid: Option<String>,
    entries: BTreeMap<String, BeforeAndAfter>,
}

/// Whether the object was there.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    is_there: bool,
}

pub(super) struct Annotate;

const fn of_object(name: &'static str) -> KubernetesScope {
    KubernetesScope::Object { namespace: "namespace", name }
}

impl Action for Annotate {
    const NAME: &'static str = "annotate";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::core("nodes", &["get", "patch"], KubernetesScope::Cluster)
            .only(Condition::IfGiven("node")),
        Permission::core("namespaces", &["get", "patch"], KubernetesScope::Cluster)
            .only(Condition::IfGiven("namespace_object")),
        Permission::apps("deployments", &["get", "patch"], of_object("deployment"))
            .only(Condition::IfGiven("deployment")),
        Permission::apps("statefulsets", &["get", "patch"], of_object("stateful_set"))
            .only(Condition::IfGiven("stateful_set")),
        Permission::apps("daemonsets", &["get", "patch"], of_object("daemon_set"))
            .only(Condition::IfGiven("daemon_set")),
        Permission::core("pods", &["get", "patch"], of_object("pod"))
            .only(Condition::IfGiven("pod")),
    ];
    type Params = Params;
    type Output = Output;
}

impl Change for Annotate {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let planned = |(key, entry): (&String, &BeforeAndAfter)| {
            PlannedChange::new(intent.entry(key), entry.before.clone(), entry.after.clone())
        };
        intent.changed().map(planned).collect()
    }

    async fn prepare(
        params: Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let (wanted, target) = params.into_parts()?;
        if let Some(own) = wanted.keys().find(|key| key.starts_with(OWN_PREFIX)) {
            return Err(Error::precondition(format!(
                "the annotation {own} tells this program what it has changed: no step sets it"
            )));
        }
        let Some(found) = target.read(&reader.kubernetes().await?).await? else {
            if target.kind == TargetKind::Node && known.has_node(&target.name) {
                report_gone(progress, "node", [&target.name]);
                return Ok(Intent { target, uid: None, entries: BTreeMap::new() });
            }
            return Err(Error::precondition(format!("{} not found", target.text())));
        };
        let now = found.annotations.unwrap_or_default();
        let entry = |(key, after): (String, Option<String>)| {
            let before = now.get(&key).cloned();
            (key, BeforeAndAfter { before, after })
        };
        let entries = wanted.into_iter().map(entry).collect();
        Ok(Intent { target, uid: found.uid, entries })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        if intent.uid.is_none() {
            return Ok(Receipt { is_there: false });
        }
        let kubernetes = writer.kubernetes().await?;
        let is_there = intent.target.patch(&kubernetes, |found| intent.decide(found)).await?;
        Ok(Receipt { is_there })
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        _: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        if !receipt.is_there {
            report_gone(progress, intent.target.kind.noun(), [&intent.target.name]);
        }
        let changed = intent.changed().filter(|_| receipt.is_there);
        Ok(Output {
            kind: intent.target.kind.noun().to_owned(),
            name: intent.target.name.clone(),
            changed: changed.map(|(key, _)| key.clone()).collect(),
            gone: !receipt.is_there,
        })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        if intent.changed().next().is_none() {
            return Ok(Vec::new());
        }
        let kubernetes = writer.kubernetes().await?;
        intent.target.patch(&kubernetes, |found| Ok(intent.decide_undo(found))).await
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        if intent.changed().next().is_none() {
            return Ok(Vec::new());
        }
        let found = intent.target.read(&reader.kubernetes().await?).await?;
        let found = found.filter(|found| intent.is_object(found));
        let state = |(key, entry): (&String, &BeforeAndAfter)| {
            let now =
                found.as_ref().and_then(|found| found.annotations.as_ref()?.get(key).cloned());
            let restore = found.as_ref().map(|_| intent.restore(key, entry.before.as_deref()));
            TargetState::new(intent.entry(key), entry.before.clone(), now, restore)
        };
        Ok(intent.changed().map(state).collect())
    }
}

impl Params {
    fn into_parts(self) -> Result<(BTreeMap<String, Option<String>>, ObjectTarget)> {
        let Self { node, namespace_object, deployment, stateful_set, daemon_set, pod, .. } = self;
        let names =
            TargetNames { node, namespace_object, deployment, stateful_set, daemon_set, pod };
        let annotations = self.annotations.into_iter();
        let annotations =
            annotations.map(|(key, value)| (key, value.map(|AnnotationValue(value)| value)));
        Ok((annotations.collect(), names.target(self.namespace)?))
    }
}

impl Intent {
    fn changed(&self) -> impl Iterator<Item = (&String, &BeforeAndAfter)> {
        self.entries.iter().filter(|(_, entry)| entry.before != entry.after)
    }

    fn entry(&self, key: &str) -> String {
        format!("{} annotation {key}", self.target.text())
    }

    fn is_object(&self, found: &ObjectMeta) -> bool {
        self.uid.is_some() && found.uid == self.uid
    }

    /// Returns whether the object still exists, and the patch that sets its annotations.
    fn decide(&self, found: Option<&ObjectMeta>) -> Result<(bool, Option<Value>)> {
        let Some(found) = found.filter(|found| self.is_object(found)) else {
            return Ok((false, None));
        };
        let mut changes = BTreeMap::new();
        for (key, entry) in self.changed() {
            let shown = |value: &Option<String>| Shown(value.clone());
            let now = Shown(annotation(found, key));
            let name = self.entry(key);
            match decide_write(&name, &now, &shown(&entry.before), &shown(&entry.after))? {
                WriteDecision::Needed => drop(changes.insert(key, entry.after.as_ref())),
                WriteDecision::NotNeeded => {}
            }
        }
        Ok((true, patch(&changes)))
    }

    /// Returns what is not restored, and the patch that restores the rest.
    fn decide_undo(&self, found: Option<&ObjectMeta>) -> (Vec<String>, Option<Value>) {
        let Some(found) = found.filter(|found| self.is_object(found)) else {
            return (vec![format!("{} no longer exists", self.target.text())], None);
        };
        let mut changes = BTreeMap::new();
        let mut not_restored = Vec::new();
        for (key, entry) in self.changed() {
            let now = annotation(found, key);
            if now == entry.after {
                changes.insert(key, entry.before.as_ref());
            } else if now != entry.before {
                not_restored.push(format!(
                    "left {} at {}: another client changed it from {}",
                    self.entry(key),
                    Shown(now),
                    Shown(entry.after.clone())
                ));
            }
        }
        (not_restored, patch(&changes))
    }

    /// Returns the command that gives an annotation this value, or removes it.
    fn restore(&self, key: &str, value: Option<&str>) -> RestoreCommand {
        let change = match value {
            Some(value) => format!("{key}={value}"),
            None => format!("{key}-"),
        };
        let (kind, name) = (self.target.kind.noun(), self.target.name.as_str());
        match self.target.namespace() {
            Some(namespace) => RestoreCommand::kubectl([
                "-n",
                namespace,
                "annotate",
                kind,
                name,
                &change,
                "--overwrite",
            ]),
            None => RestoreCommand::kubectl(["annotate", kind, name, &change, "--overwrite"]),
        }
    }
}

fn annotation(found: &ObjectMeta, key: &str) -> Option<String> {
    found.annotations.as_ref()?.get(key).cloned()
}

fn patch(changes: &BTreeMap<&String, Option<&String>>) -> Option<Value> {
    (!changes.is_empty()).then(|| json!({"metadata": {"annotations": changes}}))
}
