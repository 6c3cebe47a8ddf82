//! `rollout_restart`: new pods from the same template, as `kubectl rollout restart` does it.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Pod, PodTemplateSpec},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Action, Change, Error, KnownTargets, KubernetesScope, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, RepeatedParam, Result, TargetState,
    optimistic::patch_if_unchanged,
    rollout_guard::{self, RolloutInProgress, RolloutTimers},
    types::default_give_up_after,
    workload::{self, WorkloadSnapshot},
};
use crate::platform::{
    kubernetes::{pod, rollout},
    wait::{self, GraceTimer, WaitState},
};
use runbook::Reversibility;

/// The annotation of kubectl, so that `kubectl rollout history` shows these restarts too.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Replaces the pods of a deployment by new ones of the same template, and waits until that is done.
///
/// It keeps to the deployment's own strategy. A rollout that is in progress must end first. It fails early when
/// Kubernetes says that the progress deadline is exceeded, or when a new pod keeps crashing, cannot pull its image,
/// mount its volumes or get its network, finds no node, or is refused by a quota or an admission webhook for
/// `give_up_after`. A paused deployment is refused. A restart cannot be undone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Namespace of the deployment.
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub namespace: String,
    /// Name of the deployment.
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub deployment: String,
    /// How long a new pod may fail before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
    /// The reaction to a rollout of the deployment that is in progress when the step begins.
    #[serde(default)]
    pub rollout_in_progress: RolloutInProgress,
}

/// The restarted deployment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace of the deployment.
    pub namespace: String,
    /// Name of the deployment.
    pub deployment: String,
    /// The time of the restart, as in the template's annotation.
    pub restarted_at: String,
    /// How many new pods there are.
    pub replicas: u32,
}

/// The annotation to write: its value is chosen once, so that a resumed run does not restart again.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    namespace: String,
    deployment: String,
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

