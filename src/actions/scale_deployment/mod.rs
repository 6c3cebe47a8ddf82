//! `scale_deployment`: more pods, or fewer, and which ones stay.

mod pod_selection;
mod stateful;
mod targets;
mod wait;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::PodName;
use super::{
    Action, Change, Condition, Error, Impact, KnownTargets, KubernetesScope, Permission,
    PlannedChange, PlatformReader, PlatformWriter, Progress, RepeatedParam, Result, TargetState,
    autoscaling,
    compare_and_set::{WriteDecision, decide_write},
    known_targets::report_gone,
    rollout_guard::{self, RolloutInProgress, RolloutTimers},
    rollouts::WorkloadRef,
    types::{NodeInstances, PodRecord, default_give_up_after},
    workload,
};
use crate::platform::kubernetes::pod::Pod;
use crate::platform::{ErrorKind, kubernetes, kubernetes::pod};
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use pod_selection::PodToKeep;
use runbook::{LimitKind, Reversibility, Workload, WorkloadKind};
use stateful::StatefulIntent;
use text::{join_truncated, plural};

/// Controllers write a deployment's status all the time. More conflicts in a row than this are not chance.
const MAX_ATTEMPTS: u32 = 5;

/// Sets how many pods a deployment or a stateful set is to have, and waits until it has them.
///
/// The number is decided once, when the step begins, so a resumed run never scales twice. A rollout that is in progress
/// must end first: until then there are pods of two revisions, which are more than the deployment is to have. Scaling
/// up ends when all pods are Ready, scaling down when the surplus is gone. It fails early when a pod keeps crashing,
/// cannot pull its image, mount its volumes or get its network, finds no node, or is refused by a quota or an admission
/// webhook, or when a surplus pod cannot end because its node is not Ready, for `give_up_after`. A workload that a
/// HorizontalPodAutoscaler scales is refused. The undo restores the number, and where that means fewer pods, it keeps
/// those of a deployment that were there before; of a stateful set, those with the highest ordinals always go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-exactly-one-of" = [["factor", "replicas"], ["deployment", "stateful_set"]],
    "x-excludes" = [["keep", "stateful_set"]],
    "x-no-effect" = [["keep", "factor", "no pod goes where there are to be as many or more"]],
    "x-repeats" = "factor"
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
    /// How many pods it is to have.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// By how much to multiply the number of pods that it is to have when the step begins.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub factor: Option<u32>,
    /// When a deployment is to have fewer pods: those that must stay, as far as `replicas` goes. They are marked with a
    /// high deletion cost while the others are chosen, and the step fails if another pod stays in the place of one of
    /// them. It first waits until they are Ready, because pods that are not are chosen whatever they cost. A pod that
    /// an earlier step listed and that has ended since, and one that ends meanwhile, is reported as gone.
    #[serde(default)]
    pub keep: Option<Vec<PodRecord>>,
    /// How long a pod may fail before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
    /// The reaction to a rollout of the workload that is in progress when the step begins.
    #[serde(default)]
    pub rollout_in_progress: RolloutInProgress,
}

/// The scaled workload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace of the workload.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the deployment; empty for a stateful set.
    #[schemars(extend("x-syntax" = "deployment-name"))]
    pub deployment: String,
    /// Name of the workload, of whatever kind it is.
    #[serde(default)]
    pub name: String,
    /// How many pods it has.
    pub replicas: u32,
    /// How it was before.
    pub before: Before,
    /// Its pods, by name.
    pub pods: Vec<PodRecord>,
    /// Those of them that were not there before, by name.
    pub new_pods: Vec<PodRecord>,
    /// Names of the pods in `keep` that have ended by themselves.
    #[serde(default)]
    #[schemars(with = "Vec<PodName>")]
    pub gone: Vec<String>,
}

/// A workload before it was scaled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// How many pods it was to have.
    pub replicas: u32,
    /// The pods that it had, by name.
    pub pods: Vec<PodRecord>,
}

