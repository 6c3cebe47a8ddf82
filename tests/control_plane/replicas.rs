//! Two processes of a service on a real API server: the one that drives relay-scale is killed, stopped, asked to end or
//! cut off at several moments, and the other one finishes the run with the same set of changes.
//! `tests/replicas.rs` has more of it, on the simulator.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use rafay_relay_sop::platform::kubernetes::{RunEvents, RunbookRun};
use serde_json::{Value, json};
use test_support::{Serve, SimulateProcess, effective_calls, program, signal};

use crate::{
    accounts::{Grant, TestServiceAccount},
    cli_run::{self, NAMESPACE, SPEED, simulate_over},
    cluster::wait_until,
    cluster_store,
    fixture::ControlPlane,
    harness::{Test, test},
    load_balancer::LoadBalancer,
};

const RELAY_SCALE: &str = include_str!("../../runbooks/relay-scale.yaml");
const LEASE: Duration = Duration::from_secs(3);

/// What becomes of the process that drives the run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outage {
    Killed,
    Stopped,
    AskedToEnd,
    CutOff,
}

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("replicas::another_replica_finishes_the_run", another_one_finishes),
        test("replicas::an_object_that_is_created_starts_a_run", an_object_starts_a_run),
    ]
}

async fn another_one_finishes(plane: Arc<ControlPlane>) {
    cluster_store::prepare(&plane).await;
    for (outage, parts) in [
        (Outage::Killed, 3),
        (Outage::Stopped, 6),
        (Outage::AskedToEnd, 9),
        (Outage::CutOff, 4),
        (Outage::Killed, 11),
        (Outage::Stopped, 2),
    ] {
        finishes(&plane, outage, parts).await;
    }
}

async fn finishes(plane: &ControlPlane, outage: Outage, parts_before: usize) {
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_over(plane);
    cli_run::wait_until_settled(plane).await;
    let grant = Grant::for_runbook(RELAY_SCALE).and_store().and_object_events();
    let account = TestServiceAccount::new(plane, NAMESPACE, "relay-sop", grant).await;
    let way = LoadBalancer::start(plane.load_balancer.port).await.unwrap();
    let mut one = Serve::start(&mut replica(&simulate, &over(&way, plane, &account)));
    let two = Serve::start(&mut replica(&simulate, &account.kubeconfig));
    for replica in [&one, &two] {
        assert_eq!(replica.get("/ready").await.0, 200);
    }
    let (code, started) = one.post("/run?runbook=relay-scale", json!({})).await;
    assert_eq!(code, 200, "{started:#}");
    let run = started["run"].as_str().unwrap().to_owned();
    let events = plane.api::<RunEvents>(NAMESPACE);
    // Other tests leave runs in the namespace.
    let of_run = ListParams::default().labels(&format!("sop.rafay.dev/run={run}"));
    let count = async || events.list_metadata(&of_run).await.unwrap().items.len();
    wait_until("the events before the outage", async || count().await >= parts_before).await;
    let begun = Instant::now();
    let mut left = Some(one);
    match outage {
        Outage::Killed => drop(left.take()),
        Outage::Stopped => signal(left.as_ref().unwrap().pid(), "STOP"),
        Outage::CutOff => way.close(),
        Outage::AskedToEnd => {
            one = left.take().unwrap();
            assert_eq!(one.terminate().code(), Some(0));
        }
    }
    let status = |replica: &Serve| {
        let (client, url) = (replica.client.clone(), format!("{}/status?run={run}", replica.url));
        async move { client.get(url).send().await.unwrap().json::<Value>().await.unwrap() }
    };
    wait_until("the other one to drive the run", async || {
        status(&two).await["logs"].to_string().contains("Resumed by http:restart")
    })
    .await;
    println!("{outage:?} after {parts_before} appends: continued after {:.1?}", begun.elapsed());
    let label = format!("{outage:?} after {parts_before} appends");
    wait_until("the end of the run", async || status(&two).await["status"] != "Running").await;
    let ended = status(&two).await;
    assert_eq!(ended["state"], "succeeded", "{label}: {ended:#}");

    let expected = ["eks:UpdateNodegroupConfig"]
        .into_iter()
        .chain(["autoscaling:SetInstanceProtection"; 2])
        .collect::<Vec<_>>();
    assert_eq!(effective_calls(&simulate.calls().await), expected, "{label}");
    let changes = crate::audit::mutations(plane, &account).await;
    // It comes back, and is told by its next append that the run is no longer its own.
    if let Some(one) = &left {
        way.open();
        signal(one.pid(), "CONT");
        wait_until("the first one to see it", async || status(one).await["state"] == "succeeded")
            .await;
    }
    assert_eq!(effective_calls(&simulate.calls().await), expected, "{label}");
    assert_eq!(crate::audit::mutations(plane, &account).await, changes, "{label}");
    assert_eq!(crate::audit::denied_calls(plane, &account).await, [""; 0], "{label}");
    drop((left, two));
    let runs = plane.api::<RunbookRun>(NAMESPACE);
    runs.delete(&run, &DeleteParams::default()).await.unwrap();
    wait_until("the collection of its events", async || count().await == 0).await;
}

