//! `runs resume` and `runs rollback`: by the service that writes to the state directory, if there is one, else by this
//! process.

use std::sync::Arc;

use super::{RunSelector, remote};
use crate::{
    cli::{
        CliError, Exit, Global, confirm,
        notify::{NotifyFileArgs, OwnRun},
        run, stdout,
        store::StorePlace,
        target::TargetArgs,
    },
    engine::{CheckedRunbook, Engine, ResumePreflight, ResumeRequest},
    journal::{Failure, FailureKind, ResumeMode, RunHead, RunState},
    runbook_dir::{self, FoundRunbook, RunbookDir},
};

/// The operation that a person confirms by typing the ids of the steps.
const CHANGE_STEPS: &str = "change which steps are run";

/// A run, and the cluster and account where it continues.
#[derive(Debug, clap::Args)]
pub(super) struct PlaceArgs {
    #[command(flatten)]
    selector: RunSelector,
    #[command(flatten)]
    token: remote::TokenArgs,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    notify: NotifyFileArgs,
    /// Do not ask before acting on a real cluster
    #[arg(long, env = "SOP_YES")]
    yes: bool,
}

/// A run, where it continues, and what is different from now on.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    #[command(flatten)]
    amendment: AmendmentArgs,
}

/// The changes to the rest of a run.
#[derive(Debug, Default, clap::Args)]
struct AmendmentArgs {
    /// Continue with this runbook, a name or a path, instead of the text that the run was started with
    ///
    /// The steps that have run must come first, with the same action, 'with' and 'when'; the rest may differ. The
    /// difference is shown before it asks, and kept in the journal. A service neither shows it nor asks, and takes only
    /// the name of one of its runbooks.
    #[arg(long, value_name = "NAME_OR_FILE")]
    runbook: Option<String>,
    /// Continue from this step: earlier ones are skipped, and later ones that have only read are run again
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// Do not run this step; may be given several times. What it has changed already stays
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// The ids of --from and --skip, separated by spaces, where there is no terminal to type them at; --yes does not
    /// replace them
    #[arg(long, value_name = "STEPS")]
    confirm: Option<String>,
}

impl PlaceArgs {
    /// Rolls the run back.
    pub(super) async fn roll_back(
        self,
        store: &StorePlace,
        global: &Global,
    ) -> Result<Exit, CliError> {
        self.resume(store, ResumeMode::Rollback, AmendmentArgs::default(), global).await
    }

    async fn resume(
        self,
        store: &StorePlace,
        mode: ResumeMode,
        amendment: AmendmentArgs,
        global: &Global,
    ) -> Result<Exit, CliError> {
        let operation = match mode {
            ResumeMode::Continue => "resume",
            ResumeMode::Rollback => "rollback",
        };
        let place = store;
        let reader = place.open_for_reading().await?;
        if let Some(address) = remote::service_address(&reader) {
            let id = self.selector.find(reader.as_run_store().as_ref()).await?;
            amendment.require_confirmation()?;
            let body = match mode {
                ResumeMode::Continue => amendment.body(&address)?,
                ResumeMode::Rollback => serde_json::Value::Null,
            };
            return remote::request_operation(&address, &id, operation, body, &self.token).await;
        }
        let simulates = self.target.simulate;
        let asks = !simulates && !self.yes;
        if asks {
            confirm::require_terminal(&self.target)?;
        }
        if !simulates {
            amendment.require_terminal()?;
        }
        let notify = self.notify.read()?;
        let request = amendment.request(mode, &global.runbook_dir())?;
        let store = place.open_for_writing(&format!("runs {operation}"), None).await?;
        let store = store.as_run_store();
        let id = self.selector.find(store.as_ref()).await?;
        if !simulates {
            refuse_simulated(&store.head(&id).await?)?;
        }
        let environment = self.target.connect().await?;
        let engine = Engine::new(environment.platform.clone(), Arc::clone(&store), simulates)
            .with_lease_times(self.target.lease_times()?)
            .checking_permissions(self.target.checks_permissions());
        let (engine, told) = OwnRun::observe(engine, notify, &store, global);
        let preflight = engine.prepare_resume(&id, request).await?;
        let target = &preflight.run().spec.target;
        self.target.ensure_speed_is_allowed(&environment.platform, target).await?;
        if !preflight.rolls_back() {
            stdout::write_stderr(&change_note(&preflight));
        }
        if asks {
            confirm::ask_to_resume(&preflight)?;
        }
        if !simulates {
            amendment.require_confirmation()?;
        }
        let accepted = engine.resume(preflight, &run::actor()).await?;
        let run = run::drive(&engine, accepted, global, &self.target).await;
        told.finish().await;
        let state = run?.state(false);
        // A run that was to be rolled back and was rolled back has not failed.
        let is_success = mode == ResumeMode::Rollback && state == RunState::RolledBack;
        Ok(if is_success { Exit::Success } else { run::exit_of(state) })
    }
}

