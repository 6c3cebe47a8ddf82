//! A simulated cluster in this process, in virtual time: thousands of whole runs fit into a minute.

use std::{future::Future, sync::Arc};

use clock::Clock;
use jiff::Timestamp;
use rafay_relay_sop::{
    engine::Engine,
    journal::RunStore,
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use simulator::{InProcess, InProcessOptions, Scenario, Simulator};

/// A cluster whose time is virtual.
pub struct VirtualCluster {
    pub simulator: Simulator,
    pub clock: Clock,
    kubernetes: simulator::InProcessServer,
    aws: simulator::InProcessServer,
}

/// Runs a future in a runtime whose time is virtual and whose random numbers come from a seed. The futures of a run and
/// of a simulator are nested deeply, so the thread has a large stack.
pub fn in_virtual_time<T: Send, F: Future<Output = T>>(
    seed: u64,
    make: impl FnOnce() -> F + Send,
) -> T {
    let run = || {
        fastrand::seed(seed);
        clock::virtual_runtime().expect("a runtime").block_on(make())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let ended = thread.spawn_scoped(scope, run).expect("a thread").join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl VirtualCluster {
    /// The scenario, at the beginning of a year.
    pub async fn new(scenario: Scenario) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let clock = Clock::virtual_from(start);
        let started = Simulator::start_in_process(scenario, InProcessOptions::new(clock)).await;
        let InProcess { simulator, kubernetes, aws } =
            started.unwrap_or_else(|error| panic!("{error}"));
        Self { simulator, clock, kubernetes, aws }
    }

    /// The clients of the cluster, as of a process of its own.
    pub fn platform(&self) -> Platform {
        let url = self.simulator.kubernetes_url().clone();
        Platform::new(PlatformOptions {
            clock: self.clock,
            kubernetes: KubernetesAccess::InProcess { url, server: self.kubernetes.clone() },
            aws: AwsAccess::InProcess { server: self.aws.clone() },
            environment: [].into(),
        })
    }

    /// A client of another program.
    pub fn foreign_client(&self) -> kube::Client {
        use tower::ServiceExt as _;
        let service =
            self.kubernetes.clone().map_request(|request: http::Request<kube::client::Body>| {
                request.map(axum::body::Body::new)
            });
        kube::Client::new(service, "default")
    }

    /// An engine, as of a process of its own.
    pub fn engine(&self, store: Arc<dyn RunStore>) -> Engine {
        Engine::new(self.platform(), store, true)
    }
}
