//! Waits go on through what happens to watches: they are cut, they are told 410, the API server is away, the token
//! that they were started with is no longer valid.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    audit,
    cluster::wait_until,
    fixture::ControlPlane,
    harness::{Test, test},
    run_as::{RunAs, runbook_yaml},
};
use test_support::FinishedRun;

const TEST_NAMESPACE: &str = "watches";

/// Ends when a second pod is there.
const WAIT: &str =
    "  - {id: pods, action: wait_pods, with: {namespace: watches, deployment: relay, count: 2}}\n";

/// The look before a watch.
const LIST: &str = "list pods/watches";

/// The watch.
const WATCH: &str = "watch pods/watches";

/// The resources that the wait watches.
const WATCHED: [&str; 3] = ["deployments", "replicasets", "pods"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("watches::resume_after_their_connections_are_cut", cut),
        test("watches::survive_an_api_server_restart_behind_a_load_balancer", restart),
        test("watches::survive_an_api_server_restart_without_a_load_balancer", restart_in_view),
        test("watches::are_restarted_when_they_fall_silent", blackhole),
        test("watches::relist_when_their_version_is_compacted", compaction),
        test("watches::use_a_renewed_token_from_its_file", renewed_token),
    ]
}

/// A wait for a second pod, which is asked for when `disturb` is over.
async fn wait_through<F: AsyncFnOnce(&RunAs)>(
    plane: &ControlPlane,
    disturb: F,
) -> (RunAs, FinishedRun) {
    plane.namespace(TEST_NAMESPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(TEST_NAMESPACE, "relay", 1, json!({})).await;
    // After a restart of the API server it may take minutes until the taint of a silent node is removed again; that is
    // not what the wait is to give up for.
    let text = runbook_yaml(WAIT)
        .replace("timeout: 1m", "timeout: 4m")
        .replace("count: 2}", "count: 2, give_up_after: 3m30s}");
    let run_as = RunAs::new(plane, TEST_NAMESPACE, &text).await;
    let meanwhile = async {
        audit::wait_for_watches(plane, &run_as.account, &WATCHED).await;
        disturb(&run_as).await;
        let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
        let deployments = plane.api::<Deployment>(TEST_NAMESPACE);
        deployments.patch("relay", &PatchParams::default(), &two).await.unwrap();
    };
    let (ended, ()) = tokio::join!(run_as.run(&text), meanwhile);
    (run_as, ended.expect_success())
}

async fn cut(plane: Arc<ControlPlane>) {
    let (run_as, ended) = wait_through(&plane, async |_| plane.load_balancer.cut()).await;
    assert_eq!(ended.output("pods")["count"], json!(2));
    assert_eq!(
        audit::count_calls(&plane, &run_as.account, LIST).await,
        1,
        "a watch goes on where it was"
    );
    assert_eq!(audit::count_calls(&plane, &run_as.account, WATCH).await, 2);
}

async fn restart(plane: Arc<ControlPlane>) {
    let (_, ended) =
        wait_through(&plane, async |_| plane.restart_api_server(Duration::from_secs(2)).await)
            .await;
    assert_eq!(ended.output("pods")["count"], json!(2));
}

async fn restart_in_view(plane: Arc<ControlPlane>) {
    let (_, ended) = wait_through(&plane, async |_| {
        plane.restart_api_server_exposed(Duration::from_secs(2)).await;
    })
    .await;
    assert_eq!(ended.output("pods")["count"], json!(2));
}

/// A connection whose packets a firewall drops ends on neither side. The server would end a watch after a minute, which
/// does not reach the client; five seconds later the client gives the watch up.
async fn blackhole(plane: Arc<ControlPlane>) {
    let (run_as, ended) = wait_through(&plane, async |_| plane.load_balancer.blackhole()).await;
    assert_eq!(ended.output("pods")["count"], json!(2));
    assert_eq!(
        audit::count_calls(&plane, &run_as.account, LIST).await,
        1,
        "a watch goes on where it was"
    );
}

async fn compaction(plane: Arc<ControlPlane>) {
    let (run_as, ended) = wait_through(&plane, async |_| {
        plane.compact_history().await;
        // The kwok that begins anew waits until the lease of the one before has expired. The first node is silent until
        // then, and its condition is not set again.
        plane.node("another", json!({})).await;
    })
    .await;
    assert_eq!(ended.output("pods")["count"], json!(2));
    // The 410 comes as an event in the stream, where the audit log does not see it; the new list is seen.
    assert_eq!(audit::count_calls(&plane, &run_as.account, LIST).await, 2);
}

/// Whether the API server answers a client with status 401.
async fn is_unauthorized(client: &Client) -> bool {
    let pods =
        Api::<Pod>::namespaced(client.clone(), TEST_NAMESPACE).list(&ListParams::default()).await;
    matches!(pods, Err(kube::Error::Api(status)) if status.code == 401)
}

/// The token is renewed long before the old one expires, as the kubelet does. The client reads the file once a minute,
/// and the API server remembers for ten seconds that it has seen a token.
async fn renewed_token(plane: Arc<ControlPlane>) {
    let (run_as, ended) = wait_through(&plane, async |run_as: &RunAs| {
        let first = run_as.account.client_with_current_token(&plane).await;
        run_as.account.renew_token(&plane).await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        run_as.account.revoke_first_token(&plane).await;
        wait_until("the end of the first token", async || is_unauthorized(&first).await).await;
        // Who still watches with the old token has to start anew.
        plane.load_balancer.cut();
    })
    .await;
    assert_eq!(ended.output("pods")["count"], json!(2));
    assert_eq!(
        audit::count_calls(&plane, &run_as.account, LIST).await,
        1,
        "a watch goes on where it was"
    );
}
