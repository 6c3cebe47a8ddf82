//! `wait_nodes`: until a nodegroup's nodes are there and Ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, KnownTargets, Permission, PlatformReader, Progress, Result, Wait, nodegroups,
    types::{NodeRecord, NodegroupName, count_u32, default_give_up_after},
};
use crate::platform::{
    PollSource, PollTrigger,
    aws::{self, Activity, AutoScalingGroup, Instance},
    kubernetes::{Selection, node},
    wait::{self, GraceTimer, WaitState},
};
use text::join_truncated;

/// The instances in service change seldom, but a Ready node must be recognized soon.
const GROUP_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The reason why an instance is missing is only for messages.
const CAUSES_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Waits until enough nodes of a nodegroup are Ready.
///
/// A node counts when its instance is in service in the nodegroup's Auto Scaling group, its Ready condition is True
/// and no start-up taint keeps pods off it; a cordoned node counts. The wait fails early when the group cannot launch
/// instances and that has not healed for `give_up_after`, and when an instance has been in service for `ready_within`
/// and is no Ready node yet.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The nodegroup.
    pub nodegroup: NodegroupName,
    /// The least number of nodes that must be Ready.
    #[schemars(range(min = 1))]
    pub count: u32,
    /// Nodes that were there before, such as `scale_up.before.nodes`; the output's `new_nodes` are all others.
    #[serde(default)]
    pub previous: Vec<NodeRecord>,
    /// How long a group may fail to launch instances before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
    /// How long an instance that was seen in service may take to be a Ready node before the wait is given up.
    #[serde(default = "default_ready_within")]
    pub ready_within: runbook::Duration,
}

/// The Cluster Autoscaler (`--max-node-provision-time`) and Karpenter (its registration time) treat an instance as lost
/// after fifteen minutes. The whole wait of relay-scale has the same timeout, and this one must expire before that.
fn default_ready_within() -> runbook::Duration {
    Duration::from_secs(600).into()
}

/// The nodes that are Ready.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many nodes are Ready.
    pub count: u32,
    /// All of them, by name.
    pub nodes: Vec<NodeRecord>,
    /// Those that are not among `previous`, by name.
    pub new_nodes: Vec<NodeRecord>,
}

pub(super) struct WaitNodes;

impl Action for WaitNodes {
    const NAME: &'static str = "wait_nodes";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::Aws("eks:DescribeNodegroup"),
        Permission::Aws("autoscaling:DescribeAutoScalingGroups"),
        Permission::Aws("autoscaling:DescribeScalingActivities"),
        Permission::Aws("ec2:DescribeInstances"),
        Permission::core("nodes", &["list", "watch"]),
    ];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.nodes.iter().for_each(|node| known.add_node(&node.name, Some(&node.instance)));
    }
}

impl Wait for WaitNodes {
    async fn wait(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        let aws = reader.aws(&params.nodegroup.region).await?;
        let nodegroup = nodegroups::describe(&aws, &params.nodegroup).await?;
        let group_name = nodegroups::group_name(&nodegroup)?.to_owned();
        let label = node::nodegroup_selector(&params.nodegroup.name);
        let mut nodes =
            reader.kubernetes().await?.watch::<Node>(&Selection::all().with_labels(label));
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
        let ready = wait::until(progress, &mut [&mut nodes, &mut group, &mut causes], || {
            let snapshot = NodesSnapshot {
                nodes: seen_nodes.objects(),
                group: seen_group.get().and_then(|found| (*found).clone()),
                causes: seen_causes.get(),
            };
            unlisted_nodes.refresh(&snapshot);
            evaluate(&params, &snapshot, &group_name, &mut timers)
        })
        .await?;
        Ok(output(&params, ready))
    }
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
        params: &Params,
        launch: Option<&String>,
        late: Vec<(String, String)>,
    ) -> Option<String> {
        let now = Instant::now();
        let launch = launch.map(|why| ("launch", why.clone()));
        let launch = self.launches.expired(now, launch);
        let late = self.nodes.expired(now, late);
        let launch = launch.map(|why| format!("{why} (for {})", params.give_up_after));
        launch.or_else(|| late.map(|why| format!("{why} (in service for {})", params.ready_within)))
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

    fn refresh(&mut self, snapshot: &NodesSnapshot) {
        let Some(group) = &snapshot.group else { return };
        let in_service = in_service(group);
        let ready = snapshot.nodes.iter().filter(|node| why_not_ready(node).is_none());
        let instance_ids = ready.filter_map(|node| node::instance_id(node));
        let unlisted = instance_ids.filter(|id| !in_service.contains(id)).map(str::to_owned);
        let before = self.known.len();
        self.known.extend(unlisted);
        if self.known.len() > before {
            self.trigger.trigger();
        }
    }
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
    params: &Params,
    snapshot: &NodesSnapshot,
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
        match why_not_ready(node) {
            None => ready.push(record),
            Some(why) => drop(problems.insert(record.instance, format!("{} ({why})", record.name))),
        }
    }
    if ready.len() >= params.count as usize {
        return WaitState::Ready(ready);
    }
    let without_node = without_node(group, snapshot);
    let launch = snapshot.causes.as_ref().and_then(|causes| causes.failed_launch.clone());
    let late = late_nodes(&in_service, &problems, &without_node);
    if let Some(why) = timers.expired(params, launch.as_ref(), late) {
        return WaitState::failed(format!(
            "{why}; {} of {} nodes are Ready",
            ready.len(),
            params.count
        ));
    }
    let without_node: Vec<String> = without_node.into_values().collect();
    let missing = [&without_node[..], &not_in_service(group, snapshot)];
    WaitState::Pending(describe_pending(params, group, ready.len(), &problems, missing, launch))
}

