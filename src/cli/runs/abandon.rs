//! `runs abandon`: an unfinished run is declared to be over, and its lock is removed from the cluster; with `--lock`,
//! the lock of a run whose journal is gone.

use std::{sync::Arc, time::Duration};

use super::{RunSelector, remote};
use crate::{
    cli::{CliError, Exit, confirm, run, stdout, store::StorePlace, target::ClusterArgs},
    engine::{self, StartError},
    journal::{Run, RunHead, RunId, with_liveness},
    lease::{self, ClearError, LeaseTimes},
    platform::Platform,
};
use serde_json::Value;

/// How long the cluster is waited for. It may take the duration of a lease to see that no process drives the run.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(90);

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
    pub(super) cluster: ClusterArgs,
    /// Do not ask; without a terminal it does not ask either. It does not replace --confirm
    #[arg(long, env = "SOP_YES")]
    yes: bool,
}

impl AbandonArgs {
    /// Declares the run to be over.
    pub(super) async fn run(self, place: &StorePlace) -> Result<Exit, CliError> {
        if self.lock {
            return self.abandon_lock(place).await;
        }
        let reader = place.open_for_reading().await?;
        let runs = reader.as_run_store();
        let selector = RunSelector { run: self.run.clone(), last: self.last };
        let id = selector.find(runs.as_ref()).await?;
        // The right to write to a directory says the same.
        if reader.is_shared() {
            let (head, is_live) = with_liveness(runs.as_ref(), runs.head(&id).await?).await?;
            if is_live {
                let (state, operation) = (head.state(true), "abandoned");
                return Err(StartError::AlreadyFinished { run: id, state, operation }.into());
            }
        }
        confirm::ask_to_abandon(&Run::read(runs.as_ref(), &id).await?, self.yes)?;
        if let Some(address) = remote::service_address(&reader) {
            let token = &self.token;
            return remote::request_operation(&address, &id, "abandon", Value::Null, token).await;
        }
        let store = place.open_for_writing("runs abandon", None).await?.as_run_store();
        let before = store.head(&id).await?;
        engine::abandon(Arc::clone(&store), &id, &run::actor()).await?;
        let target = before.target.to_string();
        let target = text::printable(&target);
        stdout::write(&format!("run {id} is abandoned; nothing was undone on {target}\n"))?;
        let store_id = store.location().exclusive_id;
        let removed = self.remove_lock(&before, store_id.as_deref()).await;
        // A run that has changed nothing has left a lock only if its process died in one short moment.
        if let Err(problem) = removed
            && before.has_changed
        {
            let note = format!(
                "note: its lock may still be on the cluster: {problem}\nhint: the next run with this \
                 store removes it, and so does `runs abandon --lock`\n"
            );
            stdout::write_stderr(&text::printable_lines(&note));
        }
        Ok(Exit::Success)
    }

    /// Removes the lock of a run that is over from the cluster, where it is the cluster of the run.
    async fn remove_lock(&self, head: &RunHead, store_id: Option<&str>) -> Result<(), String> {
        let Some(kubernetes) = head.target.kubernetes.as_ref().filter(|_| !head.target.simulated)
        else {
            return Ok(());
        };
        let platform = self.cluster.platform();
        let removed = async {
            let here = platform.kubernetes_identity().await.map_err(|error| error.to_string())?;
            if here.uid != kubernetes.uid {
                return Err(format!("{} is another cluster", here.server));
            }
            let client = platform.cluster_lease().await.map_err(|error| error.to_string())?;
            let (times, run) = (LeaseTimes::default(), head.run.as_str());
            let cleared = lease::clear(&client, times, run, store_id).await;
            cleared.map(drop).map_err(|error| error.to_string())
        };
        let timed = tokio::time::timeout(CLUSTER_TIMEOUT, removed).await;
        timed.unwrap_or_else(|_| Err("it does not answer".into()))
    }

    /// Removes the lock of the run that holds the cluster.
    async fn abandon_lock(&self, place: &StorePlace) -> Result<Exit, CliError> {
        let platform = self.cluster.platform();
        let cluster = cluster_name(&platform).await?;
        let cluster = text::printable(&cluster).into_owned();
        let client = platform.cluster_lease().await.map_err(StartError::from)?;
        let times = LeaseTimes::default();
        let seen = lease::observe(&client, times).await.map_err(StartError::from)?;
        let Some(seen) = seen else {
            stdout::write(&format!("no run holds the cluster {cluster}\n"))?;
            return Ok(Exit::Success);
        };
        let (lock, is_running) = (&seen.lock, seen.is_running);
        let description = lock.describe(is_running);
        stdout::write_stderr(&format!("{}\n", text::printable(&description)));
        if is_running {
            return Err(CliError::usage_with_hint(
                "its process has renewed the lease: the run is not over",
                "wait for it to end, or cancel it",
            ));
        }
        match &self.confirm {
            None => confirm::ask_to_type(
                "remove the lock",
                "Another run can then change the cluster. Type its name",
                &cluster,
            )?,
            Some(name) if *name == cluster => {}
            Some(_) => {
                let message = "--confirm does not have the name of the cluster";
                return Err(CliError::usage_with_hint(message, format!("it is: {cluster}")));
            }
        }
        let journal = match lock.run.parse::<RunId>() {
            Ok(id) => self.abandon_in(place, &id).await?,
            Err(_) => "its journal is not in this store".into(),
        };
        let cleared = lease::clear_seen(&client, times, &seen).await;
        let was_there = cleared.map_err(|error| match error {
            ClearError::Platform(error) => StartError::from(error).into(),
            running @ ClearError::IsRunning(_) => CliError::Usage(running.to_string()),
        })?;
        let run = text::printable(&lock.run).into_owned();
        let what = if was_there { "is removed" } else { "was gone already" };
        stdout::write(&format!("the lock of run {run} on {cluster} {what}; {journal}\n"))?;
        Ok(Exit::Success)
    }

    /// Journals that a run is over, where its journal is here. Returns what its journal says.
    async fn abandon_in(&self, place: &StorePlace, id: &RunId) -> Result<String, CliError> {
        let reader = place.open_for_reading().await?;
        let Ok(head) = reader.as_run_store().head(id).await else {
            return Ok("its journal is not in this store".into());
        };
        if head.is_final() {
            return Ok(format!("the run is {}", head.state(false)));
        }
        if let Some(address) = remote::service_address(&reader) {
            let token = &self.token;
            remote::request_operation(&address, id, "abandon", Value::Null, token).await?;
        } else {
            let store = place.open_for_writing("runs abandon", None).await?.as_run_store();
            engine::abandon(store, id, &run::actor()).await?;
        }
        Ok("the run is abandoned".into())
    }
}

/// Returns the name by which a person knows the cluster: that of the context, else its address.
async fn cluster_name(platform: &Platform) -> Result<String, CliError> {
    let here = platform.kubernetes_identity().await.map_err(StartError::from)?;
    Ok(here.context.unwrap_or(here.server))
}
