//! A simulated EKS cluster. It serves the Kubernetes API and the calls of EKS, Auto Scaling, EC2,
//! IAM and STS on loopback, to the same clients that talk to a real cluster. A scenario describes
//! the initial state; controllers and the passing of (scaled) time change that state; every call is
//! recorded, and faults can be injected.
//!
//! Only `cli` and tests start the simulator; everything else reaches it through its sockets. This
//! crate depends on the clock and on no other part of the program.
//!
//! ```text
//!  kubectl, kube ──▶ connection ─▶ gateway ─▶ kubernetes/api ─▶ store ◀─ controllers
//!                                     │ call_log, faults           ▲
//!  aws, aws-sdk  ──▶ connection ─▶ gateway ─▶ aws/{eks, autoscaling, ec2} ─▶ fleet
//!                                                                  │             │
//!                                      (Kubernetes API, by socket) └── nodes ◀───┘
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::http::HeaderValue;
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
use kubernetes::controllers::{ControlPlane, ControllerSettings, WorkCounter};

pub use authorize::{AccessPolicy, AccessPolicyError, StatementError};
pub use call_log::RecordedCall;
pub use faults::{Effect, Fault};
pub use in_process::InProcessServer;
pub use kubernetes::cluster_objects::{complete as complete_cluster_object, is_known_kind};
pub use kubernetes::controllers::CreatedObject;
pub use scenario::{
    CapacityType, ClusterObject, ConfigMap, ContainerFailure, Deployment, FailingImage, Instance,
    InstanceLifecycle, LaunchFailure, LaunchTemplate, MaxUnavailable, Nodegroup, PlainGroup,
    Scenario, ScenarioError, SlowLaunch, Spread, Taint, Times, UpdateFailure, WorkloadTimes,
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
mod in_process;
mod kubernetes;
mod scenario;
mod seed;
mod state;
mod yaml;

/// The options with which a simulator is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The clock that divides every delay.
    pub clock: Clock,
    /// The address on which the Kubernetes API listens.
    pub kubernetes_listen: SocketAddr,
    /// The address on which the AWS services listen.
    pub aws_listen: SocketAddr,
    /// A real API server to use instead of the built-in one.
    pub kubernetes: Option<kube::Config>,
    /// The calls that clients may make; all if `None`. The policy does not apply to a real API server.
    pub policy: Option<AccessPolicy>,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            // 60 is a valid speed, so the fallback is never used.
            clock: Clock::scaled(60.0).unwrap_or(Clock::real()),
            kubernetes_listen: loopback,
            aws_listen: loopback,
            kubernetes: None,
            policy: None,
        }
    }
}