/// As `kubectl create` and `kubectl wait` do it.
async fn an_object_starts_a_run(plane: Arc<ControlPlane>) {
    cluster_store::prepare(&plane).await;
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_over(&plane);
    cli_run::wait_until_settled(&plane).await;
    let grant = Grant::for_runbook(RELAY_SCALE).and_store().and_object_events();
    let account = TestServiceAccount::new(&plane, NAMESPACE, "relay-sop", grant).await;
    let mut command = replica(&simulate, &account.kubeconfig);
    let service = Serve::start(command.arg("--accept-objects"));
    let runs = plane.api::<RunbookRun>(NAMESPACE);
    let object = |metadata: Value, spec: Value| -> RunbookRun {
        serde_json::from_value(json!({
            "apiVersion": "sop.rafay.dev/v1alpha1", "kind": "RunbookRun", "metadata": metadata, "spec": spec,
        }))
        .unwrap()
    };
    let create = async |object| runs.create(&PostParams::default(), &object).await;
    for (metadata, spec, expected) in [
        (
            json!({"name": "a.b"}),
            json!({"runbook": "relay-scale"}),
            "the name is the id of the run",
        ),
        (json!({"name": "x".repeat(64)}), json!({"runbook": "relay-scale"}), "at most 63"),
        (
            json!({"name": "soon"}),
            json!({"runbook": "relay-scale", "startBefore": "soon"}),
            "date-time",
        ),
    ] {
        let refused = create(object(metadata, spec.clone())).await;
        let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains(expected), "{spec}: {refused}");
    }
    let state = async |name: &str| {
        let status = runs.get(name).await.unwrap().status.unwrap_or_default();
        (status.state.unwrap_or_default(), status.conditions)
    };
    create(object(json!({"name": "wrong"}), json!({"runbook": "relay-scal"}))).await.unwrap();
    wait_until("the refusal", async || state("wrong").await.0 == "refused").await;
    let (_, conditions) = state("wrong").await;
    let message = &conditions[0].message;
    assert!(
        message.contains("\nhint: known runbooks: ") && message.contains("relay-scale"),
        "{message}"
    );
    runs.delete("wrong", &DeleteParams::default()).await.unwrap();

    let spec = json!({"runbook": "relay-scale", "startBefore": "2100-01-01T00:00:00Z"});
    let created = create(object(json!({"generateName": "relay-"}), spec)).await.unwrap();
    let name = created.name_any();
    let finished = async || state(&name).await.1.first().is_some_and(|one| one.status == "True");
    wait_until("the condition Finished", finished).await;
    assert_eq!(state(&name).await.0, "succeeded");
    let (_, status) = service.get("/status").await;
    assert_eq!((&status["run"], &status["state"]), (&json!(name), &json!("succeeded")));
    assert_eq!(crate::audit::denied_calls(&plane, &account).await, [""; 0]);
    drop(service);
    runs.delete(&name, &DeleteParams::default()).await.unwrap();
}

fn replica(simulate: &SimulateProcess, kubeconfig: &Path) -> Command {
    let mut command = program();
    let environment = simulate.environment.iter();
    command.envs(environment.filter(|(name, _)| name != "SOP_STATE_DIR").cloned());
    command.env("KUBECONFIG", kubeconfig);
    command.args(["--store", "cluster", "--store-namespace", NAMESPACE, "serve"]);
    command.args(["--speed", SPEED, "--lease-duration", &format!("{}s", LEASE.as_secs())]);
    command
}

/// A kubeconfig of an account with another way to the API server.
fn over(way: &LoadBalancer, plane: &ControlPlane, account: &TestServiceAccount) -> PathBuf {
    let text = std::fs::read_to_string(&account.kubeconfig).unwrap();
    let (usual, other) = (plane.load_balancer.port.to_string(), way.port.to_string());
    let path = account.kubeconfig.with_extension("other-way");
    std::fs::write(&path, text.replace(&format!(":{usual}"), &format!(":{other}"))).unwrap();
    path
}
