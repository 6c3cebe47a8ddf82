//! Which pods stay when there are to be fewer.
//!
//! The replica set controller removes pods without a node first, then pending ones, then those that are not ready, and
//! only then the cheapest by the annotation `controller.kubernetes.io/pod-deletion-cost`. So a pod to keep must be
//! Ready, and carries the highest cost from before the scaling until the others have been told to end.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Intent, is_one_of, names};
use crate::{
    actions::{
        Error, Progress, Result,
        at_once::a_few_at_once,
        records::PodRecord,
        workload::{self, Sight, lasting_trouble, unready},
    },
    clock::Clock,
    platform::{
        Class,
        kubernetes::{self, pod},
        wait::{self, Patience, State},
    },
    runbook,
};

/// The highest cost that Kubernetes takes.
const DEAREST: &str = "2147483647";
/// The deployment and the replica set controller act within a second; a program that is told to end has thirty, and
/// this is waited for in one piece.
const CHOOSING: Duration = Duration::from_secs(10);

/// The controllers read pods from a cache that follows what is written; a healthy one is some milliseconds behind.
const CACHES: Duration = Duration::from_millis(500);

/// A pod to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) pod: PodRecord,
    /// The cost that somebody else had given it.
    cost: Option<String>,
}

impl Kept {
    fn of(pod: &Pod, record: PodRecord) -> Self {
        // Ours is left from an attempt that was cut off; whatever stood before it is not known here.
        let cost = pod::deletion_cost(pod).filter(|cost| *cost != DEAREST);
        Self { cost: cost.map(str::to_owned), pod: record }
    }
}

/// Decides which pods to keep: those of the list that still stand. Waits until they are Ready.
pub(super) async fn choose(
    wanted: Vec<PodRecord>,
    deployment: &Deployment,
    give_up_after: runbook::Duration,
    clock: &Clock,
    kubernetes: &kubernetes::Reader,
    progress: &Progress,
) -> Result<Vec<Kept>> {
    let mut watching = workload::watch(kubernetes, deployment);
    let views = watching.views();
    let mut patience = Patience::new(clock.deadline(give_up_after.std()));
    let sight = wait::until(progress, &mut watching.sources(), || match views.sight() {
        Some(sight) => ready_to_keep(&wanted, sight, give_up_after, &mut patience),
        None => State::Hopeless("the deployment is not there any more".into()),
    })
    .await?;
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for record in wanted {
        match sight.standing().into_iter().find(|pod| record.is(pod)) {
            Some(pod) => kept.push(Kept::of(pod, record)),
            None => gone.push(record),
        }
    }
    refuse_strangers(&gone, kubernetes).await?;
    if kept.is_empty() {
        return Err(Error::Refused(format!("none of the pods to keep is there: {}", names(&gone))));
    }
    if !gone.is_empty() {
        progress.say(&format!("pods that were to be kept are gone: {}", names(&gone)));
    }
    Ok(kept)
}

fn ready_to_keep(
    wanted: &[PodRecord],
    sight: Sight,
    give_up_after: runbook::Duration,
    patience: &mut Patience,
) -> State<Sight> {
    let keep: Vec<&Arc<Pod>> =
        sight.standing().into_iter().filter(|pod| is_one_of(wanted, pod)).collect();
    if let Some(why) = lasting_trouble(patience, keep.iter().copied()) {
        return State::Hopeless(format!(
            "a pod to keep is not Ready, and pods that are not are removed first: {why} (for {give_up_after})"
        ));
    }
    let revisions = sight.sets.iter().filter(|set| set.spec.replicas.unwrap_or(0) > 0).count();
    if revisions > 1 {
        // Each replica set chooses among its own pods, and the deployment controller chooses how many each gives up.
        return State::Pending("a rollout to end: pods of two revisions stand".into());
    }
    match unready(keep) {
        Some(which) => State::Pending(format!("the pods to keep to be Ready: {which}")),
        None => State::Done(sight),
    }
}

/// A pod that is there but not the deployment's was named by mistake.
async fn refuse_strangers(missing: &[PodRecord], kubernetes: &kubernetes::Reader) -> Result<()> {
    for record in missing {
        let found = kubernetes.get::<Pod>(Some(&record.namespace), &record.name).await?;
        if found.is_some_and(|pod| record.is(&pod) && pod::is_standing(&pod)) {
            return Err(Error::Refused(format!(
                "pod {}/{} is to be kept, but is not one of the deployment's",
                record.namespace, record.name
            )));
        }
    }
    Ok(())
}

