//! `runs approve` and `runs reject`: an answer to an approval, given to whichever process drives the run.

use std::collections::BTreeMap;

use super::RunSelector;
use crate::{
    cli::{CliError, Exit, run, stdout, store::OpenStore, target::ClusterArgs},
    engine::{AnswerRequest, Answered, Verdict, answer_approval},
    journal::StepPath,
};

/// An approval.
#[derive(Debug, clap::Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    place: AnswerPlace,
    /// An answer to a question of the step; may be given several times
    #[arg(long = "answer", value_name = "NAME=VALUE")]
    answers: Vec<String>,
    /// A remark, which is kept in the journal
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// A rejection.
#[derive(Debug, clap::Args)]
pub(super) struct RejectArgs {
    #[command(flatten)]
    place: AnswerPlace,
    /// Why; it is the failure of the step
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

/// The approval that is answered.
#[derive(Debug, clap::Args)]
struct AnswerPlace {
    #[command(flatten)]
    selector: RunSelector,
    /// The step that asks, where the run waits for several approvals, such as go or rotate[1]/go
    #[arg(value_name = "STEP")]
    step: Option<StepPath>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl ApproveArgs {
    /// Approves.
    pub(super) async fn run(self, store: &OpenStore) -> Result<Exit, CliError> {
        let verdict = Verdict::Approve {
            answers: serde_json::Map::new(),
            texts: texts(&self.answers)?,
            note: self.note,
        };
        self.place.answer(store, verdict).await
    }

    pub(super) fn cluster(&self) -> ClusterArgs {
        self.place.cluster.clone()
    }
}

impl RejectArgs {
    /// Rejects.
    pub(super) async fn run(self, store: &OpenStore) -> Result<Exit, CliError> {
        self.place.answer(store, Verdict::Reject { reason: self.reason }).await
    }

    pub(super) fn cluster(&self) -> ClusterArgs {
        self.place.cluster.clone()
    }
}

impl AnswerPlace {
    async fn answer(self, store: &OpenStore, verdict: Verdict) -> Result<Exit, CliError> {
        let runs = store.as_run_store();
        let id = self.selector.find(runs.as_ref()).await?;
        let word = match verdict {
            Verdict::Approve { .. } => "approved",
            Verdict::Reject { .. } => "rejected",
        };
        let request = AnswerRequest { step: self.step, actor: run::actor(), verdict };
        let answered = answer_approval(runs.as_ref(), &id, request).await;
        let Answered { step, missing } =
            answered.map_err(|error| CliError::Failure(error.failure()))?;
        stdout::write(&match missing {
            Some(0) => format!("{word}: step {step} of run {id}\n"),
            Some(missing) => {
                let missing =
                    text::plural(usize::try_from(missing).unwrap_or(usize::MAX), "approval");
                format!("{word}: step {step} of run {id}, which needs {missing} more\n")
            }
            None => format!(
                "recorded: the answer counts when a process drives run {id} before the approval expires\n"
            ),
        })?;
        Ok(Exit::Success)
    }
}

/// Returns the texts of `NAME=VALUE`.
pub(in crate::cli) fn texts(pairs: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let pair = |pair: &String| match pair.split_once('=') {
        Some((name, text)) => Ok((name.to_owned(), text.to_owned())),
        None => Err(CliError::Usage(format!("`--answer {pair}` is not of the form NAME=VALUE"))),
    };
    pairs.iter().map(pair).collect()
}
