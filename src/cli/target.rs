//! What a run acts on: a real cluster and account, or a simulation of them.

use std::{collections::BTreeMap, path::PathBuf};

use kube::config::Kubeconfig;

use super::{CliError, next_steps, simulate};
use crate::{
    engine::StartError,
    journal::RunTarget,
    lease::LeaseTimes,
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use clock::Clock;
use simulator::{Scenario, Simulator};

/// A minute of a simulated cluster takes a second.
pub(super) const DEFAULT_SPEED: f64 = 60.0;

/// The cluster and account to act on.
#[derive(Debug, clap::Args)]
pub(super) struct TargetArgs {
    /// Act on a stand-in EKS cluster that is served on loopback for as long as the program runs
    #[arg(
        long,
        env = "SOP_SIMULATE",
        conflicts_with_all = ["kubeconfig", "context", "profile"]
    )]
    pub(super) simulate: bool,
    /// The simulated cluster, as a YAML file [default: a relay cluster of three nodes]
    #[arg(long, value_name = "FILE", requires = "simulate", env = "SOP_SCENARIO")]
    scenario: Option<PathBuf>,
    /// By how much to divide every delay [default: 60 with --simulate, else 1]
    #[arg(long, value_name = "FACTOR", env = "SOP_SPEED")]
    speed: Option<f64>,
    #[command(flatten)]
    real: PlatformArgs,
    /// Do not check before a run, or before it continues, whether this account has the permissions that it needs
    ///
    /// `permissions --check` checks them alone.
    #[arg(long, env = "SOP_NO_PERMISSION_CHECK")]
    no_permission_check: bool,
    /// How long another process must see the lease of the cluster unchanged before it may take it
    ///
    /// A run that changes something holds the lease, renews it six times as often, and sends nothing when it could not
    /// renew it for half of this. After a crash, another process waits that long.
    #[arg(long, value_name = "DURATION", env = "SOP_LEASE_DURATION", default_value = "60s")]
    lease_duration: runbook::Duration,
}

/// The Kubernetes cluster.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ClusterArgs {
    /// The kubeconfig file, as kubectl has it [default: KUBECONFIG, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// A real cluster and account.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PlatformArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The profile of ~/.aws/config
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl PlatformArgs {
    /// Makes the clients. Nothing is called yet.
    pub(super) fn connect(&self, clock: Clock) -> Result<Platform, CliError> {
        require_url("AWS_ENDPOINT_URL")?;
        Ok(Platform::new(PlatformOptions {
            clock,
            kubernetes: self.cluster.access(),
            aws: AwsAccess::DefaultChain { profile: self.profile.clone() },
            environment: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        }))
    }
}

impl ClusterArgs {
    /// Whether a cluster is named.
    pub(super) fn is_named(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Makes the client, where no account is needed. The cluster is not called yet.
    pub(super) fn platform(&self) -> Platform {
        Platform::new(PlatformOptions {
            clock: Clock::real(),
            kubernetes: self.access(),
            aws: AwsAccess::DefaultChain { profile: None },
            environment: BTreeMap::new(),
        })
    }

    fn access(&self) -> KubernetesAccess {
        let (kubeconfig, context) = (self.kubeconfig.clone(), self.context.clone());
        KubernetesAccess::Inferred { kubeconfig, context }
    }

    /// Returns the flags that name the cluster, as they can be typed again.
    fn to_flags(&self) -> String {
        let kubeconfig = self.kubeconfig.as_ref().map(|path| path.display().to_string());
        let context = flag("context", self.context.as_deref());
        format!("{}{context}", flag("kubeconfig", kubeconfig.as_deref()))
    }
}

/// Returns an option with its value for a shell, or nothing.
fn flag(name: &str, value: Option<&str>) -> String {
    value.map(|value| format!(" --{name} {}", next_steps::quoted(value))).unwrap_or_default()
}

/// The clients, and the simulator for as long as this is held.
pub(super) struct Environment {
    pub(super) platform: Platform,
    pub(super) simulator: Option<Simulator>,
}

impl TargetArgs {
    /// Whether the permissions are checked before a run. A simulator of this process allows everything.
    pub(super) fn checks_permissions(&self) -> bool {
        !self.simulate && !self.no_permission_check
    }

    /// Returns the cluster alone.
    pub(super) fn cluster(&self) -> ClusterArgs {
        self.real.cluster.clone()
    }

    /// Makes the clients. A real cluster is not called yet.
    pub(super) async fn connect(&self) -> Result<Environment, CliError> {
        let clock = self.clock()?;
        if self.simulate {
            return self.start_simulator(clock).await;
        }
        let platform = self.real.connect(clock)?;
        Ok(Environment { platform, simulator: None })
    }

