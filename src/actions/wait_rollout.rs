//! `wait_rollout`: until no rollout of a deployment is in progress.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, KnownTargets, KubernetesScope, Permission, PlatformReader, Progress, RepeatedParam,
    Result, Wait,
    rollout_guard::{self, RolloutInProgress, RolloutTimers},
    types::{NodeInstances, PodRecord, default_give_up_after},
    workload,
};

/// Waits until no rollout of a deployment is in progress, so that all its pods are of one revision.
///
/// The pods need not be Ready: a pod that waits for a node is no rollout. The wait fails early when Kubernetes says
/// that the progress deadline is exceeded, when a new pod keeps crashing, cannot pull its image or finds no node for
/// `give_up_after`, and when the deployment is paused in the middle of a rollout.
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
}

/// The deployment without a rollout.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many pods it is to have.
    pub replicas: u32,
    /// Its pods, by name.
    pub pods: Vec<PodRecord>,
}

pub(super) struct WaitRollout;

impl Action for WaitRollout {
    const NAME: &'static str = "wait_rollout";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::apps(
            "deployments",
            &["get", "list", "watch"],
            KubernetesScope::Object { namespace: "namespace", name: "deployment" },
        ),
        Permission::apps(
            "replicasets",
            &["list", "watch"],
            KubernetesScope::Namespace("namespace"),
        ),
        Permission::core("pods", &["list", "watch"], KubernetesScope::Namespace("namespace")),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster),
        // For the causes that keep a new pod from starting; without them the wait goes on.
        Permission::core("events", &["list"], KubernetesScope::Namespace("namespace")).optional(),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] =
        &[RepeatedParam::new("pods[].namespace", "namespace")];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.pods.iter().for_each(|pod| known.add_pod(pod));
    }
}

impl Wait for WaitRollout {
    async fn wait(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        let kubernetes = reader.kubernetes().await?;
        let (namespace, name) = (params.namespace.as_str(), params.deployment.as_str());
        let found = workload::deployment(&kubernetes, namespace, name).await?;
        let timers = RolloutTimers::new(params.give_up_after, *reader.clock());
        let policy = RolloutInProgress::Wait;
        let settled =
            rollout_guard::settled_snapshot(found, policy, timers, &kubernetes, progress).await?;
        let mut pods = settled.records(&NodeInstances::read(&kubernetes).await?);
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Output { replicas: settled.replicas(), pods })
    }
}
