//! `run`: one runbook, from start to end.

use std::{io::IsTerminal as _, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value};
use text::{join_truncated, printable};

use super::{
    CliError, Exit, Global, Output, confirm,
    inputs::InputsArgs,
    live::RunDisplay,
    next_steps,
    notify::{NotifyFileArgs, OwnRun},
    permission_report, plan,
    runs::answer_texts,
    signals, stdout, summary,
    target::TargetArgs,
    timeline::Timeline,
    windows,
    windows::WindowsArgs,
};
use crate::{
    engine::{AcceptedRun, Approver, CheckedRunbook, Control, Engine},
    journal::{Failure, FailureKind, Run, RunState, RunSummary, UndoStatus},
    plan::{CODES, Plan, PlanOptions, make, unknown_code},
    windows::ChangeWindows,
};

/// Runs a runbook and shows its progress.
///
/// NAME is looked up in the directory of runbooks, then among those compiled into the program; a path is a path.
/// Against a real cluster it says what it will touch and asks first.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The runbook: a name or a path
    name: String,
    /// Do exactly what this plan says (see `plan --out`), or refuse and say what is different now
    #[arg(long, value_name = "FILE", conflicts_with_all = ["assignments", "file", "check_permissions"])]
    plan: Option<PathBuf>,
    /// Do not look for conflicts before the run starts; `plan` does
    #[arg(long, env = "SOP_NO_PLAN", conflicts_with = "plan")]
    no_plan: bool,
    /// Start although a plan has this finding; may be given several times
    #[arg(long, value_name = "CODE")]
    accept: Vec<String>,
    #[command(flatten)]
    inputs: InputsArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Do not ask before acting on a real cluster
    #[arg(long, env = "SOP_YES")]
    yes: bool,
    /// Approve what the runbook waits for as this actor, without asking anybody; may be given several times
    #[arg(long, value_name = "ACTOR", requires = "simulate")]
    approve_as: Vec<String>,
    /// An answer of theirs to a question of an approval; may be given several times
    #[arg(long = "answer", value_name = "NAME=VALUE", requires = "approve_as")]
    answers: Vec<String>,
    #[command(flatten)]
    windows: WindowsArgs,
    #[command(flatten)]
    notify: NotifyFileArgs,
    /// Start the run although no change window is open, for this reason, which is recorded
    #[arg(
        long,
        value_name = "REASON",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    outside_window: Option<String>,
    /// Only check whether this account has the permissions that the run and its undo need, and print those it has not
    #[arg(long)]
    check_permissions: bool,
}