/// The reason why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The scenario is not valid.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The scenario has objects as they were read from a cluster, and a real API server is used.
    #[error("the cluster objects of the scenario cannot be loaded into a real API server")]
    ClusterObjects,
    /// Listening on an address failed.
    #[error("could not listen on {address} for {what}: {source}")]
    Listen {
        /// The service: the Kubernetes API or the AWS services.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// No client could be created for the Kubernetes API.
    #[error("could not create a client for the Kubernetes API: {0}")]
    Client(#[source] Box<kube::Error>),
    /// The scenario's objects could not be created.
    #[error(transparent)]
    Seed(#[from] SeedError),
}

/// How much the controllers have worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControllerWork {
    /// The changes of objects that the controllers have seen.
    pub changes: u64,
    /// The objects that controllers have looked at, each as often as it was looked at.
    pub examined: u64,
}

/// A running simulator. Dropping it ends its tasks and closes its connections.
pub struct Simulator {
    gateway: Arc<Gateway>,
    kubernetes_url: Url,
    /// The certificate authority of the API server, in PEM.
    authority: String,
    aws_url: Url,
    region: String,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    cloud: Arc<Cloud>,
    client: Client,
    work: Arc<WorkCounter>,
}

impl Simulator {
    /// Starts the servers and brings the cluster to the state that the scenario describes: every
    /// initial node is Ready, and every pod that can be scheduled runs. With objects as they were read from a cluster,
    /// it goes on from these.
    ///
    /// # Errors
    /// An address that is in use, an API server that does not answer, or an object that the API
    /// server rejects.
    pub async fn start(scenario: Scenario, options: Options) -> Result<Self, SimulatorError> {
        if options.kubernetes.is_some() && !scenario.cluster_objects.is_empty() {
            return Err(SimulatorError::ClusterObjects);
        }
        let mut start = Start::new(scenario, options.clock, options.policy)?;
        let aws_listener = listen("the AWS services", options.aws_listen).await?;
        let aws_url = listener_url(&aws_listener, options.aws_listen)?;
        let config = if let Some(config) = options.kubernetes {
            config
        } else {
            let listener = listen("the Kubernetes API", options.kubernetes_listen).await?;
            let url = listener_url(&listener, options.kubernetes_listen)?;
            let router = start.serve_kubernetes();
            start.tasks.spawn(connection::serve(listener, start.stop.clone(), router));
            internal_client_config(&url)
        };
        let kubernetes_url = parse_url(&config.cluster_url.to_string());
        let authority = config.root_cert.as_deref().map(aws::certificate::to_pem);
        let mut config = config;
        // kube would repeat an eviction that a budget refuses for minutes, and nothing else would happen meanwhile.
        config.default_retry = false;
        let client =
            Client::try_from(config).map_err(|error| SimulatorError::Client(error.into()))?;
        let (mut simulator, router) =
            start.run(client, Urls { kubernetes: kubernetes_url, aws: aws_url }, authority).await?;
        let stop = simulator.stop.clone();
        simulator.tasks.spawn(connection::serve(aws_listener, stop, router));
        Ok(simulator)
    }

    /// Starts a simulator without sockets, for clients in this process: in the runtime of a virtual clock, half an hour
    /// takes as long as the work in it.
    ///
    /// # Errors
    /// An object that the API server rejects.
    pub async fn start_in_process(
        scenario: Scenario,
        options: InProcessOptions,
    ) -> Result<InProcess, SimulatorError> {
        let mut start = Start::new(scenario, options.clock, options.policy)?;
        let kubernetes = in_process::serve(start.serve_kubernetes(), &start.stop);
        let client = in_process::internal_client(&kubernetes);
        let urls = Urls { kubernetes: options.endpoint, aws: parse_url("http://aws.simulator/") };
        let (simulator, router) = start.run(client, urls, None).await?;
        let aws = in_process::serve(router, &simulator.stop);
        Ok(InProcess { simulator, kubernetes, aws })
    }

    fn aws_routes(&self, api: Option<Arc<ApiServer>>) -> Router {
        let admin = admin::router(AdminApi {
            gateway: Arc::clone(&self.gateway),
            cloud: Arc::clone(&self.cloud),
            client: self.client.clone(),
            api,
        });
        let endpoint = Arc::new(aws::AwsService {
            cloud: Arc::clone(&self.cloud),
            policy: self.gateway.policy.clone().unwrap_or_default(),
        });
        admin.merge(gateway::router(Arc::clone(&self.gateway), endpoint))
    }

    /// Returns the URL of the Kubernetes API, which is the real API server's if one is used.
    pub fn kubernetes_url(&self) -> &Url {
        &self.kubernetes_url
    }

    /// Returns the URL of EKS, Auto Scaling, EC2, IAM, STS and the simulator's admin API.
    pub fn aws_url(&self) -> &Url {
        &self.aws_url
    }

    /// Returns a kubeconfig, as YAML, whose only context is `simulator`.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: simulator\n  cluster: {{server: \
             \"{}\", certificate-authority-data: \"{}\"}}\nusers:\n- name: simulator\n  user: {{token: simulator}}\ncontexts:\n- \
             name: simulator\n  context: {{cluster: simulator, user: simulator, namespace: \
             default}}\ncurrent-context: simulator\n",
            self.kubernetes_url.as_str().trim_end_matches('/'),
            aws::certificate::to_data(&self.authority)
        )
    }

    /// Returns the environment variables with which `kubectl`, `aws` and this program talk to the
    /// simulator. `kubeconfig` is the path of a file that holds [`Self::kubeconfig`].
    pub fn environment(&self, kubeconfig: &Path) -> Vec<(&'static str, String)> {
        vec![
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("AWS_ENDPOINT_URL", self.aws_url.as_str().trim_end_matches('/').to_owned()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_DEFAULT_REGION", self.region.clone()),
            ("AWS_ACCESS_KEY_ID", "simulator".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "simulator".to_owned()),
            // No profile of the caller names another account or endpoint.
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Returns every call so far, in the order of arrival.
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.gateway.calls.list()
    }

    /// Injects a fault.
    pub fn inject(&self, fault: Fault) {
        self.gateway.faults.inject(fault);
    }

    /// Returns how much the built-in controllers have worked since the start. The work of a real
    /// control plane is not counted.
    pub fn controller_work(&self) -> ControllerWork {
        ControllerWork {
            changes: self.work.changes.load(Ordering::Relaxed),
            examined: self.work.examined.load(Ordering::Relaxed),
        }
    }

    /// Returns the nodes and pods that came into being, those of the scenario included.
    pub fn created_objects(&self) -> Vec<CreatedObject> {
        self.work.created.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the current facts of the cluster and the account.
    ///
    /// # Errors
    /// A real API server that does not answer.
    pub async fn state(&self) -> Result<ClusterState, kube::Error> {
        state::read(&self.cloud, &self.client).await
    }

    /// Stops every task of the simulator and waits until they have ended.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A simulator whose clients are in the same process.
pub struct InProcess {
    /// The simulator.
    pub simulator: Simulator,
    /// The Kubernetes API.
    pub kubernetes: InProcessServer,
    /// The AWS services.
    pub aws: InProcessServer,
}

/// The options with which a simulator is started whose clients are in the same process.
#[derive(Debug, Clone)]
pub struct InProcessOptions {
    /// The clock.
    pub clock: Clock,
    /// The address that EKS reports for the Kubernetes API. Nothing is ever sent to it.
    pub endpoint: Url,
    /// The calls that clients may make; all if `None`.
    pub policy: Option<AccessPolicy>,
}

impl InProcessOptions {
    /// Returns the options with a clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, endpoint: parse_url("http://kubernetes.simulator/"), policy: None }
    }
}

/// A simulator that is being started.
struct Start {
    scenario: Scenario,
    cluster_uid: String,
    gateway: Arc<Gateway>,
    /// The built-in API server, if it is used.
    api: Option<Arc<ApiServer>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// The addresses at which clients reach the simulator.
struct Urls {
    kubernetes: Url,
    aws: Url,
}

impl Start {
    fn new(
        mut scenario: Scenario,
        clock: Clock,
        policy: Option<AccessPolicy>,
    ) -> Result<Self, SimulatorError> {
        scenario.validate()?;
        let new_uid = || uuid::Uuid::new_v4().to_string();
        let cluster_uid = scenario.cluster_uid.get_or_insert_with(new_uid).clone();
        let gateway = Arc::new(Gateway::new(clock, policy));
        let (stop, tasks) = (CancellationToken::new(), JoinSet::new());
        Ok(Self { scenario, cluster_uid, gateway, api: None, stop, tasks })
    }

    /// Uses the built-in API server, and returns its routes.
    fn serve_kubernetes(&mut self) -> Router {
        let (clock, policy) = (self.gateway.clock, self.gateway.policy.clone());
        let api = kubernetes::api_server(&self.scenario, clock, policy);
        let service = Arc::new(KubernetesService(Arc::clone(&api)));
        self.api = Some(api);
        gateway::router(Arc::clone(&self.gateway), service)
    }

    /// Brings the cluster to the state that the scenario describes, and lets it go on. Returns the routes of the AWS
    /// services too. `authority` is that of a real API server.
    async fn run(
        mut self,
        client: Client,
        urls: Urls,
        authority: Option<String>,
    ) -> Result<(Simulator, Router), SimulatorError> {
        let clock = self.gateway.clock;
        let authority =
            authority.unwrap_or_else(|| aws::certificate::of_cluster(&self.cluster_uid));
        let mut fleet = Fleet::new(&self.scenario, clock, clock.now());
        urls.kubernetes.as_str().trim_end_matches('/').clone_into(&mut fleet.endpoint);
        fleet.authority.clone_from(&authority);
        let cloud = Arc::new(Cloud::new(fleet, clock));
        aws::nodes::advance(&cloud, &client, &self.stop).await;
        seed::create_objects(&self.scenario, &client).await?;
        let stop = self.stop.clone();
        self.tasks.spawn(aws::nodes::run(Arc::clone(&cloud), client.clone(), stop.clone()));
        let work = Arc::<WorkCounter>::default();
        if let Some(api) = &self.api {
            let settings = ControllerSettings::of(&self.scenario, clock);
            let mut control_plane = ControlPlane::new(Arc::clone(api), settings, Arc::clone(&work));
            // The pods of a cluster that was read are not started at once: they go on from where they are.
            if self.scenario.cluster_objects.is_empty() {
                control_plane.converge();
            }
            self.tasks.spawn(control_plane.run(stop.clone()));
        } else {
            seed::wait_until_available(&self.scenario, &client).await;
        }
        let simulator = Simulator {
            gateway: self.gateway,
            kubernetes_url: urls.kubernetes,
            authority,
            aws_url: urls.aws,
            region: self.scenario.region,
            stop,
            tasks: self.tasks,
            cloud,
            client,
            work,
        };
        let router = simulator.aws_routes(self.api);
        Ok((simulator, router))
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
        what: "the bound address",
        address,
        source,
    })?;
    Ok(parse_url(&format!("http://{}/", reachable(bound))))
}

/// Returns the address at which a client on this machine reaches a listener.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match bound.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, bound.port())
}

fn parse_url(text: &str) -> Url {
    Url::parse(text).expect("a socket address or an http::Uri with a scheme is a URL")
}

/// Returns the configuration of the client that plays the simulated instances and the cloud's
/// controllers. Its calls are not recorded.
fn internal_client_config(url: &Url) -> kube::Config {
    let uri = url.as_str().parse().expect("a URL with a host is a URI");
    let mut config = kube::Config::new(uri);
    config.headers.push((gateway::INTERNAL_CLIENT, HeaderValue::from_static("1")));
    config
}
