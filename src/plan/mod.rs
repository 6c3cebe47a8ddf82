//! What a run would do, found out before it starts: the cluster and the account are read, never changed; what the run
//! itself would change first is predicted by running the whole runbook on a copy of them.
//!
//! ```text
//!  Engine::read_ahead ──────────────> what was read ──┐
//!  snapshot ─> Scenario ─> rehearsal ─> what is predicted ─┴─> steps ─> findings ─> Plan
//! ```
//!
//! This module uses the engine, the snapshot and the simulator. It must not depend on the command line or the service,
//! which show plans.

mod build;
mod compare;
mod findings;
mod invented;
mod make;
mod model;
mod rehearsal;
mod world;

pub use findings::{CODES, unknown_code};
pub use make::{PlanOptions, make};
pub use model::{
    Basis, Effect, Existing, Finding, Gap, PLAN_FORMAT, Placement, Plan, PlannedStep, Reads,
    Rehearsal, Severity, Span, Unplaced,
};
pub use rehearsal::{RehearsalError, RehearsalRequest, Rehearsed};
pub use world::NOT_OBSERVED;