/// What an undo keeps: the pods that stood before, as far as they stand and are Ready. The others cannot be kept.
pub(super) async fn stood_before(
    intent: &Intent,
    deployment: Deployment,
    kubernetes: &kubernetes::Reader,
) -> Result<Vec<Kept>> {
    if intent.before.replicas >= intent.after {
        return Ok(Vec::new());
    }
    let sight = workload::look(kubernetes, deployment).await?;
    let kept = |record: &PodRecord| {
        let pod = sight.pods.iter().find(|pod| record.is(pod) && pod::is_ready(pod))?;
        Some(Kept::of(pod, record.clone()))
    };
    Ok(intent.before.pods.iter().filter_map(kept).collect())
}

/// Gives the pods to keep the highest cost.
pub(super) async fn mark(
    keep: &[Kept],
    clock: &Clock,
    kubernetes: &kubernetes::Writer,
) -> Result<()> {
    if keep.is_empty() {
        return Ok(());
    }
    let calls: Vec<_> =
        keep.iter().map(|kept| write_cost(&kept.pod, Some(DEAREST), kubernetes)).collect();
    a_few_at_once(calls).await?;
    clock.sleep(CACHES).await;
    Ok(())
}

/// Takes our cost from every pod of the deployment that carries it.
pub(super) async fn unmark(
    intent: &Intent,
    keep: &[Kept],
    kubernetes: &kubernetes::Writer,
) -> Result<()> {
    if keep.is_empty() && intent.keep.is_empty() {
        return Ok(());
    }
    let found = super::the_deployment(intent, kubernetes.reader()).await?;
    let sight = workload::look(kubernetes.reader(), found).await?;
    let marked: Vec<(PodRecord, Option<String>)> = sight
        .standing()
        .into_iter()
        .filter(|pod| pod::deletion_cost(pod) == Some(DEAREST))
        .map(|pod| {
            let known = keep.iter().chain(&intent.keep).filter(|kept| kept.pod.is(pod));
            let cost = known.filter_map(|kept| kept.cost.clone()).next();
            (PodRecord::of(pod, &Default::default()), cost)
        })
        .collect();
    let calls: Vec<_> = marked
        .iter()
        .map(|(record, cost)| write_cost(record, cost.as_deref(), kubernetes))
        .collect();
    a_few_at_once(calls).await.map(drop)
}

/// Writes a pod's cost, if it is still that pod. One that is gone needs none.
async fn write_cost(
    record: &PodRecord,
    cost: Option<&str>,
    kubernetes: &kubernetes::Writer,
) -> Result<()> {
    let annotations = json!({pod::DELETION_COST: cost.map_or(Value::Null, Value::from)});
    let patch = json!({"metadata": {"uid": record.uid, "annotations": annotations}});
    match kubernetes.patch::<Pod>(Some(&record.namespace), &record.name, &patch).await {
        Ok(_) => Ok(()),
        Err(error) if error.class() == Class::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the controllers have told the surplus to end.
pub(super) async fn until_chosen(
    intent: &Intent,
    to: u32,
    clock: &Clock,
    kubernetes: &kubernetes::Writer,
) -> Result<()> {
    let found = super::the_deployment(intent, kubernetes.reader()).await?;
    let mut watching = workload::watch(kubernetes.reader(), &found);
    let views = watching.views();
    let silent = Progress::silent();
    let mut sources = watching.sources();
    let chosen = wait::until(&silent, &mut sources, || {
        let standing = views.sight().map_or(0, |sight| sight.standing().len());
        if standing <= to as usize { State::Done(()) } else { State::Pending(String::new()) }
    });
    match tokio::time::timeout(clock.deadline(CHOOSING), chosen).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::Busy(format!(
            "the controllers have not yet chosen which pods of {} to remove; those to keep stay marked until then",
            intent.target()
        ))),
    }
}

/// Those that were to be kept and do not stand, when more than that many are to be kept.
pub(super) fn lost(intent: &Intent, sight: &Sight) -> Vec<PodRecord> {
    let stands = |kept: &&Kept| sight.standing().iter().any(|pod| kept.pod.is(pod));
    let lost: Vec<&Kept> = intent.keep.iter().filter(|kept| !stands(kept)).collect();
    let spare = intent.keep.len().saturating_sub(intent.after as usize);
    if lost.len() <= spare {
        return Vec::new();
    }
    lost.into_iter().map(|kept| kept.pod.clone()).collect()
}
