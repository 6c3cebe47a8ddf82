//! The interpreter: runs a checked runbook's steps one by one, writes every fact to the journal before it acts on the
//! fact, and starts every step where its events left it. Resuming is therefore not a code path of its own.
//!
//! ```text
//!  accept ──> running ──────────────> succeeded | succeeded_with_failures
//!               │  │ └─ a step failed ─┬─ on_failure: continue ─> running
//!               │  │                   ├─ on_failure: stop ─────> failed ─────────┐
//!               │  │                   └─ on_failure: rollback ─> rolling_back    │
//!               │  └─ cancel ──────────────────────────────────> cancelled ───────┤ resume ──> running
//!               └─ the process dies, or is asked to shut down ─> interrupted ─────┤ rollback > rolling_back
//!                                                                                 │ abandon ─> abandoned
//!  rolling_back ──> rolled_back | rollback_failed ────────────────────────────────┘
//! ```
//!
//! A step that changes something goes prepare → `step_prepared` → apply → `step_applied` → settle → `step_completed`,
//! and each event is on disk before the next operation is called. Cancellation and timeouts end a prepare, a wait or a
//! settle at once; an apply in flight is always finished and its receipt journaled.
//!
//! This module uses actions by their erased [`ActionDef`](crate::actions::ActionDef), the journal, the lease and the
//! runbook. It
//! must not depend on any single action, on the platform behind them, or on its callers.

mod accept;
mod action_run;
mod amend;
mod answer;
mod approval;
mod block;
mod call;
mod checked;
mod cluster_lock;
mod control;
mod deadline;
mod differences;
mod drive;
mod failure;
mod interruptible;
mod items;
mod lease_use;
mod limits;
mod own_node;
mod permission_check;
mod preview;
mod read_ahead;
mod restore;
mod resume;
mod rollback;
mod start_error;
mod step;
mod target;

use std::sync::Arc;

pub use accept::{AcceptedRun, BoundRunbook, Preflight, digest};
pub use amend::{AmendError, ResumeRequest};
pub use answer::{AnswerError, AnswerRequest, Answered, Approver, Verdict, answer_approval};
pub use checked::{CheckedRunbook, is_of_kind, registry};
pub use control::Control;
pub use preview::{ChangingStep, Remaining, UndoneStep};
pub use read_ahead::{Ahead, ReadAhead, StepAhead};
pub use resume::{CheckedResume, ResumePreflight, abandon};
pub use start_error::StartError;

use self::cluster_lock::Holder;
use crate::{
    journal::{AuditLog, Observers, RunObserver, RunStore},
    lease::LeaseTimes,
    platform::Platform,
};
use clock::Clock;

/// The version that is written into every run.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Starts, resumes and drives runs.
pub struct Engine {
    platform: Platform,
    store: Arc<dyn RunStore>,
    observers: Observers,
    clock: Clock,
    simulated: bool,
    checks_permissions: bool,
    approver: Approver,
    holder: Holder,
}

impl Engine {
    /// Returns an engine that acts on `platform` and writes to `store`. `simulated` is written into its runs, so that
    /// none of them is ever continued against a real cluster. Its runs are observed by the audit log.
    pub fn new(platform: Platform, store: Arc<dyn RunStore>, simulated: bool) -> Self {
        let clock = *platform.reader().clock();
        let observers: Observers = Arc::new([Arc::new(AuditLog)]);
        let holder = Holder::new();
        let approver = Approver::default();
        Self {
            platform,
            store,
            observers,
            clock,
            simulated,
            checks_permissions: false,
            approver,
            holder,
        }
    }

    /// Lets the steps that wait for approval be approved without asking anybody: for simulations.
    #[must_use]
    pub fn approving_as(mut self, approver: Approver) -> Self {
        self.approver = approver;
        self
    }

    /// Adds an observer of every event of every run that this engine drives.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn RunObserver>) -> Self {
        self.observers = self.observers.iter().cloned().chain([observer]).collect();
        self
    }

    /// Lets a run be refused before it starts, or continues, when the account lacks a permission that it needs.
    #[must_use]
    pub fn checking_permissions(mut self, checks: bool) -> Self {
        self.checks_permissions = checks;
        self
    }

    /// Sets the times of the lease of the cluster.
    #[must_use]
    pub fn with_lease_times(mut self, times: LeaseTimes) -> Self {
        self.holder = self.holder.with_times(times);
        self
    }

    /// Lets a start be refused, rather than wait, while another process that seems to be dead may hold the cluster: a
    /// client of a service can ask again.
    #[must_use]
    pub fn without_waiting_for_leases(mut self) -> Self {
        self.holder = self.holder.without_waiting();
        self
    }

    /// Returns the platform that it acts on.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the store of its runs.
    pub fn store(&self) -> &Arc<dyn RunStore> {
        &self.store
    }
}
