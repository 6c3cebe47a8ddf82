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
    Action, Change, Diff, Error, Permission, Progress, Reader, Result, Writer,
    patched::patch_as_read,
    records::two_minutes,
    workload::{self, Sight, lasting_trouble, unready},
};
use crate::{
    platform::{
        kubernetes::{pod, rollout},
        wait::{self, Patience, State},
    },
    runbook::{self, Reversibility},
};

/// kubectl's own annotation, so that `kubectl rollout history` shows our restarts as it shows its own.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Replaces the pods of a deployment by new ones of the same template, and waits until that is done.
///
/// It keeps to the deployment's own strategy. It fails early when Kubernetes says that the progress deadline is
/// exceeded, or when a new pod keeps crashing, cannot pull its image or finds no node for `give_up_after`. A paused
/// deployment is refused. A restart cannot be undone.
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
    #[serde(default = "two_minutes")]
    pub give_up_after: runbook::Duration,
}

/// The restarted deployment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace of the deployment.
    pub namespace: String,
    /// Name of the deployment.
    pub deployment: String,
    /// The time of the restart, as it stands in the template's annotation.
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

/// Nothing needs to be kept: the annotation tells everything.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

pub(super) struct RolloutRestart;

impl Action for RolloutRestart {
    const NAME: &'static str = "rollout_restart";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::apps("deployments", &["get", "list", "watch", "patch"]),
        Permission::apps("replicasets", &["list", "watch"]),
        Permission::core("pods", &["list", "watch"]),
    ];
    type Params = Params;
    type Output = Output;
}

impl Change for RolloutRestart {
    const UNDO: Reversibility = Reversibility::Irreversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn changes(intent: &Intent) -> Vec<Diff> {
        let target = format!("{} {RESTARTED_AT}", intent.target());
        vec![Diff::new(target, intent.before.clone(), intent.restarted_at.clone())]
    }

    async fn prepare(params: Params, reader: &Reader, _: &Progress) -> Result<Intent> {
        let kubernetes = reader.kubernetes().await?;
        let found =
            workload::deployment(&kubernetes, &params.namespace, &params.deployment).await?;
        if rollout::is_paused(&found) {
            return Err(Error::Refused(format!(
                "deployment {}/{} is paused, so a restart would not begin: `kubectl rollout resume` it first",
                params.namespace, params.deployment
            )));
        }
        Ok(Intent {
            before: restarted_at(Some(&found.spec.template)),
            uid: found.metadata.uid.unwrap_or_default(),
            restarted_at: reader.clock().now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            namespace: params.namespace,
            deployment: params.deployment,
            give_up_after: params.give_up_after,
        })
    }

    async fn apply(intent: &Intent, writer: &Writer) -> Result<Receipt> {
        let kubernetes = writer.kubernetes().await?;
        let (namespace, name) = (Some(intent.namespace.as_str()), intent.deployment.as_str());
        patch_as_read::<Deployment, ()>(&kubernetes, namespace, name, None, |found| {
            let now = intent.find(found)?;
            if now.as_ref() == Some(&intent.restarted_at) {
                return Ok(((), None));
            }
            if now != intent.before {
                return Err(intent.overtaken(now));
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
        reader: &Reader,
        progress: &Progress,
    ) -> Result<Output> {
        let kubernetes = reader.kubernetes().await?;
        let found =
            workload::deployment(&kubernetes, &intent.namespace, &intent.deployment).await?;
        let mut watching = workload::watch(&kubernetes, &found);
        let views = watching.views();
        let mut patience = Patience::new(reader.clock().deadline(intent.give_up_after.std()));
        let replicas = wait::until(progress, &mut watching.sources(), || match views.sight() {
            Some(sight) => judge(intent, &sight, &mut patience),
            None => State::Hopeless(format!("{} is not there any more", intent.target())),
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
        writer: &Writer,
        _: &Progress,
    ) -> Result<Vec<String>> {
        let kubernetes = writer.reader().kubernetes().await?;
        let found =
            kubernetes.get::<Deployment>(Some(&intent.namespace), &intent.deployment).await?;
        let now = found.and_then(|found| restarted_at(Some(&found.spec.template)));
        if now.as_ref() != Some(&intent.restarted_at) {
            return Ok(Vec::new());
        }
        Ok(vec![format!("{} keeps its new pods: a restart cannot be undone", intent.target())])
    }
}

impl Intent {
    fn target(&self) -> String {
        format!("deployment {}/{}", self.namespace, self.deployment)
    }

    /// The annotation as it stands, if the deployment is still the one that was prepared for.
    fn find(&self, found: Option<&Deployment>) -> Result<Option<String>> {
        match found {
            Some(found) if found.metadata.uid.as_deref() == Some(self.uid.as_str()) => {
                Ok(restarted_at(Some(&found.spec.template)))
            }
            other => Err(Error::Conflict {
                target: self.target(),
                expected: format!("UID {}", self.uid),
                found: other.map_or("no such deployment".into(), |_| "another one".into()),
            }),
        }
    }

    fn overtaken(&self, now: Option<String>) -> Error {
        let shown = |value: Option<&String>| value.map_or("none".into(), String::clone);
        Error::Conflict {
            target: format!("{} {RESTARTED_AT}", self.target()),
            expected: shown(self.before.as_ref()),
            found: shown(now.as_ref()),
        }
    }
}

fn restarted_at(template: Option<&PodTemplateSpec>) -> Option<String> {
    template?.metadata.as_ref()?.annotations.as_ref()?.get(RESTARTED_AT).cloned()
}

fn judge(intent: &Intent, sight: &Sight, patience: &mut Patience) -> State<u32> {
    let now = restarted_at(Some(&sight.deployment.spec.template));
    if now.as_ref() != Some(&intent.restarted_at) {
        return State::Hopeless(intent.overtaken(now).to_string());
    }
    let state = rollout::status(&sight.deployment);
    let new_pods = new_pods(intent, sight);
    let of = || format!("rollout of {}", intent.target());
    match state {
        State::Done(()) => State::Done(sight.replicas()),
        State::Hopeless(why) => {
            let unready = unready(new_pods).map(|pods| format!("; {pods}")).unwrap_or_default();
            State::Hopeless(format!("the {} has failed: {why}{unready}", of()))
        }
        State::Pending(what) => {
            if let Some(why) = lasting_trouble(patience, new_pods.iter().copied()) {
                let given = intent.give_up_after;
                let text = format!("the {} does not get on: {why} (for {given})", of());
                return State::Hopeless(text);
            }
            let unready = unready(new_pods).map(|pods| format!(": {pods}")).unwrap_or_default();
            State::Pending(format!("the {}: {what}{unready}", of()))
        }
    }
}

/// The pods of the replica set that was made for this restart.
fn new_pods<'a>(intent: &Intent, sight: &'a Sight) -> Vec<&'a Arc<Pod>> {
    let is_new = |set: &&Arc<ReplicaSet>| {
        restarted_at(set.spec.template.as_ref()).as_ref() == Some(&intent.restarted_at)
    };
    let new = sight.sets.iter().find(is_new).and_then(|set| set.metadata.uid.as_deref());
    let owned = |pod: &&Arc<Pod>| {
        let owner = pod::controller(&pod.metadata);
        new.is_some() && owner.map(|owner| owner.uid.as_str()) == new
    };
    sight.standing().into_iter().filter(owned).collect()
}
