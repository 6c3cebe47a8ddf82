//! The number of pods of a stateful set, whose controller chooses which go: those with the highest ordinals.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use serde::{Deserialize, Serialize};

use super::{Before, MAX_ATTEMPTS, Output, Params};
use crate::platform::kubernetes::pod::Pod;
use crate::{
    actions::{
        Error, Impact, PlannedChange, PlatformReader, PlatformWriter, Progress, RestoreCommand,
        Result, TargetState,
        compare_and_set::{WriteDecision, decide_write},
        pod_causes::{CauseView, PodCauses},
        rollouts::{self, Rollable, RolloutWait, WorkloadRef},
        types::{NodeInstances, PodRecord},
        workload::{describe_unready, expired_problem, pod_name},
    },
    platform::{
        ErrorKind,
        kubernetes::{KubernetesReader, KubernetesWriter, Selection, pod},
        wait::{self, GraceTimer, WaitState},
    },
};
use runbook::{Workload, WorkloadKind};
use text::{join_truncated, plural};

/// Everything that apply and undo will need. A program that knows deployments only misses their name and refuses it.
#[derive(Serialize, Deserialize)]
pub struct StatefulIntent {
    namespace: String,
    stateful_set: String,
    uid: String,
    before: Before,
    after: u32,
    give_up_after: runbook::Duration,
}

impl StatefulIntent {
    fn target(&self) -> String {
        format!("{} {}/{}", StatefulSet::NOUN, self.namespace, self.stateful_set)
    }

    fn replicas_target(&self) -> String {
        format!("{} replicas", self.target())
    }

    fn matches(&self, found: &StatefulSet) -> bool {
        found.metadata.uid.as_deref() == Some(self.uid.as_str())
    }

    /// Reads the stateful set; none where it is gone, or another one has its name.
    async fn find(&self, kubernetes: &KubernetesReader) -> Result<Option<StatefulSet>> {
        let found =
            kubernetes.get::<StatefulSet>(Some(&self.namespace), &self.stateful_set).await?;
        Ok(found.filter(|found| self.matches(found)))
    }

    pub(super) fn impact(&self) -> Impact {
        let workload = Workload {
            kind: WorkloadKind::StatefulSet,
            namespace: self.namespace.clone(),
            name: self.stateful_set.clone(),
        };
        Impact::of_size(workload, self.before.replicas, self.after)
    }

    pub(super) fn planned_changes(&self) -> Vec<PlannedChange> {
        let planned = PlannedChange::new(self.replicas_target(), self.before.replicas, self.after);
        (self.before.replicas != self.after).then_some(planned).into_iter().collect()
    }
}