    /// Returns the flags that name the cluster and the account, as they can be typed again.
    pub(super) fn to_flags(&self) -> String {
        format!("{}{}", self.to_cluster_flags(), flag("profile", self.real.profile.as_deref()))
    }

    /// Returns the flags that name the cluster.
    pub(super) fn to_cluster_flags(&self) -> String {
        self.real.cluster.to_flags()
    }

    /// Returns which cluster and profile the kubeconfig and the arguments name. No call is made, so the account is not
    /// known yet.
    pub(super) fn configured(&self) -> Option<String> {
        let kubeconfig = match &self.real.cluster.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let cluster = kubeconfig.ok().and_then(|kubeconfig| {
            let name = self.real.cluster.context.clone().or(kubeconfig.current_context)?;
            let context = kubeconfig.contexts.into_iter().find(|context| context.name == name);
            let cluster = context?.context?.cluster;
            let cluster = kubeconfig.clusters.into_iter().find(|other| other.name == cluster)?;
            Some(format!("context {name}, {}", cluster.cluster?.server?))
        });
        let profile = self.real.profile.clone().or_else(|| std::env::var("AWS_PROFILE").ok());
        let profile = profile.map(|profile| format!("AWS profile {profile}"));
        let names: Vec<String> = cluster.into_iter().chain(profile).collect();
        (!names.is_empty()).then(|| names.join("; "))
    }

    /// Whether delays are divided on something else than a simulator of this process.
    pub(super) fn is_scaled(&self) -> Result<bool, CliError> {
        Ok(!self.simulate && self.clock()? != Clock::real())
    }

    /// Checks that a faster clock drives a cluster on this machine only: `simulate`'s. It would call a real one more
    /// often than it should be called.
    ///
    /// # Errors
    /// The cluster is elsewhere, or cannot be asked.
    pub(super) async fn ensure_speed_is_allowed(
        &self,
        platform: &Platform,
        target: &RunTarget,
    ) -> Result<(), CliError> {
        if !self.is_scaled()? {
            return Ok(());
        }
        match &target.kubernetes {
            Some(kubernetes) => require_loopback(&kubernetes.server),
            None => {
                let identity = platform.kubernetes_identity().await.map_err(StartError::from)?;
                require_loopback(&identity.server)
            }
        }
    }

    /// Returns the times of the lease of the cluster.
    pub(super) fn lease_times(&self) -> Result<LeaseTimes, CliError> {
        let duration = self.lease_duration.std();
        if (LeaseTimes::MIN..=LeaseTimes::MAX).contains(&duration) {
            return Ok(LeaseTimes { duration });
        }
        let message = format!("--lease-duration {}: it must be 3s to 10m", self.lease_duration);
        Err(CliError::Usage(message))
    }

    fn clock(&self) -> Result<Clock, CliError> {
        let default = if self.simulate { DEFAULT_SPEED } else { 1.0 };
        Clock::scaled(self.speed.unwrap_or(default))
            .map_err(|error| CliError::Usage(format!("--speed: {error}")))
    }

    /// Starts a simulator. It has its own ConfigMap: AWS_REGION and the like of the caller's shell are not for it.
    async fn start_simulator(&self, clock: Clock) -> Result<Environment, CliError> {
        let scenario = match &self.scenario {
            Some(path) => simulate::read_scenario(path)?,
            None => Scenario::default(),
        };
        let options = simulator::Options { clock, ..simulator::Options::default() };
        let simulator = Simulator::start(scenario, options)
            .await
            .map_err(|error| CliError::Simulator(error.to_string()))?;
        let platform = Platform::new(PlatformOptions {
            clock,
            kubernetes: KubernetesAccess::Endpoint { url: simulator.kubernetes_url().clone() },
            aws: AwsAccess::Endpoint { url: simulator.aws_url().clone() },
            environment: BTreeMap::new(),
        });
        Ok(Environment { platform, simulator: Some(simulator) })
    }
}

/// Checks a URL of the environment. The SDK would report a faulty request, or missing credentials.
fn require_url(name: &str) -> Result<(), CliError> {
    let Some(value) = std::env::var(name).ok().filter(|value| !value.is_empty()) else {
        return Ok(());
    };
    let is_address = url::Url::parse(&value)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_address {
        return Ok(());
    }
    let message = format!("{name} is not a valid URL: {value}");
    Err(CliError::usage_with_hint(message, "it must start with http:// or https://"))
}

/// Checks that a server that is called faster than a real cluster should be is on this machine.
fn require_loopback(server: &str) -> Result<(), CliError> {
    let host = url::Url::parse(server).ok().and_then(|url| url.host_str().map(str::to_owned));
    let is_loopback = host.is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    if is_loopback {
        return Ok(());
    }
    let message = format!("--speed (SOP_SPEED) is not allowed for {server}");
    Err(CliError::usage_with_hint(message, "it is for simulated clusters on this machine"))
}
