//! The drain of an undo: evicts the pods of nodes as disruption budgets allow, and waits for the replacements.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    snapshot::{DrainRules, controller_uid, describe, evict, uid},
    watch::DrainWatch,
};
use crate::platform::kubernetes::pod::Pod;
use crate::{
    actions::{Error, PlatformWriter, Progress, Result, budgets, types, workload::pod_name},
    platform::{
        kubernetes::pod,
        wait::{self, GraceTimer, WaitState},
    },
};
use clock::{Backoff, Pace};
use text::{join_truncated, plural};

/// `kubectl drain` asks a disruption budget again after five seconds.
const EVICTION_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The pauses between evictions of pods that have just become evictable. A controller that puts a new pod on a drained
/// node as soon as the old one has gone is not followed at its speed.
const EVICTION_PACE: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(1));

/// Evicts every pod of the nodes that is not bound to its node (daemon sets' and mirror pods are), and waits until
/// they are gone and whatever controls them has as many Ready pods elsewhere as it had before. `previously_pending`
/// says how many pods of each workload had no node before the new nodes joined: no replacement is expected for them.
///
/// A workload may have all its pods here, and no disruption budget. So only a quarter of its Ready pods are missing at
/// a time, which is what a rollout may take away unless it is told otherwise (`maxUnavailable` of a Deployment), and
/// always one may be.
///
/// # Errors
/// A pod would be lost because nothing replaces it; or there is no progress for two minutes, because of a disruption
/// budget or of a replacement that does not become Ready.
pub(in crate::actions) async fn drain(
    nodes: &[String],
    previously_pending: &BTreeMap<String, usize>,
    writer: &PlatformWriter,
    progress: &Progress,
) -> Result<()> {
    let kubernetes = writer.kubernetes().await?;
    let rules = DrainRules::default();
    let mut watch =
        DrainWatch::new(kubernetes.reader(), *writer.reader().clock(), &rules, progress);
    let views = watch.views(nodes, rules);
    watch.read(progress).await?;
    let first = views.snapshot();
    reject_uncontrolled_pods(&first.remaining())?;
    let expected_ready = first.expected_ready(previously_pending);
    let clock = writer.reader().clock();
    let (retry_interval, give_up_after) = (
        clock.delay(EVICTION_RETRY_INTERVAL),
        clock.deadline(types::default_give_up_after().std()),
    );
    let (mut budget_grace, mut replacement_grace) =
        (GraceTimer::new(give_up_after), GraceTimer::new(give_up_after));
    let mut termination_grace = GraceTimer::new(give_up_after);
    let mut evicted = BTreeSet::new();
    let mut pace = Pace::new(clock, EVICTION_PACE);
    loop {
        pace.next_turn().await;
        let evictable = views.snapshot().evictable(&expected_ready, &evicted);
        let blocked = evict(&evictable, None, &mut evicted, &kubernetes).await?;
        let permanent = budgets::find_permanent_refusal(blocked.values(), kubernetes.reader());
        let permanent = permanent.await?;
        let requested_at = Instant::now();
        let drained = watch.wait(progress, || {
            let snapshot = views.snapshot();
            // Many pods under one budget go one after the other. As long as one is going, or the replacement of one
            // that went is starting, the budget may yet allow the next.
            let is_stuck = !blocked.is_empty() && !snapshot.is_progressing(&expected_ready);
            let refusal = || match &permanent {
                Some(failure) => failure.message.clone(),
                None => budgets::describe(blocked.values()),
            };
            let stuck = is_stuck.then(|| (evicted.len().to_string(), refusal()));
            if let Some(why) = budget_grace.expired(Instant::now(), stuck) {
                let hint = permanent.as_ref().and_then(|failure| failure.hint.clone());
                return WaitState::Failed(wait::Failure { message: why, hint });
            }
            let remaining = snapshot.remaining();
            if remaining.is_empty() {
                return WaitState::Ready(true);
            }
            let stuck = snapshot.causes.expired_termination(&mut termination_grace, &remaining);
            if let Some(failure) = stuck {
                return WaitState::Failed(failure);
            }
            let evictable = snapshot.evictable(&expected_ready, &evicted);
            let is_new = |pod: &Arc<Pod>| !blocked.contains_key(uid(&pod.metadata));
            if evictable.iter().any(is_new)
                || !evictable.is_empty() && requested_at.elapsed() >= retry_interval
            {
                return WaitState::Ready(false);
            }
            let refusal = (!blocked.is_empty()).then(refusal);
            let text = describe(&remaining, "the new nodes", &snapshot.causes, refusal.as_deref());
            match snapshot.evaluate_replacements(&expected_ready, &mut replacement_grace) {
                WaitState::Failed(why) => WaitState::Failed(why),
                WaitState::Pending(first) => WaitState::Pending(format!("{text}; first {first}")),
                WaitState::Ready(()) => WaitState::Pending(text),
            }
        });
        if drained.await? {
            break;
        }
    }
    watch
        .wait(progress, || {
            views.snapshot().evaluate_replacements(&expected_ready, &mut replacement_grace)
        })
        .await
}

fn reject_uncontrolled_pods(pods: &[Arc<Pod>]) -> Result<()> {
    let is_uncontrolled = |pod: &&Arc<Pod>| controller_uid(pod).is_none() && pod::is_active(pod);
    let uncontrolled: Vec<&str> =
        pods.iter().filter(is_uncontrolled).map(|pod| pod_name(pod)).collect();
    if uncontrolled.is_empty() {
        return Ok(());
    }
    Err(Error::unrecoverable(format!(
        "{} without a controller would be lost: {}",
        plural(uncontrolled.len(), "pod"),
        join_truncated(uncontrolled)
    ))
    .with_hint("move or delete every pod without a controller, then roll back again"))
}