/// The intent for either kind of workload. That for a deployment has the form that earlier programs know.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScaleIntent {
    /// For a deployment.
    Deployment(Intent),
    /// For a stateful set.
    StatefulSet(StatefulIntent),
}

/// Everything that apply and undo will need, as it was before anything was sent.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    namespace: String,
    deployment: String,
    uid: String,
    before: Before,
    after: u32,
    /// UIDs of pods that were terminating already: they are not part of this step's surplus.
    #[serde(rename = "ending")]
    already_terminating: Vec<String>,
    keep: Vec<PodToKeep>,
    /// Names of the pods that were to be kept and were gone already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    give_up_after: runbook::Duration,
}

/// The deployment tells everything but which pods were gone before the others were chosen.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    /// Names of the pods that were to be kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

pub(super) struct ScaleDeployment;

impl Action for ScaleDeployment {
    const NAME: &'static str = "scale_deployment";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::apps(
            "deployments",
            &["get", "list", "watch"],
            KubernetesScope::Object { namespace: "namespace", name: "deployment" },
        )
        .only(Condition::IfGiven("deployment")),
        Permission::apps(
            "deployments/scale",
            &["patch"],
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
            "statefulsets/scale",
            &["patch"],
            KubernetesScope::Object { namespace: "namespace", name: "stateful_set" },
        )
        .only(Condition::IfGiven("stateful_set")),
        Permission::core(
            "pods",
            &["list", "watch", "patch"],
            KubernetesScope::Namespace("namespace"),
        ),
        Permission::core("pods", &["get"], KubernetesScope::Namespace("namespace"))
            .only(Condition::IfGiven("keep")),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster),
        // For the causes that keep a new pod from starting; without them the wait goes on.
        Permission::core("events", &["list"], KubernetesScope::Namespace("namespace")).optional(),
        Permission::kubernetes(
            "autoscaling",
            "horizontalpodautoscalers",
            &["list"],
            KubernetesScope::Namespace("namespace"),
        ),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] = &[
        RepeatedParam::new("namespace", "namespace"),
        RepeatedParam::new("deployment", "deployment"),
        RepeatedParam::new("pods[].namespace", "namespace"),
        RepeatedParam::new("new_pods[].namespace", "namespace"),
        RepeatedParam::new("before.pods[].namespace", "namespace"),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.before.pods.iter().chain(&output.pods).for_each(|pod| known.add_pod(pod));
    }
}

impl Change for ScaleDeployment {
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    const LIMITS: &'static [LimitKind] = Impact::REMOVES_PODS;
    type Intent = ScaleIntent;
    type Receipt = Receipt;

    fn planned_changes(intent: &ScaleIntent) -> Vec<PlannedChange> {
        let intent = match intent {
            ScaleIntent::Deployment(intent) => intent,
            ScaleIntent::StatefulSet(intent) => return intent.planned_changes(),
        };
        let differs = intent.before.replicas != intent.after;
        let planned =
            || PlannedChange::new(intent.replicas_target(), intent.before.replicas, intent.after);
        differs.then(planned).into_iter().collect()
    }

    fn impact(intent: &ScaleIntent) -> Impact {
        let intent = match intent {
            ScaleIntent::Deployment(intent) => intent,
            ScaleIntent::StatefulSet(intent) => return intent.impact(),
        };
        let workload = Workload {
            kind: WorkloadKind::Deployment,
            namespace: intent.namespace.clone(),
            name: intent.deployment.clone(),
        };
        Impact::of_size(workload, intent.before.replicas, intent.after)
    }

