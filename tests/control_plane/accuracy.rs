//! Plans beside what happens: in each world a runbook is planned and then run, both by the program against a real
//! control plane, and the changes and the outcome of every step are compared. The table is in `docs/plan.md`.

use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, ResourceQuota},
    policy::v1::PodDisruptionBudget,
};
use kube::api::{ListParams, Patch, PatchParams};
use rafay_relay_sop::{
    journal::{
        DirectoryStore, HeadQuery, RecordedChange, Run, RunStore as _, StepOutcome, StepPath,
    },
    plan::{Effect, Plan, Rehearsal, Severity},
};
use serde_json::{Value, json};
use simulator::{LaunchFailure, Scenario, Spread};

use crate::{
    accounts::{Grant, TestServiceAccount},
    audit,
    cli_run::{NAMESPACE, RELAY_SCALE, SPEED, rolled_back_runbook, simulate_scenario_over},
    cluster::wait_until,
    fixture::ControlPlane,
    harness::{Test, test},
};
use test_support::{ProgramOutput, SimulateProcess, effective_calls, program};

const DRAIN: &str = include_str!("../../runbooks/drain-node.yaml");
const PARK: &str = include_str!("../../runbooks/park.yaml");
const RESTART: &str = include_str!("../../runbooks/restart-deployments.yaml");
const SCALE: &str = include_str!("../../runbooks/scale-nodegroup.yaml");
const DOCUMENT: &str = include_str!("../../docs/plan.md");

/// The nodegroup of the relay in the default scenario.
const GROUP_INPUTS: [&str; 3] =
    ["region=us-west-2", "cluster=rafay-cluster", "nodegroup=relay-services-1a2b3c"];

/// A runbook in a world.
struct World {
    /// The title of its row.
    title: &'static str,
    runbook: String,
    inputs: Vec<&'static str>,
    scenario: Scenario,
    /// A deployment whose rollouts are paused once it has its pods.
    paused: Option<&'static str>,
    /// Another client that has applied the replicas of the relay.
    applied_by: Option<&'static str>,
    /// Whether the runbook was run before, and failed.
    has_failed_before: bool,
    /// Whether the number of changes depends on where the scheduler happens to put pods.
    varies: bool,
}

impl World {
    fn of(title: &'static str, runbook: &str) -> Self {
        let (inputs, scenario) = (Vec::new(), Scenario::default());
        Self {
            title,
            runbook: runbook.into(),
            inputs,
            scenario,
            paused: None,
            applied_by: None,
            has_failed_before: false,
            varies: false,
        }
    }

    fn with_inputs(self, inputs: &[&'static str]) -> Self {
        Self { inputs: inputs.to_vec(), ..self }
    }

    fn with_relay(mut self, replicas: u32, spread: Spread) -> Self {
        let relay = self.scenario.deployments.iter_mut().find(|found| found.name == "rafay-relay");
        let relay = relay.expect("the default scenario has a relay");
        (relay.replicas, relay.spread) = (replicas, spread);
        self
    }

    fn with_nodes(mut self, count: u32) -> Self {
        let group = &mut self.scenario.nodegroups[0];
        (group.min, group.desired, group.max) = (count, count, count);
        self
    }

    fn with_object(mut self, object: Value) -> Self {
        self.scenario.objects.push(object);
        self
    }

    fn with_budget(self, app: &str, spec: Value) -> Self {
        let mut spec = spec;
        spec["selector"] = json!({"matchLabels": {"app": app}});
        self.with_object(budget(spec))
    }
}

fn budget(spec: Value) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "budget", "namespace": NAMESPACE}, "spec": spec,
    })
}

