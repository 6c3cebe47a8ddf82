//! A snapshot as a scenario of the simulator.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use simulator::{
    CapacityType, ContainerFailure, FailingImage, Instance as ScenarioInstance, InstanceLifecycle,
    LaunchTemplate, MaxUnavailable, Nodegroup as ScenarioNodegroup, PlainGroup, Scenario, Taint,
    Times, WorkloadTimes,
};

use super::locate::instance_id;
use super::{Bound, Estimates, GroupEstimates, Snapshot, SnapshotObject};
use crate::platform::aws::{AutoScalingGroup, GroupInstance, Instance, Nodegroup, UpdateConfig};

/// The labels in which the nodes of a group differ, besides those whose values differ. A new node gets its own.
const LABELS_OF_ONE_NODE: [&str; 5] = [
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/hostname",
    "topology.ebs.csi.aws.com/zone",
    "topology.k8s.aws/zone-id",
    "topology.kubernetes.io/zone",
];

/// The containers of a pod, and their statuses.
const CONTAINERS: [(&str, &str); 2] = [
    ("/spec/containers", "/status/containerStatuses"),
    ("/spec/initContainers", "/status/initContainerStatuses"),
];

/// The time after which a container that runs and is not ready counts as one that never is.
const MAX_START: SignedDuration = SignedDuration::from_mins(10);

impl Snapshot {
    /// Returns the scenario in which a simulator begins with this world, and in which things take as long as they
    /// typically do.
    pub fn to_scenario(&self) -> Scenario {
        self.to_scenario_at(Bound::Typical)
    }

    /// Returns the same, in which things take as long as at this end of their ranges.
    pub fn to_scenario_at(&self, bound: Bound) -> Scenario {
        let durations = self.durations();
        let nodes = self.nodes_by_instance();
        let instances: BTreeMap<&str, &Instance> =
            self.instances.iter().map(|instance| (instance.id.as_str(), instance)).collect();
        let world = World { snapshot: self, nodes, instances, durations: &durations, bound };
        let of_nodegroups: BTreeSet<&String> =
            self.nodegroups.iter().flat_map(|group| &group.auto_scaling_groups).collect();
        let plain = self.groups.iter().filter(|group| !of_nodegroups.contains(&group.name));
        let base = Scenario::empty();
        let known = |object: &&SnapshotObject| {
            simulator::is_known_kind(object.text("/apiVersion"), object.text("/kind"))
        };
        Scenario {
            account: self.account.clone().unwrap_or(base.account),
            region: self.region.clone().unwrap_or(base.region),
            cluster: self.cluster.clone().unwrap_or(base.cluster),
            version: self
                .version
                .clone()
                .or_else(|| self.version_of_nodes())
                .unwrap_or(base.version),
            times: times(&durations, bound),
            nodegroups: self.nodegroups.iter().map(|group| world.nodegroup(group)).collect(),
            auto_scaling_groups: plain.map(|group| world.plain_group(group)).collect(),
            cluster_objects: self
                .objects
                .values()
                .flatten()
                .filter(known)
                .map(|object| object.object.clone())
                .collect(),
            workload_times: workload_times(&durations, bound),
            failing_images: self.failing_images(),
            ..Scenario::empty()
        }
    }

    fn nodes_by_instance(&self) -> BTreeMap<&str, &SnapshotObject> {
        let nodes = self.objects_of("Node").iter();
        nodes.filter_map(|node| Some((instance_id(node)?, node))).collect()
    }

    fn version_of_nodes(&self) -> Option<String> {
        self.objects_of("Node").iter().filter_map(kubelet_version).max()
    }

