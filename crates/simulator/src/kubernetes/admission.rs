//! Admission of new objects: the defaults and bounds of LimitRanges, and ResourceQuotas. Messages are those of the API
//! server's admission plugins. Quotas with scopes are not enforced.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::kinds::{KINDS, Kind, LIMIT_RANGES, PODS, PRIORITY_CLASSES, RESOURCE_QUOTAS};
use super::object::{self, flag, list, map, number, put, put_default, text};
use super::quantity::{format, thousandths_of};
use super::store::{ObjectChange, ObjectStore};

/// Amounts of resources in thousandths, by the names that a quota has for the resources.
pub(crate) type Amounts = BTreeMap<String, i64>;

/// The resources that each container must name when a quota limits the resource.
const REQUIRED_OF_CONTAINERS: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Sets the requests and limits of a new pod that its containers do not set: a request is the limit, where there is
/// one, or else what the LimitRanges of the namespace have.
pub(super) fn set_limits(store: &ObjectStore, resource: &Kind, object: &mut Value) {
    if *resource != PODS {
        return;
    }
    for container in containers_mut(object) {
        for (name, limit) in map(container, "/resources/limits").cloned().unwrap_or_default() {
            put_default(container, &["resources", "requests", &name], limit);
        }
    }
    let namespace = object::namespace(object).to_owned();
    for range in store.list(&LIMIT_RANGES, Some(&namespace)) {
        for limit in limits_of(range, "Container") {
            let notes: Vec<String> = containers_mut(object)
                .flat_map(|container| set_container_limits(container, limit))
                .collect();
            if !notes.is_empty() {
                let note = format!("LimitRanger plugin set: {}", notes.join("; "));
                put(object, &["metadata", "annotations", "kubernetes.io/limit-ranger"], note);
            }
        }
    }
}

/// The priority classes that every cluster has.
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// Sets the priority of a new pod by its class, or by the one that is the default. A class that is missing is ignored.
pub(super) fn set_priority(store: &ObjectStore, resource: &Kind, pod: &mut Value) {
    if *resource != PODS {
        return;
    }
    let wanted = text(pod, "/spec/priorityClassName").to_owned();
    if let Some((_, priority)) = SYSTEM_CLASSES.iter().find(|(name, _)| *name == wanted) {
        put_default(pod, &["spec", "priority"], *priority);
        put_default(pod, &["spec", "preemptionPolicy"], "PreemptLowerPriority");
        return;
    }
    let mut classes = store.list(&PRIORITY_CLASSES, None);
    let class = classes.find(|class| match wanted.as_str() {
        "" => flag(class, "/globalDefault"),
        wanted => object::name(class) == wanted,
    });
    if let Some(class) = class {
        put_default(pod, &["spec", "priorityClassName"], object::name(class));
        put_default(pod, &["spec", "priority"], number(class, "/value").unwrap_or(0));
        put_default(pod, &["spec", "preemptionPolicy"], text(class, "/preemptionPolicy"));
    } else if wanted.is_empty() {
        put_default(pod, &["spec", "priority"], 0);
        put_default(pod, &["spec", "preemptionPolicy"], "PreemptLowerPriority");
    }
}

fn containers_mut(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spec = pod.get_mut("spec").and_then(Value::as_object_mut).into_iter().flatten();
    let lists = spec.filter(|(key, _)| matches!(key.as_str(), "containers" | "initContainers"));
    lists
        .filter_map(|(_, containers)| containers.as_array_mut())
        .flatten()
        .filter(|container| container.is_object())
}

fn limits_of<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    list(range, "/spec/limits").iter().filter(move |limit| text(limit, "/type") == kind)
}

/// Sets what a container does not, and returns the notes about it.
fn set_container_limits(container: &mut Value, limit: &Value) -> Vec<String> {
    let name = text(container, "/name").to_owned();
    let mut notes = Vec::new();
    for (field, defaults) in [("requests", "defaultRequest"), ("limits", "default")] {
        let mut set = Vec::new();
        for (name, quantity) in map(limit, &format!("/{defaults}")).into_iter().flatten() {
            if container.pointer(&format!("/resources/{field}/{name}")).is_none() {
                put(container, &["resources", field, name], quantity.clone());
                set.push(name.as_str());
            }
        }
        if !set.is_empty() {
            set.sort_unstable();
            notes.push(format!("{} {} for container {name}", set.join(", "), noun(field)));
        }
    }
    notes
}

