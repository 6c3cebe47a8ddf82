//! The lease of the cluster on a real API server: one run at a time, whatever the number of processes, and a clear error
//! for each permission that is missing.

use std::sync::{Arc, atomic::AtomicUsize};

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use rafay_relay_sop::{
    journal::RunState,
    platform::kubernetes::{LEASE_NAME, LEASE_NAMESPACE},
};

use crate::{
    accounts::{Grant, LEASE_VERBS, TestServiceAccount},
    fixture::ControlPlane,
    harness::{Test, test},
    run_as::{RunAs, runbook_yaml},
};

const NAMESPACE: &str = "cluster-lock";

/// Fails before its change, so that it leaves no lock.
const CHANGES_NOTHING: &str = concat!(
    "  - {id: doubt, action: assert, with: {that: false, message: not today}, on_failure: stop}\n",
    "  - {id: cordon, action: cordon, with: {nodes: [none]}}\n",
);

/// As many processes as start at the same moment.
const PROCESSES: usize = 6;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("cluster_lock::one_of_many_processes_gets_the_cluster", one_of_many_gets_it),
        test("cluster_lock::each_missing_permission_is_named", each_missing_permission_is_named),
    ]
}

async fn one_of_many_gets_it(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let text = runbook_yaml(CHANGES_NOTHING);
    let run_as = RunAs::new(&plane, NAMESPACE, &text).await;
    let leases = plane.api::<Lease>(LEASE_NAMESPACE);
    // In the first round they all create it.
    for round in 0..3 {
        let processes: Vec<_> = (0..PROCESSES).map(|_| run_as.other_process()).collect();
        let running = AtomicUsize::new(0);
        let competing = processes.iter().map(|process| process.compete(&text, &running));
        let most: Vec<usize> = join_all(competing).await.into_iter().flatten().collect();
        assert!(!most.is_empty(), "round {round}: no process got it");
        assert!(most.iter().all(|most| *most == 1), "round {round}: {most:?} at a time");
        let lease = leases.get(LEASE_NAME).await.unwrap();
        let spec = lease.spec.clone().unwrap();
        assert_eq!(spec.holder_identity, None, "released");
        let names: Vec<&String> = lease.annotations().keys().collect();
        assert_eq!(names, ["sop.rafay.dev/last-run"], "without a lock");
    }
}

async fn each_missing_permission_is_named(plane: Arc<ControlPlane>) {
    for verb in LEASE_VERBS {
        plane.namespace(NAMESPACE).await;
        let text = runbook_yaml(CHANGES_NOTHING);
        if verb == "update" {
            // One that is there already is updated.
            let all = RunAs::new(&plane, NAMESPACE, &text).await;
            assert_eq!(all.try_run(&text).await.unwrap().state(false), RunState::Failed);
        }
        let grant = Grant::for_runbook(&text).without_on_lease(verb);
        let account =
            TestServiceAccount::new(&plane, NAMESPACE, &format!("no-{verb}"), grant).await;
        let refused = RunAs::of(account, "http://127.0.0.1:9/").try_run(&text).await;
        let error = refused.map(|run| run.id().clone()).unwrap_err();
        assert!(error.to_string().contains(&format!("cannot {verb} resource")), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("get, create and update of leases"), "{hint}");
    }
}