impl Change for RolloutRestart {
    const REVERSIBILITY: Reversibility = Reversibility::Irreversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let (before, after) = (intent.before.clone(), intent.restarted_at.clone());
        vec![PlannedChange::new(intent.annotation(), before, after)]
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let found =
            workload::deployment(&kubernetes, &params.namespace, &params.deployment).await?;
        if rollout::is_paused(&found) {
            let target = format!("{}/{}", params.namespace, params.deployment);
            return Err(Error::precondition(format!(
                "deployment {target} is paused, so a restart would not begin"
            ))
            .with_hint("resume it with `kubectl rollout resume`"));
        }
        let timers = RolloutTimers::new(params.give_up_after, *reader.clock());
        let policy = params.rollout_in_progress;
        let settled =
            rollout_guard::settled_snapshot(found, policy, timers, &kubernetes, progress).await?;
        let found = &settled.deployment;
        Ok(Intent {
            before: restarted_at(Some(&found.spec.template)),
            uid: found.metadata.uid.clone().unwrap_or_default(),
            restarted_at: reader.clock().now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            namespace: params.namespace,
            deployment: params.deployment,
            give_up_after: params.give_up_after,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let kubernetes = writer.kubernetes().await?;
        let (namespace, name) = (Some(intent.namespace.as_str()), intent.deployment.as_str());
        patch_if_unchanged::<Deployment, ()>(&kubernetes, namespace, name, None, |found| {
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
        .await?;
        Ok(Receipt {})
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let kubernetes = reader.kubernetes().await?;
        let found =
            workload::deployment(&kubernetes, &intent.namespace, &intent.deployment).await?;
        let mut watch = workload::watch(&kubernetes, &found, *reader.clock(), progress);
        let views = watch.views();
        let mut grace = GraceTimer::new(reader.clock().deadline(intent.give_up_after.std()));
        let replicas = wait::until(progress, &mut watch.sources(), || match views.snapshot() {
            Some(snapshot) => evaluate(intent, &snapshot, &mut grace),
            None => WaitState::failed(format!("{} no longer exists", intent.target())),
        })
        .await?;
        Ok(Output {
            namespace: intent.namespace.clone(),
            deployment: intent.deployment.clone(),
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
        let kubernetes = writer.reader().kubernetes().await?;
        let found =
            kubernetes.get::<Deployment>(Some(&intent.namespace), &intent.deployment).await?;
        let now = found.and_then(|found| restarted_at(Some(&found.spec.template)));
        if now.as_ref() != Some(&intent.restarted_at) {
            return Ok(Vec::new());
        }
        Ok(vec![format!("left the new pods of {}: a restart cannot be undone", intent.target())])
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        let kubernetes = reader.kubernetes().await?;
        let found =
            kubernetes.get::<Deployment>(Some(&intent.namespace), &intent.deployment).await?;
        let now = found.and_then(|found| restarted_at(Some(&found.spec.template)));
        Ok(vec![TargetState::new(intent.annotation(), intent.before.clone(), now, None)])
    }
}

impl Intent {
    fn target(&self) -> String {
        format!("deployment {}/{}", self.namespace, self.deployment)
    }

    /// Returns the annotation as a target, for messages.
    fn annotation(&self) -> String {
        format!("{} {RESTARTED_AT}", self.target())
    }

    /// Returns the current annotation, if the deployment is still the one that was prepared for.
    fn current_annotation(&self, found: Option<&Deployment>) -> Result<Option<String>> {
        match found {
            Some(found) if found.metadata.uid.as_deref() == Some(self.uid.as_str()) => {
                Ok(restarted_at(Some(&found.spec.template)))
            }
            other => Err(Error::Conflict {
                target: self.target(),
                expected: format!("UID {}", self.uid),
                found: other.map_or("no such deployment".into(), |_| "another UID".into()),
            }),
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

fn restarted_at(template: Option<&PodTemplateSpec>) -> Option<String> {
    template?.metadata.as_ref()?.annotations.as_ref()?.get(RESTARTED_AT).cloned()
}

fn evaluate(
    intent: &Intent,
    snapshot: &WorkloadSnapshot,
    grace: &mut GraceTimer,
) -> WaitState<u32> {
    let now = restarted_at(Some(&snapshot.deployment.spec.template));
    if now.as_ref() != Some(&intent.restarted_at) {
        return WaitState::failed(intent.conflict(now).to_string());
    }
    let state = rollout::status(&snapshot.deployment);
    let new_pods = new_pods(intent, snapshot);
    let of = || format!("rollout of {}", intent.target());
    match state {
        WaitState::Ready(()) => WaitState::Ready(snapshot.replicas()),
        WaitState::Failed(failure) => {
            let unready = snapshot
                .describe_unready(new_pods)
                .map(|pods| format!("; {pods}"))
                .unwrap_or_default();
            let message = |why: &str| format!("{} failed: {why}{unready}", of());
            WaitState::Failed(failure.map_message(message))
        }
        WaitState::Pending(what) => {
            if let Some(why) = snapshot.expired_problem(grace, new_pods.iter().copied()) {
                let duration = intent.give_up_after;
                let message = format!("{} is stuck: {why} (for {duration})", of());
                return WaitState::failed(message);
            }
            let unready = snapshot
                .describe_unready(new_pods)
                .map(|pods| format!(": {pods}"))
                .unwrap_or_default();
            WaitState::Pending(format!("{}: {what}{unready}", of()))
        }
    }
}

/// The pods of the replica set that was made for this restart.
fn new_pods<'a>(intent: &Intent, snapshot: &'a WorkloadSnapshot) -> Vec<&'a Arc<Pod>> {
    let is_new = |set: &&Arc<ReplicaSet>| {
        restarted_at(set.spec.template.as_ref()).as_ref() == Some(&intent.restarted_at)
    };
    let new = snapshot.sets.iter().find(is_new).and_then(|set| set.metadata.uid.as_deref());
    let owned = |pod: &&Arc<Pod>| {
        let owner = pod::controller(&pod.metadata);
        new.is_some() && owner.map(|owner| owner.uid.as_str()) == new
    };
    snapshot.active_pods().into_iter().filter(owned).collect()
}