fn worlds() -> Vec<World> {
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "relay", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "rafay-relay"},
            "minReplicas": 3, "maxReplicas": 10,
        },
    });
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "team", "namespace": NAMESPACE}, "spec": {"hard": {"pods": "9"}},
    });
    let relay = |title| World::of(title, RELAY_SCALE);
    let mut no_capacity = relay("relay-scale, no capacity in the account, as in a run before");
    no_capacity.has_failed_before = true;
    no_capacity.scenario.nodegroups[0].launch_failures = vec![LaunchFailure {
        times: 10_000,
        message: "We currently do not have sufficient capacity.".into(),
    }];
    let mut paused = relay("relay-scale, the rollout of rafay-sentry is paused");
    paused.paused = Some("rafay-sentry");
    let mut applied = relay("relay-scale, its replicas are applied by Argo CD");
    applied.applied_by = Some("argocd-controller");
    let mut preferred = relay("relay-scale, anti-affinity that is preferred, 5 pods on 3 nodes")
        .with_relay(5, Spread::Preferred);
    preferred.varies = true;
    vec![
        relay("relay-scale, 3 nodes to 6"),
        relay("relay-scale, 3 nodes to 9").with_inputs(&["scale_factor=3"]),
        relay("relay-scale, 30 nodes to 60").with_nodes(30).with_relay(30, Spread::Required),
        preferred,
        relay("relay-scale, 2 pods on 3 nodes").with_relay(2, Spread::Required),
        relay("relay-scale, a budget that allows one pod")
            .with_budget("rafay-relay", json!({"maxUnavailable": 1})),
        relay("relay-scale, an autoscaler on the relay").with_object(autoscaler),
        relay("relay-scale, a quota of 9 pods").with_object(quota),
        applied,
        paused,
        no_capacity,
        World::of("relay-scale as far as it can be undone, then a failure", &rolled_back_runbook()),
        World::of("drain-node, a budget that never allows an eviction", DRAIN)
            // Each node of the relay has one of its pods, wherever the scheduler puts the others.
            .with_relay(3, Spread::Required)
            .with_inputs(&["node=ip-10-0-16-11.us-west-2.compute.internal"])
            .with_object(budget(json!({"selector": {}, "maxUnavailable": 0}))),
        World::of("scale-nodegroup, 3 nodes to 2", SCALE)
            .with_relay(2, Spread::Preferred)
            .with_inputs(&[GROUP_INPUTS[0], GROUP_INPUTS[1], GROUP_INPUTS[2], "desired=2"]),
        World::of("park, two deployments and their nodegroup", PARK).with_inputs(&[
            GROUP_INPUTS[0],
            GROUP_INPUTS[1],
            r#"nodegroups=["relay-services-1a2b3c"]"#,
            r#"deployments=["rafay-relay", "relay-cache"]"#,
        ]),
        World::of("restart-deployments, three", RESTART).with_inputs(&[
            "namespace=rafay-core",
            r#"deployments=["rafay-relay", "rafay-sentry", "relay-cache"]"#,
        ]),
    ]
}

pub(crate) fn tests() -> Vec<Test> {
    let each = worlds().into_iter().enumerate().map(|(at, world)| {
        let name = format!("accuracy::world_{:02}", at + 1);
        test(name, async move |plane: Arc<ControlPlane>| compare(&plane, &world).await)
    });
    each.collect()
}

