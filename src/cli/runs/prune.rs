//! `runs prune`: removes the journals of runs that are over.

use jiff::Timestamp;
use serde_json::json;

use crate::{
    cli::{CliError, Exit, Output, confirm, stdout, store::StorePlace, target::ClusterArgs},
    journal::{HeadQuery, Retention, RunHead, RunId, RunStore, StoreError, timestamp},
};

/// Which runs to remove.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("rule").args(["older_than", "keep"]).required(true).multiple(true)))]
pub(super) struct PruneArgs {
    /// Remove runs that ended longer ago than this, such as 90d
    #[arg(long, value_name = "DURATION")]
    older_than: Option<runbook::Duration>,
    /// Keep this many of the latest runs of each runbook that are over
    #[arg(long, value_name = "COUNT")]
    keep: Option<usize>,
    /// Show which runs would be removed, and remove none
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before removing runs
    #[arg(long, env = "SOP_YES")]
    yes: bool,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

impl PruneArgs {
    pub(super) async fn run(self, place: &StorePlace, output: Output) -> Result<Exit, CliError> {
        let asks = !self.yes && !self.dry_run;
        if asks {
            confirm::require_terminal_to("remove runs", None)?;
        }
        if self.dry_run {
            let store = place.open_for_reading().await?.as_run_store();
            let selected = self.select(store.as_ref()).await?;
            return report(&selected, "would remove", output);
        }
        // A process that writes to the directory may be about to resume a run, or to answer for one.
        let store = place.open_for_writing("runs prune", None).await?;
        let selected = self.select(store.as_run_store().as_ref()).await?;
        if asks && !selected.is_empty() {
            let count = text::plural(selected.len(), "run");
            let text = format!("{}Remove {count}: this cannot be undone.\n", lines(&selected));
            if !confirm::is_confirmed(&text)? {
                return Err(CliError::NotConfirmed);
            }
        }
        store.remove(selected.iter().map(|head| head.run.clone()).collect()).await?;
        report(&selected, "removed", output)
    }

    /// Returns the heads of the runs to remove, the oldest first.
    async fn select(&self, store: &dyn RunStore) -> Result<Vec<RunHead>, StoreError> {
        let older_than = self.older_than.map(runbook::Duration::std);
        let retention = Retention { older_than, keep: self.keep };
        Ok(retention.select(store.heads(HeadQuery::All).await?, Timestamp::now()))
    }
}

fn lines(heads: &[RunHead]) -> String {
    let line = |head: &RunHead| {
        format!("{}  {}  {}\n", timestamp(head.started_at), head.run, head.state(false))
    };
    heads.iter().map(line).collect()
}

fn report(removed: &[RunHead], what: &str, output: Output) -> Result<Exit, CliError> {
    let count = text::plural(removed.len(), "run");
    let text = match output {
        Output::Json | Output::Ndjson => {
            let runs: Vec<&RunId> = removed.iter().map(|head| &head.run).collect();
            format!("{:#}\n", json!({ what.replace(' ', "_"): runs }))
        }
        Output::Text => format!("{}{what} {count}\n", lines(removed)),
    };
    stdout::write(&text)?;
    Ok(Exit::Success)
}
