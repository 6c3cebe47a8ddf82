//! The facts of a run, one variant each, in the form in which they are kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One event with its place in the run and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its place: 0 for the first event of the run.
    pub seq: u64,
    /// When it was written, by the writer's wall clock.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen in a run. The module's head says what the important ones promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run was accepted. Always the first event.
    RunStarted(Box<RunSpec>),
    /// A process took the run up again.
    RunResumed {
        /// Who asked for it.
        actor: String,
        /// The version of the program that goes on with it.
        version: String,
        /// Whether it goes back: from here on steps are undone, the last first.
        #[serde(default, rename = "back")]
        rollback: bool,
    },
    /// A step began.
    StepStarted {
        /// The step's id.
        step: String,
        /// The step's name, for people.
        name: String,
    },
    /// A step was taken up again after a resume.
    StepResumed {
        /// The step's id.
        step: String,
        /// The step's name, for people.
        name: String,
    },
    /// A step was left out; it has no output.
    StepSkipped {
        /// The step's id.
        step: String,
        /// The step's name, for people.
        name: String,
        /// Why.
        #[serde(rename = "because")]
        reason: String,
    },
    /// A step's own words.
    #[serde(rename = "said")]
    StepMessage {
        /// The step's id.
        step: String,
        /// What it said.
        message: String,
    },
    /// What a step waits for right now.
    #[serde(rename = "waiting")]
    StepWaiting {
        /// The step's id.
        step: String,
        /// What it waits for.
        message: String,
    },
    /// What a step will change, decided once, in absolute terms. Nothing of it has been sent.
    #[serde(rename = "prepared")]
    StepPrepared {
        /// The step's id.
        step: String,
        /// The revision of the action that wrote `intent`.
        revision: u32,
        /// The action's own intent.
        intent: Value,
        /// The same target by target, for plans, `runs show` and the audit log.
        changes: Vec<RecordedChange>,
    },
    /// The change was sent, and this is what came back.
    #[serde(rename = "applied")]
    StepApplied {
        /// The step's id.
        step: String,
        /// The generation of the intent that was sent.
        generation: u32,
        /// The action's own receipt.
        receipt: Value,
    },
    /// What was sent ended in a definite failure on the platform's side; the same intent may be sent again, as the
    /// next generation.
    OperationFailed {
        /// The step's id.
        step: String,
        /// The generation that failed.
        generation: u32,
        /// What the platform said.
        error: String,
    },
    /// An attempt failed in a way that can heal.
    AttemptFailed {
        /// The step's id.
        step: String,
        /// Which attempt, from 1.
        attempt: u32,
        /// Why.
        error: String,
        /// How long until the next one, in milliseconds.
        retry_in_ms: u64,
    },
    /// A step ended well.
    #[serde(rename = "completed")]
    StepCompleted {
        /// The step's id.
        step: String,
        /// The revision of the action that wrote `output`.
        revision: u32,
        /// What later steps are given.
        output: Value,
        /// The step's `log` message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A step ended badly.
    StepFailed {
        /// The step's id.
        step: String,
        /// Why.
        error: String,
        /// What follows from it. It stands in the same event, so that no crash can come between the two.
        then: AfterFailure,
    },
    /// Somebody asked the run to stop.
    CancelRequested {
        /// Who.
        actor: String,
    },
    /// A step's undo began.
    #[serde(rename = "undoing")]
    UndoStarted {
        /// The step's id.
        step: String,
    },
    /// A step was undone.
    #[serde(rename = "undone")]
    UndoFinished {
        /// The step's id.
        step: String,
        /// Targets that somebody else changed meanwhile, and that were therefore left as they are; and whatever
        /// else could not be put back.
        #[serde(default, rename = "left_alone", skip_serializing_if = "Vec::is_empty")]
        not_restored: Vec<String>,
    },
    /// A step could not be undone.
    UndoFailed {
        /// The step's id.
        step: String,
        /// Why.
        error: String,
    },
    /// The run stopped here.
    RunEnded {
        /// How.
        #[serde(rename = "ending")]
        outcome: RunOutcome,
        /// Why, where it did not end well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Somebody declared an unfinished run to be over; the world stays as it is.
    #[serde(rename = "abandoned")]
    RunAbandoned {
        /// Who.
        actor: String,
    },
}

/// What follows from a step's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailure {
    /// The run goes on without the step.
    Continue,
    /// The run stops; nothing more is changed.
    Stop,
    /// What took effect is undone.
    Rollback,
}

/// How a run came to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Every step ended well or was left out.
    Succeeded,
    /// The end was reached, and some step failed under `on_failure: continue`.
    SucceededWithFailures,
    /// A step failed and nothing more was changed.
    Failed,
    /// Somebody asked for it.
    Cancelled,
    /// The process was asked to go away.
    Interrupted,
    /// Everything that took effect was undone, or said to be left alone.
    RolledBack,
    /// Some step could not be undone.
    RollbackFailed,
}

