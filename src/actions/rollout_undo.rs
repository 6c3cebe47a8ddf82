//! `rollout_undo`: a deployment back to the template of an earlier revision, as `kubectl rollout undo` does it.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Action, Change, Error, Impact, KnownTargets, KubernetesScope, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, RepeatedParam, RestoreCommand, Result, TargetState,
    optimistic::patch_strategically_if_unchanged,
    rollouts::{self, WorkloadRef},
    types::default_give_up_after,
};
use crate::platform::kubernetes::{KubernetesReader, KubernetesWriter, Selection, pod};
use runbook::{LimitKind, Reversibility};
use text::join_truncated;

/// Gives a deployment the pod template of an earlier revision, and waits until that is rolled out.
///
/// The revisions are those of `kubectl rollout history`: the replica sets that the deployment still has. A rollout
/// that is in progress is replaced, because it may be the one to undo. It fails early when Kubernetes says that the
/// progress deadline is exceeded, or when a new pod fails for `give_up_after`. A paused deployment is refused. The
/// undo gives the deployment the template that it had before, if it still has the one that this step set, and waits
/// until that is rolled out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-repeats" = true))]
pub struct Params {
    /// Namespace of the deployment.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the deployment.
    #[schemars(extend("x-syntax" = "deployment-name"))]
    pub deployment: String,
    /// The revision to return to; without it, the one before the current revision.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub revision: Option<u64>,
    /// How long a new pod may fail before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
}

/// The deployment with its former template.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace of the deployment.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the deployment.
    #[schemars(extend("x-syntax" = "deployment-name"))]
    pub deployment: String,
    /// The revision that it was returned to. Kubernetes gives its template a new number.
    pub revision: u64,
    /// The revision that it had before.
    pub before: u64,
    /// How many pods it is to have.
    pub replicas: u32,
}

/// The templates, as the API server has them: with fields that this program does not know.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    #[serde(flatten)]
    workload: WorkloadRef,
    uid: String,
    before: RevisionTemplate,
    after: RevisionTemplate,
    give_up_after: runbook::Duration,
}

/// The template of a revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RevisionTemplate {
    revision: u64,
    template: Value,
}

/// Nothing needs to be kept: the template shows the state.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

pub(super) struct RolloutUndo;

/// A deployment with its template as it is written.
#[derive(Debug, Clone, Deserialize, Serialize, Resource)]
#[resource(inherit = Deployment)]
struct RawDeployment {
    metadata: ObjectMeta,
    spec: RawSpec,
}

/// A replica set with its template as it is written.
#[derive(Debug, Clone, Deserialize, Serialize, Resource)]
#[resource(inherit = ReplicaSet)]
struct RawReplicaSet {
    metadata: ObjectMeta,
    spec: RawSpec,
}

/// The part of a specification that matters here.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct RawSpec {
    #[serde(default)]
    template: Value,
}

/// The deployment controller writes the number of the template here, into the deployment and its replica sets.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The label that the deployment controller adds to the template of a replica set.
const HASH: &str = "pod-template-hash";

impl Action for RolloutUndo {
    const NAME: &'static str = "rollout_undo";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::apps(
            "deployments",
            &["get", "list", "watch", "patch"],
            KubernetesScope::Object { namespace: "namespace", name: "deployment" },
        ),
        Permission::apps(
            "replicasets",
            &["list", "watch"],
            KubernetesScope::Namespace("namespace"),
        ),
        Permission::core("pods", &["list", "watch"], KubernetesScope::Namespace("namespace")),
        // For the causes that keep a new pod from starting; without them the wait goes on.
        Permission::core("nodes", &["list"], KubernetesScope::Cluster).optional(),
        Permission::core("events", &["list"], KubernetesScope::Namespace("namespace")).optional(),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("namespace", "namespace"),
        RepeatedParam::new("deployment", "deployment"),
    ];
    type Params = Params;
    type Output = Output;
}