    async fn prepare(
        params: Params,
        known: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<ScaleIntent> {
        if let Some(name) = params.stateful_set.clone() {
            let intent = stateful::prepare(params, name, reader, progress).await?;
            return Ok(ScaleIntent::StatefulSet(intent));
        }
        let kubernetes = reader.kubernetes().await?;
        let deployment = params.deployment.clone().unwrap_or_default();
        let (namespace, name) = (params.namespace.as_str(), deployment.as_str());
        let found = workload::deployment(&kubernetes, namespace, name).await?;
        let target = WorkloadRef::new(namespace.to_owned(), Some(deployment.clone()), None, None);
        let current = found.spec.replicas.unwrap_or(1);
        let current = u32::try_from(current).unwrap_or_default();
        let change = (current, params.replicas_after(current)?);
        reject_autoscaled(&kubernetes, "Deployment", &target, change).await?;
        let timers = RolloutTimers::new(params.give_up_after, *reader.clock());
        let policy = params.rollout_in_progress;
        let mut snapshot =
            rollout_guard::settled_snapshot(found, policy, timers, &kubernetes, progress).await?;
        let after = params.replicas_after(snapshot.replicas())?;
        let wanted = params.keep.unwrap_or_default();
        let (mut keep, mut gone) = (Vec::new(), Vec::new());
        if after < snapshot.replicas() && !wanted.is_empty() {
            let deployment = &snapshot.deployment;
            let (give_up_after, clock) = (params.give_up_after, reader.clock());
            let ready = pod_selection::wait_until_ready(
                &wanted,
                deployment,
                give_up_after,
                clock,
                &kubernetes,
                progress,
            );
            snapshot = ready.await?;
            (keep, gone) =
                pod_selection::choose_pods_to_keep(wanted, &snapshot, known, &kubernetes).await?;
            report_gone(progress, "pod", &gone);
        }
        let uid = snapshot.deployment.metadata.uid.clone().unwrap_or_default();
        let instances = NodeInstances::read(&kubernetes).await?;
        let ending = snapshot.pods.iter().filter(|pod| pod::is_terminating(pod));
        Ok(ScaleIntent::Deployment(Intent {
            uid,
            before: Before { replicas: snapshot.replicas(), pods: snapshot.records(&instances) },
            after,
            already_terminating: ending.filter_map(|pod| pod.metadata.uid.clone()).collect(),
            keep,
            gone,
            namespace: params.namespace,
            deployment,
            give_up_after: params.give_up_after,
        }))
    }

    async fn apply(intent: &ScaleIntent, writer: &PlatformWriter) -> Result<Receipt> {
        let intent = match intent {
            ScaleIntent::Deployment(intent) => intent,
            ScaleIntent::StatefulSet(intent) => {
                stateful::apply(intent, writer).await?;
                return Ok(Receipt { gone: Vec::new() });
            }
        };
        let resize = Resize { from: intent.before.replicas, to: intent.after, keep: &intent.keep };
        let gone = rescale(intent, &resize, writer).await?;
        Ok(Receipt { gone })
    }

    async fn settle(
        intent: &ScaleIntent,
        receipt: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let intent = match intent {
            ScaleIntent::Deployment(intent) => intent,
            ScaleIntent::StatefulSet(intent) => {
                return stateful::settle(intent, reader, progress).await;
            }
        };
        let kubernetes = reader.kubernetes().await?;
        let clock = reader.clock();
        let pods = wait::until_scaled(intent, receipt, clock, &kubernetes, progress).await?;
        let gone = pod_selection::gone_pods(intent, &pods);
        report_gone(progress, "pod", &gone);
        let instances = NodeInstances::read(&kubernetes).await?;
        let pods: Vec<PodRecord> = pods.iter().map(|pod| PodRecord::of(pod, &instances)).collect();
        let before: BTreeSet<&str> =
            intent.before.pods.iter().map(|before| before.uid.as_str()).collect();
        let was_there = |pod: &&PodRecord| before.contains(pod.uid.as_str());
        Ok(Output {
            namespace: intent.namespace.clone(),
            deployment: intent.deployment.clone(),
            name: intent.deployment.clone(),
            replicas: intent.after,
            before: intent.before.clone(),
            new_pods: pods.iter().filter(|pod| !was_there(pod)).cloned().collect(),
            pods,
            gone: [&intent.gone[..], &gone].concat(),
        })
    }

    async fn undo(
        intent: &ScaleIntent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        let intent = match intent {
            ScaleIntent::Deployment(intent) => intent,
            ScaleIntent::StatefulSet(intent) => {
                return stateful::undo(intent, writer, progress).await;
            }
        };
        let kubernetes = writer.kubernetes().await?;
        let name = intent.deployment.as_str();
        let found = kubernetes.reader().get::<Deployment>(Some(&intent.namespace), name).await?;
        let Some(found) = found.filter(|found| intent.matches(found)) else {
            return Ok(vec![format!("{} no longer exists", intent.target())]);
        };
        let keep = pod_selection::choose_for_undo(intent, found, kubernetes.reader()).await?;
        let resize = Resize { from: intent.after, to: intent.before.replicas, keep: &keep };
        match rescale(intent, &resize, writer).await {
            // Its one target has another owner now.
            Err(conflict @ Error::Conflict { .. }) => return Ok(vec![conflict.to_string()]),
            other => drop(other?),
        }
        let refused = wait::until_restored(intent, writer.reader(), progress).await?;
        Ok(refused.into_iter().collect())
    }

    async fn read_targets(
        intent: &ScaleIntent,
        reader: &PlatformReader,
    ) -> Result<Vec<TargetState>> {
        match intent {
            ScaleIntent::Deployment(intent) => {
                targets::read(intent, &reader.kubernetes().await?).await
            }
            ScaleIntent::StatefulSet(intent) => stateful::read_targets(intent, reader).await,
        }
    }

    async fn clean_up(intent: &ScaleIntent, writer: &PlatformWriter) -> Result<()> {
        // No pod of a stateful set is marked.
        let ScaleIntent::Deployment(intent) = intent else { return Ok(()) };
        // Apply marks the pods to keep, and the undo those from before when it scales down.
        if intent.keep.is_empty() && intent.before.replicas >= intent.after {
            return Ok(());
        }
        let kubernetes = writer.kubernetes().await?;
        let (namespace, name) = (intent.namespace.as_str(), intent.deployment.as_str());
        let found = kubernetes.reader().get::<Deployment>(Some(namespace), name).await?;
        match found.filter(|found| intent.matches(found)) {
            Some(found) => pod_selection::restore_chosen_costs(found, &kubernetes).await,
            None => Ok(()),
        }
    }
}

impl Params {
    fn replicas_after(&self, before: u32) -> Result<u32> {
        match (self.replicas, self.factor) {
            (Some(replicas), _) => Ok(replicas),
            (None, factor) => before.checked_mul(factor.unwrap_or(1)).ok_or_else(|| {
                Error::precondition(format!(
                    "{} times that factor is too many",
                    plural(before as usize, "pod")
                ))
            }),
        }
    }
}

impl Intent {
    fn target(&self) -> String {
        format!("deployment {}/{}", self.namespace, self.deployment)
    }