/// Returns why a node is not ready for its first pod: its Ready condition, or a start-up taint. A cordon does not
/// count, nor does a taint with the effect NoExecute: pods tolerate the two such taints of a node that is not Ready for
/// five minutes by default, and a Ready node may carry them for five more seconds.
fn why_not_ready(node: &Node) -> Option<String> {
    const STARTING: [&str; 4] = [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/network-unavailable",
        "node.cloudprovider.kubernetes.io/uninitialized",
    ];
    node::why_not_ready(node).or_else(|| {
        let taints = node.spec.as_ref()?.taints.as_ref()?;
        let blocks_scheduling =
            |taint: &&Taint| STARTING.contains(&taint.key.as_str()) && taint.effect == "NoSchedule";
        let taint = taints.iter().find(blocks_scheduling)?;
        Some(format!("taint {}", taint.key))
    })
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
    let causes = snapshot.causes.as_deref();
    let ec2_state = |id: &str| {
        let instance = causes?.instances.iter().find(|instance| instance.id == id)?;
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
    let has_node = |id: &str| snapshot.nodes.iter().any(|node| node::instance_id(node) == Some(id));
    let instances = group.instances.iter().filter(|i| !i.is_in_service() && has_node(&i.id));
    instances.map(|i| format!("{} ({})", i.id, i.lifecycle)).collect()
}

fn describe_pending(
    params: &Params,
    group: &AutoScalingGroup,
    ready: usize,
    problems: &BTreeMap<String, String>,
    [without_node, not_in_service]: [&[String]; 2],
    launch: Option<String>,
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
    match launch {
        Some(why) => format!("{why}; {text}"),
        None => text,
    }
}

fn output(params: &Params, mut nodes: Vec<NodeRecord>) -> Output {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let was_there = |node: &&NodeRecord| !params.previous.iter().any(|p| p.uid == node.uid);
    Output {
        count: count_u32(&nodes),
        new_nodes: nodes.iter().filter(was_there).cloned().collect(),
        nodes,
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
            min: 1,
            max: 9,
            desired: 3,
            new_instances_protected: false,
            instances: Vec::new(),
            suspended_processes: Vec::new(),
            tags: BTreeMap::new(),
        };
        NodesSnapshot {
            nodes: instances.iter().map(node).collect(),
            group: Some(group),
            causes: None,
        }
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
        let starting = "node.kubernetes.io/not-ready";
        let why = Some("taint node.kubernetes.io/not-ready".to_owned());
        assert_eq!(why_not_ready(&node(starting, "NoSchedule")), why);
        assert_eq!(why_not_ready(&node(starting, "NoExecute")), None);
        assert_eq!(why_not_ready(&node("node.kubernetes.io/unschedulable", "NoSchedule")), None);
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
    fn evaluated(snapshot: &NodesSnapshot, grace: Duration) -> WaitState<Vec<NodeRecord>> {
        let name = json!({"region": "us-west-2", "cluster": "c", "name": "g"});
        let params = json!({"nodegroup": name, "count": 3, "ready_within": "90s"});
        let params = serde_json::from_value(params).unwrap();
        let (launches, nodes) = (GraceTimer::new(MINUTE), GraceTimer::new(grace));
        evaluate(&params, snapshot, "asg", &mut GraceTimers { launches, nodes })
    }

    #[test]
    fn an_instance_that_is_not_in_service_is_named() {
        let mut snapshot = snapshot(&["i-1"]);
        snapshot.group.as_mut().unwrap().instances = vec![instance("i-1", "Pending:Wait")];
        let why = "0 of 3 nodes of g Ready; not in service: i-1 (Pending:Wait)";
        assert_eq!(evaluated(&snapshot, MINUTE), WaitState::Pending(why.into()));
        assert_eq!(evaluated(&snapshot, Duration::ZERO), WaitState::Pending(why.into()));
    }

    #[test]
    fn an_instance_in_service_must_become_ready_within_its_time() {
        let mut snapshot = snapshot(&["i-1", "i-2"]);
        let node = Arc::make_mut(&mut snapshot.nodes[1]);
        let condition = json!({"type": "Ready", "status": "False", "message": "no network"});
        node.status = serde_json::from_value(json!({"conditions": [condition]})).unwrap();
        let group = snapshot.group.as_mut().unwrap();
        group.instances = ["i-1", "i-2", "i-3"].map(|id| instance(id, "InService")).into();
        let WaitState::Pending(_) = evaluated(&snapshot, MINUTE) else {
            panic!("it may yet be Ready")
        };
        let WaitState::Failed(failure) = evaluated(&snapshot, Duration::ZERO) else {
            panic!("it is late")
        };
        assert_eq!(
            failure.message,
            "node i-2 (not ready: no network) did not become Ready (in service for 1m30s); 1 of 3 nodes are Ready"
        );
        snapshot.nodes.pop();
        let WaitState::Failed(failure) = evaluated(&snapshot, Duration::ZERO) else {
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
            unlisted_nodes.refresh(&snapshot(instances));
            let polled = tokio::time::timeout(Duration::from_millis(20), group.changed()).await;
            assert_eq!(polled.is_ok(), is_new, "{instances:?}");
        }
    }
}
