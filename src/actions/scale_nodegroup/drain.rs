//! Emptying nodes: their pods are evicted as disruption budgets allow, and their replacements waited for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, StatefulSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    actions::{
        Error, Progress, Result, Writer,
        at_once::a_few_at_once,
        records::two_minutes,
        words::{counted, listed},
        workload::{lasting_trouble, name, unready},
    },
    platform::{
        Class,
        kubernetes::{self, Selection, View, Watched, pod},
        wait::{self, Patience, Source, State},
    },
};

/// `kubectl drain` asks a disruption budget again after five seconds.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Evicts every pod of the nodes that is not bound to its node (daemon sets' and mirror pods are), and waits until
/// they are gone and whatever controls them has as many Ready pods elsewhere as it had before. `homeless` says how many
/// pods of each workload had no node before these came: nobody is owed another place for them.
///
/// A workload may have all its pods here, and no disruption budget. So only a quarter of its Ready pods are missing at
/// a time, which is what a rollout may take away unless it is told otherwise (`maxUnavailable` of a Deployment), and
/// always one may be.
///
/// # Errors
/// A pod would be lost because nothing replaces it; or nothing gets on for two minutes, because of a disruption budget
/// or of a replacement that does not become Ready.
pub(super) async fn drain(
    nodes: &[String],
    homeless: &BTreeMap<String, usize>,
    writer: &Writer,
    progress: &Progress,
) -> Result<()> {
    let kubernetes = writer.kubernetes().await?;
    let mut watching = Watching::new(kubernetes.reader());
    let seen = watching.seen(nodes);
    watching.read(progress).await?;
    refuse_to_lose(&seen.here())?;
    let owed = seen.owed(homeless);
    let clock = writer.reader().clock();
    let (pause, two_minutes) = (clock.delay(ASK_AGAIN), clock.deadline(two_minutes().std()));
    let (mut patience, mut late) = (Patience::new(two_minutes), Patience::new(two_minutes));
    let mut told = BTreeSet::new();
    loop {
        let blocked = evict(&seen.may_go(&owed, &told), &mut told, &kubernetes).await?;
        let asked = Instant::now();
        let emptied = watching.wait(progress, || {
            // Many pods under one budget go one after the other. As long as one is going, or the replacement of one
            // that went is starting, the budget may yet allow the next.
            let refusal = blocked.values().next().filter(|_| !seen.is_moving(&owed));
            let stuck = refusal.map(|why| (told.len().to_string(), why.clone()));
            if let Some(why) = patience.lasting(Instant::now(), stuck) {
                return State::Hopeless(why);
            }
            let here = seen.here();
            if here.is_empty() {
                return State::Done(true);
            }
            let may_go = seen.may_go(&owed, &told);
            let is_new = |pod: &Arc<Pod>| !blocked.contains_key(uid(&pod.metadata));
            if may_go.iter().any(is_new) || !may_go.is_empty() && asked.elapsed() >= pause {
                return State::Done(false);
            }
            let text = describe(&here, blocked.values());
            match seen.replaced(&owed, &mut late) {
                State::Hopeless(why) => State::Hopeless(why),
                State::Pending(first) => State::Pending(format!("{text}; first {first}")),
                State::Done(()) => State::Pending(text),
            }
        });
        if emptied.await? {
            break;
        }
    }
    watching.wait(progress, || seen.replaced(&owed, &mut late)).await
}

/// Everything that is watched: pods and what makes them, of all namespaces.
struct Watching {
    pods: Watched<Pod>,
    replica_sets: Watched<ReplicaSet>,
    stateful_sets: Watched<StatefulSet>,
}

/// What can be seen of it, with the nodes in mind.
struct Seen {
    nodes: BTreeSet<String>,
    pods: View<Pod>,
    replica_sets: View<ReplicaSet>,
    stateful_sets: View<StatefulSet>,
}

impl Watching {
    fn new(kubernetes: &kubernetes::Reader) -> Self {
        let running = "status.phase!=Succeeded,status.phase!=Failed";
        Self {
            pods: kubernetes.watch(&Selection::all().with_fields(running)),
            replica_sets: kubernetes.watch(&Selection::all()),
            stateful_sets: kubernetes.watch(&Selection::all()),
        }
    }