    fn replicas_target(&self) -> String {
        format!("{} replicas", self.target())
    }

    fn matches(&self, found: &Deployment) -> bool {
        found.metadata.uid.as_deref() == Some(self.uid.as_str())
    }
}

/// A change of the number of pods, and the pods to keep.
struct Resize<'a> {
    from: u32,
    to: u32,
    keep: &'a [PodToKeep],
}

/// Writes the number of pods. The pods to keep are marked before that, and no longer marked once the controllers have
/// chosen the others. Whatever happens in between, the next call goes on from there, and `clean_up` removes the marks
/// if there is none. Returns the names of the pods to keep that were gone before the others were chosen; none where the
/// number was written by an earlier attempt.
async fn rescale(
    intent: &Intent,
    resize: &Resize<'_>,
    writer: &PlatformWriter,
) -> Result<Vec<String>> {
    let kubernetes = writer.kubernetes().await?;
    let found = get_deployment(intent, kubernetes.reader()).await?;
    let decision = decide_replicas_write(intent, resize, &found);
    let clock = writer.reader().clock();
    // After an earlier attempt it is not known which of the missing pods were gone before and which were displaced.
    let mut gone = Vec::new();
    if let Ok(WriteDecision::Needed) = decision {
        gone = pod_selection::raise_deletion_costs(resize.keep, &found, clock, &kubernetes).await?;
        write_replicas(intent, resize, &kubernetes).await?;
    }
    if resize.keep.is_empty() && intent.keep.is_empty() {
        return decision.map(|_| Vec::new());
    }
    if decision.is_ok() {
        pod_selection::wait_for_selection(intent, resize.to, clock, &kubernetes).await?;
    }
    pod_selection::restore_deletion_costs(found, &kubernetes).await?;
    decision.map(|_| gone)
}

