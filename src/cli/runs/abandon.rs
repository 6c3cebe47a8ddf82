//! `runs abandon`: an unfinished run is declared to be over, and its lock is removed from the cluster; with `--lock`,
//! the lock of a run whose journal is gone.

use std::{sync::Arc, time::Duration};

use super::{RunSelector, remote};
use crate::{
    cli::{CliError, Exit, confirm, run, state_dir::StateDir, stdout, target::ClusterArgs},
    engine::{self, StartError},
    journal::{DirectoryStore, Run, RunHead, RunId, RunStore as _},
    platform::Platform,
};
use serde_json::Value;

/// How long a cluster that does not answer is waited for: the run is over, whatever it says.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(20);

/// A run to declare over.
#[derive(Debug, clap::Args)]
pub(super) struct AbandonArgs {
    /// The id of the run
    #[arg(required_unless_present_any = ["last", "lock"], conflicts_with = "last")]
    run: Option<RunId>,
    /// The latest run
    #[arg(long)]
    last: bool,
    #[command(flatten)]
    token: remote::TokenArgs,
    /// Remove the lock of the run that holds the cluster, whose journal may be gone
    #[arg(long, conflicts_with_all = ["run", "last"])]
    lock: bool,
    /// The name of the cluster, where there is no terminal to type it at; with --lock
    #[arg(long, value_name = "CLUSTER", requires = "lock")]
    confirm: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Do not ask; without a terminal it does not ask either
    #[arg(long, env = "SOP_YES")]
    yes: bool,
}

impl AbandonArgs {
    /// Declares the run to be over.
    pub(super) async fn run(self, state_dir: &StateDir) -> Result<Exit, CliError> {
        if self.lock {
            return self.abandon_lock(state_dir).await;
        }
        let reader = state_dir.open_for_reading();
        let selector = RunSelector { run: self.run.clone(), last: self.last };
        let id = selector.find(&reader).await?;
        confirm::ask_to_abandon(&Run::read(&reader, &id).await?, self.yes)?;
        if let Some(address) = remote::service_address(&reader) {
            let token = &self.token;
            return remote::request_operation(&address, &id, "abandon", Value::Null, token).await;
        }
        let store = state_dir.open_for_writing("runs abandon", None)?;
        let before = store.head(&id).await?;
        engine::abandon(Arc::<DirectoryStore>::clone(&store), &id, &run::actor()).await?;
        let target = before.target.to_string();
        let target = text::printable(&target);
        stdout::write(&format!("run {id} is abandoned; nothing was undone on {target}\n"))?;
        if let Err(problem) = self.remove_lock(&before).await {
            let note = format!(
                "note: its lock may still be on the cluster: {problem}\nhint: the next run from this \
                 state directory removes it, and so does `runs abandon --lock`\n"
            );
            stdout::write_stderr(&text::printable_lines(&note));
        }
        Ok(Exit::Success)
    }

    /// Removes the lock of a run that is over from the cluster, where it is the cluster of the run.
    async fn remove_lock(&self, head: &RunHead) -> Result<(), String> {
        let Some(kubernetes) = head.target.kubernetes.as_ref().filter(|_| !head.target.simulated)
        else {
            return Ok(());
        };
        // A run that stopped before it changed something has left none.
        if !head.has_changed && head.ended_at.is_some() {
            return Ok(());
        }
        let platform = self.cluster.platform();
        let removed = async {
            let here = platform.kubernetes_identity().await.map_err(|error| error.to_string())?;
            if here.uid != kubernetes.uid {
                return Err(format!("{} is another cluster", here.server));
            }
            let cleared = engine::clear_cluster_lock(&platform, head.run.as_str()).await;
            cleared.map(drop).map_err(|error| error.to_string())
        };
        let timed = tokio::time::timeout(CLUSTER_TIMEOUT, removed).await;
        timed.unwrap_or_else(|_| Err("it does not answer".into()))
    }

    /// Removes the lock of the run that holds the cluster.
    async fn abandon_lock(&self, state_dir: &StateDir) -> Result<Exit, CliError> {
        let platform = self.cluster.platform();
        let cluster = cluster_name(&platform).await?;
        let cluster = text::printable(&cluster).into_owned();
        let lock = engine::cluster_lock(&platform).await.map_err(StartError::from)?;
        let Some((lock, is_running)) = lock else {
            stdout::write(&format!("no run holds the cluster {cluster}\n"))?;
            return Ok(Exit::Success);
        };
        let description = lock.describe(is_running);
        stdout::write_stderr(&format!("{}\n", text::printable(&description)));
        if is_running {
            return Err(CliError::usage_with_hint(
                "its process has renewed the lease just now: the run is not over",
                "wait for it to end, or cancel it",
            ));
        }
        match &self.confirm {
            None => confirm::ask_to_type_cluster(&cluster)?,
            Some(name) if *name == cluster => {}
            Some(_) => {
                let message = "--confirm does not have the name of the cluster";
                return Err(CliError::usage_with_hint(message, format!("it is: {cluster}")));
            }
        }
        let is_journaled = match lock.run.parse::<RunId>() {
            Ok(id) => abandon_in(state_dir, &id).await?,
            Err(_) => false,
        };
        let cleared = engine::clear_cluster_lock(&platform, &lock.run).await;
        let was_there = cleared.map_err(StartError::from)?;
        let run = text::printable(&lock.run).into_owned();
        let journal = match is_journaled {
            true => "; its journal says so",
            false => "; its journal is not in this state directory",
        };
        let what = if was_there { "the lock is removed" } else { "the lock was gone already" };
        stdout::write(&format!("run {run} is abandoned on {cluster}: {what}{journal}\n"))?;
        Ok(Exit::Success)
    }
}

/// Journals that a run is over, where its journal is here. Returns whether it was.
async fn abandon_in(state_dir: &StateDir, id: &RunId) -> Result<bool, CliError> {
    let reader = state_dir.open_for_reading();
    let Ok(head) = reader.head(id).await else { return Ok(false) };
    if head.is_final() {
        return Ok(true);
    }
    let store = state_dir.open_for_writing("runs abandon", None)?;
    engine::abandon(store, id, &run::actor()).await?;
    Ok(true)
}

/// Returns the name by which a person knows the cluster: that of the context, else its address.
async fn cluster_name(platform: &Platform) -> Result<String, CliError> {
    let here = platform.kubernetes_identity().await.map_err(StartError::from)?;
    Ok(here.context.unwrap_or(here.server))
}
