//! `simulate`: the simulated cluster in a process of its own, and the environment in which clients use it.

use std::{
    fmt::Display,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    CliError, Exit, listen::ListenAddress, next_steps::quoted, stdout, target::DEFAULT_SPEED,
};
use clock::Clock;
use simulator::{AccessPolicy, Options, Scenario, Simulator};

/// Serves a simulated EKS cluster on loopback and prints the environment in which kubectl, aws and this program use it.
#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    /// YAML file that describes the cluster at the start [default: a cluster for relay-scale]
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// Address of the AWS services; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", visible_alias = "listen")]
    aws_listen: ListenAddress,

    /// Address of the Kubernetes API; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    kubernetes_listen: ListenAddress,

    /// Factor that divides simulated delays: with 60, a minute takes a second
    #[arg(long, env = "SOP_SPEED", value_name = "FACTOR", default_value_t = DEFAULT_SPEED)]
    speed: f64,

    /// File to write the kubeconfig to [default: a file in the directory for temporary files]
    #[arg(long, value_name = "FILE")]
    kubeconfig_out: Option<PathBuf>,

    /// Kubeconfig of a real API server that gets the simulated instances as its nodes; the Kubernetes API is then not
    /// simulated
    #[arg(long, value_name = "FILE", alias = "kubernetes-kubeconfig")]
    kubeconfig: Option<PathBuf>,

    /// Context in that kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,

    /// IAM policy document (JSON); the AWS services refuse what the policy does not allow
    #[arg(long, value_name = "FILE")]
    iam_policy: Option<PathBuf>,

    /// Roles and ClusterRoles (YAML); the simulated Kubernetes API refuses what they do not allow
    #[arg(long = "role", value_name = "FILE", conflicts_with = "kubeconfig")]
    roles: Vec<PathBuf>,
}

impl SimulateArgs {
    /// Serves until the process is interrupted or told to terminate.
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let scenario = match &self.scenario {
            Some(path) => read_scenario(path)?,
            None => Scenario::default(),
        };
        let options = Options {
            clock: Clock::scaled(self.speed).map_err(simulator_error)?,
            kubernetes_listen: self.kubernetes_listen.resolve().await?[0],
            aws_listen: self.aws_listen.resolve().await?[0],
            kubernetes: match &self.kubeconfig {
                Some(path) => Some(real_cluster(path, self.context.clone()).await?),
                None => None,
            },
            policy: self.read_policy()?,
        };
        let cannot_wait = |error| simulator_error(format!("cannot wait for a signal: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_wait)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot_wait)?;
        let simulator = Simulator::start(scenario, options).await.map_err(simulator_error)?;
        let (kubeconfig, is_temporary) = self.kubeconfig_path();
        if self.kubeconfig.is_none() {
            write_private(&kubeconfig, &simulator.kubeconfig())?;
        }
        let environment = simulator.environment(&kubeconfig).into_iter();
        let exports =
            environment.map(|(name, value)| format!("export {name}={}\n", quoted(&value)));
        stdout::write(&exports.collect::<String>())?;
        stdout::write_stderr_line(&format!(
            "serving the simulated cluster, {} times as fast as a real one, until interrupted",
            self.speed
        ));
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        simulator.shutdown().await;
        if is_temporary {
            // The file may have been removed already.
            let _ = fs::remove_file(&kubeconfig);
        }
        Ok(Exit::Success)
    }

    /// Returns what clients may do, if the arguments restrict it.
    fn read_policy(&self) -> Result<Option<AccessPolicy>, CliError> {
        if self.iam_policy.is_none() && self.roles.is_empty() {
            return Ok(None);
        }
        let mut policy = AccessPolicy::default();
        let iam = self.iam_policy.iter().map(|path| (path, true));
        for (path, is_iam) in iam.chain(self.roles.iter().map(|path| (path, false))) {
            let unusable = |error: &dyn Display| {
                simulator_error(format!("cannot read the policy {}: {error}", path.display()))
            };
            let text = fs::read_to_string(path).map_err(|error| unusable(&error))?;
            // JSON is YAML too.
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&text).map_err(|error| unusable(&error))?;
            for document in documents {
                let read = if is_iam {
                    policy.allow_iam(&document)
                } else if is_role(&document) {
                    policy.allow_role(&document)
                } else {
                    continue;
                };
                policy = read.map_err(|error| unusable(&error))?;
            }
        }
        Ok(Some(policy))
    }

    /// Returns the path of the kubeconfig, and whether the file is removed at the end.
    fn kubeconfig_path(&self) -> (PathBuf, bool) {
        match self.kubeconfig.as_ref().or(self.kubeconfig_out.as_ref()) {
            Some(path) => (path.clone(), false),
            None => {
                let name = format!("rafay-relay-sop-simulator-{}.yaml", std::process::id());
                (std::env::temp_dir().join(name), true)
            }
        }
    }
}

fn simulator_error(error: impl Display) -> CliError {
    CliError::Simulator(error.to_string())
}

/// Returns whether a document is a role: manifests of roles come together with accounts and bindings, which do not
/// restrict anything.
fn is_role(document: &Value) -> bool {
    matches!(document["kind"].as_str(), Some("Role" | "ClusterRole"))
}

/// Reads a scenario file.
pub(super) fn read_scenario(path: &Path) -> Result<Scenario, CliError> {
    let text = fs::read_to_string(path).map_err(|error| {
        simulator_error(format!("cannot read the scenario {}: {error}", path.display()))
    })?;
    Scenario::from_yaml(&text)
        .map_err(|error| simulator_error(format!("{}: {error}", path.display())))
}

async fn real_cluster(path: &Path, context: Option<String>) -> Result<kube::Config, CliError> {
    let unusable =
        |error| simulator_error(format!("cannot use the kubeconfig {}: {error}", path.display()));
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)
}

fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    let opened = options.create(true).write(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        simulator_error(format!("cannot write the kubeconfig {}: {error}", path.display()))
    })
}
