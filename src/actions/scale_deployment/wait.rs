//! Waiting until a deployment has the desired pods.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Intent, Receipt, pod_selection};
use crate::platform::kubernetes::pod::Pod;
use crate::{
    actions::{
        PlatformReader, Progress, Result,
        pod_causes::CauseView,
        workload::{self, WorkloadSnapshot},
    },
    platform::{
        kubernetes::{self, pod, rollout},
        wait::{self, GraceTimer, WaitState},
    },
};
use clock::Clock;
use text::{join_truncated, plural};

/// Waits until there are as many pods as were asked for, all Ready, and the surplus is gone. Returns them by name.
pub(super) async fn until_scaled(
    intent: &Intent,
    receipt: &Receipt,
    clock: &Clock,
    kubernetes: &kubernetes::KubernetesReader,
    progress: &Progress,
) -> Result<Vec<Arc<Pod>>> {
    let found = super::get_deployment(intent, kubernetes).await?;
    let mut watch = workload::watch(kubernetes, &found, *clock, progress);
    let views = watch.views();
    let grace = || GraceTimer::new(clock.deadline(intent.give_up_after.std()));
    let mut grace = GraceTimers { pods: grace(), rollout: grace(), terminations: grace() };
    let mut pods = wait::until(progress, &mut watch.sources(), || match views.snapshot() {
        Some(snapshot) => evaluate(intent, receipt, &snapshot, &mut grace),
        None => WaitState::failed(format!("{} no longer exists", intent.target())),
    })
    .await?;
    pods.sort_by(|a, b| workload::pod_name(a).cmp(workload::pod_name(b)));
    Ok(pods)
}

/// Waits until an undo has as many pods as there were. They need not be Ready: the reason why they were not Ready
/// before may still hold, and the undo does not resolve it. Returns why some cannot be created, where a quota or an
/// admission webhook has refused them for `give_up_after`.
pub(super) async fn until_restored(
    intent: &Intent,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Option<String>> {
    let kubernetes = reader.kubernetes().await?;
    let found = super::get_deployment(intent, &kubernetes).await?;
    let mut watch = workload::watch(&kubernetes, &found, *reader.clock(), progress);
    let views = watch.views();
    let wanted = intent.before.replicas;
    let mut refusals = GraceTimer::new(reader.clock().deadline(intent.give_up_after.std()));
    wait::until(progress, &mut watch.sources(), || {
        let Some(snapshot) = views.snapshot() else { return WaitState::Ready(None) };
        let active_pods = snapshot.active_pods().len();
        let surplus = surplus(intent, &snapshot);
        // A rollout that has begun meanwhile keeps more pods, or fewer, for as long as it lasts.
        let is_settled = snapshot.is_sized_for(wanted) && surplus.is_empty();
        let sized_total = snapshot.sized_total() as usize;
        if snapshot.replicas() != wanted || (is_settled && active_pods == sized_total) {
            return WaitState::Ready(None);
        }
        let counts = format!(
            "{} to have {}: it has {active_pods}",
            intent.target(),
            plural(wanted as usize, "pod")
        );
        let refused = snapshot.refused_pods().filter(|_| is_settled && active_pods < sized_total);
        let refused = refused.map(|why| ("refused", why));
        match refusals.expired(Instant::now(), refused) {
            Some(why) => WaitState::Ready(Some(format!("{counts}, and {why}"))),
            None => WaitState::Pending(format!(
                "{counts}{}",
                describe_surplus(&surplus, &snapshot.causes)
            )),
        }
    })
    .await
    .map_err(Into::into)
}

/// The timers of the three problems: failing pods, a late rollout, and pods that cannot end.
struct GraceTimers {
    pods: GraceTimer,
    rollout: GraceTimer,
    terminations: GraceTimer,
}

fn evaluate(
    intent: &Intent,
    receipt: &Receipt,
    snapshot: &WorkloadSnapshot,
    grace: &mut GraceTimers,
) -> WaitState<Vec<Arc<Pod>>> {
    let target = intent.target();
    if snapshot.replicas() != intent.after {
        return WaitState::failed(format!(
            "{target} was set to {} by another client, instead of {}",
            plural(snapshot.replicas() as usize, "pod"),
            intent.after
        ));
    }
    let active_pods: Vec<Arc<Pod>> = snapshot.active_pods().into_iter().cloned().collect();
    let lost = pod_selection::displaced_pods(intent, &receipt.gone, &active_pods);
    if !lost.is_empty() {
        return WaitState::failed(format!(
            "pods of {target} that were to be kept were removed in place of others: {}",
            join_truncated(lost)
        ));
    }
    let ready = active_pods.iter().filter(|pod| pod::is_ready(pod)).count();
    let surplus =
        if intent.after < intent.before.replicas { surplus(intent, snapshot) } else { Vec::new() };
    let rollout = rollout_state(snapshot, &mut grace.rollout);
    let all = intent.after as usize;
    if let (WaitState::Ready(()), true, true) =
        (&rollout, ready == all && active_pods.len() == all, surplus.is_empty())
    {
        return WaitState::Ready(active_pods);
    }
    let counts = format!("{ready} of {} of {target} Ready", plural(all, "pod"));
    if let Some(why) = snapshot.expired_problem(&mut grace.pods, &active_pods) {
        return WaitState::failed(format!("{counts}, and {why} (for {})", intent.give_up_after));
    }
    let causes = &snapshot.causes;
    let terminations = surplus.iter().copied();
    if let Some(failure) = causes.expired_termination(&mut grace.terminations, terminations) {
        let message = |why: &str| format!("{counts}, and {why} (for {})", intent.give_up_after);
        return WaitState::Failed(failure.map_message(message));
    }
    if let WaitState::Failed(failure) = rollout {
        let message = |why: &str| format!("{counts}, and the rollout failed: {why}");
        return WaitState::Failed(failure.map_message(message));
    }
    let unready =
        snapshot.describe_unready(&active_pods).map(|pods| format!(": {pods}")).unwrap_or_default();
    WaitState::Pending(format!("{counts}{unready}{}", describe_surplus(&surplus, causes)))
}

/// Returns the state of the rollout. A paused deployment can be scaled. The status says that an earlier rollout was
/// late until that makes progress, which the new pods may cause.
fn rollout_state(snapshot: &WorkloadSnapshot, grace: &mut GraceTimer) -> WaitState<()> {
    if !snapshot.is_observed() {
        return WaitState::Pending("the deployment controller has not seen the change yet".into());
    }
    if rollout::is_paused(&snapshot.deployment) {
        return WaitState::Ready(());
    }
    grace.tolerate(Instant::now(), rollout::status(&snapshot.deployment))
}

/// Returns the terminating pods that were not terminating before this step.
fn surplus<'a>(intent: &Intent, snapshot: &'a WorkloadSnapshot) -> Vec<&'a Arc<Pod>> {
    let is_ours = |pod: &&Arc<Pod>| {
        let uid = pod.metadata.uid.as_ref();
        pod::is_terminating(pod) && !uid.is_some_and(|uid| intent.already_terminating.contains(uid))
    };
    snapshot.pods.iter().filter(is_ours).collect()
}

fn describe_surplus(surplus: &[&Arc<Pod>], causes: &CauseView) -> String {
    if surplus.is_empty() {
        return String::new();
    }
    let named = surplus.iter().map(|pod| match causes.describe(pod) {
        Some(cause) => format!("{} ({cause})", workload::pod_name(pod)),
        None => workload::pod_name(pod).to_owned(),
    });
    format!("; terminating: {}", join_truncated(named))
}