    fn seen(&self, nodes: &[String]) -> Seen {
        Seen {
            nodes: nodes.iter().cloned().collect(),
            pods: self.pods.view(),
            replica_sets: self.replica_sets.view(),
            stateful_sets: self.stateful_sets.view(),
        }
    }

    async fn read(&mut self, progress: &Progress) -> Result<()> {
        Ok(wait::until(progress, &mut self.sources(), || State::Done(())).await?)
    }

    async fn wait<T>(&mut self, progress: &Progress, look: impl FnMut() -> State<T>) -> Result<T> {
        Ok(wait::until_again(progress, &mut self.sources(), look).await?)
    }

    fn sources(&mut self) -> [&mut dyn Source; 3] {
        [&mut self.pods, &mut self.replica_sets, &mut self.stateful_sets]
    }
}

impl Seen {
    /// The pods that are still to leave.
    fn here(&self) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.objects();
        pods.retain(|pod| {
            let is_bound = pod::is_daemon(pod) || pod::is_mirror(pod) || pod::is_finished(pod);
            !is_bound && pod::node(pod).is_some_and(|node| self.nodes.contains(node))
        });
        pods
    }

    /// Those of them that nobody has told yet.
    fn to_evict(&self, told: &BTreeSet<String>) -> Vec<Arc<Pod>> {
        let mut pods = self.here();
        pods.retain(|pod| !pod::is_terminating(pod) && !told.contains(uid(&pod.metadata)));
        pods
    }

    /// Those of them that can be spared now.
    fn may_go(&self, owed: &BTreeMap<String, usize>, told: &BTreeSet<String>) -> Vec<Arc<Pod>> {
        let mut pods = self.to_evict(told);
        let mut spare: BTreeMap<String, usize> = BTreeMap::new();
        pods.retain(|pod| {
            // Nobody misses one that does not serve.
            let Some(owner) = owner(pod).filter(|_| pod::is_ready(pod)) else { return true };
            let spare = spare
                .entry(owner.to_owned())
                .or_insert_with(|| self.spare(owner, owed.get(owner).copied().unwrap_or(0), told));
            let can_go = *spare > 0;
            *spare = spare.saturating_sub(1);
            can_go
        });
        pods
    }

    /// How many Ready pods a controller can do without.
    fn spare(&self, owner_uid: &str, owed: usize, told: &BTreeSet<String>) -> usize {
        let due = owed.min(self.wanted(owner_uid));
        let least = due.saturating_sub((due / 4).max(1));
        let ready = self.ready_of(owner_uid);
        let staying = ready.iter().filter(|pod| !told.contains(uid(&pod.metadata))).count();
        staying.saturating_sub(least)
    }

    /// Whether something is under way that may change what a disruption budget allows: a pod is going, or a replacement
    /// is starting.
    fn is_moving(&self, owed: &BTreeMap<String, usize>) -> bool {
        let is_going = self.here().iter().any(|pod| pod::is_terminating(pod));
        let is_elsewhere =
            |pod: &Pod| !pod::node(pod).is_some_and(|node| self.nodes.contains(node));
        let is_starting = |owner: &String| {
            self.of(owner).iter().any(|pod| is_elsewhere(pod) && !pod::is_ready(pod))
        };
        is_going || owed.keys().any(is_starting)
    }

    /// How many Ready pods each controller had that has a pod here, without those that had no place before.
    fn owed(&self, homeless: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
        let mut here: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in self.here() {
            if let Some(owner) = owner(&pod) {
                here.entry(owner.to_owned()).or_default().push(pod);
            }
        }
        let owed = |(owner, pods): (String, Vec<Arc<Pod>>)| {
            let workload = pods.first().and_then(|pod| pod::workload(pod));
            let had_none = workload.and_then(|name| homeless.get(&name)).copied().unwrap_or(0);
            let owed = self.ready_of(&owner).len().saturating_sub(had_none.min(pods.len()));
            (owner, owed)
        };
        here.into_iter().map(owed).collect()
    }

    fn of(&self, owner_uid: &str) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.objects();
        pods.retain(|pod| owner(pod) == Some(owner_uid) && pod::is_standing(pod));
        pods
    }

    fn ready_of(&self, owner_uid: &str) -> Vec<Arc<Pod>> {
        let mut pods = self.of(owner_uid);
        pods.retain(|pod| pod::is_ready(pod));
        pods
    }

    /// How many pods a controller is to have now. One that is gone is to have none.
    fn wanted(&self, owner_uid: &str) -> usize {
        let sets = self.replica_sets.objects();
        let of_set = sets.iter().map(|set| (uid(&set.metadata), set.spec.replicas));
        let stateful = self.stateful_sets.objects();
        let of_stateful = stateful.iter().map(|set| (uid(&set.metadata), set.spec.replicas));
        let mut all = of_set.chain(of_stateful);
        let replicas = all.find(|(uid, _)| *uid == owner_uid).map(|(_, count)| count.unwrap_or(1));
        replicas.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    }

    fn replaced(&self, owed: &BTreeMap<String, usize>, patience: &mut Patience) -> State<()> {
        let mut missing = 0;
        let mut waiting = Vec::new();
        for (owner, before) in owed {
            let due = (*before).min(self.wanted(owner)).saturating_sub(self.ready_of(owner).len());
            missing += due;
            if due > 0 {
                waiting.extend(self.of(owner));
            }
        }
        if missing == 0 {
            return State::Done(());
        }
        if let Some(why) = lasting_trouble(patience, &waiting) {
            return State::Hopeless(format!("a replacement does not become Ready: {why}"));
        }
        let unready = unready(&waiting).map(|pods| format!(": {pods}")).unwrap_or_default();
        State::Pending(format!(
            "{} of evicted pods to be Ready{unready}",
            counted(missing, "replacement")
        ))
    }
}