impl Change for RolloutUndo {
    const LIMITS: &'static [LimitKind] = Impact::REMOVES_PODS;
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        if intent.changes_nothing() {
            return Vec::new();
        }
        let (before, after) = (intent.before.revision, intent.after.revision);
        vec![PlannedChange::new(intent.target(), before, after)]
    }

    fn impact(intent: &Intent) -> Impact {
        match intent.changes_nothing() {
            true => Impact::default(),
            false => intent.workload.rollout_impact(),
        }
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        _: &Progress,
    ) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let workload = WorkloadRef::new(params.namespace, Some(params.deployment), None, None);
        let found: Deployment = rollouts::read(&kubernetes, &workload).await?;
        rollouts::reject_unrollable(&found, &workload, "the rollout of another revision")?;
        let found: RawDeployment = read(&kubernetes, &workload).await?;
        let selection = Selection::in_namespace(&workload.namespace);
        let mut sets = kubernetes.list::<RawReplicaSet>(&selection).await?;
        sets.retain(|set| {
            let owner = pod::controller(&set.metadata).map(|owner| &owner.uid);
            owner.is_some() && owner == found.metadata.uid.as_ref()
        });
        let (before, after) = choose_revisions(&found, &sets, params.revision, &workload)?;
        Ok(Intent {
            workload,
            uid: found.metadata.uid.unwrap_or_default(),
            before,
            after,
            give_up_after: params.give_up_after,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let kubernetes = writer.kubernetes().await?;
        let (namespace, name) = (Some(intent.workload.namespace.as_str()), intent.workload.name());
        let decide = |found: Option<&RawDeployment>| {
            let Some(found) = found.filter(|found| intent.is(found)) else {
                return Err(Error::Conflict {
                    target: intent.workload.target(),
                    expected: format!("UID {}", intent.uid),
                    found: "no such deployment".into(),
                });
            };
            let now = normalized(&found.spec.template);
            if now == intent.after.template {
                return Ok(((), None));
            }
            if now != intent.before.template {
                return Err(intent.conflict(&intent.before));
            }
            Ok(((), Some(replacement(&intent.after.template))))
        };
        patch_strategically_if_unchanged(&kubernetes, namespace, name, None, decide).await?;
        Ok(Receipt {})
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let replicas = wait_for(intent, &intent.after, reader, progress).await?;
        Ok(Output {
            namespace: intent.workload.namespace.clone(),
            deployment: intent.workload.name().to_owned(),
            revision: intent.after.revision,
            before: intent.before.revision,
            replicas,
        })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        if intent.changes_nothing() {
            return Ok(Vec::new());
        }
        let not_restored = restore(intent, &writer.kubernetes().await?).await?;
        if not_restored.is_empty() {
            wait_for(intent, &intent.before, writer.reader(), progress).await?;
        }
        Ok(not_restored)
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        if intent.changes_nothing() {
            return Ok(Vec::new());
        }
        let kubernetes = reader.kubernetes().await?;
        let (namespace, name) = (Some(intent.workload.namespace.as_str()), intent.workload.name());
        let found = kubernetes.get::<RawDeployment>(namespace, name).await?;
        let found = found.filter(|found| intent.is(found));
        let now = found.as_ref().map(|found| normalized(&found.spec.template));
        let now: Value = match now {
            None => Value::Null,
            Some(now) if now == intent.before.template => intent.before.revision.into(),
            Some(now) if now == intent.after.template => intent.after.revision.into(),
            Some(_) => "another template".into(),
        };
        let restore = found.map(|_| {
            let deployment = format!("deployment/{name}");
            let revision = intent.before.revision.to_string();
            let namespace = &intent.workload.namespace;
            RestoreCommand::kubectl([
                "-n",
                namespace,
                "rollout",
                "undo",
                &deployment,
                "--to-revision",
                &revision,
            ])
        });
        Ok(vec![TargetState::new(intent.target(), intent.before.revision, now, restore)])
    }
}

async fn read(kubernetes: &KubernetesReader, workload: &WorkloadRef) -> Result<RawDeployment> {
    let found = kubernetes.get(Some(&workload.namespace), workload.name()).await?;
    found.ok_or_else(|| Error::precondition(format!("{} not found", workload.target())))
}

