//! A scenario without the names of the cluster that it was read from. Every text is replaced that is not a word of
//! Kubernetes or AWS, a number or a time; equal texts are replaced by equal ones, so that what referred to an object
//! still does. The keys of labels, tags and ConfigMaps stay.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value};
use simulator::Scenario;

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
    "apiVersion",
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
    "finalizers",
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
    "provisioner",
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

/// The ends of the keys of labels whose values are words of Kubernetes or AWS, or places.
const KEPT_LABELS: &[&str] = &[
    "/arch",
    "/capacity-type",
    "/capacityType",
    "/config.mirror",
    "/instance-type",
    "/os",
    "/region",
    "/zone",
    "/zone-id",
    "/instance-category",
    "/instance-family",
    "/instance-size",
    "/pod-deletion-cost",
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

    fn name_objects(&mut self, objects: &[Value]) {
        let mut by_kind: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for object in objects {
            by_kind.entry(object["kind"].as_str().unwrap_or_default()).or_default().push(object);
        }
        // Pods are named last: those of a stateful set by its name.
        let pods = by_kind.remove("Pod").unwrap_or_default();
        let sort_order = ["Namespace", "Node", "Deployment", "StatefulSet", "DaemonSet"];
        let rest: Vec<&str> =
            by_kind.keys().copied().filter(|kind| !sort_order.contains(kind)).collect();
        for kind in sort_order.into_iter().chain(rest) {
            let of_kind = by_kind.get(kind).into_iter().flatten();
            let prefix = kind.to_lowercase();
            self.number_as(of_kind.map(|object| name_of(object)), |number, width| {
                format!("{prefix}-{number:0width$}")
            });
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
            Value::Object(object) => {
                // The value of a taint or the values of an expression are words where its key says so.
                let key = object.get("key").and_then(Value::as_str).unwrap_or_default();
                let mut replaced = Map::new();
                for (name, value) in object {
                    let value = match name.as_str() {
                        "value" | "values" if is_kept_label(key) => value.clone(),
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
    KEPT_FIELDS.contains(&field) && !KEPT_TEXTS_ONLY.contains(&field)
}

fn is_kept_label(key: &str) -> bool {
    KEPT_LABELS.iter().any(|end| key.ends_with(end))
}

/// Returns whether a text is a small number, a switch, a percentage or a time.
fn is_harmless(text: &str) -> bool {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    let is_number = (1..=MAX_DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number || matches!(text, "true" | "false") || text.parse::<Timestamp>().is_ok()
}
