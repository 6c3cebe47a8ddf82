//! The whole runbook, run on a copy of the cluster: the same engine, actions and clients, in this process, on a clock
//! that jumps over everything that is only waited for. Nothing of it reaches a network, a log or a store.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

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

/// The stack of the thread. A run's futures are nested deeply, and the simulator's are too.
const STACK_SIZE: usize = 32 << 20;

/// The actor of a rehearsed run.
const ACTOR: &str = "rehearsal";

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
    /// Returns how many nodes came into being that have no pod at the end but those of daemon sets.
    pub(super) fn new_nodes_without_pods(&self) -> usize {
        let new = self.after.nodes.keys().filter(|name| !self.before.nodes.contains_key(*name));
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
}

impl RehearsalError {
    /// Returns the error as data.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Start(error) => Failure::from(error),
            Self::Store(error) => Failure::from(error),
            Self::Io(_) | Self::World(_) | Self::Panicked => {
                Failure::new(FailureKind::Internal, self.to_string())
            }
        }
    }
}

impl RehearsalRequest {
    /// Runs the runbook in a thread of its own, whose time is not that of the caller.
    ///
    /// # Errors
    /// There is nothing to rehearse on, or the run would be refused.
    pub async fn run(self) -> Result<Rehearsed, RehearsalError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let rehearse = move || {
            // What happens in the rehearsal did not happen: neither the log nor the audit log may say that it did.
            let ended = tracing::subscriber::with_default(NoSubscriber::default(), || {
                clock::virtual_runtime()?.block_on(self.run_here())
            });
            // The caller may have gone.
            let _ = sender.send(ended);
        };
        let thread = std::thread::Builder::new().name("rehearsal".into());
        thread.stack_size(STACK_SIZE).spawn(rehearse)?;
        receiver.await.unwrap_or(Err(RehearsalError::Panicked))
    }

    async fn run_here(self) -> Result<Rehearsed, RehearsalError> {
        let began = std::time::Instant::now();
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
        let preflight = engine.prepare(self.checked, &self.inputs).await?;
        let accepted = engine.accept(preflight, ACTOR, None).await?;
        let control = Control::default();
        let watchdog = cancel_after(TIME_LIMIT, control.clone());
        let run = engine.drive(accepted, control).await?;
        let is_cut_off = watchdog.has_fired();
        let events = store.read(run.id(), 0).await?;
        let after = simulator.state().await.map_err(unread)?;
        let (created, calls) = (simulator.created_objects(), simulator.calls());
        simulator.shutdown().await;
        let took = began.elapsed();
        Ok(Rehearsed { run, events, before, after, created, calls, took, is_cut_off })
    }
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
