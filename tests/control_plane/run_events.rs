//! What `kubectl describe` tells of a run on the cluster store: the Kubernetes Events of its steps.

use std::{process::Command, sync::Arc};

use k8s_openapi::api::core::v1::Event;
use kube::{ResourceExt, api::ListParams};
use rafay_relay_sop::platform::kubernetes::RunbookRun;
use test_support::{ProgramOutput, program};

use crate::{
    accounts::{Grant, TestServiceAccount},
    audit,
    cluster_store::{NAMESPACE, prepare},
    fixture::ControlPlane,
    harness::{Test, test},
};

/// Its last step fails where other pods are expected than there are.
const RUNBOOK: &str = r#"
name: count-pods
inputs: {expected: {type: integer, default: 0, description: How many pods there are to be}}
steps:
  - {id: pods, name: List the pods, action: list_pods, with: {namespace: cluster-store, selector: app=none}}
  - {id: rest, name: Rest, when: "{{ pods.count > 0 }}", action: sleep, with: {duration: 1s}}
  - {id: sure, name: Compare, action: assert, with: {that: "{{ pods.count == inputs.expected }}", message: "there are {{ pods.count }} pods"}, on_failure: stop}
"#;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("run_events::kubectl_describes_what_happened_in_order", kubectl_describes_runs),
        test("run_events::a_run_without_the_permission_warns_once", one_warning),
    ]
}

/// Runs the runbook as an account, as a user does.
async fn run(account: &TestServiceAccount, expected: u32) -> ProgramOutput {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("count-pods.yaml");
    std::fs::write(&file, RUNBOOK).unwrap();
    let mut command = program();
    command.env("KUBECONFIG", &account.kubeconfig);
    command.args(["--store", "cluster", "--store-namespace", NAMESPACE, "run", "--yes"]);
    command.arg(&file).args(["--input", &format!("expected={expected}")]);
    ProgramOutput::run_async(&mut command).await
}

/// The name of the newest run.
async fn newest(plane: &ControlPlane) -> String {
    let runs = plane.api::<RunbookRun>(NAMESPACE).list(&ListParams::default()).await.unwrap();
    runs.iter().map(ResourceExt::name_any).max().expect("a run")
}

/// The events as the API server lists them for `kubectl describe`: type, reason and message.
async fn events(plane: &ControlPlane, run: &str) -> Vec<String> {
    let object = plane.api::<RunbookRun>(NAMESPACE).get(run).await.unwrap();
    let of_run = format!("involvedObject.uid={}", object.uid().unwrap());
    let found =
        plane.api::<Event>(NAMESPACE).list(&ListParams::default().fields(&of_run)).await.unwrap();
    let line = |event: Event| {
        [event.type_, event.reason, event.message].map(Option::unwrap_or_default).join(" ")
    };
    found.into_iter().map(line).collect()
}

/// What kubectl prints; none where this machine has no kubectl.
async fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap();
    if !std::env::split_paths(&path).any(|dir| dir.join("kubectl").is_file()) {
        return None;
    }
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(plane.kubeconfig());
    kubectl.args(["--namespace", NAMESPACE]).args(arguments);
    Some(ProgramOutput::run_async(&mut kubectl).await.expect_exit_code(0).stdout)
}

/// The rows of a table, of which these columns are wanted.
fn rows(table: &str, columns: [usize; 3]) -> Vec<String> {
    let row = |row: &str| {
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        assert_eq!(cells.len(), 5, "{row}");
        columns.map(|column| cells[column]).join(" ")
    };
    table.lines().map(row).collect()
}

async fn kubectl_describes_runs(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let grant = Grant::for_runbook(RUNBOOK).and_store();
    let account = TestServiceAccount::new(&plane, NAMESPACE, "events", grant).await;
    let began = [
        "Normal StepStarted Starting step: List the pods",
        "Normal StepCompleted Completed step: List the pods",
        "Normal StepSkipped Skipped step: Rest (`when` is false: `{{ pods.count > 0 }}` with pods.count = 0)",
        "Normal StepStarted Starting step: Compare",
    ];
    let succeeded =
        ["Normal StepCompleted Completed step: Compare", "Normal RunSucceeded Succeeded"];
    let failed = [
        "Warning StepFailed Failed step: Compare: there are 0 pods (`that` is false: \
         `{{ pods.count == inputs.expected }}` with inputs.expected = 1, pods.count = 0)",
        "Warning RunFailed Failed",
    ];
    for (expected, code, end) in [(0, 0, succeeded), (1, 4, failed)] {
        run(&account, expected).await.expect_exit_code(code);
        let name = newest(&plane).await;
        let events = events(&plane, &name).await;
        let started = "Normal RunStarted Started runbook: count-pods, requested by ";
        assert!(events[0].starts_with(started), "{events:?}");
        assert_eq!(events[1..], [&began[..], &end].concat());
        let run = format!("rbr/{name}");
        if let Some(printed) = kubectl(&plane, &["describe", &run]).await {
            let (_, table) = printed.split_once("\nEvents:\n").expect("a table of events");
            let (header, table) = table.split_once("-------\n").expect("a line below the header");
            assert_eq!(rows(header.lines().next().unwrap(), [0, 1, 4]), ["Type Reason Message"]);
            assert_eq!(rows(table, [0, 1, 4]), events);
        }
        if let Some(printed) = kubectl(&plane, &["events", "--for", &run]).await {
            let (_, table) = printed.split_once('\n').expect("a header");
            assert_eq!(rows(table, [1, 2, 4]), events);
            let object = format!("RunbookRun/{name}");
            assert_eq!(printed.matches(&object).count(), events.len(), "{printed}");
            println!("{printed}");
        }
    }
    assert_eq!(audit::denied_calls(&plane, &account).await, [""; 0], "the permissions suffice");
}

async fn one_warning(plane: Arc<ControlPlane>) {
    prepare(&plane).await;
    let grant = Grant::for_runbook(RUNBOOK).and_store();
    let grant = grant.without("create", "events").without("patch", "events");
    let account = TestServiceAccount::new(&plane, NAMESPACE, "no-events", grant).await;
    let ended = run(&account, 0).await.expect_exit_code(0);
    assert_eq!(events(&plane, &newest(&plane).await).await, [""; 0]);
    let denied = audit::denied_calls(&plane, &account).await;
    assert_eq!(denied, [format!("create events/{NAMESPACE}")], "it is not tried again");
    let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("WARN")).collect();
    let [warning] = warnings[..] else { panic!("{}", ended.stderr) };
    let rule = format!(
        "add to a Role in the namespace {NAMESPACE}: {{apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}}"
    );
    for part in ["runs are kept without Kubernetes Events", &rule] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}