/// Gives the deployment its former template again. Returns why it was not restored.
async fn restore(intent: &Intent, kubernetes: &KubernetesWriter) -> Result<Vec<String>> {
    let (namespace, name) = (Some(intent.workload.namespace.as_str()), intent.workload.name());
    let decide = |found: Option<&RawDeployment>| {
        let Some(found) = found.filter(|found| intent.is(found)) else {
            return Ok((vec![format!("{} no longer exists", intent.workload.target())], None));
        };
        let now = normalized(&found.spec.template);
        if now == intent.before.template {
            return Ok((Vec::new(), None));
        }
        if now != intent.after.template {
            let text = format!(
                "left the template of {}: another client changed it",
                intent.workload.target()
            );
            return Ok((vec![text], None));
        }
        Ok((Vec::new(), Some(replacement(&intent.before.template))))
    };
    patch_strategically_if_unchanged(kubernetes, namespace, name, None, decide).await
}

/// Waits until a template is rolled out.
async fn wait_for(
    intent: &Intent,
    wanted: &RevisionTemplate,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<u32> {
    let template: PodTemplateSpec = serde_json::from_value(wanted.template.clone())
        .map_err(|source| Error::Decode { what: "a pod template", source })?;
    let is_current = |found: &PodTemplateSpec| {
        if without_hash(found) == template { Ok(()) } else { Err(intent.conflict(wanted)) }
    };
    let duration = intent.give_up_after;
    rollouts::wait_for_rollout(&intent.workload, &is_current, duration, reader, progress).await
}

/// Returns the current template of a deployment, and that of the wanted revision.
///
/// # Errors
/// The deployment has no replica set of that revision.
fn choose_revisions(
    found: &RawDeployment,
    sets: &[RawReplicaSet],
    wanted: Option<u64>,
    workload: &WorkloadRef,
) -> Result<(RevisionTemplate, RevisionTemplate)> {
    let template = normalized(&found.spec.template);
    let mut revisions: Vec<RevisionTemplate> = sets
        .iter()
        .filter_map(|set| {
            let template = normalized(&set.spec.template);
            Some(RevisionTemplate { revision: revision(&set.metadata)?, template })
        })
        .collect();
    revisions.sort_by_key(|known| known.revision);
    let current = revisions.iter().find(|known| known.template == template);
    // A template that the controller has not seen yet gets the next number.
    let next = || revision(&found.metadata).unwrap_or(0) + 1;
    let number = current.map_or_else(next, |known| known.revision);
    let before = RevisionTemplate { revision: number, template };
    let after = match wanted {
        Some(wanted) => revisions.iter().find(|known| known.revision == wanted),
        None => revisions.iter().rev().find(|known| known.revision < before.revision),
    };
    let Some(after) = after.cloned() else {
        let which = wanted.map_or("revision before the current one".into(), |wanted| {
            format!("revision {wanted}")
        });
        let known = revisions.iter().map(|known| known.revision.to_string());
        let message = format!("{} has no {which}", workload.target());
        return Err(Error::precondition(message)
            .with_hint(format!("its revisions are {}", join_truncated(known))));
    };
    Ok((before, after))
}

fn revision(metadata: &ObjectMeta) -> Option<u64> {
    metadata.annotations.as_ref()?.get(REVISION)?.parse().ok()
}

/// Returns the template as a deployment has it: without the label of its replica set.
fn normalized(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, value| key != "creationTimestamp" || !value.is_null());
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(HASH);
        }
    }
    template
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|found| found.labels.as_mut()) {
        labels.remove(HASH);
    }
    template
}

/// Returns the strategic merge patch that replaces the whole template.
fn replacement(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

impl Intent {
    fn changes_nothing(&self) -> bool {
        self.before.template == self.after.template
    }

    fn target(&self) -> String {
        format!("{} revision", self.workload.target())
    }

    fn is(&self, found: &RawDeployment) -> bool {
        found.metadata.uid.as_deref() == Some(self.uid.as_str())
    }

    fn conflict(&self, expected: &RevisionTemplate) -> Error {
        Error::Conflict {
            target: format!("the template of {}", self.workload.target()),
            expected: format!("revision {}", expected.revision),
            found: "another template".into(),
        }
    }
}
