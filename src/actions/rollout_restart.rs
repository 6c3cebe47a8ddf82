//! `rollout_restart`: new pods from the same template, as `kubectl rollout restart` does it.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::PodTemplateSpec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Action, Change, Error, Impact, KnownTargets, Permission, PlannedChange, PlatformReader,
    PlatformWriter, Progress, RepeatedParam, Result, TargetState,
    optimistic::patch_if_unchanged,
    rollout_guard::RolloutInProgress,
    rollouts::{self, Rollable, RolloutWait, WorkloadKind, WorkloadRef},
    types::default_give_up_after,
};
use crate::platform::kubernetes::{KubernetesReader, KubernetesWriter};
use runbook::{LimitKind, Reversibility};

/// The annotation of kubectl, so that `kubectl rollout history` shows these restarts too.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Replaces the pods of a deployment, a stateful set or a daemon set by new ones of the same template, and waits until
/// that is done.
///
/// It keeps to the workload's own strategy. A rollout that is in progress must end first. It fails early when
/// Kubernetes says that the progress deadline is exceeded, or when a new pod keeps crashing, cannot pull its image,
/// mount its volumes or get its network, finds no node, or is refused by a quota or an admission webhook for
/// `give_up_after`. A paused deployment is refused, and so is a workload with the update strategy OnDelete. A restart
/// cannot be undone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-exactly-one-of" = [["deployment", "stateful_set", "daemon_set"]],
    "x-repeats" = true
))]
pub struct Params {
    /// Namespace of the workload.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
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
    /// How long a new pod may fail before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
    /// The reaction to a rollout of the workload that is in progress when the step begins.
    #[serde(default)]
    pub rollout_in_progress: RolloutInProgress,
}

/// The restarted workload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace of the workload.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the deployment; empty for a workload of another kind.
    #[schemars(extend("x-syntax" = "deployment-name"))]
    pub deployment: String,
    /// Name of the workload, of whatever kind it is.
    #[serde(default)]
    pub name: String,
    /// The time of the restart, as in the template's annotation.
    pub restarted_at: String,
    /// How many new pods there are.
    pub replicas: u32,
}

/// The annotation to write: its value is chosen once, so that a resumed run does not restart again.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    #[serde(flatten)]
    workload: WorkloadRef,
    uid: String,
    before: Option<String>,
    restarted_at: String,
    give_up_after: runbook::Duration,
}

/// Nothing needs to be kept: the annotation shows the state.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

pub(super) struct RolloutRestart;

impl Action for RolloutRestart {
    const NAME: &'static str = "rollout_restart";
    const PERMISSIONS: &'static [Permission] = rollouts::PERMISSIONS;
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("namespace", "namespace"),
        RepeatedParam::new("deployment", "deployment"),
    ];
    type Params = Params;
    type Output = Output;
}

impl Change for RolloutRestart {
    const LIMITS: &'static [LimitKind] = Impact::REMOVES_PODS;
    const REVERSIBILITY: Reversibility = Reversibility::Irreversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let (before, after) = (intent.before.clone(), intent.restarted_at.clone());
        vec![PlannedChange::new(intent.annotation(), before, after)]
    }

    fn impact(intent: &Intent) -> Impact {
        intent.workload.rollout_impact()
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let Params { namespace, deployment, stateful_set, daemon_set, .. } = params;
        let workload = WorkloadRef::new(namespace, deployment, stateful_set, daemon_set);
        let wait =
            RolloutWait { policy: params.rollout_in_progress, give_up_after: params.give_up_after };
        match workload.kind() {
            WorkloadKind::Deployment => {
                prepare::<Deployment>(workload, wait, reader, progress).await
            }
            WorkloadKind::StatefulSet => {
                prepare::<StatefulSet>(workload, wait, reader, progress).await
            }
            WorkloadKind::DaemonSet => prepare::<DaemonSet>(workload, wait, reader, progress).await,
        }
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let kubernetes = writer.kubernetes().await?;
        match intent.workload.kind() {
            WorkloadKind::Deployment => restart::<Deployment>(intent, &kubernetes).await?,
            WorkloadKind::StatefulSet => restart::<StatefulSet>(intent, &kubernetes).await?,
            WorkloadKind::DaemonSet => restart::<DaemonSet>(intent, &kubernetes).await?,
        }
        Ok(Receipt {})
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let (target, duration) = (&intent.workload, intent.give_up_after);
        let is_current = |template: &PodTemplateSpec| intent.check_current(template);
        let replicas =
            rollouts::wait_for_rollout(target, &is_current, duration, reader, progress).await?;
        Ok(Output {
            namespace: target.namespace.clone(),
            // It repeats the parameter, from which the permissions of later steps are derived.
            deployment: target.deployment.clone().unwrap_or_default(),
            name: target.name().to_owned(),
            restarted_at: intent.restarted_at.clone(),
            replicas,
        })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        let now = read_annotation(intent, &writer.reader().kubernetes().await?).await?;
        if now.as_ref() != Some(&intent.restarted_at) {
            return Ok(Vec::new());
        }
        let target = intent.workload.target();
        Ok(vec![format!("left the new pods of {target}: a restart cannot be undone")])
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        let now = read_annotation(intent, &reader.kubernetes().await?).await?;
        Ok(vec![TargetState::new(intent.annotation(), intent.before.clone(), now, None)])
    }
}

