//! The tests that need a real control plane. They check that Kubernetes behaves as the simulator does.
//!
//! A test target of its own, because the built-in harness cannot say "ignored" of a test when it runs, and these need
//! programs that a machine may not have. One control plane serves all of them, one test at a time. `docs/testing.md`
//! says how to get the programs and how to run one test.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the harness reports on them")]

mod accounts;
mod accuracy;
mod actions;
mod assert_same;
mod assets;
mod audit;
mod authentication;
mod child_guard;
mod cli_run;
mod cluster;
mod cluster_lock;
mod cluster_store;
mod cluster_store_crashes;
mod cluster_store_figures;
mod conformance;
mod environment;
mod fail_fast;
mod fixture;
mod harness;
mod library;
mod load_balancer;
mod manifests;
mod moto;
mod permissions;
mod programs;
mod relay_scale;
mod replicas;
mod run_as;
mod run_events;
mod scratch_dir;
mod snapshot;
mod startup;
mod watches;

// The words of the other tests; not all are needed here.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(end) = child_guard::run_as_child().or_else(cluster_store_crashes::run_as_child) {
        return end;
    }
    let standalone = [harness::tests(), child_guard::tests()].into_iter().flatten().collect();
    let tests = [
        accuracy::tests(),
        actions::tests(),
        authentication::tests(),
        cluster_lock::tests(),
        cluster_store::tests(),
        cluster_store_crashes::tests(),
        cluster_store_figures::tests(),
        conformance::tests(),
        fail_fast::tests(),
        manifests::tests(),
        moto::tests(),
        permissions::tests(),
        library::tests(),
        relay_scale::tests(),
        replicas::tests(),
        run_events::tests(),
        snapshot::tests(),
        watches::tests(),
    ]
    .into_iter()
    .flatten()
    .collect();
    harness::run_all(standalone, tests)
}