    /// Returns how a container fails, if it does.
    fn failure_of(&self, status: &Value) -> Option<ContainerFailure> {
        match status["state"]["waiting"]["reason"].as_str().unwrap_or_default() {
            "ErrImagePull" | "ImagePullBackOff" => return Some(ContainerFailure::ImagePull),
            "CrashLoopBackOff" => return Some(ContainerFailure::CrashLoop),
            _ => {}
        }
        let since: Timestamp = status["state"]["running"]["startedAt"].as_str()?.parse().ok()?;
        let is_late = self.taken_at.duration_since(since) > MAX_START;
        (status["ready"] == false && is_late).then_some(ContainerFailure::NeverReady)
    }

    /// Returns the images of which every container fails now: those of new pods will fail, too.
    fn failing_images(&self) -> Vec<FailingImage> {
        let mut failing: BTreeMap<&str, ContainerFailure> = BTreeMap::new();
        let mut working: BTreeSet<&str> = BTreeSet::new();
        for pod in self.objects_of("Pod") {
            for (containers, statuses) in CONTAINERS {
                let statuses = pod.list(statuses);
                for container in pod.list(containers) {
                    let Some(image) = container["image"].as_str() else { continue };
                    let status = statuses.iter().find(|status| status["name"] == container["name"]);
                    let Some(status) = status else { continue };
                    match self.failure_of(status) {
                        Some(failure) => drop(failing.insert(image, failure)),
                        None if status["ready"] == true => drop(working.insert(image)),
                        None => {}
                    }
                }
            }
        }
        let failing = failing.into_iter().filter(|(image, _)| !working.contains(image));
        failing
            .map(|(image, failure)| FailingImage { image: image.to_owned(), failure, times: None })
            .collect()
    }
}

/// The parts of a snapshot from which the groups of a scenario are made.
struct World<'s> {
    snapshot: &'s Snapshot,
    /// The nodes by the ids of their instances.
    nodes: BTreeMap<&'s str, &'s SnapshotObject>,
    /// The instances by id, as EC2 describes them.
    instances: BTreeMap<&'s str, &'s Instance>,
    durations: &'s Estimates,
    bound: Bound,
}

