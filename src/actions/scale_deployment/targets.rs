//! What the step has changed, as it is now: the number of pods, and the deletion costs of those to keep.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

use super::{Intent, pod_selection};
use crate::{
    actions::{RestoreCommand, Result, TargetState, workload},
    platform::kubernetes::KubernetesReader,
};

/// Reads the number of pods, and the deletion costs that the step or its undo has left on pods.
pub(super) async fn read(
    intent: &Intent,
    kubernetes: &KubernetesReader,
) -> Result<Vec<TargetState>> {
    let (namespace, name) = (intent.namespace.as_str(), intent.deployment.as_str());
    let found = kubernetes.get::<Deployment>(Some(namespace), name).await?;
    let Some(found) = found.filter(|found| intent.matches(found)) else {
        let before = intent.before.replicas;
        return Ok(vec![TargetState::new(intent.replicas_target(), before, Value::Null, None)]);
    };
    let mut targets = Vec::new();
    if intent.before.replicas != intent.after {
        let deployment = format!("deployment/{name}");
        let replicas = intent.before.replicas.to_string();
        let restore = RestoreCommand::kubectl([
            "-n",
            namespace,
            "scale",
            &deployment,
            "--replicas",
            &replicas,
        ]);
        targets.push(TargetState::new(
            intent.replicas_target(),
            intent.before.replicas,
            workload::replicas(&found),
            Some(restore),
        ));
    }
    let snapshot = workload::read_snapshot(kubernetes, found).await?;
    targets.extend(pod_selection::costs_left(&snapshot));
    Ok(targets)
}
