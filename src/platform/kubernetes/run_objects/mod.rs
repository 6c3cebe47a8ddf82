//! The objects in which a cluster keeps runs: their kinds, and the calls for them. Knows how they are read and written,
//! not what they mean.

mod client;
mod kinds;
mod kubernetes_events;

pub use client::RunObjects;
pub use kinds::{
    ENCODING, RunCondition, RunEvents, RunEventsPart, RunbookRun, RunbookRunSpec, RunbookRunStatus,
};