pub(super) async fn prepare(
    params: Params,
    name: String,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<StatefulIntent> {
    if params.keep.as_ref().is_some_and(|keep| !keep.is_empty()) {
        return Err(Error::precondition(format!(
            "`keep` does not apply to {} {}/{name}: its pods with the highest ordinals go",
            StatefulSet::NOUN,
            params.namespace
        )));
    }
    let kubernetes = reader.kubernetes().await?;
    let target = WorkloadRef::new(params.namespace.clone(), None, Some(name.clone()), None);
    let found: StatefulSet = rollouts::read(&kubernetes, &target).await?;
    let current = found.replicas();
    let change = (current, params.replicas_after(current)?);
    super::reject_autoscaled(&kubernetes, "StatefulSet", &target, change).await?;
    let give_up_after = params.give_up_after;
    let wait = RolloutWait { policy: params.rollout_in_progress, give_up_after };
    let (found, pods) = rollouts::settled(found, &target, wait, reader, progress).await?;
    let replicas = found.replicas();
    let after = params.replicas_after(replicas)?;
    let pods = records(&pods, &kubernetes).await?;
    Ok(StatefulIntent {
        namespace: params.namespace,
        stateful_set: name,
        uid: found.metadata.uid.clone().unwrap_or_default(),
        before: Before { replicas, pods },
        after,
        give_up_after,
    })
}

pub(super) async fn apply(intent: &StatefulIntent, writer: &PlatformWriter) -> Result<()> {
    write(intent, intent.before.replicas, intent.after, &writer.kubernetes().await?).await
}

pub(super) async fn settle(
    intent: &StatefulIntent,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Output> {
    let pods = wait_until(intent, reader, progress, |seen, grace| {
        if seen.replicas != intent.after {
            return WaitState::failed(format!(
                "{} was set to {} by another client, instead of {}",
                intent.target(),
                plural(seen.replicas as usize, "pod"),
                intent.after
            ));
        }
        let ready = seen.active.iter().filter(|pod| pod::is_ready(pod)).count();
        let all = intent.after as usize;
        let is_sized = seen.is_observed && seen.active.len() == all && seen.ending.is_empty();
        if is_sized && ready == all {
            return WaitState::Ready(seen.active.clone());
        }
        let counts = format!("{ready} of {} of {} Ready", plural(all, "pod"), intent.target());
        if let Some(why) = expired_problem(grace, &seen.active, &seen.causes, None) {
            let message = format!("{counts}, and {why} (for {})", intent.give_up_after);
            return WaitState::failed(message);
        }
        let unready = describe_unready(&seen.active, &seen.causes, None);
        let unready = unready.map(|pods| format!(": {pods}")).unwrap_or_default();
        WaitState::Pending(format!("{counts}{unready}{}", describe_ending(&seen.ending)))
    })
    .await?;
    let pods = records(&pods, &reader.kubernetes().await?).await?;
    let was_there = |pod: &&PodRecord| intent.before.pods.iter().any(|old| old.uid == pod.uid);
    Ok(Output {
        namespace: intent.namespace.clone(),
        deployment: String::new(),
        name: intent.stateful_set.clone(),
        replicas: intent.after,
        before: intent.before.clone(),
        new_pods: pods.iter().filter(|pod| !was_there(pod)).cloned().collect(),
        pods,
        gone: Vec::new(),
    })
}

/// Restores the number, and waits until there are as many pods, Ready or not: the reason why they were not Ready before
/// may still hold. Returns what is not restored.
pub(super) async fn undo(
    intent: &StatefulIntent,
    writer: &PlatformWriter,
    progress: &Progress,
) -> Result<Vec<String>> {
    let kubernetes = writer.kubernetes().await?;
    if intent.find(kubernetes.reader()).await?.is_none() {
        return Ok(vec![format!("{} no longer exists", intent.target())]);
    }
    match write(intent, intent.after, intent.before.replicas, &kubernetes).await {
        // Its one target has another owner now.
        Err(conflict @ Error::Conflict { .. }) => return Ok(vec![conflict.to_string()]),
        other => other?,
    }
    let wanted = intent.before.replicas;
    let left = wait_until(intent, writer.reader(), progress, |seen, grace| {
        let all = wanted as usize;
        let is_sized = seen.is_observed && seen.active.len() == all && seen.ending.is_empty();
        if is_sized || seen.replicas != wanted {
            return WaitState::Ready(None);
        }
        let counts = format!(
            "{} to have {}: it has {}{}",
            intent.target(),
            plural(all, "pod"),
            seen.active.len(),
            describe_ending(&seen.ending)
        );
        // The next pod is created when those before it are Ready.
        match expired_problem(grace, &seen.active, &seen.causes, None) {
            Some(why) => WaitState::Ready(Some(format!("{counts}, and {why}"))),
            None => WaitState::Pending(counts),
        }
    });
    Ok(left.await?.into_iter().collect())
}

pub(super) async fn read_targets(
    intent: &StatefulIntent,
    reader: &PlatformReader,
) -> Result<Vec<TargetState>> {
    if intent.before.replicas == intent.after {
        return Ok(Vec::new());
    }
    let found = intent.find(&reader.kubernetes().await?).await?;
    let restore = || {
        let object = format!("statefulset/{}", intent.stateful_set);
        let replicas = intent.before.replicas.to_string();
        let namespace = intent.namespace.as_str();
        RestoreCommand::kubectl(["-n", namespace, "scale", &object, "--replicas", &replicas])
    };
    let now = found.as_ref().map(Rollable::replicas);
    let restore = found.as_ref().map(|_| restore());
    Ok(vec![TargetState::new(intent.replicas_target(), intent.before.replicas, now, restore)])
}

/// Writes the number if the stateful set has not changed since it was read; reads it again if another client was
/// quicker.
async fn write(
    intent: &StatefulIntent,
    from: u32,
    to: u32,
    kubernetes: &KubernetesWriter,
) -> Result<()> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(found) = intent.find(kubernetes.reader()).await? else {
            return Err(Error::Conflict {
                target: intent.target(),
                expected: format!("UID {}", intent.uid),
                found: "no such statefulset".into(),
            });
        };
        let target = intent.replicas_target();
        if decide_write(&target, &found.replicas(), &from, &to)? == WriteDecision::NotNeeded {
            return Ok(());
        }
        let version = found.metadata.resource_version.as_deref();
        let (namespace, name) = (intent.namespace.as_str(), intent.stateful_set.as_str());
        match kubernetes.scale::<StatefulSet>(namespace, name, to, version).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Busy => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::busy(format!("{} keeps being changed by other clients", intent.target())))
}