impl World<'_> {
    fn nodegroup(&self, found: &Nodegroup) -> ScenarioNodegroup {
        let mut groups =
            found.auto_scaling_groups.iter().filter_map(|name| self.snapshot.group(name));
        let group = groups.next();
        let instance_type = found.instance_types.first().cloned();
        let mut nodegroup = ScenarioNodegroup {
            name: found.name.clone(),
            labels: found.labels.clone(),
            tags: found.tags.clone(),
            taints: found
                .taints
                .iter()
                .map(|taint| Taint {
                    key: taint.key.clone(),
                    value: taint.value.clone(),
                    effect: taint.effect.clone(),
                })
                .collect(),
            min: found.min,
            max: found.max,
            desired: found.desired,
            status: found.status.clone(),
            version: some(&found.version),
            release_version: some(&found.release_version),
            ami_type: some(&found.ami_type),
            capacity_type: match found.capacity_type.as_str() {
                "SPOT" => CapacityType::Spot,
                _ => CapacityType::OnDemand,
            },
            max_unavailable: Some(match found.update_config {
                UpdateConfig::Count(count) => MaxUnavailable::Count(count),
                UpdateConfig::Percentage(percentage) => {
                    MaxUnavailable::Percentage(format!("{percentage}%"))
                }
            }),
            launch_template: found.launch_template.as_ref().map(|template| LaunchTemplate {
                id: template.id.clone(),
                name: template.id.clone(),
                version: template.version.clone(),
            }),
            auto_scaling_group: found.auto_scaling_groups.first().cloned(),
            more_groups: found.auto_scaling_groups.iter().skip(1).cloned().collect(),
            ..ScenarioNodegroup::default()
        };
        if let Some(group) = group {
            let instance_type = instance_type.or_else(|| most_frequent_type(group));
            nodegroup.instance_type = instance_type.unwrap_or(nodegroup.instance_type);
            nodegroup.group_desired = Some(group.desired).filter(|size| *size != found.desired);
            nodegroup.group_min = Some(group.min).filter(|size| *size != found.min);
            nodegroup.group_max = Some(group.max).filter(|size| *size != found.max);
            nodegroup.group_tags = Some(group.tags.clone());
            nodegroup.new_instances_protected = group.new_instances_protected;
            nodegroup.suspended_processes.clone_from(&group.suspended_processes);
            nodegroup.zones.clone_from(&group.zones);
            let version = nodegroup.version.as_deref();
            nodegroup.instances = self.members(group, &nodegroup.instance_type, version);
            let node = self.node_of(group);
            nodegroup.node_capacity = node.and_then(|node| texts(node, "/status/capacity"));
            nodegroup.node_allocatable = node.and_then(|node| texts(node, "/status/allocatable"));
            nodegroup.node_labels = self.common_labels(group);
            nodegroup.node_labels.retain(|key, value| found.labels.get(key) != Some(value));
        } else {
            nodegroup.instance_type = instance_type.unwrap_or(nodegroup.instance_type);
        }
        let estimates = self.estimates(found.auto_scaling_groups.first());
        nodegroup.boot = Some(estimates.boot.at(self.bound));
        nodegroup.node_ready = Some(estimates.node_ready.at(self.bound));
        nodegroup.terminate = Some(estimates.terminate.at(self.bound));
        nodegroup
    }

    fn plain_group(&self, group: &AutoScalingGroup) -> PlainGroup {
        let instance_type = most_frequent_type(group).unwrap_or_default();
        let estimates = self.estimates(Some(&group.name));
        let node = self.node_of(group);
        PlainGroup {
            name: group.name.clone(),
            tags: group.tags.clone(),
            min: group.min,
            max: group.max,
            desired: group.desired,
            protected: Vec::new(),
            new_instances_protected: group.new_instances_protected,
            taints: Vec::new(),
            suspended_processes: group.suspended_processes.clone(),
            zones: group.zones.clone(),
            node_capacity: node.and_then(|node| texts(node, "/status/capacity")),
            node_allocatable: node.and_then(|node| texts(node, "/status/allocatable")),
            node_labels: self.common_labels(group),
            boot: Some(estimates.boot.at(self.bound)),
            node_ready: Some(estimates.node_ready.at(self.bound)),
            terminate: Some(estimates.terminate.at(self.bound)),
            instances: self.members(group, &instance_type, None),
            instance_type,
        }
    }

    fn estimates(&self, group: Option<&String>) -> &GroupEstimates {
        let own = group.and_then(|group| self.durations.groups.get(group));
        own.unwrap_or(&self.durations.any_group)
    }

    /// Returns the members of a group in the order of their launch.
    fn members(
        &self,
        group: &AutoScalingGroup,
        instance_type: &str,
        version: Option<&str>,
    ) -> Vec<ScenarioInstance> {
        let mut members: Vec<ScenarioInstance> = group
            .instances
            .iter()
            .filter_map(|member| self.member(member, instance_type, version))
            .collect();
        members.sort_by(|one, other| (one.launched, &one.id).cmp(&(other.launched, &other.id)));
        members
    }

    /// Returns a member; none of one that has left the group.
    fn member(
        &self,
        member: &GroupInstance,
        instance_type: &str,
        version: Option<&str>,
    ) -> Option<ScenarioInstance> {
        let node = self.nodes.get(member.id.as_str()).copied();
        let described = self.instances.get(member.id.as_str()).copied();
        let lifecycle = match member.lifecycle.as_str() {
            "Terminated" | "Detached" => return None,
            state if state.starts_with("Pending") => InstanceLifecycle::Pending,
            state if state.starts_with("Terminating") => InstanceLifecycle::Terminating,
            _ => InstanceLifecycle::InService,
        };
        let address = described.and_then(|one| one.address.clone());
        Some(ScenarioInstance {
            id: member.id.clone(),
            node: node.map(|node| node.name().to_owned()),
            zone: member.zone.clone(),
            address: address.or_else(|| node.and_then(internal_address)).unwrap_or_default(),
            lifecycle,
            protected: member.protected,
            launched: described.and_then(|one| one.launched_at),
            instance_type: some(&member.instance_type).filter(|own| own != instance_type),
            version: node.and_then(kubelet_version).filter(|own| Some(own.as_str()) != version),
        })
    }

    fn nodes_of<'a>(
        &'a self,
        group: &'a AutoScalingGroup,
    ) -> impl Iterator<Item = &'a SnapshotObject> {
        group.instances.iter().filter_map(|member| self.nodes.get(member.id.as_str()).copied())
    }

    /// Returns the youngest node of a group: the next one will be like it.
    fn node_of<'a>(&'a self, group: &'a AutoScalingGroup) -> Option<&'a SnapshotObject> {
        self.nodes_of(group).max_by_key(|node| node.text("/metadata/creationTimestamp").to_owned())
    }

    /// Returns the labels that all nodes of a group have with the same value.
    fn common_labels(&self, group: &AutoScalingGroup) -> BTreeMap<String, String> {
        let mut nodes = self.nodes_of(group).map(|node| texts(node, "/metadata/labels"));
        let mut common = nodes.next().flatten().unwrap_or_default();
        for labels in nodes {
            let labels = labels.unwrap_or_default();
            common.retain(|key, value| labels.get(key) == Some(value));
        }
        common.retain(|key, _| !LABELS_OF_ONE_NODE.contains(&key.as_str()));
        common
    }
}

