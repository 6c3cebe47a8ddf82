//! A stand-in EKS cluster: it serves the Kubernetes API and the EKS, Auto Scaling, EC2 and STS
//! calls on loopback, to the same clients that talk to a real one. A scenario says what the world
//! is like at the start; controllers and the passing of (scaled) time move it on; every call is
//! recorded, and faults can be asked for.
//!
//! Only `cli` and tests start it; everybody else meets it through its sockets. It knows the clock
//! and nothing else of this program.
//!
//! ```text
//!  kubectl, kube ──▶ connection ─▶ gateway ─▶ kubernetes/api ─▶ store ◀─ controllers
//!                                     │ call_log, faults           ▲
//!  aws, aws-sdk  ──▶ connection ─▶ gateway ─▶ aws/{eks, autoscaling, ec2} ─▶ fleet
//!                                                                  │             │
//!                                      (Kubernetes API, by socket) └── nodes ◀───┘
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::http::HeaderValue;
use jiff::Timestamp;
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use clock::Clock;

use admin::AdminApi;
use aws::Cloud;
use aws::fleet::Fleet;
use gateway::Gateway;
use kubernetes::api::{ApiServer, KubernetesService};
use kubernetes::controllers::{ControlPlane, ControllerSettings};

pub use authorize::{AccessPolicy, AccessPolicyError};
pub use call_log::RecordedCall;
pub use faults::{Effect, Fault};
pub use scenario::{
    ConfigMap, ContainerFailure, Deployment, FailingImage, LaunchFailure, Nodegroup, Scenario,
    ScenarioError, SlowLaunch, Spread, Times, UpdateFailure,
};
pub use seed::SeedError;
pub use state::{
    ClusterState, DeploymentFacts, InstanceFacts, NodeFacts, NodegroupFacts, PodFacts,
};

mod admin;
mod authorize;
mod aws;
mod call_log;
mod connection;
mod faults;
mod gateway;
mod ids;
mod kubernetes;
mod scenario;
mod seed;
mod state;

/// How a simulator is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// By how much every delay is divided.
    pub clock: Clock,
    /// Where the Kubernetes API listens.
    pub kubernetes_listen: SocketAddr,
    /// Where the AWS services listen.
    pub aws_listen: SocketAddr,
    /// A real API server to drive instead of the built-in one.
    pub kubernetes: Option<kube::Config>,
    /// What clients may do; everything, unless it is said. It does not bind a real API server.
    pub policy: Option<AccessPolicy>,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            // Sixty is a good speed, so the other case does not occur.
            clock: Clock::scaled(60.0).unwrap_or(Clock::real()),
            kubernetes_listen: loopback,
            aws_listen: loopback,
            kubernetes: None,
            policy: None,
        }
    }
}

