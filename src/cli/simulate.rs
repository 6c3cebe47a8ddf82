//! `simulate`: the simulated cluster in a process of its own, and the environment in which clients use it.

mod command;
mod policy;

use std::{
    ffi::OsString,
    fmt::Display,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::ValueHint;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    CliError, Exit, Global, listen::ListenAddress, next_steps::quoted, state_dir::StateDir, stdout,
    target::DEFAULT_SPEED,
};
use clock::Clock;
use simulator::{AccessPolicy, Options, Scenario, Simulator};

/// Serves a simulated EKS cluster on loopback for as long as a command runs, in whose environment kubectl, aws and this
/// program act on that cluster: `simulate -- bash --norc`, `simulate -- rafay-relay-sop run relay-scale --yes`.
///
/// Without a command the environment is printed as shell commands, and the cluster is served until the process is
/// interrupted.
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

    /// IAM policy document (JSON); the AWS services refuse what the policy does not allow. What the simulator cannot
    /// enforce, such as other conditions than those on the region and on tags, is an error
    #[arg(long, value_name = "FILE")]
    iam_policy: Option<PathBuf>,

    /// Roles and ClusterRoles (YAML); the simulated Kubernetes API refuses what they do not allow, as if they were
    /// bound to its clients. Other objects in the file, such as bindings, are ignored. Can be repeated
    #[arg(
        long = "role",
        visible_alias = "roles",
        value_name = "FILE",
        conflicts_with = "kubeconfig"
    )]
    roles: Vec<PathBuf>,

    /// Print the whole scenario as YAML instead of serving it: a file to edit and to pass to --scenario
    #[arg(long, conflicts_with = "command")]
    print_scenario: bool,

    /// Program to run on the simulated cluster, with its arguments: a shell, a script, this program. It gets the
    /// signals of this process, and its exit code is returned
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

impl SimulateArgs {
    /// Serves until the command has ended; without one, until the process is interrupted or told to terminate.
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let scenario = match &self.scenario {
            Some(path) => read_scenario(path)?,
            None => Scenario::default(),
        };
        if self.print_scenario {
            let text = scenario.to_yaml().map_err(simulator_error)?;
            stdout::write(&text)?;
            return Ok(Exit::Success);
        }
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
        if let Some(text) = self.kubeconfig_text(&simulator)? {
            write_private(&kubeconfig, &text)?;
        }
        let environment = simulator.environment(&kubeconfig);
        let ended = if self.command.is_empty() {
            self.print(&environment, global)?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            Ok(Exit::Success)
        } else {
            self.run_command(environment, global).await
        };
        simulator.shutdown().await;
        if is_temporary {
            // The file may have been removed already.
            let _ = fs::remove_file(&kubeconfig);
        }
        ended
    }

    /// Prints the environment as commands of a shell, all at once.
    fn print(
        &self,
        environment: &[(&'static str, String)],
        global: &Global,
    ) -> Result<(), CliError> {
        let inherited = command::inherited_target_variables();
        let unset: String = inherited
            .filter_map(|name| name.into_string().ok())
            .filter(|name| !environment.iter().any(|(given, _)| given == name))
            .map(|name| format!("unset {}\n", quoted(&name)))
            .collect();
        let state_dir = named_state_dir(global).map(|path| path.display().to_string());
        let state_dir = state_dir.iter().map(|path| ("SOP_STATE_DIR", path));
        let variables = state_dir.chain(environment.iter().map(|(name, value)| (*name, value)));
        let exports: String =
            variables.map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
        stdout::write(&format!("{unset}{exports}"))?;
        stdout::write_stderr_line(&format!(
            "serving the simulated cluster, {} times as fast as a real one, until interrupted",
            self.speed
        ));
        Ok(())
    }

    /// Runs the command to its end.
    async fn run_command(
        &self,
        environment: Vec<(&'static str, String)>,
        global: &Global,
    ) -> Result<Exit, CliError> {
        let state_dir = StateDir::named_or_throwaway(named_state_dir(global))?;
        // The command may change its directory.
        let state_path = std::path::absolute(&state_dir.path)?;
        let mut variables: Vec<(&'static str, OsString)> =
            environment.into_iter().map(|(name, value)| (name, value.into())).collect();
        variables.push(("SOP_STATE_DIR", state_path.into_os_string()));
        // A real API server is not called faster than a real one should be.
        let speed = if self.kubeconfig.is_some() { 1.0 } else { self.speed };
        variables.push(("SOP_SPEED", speed.to_string().into()));
        command::run(&self.command, &variables).await
    }

    /// Returns what clients may do, if the arguments restrict it.
    fn read_policy(&self) -> Result<Option<AccessPolicy>, CliError> {
        if self.iam_policy.is_none() && self.roles.is_empty() {
            return Ok(None);
        }
        let mut policy = AccessPolicy::default();
        if let Some(path) = &self.iam_policy {
            policy = policy::add_iam(policy, path)?;
        }
        for path in &self.roles {
            policy = policy::add_roles(policy, path)?;
        }
        Ok(Some(policy))
    }

    /// Returns the path of the kubeconfig, and whether the file is removed at the end.
    fn kubeconfig_path(&self) -> (PathBuf, bool) {
        // A context that was named has to be the current one of the file that clients get.
        let given = self.kubeconfig.as_ref().filter(|_| self.context.is_none());
        match given.or(self.kubeconfig_out.as_ref()) {
            Some(path) => (std::path::absolute(path).unwrap_or_else(|_| path.clone()), false),
            None => {
                let name = format!("rafay-relay-sop-simulator-{}.yaml", std::process::id());
                (std::env::temp_dir().join(name), true)
            }
        }
    }

    /// Returns the kubeconfig to write, unless clients use the given one.
    fn kubeconfig_text(&self, simulator: &Simulator) -> Result<Option<String>, CliError> {
        match (&self.kubeconfig, &self.context) {
            (None, _) => Ok(Some(simulator.kubeconfig())),
            (Some(_), None) => Ok(None),
            (Some(path), Some(context)) => {
                let mut kubeconfig = read_kubeconfig(path)?;
                kubeconfig.current_context = Some(context.clone());
                serde_saphyr::to_string(&kubeconfig).map(Some).map_err(simulator_error)
            }
        }
    }
}

/// Returns the state directory that was named on the command line. One of the environment is that of another cluster.
fn named_state_dir(global: &Global) -> Option<&PathBuf> {
    global.state_dir.as_ref().filter(|_| !global.inherits_state_dir)
}

fn simulator_error(error: impl Display) -> CliError {
    CliError::Simulator(error.to_string())
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
    let kubeconfig = read_kubeconfig(path)?;
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)
}

/// Reads a kubeconfig. The paths in it become absolute.
fn read_kubeconfig(path: &Path) -> Result<Kubeconfig, CliError> {
    Kubeconfig::read_from(path).map_err(|error| {
        simulator_error(format!("cannot use the kubeconfig {}: {error}", path.display()))
    })
}

fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    let opened = options.create(true).write(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        simulator_error(format!("cannot write the kubeconfig {}: {error}", path.display()))
    })
}
