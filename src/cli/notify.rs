//! Who is told what of a run: the file that says so, for the subcommands that drive runs, and `notify test`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::ValueHint;
use jiff::Timestamp;
use text::printable;

use super::{CliError, Exit, Global, run, stdout};
use crate::{
    engine::Engine,
    journal::{Failure, FailureKind, RunStore},
    notify::{Links, Notifier, NotifyConfig, Reach, TestResult, Webhook, send_test, test_body},
};

/// How long a run on the command line waits at its end until it is told.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

/// The file of webhooks.
#[derive(Debug, clap::Args)]
pub(super) struct NotifyFileArgs {
    /// Tell the webhooks of this YAML file when runs start, end, fail, wait for approval or are stuck
    ///
    /// `webhooks: [{name: oncall, url: https://hooks.example.com/sop, when: [failed, stuck]}]`. docs/notifications.md
    /// has the rest. No run waits for a receiver, or fails by one.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = "SOP_NOTIFY_FILE")]
    notify_file: Option<PathBuf>,
}

impl NotifyFileArgs {
    /// Reads the file, if one is named.
    pub(super) fn read(&self) -> Result<Option<NotifyConfig>, CliError> {
        self.notify_file.as_deref().map(read).transpose()
    }
}

fn read(path: &Path) -> Result<NotifyConfig, CliError> {
    NotifyConfig::read(path).map_err(|error| {
        let failure = Failure::new(FailureKind::Usage, error.to_string());
        CliError::Failure(failure.with_hint(error.hint()))
    })
}

/// The webhooks of a run on the command line, which is told of by this process alone.
pub(super) struct OwnRun(Option<Arc<Notifier>>);

impl OwnRun {
    /// Lets webhooks be told of the runs of an engine.
    pub(super) fn observe(
        engine: Engine,
        config: Option<NotifyConfig>,
        store: &Arc<dyn RunStore>,
        global: &Global,
    ) -> (Engine, Self) {
        let Some(config) = config else { return (engine, Self(None)) };
        let store = Arc::clone(store);
        let count = Arc::new(|_: &str, _| {});
        let notifier = Notifier::start(config, store, links(global), Reach::OwnRuns, count);
        (engine.observed_by(Arc::<Notifier>::clone(&notifier)), Self(Some(notifier)))
    }

    /// Waits until what has happened is told, for a limited time.
    pub(super) async fn finish(self) {
        if let Some(notifier) = self.0 {
            notifier.finish(FINISH_LIMIT).await;
        }
    }
}

/// Returns what messages lead to: commands that name the store of the runs.
pub(super) fn links(global: &Global) -> Links {
    let program = format!("rafay-relay-sop{}", global.store_flags());
    Links { page_url: None, program }
}

/// Tells who is told what of runs, and tries it.
#[derive(Debug, clap::Args)]
pub(super) struct NotifyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a test to each webhook, and say what came of it
    Test(TestArgs),
}

/// A test.
#[derive(Debug, clap::Args)]
struct TestArgs {
    /// The YAML file of webhooks
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = "SOP_NOTIFY_FILE")]
    notify_file: PathBuf,
    /// Test this webhook only
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Send nothing, and print what would be sent
    #[arg(long)]
    dry_run: bool,
}

impl NotifyArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        match self.command {
            Command::Test(test) => test.run(global).await,
        }
    }
}

impl TestArgs {
    async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let config = read(&self.notify_file)?;
        let links = Links { page_url: config.page_url.clone(), ..links(global) };
        let mut exit = Exit::Success;
        for webhook in self.selected(&config)? {
            let Webhook { name, target, .. } = webhook;
            let address = target.origin();
            if self.dry_run {
                let body = test_body(webhook, &links, &run::actor());
                stdout::write(&format!("{name}: POST {address}\n{body}\n"))?;
                continue;
            }
            let started = Timestamp::now();
            match send_test(webhook, &links, &run::actor()).await {
                TestResult::Delivered(status) => {
                    let took = Timestamp::now().duration_since(started).as_millis();
                    stdout::write(&format!(
                        "{name}: delivered to {address} with status {status} in {took} ms\n"
                    ))?;
                }
                TestResult::NotDelivered { message, hint } => {
                    exit = Exit::Failed;
                    let hint = hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
                    let message = printable(&message);
                    stdout::write(&format!(
                        "{name}: not delivered to {address}: {message}{hint}\n"
                    ))?;
                }
            }
        }
        Ok(exit)
    }

    /// Returns the webhooks to test.
    fn selected<'c>(&self, config: &'c NotifyConfig) -> Result<Vec<&'c Webhook>, CliError> {
        let all = config.webhooks.iter();
        let Some(name) = &self.sink else { return Ok(all.collect()) };
        let selected: Vec<&Webhook> = all.clone().filter(|webhook| webhook.name == *name).collect();
        if selected.is_empty() {
            let names: Vec<&str> = all.map(|webhook| webhook.name.as_str()).collect();
            let message = format!("--sink {}: the file has no such webhook", printable(name));
            return Err(CliError::usage_with_hint(
                message,
                format!("it has: {}", names.join(", ")),
            ));
        }
        Ok(selected)
    }
}
