//! The map of the house. Each room says at its door what it is for and what it may not know;
//! `docs/architecture.md` draws the arrows, and `tests/architecture.rs` holds the sources to them.
//!
//! - [`cli`]: one file a subcommand; parses, calls one function, renders.
//! - [`server`]: the HTTP service; the same runs, started and watched over HTTP.
//! - [`engine`]: the interpreter; the run state machine, retries, time-outs, cancel, rollback, resume.
//! - [`actions`]: the vocabulary; one file an action, with all of that action in it.
//! - [`runbook`]: the language; text with spans, a checked runbook, typed expressions. Pure.
//! - [`journal`]: what happened; events, the store, and what can be told from them.
//! - [`platform`]: the clients of Kubernetes and AWS, their errors, waits on watches.
//! - [`simulator`]: a stand-in EKS cluster that speaks the real wire protocols on loopback.
//! - [`shelf`]: where runbooks are kept.
//! - [`clock`]: time, injected.

pub mod actions;
pub mod cli;
pub mod clock;
pub mod engine;
pub mod journal;
pub mod platform;
pub mod runbook;
pub mod server;
pub mod shelf;
pub mod simulator;
