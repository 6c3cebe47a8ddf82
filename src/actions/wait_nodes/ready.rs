//! The wait until enough nodes of a nodegroup are Ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    Output, Params, default_ready_within,
    taints::{TAINT_WORD, TaintRules, to_kubernetes_taint, why_not_ready},
};
use crate::platform::kubernetes::node::Node;
use crate::{
    actions::{
        PlatformReader, Progress, Result, nodegroups,
        types::{KnownNode, NodeRecord, NodegroupName, count_u32, default_give_up_after},
    },
    platform::{
        PollSource, PollTrigger,
        aws::{self, Activity, AutoScalingGroup, Instance},
        kubernetes::{Selection, node},
        wait::{self, Failure, GraceTimer, WaitState},
    },
};
use text::join_truncated;

/// The instances in service change seldom, but a Ready node must be recognized soon.
const GROUP_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The reason why an instance is missing is only for messages.
const CAUSES_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The parameters of the wait for Ready nodes.
#[derive(Deserialize)]
pub(super) struct ReadyParams {
    nodegroup: NodegroupName,
    count: u32,
    #[serde(default)]
    pub(super) previous: Vec<KnownNode>,
    #[serde(default = "default_give_up_after")]
    give_up_after: runbook::Duration,
    #[serde(default)]
    pub(super) ignore_taints: Vec<String>,
    #[serde(default = "default_ready_within")]
    ready_within: runbook::Duration,
}

