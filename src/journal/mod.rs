//! What happened. A run is a sequence of [`Event`]s; everything else that can be said of it (its [`RunState`], the
//! log lines, how far each step has come) is a fold over them.
//!
//! What the events promise:
//! - `prepared` is on disk before anything of the step is sent. It holds absolute targets and is written once a run
//!   and step: a resumed run reads it and never decides again.
//! - `applied` is on disk before anything waits for what was sent.
//! - `completed` carries the output that later steps are given; after it the step is never touched again.
//! - `undoing` is on disk before an undo sends anything, `undone` after it.
//!
//! A [`RunStore`] keeps the events. It is compare-and-append: an append says how many events it has seen, so two
//! processes cannot both continue a run. The embedded store, [`FileStore`], is a folder of JSON-lines files.
//!
//! This room may know nothing else of the program: no clock (times are handed in), no actions, no runbook.

mod audit;
mod event;
mod file_store;
mod id;
mod log_lines;
mod run;
mod run_writer;
mod store;
mod summary;

pub use event::{
    AfterFailure, AwsTarget, Event, EventRecord, KubernetesTarget, RecordedChange, RunOutcome,
    RunSpec, RunTarget, TargetMismatch,
};
pub use file_store::{FileStore, LockOwner};
pub use id::RunId;
pub use log_lines::{LogLines, timestamp};
pub use run::{RecordedIntent, Run, RunState, StepOutcome, StepProgress, UndoStatus};
pub use run_writer::RunWriter;
pub use store::{RunStore, StoreError};
pub use summary::{RunSummary, StepState, StepSummary};
