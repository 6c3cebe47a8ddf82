//! Answers to approvals: what counts, and how a process that does not drive the run gives one. The process that drives
//! it checks each answer again before it is an event.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::journal::{
    ApprovalProgress, Decision, Failure, FailureKind, PostedAnswer, Run, RunId, RunState, RunStore,
    StepPath, StoreError, timestamp,
};
use clock::{Backoff, Clock, Pace};
use runbook::{InputError, Questions};

/// The pauses between reads of the run.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// How long to wait until the process that drives the run has taken an answer.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Why an answer to an approval does not count. `Display` is the message; [`failure`](Self::failure) has the remedy.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The run waits for no approval.
    #[error("run {run} is {state} and waits for no approval")]
    NotAsked {
        /// The run.
        run: RunId,
        /// Its state.
        state: RunState,
    },
    /// The run does not wait for the approval of this step.
    #[error("step {step} waits for no approval")]
    NotOpen {
        /// The step.
        step: String,
        /// The steps that do.
        open: Vec<String>,
    },
    /// The run waits for several approvals, and the answer does not say which is meant.
    #[error("{} approvals are open", open.len())]
    Ambiguous {
        /// The steps.
        open: Vec<String>,
    },
    /// The approval was decided before.
    #[error("the approval of step {step} was decided already: {decision}")]
    Decided {
        /// The step.
        step: StepPath,
        /// By whom, and how.
        decision: String,
    },
    /// The time is up.
    #[error("the approval of step {step} has expired at {at}")]
    Expired {
        /// The step.
        step: StepPath,
        /// When.
        at: String,
    },
    /// The actor may not approve.
    #[error("{actor} may not approve step {step} (`not_by`)")]
    MayNot {
        /// The actor.
        actor: String,
        /// The step.
        step: StepPath,
    },
    /// The actor has approved before, and counts once.
    #[error("{actor} has approved step {step} already, and counts once")]
    Again {
        /// The actor.
        actor: String,
        /// The step.
        step: StepPath,
    },
    /// The answers are not those that were asked for.
    #[error("{}", .0.iter().map(of_answer).collect::<Vec<_>>().join("; "))]
    Answers(Vec<InputError>),
    /// The first actor that approved has answered otherwise.
    #[error("{actor} has answered '{name}' with {value}")]
    OtherAnswer {
        /// The question.
        name: String,
        /// Its answer.
        value: Value,
        /// The first actor that approved.
        actor: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the message about an input as one about an answer.
fn of_answer(error: &InputError) -> String {
    error.to_string().replacen("input", "answer", 1)
}

impl AnswerError {
    /// Returns the error as data.
    pub fn failure(&self) -> Failure {
        let (kind, hint) = match self {
            Self::Store(error) => return error.into(),
            Self::NotAsked { .. } | Self::Decided { .. } | Self::Expired { .. } => {
                (FailureKind::Conflict, None)
            }
            Self::NotOpen { open, .. } => {
                (FailureKind::Conflict, Some(format!("open: {}", open.join(", "))))
            }
            Self::Ambiguous { open } => {
                (FailureKind::Usage, Some(format!("name the step: {}", open.join(", "))))
            }
            Self::MayNot { .. } => (
                FailureKind::Conflict,
                Some("another person must; everybody may reject".to_owned()),
            ),
            Self::Again { .. } => (FailureKind::Conflict, None),
            Self::Answers(errors) => {
                let hint = errors.iter().find_map(InputError::hint).map(|hint| match hint {
                    hint if hint == "this runbook has no inputs" => "nothing is asked".to_owned(),
                    hint => hint.replacen("inputs", "answers", 1),
                });
                (FailureKind::InvalidInputs, hint)
            }
            Self::OtherAnswer { .. } => {
                (FailureKind::Conflict, Some("leave the answer out, or reject".to_owned()))
            }
        };
        Failure::new(kind, self.to_string()).with_hint(hint)
    }
}

/// Checks an answer against what was asked, and returns it with defaults for the answers that it leaves out.
pub(super) fn check(
    step: &StepPath,
    asked: &ApprovalProgress,
    actor: &str,
    decision: &Decision,
    now: Timestamp,
) -> Result<Decision, AnswerError> {
    if let Some(decision) = decided(asked) {
        return Err(AnswerError::Decided { step: step.clone(), decision });
    }
    if now >= asked.expires_at {
        return Err(AnswerError::Expired { step: step.clone(), at: timestamp(asked.expires_at) });
    }
    let Decision::Approve { answers, note } = decision else { return Ok(decision.clone()) };
    let actor_and_step = || (actor.to_owned(), step.clone());
    if asked.not_by.iter().any(|other| other == actor) {
        let (actor, step) = actor_and_step();
        return Err(AnswerError::MayNot { actor, step });
    }
    if asked.given.iter().any(|given| given.actor == actor) {
        let (actor, step) = actor_and_step();
        return Err(AnswerError::Again { actor, step });
    }
    let questions = Questions::read(&asked.ask);
    let answers = match asked.given.first() {
        None => questions.bind(answers).map_err(AnswerError::Answers)?,
        Some(first) => {
            let mut merged = asked.answers.clone();
            merged.extend(answers.clone());
            let merged = questions.bind(&merged).map_err(AnswerError::Answers)?;
            let other = merged.iter().find(|(name, value)| asked.answers.get(*name) != Some(value));
            if let Some((name, _)) = other {
                return Err(AnswerError::OtherAnswer {
                    name: name.clone(),
                    value: asked.answers.get(name).cloned().unwrap_or_default(),
                    actor: first.actor.clone(),
                });
            }
            merged
        }
    };
    Ok(Decision::Approve { answers, note: note.clone() })
}

/// Returns how an approval was decided.
fn decided(asked: &ApprovalProgress) -> Option<String> {
    if let Some(rejection) = &asked.rejection {
        return Some(format!("rejected by {}", rejection.actor));
    }
    (!asked.is_open()).then(|| format!("approved by {}", asked.approved_by().join(", ")))
}

/// A request to answer an approval.
#[derive(Debug, Clone)]
pub struct AnswerRequest {
    /// The step, where the run waits for several approvals.
    pub step: Option<StepPath>,
    /// The actor that answers.
    pub actor: String,
    /// Whether the run may go on.
    pub verdict: Verdict,
}

/// The verdict of a person.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The run may go on.
    Approve {
        /// The answers, as JSON.
        answers: Map<String, Value>,
        /// The answers as texts, which are parsed by the types of their questions.
        texts: BTreeMap<String, String>,
        /// A remark.
        note: Option<String>,
    },
    /// The step fails.
    Reject {
        /// Why.
        reason: String,
    },
}

