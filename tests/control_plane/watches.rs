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
    cluster::until,
    desk::{Desk, book},
    fixture::ControlPlane,
    harness::{Test, test},
    support::Ended,
};

const SPACE: &str = "watches";

/// Ends when a second pod is there.
const WAIT: &str =
    "  - {id: pods, action: wait_pods, with: {namespace: watches, deployment: relay, count: 2}}\n";

/// The look before a watch.
const LIST: &str = "list pods/watches";

/// The watch.
const WATCH: &str = "watch pods/watches";

/// What the wait watches.
const WATCHED: [&str; 3] = ["deployments", "replicasets", "pods"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("watches::go_on_after_they_were_cut", cut),
        test("watches::outlive_a_restart_of_the_api_server", restart),
        test("watches::outlive_a_restart_that_they_see", restart_in_view),
        test("watches::are_taken_up_anew_when_they_fall_silent", silence),
        test("watches::start_over_when_their_past_is_compacted", compaction),
        test("watches::take_a_renewed_token_from_its_file", renewed_token),
    ]
}

/// A wait for a second pod, which is asked for when `trouble` is over.
async fn wait_through<F: AsyncFnOnce(&Desk)>(plane: &ControlPlane, trouble: F) -> (Desk, Ended) {
    plane.namespace(SPACE).await;
    plane.node("one", json!({})).await;
    plane.deployment(SPACE, "relay", 1, json!({})).await;
    let text = book(WAIT).replace("timeout: 1m", "timeout: 4m");
    let desk = Desk::new(plane, SPACE, &text).await;
    let meanwhile = async {
        audit::watching(plane, &desk.account, &WATCHED).await;
        trouble(&desk).await;
        let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
        let deployments = plane.api::<Deployment>(SPACE);
        deployments.patch("relay", &PatchParams::default(), &two).await.unwrap();
    };
    let (ended, ()) = tokio::join!(desk.run(&text), meanwhile);
    (desk, ended.succeeded())
}

async fn cut(plane: Arc<ControlPlane>) {
    let (desk, ended) = wait_through(&plane, async |_| plane.balancer.cut()).await;
    assert_eq!(ended.output("pods")["count"], json!(2));
    assert_eq!(audit::count(&plane, &desk.account, LIST).await, 1, "a watch goes on where it was");
    assert_eq!(audit::count(&plane, &desk.account, WATCH).await, 2);
}

async fn restart(plane: Arc<ControlPlane>) {
    let (_, ended) =
        wait_through(&plane, async |_| plane.restart_api_server(Duration::from_secs(2)).await)
            .await;
    assert_eq!(ended.output("pods")["count"], json!(2));
}

async fn restart_in_view(plane: Arc<ControlPlane>) {
    let (_, ended) = wait_through(&plane, async |_| {
        plane.restart_api_server_in_view(Duration::from_secs(2)).await;
    })
    .await;
    assert_eq!(ended.output("pods")["count"], json!(2));
}

/// What a firewall has forgotten ends on neither side. The server would end a watch after a minute; that is not heard
/// either, and five seconds later it is given up.
async fn silence(plane: Arc<ControlPlane>) {
    let (desk, ended) = wait_through(&plane, async |_| plane.balancer.silence()).await;
    assert_eq!(ended.output("pods")["count"], json!(2));
    assert_eq!(audit::count(&plane, &desk.account, LIST).await, 1, "a watch goes on where it was");
}

async fn compaction(plane: Arc<ControlPlane>) {
    let (desk, ended) = wait_through(&plane, async |_| plane.lose_the_past().await).await;
    assert_eq!(ended.output("pods")["count"], json!(2));
    // The 410 comes as an event in the stream, where the audit log does not see it; the new list is seen.
    assert_eq!(audit::count(&plane, &desk.account, LIST).await, 2);
}

/// Whether a client is told 401.
async fn is_nobody(client: &Client) -> bool {
    let pods = Api::<Pod>::namespaced(client.clone(), SPACE).list(&ListParams::default()).await;
    matches!(pods, Err(kube::Error::Api(status)) if status.code == 401)
}

/// As the kubelet does it: a new token long before the old one ends. The client reads the file once a minute, and the
/// API server remembers for ten seconds that it has seen a token.
async fn renewed_token(plane: Arc<ControlPlane>) {
    let (desk, ended) = wait_through(&plane, async |desk: &Desk| {
        let first = desk.account.holder_of_this_token(&plane).await;
        desk.account.renew(&plane).await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        desk.account.end_first_token(&plane).await;
        until("the end of the first token", async || is_nobody(&first).await).await;
        // Who still watches with the old token has to start anew.
        plane.balancer.cut();
    })
    .await;
    assert_eq!(ended.output("pods")["count"], json!(2));
    assert_eq!(audit::count(&plane, &desk.account, LIST).await, 1, "a watch goes on where it was");
}
