//! The results of a run of the program, in a form in which a real control plane and the simulator can be compared.

use std::{collections::BTreeSet, path::Path, process::Command};

use simulator::{ClusterState, NodegroupFacts, PodFacts};

use crate::{
    accounts::{Grant, TestServiceAccount},
    audit,
    fixture::ControlPlane,
};
use test_support::{ProgramOutput, SimulateProcess, effective_calls, program};

/// The runbook that the repository ships.
pub(crate) const RELAY_SCALE: &str = include_str!("../../runbooks/relay-scale.yaml");

/// The beginning of the first step that cannot be rolled back.
const FIRST_IRREVERSIBLE_STEP: &str = "  - id: delete_old\n";

/// Steps 1 to 8, and then something that fails.
pub(crate) fn rolled_back_runbook() -> String {
    let (reversible_steps, _) =
        RELAY_SCALE.split_once(FIRST_IRREVERSIBLE_STEP).expect("the runbook has this step");
    format!(
        "{reversible_steps}\n  - id: doubt\n    action: assert\n    with: {{that: \"{{{{ scale_relay.replicas == 0 }}}}\", message: not today}}\n"
    )
}

/// The namespace that the default scenario makes.
pub(crate) const NAMESPACE: &str = "rafay-core";

/// A boot of 40 s takes little more than one, and a time-out of 15 min is still far longer than anything that the real
/// control plane does at its own pace.
pub(crate) const SPEED: &str = "30";

/// A run of the program.
pub(crate) struct CliRun {
    runbook: String,
    arguments: Vec<String>,
    code: i32,
}

/// The results of a run.
pub(crate) struct CliRunOutcome {
    /// The state before the run.
    pub(crate) before: Vec<String>,
    /// The state after the run.
    pub(crate) after: Vec<String>,
    /// The output of the program.
    pub(crate) lines: Vec<String>,
    /// The AWS calls that changed something, in order.
    pub(crate) aws_changes: Vec<String>,
    /// The Kubernetes calls that may have changed something, in order.
    pub(crate) kubernetes_changes: Vec<String>,
    /// The Kubernetes calls that were not allowed.
    pub(crate) denied: Vec<String>,
}

impl CliRun {
    /// A runbook's text, which is called relay-scale.
    pub(crate) fn of(runbook: &str) -> Self {
        Self { runbook: runbook.to_owned(), arguments: Vec::new(), code: 0 }
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub(crate) fn expecting_exit_code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// The program in the environment that `simulate` prints.
    pub(crate) fn command(&self, simulate: &SimulateProcess, dir: &Path) -> Command {
        let runbook = dir.join("relay-scale.yaml");
        std::fs::write(&runbook, &self.runbook).unwrap();
        let mut command = program();
        command.envs(simulate.environment.iter().cloned()).arg("--state-dir").arg(dir);
        command.args(["run", "--yes", "--speed", SPEED]).arg(runbook).args(&self.arguments);
        command
    }
}

impl CliRunOutcome {
    /// On the real control plane, as a `ServiceAccount` that may do what the runbook needs.
    pub(crate) async fn real(plane: &ControlPlane, cli_run: &CliRun) -> Self {
        plane.namespace(NAMESPACE).await;
        let simulate = simulate_over(plane);
        wait_until_settled(plane).await;
        let grant = Grant::for_runbook(&cli_run.runbook);
        let account = TestServiceAccount::new(plane, NAMESPACE, "relay-sop", grant).await;
        let dir = tempfile::tempdir().unwrap();
        let before = simulate.state().await;
        let names = Names::of(&before);
        let mut command = cli_run.command(&simulate, dir.path());
        let ended = ProgramOutput::run_async(command.env("KUBECONFIG", &account.kubeconfig)).await;
        let ended = ended.expect_exit_code(cli_run.code);
        wait_until_settled(plane).await;
        Self {
            before: names.facts(&before),
            after: names.facts(&simulate.state().await),
            lines: names.lines(&ended.stdout),
            aws_changes: effective_calls(&simulate.calls().await),
            kubernetes_changes: names.operations(audit::mutations(plane, &account).await),
            denied: audit::denied_calls(plane, &account).await,
        }
    }