/// The result of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The step.
    pub step: StepPath,
    /// How many more approvals the step needs; `None` where no process has taken the answer yet.
    pub missing: Option<u32>,
}

/// Answers an approval of a run that any process drives, and waits for a while until that process has taken the answer.
///
/// # Errors
/// The answer does not count.
pub async fn answer_approval(
    store: &dyn RunStore,
    id: &RunId,
    request: AnswerRequest,
) -> Result<Answered, AnswerError> {
    let is_live = store.is_live(id).await;
    let run = Run::read(store, id).await?;
    let (step, asked) = find(&run, is_live, request.step.as_ref())?;
    let decision = match request.verdict {
        Verdict::Reject { reason } => Decision::Reject { reason },
        Verdict::Approve { mut answers, texts, note } => {
            let questions = Questions::read(&asked.ask);
            for (name, text) in &texts {
                let value = questions.parse(name, text);
                let value = value.map_err(|error| AnswerError::Answers(vec![error]))?;
                answers.insert(name.clone(), value);
            }
            Decision::Approve { answers, note }
        }
    };
    check(step, asked, &request.actor, &decision, Timestamp::now())?;
    let posted = PostedAnswer::new(step.clone(), &request.actor, decision);
    store.post_answer(id, &posted).await?;
    taken(store, id, &posted, is_live).await
}

/// Waits until an answer was taken, or was not.
async fn taken(
    store: &dyn RunStore,
    id: &RunId,
    posted: &PostedAnswer,
    is_live: bool,
) -> Result<Answered, AnswerError> {
    let step = posted.step.clone();
    let mut pace = Pace::new(&Clock::real(), PAUSES);
    let begun = tokio::time::Instant::now();
    while is_live && begun.elapsed() < TIME_LIMIT {
        pace.next_turn().await;
        // Asked first: an answer that counts is an event before it is removed.
        let is_there = store.answers(id).await?.iter().any(|answer| answer.id == posted.id);
        let run = Run::read(store, id).await?;
        let asked = run.step(&step).and_then(|progress| progress.approval.as_ref());
        if let Some(asked) = asked.filter(|asked| asked.taken.contains(&posted.id)) {
            let missing = if asked.rejection.is_some() { 0 } else { asked.missing() };
            return Ok(Answered { step, missing: Some(missing) });
        }
        let is_open = run.open_approvals().any(|(open, _)| *open == step);
        if is_there && is_open {
            continue;
        }
        store.remove_answer(id, &posted.id).await?;
        // Another answer was faster.
        if let Some(asked) = asked {
            check(&step, asked, &posted.actor, &posted.decision, Timestamp::now())?;
        }
        find(&run, store.is_live(id).await, Some(&step))?;
    }
    Ok(Answered { step, missing: None })
}