impl RunArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let checked = global.checked_runbook(&self.name)?;
        let planned = self.plan.as_deref().map(plan::file::read).transpose()?;
        if let Some((plan, _)) = &planned
            && plan.runbook != checked.runbook().name
        {
            let message =
                format!("the plan is of runbook {}, not {}", plan.runbook, checked.runbook().name);
            return Err(CliError::Usage(message));
        }
        let inputs = match &planned {
            Some((plan, _)) => plan.inputs.clone(),
            None => self.inputs.read(&checked)?,
        };
        self.ensure_codes_exist()?;
        let texts = answer_texts(&self.answers)?;
        let approver = Approver::new(self.approve_as.clone(), texts);
        if self.check_permissions {
            return self.check_permissions(checked, &inputs, global).await;
        }
        let asks = !self.target.simulate && !self.yes;
        if asks {
            confirm::require_terminal(&self.target)?;
        }
        let windows = self.windows.read()?;
        let notify = self.notify.read()?;
        let environment = self.target.connect().await?;
        let now = environment.platform.reader().clock().now();
        let outside_window = self.ensure_in_window(windows.as_ref(), &checked, now)?;
        let times = self.target.lease_times()?;
        let place =
            global.store_place(self.target.simulate, times, || environment.platform.clone())?;
        let store = place.open_for_writing("run", None).await?.as_run_store();
        let engine =
            Engine::new(environment.platform.clone(), Arc::clone(&store), self.target.simulate)
                .with_lease_times(times)
                .checking_permissions(self.target.checks_permissions())
                .approving_as(approver);
        let (engine, told) = OwnRun::observe(engine, notify, &store, global);
        let mut preflight = engine.prepare(checked, &inputs).await?;
        preflight.outside_window = outside_window;
        self.target.ensure_speed_is_allowed(&environment.platform, &preflight.target).await?;
        if planned.is_some() || !(self.target.simulate || self.no_plan) {
            // What another run is changing speaks for nothing.
            engine.ensure_target_is_free(&preflight, &actor()).await?;
            let answers =
                planned.as_ref().map(|(plan, _)| plan.answers.clone()).unwrap_or_default();
            let options = PlanOptions { ranges: asks, answers, ..PlanOptions::default() };
            let plan = make(&engine, &preflight, &options).await;
            if let Some((planned, digest)) = planned {
                ensure_same(&planned, &plan)?;
                preflight.consent.plan = Some(planned.approve(digest, &plan.existing));
            }
            ensure_acceptable(&plan, &self.accept)?;
            preflight.consent.accepted = plan.needed_consent(&self.accept);
            if asks {
                confirm::ask_to_run(&preflight, &plan)?;
            }
        } else if asks {
            confirm::ask_to_run_unplanned(&preflight)?;
        }
        // It may have closed while the run was planned, or while a person read the plan.
        let now = environment.platform.reader().clock().now();
        let outside_window = self.ensure_in_window(windows.as_ref(), &preflight.checked, now)?;
        preflight.outside_window = outside_window.or(preflight.outside_window);
        let accepted = engine.accept(preflight, &actor(), None).await?;
        let run = drive(&engine, accepted, global, &self.target).await;
        told.finish().await;
        if let Some(simulator) = environment.simulator {
            simulator.shutdown().await;
        }
        Ok(exit_of(run?.state(false)))
    }
}

impl RunArgs {
    /// Whether there is a run, whose events can be printed.
    pub(super) fn has_events(&self) -> bool {
        !self.check_permissions
    }

    /// Checks that the codes that are accepted are codes of findings.
    fn ensure_codes_exist(&self) -> Result<(), CliError> {
        match unknown_code(&self.accept) {
            None => Ok(()),
            Some(code) => {
                let known: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
                let message = format!("--accept {code}: there is no finding with this code");
                Err(CliError::usage_with_hint(message, format!("codes: {}", known.join(", "))))
            }
        }
    }

    /// Checks that the run may start now. Returns why it may all the same where no change window is open. A simulation
    /// changes nothing that windows protect.
    fn ensure_in_window(
        &self,
        windows: Option<&ChangeWindows>,
        checked: &CheckedRunbook,
        now: Timestamp,
    ) -> Result<Option<String>, CliError> {
        let is_concerned = !self.target.simulate && checked.changes_something();
        let Some(windows) = windows.filter(|_| is_concerned) else { return Ok(None) };
        match (windows.ensure_open(now), &self.outside_window) {
            (Ok(()), _) => Ok(None),
            (Err(_), Some(reason)) => Ok(Some(reason.clone())),
            (Err(outside), None) => Err(windows::refusal(&checked.runbook().name, &outside)),
        }
    }

    async fn check_permissions(
        &self,
        checked: CheckedRunbook,
        inputs: &Map<String, Value>,
        global: &Global,
    ) -> Result<Exit, CliError> {
        let environment = self.target.connect().await?;
        let exit =
            permission_report::check(environment.platform.clone(), [(checked, inputs)], global);
        let exit = exit.await;
        if let Some(simulator) = environment.simulator {
            simulator.shutdown().await;
        }
        exit
    }
}

/// Refuses a plan that is no longer what was approved.
fn ensure_same(approved: &Plan, now: &Plan) -> Result<(), CliError> {
    let open = approved.open_steps();
    if !open.is_empty() {
        let steps = join_truncated(open.iter().map(ToString::to_string));
        let message = format!("the plan does not say what these steps change: {steps}");
        let hint = "make the plan with a rehearsal that comes to them";
        return Err(CliError::Failure(
            Failure::new(FailureKind::Precondition, message).with_hint(Some(hint)),
        ));
    }
    let differences = approved.differences(now);
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("the plan is no longer what would happen: {}", differences.join("; "));
    let hint = "make a new plan, and have it approved";
    Err(CliError::Failure(Failure::new(FailureKind::Conflict, message).with_hint(Some(hint))))
}

