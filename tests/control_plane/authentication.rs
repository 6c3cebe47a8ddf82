//! `serve --auth kubernetes`: accounts of a real cluster as the clients of the service. A real API server judges their
//! tokens and their roles.

use std::sync::Arc;

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRoleBinding, PolicyRule, RoleRef, Subject},
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use serde_json::{Value, json};
use test_support::{Serve, program, wait_until_async};

use crate::{
    accounts::{Grant, TestServiceAccount, rule},
    cli_run::{self, NAMESPACE, SPEED, simulate_over},
    cluster_store,
    fixture::ControlPlane,
    harness::{Test, test},
};

const RELAY_SCALE: &str = include_str!("../../runbooks/relay-scale.yaml");

pub(crate) fn tests() -> Vec<Test> {
    vec![test("authentication::the_cluster_says_who_may_do_what", the_cluster_says)]
}

/// Returns what may be done with runs.
fn runs(resource: &str, verbs: &[&str]) -> PolicyRule {
    rule("sop.rafay.dev", resource, verbs)
}

async fn the_cluster_says(plane: Arc<ControlPlane>) {
    cluster_store::prepare(&plane).await;
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_over(&plane);
    cli_run::wait_until_settled(&plane).await;
    let grant = Grant::for_runbook(RELAY_SCALE).and_store();
    let service = TestServiceAccount::new(&plane, NAMESPACE, "relay-sop", grant).await;
    let delegator = delegate(&plane, "relay-sop").await;
    let viewer = Grant::none().with(runs("runbookruns", &["get", "list"]));
    TestServiceAccount::new(&plane, NAMESPACE, "viewer", viewer).await;
    let operator = Grant::none()
        .with(runs("runbookruns", &["create", "get", "list"]))
        .with(runs("runbookruns/cancel", &["update"]));
    TestServiceAccount::new(&plane, NAMESPACE, "operator", operator).await;

    let mut command = program();
    let environment = simulate.environment.iter();
    command.envs(environment.filter(|(name, _)| name != "SOP_STATE_DIR").cloned());
    command.env("KUBECONFIG", &service.kubeconfig);
    command.args(["--store", "cluster", "--store-namespace", NAMESPACE, "serve"]);
    command.args(["--speed", SPEED, "--auth", "kubernetes", "--anonymous-reads", "none"]);
    let serve = Serve::start(&mut command);

    let ask = async |method: &str, path: &str, token: Option<&str>| -> (u16, Value) {
        let url = format!("{}{path}", serve.url);
        let mut request = serve.client.request(method.parse().unwrap(), url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    };
    let ours = &["rafay-relay-sop"];
    let (viewer, operator) =
        (token(&plane, "viewer", ours).await, token(&plane, "operator", ours).await);
    let for_another = token(&plane, "operator", &["another-service"]).await;

    // A token is needed, and one that the cluster gave for this service.
    assert_eq!(ask("GET", "/runs", None).await.0, 401);
    assert_eq!(ask("GET", "/health", None).await.0, 200);
    assert_eq!(ask("GET", "/runs", Some("not-a-token-of-this-cluster")).await.0, 401);
    let (code, error) = ask("GET", "/runs", Some(&for_another)).await;
    assert_eq!(code, 401, "{error:#}");

    // A viewer reads and starts nothing.
    assert_eq!(ask("GET", "/runs", Some(&viewer)).await.0, 200);
    let (code, error) = ask("POST", "/run", Some(&viewer)).await;
    assert_eq!(code, 403);
    let message = error["error"].as_str().unwrap();
    let name = format!("kubernetes:system:serviceaccount:{NAMESPACE}:viewer");
    assert!(message.starts_with(&format!("{name} may not create runbookruns")), "{message}");

    // An operator starts a run, which is his in the journal; and does what his role lets him do with it.
    let (code, started) = ask("POST", "/run", Some(&operator)).await;
    assert_eq!(code, 200, "{started:#}");
    let run = started["run"].as_str().unwrap();
    let (_, summary) = ask("GET", &format!("/runs/{run}"), Some(&viewer)).await;
    let name = format!("kubernetes:system:serviceaccount:{NAMESPACE}:operator");
    assert_eq!(summary["actor"], json!(name));
    assert_eq!(ask("POST", &format!("/runs/{run}/cancel"), Some(&viewer)).await.0, 403);
    assert_eq!(ask("POST", &format!("/runs/{run}/rollback"), Some(&operator)).await.0, 403);
    let (code, answer) = ask("POST", &format!("/runs/{run}/cancel"), Some(&operator)).await;
    assert!(code == 200 || code == 409, "{answer:#}");
    wait_until_async("the end of the run", async || {
        let (_, summary) = ask("GET", &format!("/runs/{run}"), Some(&viewer)).await;
        summary["end_time"].is_string().then_some(())
    })
    .await;
    drop(serve);
    delegator.delete(plane.client.clone()).await;
}

/// The right to ask for other accounts, for as long as the test needs it.
struct Delegator(String);

impl Delegator {
    async fn delete(self, client: kube::Client) {
        let bindings = Api::<ClusterRoleBinding>::all(client);
        bindings.delete(&self.0, &DeleteParams::default()).await.unwrap();
    }
}

async fn delegate(plane: &ControlPlane, account: &str) -> Delegator {
    let name = format!("{NAMESPACE}-{account}-auth-delegator");
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".into()),
            kind: "ClusterRole".into(),
            name: "system:auth-delegator".into(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: account.into(),
            namespace: Some(NAMESPACE.into()),
            ..Subject::default()
        }]),
    };
    let bindings = Api::<ClusterRoleBinding>::all(plane.client.clone());
    // Not there is as good as gone.
    let _ = bindings.delete(&name, &DeleteParams::default()).await;
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    Delegator(name)
}

async fn token(plane: &ControlPlane, account: &str, audiences: &[&str]) -> String {
    let accounts = Api::<ServiceAccount>::namespaced(plane.client.clone(), NAMESPACE);
    let spec = TokenRequestSpec {
        audiences: Some(audiences.iter().map(|name| (*name).to_owned()).collect()),
        expiration_seconds: Some(3600),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await;
    made.unwrap().status.and_then(|status| status.token).expect("it was asked for")
}
