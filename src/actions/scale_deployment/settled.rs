//! When a deployment has the pods that it is to have.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::Pod;

use super::{Intent, keeping, names};
use crate::{
    actions::{
        Progress, Reader, Result,
        words::{counted, listed},
        workload::{self, Sight, lasting_trouble, unready},
    },
    clock::Clock,
    platform::{
        kubernetes::{self, pod, rollout},
        wait::{self, Patience, State},
    },
};

/// Waits until there are as many pods as were asked for, all Ready, and the surplus is gone. Returns them by name.
pub(super) async fn wait(
    intent: &Intent,
    clock: &Clock,
    kubernetes: &kubernetes::Reader,
    progress: &Progress,
) -> Result<Vec<Arc<Pod>>> {
    let found = super::the_deployment(intent, kubernetes).await?;
    let mut watching = workload::watch(kubernetes, &found);
    let views = watching.views();
    let patience = || Patience::new(clock.deadline(intent.give_up_after.std()));
    let mut patience = Patiences { pods: patience(), rollout: patience() };
    let mut pods = wait::until(progress, &mut watching.sources(), || match views.sight() {
        Some(sight) => judge(intent, &sight, &mut patience),
        None => State::Hopeless(format!("{} is not there any more", intent.target())),
    })
    .await?;
    pods.sort_by(|a, b| workload::name(a).cmp(workload::name(b)));
    Ok(pods)
}

/// Waits until an undo has as many pods as there were. They need not be Ready: what kept them from it before may keep
/// them from it now, and is not ours to mend.
pub(super) async fn wait_back(intent: &Intent, reader: &Reader, progress: &Progress) -> Result<()> {
    let kubernetes = reader.kubernetes().await?;
    let found = super::the_deployment(intent, &kubernetes).await?;
    let mut watching = workload::watch(&kubernetes, &found);
    let views = watching.views();
    let wanted = intent.before.replicas;
    wait::until(progress, &mut watching.sources(), || {
        let Some(sight) = views.sight() else { return State::Done(()) };
        let standing = sight.standing().len();
        let surplus = surplus(intent, &sight);
        if sight.replicas() != wanted || standing == wanted as usize && surplus.is_empty() {
            return State::Done(());
        }
        State::Pending(format!(
            "{} to have {}: it has {standing}{}",
            intent.target(),
            counted(wanted as usize, "pod"),
            still_there(&surplus)
        ))
    })
    .await?;
    Ok(())
}

/// Pods that fail and a rollout that is late are two troubles, and each has its own time.
struct Patiences {
    pods: Patience,
    rollout: Patience,
}

fn judge(intent: &Intent, sight: &Sight, patience: &mut Patiences) -> State<Vec<Arc<Pod>>> {
    let target = intent.target();
    if sight.replicas() != intent.after {
        return State::Hopeless(format!(
            "{target} was set to {} by somebody else meanwhile, instead of {}",
            counted(sight.replicas() as usize, "pod"),
            intent.after
        ));
    }
    let lost = keeping::lost(intent, sight);
    if !lost.is_empty() {
        return State::Hopeless(format!(
            "pods of {target} that were to be kept are gone: {}",
            names(&lost)
        ));
    }
    let standing = sight.standing();
    let ready = standing.iter().filter(|pod| pod::is_ready(pod)).count();
    let surplus =
        if intent.after < intent.before.replicas { surplus(intent, sight) } else { Vec::new() };
    let rollout = rolled_out(sight, &mut patience.rollout);
    let all = intent.after as usize;
    if let (State::Done(()), true, true) =
        (&rollout, ready == all && standing.len() == all, surplus.is_empty())
    {
        return State::Done(standing.into_iter().cloned().collect());
    }
    let counts = format!("{ready} of {} of {target} Ready", counted(all, "pod"));
    if let Some(why) = lasting_trouble(&mut patience.pods, standing.iter().copied()) {
        return State::Hopeless(format!("{counts}, and {why} (for {})", intent.give_up_after));
    }
    if let State::Hopeless(why) = rollout {
        return State::Hopeless(format!("{counts}, and its rollout has failed: {why}"));
    }
    let unready = unready(standing).map(|pods| format!(": {pods}")).unwrap_or_default();
    State::Pending(format!("{counts}{unready}{}", still_there(&surplus)))
}

/// The rollout, where there is one. A paused deployment scales all the same. That an earlier rollout was late stays
/// written until it gets on, which the new pods may bring about.
fn rolled_out(sight: &Sight, patience: &mut Patience) -> State<()> {
    if !sight.is_observed() {
        return State::Pending("the deployment controller has not seen the change yet".into());
    }
    if rollout::is_paused(&sight.deployment) {
        return State::Done(());
    }
    patience.still(Instant::now(), rollout::status(&sight.deployment))
}

/// Pods on their way out that were not so before this step.
fn surplus<'a>(intent: &Intent, sight: &'a Sight) -> Vec<&'a Arc<Pod>> {
    let is_ours = |pod: &&Arc<Pod>| {
        let uid = pod.metadata.uid.as_ref();
        pod::is_terminating(pod) && !uid.is_some_and(|uid| intent.ending.contains(uid))
    };
    sight.pods.iter().filter(is_ours).collect()
}

fn still_there(surplus: &[&Arc<Pod>]) -> String {
    if surplus.is_empty() {
        return String::new();
    }
    format!("; on their way out: {}", listed(surplus.iter().map(|pod| workload::name(pod))))
}