fn noun(field: &str) -> &str {
    field.trim_end_matches('s')
}

/// Checks a new object against the LimitRanges and the quotas of its namespace.
///
/// # Errors
/// The reason why the object is forbidden.
pub(super) fn check(store: &ObjectStore, resource: &Kind, object: &Value) -> Result<(), String> {
    let namespace = object::namespace(object);
    if *resource == PODS {
        for range in store.list(&LIMIT_RANGES, Some(namespace)) {
            check_limits(range, object)?;
        }
    }
    let requested = usage_of(resource, object);
    for quota in store.list(&RESOURCE_QUOTAS, Some(namespace)) {
        if !is_enforced(quota) {
            continue;
        }
        check_quota(store, quota, resource, object, &requested)?;
    }
    Ok(())
}

fn check_limits(range: &Value, pod: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    let containers = list(pod, "/spec/containers").iter();
    let all = containers.chain(list(pod, "/spec/initContainers"));
    for container in all {
        let of = |field: &str, name: &str| {
            container.pointer(&format!("/resources/{field}/{name}")).cloned()
        };
        for limit in limits_of(range, "Container") {
            errors.extend(bound_errors(limit, "Container", of));
        }
    }
    let totals = usage_of(&PODS, pod);
    for limit in limits_of(range, "Pod") {
        errors.extend(bound_errors(limit, "Pod", |field, name| {
            totals.get(&format!("{field}.{name}")).map(|amount| format(*amount).into())
        }));
    }
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// Returns how requests and limits are outside of a LimitRange's bounds.
fn bound_errors(
    limit: &Value,
    kind: &str,
    of: impl Fn(&str, &str) -> Option<Value>,
) -> Vec<String> {
    let mut errors = Vec::new();
    let shown = |quantity: &Value| format(thousandths_of(quantity));
    // For a minimum the request is what counts, for a maximum the limit.
    let bounds =
        [("minimum", "min", ["requests", "limits"]), ("maximum", "max", ["limits", "requests"])];
    for (word, field, order) in bounds {
        for (name, bound) in map(limit, &format!("/{field}")).into_iter().flatten() {
            let is_outside = |quantity: &Value| {
                let (given, bound) = (thousandths_of(quantity), thousandths_of(bound));
                if field == "min" { given < bound } else { given > bound }
            };
            let start = format!("{word} {name} usage per {kind} is {}", shown(bound));
            if of(order[0], name).is_none() {
                errors.push(format!("{start}.  No {} is specified", noun(order[0])));
                continue;
            }
            let outside = order.into_iter().find_map(|from| {
                let quantity = of(from, name).filter(|quantity| is_outside(quantity))?;
                Some(format!("{start}, but {} is {}", noun(from), shown(&quantity)))
            });
            errors.extend(outside);
        }
    }
    errors
}

/// Returns whether a quota applies to all objects of its namespace.
fn is_enforced(quota: &Value) -> bool {
    list(quota, "/spec/scopes").is_empty() && quota.pointer("/spec/scopeSelector").is_none()
}

fn check_quota(
    store: &ObjectStore,
    quota: &Value,
    resource: &Kind,
    object: &Value,
    requested: &Amounts,
) -> Result<(), String> {
    let (name, none) = (object::name(quota), Amounts::new());
    let hard = map(quota, "/spec/hard").cloned().unwrap_or_default();
    if *resource == PODS
        && let Some(missing) = missing_of_containers(&hard, object)
    {
        return Err(format!("failed quota: {name}: must specify {missing}"));
    }
    if !hard.keys().any(|key| requested.contains_key(key)) {
        return Ok(());
    }
    let used = store.usage().of(object::namespace(quota)).unwrap_or(&none);
    let of = |amounts: &Amounts, key: &str| amounts.get(key).copied().unwrap_or(0);
    let mut exceeded: Vec<&str> = hard
        .iter()
        .filter(|(key, _)| requested.contains_key(*key))
        .filter(|(key, limit)| of(used, key) + of(requested, key) > thousandths_of(limit))
        .map(|(key, _)| key.as_str())
        .collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    exceeded.sort_unstable();
    let shown = |amount: &dyn Fn(&str) -> i64| {
        let parts: Vec<String> =
            exceeded.iter().map(|key| format!("{key}={}", format(amount(key)))).collect();
        parts.join(",")
    };
    Err(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        shown(&|key| of(requested, key)),
        shown(&|key| of(used, key)),
        shown(&|key| hard.get(key).map_or(0, thousandths_of)),
    ))
}