/// A stateful set and its pods at one moment.
struct Seen {
    replicas: u32,
    /// Whether the controller has seen the latest change.
    is_observed: bool,
    active: Vec<Arc<Pod>>,
    ending: Vec<Arc<Pod>>,
    causes: CauseView,
}

/// Watches the stateful set and its pods until the condition holds.
async fn wait_until<T>(
    intent: &StatefulIntent,
    reader: &PlatformReader,
    progress: &Progress,
    mut evaluate: impl FnMut(&Seen, &mut GraceTimer) -> WaitState<T>,
) -> Result<T> {
    let kubernetes = reader.kubernetes().await?;
    let is_gone = || format!("{} no longer exists", intent.target());
    let Some(found) = intent.find(&kubernetes).await? else {
        return Err(Error::unrecoverable(is_gone()));
    };
    let in_namespace = Selection::in_namespace(intent.namespace.as_str());
    let selection = in_namespace.clone().matching(&found.spec.selector);
    let mut sets = kubernetes.watch::<StatefulSet>(&in_namespace.named(&intent.stateful_set));
    let mut pods = kubernetes.watch::<Pod>(&selection);
    let mut causes = PodCauses::new(&kubernetes, *reader.clock(), progress);
    let (set_view, pod_view, cause_view) = (sets.view(), pods.view(), causes.view());
    let mut grace = GraceTimer::new(reader.clock().deadline(intent.give_up_after.std()));
    let mut sources: [&mut dyn wait::WaitSource; 3] = [&mut sets, &mut pods, causes.source()];
    let waited = wait::until(progress, &mut sources, || {
        let Some(set) = set_view.objects().pop().filter(|set| intent.matches(set)) else {
            return WaitState::failed(is_gone());
        };
        let mut pods = pod_view.objects();
        pods.retain(|pod| {
            let owner = pod::controller(&pod.metadata);
            owner.is_some_and(|owner| owner.uid == intent.uid)
        });
        let (ending, mut active): (Vec<_>, Vec<_>) =
            pods.into_iter().partition(|pod| pod::is_terminating(pod));
        active.retain(|pod| pod::is_active(pod));
        active.sort_by(|a, b| pod_name(a).cmp(pod_name(b)));
        cause_view.observe(active.iter().chain(&ending));
        let observed = set.status.as_ref().and_then(|status| status.observed_generation);
        let seen = Seen {
            replicas: set.replicas(),
            is_observed: observed >= set.metadata.generation,
            active,
            ending,
            causes: cause_view.clone(),
        };
        evaluate(&seen, &mut grace)
    });
    Ok(waited.await?)
}

fn describe_ending(ending: &[Arc<Pod>]) -> String {
    if ending.is_empty() {
        return String::new();
    }
    format!("; terminating: {}", join_truncated(ending.iter().map(|pod| pod_name(pod).to_owned())))
}

/// Returns the records of pods, by name.
async fn records(pods: &[Arc<Pod>], kubernetes: &KubernetesReader) -> Result<Vec<PodRecord>> {
    let instances = NodeInstances::read(kubernetes).await?;
    let mut records: Vec<PodRecord> =
        pods.iter().map(|pod| PodRecord::of(pod, &instances)).collect();
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}