/// What a run began with. It finishes with the same, whatever happens to the file it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The runbook's name.
    pub runbook: String,
    /// The runbook's text, whole.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
    /// The inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// Who asked for the run.
    pub actor: String,
    /// The caller's own key for the run: the same key never starts a second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The version of the program.
    pub version: String,
    /// What the run may touch.
    pub target: RunTarget,
}

/// The cluster and account that a run may touch, as they named themselves when it began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunTarget {
    /// Whether it is a simulation.
    pub simulated: bool,
    /// The Kubernetes cluster, where the runbook uses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesTarget>,
    /// The AWS account, where the runbook uses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsTarget>,
}

/// A Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KubernetesTarget {
    /// The API server's address. The same cluster may be reached by another one.
    pub server: String,
    /// The kubeconfig context it was found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// UID of the `kube-system` namespace: the usual identity of a cluster.
    pub uid: String,
}

/// An AWS account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AwsTarget {
    /// The account's number.
    pub account: String,
    /// Who we are there.
    pub identity: String,
}

/// A run that was started elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the run was started against {expected}, and this is {found}")]
pub struct TargetMismatch {
    expected: String,
    found: String,
}

impl RunTarget {
    /// Checks that `actual` is the place where the run began. Addresses and identities may differ; the cluster and the
    /// account may not.
    ///
    /// # Errors
    /// What the run was started against, and what was found.
    pub fn ensure_same(&self, actual: &Self) -> Result<(), TargetMismatch> {
        let mismatch = |expected: String, found: String| Err(TargetMismatch { expected, found });
        let kind = |target: &Self| if target.simulated { "a simulation" } else { "a real cluster" };
        if self.simulated != actual.simulated {
            return mismatch(kind(self).into(), kind(actual).into());
        }
        if let (Some(expected), Some(found)) = (&self.kubernetes, &actual.kubernetes)
            && expected.uid != found.uid
        {
            let name = |k: &KubernetesTarget| format!("cluster {} at {}", k.uid, k.server);
            return mismatch(name(expected), name(found));
        }
        if let (Some(expected), Some(found)) = (&self.aws, &actual.aws)
            && expected.account != found.account
        {
            let name = |a: &AwsTarget| format!("AWS account {}", a.account);
            return mismatch(name(expected), name(found));
        }
        Ok(())
    }
}

/// One thing that a step changes: as it was found, and as it is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedChange {
    /// What is changed, in the platform's words: `nodegroup relay desired`.
    pub target: String,
    /// What it was when the step was prepared.
    pub before: Value,
    /// What it is to be.
    pub after: Value,
}

impl Event {
    /// Whether this event, and all before it, must be on disk before anything else is done.
    pub(super) fn requires_sync(&self) -> bool {
        match self {
            Self::RunStarted(_)
            | Self::RunResumed { .. }
            | Self::StepPrepared { .. }
            | Self::StepApplied { .. }
            | Self::OperationFailed { .. }
            | Self::StepFailed { .. }
            | Self::CancelRequested { .. }
            | Self::UndoStarted { .. }
            | Self::UndoFinished { .. }
            | Self::UndoFailed { .. }
            | Self::RunEnded { .. }
            | Self::RunAbandoned { .. } => true,
            Self::StepStarted { .. }
            | Self::StepResumed { .. }
            | Self::StepSkipped { .. }
            | Self::StepMessage { .. }
            | Self::StepWaiting { .. }
            | Self::AttemptFailed { .. }
            | Self::StepCompleted { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(uid: &str) -> RunTarget {
        RunTarget {
            kubernetes: Some(KubernetesTarget {
                server: format!("https://{uid}"),
                context: None,
                uid: uid.into(),
            }),
            ..RunTarget::default()
        }
    }

    #[test]
    fn a_record_is_one_flat_object() {
        let record = EventRecord {
            seq: 3,
            time: Timestamp::UNIX_EPOCH,
            event: Event::StepMessage { step: "a".into(), message: "hello".into() },
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            r#"{"seq":3,"time":"1970-01-01T00:00:00Z","event":"said","step":"a","message":"hello"}"#
        );
        assert_eq!(serde_json::from_str::<EventRecord>(&text).unwrap(), record);
    }

    #[test]
    fn another_cluster_is_not_the_same_target() {
        assert!(cluster("a").ensure_same(&cluster("a")).is_ok());
        assert_eq!(
            cluster("a").ensure_same(&cluster("b")).unwrap_err().to_string(),
            "the run was started against cluster a at https://a, and this is cluster b at https://b"
        );
    }

    #[test]
    fn a_simulation_is_never_a_cluster() {
        let simulated = RunTarget { simulated: true, ..cluster("a") };
        assert!(cluster("a").ensure_same(&simulated).is_err());
    }
}
