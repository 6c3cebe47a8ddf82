//! `simulate`: the stand-in cluster as a process of its own, with the environment to use it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{CliError, Exit};
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use clock::Clock;
use simulator::{AccessPolicy, Options, Scenario, Simulator};

/// Serves a stand-in EKS cluster on loopback and prints the environment in which kubectl, aws and
/// this program use it.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// A file that describes the world at the start; without it, the world that relay-scale
    /// expects.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// Where the AWS services listen; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", visible_alias = "listen")]
    pub aws_listen: SocketAddr,

    /// Where the Kubernetes API listens; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub kubernetes_listen: SocketAddr,

    /// By how much simulated delays are divided: 60 makes a minute a second.
    #[arg(long, env = "SOP_SPEED", value_name = "FACTOR", default_value_t = 60.0)]
    pub speed: f64,

    /// Where the kubeconfig is written; without it, a file in the folder for temporary files.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig_out: Option<PathBuf>,

    /// A kubeconfig of a real API server whose nodes the simulated instances become; the Kubernetes
    /// API is then not simulated.
    #[arg(long, value_name = "FILE", alias = "kubernetes-kubeconfig")]
    pub kubeconfig: Option<PathBuf>,

    /// The context in that kubeconfig; without it, its current one.
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,

    /// An IAM policy document (JSON); the AWS services refuse what it does not allow.
    #[arg(long, value_name = "FILE")]
    pub iam_policy: Option<PathBuf>,

    /// Roles and ClusterRoles (YAML); the simulated Kubernetes API refuses what they do not allow.
    #[arg(long = "role", value_name = "FILE", conflicts_with = "kubeconfig")]
    pub roles: Vec<PathBuf>,
}

impl SimulateArgs {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        serve_until_stopped(self)
            .await
            .map(|()| Exit::Success)
            .map_err(|error| CliError::Simulator(error.to_string()))
    }

    fn has_policy(&self) -> bool {
        self.iam_policy.is_some() || !self.roles.is_empty()
    }
}

/// Why the simulation could not be served.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The scenario file cannot be read.
    #[error("cannot read the scenario {}: {source}", path.display())]
    ScenarioFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of a policy cannot be read.
    #[error("cannot read the policy {}: {why}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The scenario is not one.
    #[error("{}: {source}", path.display())]
    Scenario {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: simulator::ScenarioError,
    },
    /// The speed is not one.
    #[error(transparent)]
    Speed(#[from] clock::InvalidSpeed),
    /// The real API server's kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The kubeconfig cannot be written.
    #[error("cannot write the kubeconfig {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The simulator did not start.
    #[error(transparent)]
    Start(#[from] simulator::SimulatorError),
    /// The process cannot wait for its end.
    #[error("cannot wait for a signal: {0}")]
    Signal(std::io::Error),
}

/// Serves until the process is interrupted or told to terminate.
///
/// # Errors
/// What keeps the simulator from starting.
async fn serve_until_stopped(arguments: SimulateArgs) -> Result<(), SimulateError> {
    let scenario = match &arguments.scenario {
        Some(path) => read_scenario(path)?,
        None => Scenario::default(),
    };
    let options = Options {
        clock: Clock::scaled(arguments.speed)?,
        kubernetes_listen: arguments.kubernetes_listen,
        aws_listen: arguments.aws_listen,
        kubernetes: match &arguments.kubeconfig {
            Some(path) => Some(real_cluster(path, arguments.context.clone()).await?),
            None => None,
        },
        policy: read_policy(&arguments)?,
    };
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(SimulateError::Signal)?;
    let simulator = Simulator::start(scenario, options).await?;
    let (kubeconfig, is_temporary) = kubeconfig_path(&arguments);
    if arguments.kubeconfig.is_none() {
        write_private(&kubeconfig, &simulator.kubeconfig())?;
    }
    for (name, value) in simulator.environment(&kubeconfig) {
        anstream::println!("export {name}={}", quoted(&value));
    }
    anstream::eprintln!(
        "Serving the simulated cluster, {} times as fast as a real one, until interrupted.",
        arguments.speed
    );
    let end = tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(SimulateError::Signal),
        _ = terminated.recv() => Ok(()),
    };
    simulator.shutdown().await;
    if is_temporary {
        // A file that is gone already needs no removing.
        let _ = std::fs::remove_file(&kubeconfig);
    }
    end
}

/// What clients may do, if the arguments restrict it.
fn read_policy(arguments: &SimulateArgs) -> Result<Option<AccessPolicy>, SimulateError> {
    if !arguments.has_policy() {
        return Ok(None);
    }
    let mut policy = AccessPolicy::default();
    for (path, is_iam) in arguments
        .iam_policy
        .iter()
        .map(|path| (path, true))
        .chain(arguments.roles.iter().map(|path| (path, false)))
    {
        let unusable = |why: String| SimulateError::Policy { path: path.clone(), why };
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        // JSON is YAML too.
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|error| unusable(error.to_string()))?;
        for document in documents {
            let read = if is_iam {
                policy.allow_iam(&document)
            } else if is_role(&document) {
                policy.allow_role(&document)
            } else {
                continue;
            };
            policy = read.map_err(|error| unusable(error.to_string()))?;
        }
    }
    Ok(Some(policy))
}

/// Manifests of roles come together with accounts and bindings, which say nothing here.
fn is_role(document: &Value) -> bool {
    matches!(document["kind"].as_str(), Some("Role" | "ClusterRole"))
}

/// Reads a scenario file.
pub(super) fn read_scenario(path: &Path) -> Result<Scenario, SimulateError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SimulateError::ScenarioFile { path: path.to_owned(), source })?;
    Scenario::from_yaml(&text)
        .map_err(|source| SimulateError::Scenario { path: path.to_owned(), source })
}

async fn real_cluster(path: &Path, context: Option<String>) -> Result<kube::Config, SimulateError> {
    let unusable =
        |source| SimulateError::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)
}

/// Where the kubeconfig is, and whether it goes when the simulator does.
fn kubeconfig_path(arguments: &SimulateArgs) -> (PathBuf, bool) {
    let given = arguments.kubeconfig.as_ref().or(arguments.kubeconfig_out.as_ref());
    match given {
        Some(path) => (path.clone(), false),
        None => {
            let name = format!("rafay-relay-sop-simulator-{}.yaml", std::process::id());
            (std::env::temp_dir().join(name), true)
        }
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), SimulateError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let written = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| SimulateError::Write { path: path.to_owned(), source })
}

/// The value as a shell reads it back.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}
