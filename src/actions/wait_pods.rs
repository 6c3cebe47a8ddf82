//! `wait_pods`: until pods are Ready, or gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::PodName;
use super::{
    Action, Condition, Error, KnownTargets, KubernetesScope, Permission, PlatformReader, Progress,
    RepeatedParam, Result, Wait,
    known_targets::report_gone,
    pod_causes::{CauseView, PodCauses},
    types::{NodeInstances, PodRecord, by_uid, count_u32, default_give_up_after},
    workload::{self, WorkloadViews, WorkloadWatch, describe_unready, expired_problem},
};
use crate::platform::kubernetes::pod::Pod;
use crate::platform::{
    kubernetes::{self, ObjectView, ObjectWatch, Selection, pod},
    wait::{self, GraceTimer, WaitSource, WaitState},
};
use clock::Clock;
use text::{join_truncated, plural};

/// Waits until pods are Ready, or until they are gone.
///
/// The pods are those of a deployment, those that a label selector matches, or those of a list, by their UIDs. Waiting
/// for them to be gone means the pods that are there when the step begins; the wait for Ready counts pods that come
/// later too, except where they are listed. It fails early when a pod keeps crashing, cannot pull its image, mount its
/// volumes or get its network, or finds no node for `give_up_after`; when a quota or an admission webhook refuses pods,
/// or a pod that is to go cannot end because its node is not Ready, for as long; and when `count` of the listed pods
/// can no longer be Ready. Without `count`, a listed pod that has ended is reported as gone and not waited for, as long
/// as another is there. The events of pods that make no progress are read where that is permitted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["deployment", "pods", "selector"]]))]
pub struct Params {
    /// Namespace of the pods.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the deployment.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "deployment-name"))]
    pub deployment: Option<String>,
    /// A label selector as kubectl takes it, such as `app=rafay-relay,tier!=test`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    #[schemars(extend("x-syntax" = "label-selector"))]
    pub selector: Option<String>,
    /// The pods themselves, such as the `pods` of `list_pods`.
    #[serde(default)]
    pub pods: Option<Vec<PodRecord>>,
    /// How many are enough; all of them, unless it is said. All of a deployment's are as many as it is to have.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub count: Option<u32>,
    /// The state to wait for.
    #[serde(default)]
    pub until: PodState,
    /// How long a pod may fail before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
}

/// The state that pods are to reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Goal")]
pub enum PodState {
    /// Ready.
    #[default]
    Ready,
    /// Gone.
    Gone,
}

/// The pods that reached the state.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many there are.
    pub count: u32,
    /// The pods, by name: as they are, or as they last were.
    pub pods: Vec<PodRecord>,
    /// Names of the listed pods that were to be Ready and have ended, or are about to.
    #[serde(default)]
    #[schemars(with = "Vec<PodName>")]
    pub gone: Vec<String>,
}

pub(super) struct WaitPods;

impl Action for WaitPods {
    const NAME: &'static str = "wait_pods";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::core("pods", &["list", "watch"], KubernetesScope::Namespace("namespace")),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster),
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
        // For the causes that keep a pod from starting; without them the wait goes on.
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

impl Wait for WaitPods {
    async fn wait(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        reject_other_namespaces(&params)?;
        let kubernetes = reader.kubernetes().await?;
        let mut watch = PodsWatch::of(&params, &kubernetes, reader.clock(), progress).await?;
        let views = watch.views(&params);
        let mut grace = GraceTimer::new(reader.clock().deadline(params.give_up_after.std()));
        let mut gone = Vec::new();
        let mut pods = match params.until {
            PodState::Ready => {
                let (ready, lost) = wait::until(progress, &mut watch.sources(), || {
                    evaluate_ready(&params, &views, &mut grace)
                })
                .await?;
                gone = lost;
                report_gone(progress, "pod", &gone);
                records(&ready, &NodeInstances::read(&kubernetes).await?)
            }
            PodState::Gone => {
                let instances = NodeInstances::read(&kubernetes).await?;
                let mut awaited = None;
                wait::until(progress, &mut watch.sources(), || {
                    let awaited =
                        awaited.get_or_insert_with(|| list_awaited(&params, &views, &instances));
                    evaluate_gone(&params, awaited, &views, &mut grace)
                })
                .await?
            }
        };
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Output { count: count_u32(&pods), pods, gone })
    }
}