/// Refuses a plan against which something speaks that is not accepted.
fn ensure_acceptable(plan: &Plan, accepted: &[String]) -> Result<(), CliError> {
    let how = |codes: &[&str]| {
        let flags: Vec<String> = codes.iter().map(|code| format!("--accept {code}")).collect();
        flags.join(" ")
    };
    match plan.refusal(accepted, how) {
        Some(failure) => Err(CliError::Failure(failure)),
        None => Ok(()),
    }
}

/// Returns who is at the command line.
pub(super) fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    user.map_or_else(|_| "cli".into(), |user| format!("cli:{user}"))
}

/// Drives a run to its end while showing it, and returns it.
pub(super) async fn drive(
    engine: &Engine,
    accepted: AcceptedRun,
    global: &Global,
    target: &TargetArgs,
) -> Result<Run, CliError> {
    let control = Control::default();
    let step_count = accepted.step_paths().len();
    let display = RunDisplay::start(&accepted, engine.store(), global).await;
    let signals = signals::forward_to(control.clone(), display.stop_notice())?;
    let driven = engine.drive(accepted, control).await;
    signals.abort();
    let timeline = display.finish().await;
    let run = driven.map_err(CliError::Journal)?;
    print_result(&run, timeline.as_ref(), step_count, global, Some(target))?;
    Ok(run)
}

/// Prints how a run has ended. `target` is where this process has driven it.
pub(super) fn print_result(
    run: &Run,
    timeline: Option<&Timeline>,
    step_count: usize,
    global: &Global,
    target: Option<&TargetArgs>,
) -> Result<(), CliError> {
    let state = run.state(false);
    match global.output {
        Output::Text => {}
        Output::Json => {
            let document = serde_json::json!(RunSummary::of(run, false).with_diffs(run));
            return Ok(stdout::write(&format!("{document:#}\n"))?);
        }
        // The events have said it all.
        Output::Ndjson => return Ok(()),
    }
    // On a terminal the lines above have the failure, and elsewhere the commands that restore values.
    let is_terminal = std::io::stdout().is_terminal();
    let summary = summary::describe(run, step_count, timeline, is_terminal);
    stdout::write_colored(&summary::wrapped(&summary, stdout::width()))?;
    if let Some(failure) = run.head.failure.as_ref().filter(|_| !is_terminal) {
        let lines = failure.lines().join("\n");
        stdout::write_stderr(&format!("{state}: {}{lines}\n", failed_step(run)));
    }
    // A simulated cluster ends with this process: there is nothing to resume.
    if state.is_unfinished() && !run.spec.target.simulated {
        let next = next_steps::describe(
            run.id(),
            &run.spec.target,
            run.head.is_rolling_back(),
            run.head.has_changed,
            global,
            target,
        );
        stdout::write_stderr(&format!("{next}\n"));
    }
    Ok(())
}

/// Returns the step that failed, as the beginning of an error.
fn failed_step(run: &Run) -> String {
    let Some(step) = run.head.failed_step.as_ref().and_then(|path| run.step(path)) else {
        return String::new();
    };
    let name = printable(&step.name);
    match &step.undo {
        Some(UndoStatus::Failed(_)) => format!("could not undo {name}: "),
        _ => format!("{name}: "),
    }
}

/// Returns how the program ends after a run.
pub(super) fn exit_of(state: RunState) -> Exit {
    match state {
        RunState::Succeeded | RunState::SucceededWithFailures | RunState::Abandoned => {
            Exit::Success
        }
        RunState::RolledBack => Exit::Failed,
        RunState::Cancelled | RunState::Interrupted => Exit::Interrupted,
        RunState::Failed | RunState::RollbackFailed | RunState::Running | RunState::RollingBack => {
            Exit::Unfinished
        }
    }
}