async fn compare(plane: &ControlPlane, world: &World) {
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_scenario_over(plane, &world.scenario.to_yaml().unwrap());
    wait_until_settled(plane).await;
    if let Some(name) = world.paused {
        let paused = Patch::Merge(json!({"spec": {"paused": true}}));
        let deployments = plane.api::<Deployment>(NAMESPACE);
        deployments.patch(name, &PatchParams::default(), &paused).await.unwrap();
    }
    if let Some(manager) = world.applied_by {
        let replicas = Patch::Apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3},
        }));
        let parameters = PatchParams::apply(manager).force();
        let deployments = plane.api::<Deployment>(NAMESPACE);
        deployments.patch("rafay-relay", &parameters, &replicas).await.unwrap();
    }
    let grant = Grant::for_plan(&world.runbook, &world.inputs);
    let account = TestServiceAccount::new(plane, NAMESPACE, "planner", grant).await;
    let dir = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = command(world, &simulate, dir.path(), arguments);
        command.env("KUBECONFIG", &account.kubeconfig);
        command
    };

    if world.has_failed_before {
        let arguments = ["run", "--yes", "--no-plan", "--speed", SPEED];
        let mut first = command(&arguments);
        first.arg("--state-dir").arg(dir.path().join("before"));
        ProgramOutput::run_async(&mut first).await.expect_exit_code(1);
        wait_until_settled(plane).await;
    }
    let (aws_before, changes_before) =
        (effective_calls(&simulate.calls().await), audit::mutations(plane, &account).await);

    let mut plan = command(&["--output", "json", "plan", "--speed", SPEED]);
    let planned = ProgramOutput::run_async(&mut plan).await;
    assert!(matches!(planned.code, Some(0 | 5 | 6)), "{:?} {}", planned.code, planned.stderr);
    let plan: Plan = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!(audit::mutations(plane, &account).await, changes_before, "a plan changes nothing");
    assert_eq!(effective_calls(&simulate.calls().await), aws_before, "a plan changes nothing");
    assert_eq!(audit::denied_calls(plane, &account).await, [""; 0], "`permissions` says enough");

    let arguments = ["run", "--yes", "--no-plan", "--speed", SPEED];
    let ended = ProgramOutput::run_async(&mut command(&arguments)).await;
    let run = only_run(dir.path()).await.unwrap_or_else(|| panic!("{}", ended.stderr));
    let row = row(world, &plan, &run);
    assert!(
        DOCUMENT.contains(&row),
        "docs/plan.md lacks this row:\n{row}\n{}\n{:#?}",
        differences(&plan, &run).join("\n"),
        plan.findings
    );
}

fn command(world: &World, simulate: &SimulateProcess, dir: &Path, arguments: &[&str]) -> Command {
    let name = world.runbook.lines().find_map(|line| line.strip_prefix("name: ")).unwrap();
    let runbook = dir.join(format!("{name}.yaml"));
    std::fs::write(&runbook, &world.runbook).unwrap();
    let mut command = program();
    command.envs(simulate.environment.iter().cloned());
    command.env("SOP_STATE_DIR", dir.join("state")).args(arguments).arg(runbook);
    for input in &world.inputs {
        command.args(["--input", input]);
    }
    command
}

async fn only_run(dir: &Path) -> Option<Run> {
    let store = DirectoryStore::for_reading(&dir.join("state"));
    let heads = store.heads(HeadQuery::All).await.unwrap();
    let id = heads.into_iter().next()?.run;
    let events = store.read(&id, 0).await.unwrap();
    Run::of(&id, &events)
}

/// Waits until every deployment has what it can have, budgets and quotas are counted, and no pod is on its way.
async fn wait_until_settled(plane: &ControlPlane) {
    let all = ListParams::default();
    let (deployments, pods) = (plane.api::<Deployment>(NAMESPACE), plane.api::<Pod>(NAMESPACE));
    let budgets = plane.api::<PodDisruptionBudget>(NAMESPACE);
    let quotas = plane.api::<ResourceQuota>(NAMESPACE);
    wait_until("the pods of the scenario", async || {
        let deployments = deployments.list(&all).await.unwrap().items;
        let pods = pods.list(&all).await.unwrap().items;
        let budgets = budgets.list(&all).await.unwrap().items;
        let quotas = quotas.list(&all).await.unwrap().items;
        let wanted: i32 = deployments.iter().filter_map(|it| it.spec.replicas).sum();
        let is_ready = |it: &Deployment| {
            let status = it.status.as_ref();
            status.and_then(|status| status.ready_replicas) == it.spec.replicas
        };
        let is_counted = |it: &PodDisruptionBudget| {
            let status = it.status.as_ref();
            status.is_some_and(|status| status.expected_pods > Some(0))
                && status.is_some_and(|status| status.current_healthy == status.expected_pods)
        };
        let is_used = |it: &ResourceQuota| {
            let used = it.status.as_ref().and_then(|status| status.used.as_ref()?.get("pods"));
            used.is_some_and(|used| used.0 == wanted.to_string())
        };
        pods.len() == usize::try_from(wanted).unwrap()
            && deployments.iter().all(is_ready)
            && budgets.iter().all(is_counted)
            && quotas.iter().all(is_used)
    })
    .await;
}