async fn get_deployment(
    intent: &Intent,
    kubernetes: &kubernetes::KubernetesReader,
) -> Result<Deployment> {
    let (namespace, name) = (intent.namespace.as_str(), intent.deployment.as_str());
    let found = kubernetes.get::<Deployment>(Some(namespace), name).await?;
    match found {
        Some(found) if intent.matches(&found) => Ok(found),
        other => Err(Error::Conflict {
            target: intent.target(),
            expected: format!("UID {}", intent.uid),
            found: other.map_or("no such deployment".into(), |_| "another UID".into()),
        }),
    }
}

fn decide_replicas_write(
    intent: &Intent,
    resize: &Resize<'_>,
    found: &Deployment,
) -> Result<WriteDecision> {
    decide_write(&intent.replicas_target(), &workload::replicas(found), &resize.from, &resize.to)
}

/// Writes the number if the deployment has not changed since it was read; reads it again if another client was quicker.
async fn write_replicas(
    intent: &Intent,
    resize: &Resize<'_>,
    kubernetes: &kubernetes::KubernetesWriter,
) -> Result<()> {
    for _ in 0..MAX_ATTEMPTS {
        let found = get_deployment(intent, kubernetes.reader()).await?;
        if decide_replicas_write(intent, resize, &found)? == WriteDecision::NotNeeded {
            return Ok(());
        }
        let version = found.metadata.resource_version.as_deref();
        let (namespace, name) = (intent.namespace.as_str(), intent.deployment.as_str());
        match kubernetes.scale::<Deployment>(namespace, name, resize.to, version).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Busy => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::busy(format!("{} keeps being changed by other clients", intent.target())))
}

/// Refuses a workload that an autoscaler scales: the autoscaler would soon overwrite the number.
async fn reject_autoscaled(
    kubernetes: &kubernetes::KubernetesReader,
    kind: &str,
    workload: &WorkloadRef,
    (current, after): (u32, u32),
) -> Result<()> {
    if after == 0 {
        return Ok(());
    }
    let in_namespace = kubernetes::Selection::in_namespace(workload.namespace.as_str());
    let autoscalers = kubernetes.list::<HorizontalPodAutoscaler>(&in_namespace).await?;
    let targets_workload = |autoscaler: &&HorizontalPodAutoscaler| {
        let target = &autoscaler.spec.scale_target_ref;
        let spec = &autoscaler.spec;
        let bounds = spec.min_replicas.unwrap_or(1).into()..=spec.max_replicas.into();
        let is_left = autoscaling::leaves_alone(&bounds, Some(current.into()), Some(after.into()));
        target.kind == kind && target.name == workload.name() && !is_left
    };
    let targeting: Vec<String> = autoscalers
        .iter()
        .filter(targets_workload)
        .map(|found| found.metadata.name.clone().unwrap_or_default())
        .collect();
    if targeting.is_empty() {
        return Ok(());
    }
    Err(Error::precondition(format!(
        "{} is scaled by HorizontalPodAutoscaler {}, which would revert the change",
        workload.target(),
        join_truncated(targeting)
    ))
    .with_hint(
        "change the autoscaler's minReplicas and maxReplicas, or delete the autoscaler, first",
    ))
}

/// Returns the names of pods, for messages.
fn pod_names<'a>(pods: impl IntoIterator<Item = &'a PodRecord>) -> String {
    join_truncated(pods.into_iter().map(|pod| pod.name.as_str()))
}

/// Returns whether one of the records is that pod.
fn contains_pod(records: &[PodRecord], pod: &Pod) -> bool {
    records.iter().any(|record| record.matches(pod))
}
