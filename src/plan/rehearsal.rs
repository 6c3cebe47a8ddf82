//! The whole runbook, run on a copy of the cluster: the same engine, actions and clients, in this process, on a clock
//! that jumps over everything that is only waited for. Nothing of it reaches a network, a log or a store.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::subscriber::NoSubscriber;
use url::Url;

use crate::{
    engine::{Approver, CheckedRunbook, Control, Engine, StartError},
    journal::{Failure, FailureKind, MemoryStore, RecordedEvent, Run, RunStore, StoreError},
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use clock::Clock;
use simulator::{
    ClusterState, CreatedObject, InProcess, InProcessOptions, RecordedCall, Scenario, Simulator,
};

/// How long a rehearsal may take, in real time. One that has not ended by then is cut off, and says so.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// How much longer it may take until what was cut off has ended and its world is read.
const ENDING_LIMIT: Duration = Duration::from_secs(30);

/// The stack of the thread. A run's futures are nested deeply, and the simulator's are too.
const STACK_SIZE: usize = 32 << 20;

/// The actor of a rehearsed run.
const ACTOR: &str = "rehearsal";

/// How long the copy is left alone after the run, in its own time: what the run has set going last, such as the start
/// of pods, is over then.
const SETTLING: Duration = Duration::from_mins(2);

/// A run that is to be rehearsed, and where.
#[derive(Debug, Clone)]
pub struct RehearsalRequest {
    /// The runbook.
    pub checked: CheckedRunbook,
    /// Its inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// The copy of the cluster.
    pub world: Scenario,
    /// The moment of the copy, at which the rehearsal starts.
    pub starts_at: Timestamp,
    /// The address of the API server of which it is a copy.
    pub endpoint: Option<Url>,
    /// Answers to the questions of approvals, as texts.
    pub answers: BTreeMap<String, String>,
    /// The environment variables that actions may see.
    pub environment: BTreeMap<String, String>,
}

/// A run that was rehearsed to its end.
#[derive(Debug)]
pub struct Rehearsed {
    /// The run.
    pub run: Run,
    /// Its events.
    pub events: Vec<RecordedEvent>,
    /// The cluster before it.
    pub before: ClusterState,
    /// The cluster after it.
    pub after: ClusterState,
    /// The nodes and pods that came into being meanwhile.
    pub created: Vec<CreatedObject>,
    /// The calls that it made.
    pub calls: Vec<RecordedCall>,
    /// How long it took in real time.
    pub took: Duration,
    /// Whether it was cut off because it took too long.
    pub is_cut_off: bool,
}

impl Rehearsed {
    /// Returns how many nodes of a nodegroup, or of no nodegroup, came into being that have no pod at the end but those
    /// of daemon sets.
    pub(super) fn new_nodes_without_pods(&self, nodegroup: Option<&str>) -> usize {
        let of_group =
            self.after.nodes.iter().filter(|(_, node)| node.nodegroup.as_deref() == nodegroup);
        let new =
            of_group.map(|(name, _)| name).filter(|name| !self.before.nodes.contains_key(*name));
        let has_work = |node: &String| {
            self.after.pods.values().any(|pod| {
                pod.node.as_ref() == Some(node) && pod.controller.as_deref() != Some("DaemonSet")
            })
        };
        new.filter(|node| !has_work(node)).count()
    }

    /// Returns the deployments whose pods are rejected at the end and were not at the start, by namespace and name,
    /// with the reason.
    pub(super) fn rejected_pods(&self) -> Vec<(String, String, String)> {
        let rejected = self.after.deployments.iter().filter_map(|(path, deployment)| {
            let reason = deployment.rejected.clone()?;
            let was = self.before.deployments.get(path)?;
            let (namespace, name) = path.split_once('/')?;
            was.rejected.is_none().then(|| (namespace.to_owned(), name.to_owned(), reason))
        });
        rejected.collect()
    }
}

/// Why nothing could be rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The operating system refuses a thread or a runtime.
    #[error("cannot start the rehearsal: {0}")]
    Io(#[from] std::io::Error),
    /// The simulator does not take the copy of the cluster.
    #[error("the simulator cannot take the copy of the cluster: {0}")]
    World(String),
    /// The run would be refused.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The journal in memory failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The rehearsal panicked.
    #[error("the rehearsal panicked: this is a fault of this program")]
    Panicked,
    /// The rehearsal did not end when it was cut off.
    #[error("the rehearsal took longer than {} s", .0.as_secs())]
    TooLong(Duration),
}

impl RehearsalError {
    /// Returns the error as data.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Start(error) => Failure::from(error),
            Self::Store(error) => Failure::from(error),
            Self::Io(_) | Self::World(_) | Self::Panicked | Self::TooLong(_) => {
                Failure::new(FailureKind::Internal, self.to_string())
            }
        }
    }
}

impl RehearsalRequest {
    /// Runs the runbook in a thread of its own, whose time is not that of the caller. The thread ends when the returned
    /// future is dropped.
    ///
    /// # Errors
    /// There is nothing to rehearse on, the run would be refused, or it does not end.
    pub async fn run(self) -> Result<Rehearsed, RehearsalError> {
        in_virtual_time(TIME_LIMIT + ENDING_LIMIT, move || self.run_here()).await?
    }