fn refuse_to_lose(pods: &[Arc<Pod>]) -> Result<()> {
    let is_bare = |pod: &&Arc<Pod>| owner(pod).is_none() && pod::is_standing(pod);
    let bare: Vec<&str> = pods.iter().filter(is_bare).map(|pod| name(pod)).collect();
    if bare.is_empty() {
        return Ok(());
    }
    Err(Error::Hopeless(format!(
        "{} would be lost, since nothing controls and so replaces it: {}; move or delete it, and roll back again",
        counted(bare.len(), "pod"),
        listed(bare)
    )))
}

/// Asks for the end of these pods, and returns why some may not end yet, by their UIDs.
async fn evict(
    pods: &[Arc<Pod>],
    told: &mut BTreeSet<String>,
    kubernetes: &kubernetes::Writer,
) -> Result<BTreeMap<String, String>> {
    let calls: Vec<_> = pods
        .iter()
        .map(|pod| async move {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let uid = uid(&pod.metadata);
            match kubernetes.evict_pod(namespace, name(pod), uid, None).await {
                Ok(_) => Ok((uid.to_owned(), None)),
                // The API server's words name the budget.
                Err(error) if error.class() == Class::Busy => {
                    Ok((uid.to_owned(), Some(error.to_string())))
                }
                Err(error) => Err(error.into()),
            }
        })
        .collect();
    let mut blocked = BTreeMap::new();
    for (uid, refusal) in a_few_at_once(calls).await? {
        match refusal {
            Some(words) => drop(blocked.insert(uid, words)),
            None => drop(told.insert(uid)),
        }
    }
    Ok(blocked)
}

fn describe<'a>(here: &[Arc<Pod>], blocked: impl Iterator<Item = &'a String>) -> String {
    let names = here.iter().map(|pod| name(pod));
    let text = format!("{} to leave the new nodes: {}", counted(here.len(), "pod"), listed(names));
    let blocked: Vec<&String> = blocked.collect();
    if blocked.is_empty() { text } else { format!("{text}; not allowed yet: {}", listed(blocked)) }
}

fn owner(pod: &Pod) -> Option<&str> {
    pod::controller(&pod.metadata).map(|owner| owner.uid.as_str())
}

fn uid(metadata: &ObjectMeta) -> &str {
    metadata.uid.as_deref().unwrap_or_default()
}