    /// In the simulator.
    pub(crate) async fn simulated(cli_run: &CliRun) -> Self {
        let simulate = SimulateProcess::start(SPEED.parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let before = simulate.state().await;
        let names = Names::of(&before);
        let ended = ProgramOutput::run_async(&mut cli_run.command(&simulate, dir.path())).await;
        let ended = ended.expect_exit_code(cli_run.code);
        let calls = simulate.calls().await;
        let of_account: Vec<_> =
            calls.iter().filter(|call| call.service != "kubernetes").cloned().collect();
        Self {
            before: names.facts(&before),
            after: names.facts(&simulate.state().await),
            lines: names.lines(&ended.stdout),
            aws_changes: effective_calls(&of_account),
            kubernetes_changes: names.operations(audit::simulated_mutations(&calls)),
            denied: Vec::new(),
        }
    }
}

/// The simulator's account, whose instances become the real control plane's nodes.
pub(crate) fn simulate_over(plane: &ControlPlane) -> SimulateProcess {
    let kubeconfig = plane.kubeconfig().display().to_string();
    SimulateProcess::with_arguments(SPEED.parse().unwrap(), &["--kubeconfig", &kubeconfig])
}

/// Starts the simulator as [`simulate_over`] does, with another scenario.
pub(crate) fn simulate_scenario_over(plane: &ControlPlane, scenario: &str) -> SimulateProcess {
    let kubeconfig = plane.kubeconfig().display().to_string();
    let file = plane.test_dir().join("scenario.yaml");
    std::fs::write(&file, scenario).unwrap();
    let file = file.display().to_string();
    let arguments = ["--kubeconfig", &kubeconfig, "--scenario", &file];
    SimulateProcess::with_arguments(SPEED.parse().unwrap(), &arguments)
}

/// Waits until the scenario's deployments have all their replicas.
pub(crate) async fn wait_until_settled(plane: &ControlPlane) {
    plane.wait_until_ready(NAMESPACE, "rafay-relay", 3).await;
    plane.wait_until_ready(NAMESPACE, "rafay-sentry", 2).await;
    plane.wait_until_ready(NAMESPACE, "relay-cache", 2).await;
}

/// The names of the nodes and instances that existed before the run. New ones are compared without their names, because
/// the scheduler chooses among them.
struct Names(BTreeSet<String>);

impl Names {
    fn of(state: &ClusterState) -> Self {
        let instances = state.nodegroups.values().flat_map(|group| group.instances.keys());
        Self(state.nodes.keys().chain(instances).cloned().collect())
    }

    /// Returns the lines without their times, and without those that report a wait.
    fn lines(&self, stdout: &str) -> Vec<String> {
        let lines =
            stdout.lines().filter_map(|line| line.split_once("] ")).map(|(_, message)| message);
        lines
            .filter(|message| !message.starts_with("Waiting: "))
            .map(|message| self.text(message))
            .collect()
    }

    fn operations(&self, operations: Vec<String>) -> Vec<String> {
        operations.iter().map(|operation| self.text(operation)).collect()
    }

    /// A text without the names that are made up.
    fn text(&self, text: &str) -> String {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
        let mut normalized = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(is_word) {
            let end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |end| start + end);
            let word = &rest[start..end];
            let (word, colon) = word.split_at(word.trim_end_matches([':', '.']).len());
            normalized.push_str(&rest[..start]);
            normalized.push_str(&self.word(word));
            normalized.push_str(colon);
            rest = &rest[end..];
        }
        normalized + rest
    }

    fn word(&self, word: &str) -> String {
        if self.0.contains(word) {
            return word.to_owned();
        }
        if word.starts_with("ip-10-0-") {
            return "NEW-NODE".into();
        }
        if word.len() == 19 && word.starts_with("i-0") {
            return "NEW-INSTANCE".into();
        }
        if uuid::Uuid::parse_str(word).is_ok() || word.parse::<jiff::Timestamp>().is_ok() {
            return "*".into();
        }
        let parts: Vec<&str> = word.rsplitn(3, '-').collect();
        match parts[..] {
            [suffix, hash, name] if suffix.len() == 5 && (8..=10).contains(&hash.len()) => {
                format!("{name}-*")
            }
            _ => word.to_owned(),
        }
    }

    /// Returns the facts of a state, sorted.
    fn facts(&self, state: &ClusterState) -> Vec<String> {
        let groups = state.nodegroups.iter().flat_map(|(name, group)| self.group(name, group));
        let nodes = state.nodes.iter().map(|(name, node)| {
            let is_mark = |key: &&String| key.starts_with("rafay-relay-sop");
            let marks: Vec<&String> = node.annotations.keys().filter(is_mark).collect();
            let (group, ready, cordoned) = (&node.nodegroup, node.ready, node.unschedulable);
            let name = self.word(name);
            format!("node {name} of {group:?} ready={ready} cordoned={cordoned} {marks:?}")
        });
        let deployments = state.deployments.iter().map(|(name, deployment)| {
            let (ready, updated) = (deployment.ready, deployment.updated);
            let replicas = deployment.replicas;
            let restarted = deployment.restarted_at.is_some();
            format!("{name} {ready}/{replicas}, {updated} of the newest, restarted={restarted}")
        });
        let pods = state.pods.values().map(|pod| pod_facts(state, pod));
        let mut facts: Vec<String> = groups.chain(nodes).chain(deployments).chain(pods).collect();
        facts.sort();
        facts
    }

    fn group(&self, name: &str, group: &NodegroupFacts) -> Vec<String> {
        let instances = group.instances.iter().map(|(id, instance)| {
            let (id, lifecycle) = (self.word(id), &instance.lifecycle);
            format!("instance {id} of {name} {lifecycle} protected={}", instance.protected)
        });
        let NodegroupFacts {
            status, min, max, desired, group_min, group_max, group_desired, ..
        } = group;
        let sizes = format!("{min}-{max}, {desired}; {group_min}-{group_max}, {group_desired}");
        instances.chain([format!("nodegroup {name} {status} {sizes}")]).collect()
    }
}

/// A pod by where it is allowed to be and not where the scheduler happened to put it.
fn pod_facts(state: &ClusterState, pod: &PodFacts) -> String {
    let node = pod.node.as_ref().and_then(|name| state.nodes.get(name));
    let slot = node.map(|node| (node.nodegroup.as_deref(), node.unschedulable));
    let cost = pod.annotations.get("controller.kubernetes.io/pod-deletion-cost");
    let PodFacts { app, phase, ready, terminating, .. } = pod;
    format!(
        "pod of {app:?} on {slot:?} {phase} ready={ready} terminating={terminating} cost={cost:?}"
    )
}