    async fn run_here(self) -> Result<Rehearsed, RehearsalError> {
        let began = std::time::Instant::now();
        let control = Control::default();
        let watchdog = cancel_after(TIME_LIMIT, control.clone());
        let clock = Clock::virtual_from(self.starts_at);
        let mut options = InProcessOptions::new(clock);
        if let Some(endpoint) = self.endpoint {
            options.endpoint = endpoint;
        }
        let endpoint = options.endpoint.clone();
        let started = Simulator::start_in_process(self.world, options).await;
        let started = started.map_err(|error| RehearsalError::World(error.to_string()))?;
        let InProcess { simulator, kubernetes, aws } = started;
        let unread = |error: kube::Error| RehearsalError::World(error.to_string());
        let before = simulator.state().await.map_err(unread)?;
        let platform = Platform::new(PlatformOptions {
            clock,
            kubernetes: KubernetesAccess::InProcess { url: endpoint, server: kubernetes },
            aws: AwsAccess::InProcess { server: aws },
            environment: self.environment,
        });
        let store: Arc<dyn RunStore> = Arc::new(MemoryStore::default());
        let engine = Engine::new(platform, Arc::clone(&store), true)
            .approving_as(Approver::rehearsal(self.answers));
        let preflight = engine.prepare_to_plan(self.checked.bind(&self.inputs)?).await?;
        let accepted = engine.accept(preflight, ACTOR, None).await?;
        let run = engine.drive(accepted, control).await?;
        let is_cut_off = watchdog.has_fired();
        let events = store.read(run.id(), 0).await?;
        tokio::time::sleep(SETTLING).await;
        let after = simulator.state().await.map_err(unread)?;
        let (created, calls) = (simulator.created_objects(), simulator.calls());
        simulator.shutdown().await;
        let took = began.elapsed();
        Ok(Rehearsed { run, events, before, after, created, calls, took, is_cut_off })
    }
}

/// Runs a future in a thread of its own, in virtual time, for as long as the caller waits, and at most for `limit` in
/// real time: then the future is dropped, with all that it has in memory.
async fn in_virtual_time<T, F>(
    limit: Duration,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<T, RehearsalError>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (mut sender, receiver) = tokio::sync::oneshot::channel();
    let rehearse = move || {
        let runtime = match clock::virtual_runtime() {
            Ok(runtime) => runtime,
            // The caller may have gone.
            Err(error) => return drop(sender.send(Err(RehearsalError::from(error)))),
        };
        // What happens in the rehearsal did not happen: neither the log nor the audit log may say that it did.
        let ended = tracing::subscriber::with_default(NoSubscriber::default(), || {
            runtime.block_on(async {
                // Virtual time does not wait for the caller: it goes on as if only the rehearsal were there.
                tokio::select! {
                    biased;
                    () = sender.closed() => None,
                    ended = make() => Some(ended),
                }
            })
        });
        if let Some(ended) = ended {
            let _ = sender.send(Ok(ended));
        }
    };
    let thread = std::thread::Builder::new().name("rehearsal".into());
    thread.stack_size(STACK_SIZE).spawn(rehearse)?;
    let ended = tokio::time::timeout(limit, receiver).await;
    ended.map_err(|_| RehearsalError::TooLong(limit))?.unwrap_or(Err(RehearsalError::Panicked))
}

/// Cancels a run when it has taken too long in real time, which a timer of its own runtime cannot tell.
struct Watchdog(Option<std::sync::mpsc::Sender<()>>, Option<std::thread::JoinHandle<bool>>);

fn cancel_after(limit: Duration, control: Control) -> Watchdog {
    let (ended, waits) = std::sync::mpsc::channel::<()>();
    let wait = move || {
        let is_late = waits.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if is_late {
            control.cancel("the time limit of rehearsals");
        }
        is_late
    };
    // Without a thread there is no limit.
    let thread = std::thread::Builder::new().name("rehearsal-limit".into()).spawn(wait).ok();
    Watchdog(Some(ended), thread)
}

impl Watchdog {
    fn has_fired(mut self) -> bool {
        drop(self.0.take());
        self.1.take().and_then(|thread| thread.join().ok()).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

    use futures::FutureExt as _;

    use super::*;

    /// Longer than any test takes that does not fail.
    const LIMIT: Duration = Duration::from_secs(60);

    /// Runs for ever in virtual time, with something in memory.
    async fn endless(held: Sender<()>) {
        held.send(()).unwrap();
        loop {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
    }

    #[tokio::test]
    async fn a_rehearsal_ends_when_its_caller_goes() {
        let (held, dropped) = channel();
        let mut rehearsal = Box::pin(in_virtual_time(LIMIT, || endless(held)));
        assert!(rehearsal.as_mut().now_or_never().is_none());
        assert_eq!(dropped.recv_timeout(LIMIT), Ok(()), "it has begun");
        drop(rehearsal);
        assert_eq!(dropped.recv_timeout(LIMIT), Err(RecvTimeoutError::Disconnected));
    }

    #[tokio::test]
    async fn a_rehearsal_that_does_not_end_is_given_up() {
        let (held, dropped) = channel();
        let limit = Duration::from_millis(1);
        let ended = in_virtual_time(limit, || endless(held)).await;
        assert!(matches!(ended, Err(RehearsalError::TooLong(_))), "{ended:?}");
        let mut received = std::iter::from_fn(|| Some(dropped.recv_timeout(LIMIT)));
        assert_eq!(received.find(Result::is_err), Some(Err(RecvTimeoutError::Disconnected)));
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let ended = in_virtual_time(LIMIT, || async {
            std::hint::black_box(None::<()>).expect("on purpose");
        })
        .await;
        assert!(matches!(ended, Err(RehearsalError::Panicked)), "{ended:?}");
    }
}
