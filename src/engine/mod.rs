//! The interpreter: takes a checked runbook's steps one by one, writes every fact to the journal before it acts on
//! it, and starts every step where its events say that it stands. Resume is therefore not a path of its own.
//!
//! ```text
//!  accept ──> running ──────────────> succeeded | succeeded_with_failures
//!               │  │ └─ a step failed ─┬─ on_failure: continue ─> running
//!               │  │                   ├─ on_failure: stop ─────> failed ─────────┐
//!               │  │                   └─ on_failure: rollback ─> rolling_back    │
//!               │  └─ cancel ──────────────────────────────────> cancelled ───────┤ resume ──> running
//!               └─ the process dies, or is told to go ─────────> interrupted ─────┤ rollback > rolling_back
//!                                                                                 │ abandon ─> abandoned
//!  rolling_back ──> rolled_back | rollback_failed ────────────────────────────────┘
//! ```
//!
//! A step that changes something goes prepare → `prepared` → apply → `applied` → settle → `completed`, and each
//! event is on disk before the next verb is called. Cancelling and time-outs end a prepare, a wait or a settle at
//! once; an apply in flight is always finished and its receipt journaled.
//!
//! This room knows actions by their erased [`ActionDef`](crate::actions::ActionDef), the journal and the runbook. It may not
//! know any single action, nor the platform behind them, nor who called it.

mod accept;
mod control;
mod drive;
mod interruptible;
mod preview;
mod resume;
mod rollback;
mod start_error;
mod step;
mod target;

use std::sync::Arc;

pub use accept::{RunRequest, check, digest};
pub use control::Control;
pub use resume::{ResumeMode, abandon};
pub use start_error::StartError;

use crate::{actions::Platform, journal::RunStore};
use clock::Clock;

/// The version that is written into every run.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Starts, resumes and drives runs.
pub struct Engine {
    platform: Platform,
    store: Arc<dyn RunStore>,
    clock: Clock,
    simulated: bool,
}

impl Engine {
    /// An engine that acts on `platform` and writes to `store`. `simulated` is written into its runs, so that none
    /// of them is ever continued against a real cluster.
    pub fn new(platform: Platform, store: Arc<dyn RunStore>, simulated: bool) -> Self {
        let clock = *platform.reader().clock();
        Self { platform, store, clock, simulated }
    }

    /// Where runs are kept.
    pub fn store(&self) -> &Arc<dyn RunStore> {
        &self.store
    }
}
