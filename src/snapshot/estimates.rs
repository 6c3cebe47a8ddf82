//! How long things take in a cluster, from what it did lately: the activities of its groups, and the conditions of its
//! nodes and pods. Where nothing says so, a stated default.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::locate::instance_id;
use super::{Snapshot, SnapshotObject};
use crate::platform::aws::Activity;

/// A duration as a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// One in ten is shorter.
    pub low: Duration,
    /// The median.
    pub typical: Duration,
    /// One in ten is longer.
    pub high: Duration,
    /// How many observations there are; with none, the range is a default.
    pub samples: usize,
}

/// A value of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The low end.
    Low,
    /// The median.
    Typical,
    /// The high end.
    High,
}

/// How long the instances of a group take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEstimates {
    /// From the launch of an instance until its Node is registered.
    pub boot: Estimate,
    /// From the registration of a Node until it is Ready.
    pub node_ready: Estimate,
    /// From the termination of an instance until its end.
    pub terminate: Estimate,
}

/// A workload: what owns pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// The namespace.
    pub namespace: String,
    /// The kind: `Deployment`, `StatefulSet`, `DaemonSet`, or another.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// How long the pods of a workload take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkloadEstimates {
    /// From the binding of a pod to its node until the pod is Ready.
    pub start: Estimate,
    /// From the deletion of a pod until its end. Kubernetes keeps nothing of it, so the range is a default that ends
    /// with the longest grace period of the pods.
    pub stop: Estimate,
}

/// How long things take in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimates {
    /// The estimates of each Auto Scaling group. What a group did not show is that of all groups.
    pub groups: BTreeMap<String, GroupEstimates>,
    /// Those of all groups and nodes together.
    pub any_group: GroupEstimates,
    /// The estimates of each workload. What a workload did not show is that of all workloads.
    pub workloads: BTreeMap<Workload, WorkloadEstimates>,
    /// Those of all workloads together.
    pub any_workload: WorkloadEstimates,
}

/// The defaults, in seconds: the low end, the median and the high end.
const BOOT: (u64, u64, u64) = (40, 60, 180);
const NODE_READY: (u64, u64, u64) = (5, 15, 60);
const TERMINATE: (u64, u64, u64) = (30, 60, 300);
const POD_START: (u64, u64, u64) = (2, 10, 60);
const POD_STOP: (u64, u64, u64) = (1, 5, 30);

/// A boot that took longer than this is another story: an instance that was stopped, a node that registered again.
const MAX_BOOT: Duration = Duration::from_secs(3600);
/// A node or a pod that became Ready later than this after its beginning was Ready before, too.
const MAX_READY: Duration = Duration::from_secs(900);

/// The shortest duration that the times of Kubernetes can show.
const MIN_OBSERVED: Duration = Duration::from_secs(1);

impl Estimate {
    /// Returns the range of some observations; none without any.
    fn of(mut samples: Vec<Duration>) -> Option<Self> {
        samples.sort();
        let last = samples.len().checked_sub(1)?;
        Some(Self {
            low: samples[last / 10],
            typical: samples[last / 2],
            high: samples[(last * 9).div_ceil(10)],
            samples: samples.len(),
        })
    }

    fn stated((low, typical, high): (u64, u64, u64)) -> Self {
        let seconds = Duration::from_secs;
        Self { low: seconds(low), typical: seconds(typical), high: seconds(high), samples: 0 }
    }

    /// Returns a value of the range.
    pub fn at(&self, bound: Bound) -> Duration {
        match bound {
            Bound::Low => self.low,
            Bound::Typical => self.typical,
            Bound::High => self.high,
        }
    }

    /// Returns whether nothing was observed.
    pub fn is_default(&self) -> bool {
        self.samples == 0
    }
}

/// The observations of instances.
#[derive(Default)]
struct GroupSamples {
    boot: Vec<Duration>,
    node_ready: Vec<Duration>,
    terminate: Vec<Duration>,
    /// From the launch of instances until they are in service, for those that are no nodes any more.
    launch: Vec<Duration>,
}

impl GroupSamples {
    fn extend(&mut self, other: &Self) {
        self.boot.extend(&other.boot);
        self.node_ready.extend(&other.node_ready);
        self.terminate.extend(&other.terminate);
        self.launch.extend(&other.launch);
    }

