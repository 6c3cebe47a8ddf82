//! The derived permissions on a real authorizer: each single one that is missing is named before a run.

use std::sync::Arc;

use crate::{
    accounts::{Grant, TestServiceAccount, requirements_of},
    cli_run::{NAMESPACE, RELAY_SCALE, simulate_over},
    cluster::wait_until,
    fixture::ControlPlane,
    harness::{Test, test},
    run_as::RunAs,
};
use rafay_relay_sop::permissions::{Access, Requirement, describe_all};

pub(crate) fn tests() -> Vec<Test> {
    vec![test("permissions::each_missing_permission_is_named", each_missing_permission_is_named)]
}

async fn each_missing_permission_is_named(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_over(&plane);
    let aws = simulate.environment.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL");
    let aws = &aws.expect("`simulate` names its endpoint").1;
    let all = requirements_of(RELAY_SCALE);
    let account = TestServiceAccount::new(&plane, NAMESPACE, "lacking", Grant::of(&all)).await;
    let run_as = RunAs::of(account, aws);
    let is_missing = async |missing: Vec<String>| {
        wait_until(&format!("{missing:?}"), async || {
            let report = run_as.check_permissions(RELAY_SCALE).await;
            let found = report.missing.iter().map(|missing| &missing.requirement);
            describe_all(found) == missing
        })
        .await;
    };
    is_missing(Vec::new()).await;
    let of_kubernetes = |one: &&Requirement| matches!(one.access, Access::Kubernetes(_));
    for missing in all.iter().filter(of_kubernetes) {
        let rest: Vec<Requirement> = all.iter().filter(|one| *one != missing).cloned().collect();
        run_as.account.replace_grant(&plane, Grant::of(&rest)).await;
        is_missing(describe_all([missing])).await;
    }
}
