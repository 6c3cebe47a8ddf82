//! `plan`: what a run would do, without doing it.

pub(super) mod file;
mod human;

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value};

use super::{
    CliError, Exit, Global, Output, inputs::InputsArgs, runs::answer_texts, stdout,
    target::TargetArgs,
};
use crate::{
    engine::{CheckedRunbook, Engine},
    journal::MemoryStore,
    plan::{self, Plan, PlanOptions},
};

pub(super) use human::describe_for_confirmation;

/// Show what a run would do to each object, without changing anything.
///
/// The cluster and the account are read; what the run itself would change first is predicted by running the whole
/// runbook on a copy of them, in this process. Exits with 0 if the run would change nothing, 5 if it would change
/// something, and 6 if something speaks against the run: a finding of severity error, or a rehearsal that fails.
#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    /// The runbook: a name or a path
    name: String,
    #[command(flatten)]
    inputs: InputsArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Only read: do not run the runbook on a copy of the cluster
    #[arg(long)]
    no_rehearsal: bool,
    /// An answer to a question of an approval, for the rehearsal; may be given several times
    #[arg(long = "answer", value_name = "NAME=VALUE", conflicts_with = "no_rehearsal")]
    answers: Vec<String>,
    /// Show every change and every wait
    #[arg(long)]
    all: bool,
    /// File to write the plan to, as JSON, for `run --plan`
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

impl PlanArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let checked = global.checked_runbook(&self.name)?;
        let inputs = self.inputs.read(&checked)?;
        let answers = answer_texts(&self.answers)?;
        let options = PlanOptions {
            rehearse: !self.no_rehearsal,
            answers,
            ranges: true,
            check_permissions: self.target.checks_permissions(),
            checks_start: true,
        };
        let environment = self.target.connect().await?;
        // Nothing is started, so nothing is kept.
        let store = Arc::new(MemoryStore::default());
        let engine = Engine::new(environment.platform.clone(), store, self.target.simulate);
        let planned = make(&engine, checked, &inputs, &options).await;
        if let Some(simulator) = environment.simulator {
            simulator.shutdown().await;
        }
        let plan = planned?;
        if let Some(path) = &self.out {
            file::write(path, &plan)?;
        }
        match global.output {
            Output::Json | Output::Ndjson => {
                stdout::write(&format!("{:#}\n", serde_json::json!(plan)))?;
            }
            Output::Text => stdout::write_colored(&human::describe(&plan, self.all))?,
        }
        Ok(exit_of(&plan))
    }
}

async fn make(
    engine: &Engine,
    checked: CheckedRunbook,
    inputs: &Map<String, Value>,
    options: &PlanOptions,
) -> Result<Plan, CliError> {
    let preflight = engine.prepare_to_plan(checked.bind(inputs)?).await?;
    Ok(plan::make(engine, &preflight, options).await)
}

fn exit_of(plan: &Plan) -> Exit {
    if plan.errors(&[]).next().is_some() || plan.rehearsal.has_failed() {
        Exit::Findings
    } else if plan.changes_something() {
        Exit::Changes
    } else {
        Exit::Success
    }
}