    fn estimates(self, or: &GroupEstimates) -> GroupEstimates {
        let boot = Estimate::of(self.boot).or_else(|| Estimate::of(self.launch));
        GroupEstimates {
            boot: boot.unwrap_or(or.boot),
            node_ready: Estimate::of(self.node_ready).unwrap_or(or.node_ready),
            terminate: Estimate::of(self.terminate).unwrap_or(or.terminate),
        }
    }
}

impl Snapshot {
    /// Returns how long things take in this cluster.
    pub fn durations(&self) -> Estimates {
        let samples = self.group_samples();
        let mut all = GroupSamples::default();
        samples.values().for_each(|one| all.extend(one));
        let any_group = all.estimates(&GroupEstimates {
            boot: Estimate::stated(BOOT),
            node_ready: Estimate::stated(NODE_READY),
            terminate: Estimate::stated(TERMINATE),
        });
        let groups = samples.into_iter().filter(|(group, _)| !group.is_empty());
        let starts = self.pod_starts();
        let start = Estimate::of(starts.values().flat_map(|(starts, _)| starts.clone()).collect());
        let any_workload = WorkloadEstimates {
            start: start.unwrap_or(Estimate::stated(POD_START)),
            stop: Estimate::stated(POD_STOP),
        };
        let of_workload = |(workload, (starts, grace)): (Workload, (Vec<Duration>, Duration))| {
            let start = Estimate::of(starts).unwrap_or(any_workload.start);
            (workload, WorkloadEstimates { start, stop: stop_within(grace) })
        };
        Estimates {
            groups: groups.map(|(group, one)| (group, one.estimates(&any_group))).collect(),
            any_group,
            workloads: starts.into_iter().map(of_workload).collect(),
            any_workload,
        }
    }

    /// Returns the observations by group; those of nodes without a group have an empty name.
    fn group_samples(&self) -> BTreeMap<String, GroupSamples> {
        let mut samples: BTreeMap<String, GroupSamples> =
            self.groups.iter().map(|group| (group.name.clone(), GroupSamples::default())).collect();
        let group_of: BTreeMap<&str, &str> = self
            .groups
            .iter()
            .flat_map(|group| {
                group.instances.iter().map(|one| (one.id.as_str(), group.name.as_str()))
            })
            .collect();
        let launched: BTreeMap<&str, Timestamp> = self
            .instances
            .iter()
            .filter_map(|instance| Some((instance.id.as_str(), instance.launched_at?)))
            .collect();
        for node in self.objects_of("Node") {
            let instance = instance_id(node).unwrap_or_default();
            let group = group_of.get(instance).copied().unwrap_or_default();
            let samples = samples.entry(group.to_owned()).or_default();
            let Some(created) = time(&node.object["metadata"]["creationTimestamp"]) else {
                continue;
            };
            let launched = launched.get(instance).copied();
            samples.boot.extend(launched.and_then(|from| between(from, created, MAX_BOOT)));
            let ready = became_true(node, "Ready");
            samples.node_ready.extend(ready.and_then(|at| between(created, at, MAX_READY)));
        }
        for (group, activities) in &self.activities {
            let samples = samples.entry(group.clone()).or_default();
            for activity in activities {
                let Some(took) = duration_of(activity) else { continue };
                if activity.description.starts_with("Launching") {
                    samples.launch.push(took);
                } else if activity.description.starts_with("Terminating") {
                    samples.terminate.push(took);
                }
            }
        }
        samples
    }

    /// Returns, for each workload, how long its pods took to become Ready, and their longest grace period.
    fn pod_starts(&self) -> BTreeMap<Workload, (Vec<Duration>, Duration)> {
        let mut found: BTreeMap<Workload, (Vec<Duration>, Duration)> = BTreeMap::new();
        let owners = self.owners_of_replica_sets();
        for pod in self.objects_of("Pod") {
            let Some(workload) = workload_of(pod, &owners) else { continue };
            let (starts, grace) = found.entry(workload).or_default();
            let seconds = pod.object["spec"]["terminationGracePeriodSeconds"].as_u64();
            *grace = Duration::from_secs(seconds.unwrap_or(30)).max(*grace);
            let restarts = pod.list("/status/containerStatuses").iter();
            let has_restarted =
                restarts.into_iter().any(|status| status["restartCount"].as_u64() > Some(0));
            let times = (became_true(pod, "PodScheduled"), became_true(pod, "Ready"));
            if let (Some(scheduled), Some(ready), false) = (times.0, times.1, has_restarted) {
                starts.extend(between(scheduled, ready, MAX_READY));
            }
        }
        found
    }