/// Returns the approval that is meant.
fn find<'r>(
    run: &'r Run,
    is_live: bool,
    step: Option<&StepPath>,
) -> Result<(&'r StepPath, &'r ApprovalProgress), AnswerError> {
    let open: Vec<(&StepPath, &ApprovalProgress)> = run.open_approvals().collect();
    let names = || open.iter().map(|(step, _)| step.to_string()).collect::<Vec<_>>();
    let Some(step) = step else {
        return match open[..] {
            [one] => Ok(one),
            [] => Err(none_open(run, is_live, None)),
            _ => Err(AnswerError::Ambiguous { open: names() }),
        };
    };
    if let Some(found) = open.iter().find(|(open, _)| *open == step) {
        return Ok(*found);
    }
    match open[..] {
        [] => Err(none_open(run, is_live, Some(step))),
        _ => Err(match last_decision(run, Some(step)) {
            Some(decided) => decided,
            None => AnswerError::NotOpen { step: step.to_string(), open: names() },
        }),
    }
}

fn none_open(run: &Run, is_live: bool, step: Option<&StepPath>) -> AnswerError {
    last_decision(run, step).unwrap_or_else(|| AnswerError::NotAsked {
        run: run.id().clone(),
        state: run.state(is_live),
    })
}

/// Returns the decision that an answer comes too late for: of a step, or the last one of the run.
fn last_decision(run: &Run, step: Option<&StepPath>) -> Option<AnswerError> {
    let asked = run.steps().iter().rev().find(|progress| {
        progress.approval.is_some() && step.is_none_or(|step| progress.path == *step)
    })?;
    let approval = asked.approval.as_ref()?;
    let step = asked.path.clone();
    match decided(approval) {
        Some(decision) => Some(AnswerError::Decided { step, decision }),
        None if asked.outcome.is_some() => {
            Some(AnswerError::Expired { step, at: timestamp(approval.expires_at) })
        }
        None => None,
    }
}

/// The actors that approve in a simulation, without being asked.
#[derive(Debug, Clone, Default)]
pub struct Approver {
    /// The actors, in the order in which they approve.
    pub actors: Vec<String>,
    /// Their answers, as texts; a question that has none, and no default, fails the step.
    pub texts: BTreeMap<String, String>,
    /// Whether as many actors approve as are asked for, under any names.
    is_rehearsal: bool,
}

impl Approver {
    /// Returns an approver with these actors and answers.
    pub fn new(actors: Vec<String>, texts: BTreeMap<String, String>) -> Self {
        Self { actors, texts, is_rehearsal: false }
    }

    /// Returns an approver for a rehearsal, in which everybody who is asked approves.
    pub fn rehearsal(texts: BTreeMap<String, String>) -> Self {
        Self { actors: Vec::new(), texts, is_rehearsal: true }
    }

    /// Returns the actors that approve a request.
    pub(super) fn actors_for(&self, asked: &ApprovalProgress) -> Vec<String> {
        match self.is_rehearsal {
            true => (1..=asked.missing()).map(|number| format!("approver {number}")).collect(),
            false => self.actors.clone(),
        }
    }

    /// Returns the answers to what is asked. An answer to a question of another step is left out.
    pub(super) fn answers(
        &self,
        asked: &ApprovalProgress,
    ) -> Result<Map<String, Value>, AnswerError> {
        let questions = Questions::read(&asked.ask);
        let known = |name: &String| questions.all().iter().any(|question| question.name == *name);
        let given = self.texts.iter().filter(|(name, _)| known(name));
        let parsed = given.map(|(name, text)| Ok((name.clone(), questions.parse(name, text)?)));
        parsed.collect::<Result<_, InputError>>().map_err(|error| AnswerError::Answers(vec![error]))
    }
}
