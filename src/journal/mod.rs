//! What happened. A run is a sequence of [`Event`]s; everything else that is known of it (its [`RunState`], the log
//! lines, the progress of each step) is a fold over them.
//!
//! What the events promise:
//! - `step_prepared` is on disk before anything of the step is sent. It holds absolute targets and is written once for
//!   each run and step: a resumed run reads it and never decides again.
//! - `step_applied` is on disk before anything waits for what was sent.
//! - `step_completed` carries the output that later steps are given; after it the step is not run again, unless a
//!   person asks for that and the step has changed nothing.
//! - `step_approved` and `step_rejected` are on disk before anything is done because of them: an answer is final.
//! - `step_undo_started` is on disk before an undo sends anything, `step_undo_finished` after it.
//!
//! A [`RunStore`] keeps the events. It is compare-and-append: an append says how many events it has seen, so two
//! processes cannot both continue a run. [`DirectoryStore`] is the embedded default, [`MemoryStore`] is for tests and
//! embedding; the module `cluster_store` has the one that keeps runs as objects of a cluster.
//!
//! This module uses nothing else of the program: no clock (times are handed in), no actions, no runbook.

mod amendment;
mod approval;
mod audit;
mod bounds;
mod consent;
mod directory;
mod event;
mod failure;
mod format;
mod head;
mod id;
mod lines;
mod log_lines;
mod memory;
mod recorded_json;
mod retention;
mod run;
mod run_writer;
mod shared_store;
mod state;
mod step_path;
mod store;
mod summary;
mod target;

pub use amendment::{Amendment, RecordedAmendment, ReplacedRunbook, text_diff};
pub use approval::{
    ApprovalProgress, ApprovalSummary, Decision, GivenApproval, OpenApproval, PostedAnswer,
    Rejection,
};
pub use audit::AuditLog;
pub use consent::{ApprovedPlan, ApprovedStep, Consent, differences, without_evictions};
pub use directory::{DirectoryStore, LockOwner};
pub use event::{
    AfterFailure, CalledText, Event, RecordedChange, RecordedDifference, RecordedEvent, ResumeMode,
    RunEvent, RunOutcome, RunSpec, StepEvent, origin_and_digest, short_digest,
};
pub use failure::{Failure, FailureKind};
pub use format::Format;
pub use head::RunHead;
pub use id::{InvalidRunId, RunId};
pub(crate) use lines::{Checksum, parse as parse_lines, to_lines};
pub use log_lines::{LogLines, difference_texts, timestamp};
pub use memory::MemoryStore;
pub use recorded_json::RecordedJson;
pub use retention::Retention;
pub use run::{RecordedIntent, Run, StepOutcome, StepProgress, UndoStatus};
pub use run_writer::{ActionOf, Observers, RunObserver, RunWriter, SharedRunWriter};
pub use shared_store::{InterruptedRun, RequestAnswer, RunRequest, RunsElsewhere, SharedStore};
pub use state::RunState;
pub use step_path::{InvalidStepPath, PathSegment, StepPath};
pub use store::{
    HeadEntry, HeadQuery, Notified, RunStore, StoreError, StoreLocation, with_liveness,
};
pub(crate) use store::{WATCH_BACKLOG, no_start};
pub use summary::{
    AmendmentSummary, HeadSummary, RunSummary, RunbookChange, StepState, StepSummary,
    UnreadableSummary,
};
pub use target::{AwsTarget, KubernetesTarget, RunTarget, TargetMismatch};