/// A simulator that did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The scenario describes no world.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// An address could not be listened on.
    #[error("cannot listen on {address} for {what}: {source}")]
    Listen {
        /// The Kubernetes API or the AWS services.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No client could be made for the Kubernetes API.
    #[error("cannot make a client for the Kubernetes API: {0}")]
    Client(#[source] Box<kube::Error>),
    /// The scenario's objects could not be made.
    #[error(transparent)]
    Seed(#[from] SeedError),
}

/// A running simulator. Dropping it ends everything that it does and breaks its connections.
pub struct Simulator {
    gateway: Arc<Gateway>,
    kubernetes_url: Url,
    aws_url: Url,
    region: String,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    cloud: Arc<Cloud>,
    client: Client,
}

impl Simulator {
    /// Starts the servers and brings the world to the state that the scenario describes: every node
    /// of the start is Ready, and every pod that finds a place runs.
    ///
    /// # Errors
    /// An address that is taken, an API server that does not answer, an object that it refuses.
    pub async fn start(scenario: Scenario, options: Options) -> Result<Self, SimulatorError> {
        scenario.validate()?;
        let gateway = Arc::new(Gateway::new(options.clock, options.policy));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let aws_listener = listen("the AWS services", options.aws_listen).await?;
        let aws_url = listener_url(&aws_listener, options.aws_listen)?;
        let (config, api) = match options.kubernetes {
            Some(config) => (config, None),
            None => {
                let listener = listen("the Kubernetes API", options.kubernetes_listen).await?;
                let url = listener_url(&listener, options.kubernetes_listen)?;
                let api = kubernetes::api_server(&scenario);
                let service = Arc::new(KubernetesService(Arc::clone(&api)));
                let router = gateway::router(Arc::clone(&gateway), service);
                tasks.spawn(connection::serve(listener, stop.clone(), router));
                (internal_client_config(&url), Some(api))
            }
        };
        let kubernetes_url = parse_url(&config.cluster_url.to_string());
        let client =
            Client::try_from(config).map_err(|error| SimulatorError::Client(error.into()))?;
        let fleet = Fleet::new(&scenario, options.clock, Timestamp::now());
        let cloud = Arc::new(Cloud::new(fleet));
        aws::nodes::advance(&cloud, &client, &stop).await;
        seed::create_objects(&scenario, &client).await?;
        tasks.spawn(aws::nodes::run(Arc::clone(&cloud), client.clone(), stop.clone()));
        if let Some(api) = &api {
            let settings = ControllerSettings {
                clock: options.clock,
                times: scenario.times,
                failing_images: scenario.failing_images,
            };
            let mut control_plane = ControlPlane::new(Arc::clone(api), settings);
            control_plane.converge();
            tasks.spawn(control_plane.run(stop.clone()));
        } else {
            seed::wait_until_available(&scenario, &client).await;
        }
        let simulator = Self {
            gateway,
            kubernetes_url,
            aws_url,
            region: scenario.region,
            stop,
            tasks,
            cloud,
            client,
        };
        Ok(simulator.serve_aws(aws_listener, api))
    }

    fn serve_aws(mut self, listener: TcpListener, api: Option<Arc<ApiServer>>) -> Self {
        let admin = admin::router(AdminApi {
            gateway: Arc::clone(&self.gateway),
            cloud: Arc::clone(&self.cloud),
            client: self.client.clone(),
            api,
        });
        let endpoint = Arc::new(aws::AwsService(Arc::clone(&self.cloud)));
        let router = admin.merge(gateway::router(Arc::clone(&self.gateway), endpoint));
        self.tasks.spawn(connection::serve(listener, self.stop.clone(), router));
        self
    }

    /// Where the Kubernetes API is; the real one's address when that is driven.
    pub fn kubernetes_url(&self) -> &Url {
        &self.kubernetes_url
    }

    /// Where EKS, Auto Scaling, EC2, STS and the simulator's own surface are.
    pub fn aws_url(&self) -> &Url {
        &self.aws_url
    }

    /// A kubeconfig, as YAML, whose one context is `simulator`.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: simulator\n  cluster: {{server: \
             \"{}\"}}\nusers:\n- name: simulator\n  user: {{token: simulator}}\ncontexts:\n- \
             name: simulator\n  context: {{cluster: simulator, user: simulator, namespace: \
             default}}\ncurrent-context: simulator\n",
            self.kubernetes_url.as_str().trim_end_matches('/')
        )
    }

    /// The environment in which `kubectl`, `aws` and this program talk to the simulator, with the
    /// kubeconfig in a file.
    pub fn environment(&self, kubeconfig: &Path) -> Vec<(&'static str, String)> {
        vec![
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("AWS_ENDPOINT_URL", self.aws_url.as_str().trim_end_matches('/').to_owned()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_DEFAULT_REGION", self.region.clone()),
            ("AWS_ACCESS_KEY_ID", "simulator".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "simulator".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Every call so far, in the order of arrival.
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.gateway.calls.list()
    }

    /// Asks for something to go wrong.
    pub fn inject(&self, fault: Fault) {
        self.gateway.faults.inject(fault);
    }

    /// The facts of the world as they are now.
    ///
    /// # Errors
    /// A real API server that does not answer.
    pub async fn state(&self) -> Result<ClusterState, kube::Error> {
        state::read(&self.cloud, &self.client).await
    }

    /// Ends everything, and waits for it.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, SimulatorError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| SimulatorError::Listen { what, address, source })
}

fn listener_url(listener: &TcpListener, address: SocketAddr) -> Result<Url, SimulatorError> {
    let bound = listener.local_addr().map_err(|source| SimulatorError::Listen {
        what: "its own address",
        address,
        source,
    })?;
    Ok(parse_url(&format!("http://{bound}/")))
}

fn parse_url(text: &str) -> Url {
    Url::parse(text).expect("a socket address or an http::Uri with a scheme is a URL")
}

/// The client of the simulated instances, whose calls are the world's own.
fn internal_client_config(url: &Url) -> kube::Config {
    let uri = url.as_str().parse().expect("a URL with a host is a URI");
    let mut config = kube::Config::new(uri);
    config.headers.push((gateway::INTERNAL_CLIENT, HeaderValue::from_static("1")));
    config
}