/// Returns which containers do not set what the quota limits.
fn missing_of_containers(hard: &Map<String, Value>, pod: &Value) -> Option<String> {
    let mut limited: Vec<&str> =
        REQUIRED_OF_CONTAINERS.into_iter().filter(|key| hard.contains_key(*key)).collect();
    limited.sort_unstable();
    let parts: Vec<String> = limited
        .into_iter()
        .filter_map(|key| {
            let (field, name) = key.split_once('.').unwrap_or(("requests", key));
            let pointer = format!("/resources/{field}/{name}");
            let containers = list(pod, "/spec/containers").iter();
            let mut lacking: Vec<&str> = containers
                .chain(list(pod, "/spec/initContainers"))
                .filter(|container| container.pointer(&pointer).is_none())
                .map(|container| text(container, "/name"))
                .collect();
            lacking.sort_unstable();
            (!lacking.is_empty()).then(|| format!("{key} for: {}", lacking.join(",")))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The usage of each namespace that has, or had, a quota. It is kept up to date by each change, so that neither a new
/// object nor a quota's status needs a look at all objects.
#[derive(Debug, Default)]
pub(crate) struct NamespaceUsage {
    totals: HashMap<String, Amounts>,
}

impl NamespaceUsage {
    /// Returns what all objects of a namespace with a quota use.
    pub(super) fn of(&self, namespace: &str) -> Option<&Amounts> {
        self.totals.get(namespace)
    }

    /// Notes a change of the store, which has been made.
    pub(super) fn note(&mut self, store: &ObjectStore, change: &ObjectChange) {
        let (resource, namespace) = (change.resource, object::namespace(&change.object));
        let Some(total) = self.totals.get_mut(namespace) else {
            if *resource == RESOURCE_QUOTAS {
                self.totals.insert(namespace.to_owned(), usage_in(store, namespace));
            }
            return;
        };
        if let Some(before) = &change.before {
            for (key, amount) in usage_of(resource, before) {
                *total.entry(key).or_default() -= amount;
            }
        }
        if !change.deleted {
            for (key, amount) in usage_of(resource, &change.object) {
                *total.entry(key).or_default() += amount;
            }
        }
    }
}

/// Returns what all objects of a namespace use.
fn usage_in(store: &ObjectStore, namespace: &str) -> Amounts {
    let mut total = Amounts::new();
    for resource in KINDS.into_iter().filter(|resource| resource.namespaced) {
        for object in store.read_all(resource, Some(namespace)) {
            for (key, amount) in usage_of(resource, &object) {
                *total.entry(key).or_default() += amount;
            }
        }
    }
    total
}

/// Returns what an object uses of every resource that a quota can limit.
fn usage_of(resource: &Kind, object: &Value) -> Amounts {
    let mut usage = Amounts::from([(format!("count/{}", resource.qualified()), 1000)]);
    if resource.is_counted_by_plural {
        usage.insert(resource.plural.to_owned(), 1000);
    }
    // A pod that has ended uses nothing, but still counts as an object.
    if *resource != PODS || matches!(text(object, "/status/phase"), "Succeeded" | "Failed") {
        return usage;
    }
    usage.insert("pods".to_owned(), 1000);
    for field in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            let pointer = format!("/resources/{field}/{name}");
            let amounts = |containers: &str| -> Vec<i64> {
                let containers = list(object, &format!("/spec/{containers}")).iter();
                containers.filter_map(|c| c.pointer(&pointer)).map(thousandths_of).collect()
            };
            let (own, initial) = (amounts("containers"), amounts("initContainers"));
            if own.is_empty() && initial.is_empty() {
                continue;
            }
            let amount = own.iter().sum::<i64>().max(initial.into_iter().max().unwrap_or(0));
            usage.insert(format!("{field}.{name}"), amount);
            if field == "requests" {
                usage.insert(name.to_owned(), amount);
            }
        }
    }
    usage
}