/// Returns the changes that a run made, or was about to make when they were refused, by step.
fn made(run: &Run) -> BTreeMap<&StepPath, Vec<RecordedChange>> {
    let steps = run.steps().iter();
    let changes = steps.map(|step| {
        let changes = step.intent.iter().flat_map(|intent| intent.changes.clone()).collect();
        (&step.path, changes)
    });
    changes.collect()
}

/// Returns every difference between a plan and a run: changes, and the outcome of each step.
fn differences(plan: &Plan, run: &Run) -> Vec<String> {
    let mut found = changed_differently(plan, run);
    found.extend(ended_differently(plan, run));
    found
}

fn changed_differently(plan: &Plan, run: &Run) -> Vec<String> {
    let (approved, made) = (plan.approve(String::new(), &plan.existing), made(run));
    let planned =
        approved.steps.iter().map(|step| &step.step).filter(|path| !made.contains_key(path));
    let mut found = Vec::new();
    for path in made.keys().copied().chain(planned) {
        let changes = made.get(path).map(Vec::as_slice).unwrap_or_default();
        let differences = approved.differences(path, changes).into_iter();
        found.extend(differences.map(|difference| format!("step {path}: {difference}")));
    }
    found
}

fn ended_differently(plan: &Plan, run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    for step in &plan.steps {
        let planned = match step.effect {
            Effect::Skipped { .. } => "skipped",
            Effect::Fails { .. } => "failed",
            Effect::NotReached => "not reached",
            _ => "completed",
        };
        let was = match run.step(&step.path).map(|step| step.outcome.as_ref()) {
            None => "not reached",
            Some(Some(StepOutcome::Skipped { .. })) => "skipped",
            Some(Some(StepOutcome::Failed { .. })) => "failed",
            Some(Some(StepOutcome::Completed { .. })) => "completed",
            Some(None) => "not finished",
        };
        if planned != was {
            found.push(format!("step {}: planned {planned}, was {was}", step.path));
        }
    }
    let unplanned =
        run.steps().iter().filter(|ran| !plan.steps.iter().any(|it| it.path == ran.path));
    found.extend(unplanned.map(|step| format!("step {}: not planned", step.path)));
    found
}

/// Returns the row of a world in the table of `docs/plan.md`.
fn row(world: &World, plan: &Plan, run: &Run) -> String {
    let Rehearsal::Done { outcome, .. } = &plan.rehearsal else { panic!("{:?}", plan.rehearsal) };
    let planned: usize =
        plan.approve(String::new(), &plan.existing).steps.iter().map(|it| it.changes.len()).sum();
    let made: usize = made(run).values().map(Vec::len).sum();
    let findings: Vec<String> = plan
        .findings
        .iter()
        .map(|finding| match finding.severity {
            Severity::Error => format!("**{}**", finding.code),
            Severity::Warning | Severity::Note => finding.code.clone(),
        })
        .collect();
    let (of_changes, of_steps) = (changed_differently(plan, run), ended_differently(plan, run));
    let count = |count: usize| if world.varies { "varies".into() } else { count.to_string() };
    let (planned, made) = (count(planned), count(made));
    format!(
        "| {} | {planned} | {made} | {} | {} | {} | {outcome} | {} | {} |",
        world.title,
        of_changes.len(),
        run.steps().len(),
        of_steps.len(),
        run.state(false),
        findings.join(", "),
    )
}