impl Snapshot {
    fn group(&self, name: &str) -> Option<&AutoScalingGroup> {
        self.groups.iter().find(|group| group.name == name)
    }
}

fn times(durations: &Estimates, bound: Bound) -> Times {
    let Estimates { any_group, any_workload, .. } = durations;
    Times {
        boot: any_group.boot.at(bound),
        node_ready: any_group.node_ready.at(bound),
        terminate: any_group.terminate.at(bound),
        pod_start: any_workload.start.at(bound),
        pod_stop: any_workload.stop.at(bound),
        ..Times::default()
    }
}

/// Returns the times of the workloads that have shown how long they take. The simulator knows a workload by its
/// namespace and its name; of two kinds with the same name the first one counts.
fn workload_times(durations: &Estimates, bound: Bound) -> Vec<WorkloadTimes> {
    let mut found: BTreeMap<(&str, &str), WorkloadTimes> = BTreeMap::new();
    for (workload, estimates) in &durations.workloads {
        let (namespace, name) = (workload.namespace.as_str(), workload.name.as_str());
        if estimates.start.is_default() {
            continue;
        }
        found.entry((namespace, name)).or_insert_with(|| WorkloadTimes {
            namespace: namespace.to_owned(),
            workload: name.to_owned(),
            start: Some(estimates.start.at(bound)),
            stop: Some(estimates.stop.at(bound)),
        });
    }
    found.into_values().collect()
}

fn most_frequent_type(group: &AutoScalingGroup) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in &group.instances {
        *counts.entry(&instance.instance_type).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(kind, _)| kind);
    most.or_else(|| group.instance_types.first().map(String::as_str)).and_then(some)
}

/// Returns the version of a node's kubelet as EKS writes it: `1.35` of `v1.35.2-eks-1a2b3c4`.
fn kubelet_version(node: &SnapshotObject) -> Option<String> {
    let version = node.text("/status/nodeInfo/kubeletVersion").strip_prefix('v')?;
    let mut parts = version.split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

fn internal_address(node: &SnapshotObject) -> Option<String> {
    let addresses = node.list("/status/addresses").iter();
    let mut internal = addresses.filter(|address| address["type"] == "InternalIP");
    internal.next()?["address"].as_str().map(str::to_owned)
}

/// Returns the texts of an object at a JSON pointer.
fn texts(object: &SnapshotObject, pointer: &str) -> Option<BTreeMap<String, String>> {
    let texts = object.object.pointer(pointer)?.as_object()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(texts.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect())
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
