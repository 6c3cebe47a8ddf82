//! `wait_rollout`: until no rollout of a deployment is in progress.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, Condition, KnownTargets, KubernetesScope, Permission, PlatformReader, Progress,
    RepeatedParam, Result, Wait,
    rollout_guard::{self, RolloutInProgress, RolloutTimers},
    rollouts::{self, Rollable, RolloutWait, WorkloadKind, WorkloadRef},
    types::{NodeInstances, PodRecord, default_give_up_after},
};

/// Waits until no rollout of a deployment, a stateful set or a daemon set is in progress, so that all its pods are of
/// one revision.
///
/// The pods need not be Ready: a pod that waits for a node is no rollout. The wait fails early when Kubernetes says
/// that the progress deadline is exceeded, when a new pod keeps crashing, cannot pull its image or finds no node for
/// `give_up_after`, and when the deployment is paused in the middle of a rollout.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["deployment", "stateful_set", "daemon_set"]]))]
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
}

/// The workload without a rollout.
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
        )
        .only(Condition::IfGiven("deployment")),
        Permission::apps(
            "replicasets",
            &["list", "watch"],
            KubernetesScope::Namespace("namespace"),
        )
        .only(Condition::IfGiven("deployment")),
        Permission::apps(
            "statefulsets",
            &["get", "list", "watch"],
            KubernetesScope::Object { namespace: "namespace", name: "stateful_set" },
        )
        .only(Condition::IfGiven("stateful_set")),
        Permission::apps(
            "daemonsets",
            &["get", "list", "watch"],
            KubernetesScope::Object { namespace: "namespace", name: "daemon_set" },
        )
        .only(Condition::IfGiven("daemon_set")),
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
        let Params { namespace, deployment, stateful_set, daemon_set, give_up_after } = params;
        let target = WorkloadRef::new(namespace, deployment, stateful_set, daemon_set);
        match target.kind() {
            WorkloadKind::Deployment => {
                wait_for_deployment(&target, give_up_after, reader, progress).await
            }
            WorkloadKind::StatefulSet => {
                wait_for_direct::<StatefulSet>(&target, give_up_after, reader, progress).await
            }
            WorkloadKind::DaemonSet => {
                wait_for_direct::<DaemonSet>(&target, give_up_after, reader, progress).await
            }
        }
    }
}

async fn wait_for_deployment(
    target: &WorkloadRef,
    give_up_after: runbook::Duration,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Output> {
    let kubernetes = reader.kubernetes().await?;
    let found: Deployment = rollouts::read(&kubernetes, target).await?;
    let timers = RolloutTimers::new(give_up_after, *reader.clock());
    let policy = RolloutInProgress::Wait;
    let settled =
        rollout_guard::settled_snapshot(found, policy, timers, &kubernetes, progress).await?;
    let pods = settled.records(&NodeInstances::read(&kubernetes).await?);
    Ok(output(settled.replicas(), pods))
}

/// Waits for a workload that controls its pods itself.
async fn wait_for_direct<K: Rollable>(
    target: &WorkloadRef,
    give_up_after: runbook::Duration,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Output> {
    let kubernetes = reader.kubernetes().await?;
    let found: K = rollouts::read(&kubernetes, target).await?;
    let wait = RolloutWait { policy: RolloutInProgress::Wait, give_up_after };
    let (found, pods) = rollouts::settled(found, target, wait, reader, progress).await?;
    let instances = NodeInstances::read(&kubernetes).await?;
    let pods = pods.iter().map(|pod| PodRecord::of(pod, &instances)).collect();
    Ok(output(found.replicas(), pods))
}

fn output(replicas: u32, mut pods: Vec<PodRecord>) -> Output {
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Output { replicas, pods }
}