    /// Returns the name of the deployment of each replica set, by UID.
    fn owners_of_replica_sets(&self) -> BTreeMap<&str, &str> {
        let sets = self.objects_of("ReplicaSet").iter();
        sets.filter_map(|set| match set.controller() {
            Some(("Deployment", name, _)) => Some((set.uid(), name)),
            _ => None,
        })
        .collect()
    }
}

/// Returns the workload of a pod: its controller, or the deployment of the replica set that is its controller.
fn workload_of(pod: &SnapshotObject, owners: &BTreeMap<&str, &str>) -> Option<Workload> {
    let (kind, name, uid) = pod.controller()?;
    let (kind, name) = match owners.get(uid) {
        Some(deployment) => ("Deployment", *deployment),
        None => (kind, name),
    };
    let (kind, name) = (kind.to_owned(), name.to_owned());
    Some(Workload { namespace: pod.namespace().to_owned(), kind, name })
}

/// Returns the default for pods with this grace period.
fn stop_within(grace: Duration) -> Estimate {
    let Estimate { low, typical, .. } = Estimate::stated(POD_STOP);
    Estimate { low: low.min(grace), typical: typical.min(grace), high: grace, samples: 0 }
}

/// Returns when a condition became true, if it is.
fn became_true(object: &SnapshotObject, kind: &str) -> Option<Timestamp> {
    let condition = object.condition(kind).filter(|condition| condition["status"] == "True")?;
    time(&condition["lastTransitionTime"])
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn duration_of(activity: &Activity) -> Option<Duration> {
    if activity.status != "Successful" {
        return None;
    }
    between(activity.started_at?, activity.ended_at?, MAX_BOOT)
}

/// Returns the time between two moments, if it says anything. Kubernetes writes whole seconds, so less than one is no
/// observation.
fn between(from: Timestamp, to: Timestamp, max: Duration) -> Option<Duration> {
    let duration = Duration::try_from(to.duration_since(from)).ok()?;
    (MIN_OBSERVED..=max).contains(&duration).then_some(duration)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kinds::{NODES, OTHER_KINDS, PODS, SnapshotKind};
    use super::*;
    use crate::platform::aws::{AutoScalingGroup, GroupInstance, Instance};

    #[test]
    fn a_range_has_the_median_and_leaves_out_one_in_ten_at_each_end() {
        let range = |range: std::ops::RangeInclusive<u64>| {
            Estimate::of(range.map(Duration::from_secs).collect()).map(|one| {
                (one.low.as_secs(), one.typical.as_secs(), one.high.as_secs(), one.samples)
            })
        };
        assert_eq!(range(1..=11), Some((2, 6, 10, 11)));
        assert_eq!(range(7..=7), Some((7, 7, 7, 1)));
        assert_eq!(range(1..=2), Some((1, 1, 2, 2)));
        assert_eq!(Estimate::of(Vec::new()), None);
    }

    fn seconds(estimate: &Estimate) -> (u64, usize) {
        (estimate.typical.as_secs(), estimate.samples)
    }

    fn object(kind: &SnapshotKind, object: Value) -> SnapshotObject {
        SnapshotObject::of(kind, &kind.fields(), serde_json::from_value(object).unwrap())
    }

    /// A node that was Ready so many seconds after its creation at 07:01.
    fn node(name: &str, instance: &str, ready: u32) -> SnapshotObject {
        object(
            &NODES,
            json!({
                "metadata": {"name": name, "creationTimestamp": "2026-11-27T07:01:00Z"},
                "spec": {"providerID": format!("aws:///us-west-2a/{instance}")},
                "status": {"conditions": [{
                    "type": "Ready", "status": "True",
                    "lastTransitionTime": format!("2026-11-27T07:01:{ready:02}Z"),
                }]},
            }),
        )
    }

    /// A pod of a replica set, which was Ready so many seconds after it was bound.
    fn pod(set: &str, ready: u32, restarts: u32) -> SnapshotObject {
        let condition = |kind: &str, second: u32| {
            let at = format!("2026-11-27T07:02:{second:02}Z");
            json!({"type": kind, "status": "True", "lastTransitionTime": at})
        };
        object(
            &PODS,
            json!({
                "metadata": {"namespace": "n", "name": format!("{set}-{ready}"), "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true},
                ]},
                "spec": {"terminationGracePeriodSeconds": 90},
                "status": {
                    "conditions": [condition("PodScheduled", 0), condition("Ready", ready)],
                    "containerStatuses": [{"name": "c", "restartCount": restarts}],
                },
            }),
        )
    }

    #[test]
    fn durations_follow_from_instances_nodes_activities_and_pods() {
        let group = |name: &str, ids: &[&str]| AutoScalingGroup {
            name: name.into(),
            instances: ids
                .iter()
                .map(|id| GroupInstance { id: (*id).into(), ..GroupInstance::default() })
                .collect(),
            ..AutoScalingGroup::default()
        };
        let launched = |id: &str| Instance {
            id: id.into(),
            launched_at: "2026-11-27T07:00:10Z".parse().ok(),
            ..Instance::default()
        };
        let ended = |description: &str, second: u32| Activity {
            description: description.into(),
            status: "Successful".into(),
            started_at: "2026-11-27T06:00:00Z".parse().ok(),
            ended_at: format!("2026-11-27T06:00:{second:02}Z").parse().ok(),
            ..Activity::default()
        };
        let set = json!({"metadata": {"namespace": "n", "name": "web-1", "uid": "web-1", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "web", "controller": true},
        ]}});
        let sets = OTHER_KINDS.iter().find(|kind| kind.kind.kind == "ReplicaSet").unwrap();
        let snapshot = Snapshot {
            objects: [
                ("Node", vec![node("a", "i-1", 12), node("b", "i-2", 14)]),
                (
                    "Pod",
                    vec![
                        pod("web-1", 7, 0),
                        pod("web-1", 9, 0),
                        pod("web-1", 50, 1),
                        pod("x", 0, 0),
                    ],
                ),
                ("ReplicaSet", vec![object(sets, set)]),
            ]
            .into(),
            groups: vec![group("one", &["i-1", "i-2"]), group("other", &[])],
            instances: vec![launched("i-1"), launched("i-2")],
            activities: [(
                "other".to_owned(),
                vec![
                    ended("Launching a new EC2 instance: i-3", 30),
                    ended("Terminating EC2 instance: i-3", 45),
                ],
            )]
            .into(),
            ..Snapshot::empty()
        };
        let durations = snapshot.durations();
        let (one, other) = (durations.groups["one"], durations.groups["other"]);
        assert_eq!(seconds(&one.boot), (50, 2));
        assert_eq!(seconds(&one.node_ready), (12, 2));
        assert_eq!(seconds(&one.terminate), (45, 1), "as the other group");
        assert_eq!(seconds(&other.boot), (30, 1), "none of its instances is a node any more");
        assert_eq!(seconds(&other.node_ready), (12, 2), "as all nodes");
        let workload = |kind: &str, name: &str| Workload {
            namespace: "n".into(),
            kind: kind.into(),
            name: name.into(),
        };
        let web = &durations.workloads[&workload("Deployment", "web")];
        assert_eq!(seconds(&web.start), (7, 2), "a pod that was restarted says nothing");
        assert_eq!((web.stop.high.as_secs(), web.stop.is_default()), (90, true));
        let unknown = &durations.workloads[&workload("ReplicaSet", "x")];
        assert_eq!(seconds(&unknown.start), (7, 2), "as all workloads");
    }

    #[test]
    fn a_cluster_that_shows_nothing_has_the_defaults() {
        let durations = Snapshot::empty().durations();
        assert!(durations.any_group.boot.is_default() && durations.any_workload.start.is_default());
        assert_eq!(durations.any_group.boot.at(Bound::High), Duration::from_secs(180));
    }
}