/// Prepares the restart of a workload once no rollout of it is in progress.
async fn prepare<K: Rollable>(
    workload: WorkloadRef,
    wait: RolloutWait,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Intent> {
    let found: K = rollouts::read(&reader.kubernetes().await?, &workload).await?;
    rollouts::reject_unrollable(&found, &workload, "a restart")?;
    let found = found.settle(&workload, wait, reader, progress).await?;
    Ok(Intent {
        before: restarted_at(found.template()),
        uid: found.meta().uid.clone().unwrap_or_default(),
        restarted_at: reader.clock().now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        workload,
        give_up_after: wait.give_up_after,
    })
}

/// Writes the annotation, unless another client has written one since the step was prepared.
async fn restart<K: Rollable>(intent: &Intent, kubernetes: &KubernetesWriter) -> Result<()> {
    let (namespace, name) = (Some(intent.workload.namespace.as_str()), intent.workload.name());
    patch_if_unchanged::<K, ()>(kubernetes, namespace, name, None, |found| {
        let now = intent.current_annotation(found)?;
        if now.as_ref() == Some(&intent.restarted_at) {
            return Ok(((), None));
        }
        if now != intent.before {
            return Err(intent.conflict(now));
        }
        let annotations = json!({RESTARTED_AT: intent.restarted_at});
        let template = json!({"metadata": {"annotations": annotations}});
        Ok(((), Some(json!({"spec": {"template": template}}))))
    })
    .await
}

async fn read_annotation_of<K: Rollable>(
    kubernetes: &KubernetesReader,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<String>> {
    let found = kubernetes.get::<K>(namespace, name).await?;
    Ok(found.and_then(|found| restarted_at(found.template())))
}

/// Reads the annotation as it is now; none where the workload no longer exists.
async fn read_annotation(intent: &Intent, kubernetes: &KubernetesReader) -> Result<Option<String>> {
    let (namespace, name) = (Some(intent.workload.namespace.as_str()), intent.workload.name());
    match intent.workload.kind() {
        WorkloadKind::Deployment => {
            read_annotation_of::<Deployment>(kubernetes, namespace, name).await
        }
        WorkloadKind::StatefulSet => {
            read_annotation_of::<StatefulSet>(kubernetes, namespace, name).await
        }
        WorkloadKind::DaemonSet => {
            read_annotation_of::<DaemonSet>(kubernetes, namespace, name).await
        }
    }
}

impl Intent {
    /// Returns the annotation as a target, for messages.
    fn annotation(&self) -> String {
        format!("{} {RESTARTED_AT}", self.workload.target())
    }

    /// Returns the current annotation, if the workload is still the one that was prepared for.
    fn current_annotation<K: Rollable>(&self, found: Option<&K>) -> Result<Option<String>> {
        match found {
            Some(found) if found.meta().uid.as_deref() == Some(self.uid.as_str()) => {
                Ok(restarted_at(found.template()))
            }
            other => Err(Error::Conflict {
                target: self.workload.target(),
                expected: format!("UID {}", self.uid),
                found: match other {
                    Some(_) => "another UID".into(),
                    None => format!("no such {}", self.workload.kind_name()),
                },
            }),
        }
    }

    /// Returns the conflict, if the template is not that of this restart.
    fn check_current(&self, template: &PodTemplateSpec) -> Result<()> {
        match restarted_at(template) {
            Some(now) if now == self.restarted_at => Ok(()),
            now => Err(self.conflict(now)),
        }
    }

    fn conflict(&self, now: Option<String>) -> Error {
        let shown = |value: Option<&String>| value.map_or("none".into(), String::clone);
        Error::Conflict {
            target: self.annotation(),
            expected: shown(self.before.as_ref()),
            found: shown(now.as_ref()),
        }
    }
}

fn restarted_at(template: &PodTemplateSpec) -> Option<String> {
    template.metadata.as_ref()?.annotations.as_ref()?.get(RESTARTED_AT).cloned()
}