fn reject_other_namespaces(params: &Params) -> Result<()> {
    let elsewhere = |pod: &&PodRecord| pod.namespace != params.namespace;
    match params.pods.iter().flatten().find(elsewhere) {
        Some(pod) => Err(Error::precondition(format!(
            "pod {} is in namespace {}, not in {}",
            pod.name, pod.namespace, params.namespace
        ))),
        None => Ok(()),
    }
}

/// The watches.
enum PodsWatch {
    Deployment(Box<WorkloadWatch>),
    Pods(Box<ObjectWatch<Pod>>, Box<PodCauses>),
}

enum PodViews {
    Deployment(WorkloadViews),
    Pods(ObjectView<Pod>, CauseView),
    /// The listed ones among these pods.
    Listed(ObjectView<Pod>, CauseView, Vec<PodRecord>),
}

impl PodsWatch {
    async fn of(
        params: &Params,
        kubernetes: &kubernetes::KubernetesReader,
        clock: &Clock,
        progress: &Progress,
    ) -> Result<Self> {
        if let Some(name) = &params.deployment {
            let found = workload::deployment(kubernetes, &params.namespace, name).await?;
            let watch = workload::watch(kubernetes, &found, *clock, progress);
            return Ok(Self::Deployment(Box::new(watch)));
        }
        let all = Selection::in_namespace(&params.namespace);
        let selection = match &params.selector {
            Some(selector) => all.with_labels(selector),
            None => all,
        };
        let causes = PodCauses::new(kubernetes, *clock, progress);
        Ok(Self::Pods(Box::new(kubernetes.watch(&selection)), Box::new(causes)))
    }

    fn sources(&mut self) -> Vec<&mut dyn WaitSource> {
        match self {
            Self::Deployment(watch) => watch.sources().into(),
            Self::Pods(pods, causes) => vec![pods.as_mut(), causes.source()],
        }
    }

    fn views(&self, params: &Params) -> PodViews {
        match (self, &params.pods) {
            (Self::Deployment(watch), _) => PodViews::Deployment(watch.views()),
            (Self::Pods(pods, causes), None) => PodViews::Pods(pods.view(), causes.view()),
            (Self::Pods(pods, causes), Some(listed)) => {
                PodViews::Listed(pods.view(), causes.view(), listed.clone())
            }
        }
    }
}

impl PodViews {
    /// Returns the selected pods, terminating ones included, and how many there should be.
    fn snapshot(&self) -> Result<PodsSnapshot, String> {
        match self {
            Self::Deployment(views) => {
                let snapshot = views.snapshot().ok_or("the deployment no longer exists")?;
                Ok(PodsSnapshot {
                    all: snapshot.replicas() as usize,
                    refused: snapshot.refused_pods(),
                    pods: snapshot.pods,
                    causes: snapshot.causes,
                })
            }
            Self::Pods(view, causes) => {
                let pods = view.objects();
                let all = pods.iter().filter(|pod| pod::is_active(pod)).count();
                Ok(PodsSnapshot::new(pods, all, causes))
            }
            Self::Listed(view, causes, records) => {
                let mut pods = view.objects();
                let wanted: BTreeSet<&str> = records.iter().map(|r| r.uid.as_str()).collect();
                pods.retain(|pod| {
                    pod.metadata.uid.as_deref().is_some_and(|uid| wanted.contains(uid))
                });
                Ok(PodsSnapshot::new(pods, records.len(), causes))
            }
        }
    }

    /// Returns the listed pods that can no longer become Ready, because they are gone or terminating.
    fn lost_pods(&self, pods: &[Arc<Pod>]) -> Vec<String> {
        let Self::Listed(_, _, records) = self else { return Vec::new() };
        let there = by_uid(pods.iter().map(AsRef::as_ref));
        let is_active = |record: &&PodRecord| {
            there.get(record.uid.as_str()).is_some_and(|pod| pod::is_active(pod))
        };
        records.iter().filter(|record| !is_active(record)).map(|r| r.name.clone()).collect()
    }
}

/// The selected pods at one moment.
#[derive(Default)]
struct PodsSnapshot {
    pods: Vec<Arc<Pod>>,
    /// How many there should be.
    all: usize,
    causes: CauseView,
    /// Why there are not more.
    refused: Option<String>,
}

impl PodsSnapshot {
    fn new(pods: Vec<Arc<Pod>>, all: usize, causes: &CauseView) -> Self {
        causes.observe(&pods);
        Self { pods, all, causes: causes.clone(), refused: None }
    }
}

/// Returns the pods that are meant, for a message about their number.
fn describe_selection(params: &Params) -> String {
    match &params.selector {
        Some(selector) => format!(" with {selector} in {}", params.namespace),
        None => String::new(),
    }
}

