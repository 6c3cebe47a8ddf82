//! The program: a library that the tests use, and a small `main.rs`. `docs/architecture.md` lists the modules and what
//! each may use; `tests/architecture.rs` checks the sources against that list.
//!
//! - [`cli`]: the command line; one file a subcommand.
//! - [`server`]: the HTTP service; the same runs, started and watched over HTTP.
//! - [`engine`]: the interpreter; run state machine, retries, timeouts, cancel, rollback, resume.
//! - [`actions`]: the actions and their registry; one file an action.
//! - [`journal`]: events, stores, and what is derived from them.
//! - [`cluster_store`]: the store that keeps runs as objects of a cluster.
//! - [`cluster_accounts`]: the accounts of a cluster as the clients of the service.
//! - [`lease`]: which process may change a cluster, and which unfinished run holds it.
//! - [`metrics`]: what is counted for Prometheus.
//! - [`permissions`]: the least permissions of a runbook, as an IAM policy and as roles.
//! - [`notify`]: who is told what of a run: webhooks, and Kubernetes Events on what it changes.
//! - [`limits`]: the limits of a runbook, checked against what a change takes away and adds.
//! - [`platform`]: the clients of Kubernetes and AWS, their errors, waits on watches.
//! - [`runbook_dir`]: where runbooks are looked up.
//! - [`secret_file`]: files with secrets, which not every user may read.
//! - [`snapshot`]: the world of a live cluster, as a scenario of the simulator.
//! - [`traces`]: spans of runs, for OpenTelemetry.
//! - [`windows`]: when runs that change something may start.
//!
//! The language, the simulator and the clock are crates of their own, in `crates/`.

pub mod actions;
pub mod cli;
pub mod cluster_accounts;
pub mod cluster_store;
pub mod engine;
pub mod journal;
pub mod lease;
pub mod limits;
pub mod metrics;
pub mod notify;
pub mod permissions;
pub mod plan;
pub mod platform;
pub mod runbook_dir;
pub mod secret_file;
pub mod server;
pub mod snapshot;
pub mod traces;
pub mod windows;