impl ResumeArgs {
    /// Resumes the run.
    pub(super) async fn run(self, store: &StorePlace, global: &Global) -> Result<Exit, CliError> {
        self.place.resume(store, ResumeMode::Continue, self.amendment, global).await
    }
}

impl AmendmentArgs {
    fn request(&self, mode: ResumeMode, runbooks: &RunbookDir) -> Result<ResumeRequest, CliError> {
        let checked = |name: &String| -> Result<CheckedRunbook, CliError> {
            let FoundRunbook { source, origin, library } = runbooks.find_or_read(name)?;
            Ok(CheckedRunbook::with_origin(source, origin.to_string(), &library)?)
        };
        let runbook = self.runbook.as_ref().map(checked).transpose()?;
        Ok(ResumeRequest { mode, runbook, ..self.steps() })
    }

    /// Returns the request without its runbook.
    fn steps(&self) -> ResumeRequest {
        let (from, skip) = (self.from.clone(), self.skip.clone());
        ResumeRequest { from, skip, ..ResumeRequest::default() }
    }

    /// Returns the request as the service takes it.
    fn body(&self, address: &str) -> Result<serde_json::Value, CliError> {
        if let Some(name) = &self.runbook
            && runbook_dir::is_path(name)
        {
            let message =
                format!("the service at {address} reads runbooks from its own directory only");
            let hint = "put the file there, and pass its name";
            return Err(CliError::usage_with_hint(message, hint));
        }
        let ResumeRequest { from, skip, .. } = self.steps();
        let confirm = self.steps().confirmation();
        Ok(serde_json::json!({
            "runbook": self.runbook, "from": from, "skip": skip, "confirm": confirm,
        }))
    }

    /// Checks that the steps can be confirmed, before anything is called.
    fn require_terminal(&self) -> Result<(), CliError> {
        let Some(words) = self.steps().confirmation() else { return Ok(()) };
        match &self.confirm {
            None => confirm::require_terminal_to_type(CHANGE_STEPS, &words),
            Some(_) => self.require_confirmation(),
        }
    }

    /// Lets the person type the ids of the steps, unless `--confirm` has them.
    fn require_confirmation(&self) -> Result<(), CliError> {
        let Some(words) = self.steps().confirmation() else { return Ok(()) };
        match &self.confirm {
            None => {
                confirm::ask_to_type(CHANGE_STEPS, "Type the ids of the steps to confirm", &words)
            }
            Some(confirm) if confirm.split_whitespace().eq(words.split(' ')) => Ok(()),
            Some(_) => Err(CliError::usage_with_hint(
                "--confirm does not have the ids of --from and --skip, in that order",
                format!("they are: {words}"),
            )),
        }
    }
}

/// Refuses to continue a run whose simulated cluster has ended, before a real one is looked for.
fn refuse_simulated(head: &RunHead) -> Result<(), CliError> {
    // One that is over is refused for that.
    if !head.target.simulated || head.is_final() {
        return Ok(());
    }
    let message =
        format!("run {} was simulated, and its cluster has ended with its process", head.run);
    let failure = Failure::new(FailureKind::Conflict, message);
    Err(CliError::Failure(failure.with_hint(Some("abandon it: `runs abandon` changes no cluster"))))
}

/// Returns a note where the file of a run's runbook is no longer the text with which the run continues; else nothing.
fn change_note(preflight: &ResumePreflight) -> String {
    let (name, source) = (&preflight.run().spec.runbook, preflight.checked().source());
    match runbook_dir::change_note(preflight.origin(), name, source.text()) {
        Some(note) => format!(
            "note: {}\nhint: pass --runbook to continue with the text of a file\n",
            text::printable(&note)
        ),
        None => String::new(),
    }
}