/// Returns the pods that are Ready, with the names of the listed ones that are lost.
fn evaluate_ready(
    params: &Params,
    views: &PodViews,
    grace: &mut GraceTimer,
) -> WaitState<(Vec<Arc<Pod>>, Vec<String>)> {
    let PodsSnapshot { pods, all, causes, refused } = match views.snapshot() {
        Ok(found) => found,
        Err(why) => return WaitState::failed(why),
    };
    let selection = describe_selection(params);
    let lost = views.lost_pods(&pods);
    let left = all.saturating_sub(lost.len());
    // All of the listed pods are those of them that are there.
    let wanted = params.count.map_or(left, |count| count as usize);
    let (ready, others): (Vec<_>, Vec<_>) =
        pods.iter().filter(|pod| pod::is_active(pod)).partition(|pod| pod::is_ready(pod));
    if !lost.is_empty() && left < wanted.max(1) {
        return WaitState::failed(format!(
            "{} of {} Ready, and {} can no longer be reached: gone are {}",
            ready.len(),
            plural(all, "listed pod"),
            wanted.max(1),
            join_truncated(lost)
        ));
    }
    // A selector that matches nothing yet is not satisfied by zero pods.
    let is_enough = ready.len() >= wanted && (wanted > 0 || params.selector.is_none());
    if is_enough && (params.count.is_some() || others.is_empty()) {
        return WaitState::Ready((ready.into_iter().cloned().collect(), lost));
    }
    if let Some(why) = expired_problem(grace, others.iter().copied(), &causes, refused.clone()) {
        return WaitState::failed(format!(
            "{} of {}{selection} Ready, and {why} (for {})",
            ready.len(),
            plural(wanted, "pod"),
            params.give_up_after
        ));
    }
    let unready = describe_unready(others, &causes, refused)
        .map(|pods| format!(": {pods}"))
        .unwrap_or_default();
    let (ready, wanted) = (ready.len(), plural(wanted, "pod"));
    WaitState::Pending(format!("{ready} of {wanted}{selection} Ready{unready}"))
}

/// Returns the pods whose end is awaited.
fn list_awaited(
    params: &Params,
    views: &PodViews,
    instances: &NodeInstances,
) -> BTreeMap<String, PodRecord> {
    let records = match &params.pods {
        Some(pods) => pods.clone(),
        // A deployment that is gone has no pods left.
        None => records(&views.snapshot().unwrap_or_default().pods, instances),
    };
    records.into_iter().map(|record| (record.uid.clone(), record)).collect()
}

fn evaluate_gone(
    params: &Params,
    awaited: &BTreeMap<String, PodRecord>,
    views: &PodViews,
    grace: &mut GraceTimer,
) -> WaitState<Vec<PodRecord>> {
    let PodsSnapshot { pods, causes, .. } = views.snapshot().unwrap_or_default();
    let remaining: Vec<&Arc<Pod>> = pods
        .iter()
        .filter(|pod| pod.metadata.uid.as_ref().is_some_and(|uid| awaited.contains_key(uid)))
        .collect();
    let there = by_uid(remaining.iter().map(AsRef::as_ref));
    let is_gone = |record: &&PodRecord| !there.contains_key(record.uid.as_str());
    let gone: Vec<PodRecord> = awaited.values().filter(is_gone).cloned().collect();
    let wanted = params.count.map_or(awaited.len(), |count| count as usize);
    if gone.len() >= wanted {
        return WaitState::Ready(gone);
    }
    if awaited.len() < wanted {
        return WaitState::failed(format!(
            "cannot wait for {} to be gone: there were only {}",
            plural(wanted, "pod"),
            awaited.len()
        ));
    }
    let counts =
        format!("{} of {}{} gone", gone.len(), plural(wanted, "pod"), describe_selection(params));
    if let Some(failure) = causes.expired_termination(grace, remaining.iter().copied()) {
        let message = |why: &str| format!("{counts}, and {why} (for {})", params.give_up_after);
        return WaitState::Failed(failure.map_message(message));
    }
    let names = remaining.iter().map(|pod| match pod::is_terminating(pod) {
        true => workload::describe_pod(pod, &causes).unwrap_or_default(),
        false => format!("{} (not terminating)", workload::pod_name(pod)),
    });
    WaitState::Pending(format!("{counts}; remaining: {}", join_truncated(names)))
}

fn records(pods: &[Arc<Pod>], instances: &NodeInstances) -> Vec<PodRecord> {
    pods.iter().map(|pod| PodRecord::of(pod, instances)).collect()
}