/// Waits until enough nodes of the nodegroup are Ready.
pub(super) async fn wait(
    nodegroup: NodegroupName,
    params: Params,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Output> {
    let aws = reader.aws(&nodegroup.region).await?;
    let described = nodegroups::describe(&aws, &nodegroup).await?;
    let group_name = nodegroups::group_name(&described)?.to_owned();
    let count = match params.count {
        Some(count) => count,
        None => nodegroups::describe_group(&aws, &group_name).await?.desired,
    };
    let params = ReadyParams {
        nodegroup,
        count,
        previous: params.previous,
        give_up_after: params.give_up_after,
        ignore_taints: params.ignore_taints,
        ready_within: params.ready_within,
    };
    let label = node::nodegroup_selector(&params.nodegroup.name);
    let mut nodes = reader.kubernetes().await?.watch::<Node>(&Selection::all().with_labels(label));
    let clock = reader.clock();
    let mut group = PollSource::new(clock, GROUP_POLL_INTERVAL, {
        let (aws, name) = (aws.clone(), group_name.clone());
        move || read_group(aws.clone(), name.clone())
    });
    let mut causes = PollSource::new(clock, CAUSES_POLL_INTERVAL, {
        let (name, since, group) = (group_name.clone(), clock.now(), group.view());
        move || {
            let instance_ids =
                group.get().map(|group| instance_ids((*group).as_ref())).unwrap_or_default();
            read_causes(aws.clone(), name.clone(), since, instance_ids)
        }
    });
    let (seen_nodes, seen_group, seen_causes) = (nodes.view(), group.view(), causes.view());
    let mut timers = GraceTimers {
        launches: GraceTimer::new(clock.deadline(params.give_up_after.std())),
        nodes: GraceTimer::new(clock.deadline(params.ready_within.std())),
    };
    let mut unlisted_nodes = UnlistedNodes::new(group.poll_trigger());
    let mut lost_nodes = LostNodes::new(&params.previous);
    let declared: Vec<Taint> = described.taints.iter().map(to_kubernetes_taint).collect();
    let ready = wait::until(progress, &mut [&mut nodes, &mut group, &mut causes], || {
        let snapshot = NodesSnapshot {
            nodes: seen_nodes.objects(),
            group: seen_group.get().and_then(|found| (*found).clone()),
            causes: seen_causes.get(),
        };
        let taints = TaintRules::new(&params, &declared, &snapshot.nodes);
        unlisted_nodes.refresh(&snapshot, &taints);
        let lost = lost_nodes.refresh(&snapshot.nodes);
        evaluate(&params, &snapshot, &taints, &group_name, &mut timers).map_pending(|text| {
            if lost.is_empty() {
                return text;
            }
            format!("{text}; no longer there: {}", join_truncated(lost))
        })
    })
    .await?;
    Ok(output(&params, ready))
}

/// The timers of the two problems: a group that does not launch instances, and an instance that does not become a node.
struct GraceTimers {
    launches: GraceTimer,
    nodes: GraceTimer,
}

impl GraceTimers {
    /// Returns the problem that has lasted too long.
    fn expired(
        &mut self,
        params: &ReadyParams,
        launch: &[LaunchProblem],
        late: Vec<(String, String)>,
    ) -> Option<Failure> {
        let now = Instant::now();
        let launches = launch.iter().map(|problem| (problem.key, problem.message.clone()));
        let expired = self.launches.expired(now, launches);
        let late = self.nodes.expired(now, late);
        let launch = expired.map(|why| {
            let hint = launch.iter().find(|problem| problem.message == why);
            let message = format!("{why} (for {})", params.give_up_after);
            Failure { message, hint: hint.and_then(|problem| problem.hint.clone()) }
        });
        launch.or_else(|| {
            late.map(|why| Failure::from(format!("{why} (in service for {})", params.ready_within)))
        })
    }
}

/// The state at one moment.
struct NodesSnapshot {
    nodes: Vec<Arc<Node>>,
    group: Option<AutoScalingGroup>,
    causes: Option<Arc<Causes>>,
}

/// Ready nodes whose instances the group did not list as in service. Each triggers one early poll of the group.
struct UnlistedNodes {
    trigger: PollTrigger,
    known: BTreeSet<String>,
}

impl UnlistedNodes {
    fn new(trigger: PollTrigger) -> Self {
        Self { trigger, known: BTreeSet::new() }
    }

    fn refresh(&mut self, snapshot: &NodesSnapshot, taints: &TaintRules<'_>) {
        let Some(group) = &snapshot.group else { return };
        let in_service = in_service(group);
        let ready = snapshot.nodes.iter().filter(|node| why_not_ready(node, taints).is_none());
        let instance_ids = ready.filter_map(|node| node::instance_id(node));
        let unlisted = instance_ids.filter(|id| !in_service.contains(id)).map(str::to_owned);
        let before = self.known.len();
        self.known.extend(unlisted);
        if self.known.len() > before {
            self.trigger.trigger();
        }
    }
}

/// The nodes that were there and are not any more, by UID: those of `previous`, and those seen in this wait.
struct LostNodes {
    known: BTreeMap<String, String>,
}

impl LostNodes {
    fn new(previous: &[KnownNode]) -> Self {
        let known = previous.iter().map(|node| (node.uid.clone(), node.name.clone()));
        Self { known: known.collect() }
    }

    /// Returns the names of the lost nodes.
    fn refresh(&mut self, nodes: &[Arc<Node>]) -> Vec<String> {
        let seen = nodes.iter().filter_map(|node| {
            Some((node.metadata.uid.clone()?, node.metadata.name.clone().unwrap_or_default()))
        });
        self.known.extend(seen);
        let there: BTreeSet<&str> =
            nodes.iter().filter_map(|node| node.metadata.uid.as_deref()).collect();
        let lost = self.known.iter().filter(|(uid, _)| !there.contains(uid.as_str()));
        lost.map(|(_, name)| name.clone()).collect()
    }
}

/// A reason why the group does not launch the instances that are missing.
#[derive(Debug, Clone, PartialEq)]
struct LaunchProblem {
    key: &'static str,
    message: String,
    hint: Option<String>,
}

/// Returns why the group does not launch the missing instances; nothing while it has enough.
fn launch_problems(
    params: &ReadyParams,
    group: &AutoScalingGroup,
    causes: Option<&Causes>,
) -> Vec<LaunchProblem> {
    let staying = group.instances.iter().filter(|instance| !instance.is_leaving()).count();
    let mut problems = Vec::new();
    if staying < params.count as usize {
        let name = &group.name;
        if group.is_suspended("Launch") {
            problems.push(LaunchProblem {
                key: "suspended",
                message: format!("the process Launch of Auto Scaling group {name} is suspended"),
                hint: Some(nodegroups::resume_hint(name, "Launch")),
            });
        }
        if group.max < params.count {
            problems.push(LaunchProblem {
                key: "max",
                message: format!("the maximum size of Auto Scaling group {name} is {}", group.max),
                hint: Some(
                    "raise the nodegroup's maximum, such as with `scale_nodegroup` and `raise_max: true`"
                        .into(),
                ),
            });
        }
        let failed = causes.and_then(|causes| causes.failed_launch.clone());
        problems.extend(failed.map(|message| LaunchProblem { key: "launch", message, hint: None }));
    }
    problems
}

fn in_service(group: &AutoScalingGroup) -> BTreeSet<&str> {
    let in_service = group.instances.iter().filter(|instance| instance.is_in_service());
    in_service.map(|instance| instance.id.as_str()).collect()
}

/// The reasons why instances may be missing.
#[derive(Default)]
struct Causes {
    /// The latest launch that failed, if no later one succeeded.
    failed_launch: Option<String>,
    instances: Vec<Instance>,
}

async fn read_group(
    aws: aws::AwsReader,
    group: String,
) -> Result<Option<AutoScalingGroup>, crate::platform::Error> {
    Ok(aws.describe_auto_scaling_groups(&[group]).await?.into_iter().next())
}

fn instance_ids(group: Option<&AutoScalingGroup>) -> Vec<String> {
    group.iter().flat_map(|group| &group.instances).map(|instance| instance.id.clone()).collect()
}

/// Reads the causes. A failed read counts as empty, because it must not end a wait that may succeed.
async fn read_causes(
    aws: aws::AwsReader,
    group: String,
    since: Timestamp,
    instance_ids: Vec<String>,
) -> Result<Causes, crate::platform::Error> {
    let (activities, instances) =
        tokio::join!(aws.scaling_activities(&group, since), aws.describe_instances(&instance_ids));
    Ok(Causes {
        failed_launch: failed_launch(&activities.unwrap_or_default()),
        instances: instances.unwrap_or_default(),
    })
}

/// Returns why launches fail now. Activities come newest first; only the newest shows whether launching works.
fn failed_launch(activities: &[Activity]) -> Option<String> {
    let newest = activities.iter().find(|activity| activity.description.contains("Launching"))?;
    newest.has_failed().then(|| {
        let why = newest.message.as_deref().unwrap_or("no reason given");
        format!("the Auto Scaling group cannot launch instances: {why}")
    })
}

fn evaluate(
    params: &ReadyParams,
    snapshot: &NodesSnapshot,
    taints: &TaintRules<'_>,
    group_name: &str,
    timers: &mut GraceTimers,
) -> WaitState<Vec<NodeRecord>> {
    let Some(group) = &snapshot.group else {
        return WaitState::failed(format!("Auto Scaling group {group_name} no longer exists"));
    };
    let in_service = in_service(group);
    let mut ready = Vec::new();
    let mut problems = BTreeMap::new();
    for node in &snapshot.nodes {
        let Some(record) = NodeRecord::of(node) else { continue };
        if !in_service.contains(record.instance.as_str()) {
            continue;
        }
        match why_not_ready(node, taints) {
            None => ready.push(record),
            Some(why) => drop(problems.insert(record.instance, format!("{} ({why})", record.name))),
        }
    }
    if ready.len() >= params.count as usize {
        return WaitState::Ready(ready);
    }
    let without_node = without_node(group, snapshot);
    let launch = launch_problems(params, group, snapshot.causes.as_deref());
    let late = late_nodes(&in_service, &problems, &without_node);
    if let Some(failure) = timers.expired(params, &launch, late) {
        let is_tainted = failure.message.contains(TAINT_WORD);
        let mut failure = failure.map_message(|why| {
            format!("{why}; {} of {} nodes are Ready", ready.len(), params.count)
        });
        if is_tainted && failure.hint.is_none() {
            failure = failure.with_hint(
                "find what should remove the taint, or name a taint that stays in `ignore_taints`",
            );
        }
        return WaitState::Failed(failure);
    }
    let without_node: Vec<String> = without_node.into_values().collect();
    let missing = [&without_node[..], &not_in_service(group, snapshot)];
    WaitState::Pending(describe_pending(params, group, ready.len(), &problems, missing, launch))
}

/// Returns the instances in service that are not Ready nodes, each with the reason.
fn late_nodes(
    in_service: &BTreeSet<&str>,
    problems: &BTreeMap<String, String>,
    without_node: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let not_ready =
        problems.iter().map(|(id, why)| (id, format!("node {why} did not become Ready")));
    let unknown = without_node.iter().map(|(id, why)| (id, format!("instance {why} has no node")));
    let all = not_ready.chain(unknown).filter(|(id, _)| in_service.contains(id.as_str()));
    all.map(|(id, why)| (id.clone(), why)).collect()
}

/// Returns the instances of the group that have no Node object yet, by id, with their state in EC2.
fn without_node(group: &AutoScalingGroup, snapshot: &NodesSnapshot) -> BTreeMap<String, String> {
    let known: BTreeSet<&str> =
        snapshot.nodes.iter().filter_map(|node| node::instance_id(node)).collect();
    let described = snapshot.causes.iter().flat_map(|causes| &causes.instances);
    let described: BTreeMap<&str, &Instance> =
        described.map(|instance| (instance.id.as_str(), instance)).collect();
    let ec2_state = |id: &str| {
        let instance = described.get(id)?;
        Some(match &instance.state_reason {
            Some(reason) => format!(", {}: {reason}", instance.state),
            None => format!(", {}", instance.state),
        })
    };
    group
        .instances
        .iter()
        .filter(|instance| !known.contains(instance.id.as_str()))
        .map(|i| {
            let description =
                format!("{} ({}{})", i.id, i.lifecycle, ec2_state(&i.id).unwrap_or_default());
            (i.id.clone(), description)
        })
        .collect()
}

/// Returns the instances that have a node, but are not in service in their group.
fn not_in_service(group: &AutoScalingGroup, snapshot: &NodesSnapshot) -> Vec<String> {
    let with_node: BTreeSet<&str> =
        snapshot.nodes.iter().filter_map(|node| node::instance_id(node)).collect();
    let instances =
        group.instances.iter().filter(|i| !i.is_in_service() && with_node.contains(i.id.as_str()));
    instances.map(|i| format!("{} ({})", i.id, i.lifecycle)).collect()
}

fn describe_pending(
    params: &ReadyParams,
    group: &AutoScalingGroup,
    ready: usize,
    problems: &BTreeMap<String, String>,
    [without_node, not_in_service]: [&[String]; 2],
    launch: Vec<LaunchProblem>,
) -> String {
    let mut text = format!("{ready} of {} nodes of {} Ready", params.count, params.nodegroup.name);
    if group.desired < params.count {
        text += &format!("; the desired size of the group is only {}", group.desired);
    }
    if !problems.is_empty() {
        text += &format!("; not Ready: {}", join_truncated(problems.values()));
    }
    if !without_node.is_empty() {
        text += &format!("; no node yet: {}", join_truncated(without_node));
    }
    if !not_in_service.is_empty() {
        text += &format!("; not in service: {}", join_truncated(not_in_service));
    }
    // The cause comes first: what follows may be cut to the width of a terminal.
    let causes = launch.into_iter().map(|problem| problem.message);
    causes.chain([text]).collect::<Vec<_>>().join("; ")
}

fn output(params: &ReadyParams, mut nodes: Vec<NodeRecord>) -> Output {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let previous: BTreeSet<&str> = params.previous.iter().map(|node| node.uid.as_str()).collect();
    let is_new = |node: &&NodeRecord| !previous.contains(node.uid.as_str());
    Output {
        count: count_u32(&nodes),
        new_nodes: nodes.iter().filter(is_new).cloned().collect(),
        nodes,
        gone: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::platform::{aws::GroupInstance, wait::WaitSource as _};
    use clock::Clock;

    fn snapshot(instances: &[&str]) -> NodesSnapshot {
        let node = |id: &&str| {
            let node = json!({
                "metadata": {"name": id, "uid": id},
                "spec": {"providerID": format!("aws:///us-west-2a/{id}")},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            });
            Arc::new(serde_json::from_value(node).unwrap())
        };
        let group = AutoScalingGroup {
            name: "asg".into(),
            arn: String::new(),
            min: 1,
            max: 9,
            desired: 3,
            new_instances_protected: false,
            instances: Vec::new(),
            suspended_processes: Vec::new(),
            tags: BTreeMap::new(),
            ..AutoScalingGroup::default()
        };
        NodesSnapshot {
            nodes: instances.iter().map(node).collect(),
            group: Some(group),
            causes: None,
        }
    }

    /// A group that is to have more instances than are waited for may fail to launch the others.
    #[test]
    fn a_failed_launch_counts_only_while_instances_are_missing() {
        let params = params(json!({"count": 1}));
        let causes = Causes { failed_launch: Some("no capacity".into()), instances: Vec::new() };
        let mut group = snapshot(&[]).group.unwrap();
        assert_eq!(launch_problems(&params, &group, Some(&causes)).len(), 1);
        group.instances = vec![instance("i-1", "Pending")];
        assert_eq!(launch_problems(&params, &group, Some(&causes)), []);
    }

    #[test]
    fn only_a_taint_that_keeps_new_pods_off_is_waited_for() {
        let node = |key: &str, effect: &str| -> Node {
            serde_json::from_value(json!({
                "spec": {"taints": [{"key": key, "effect": effect}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }))
            .unwrap()
        };
        let params = params(json!({"ignore_taints": ["example.com/known"]}));
        let declared = [taint("dedicated", "NoSchedule"), taint("x/agent-not-ready", "NoExecute")];
        let rules = TaintRules::new(&params, &declared, &[]);
        for (key, effect, why) in [
            (
                "node.kubernetes.io/not-ready",
                "NoSchedule",
                Some("taint node.kubernetes.io/not-ready"),
            ),
            ("node.kubernetes.io/not-ready", "NoExecute", None),
            ("node.kubernetes.io/unreachable", "NoExecute", None),
            ("node.kubernetes.io/unschedulable", "NoSchedule", None),
            (
                "node.kubernetes.io/memory-pressure",
                "NoSchedule",
                Some("taint node.kubernetes.io/memory-pressure: it is short of memory"),
            ),
            (
                "node.cilium.io/agent-not-ready",
                "NoExecute",
                Some("taint node.cilium.io/agent-not-ready:NoExecute"),
            ),
            ("example.com/own", "NoSchedule", Some("taint example.com/own:NoSchedule")),
            ("example.com/own", "PreferNoSchedule", None),
            ("example.com/known", "NoSchedule", None),
            ("dedicated", "NoSchedule", None),
            ("dedicated", "NoExecute", Some("taint dedicated:NoExecute")),
            ("x/agent-not-ready", "NoExecute", Some("taint x/agent-not-ready:NoExecute")),
        ] {
            let found = why_not_ready(&node(key, effect), &rules);
            assert_eq!(found.as_deref(), why, "{key}:{effect}");
        }
    }

    #[test]
    fn a_declared_taint_that_an_older_node_has_lost_is_waited_for() {
        let node = |uid: &str, taints: serde_json::Value| -> Arc<Node> {
            let node = json!({
                "metadata": {"name": uid, "uid": uid},
                "spec": {"taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            });
            Arc::new(serde_json::from_value(node).unwrap())
        };
        let tainted = json!([{"key": "own", "effect": "NoSchedule"}]);
        let old = json!({"name": "old", "uid": "old", "instance": "i-1"});
        let params = params(json!({"previous": [old]}));
        let declared = [taint("own", "NoSchedule")];
        let new = node("new", tainted.clone());
        let why = |old: Arc<Node>, declared: &[Taint]| {
            let nodes = [old.clone(), new.clone()];
            let rules = TaintRules::new(&params, declared, &nodes);
            assert_eq!(why_not_ready(&old, &rules), None, "an older node counts either way");
            why_not_ready(&new, &rules)
        };
        assert_eq!(why(node("old", tainted.clone()), &declared), None);
        assert_eq!(why(node("old", json!([])), &declared).unwrap(), "taint own:NoSchedule");
        // The kubelet of a launch template may register a taint that EKS does not know of.
        assert_eq!(why(node("old", tainted), &[]), None);
        assert_eq!(why(node("old", json!([])), &[]).unwrap(), "taint own:NoSchedule");
    }

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), value: None, time_added: None }
    }

    /// The parameters of a wait for three nodes, with others.
    fn params(others: serde_json::Value) -> ReadyParams {
        let name = json!({"region": "us-west-2", "cluster": "c", "name": "g"});
        let mut params = json!({"nodegroup": name, "count": 3, "ready_within": "90s"});
        params.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        serde_json::from_value(params).unwrap()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn instance(id: &str, lifecycle: &str) -> GroupInstance {
        GroupInstance {
            id: id.into(),
            zone: String::new(),
            lifecycle: lifecycle.into(),
            health: String::new(),
            protected: false,
            instance_type: String::new(),
            launched_from: None,
        }
    }

    /// Evaluates a snapshot in a wait for three nodes that gives a late one `grace`.
    fn evaluated(
        snapshot: &NodesSnapshot,
        grace: Duration,
        launch_grace: Duration,
    ) -> WaitState<Vec<NodeRecord>> {
        let params = params(json!({}));
        let taints = TaintRules::new(&params, &[], &snapshot.nodes);
        let (launches, nodes) = (GraceTimer::new(launch_grace), GraceTimer::new(grace));
        evaluate(&params, snapshot, &taints, "asg", &mut GraceTimers { launches, nodes })
    }

    #[test]
    fn an_instance_that_is_not_in_service_is_named() {
        let mut snapshot = snapshot(&["i-1"]);
        snapshot.group.as_mut().unwrap().instances = vec![instance("i-1", "Pending:Wait")];
        let why = "0 of 3 nodes of g Ready; not in service: i-1 (Pending:Wait)";
        assert_eq!(evaluated(&snapshot, MINUTE, MINUTE), WaitState::Pending(why.into()));
        assert_eq!(evaluated(&snapshot, Duration::ZERO, MINUTE), WaitState::Pending(why.into()));
    }

    #[test]
    fn a_group_that_cannot_grow_is_named_only_while_instances_are_missing() {
        let messages = |snapshot: &NodesSnapshot| -> Vec<String> {
            let group = snapshot.group.as_ref().unwrap();
            let problems = launch_problems(&params(json!({})), group, None);
            problems.into_iter().map(|problem| problem.message).collect()
        };
        let mut snapshot = snapshot(&[]);
        let group = snapshot.group.as_mut().unwrap();
        group.suspended_processes = vec!["AZRebalance".into(), "Launch".into()];
        group.max = 2;
        group.instances = ["InService", "Pending", "Terminating"].map(|s| instance("i", s)).into();
        assert_eq!(
            messages(&snapshot),
            [
                "the process Launch of Auto Scaling group asg is suspended",
                "the maximum size of Auto Scaling group asg is 2",
            ]
        );
        let WaitState::Failed(failure) = evaluated(&snapshot, MINUTE, Duration::ZERO) else {
            panic!("no instance will be launched")
        };
        assert_eq!(
            failure.hint.unwrap(),
            "resume it: `aws autoscaling resume-processes --auto-scaling-group-name asg --scaling-processes Launch`"
        );
        snapshot.group.as_mut().unwrap().instances.push(instance("i", "Pending:Wait"));
        assert_eq!(messages(&snapshot), [""; 0]);
    }

    #[test]
    fn a_node_that_was_there_is_missed() {
        let mut lost = LostNodes::new(&[]);
        assert_eq!(lost.refresh(&snapshot(&["i-1", "i-2"]).nodes), [""; 0]);
        assert_eq!(lost.refresh(&snapshot(&["i-2"]).nodes), ["i-1"]);
        assert_eq!(lost.refresh(&snapshot(&["i-1", "i-2"]).nodes), [""; 0]);
    }

    #[test]
    fn an_instance_in_service_must_become_ready_within_its_time() {
        let mut snapshot = snapshot(&["i-1", "i-2"]);
        let node = Arc::make_mut(&mut snapshot.nodes[1]);
        let condition = json!({"type": "Ready", "status": "False", "message": "no network"});
        node.status = serde_json::from_value(json!({"conditions": [condition]})).unwrap();
        let group = snapshot.group.as_mut().unwrap();
        group.instances = ["i-1", "i-2", "i-3"].map(|id| instance(id, "InService")).into();
        let WaitState::Pending(_) = evaluated(&snapshot, MINUTE, MINUTE) else {
            panic!("it may yet be Ready")
        };
        let WaitState::Failed(failure) = evaluated(&snapshot, Duration::ZERO, MINUTE) else {
            panic!("it is late")
        };
        assert_eq!(
            failure.message,
            "node i-2 (not ready: no network) did not become Ready (in service for 1m30s); 1 of 3 nodes are Ready"
        );
        snapshot.nodes.pop();
        let WaitState::Failed(failure) = evaluated(&snapshot, Duration::ZERO, MINUTE) else {
            panic!("it is late")
        };
        assert_eq!(
            failure.message,
            "instance i-2 (InService) has no node (in service for 1m30s); 1 of 3 nodes are Ready"
        );
    }

    #[tokio::test]
    async fn each_unlisted_node_triggers_one_poll_of_the_group() {
        let day = Duration::from_hours(24);
        let clock = Clock::scaled(1_000.0).unwrap();
        let mut group = PollSource::new(&clock, day, || async { Ok(()) });
        let mut unlisted_nodes = UnlistedNodes::new(group.poll_trigger());
        group.changed().await.unwrap();
        for (instances, is_new) in
            [(&["i-1"][..], true), (&["i-1"], false), (&["i-1", "i-2"], true), (&[], false)]
        {
            let snapshot = snapshot(instances);
            let params = params(json!({}));
            let taints = TaintRules::new(&params, &[], &snapshot.nodes);
            unlisted_nodes.refresh(&snapshot, &taints);
            let polled = tokio::time::timeout(Duration::from_millis(20), group.changed()).await;
            assert_eq!(polled.is_ok(), is_new, "{instances:?}");
        }
    }
}
