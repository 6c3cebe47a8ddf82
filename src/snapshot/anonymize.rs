//! A scenario without the names of the cluster that it was read from. Every text is replaced that is not a word of
//! Kubernetes or AWS, a number or a time; equal texts are replaced by equal ones, so that what referred to an object
//! still does. The keys of labels, tags and ConfigMaps stay.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value};
use simulator::{ClusterObject, Scenario};

/// A scenario without names, and what became of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Anonymized {
    /// The scenario.
    pub scenario: Scenario,
    /// The texts in place of the names, by name.
    pub mapping: BTreeMap<String, String>,
}

/// Why a scenario cannot be written without its names.
#[derive(Debug, thiserror::Error)]
#[error("the scenario without its names is not a scenario: {0}")]
pub struct AnonymizeError(#[from] serde_json::Error);

/// The names that every cluster has.
const COMMON_NAMES: &[&str] = &[
    "",
    "aws",
    "cpu",
    "default",
    "default-scheduler",
    "ephemeral-storage",
    "fake",
    "foregroundDeletion",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "kubernetes",
    "linux",
    "memory",
    "orphan",
    "owned",
    "pods",
    "system-cluster-critical",
    "system-node-critical",
];

/// The fields whose texts are words of Kubernetes or AWS, and those that hold quantities.
const KEPT_FIELDS: &[&str] = &[
    "accessModes",
    "allocatable",
    "allowVolumeExpansion",
    "ami_type",
    "architecture",
    "behavior",
    "boot",
    "capacity",
    "capacity_type",
    "completionMode",
    "conditionType",
    "concurrencyPolicy",
    "containerRuntimeVersion",
    "default",
    "defaultRequest",
    "effect",
    "failure",
    "hard",
    "instance_type",
    "kernelVersion",
    "key",
    "kind",
    "kubeProxyVersion",
    "kubeletVersion",
    "lifecycle",
    "limits",
    "matchLabelKeys",
    "max",
    "maxLimitRequestRatio",
    "maxSurge",
    "maxUnavailable",
    "max_unavailable",
    "min",
    "minAvailable",
    "mismatchLabelKeys",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "node_allocatable",
    "node_capacity",
    "node_ready",
    "operatingSystem",
    "operator",
    "osImage",
    "overhead",
    "persistentVolumeReclaimPolicy",
    "phase",
    "podManagementPolicy",
    "policyTypes",
    "preemptionPolicy",
    "protocol",
    "qosClass",
    "reason",
    "reclaimPolicy",
    "region",
    "release_version",
    "requests",
    "resourceName",
    "restartPolicy",
    "resizePolicy",
    "schedule",
    "scopeName",
    "scopes",
    "selectPolicy",
    "start",
    "status",
    "stop",
    "suspended_processes",
    "target",
    "terminate",
    "timeZone",
    "times",
    "topologyKey",
    "type",
    "unhealthyPodEvictionPolicy",
    "used",
    "version",
    "volumeBindingMode",
    "whenUnsatisfiable",
];

/// The fields with quantities by the name of a resource.
const RESOURCE_MAPS: &[&str] = &[
    "allocatable",
    "capacity",
    "default",
    "defaultRequest",
    "hard",
    "limits",
    "max",
    "maxLimitRequestRatio",
    "min",
    "node_allocatable",
    "node_capacity",
    "overhead",
    "requests",
    "used",
];

/// The API groups, and the domains of resources, provisioners and finalizers, that are words of Kubernetes, of AWS or
/// of software that many clusters have.
const KNOWN_DOMAINS: &[&str] = &[
    "",
    "amd.com",
    "apps",
    "argoproj.io",
    "autoscaling",
    "aws.amazon.com",
    "batch",
    "eks.amazonaws.com",
    "intel.com",
    "k8s.io",
    "karpenter.sh",
    "keda.sh",
    "kubernetes.io",
    "nvidia.com",
    "policy",
    "vpc.amazonaws.com",
];

/// The ends of more of them, which only their projects give out.
const KNOWN_DOMAIN_ENDS: [&str; 4] = [".k8s.io", ".kubernetes.io", ".k8s.aws", ".csi.aws.com"];

/// The end of the resources of a storage class in a quota.
const OF_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io";

/// The fields whose texts are kept only where they are texts: an object below them has names.
const KEPT_TEXTS_ONLY: [&str; 2] = ["status", "type"];

/// The fields with maps whose keys are not fields: labels, tags and the data of ConfigMaps.
const LABEL_MAPS: [&str; 8] = [
    "labels",
    "matchLabels",
    "nodeSelector",
    "node_labels",
    "tags",
    "group_tags",
    "annotations",
    "data",
];

/// The keys of labels and annotations whose values are words of Kubernetes or AWS, numbers, or places.
const KEPT_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "controller.kubernetes.io/pod-deletion-cost",
    "eks.amazonaws.com/capacityType",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "karpenter.k8s.aws/instance-category",
    "karpenter.k8s.aws/instance-family",
    "karpenter.k8s.aws/instance-size",
    "karpenter.sh/capacity-type",
    "kubernetes.io/arch",
    "kubernetes.io/config.mirror",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.ebs.csi.aws.com/zone",
    "topology.k8s.aws/zone-id",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// The number of digits that a number has at most that identifies nothing.
const MAX_DIGITS: usize = 8;

/// Returns a scenario without the names of its cluster.
///
/// # Errors
/// The result is not a scenario, which is an error of this program.
pub fn anonymize(scenario: &Scenario) -> Result<Anonymized, AnonymizeError> {
    let mut names = Names::of(scenario);
    let value = names.replace_in(&serde_json::to_value(scenario)?, "", "");
    let mapping = names.replaced.into_iter().filter(|(name, other)| name != other).collect();
    Ok(Anonymized { scenario: serde_json::from_value(value)?, mapping })
}

/// The texts that take the places of the names.
struct Names {
    replaced: BTreeMap<String, String>,
    /// How many names there are of each sort that are found on the way.
    counts: BTreeMap<&'static str, usize>,
}

impl Names {
    /// Names what a scenario has: first what others refer to. The numbers follow the order of the names, because the
    /// order of names decides some ties.
    fn of(scenario: &Scenario) -> Self {
        let mut names = Self { replaced: BTreeMap::new(), counts: BTreeMap::new() };
        COMMON_NAMES.iter().for_each(|name| names.keep(name));
        names.keep(&scenario.region);
        let groups = || scenario.nodegroups.iter().map(|group| (&group.zones, &group.instances));
        let plain = || scenario.auto_scaling_groups.iter().map(|one| (&one.zones, &one.instances));
        for (zones, instances) in groups().chain(plain()) {
            zones.iter().for_each(|zone| names.keep(zone));
            instances.iter().for_each(|instance| names.keep(&instance.zone));
        }
        names.replaced.insert(scenario.account.clone(), "111122223333".to_owned());
        names.number("cluster", [scenario.cluster.as_str()]);
        names.number("nodegroup", scenario.nodegroups.iter().map(|group| group.name.as_str()));
        let of_nodegroups = scenario.nodegroups.iter();
        let of_nodegroups = of_nodegroups
            .flat_map(|group| group.auto_scaling_group.iter().chain(&group.more_groups));
        let plain_names = scenario.auto_scaling_groups.iter().map(|group| &group.name);
        names.number("group", of_nodegroups.chain(plain_names).map(String::as_str));
        let members = || groups().chain(plain()).flat_map(|(_, instances)| instances);
        names.number_as(members().map(|one| one.id.as_str()), |number, _| {
            format!("i-0{number:016x}")
        });
        names.number_as(members().map(|one| one.address.as_str()), |number, _| address(number));
        names.name_objects(&scenario.cluster_objects);
        names
    }

    fn name_objects(&mut self, objects: &[ClusterObject]) {
        let mut by_kind: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for object in objects {
            by_kind.entry(object["kind"].as_str().unwrap_or_default()).or_default().push(object);
        }
        // Pods are named last: those of a stateful set by its name.
        let pods = by_kind.remove("Pod").unwrap_or_default();
        let sort_order = ["Namespace", "Node", "Deployment", "StatefulSet", "DaemonSet"];
        let rest: Vec<&str> =
            by_kind.keys().copied().filter(|kind| !sort_order.contains(kind)).collect();
        for kind in sort_order {
            self.number_kind(kind, &by_kind);
        }
        self.name_claims(&by_kind);
        for kind in rest {
            self.number_kind(kind, &by_kind);
        }
        for pod in &pods {
            let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let mut sets = owners.into_iter().filter(|owner| owner["kind"] == "StatefulSet");
            let set = sets.next().and_then(|owner| owner["name"].as_str()).unwrap_or_default();
            let ordinal = name_of(pod).strip_prefix(set).filter(|_| !set.is_empty());
            if let (Some(ordinal), Some(set)) = (ordinal, self.replaced.get(set)) {
                let replacement = format!("{set}{ordinal}");
                self.replaced.entry(name_of(pod).to_owned()).or_insert(replacement);
            }
        }
        self.number_as(pods.iter().map(|pod| name_of(pod)), |number, width| {
            format!("pod-{number:0width$}")
        });
        let uids = objects.iter().filter_map(|object| object["metadata"]["uid"].as_str());
        self.number_as(uids, |number, _| uid(number));
        self.counts.insert("uid", objects.len());
        let addresses = objects
            .iter()
            .flat_map(|object| object["status"]["addresses"].as_array().into_iter().flatten());
        let addresses = addresses.filter_map(|address| address["address"].as_str());
        let known = self.replaced.len();
        self.number_as(addresses.filter(|text| is_address(text)), |number, _| {
            address(number + known)
        });
    }

    fn number_kind(&mut self, kind: &str, by_kind: &BTreeMap<&str, Vec<&Value>>) {
        let of_kind = by_kind.get(kind).into_iter().flatten();
        let prefix = kind.to_lowercase();
        self.number_as(of_kind.map(|object| name_of(object)), |number, width| {
            format!("{prefix}-{number:0width$}")
        });
    }

    /// Names the claims of stateful sets as the sets do, so that each pod still has its own.
    fn name_claims(&mut self, by_kind: &BTreeMap<&str, Vec<&Value>>) {
        let claims = by_kind.get("PersistentVolumeClaim").map_or(&[][..], Vec::as_slice);
        for set in by_kind.get("StatefulSet").into_iter().flatten() {
            let templates = set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
            for volume in templates.map(name_of) {
                let replacement =
                    format!("{}-{}", self.name(volume, "volume"), self.name(name_of(set), "value"));
                let prefix = format!("{volume}-{}-", name_of(set));
                for claim in claims.iter().map(|claim| name_of(claim)) {
                    let ordinal = claim.strip_prefix(&prefix);
                    if let Some(ordinal) = ordinal.filter(|text| text.parse::<u32>().is_ok()) {
                        let replacement = format!("{replacement}-{ordinal}");
                        self.replaced.entry(claim.to_owned()).or_insert(replacement);
                    }
                }
            }
        }
    }

    fn keep(&mut self, name: &str) {
        self.replaced.insert(name.to_owned(), name.to_owned());
    }

    fn number<'n>(&mut self, sort: &str, names: impl IntoIterator<Item = &'n str>) {
        self.number_as(names.into_iter(), |number, width| format!("{sort}-{number:0width$}"));
    }

    /// Gives each name that has no replacement yet one by its number in the order of the names, from 1. The numbers
    /// have the same width.
    fn number_as<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        replacement: impl Fn(usize, usize) -> String,
    ) {
        let new: BTreeSet<&str> = names.filter(|name| !self.replaced.contains_key(*name)).collect();
        let width = new.len().to_string().len();
        for (name, number) in new.into_iter().zip(1..) {
            self.replaced.insert(name.to_owned(), replacement(number, width));
        }
    }

    /// Returns a value without names. `field` is the field that it is the value of, or an item of; `list` is the field
    /// of the list whose item the object is.
    fn replace_in(&mut self, value: &Value, field: &str, list: &str) -> Value {
        match value {
            Value::Object(object) if LABEL_MAPS.contains(&field) => self.replace_labels(object),
            Value::Object(_) if is_kept_whole(field) => value.clone(),
            Value::Object(object) if is_resource_map(object, field) => {
                object.iter().map(|(key, value)| (self.resource(key), value.clone())).collect()
            }
            Value::Object(object) => {
                let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
                let is_known_kind = is_known_domain(group_of(version));
                // The value of a taint or the values of an expression are words where its key says so.
                let key = object.get("key").and_then(Value::as_str).unwrap_or_default();
                let mut replaced = Map::new();
                for (name, value) in object {
                    let value = match name.as_str() {
                        "value" | "values" if is_kept_label(key) => value.clone(),
                        "kind" if !is_known_kind => {
                            Value::String(self.name(value.as_str().unwrap_or_default(), "kind"))
                        }
                        _ => self.replace_in(value, name, field),
                    };
                    replaced.insert(name.clone(), value);
                }
                Value::Object(replaced)
            }
            Value::Array(_) if is_kept_whole(field) => value.clone(),
            Value::Array(items) => {
                items.iter().map(|item| self.replace_in(item, field, list)).collect()
            }
            Value::String(text) => Value::String(self.replace_text(text, field, list)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn replace_labels(&mut self, labels: &Map<String, Value>) -> Value {
        let mut replaced = Map::new();
        for (key, value) in labels {
            let value = match value.as_str() {
                Some(text) if !is_kept_label(key) => Value::String(self.name(text, "value")),
                _ => value.clone(),
            };
            replaced.insert(self.label_key(key), value);
        }
        Value::Object(replaced)
    }

    /// Returns the key of a label or tag; that of some tags ends with the name of the cluster.
    fn label_key(&self, key: &str) -> String {
        match key.rsplit_once('/') {
            Some((prefix, name)) if prefix.contains('/') => {
                format!("{prefix}/{}", self.replaced.get(name).map_or(name, String::as_str))
            }
            _ => key.to_owned(),
        }
    }

    /// Returns the name of a resource, without the names of storage classes and of what is no word of Kubernetes.
    fn resource(&mut self, key: &str) -> String {
        let Some((place, what)) = key.split_once('/') else { return key.to_owned() };
        if place == "count" {
            let group = what.split_once('.').map_or("", |(_, group)| group);
            return match is_known_domain(group) {
                true => key.to_owned(),
                false => format!("count/{}", self.name(what, "resources")),
            };
        }
        if let Some(class) = place.strip_suffix(OF_STORAGE_CLASS) {
            return format!("{}{OF_STORAGE_CLASS}/{what}", self.name(class, "value"));
        }
        let (verb, resource) = match key.split_once('.') {
            Some((verb @ ("requests" | "limits"), resource)) => (&key[..=verb.len()], resource),
            _ => ("", key),
        };
        format!("{verb}{}", self.qualified(resource, "resource"))
    }

    /// Returns a name with a domain: as it is where the domain is known.
    fn qualified(&mut self, text: &str, sort: &'static str) -> String {
        match text.split_once('/') {
            Some((domain, _)) if is_known_domain(domain) => text.to_owned(),
            _ => self.name(text, sort),
        }
    }

    fn replace_text(&mut self, text: &str, field: &str, list: &str) -> String {
        match field {
            "message" if text.is_empty() => String::new(),
            "message" => "anonymized".to_owned(),
            "generateName" => {
                let name = text.strip_suffix('-').unwrap_or(text).to_owned();
                format!("{}-", self.name(&name, "value"))
            }
            "providerID" => match text.rsplit_once('/') {
                Some((place, id)) => format!("{place}/{}", self.name(id, "instance")),
                None => self.name(text, "instance"),
            },
            "apiVersion" => match text.split_once('/') {
                Some((group, version)) if !is_known_domain(group) => {
                    format!("{}/{version}", self.name(group, "api"))
                }
                _ => text.to_owned(),
            },
            // The readiness gate of a load balancer has the name of its service.
            "conditionType" | "type" if text.contains('/') => {
                let (domain, name) = text.split_once('/').unwrap_or_default();
                let domain = if is_known_domain(domain) { domain } else { "example.com" };
                format!("{domain}/{}", self.name(name, "condition"))
            }
            "finalizers" => self.qualified(text, "finalizer"),
            "provisioner" if is_known_domain(text) => text.to_owned(),
            "provisioner" => self.qualified(text, "provisioner"),
            "image" => self.name(text, "image"),
            "uid" | "cluster_uid" => self.name(text, "uid"),
            "namespace" => self.name(text, "namespace"),
            "id" if text.starts_with("lt-") => self.name(text, "template"),
            "address" if is_address(text) => self.name(text, "address"),
            "name" => {
                let sort = match list {
                    "containers" | "initContainers" | "containerStatuses" => "container",
                    "volumes" => "volume",
                    "ports" => "port",
                    _ => "value",
                };
                self.name(text, sort)
            }
            field if KEPT_FIELDS.contains(&field) => text.to_owned(),
            _ => self.name(text, "value"),
        }
    }

    /// Returns what takes the place of a name, a new one of this sort if nothing does yet.
    fn name(&mut self, text: &str, sort: &'static str) -> String {
        if let Some(replaced) = self.replaced.get(text) {
            return replaced.clone();
        }
        if sort != "uid" && is_harmless(text) {
            return text.to_owned();
        }
        let count = self.counts.entry(sort).or_default();
        *count += 1;
        let replacement = match sort {
            "uid" => uid(*count),
            "instance" => format!("i-1{count:016x}"),
            "template" => format!("lt-0{count:016x}"),
            "kind" => format!("Kind{count}"),
            "api" | "resources" => format!("{sort}-{count}.example.com"),
            "finalizer" | "provisioner" | "resource" => format!("example.com/{sort}-{count}"),
            // Far from those that were there when the names were collected.
            "address" => address(*count + 40_000),
            sort => format!("{sort}-{count}"),
        };
        self.replaced.insert(text.to_owned(), replacement.clone());
        replacement
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn uid(number: usize) -> String {
    format!("00000000-0000-4000-a000-{number:012x}")
}

/// Returns an address that the simulator does not give to a new instance.
fn address(number: usize) -> String {
    format!("10.{}.{}.{}", 128 + number / 62_500, number / 250 % 250, number % 250 + 1)
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// Returns whether everything below a field is kept.
fn is_kept_whole(field: &str) -> bool {
    KEPT_FIELDS.contains(&field)
        && !KEPT_TEXTS_ONLY.contains(&field)
        && !RESOURCE_MAPS.contains(&field)
}

fn is_kept_label(key: &str) -> bool {
    KEPT_LABELS.contains(&key)
}

/// Returns whether an object is a map of quantities. The limits of a LimitRange are a list of objects with such maps.
fn is_resource_map(object: &Map<String, Value>, field: &str) -> bool {
    RESOURCE_MAPS.contains(&field) && !object.values().any(Value::is_object)
}

/// Returns the API group of a version; an empty text for that of the core.
fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn is_known_domain(domain: &str) -> bool {
    KNOWN_DOMAINS.contains(&domain) || KNOWN_DOMAIN_ENDS.iter().any(|end| domain.ends_with(end))
}

/// Returns whether a text is a small number, a switch, a percentage or a time.
fn is_harmless(text: &str) -> bool {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    let is_number = (1..=MAX_DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number || matches!(text, "true" | "false") || text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the objects of a scenario without their names.
    #[track_caller]
    fn anonymized(objects: Value) -> Vec<ClusterObject> {
        let Value::Array(objects) = objects else { panic!("not a list") };
        let cluster_objects = objects.into_iter().map(ClusterObject::from).collect();
        let scenario = Scenario { cluster_objects, ..Scenario::empty() };
        let scenario = anonymize(&scenario).unwrap().scenario;
        let text = scenario.to_yaml().unwrap().to_lowercase();
        assert!(!text.contains("acme") && !text.contains("vault"), "{text}");
        scenario.cluster_objects
    }

    #[test]
    fn quotas_have_the_new_names_of_storage_classes_and_resources() {
        let quantities = json!({
            "cpu": "4",
            "requests.storage": "1Ti",
            "requests.nvidia.com/gpu": "2",
            "requests.acme.com/fpga": "3",
            "acme-gold.storageclass.storage.k8s.io/requests.storage": "500Gi",
            "count/deployments.apps": "10",
            "count/configmaps": "11",
            "count/ledgers.ledger.acme.com": "12",
        });
        let objects = anonymized(json!([
            {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "acme-gold"},
             "provisioner": "ebs.csi.aws.com"},
            {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "acme-nfs"},
             "provisioner": "cluster.local/team-acme-nfs"},
            {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "n"},
             "spec": {"hard": quantities}, "status": {"hard": quantities, "used": quantities}},
            {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "namespace": "n"},
             "spec": {"limits": [{"type": "Container", "max": {"cpu": "2", "acme.com/fpga": "1"}}]}},
        ]));
        let expected = json!({
            "cpu": "4",
            "requests.storage": "1Ti",
            "requests.nvidia.com/gpu": "2",
            "requests.example.com/resource-1": "3",
            "storageclass-1.storageclass.storage.k8s.io/requests.storage": "500Gi",
            "count/deployments.apps": "10",
            "count/configmaps": "11",
            "count/resources-1.example.com": "12",
        });
        assert_eq!(objects[0]["metadata"]["name"], "storageclass-1");
        assert_eq!(objects[0]["provisioner"], "ebs.csi.aws.com");
        assert_eq!(objects[1]["provisioner"], "example.com/provisioner-1");
        assert_eq!(objects[2]["spec"]["hard"], expected);
        assert_eq!(objects[2]["status"], json!({"hard": expected, "used": expected}));
        let limits =
            json!([{"type": "Container", "max": {"cpu": "2", "example.com/resource-1": "1"}}]);
        assert_eq!(objects[3]["spec"]["limits"], limits);
    }

    #[test]
    fn owners_finalizers_and_conditions_of_other_software_have_no_names() {
        let objects = anonymized(json!([{
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "namespace": "n",
                "finalizers": ["kubernetes", "batch.kubernetes.io/job-tracking", "ledger.acme.com/seal"],
                "ownerReferences": [
                    {"apiVersion": "ledger.acme.com/v1", "kind": "AcmeLedger", "name": "l", "uid": "u"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "v"},
                    {"apiVersion": "v1", "kind": "Node", "name": "m", "uid": "w"},
                ],
            },
            "spec": {"readinessGates": [{"conditionType": "target-health.elbv2.k8s.aws/k8s-acme-1"}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "target-health.elbv2.k8s.aws/k8s-acme-1", "status": "True"},
                {"type": "acme.com/sealed", "status": "True"},
            ]},
        }]));
        let pod = &objects[0];
        let finalizers =
            json!(["kubernetes", "batch.kubernetes.io/job-tracking", "example.com/finalizer-1",]);
        assert_eq!(pod["metadata"]["finalizers"], finalizers);
        let owners = pod["metadata"]["ownerReferences"].as_array().unwrap();
        let kinds: Vec<_> =
            owners.iter().map(|one| (one["apiVersion"].as_str(), one["kind"].as_str())).collect();
        assert_eq!(
            kinds,
            [
                (Some("api-1.example.com/v1"), Some("Kind1")),
                (Some("apps/v1"), Some("ReplicaSet")),
                (Some("v1"), Some("Node")),
            ]
        );
        let gate = &pod["spec"]["readinessGates"][0]["conditionType"];
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions[0]["type"], "Ready");
        assert_eq!(conditions[1]["type"], *gate);
        assert_eq!(gate, "target-health.elbv2.k8s.aws/condition-1");
        assert_eq!(conditions[2]["type"], "example.com/condition-2");
    }

    #[test]
    fn only_the_labels_of_kubernetes_and_aws_keep_their_values() {
        let objects = anonymized(json!([{
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "m", "labels": {
                "topology.kubernetes.io/zone": "us-west-2a",
                "topology.k8s.aws/zone-id": "usw2-az1",
                "node.kubernetes.io/instance-type": "m5.large",
                "example.org/zone": "vault-3",
            }},
            "spec": {"taints": [
                {"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"},
                {"key": "example.org/os", "value": "vault-3", "effect": "NoSchedule"},
            ]},
        }]));
        let labels = &objects[0]["metadata"]["labels"];
        assert_eq!(labels["topology.kubernetes.io/zone"], "us-west-2a");
        assert_eq!(labels["topology.k8s.aws/zone-id"], "usw2-az1");
        assert_eq!(labels["node.kubernetes.io/instance-type"], "m5.large");
        let taints = &objects[0]["spec"]["taints"];
        assert_eq!(taints[0]["value"], "arm64");
        assert_eq!(taints[1]["value"], labels["example.org/zone"]);
    }

    #[test]
    fn a_pod_of_a_stateful_set_keeps_its_claim() {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "acme", "namespace": "n"},
            "spec": {"volumeClaimTemplates": [{"metadata": {"name": "acme-data"}}]},
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "acme-data-acme-0", "namespace": "n"},
        });
        let objects = anonymized(json!([set, claim]));
        let set_name = name_of(&objects[0]);
        let volume = name_of(&objects[0]["spec"]["volumeClaimTemplates"][0]);
        assert_eq!(name_of(&objects[1]), format!("{volume}-{set_name}-0"));
    }
}
