//! The API's description of itself: its groups, kinds and version.

use serde_json::{Value, json};

use crate::kubernetes::kinds::{KINDS, Kind};
use crate::scenario::git_version;

const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Returns the discovery document at a path, if there is one.
pub(crate) fn document(path: &str, version: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api"] => Some(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => Some(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups().into_iter().map(group).collect::<Vec<_>>(),
        })),
        ["api", "v1"] => Some(resource_list("", "v1")),
        ["apis", name] => {
            let found = groups().into_iter().find(|(group, _)| group == name)?;
            let mut document = group(found);
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            Some(document)
        }
        ["apis", group, version] => {
            groups().contains(&(*group, *version)).then(|| resource_list(group, version))
        }
        ["version"] => Some(version_document(version)),
        _ => None,
    }
}

/// Returns whether a path names a group, or a version of a group, that is not served.
pub(crate) fn is_unknown_group(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["apis", group, version, ..] => !groups().contains(&(*group, *version)),
        ["apis", group] => !groups().iter().any(|(known, _)| known == group),
        ["api", version, ..] => *version != "v1",
        _ => false,
    }
}

fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups = Vec::new();
    for resource in KINDS.iter().filter(|resource| !resource.group.is_empty()) {
        let pair = (resource.group, resource.version);
        if !groups.contains(&pair) {
            groups.push(pair);
        }
    }
    groups.push(("authorization.k8s.io", "v1"));
    groups
}

fn group((name, version): (&str, &str)) -> Value {
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resource_list(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for resource in &KINDS {
        if (resource.group, resource.version) == (group, version) {
            resources.push(entry(resource));
            resources.extend(resource.subresources.iter().map(|sub| part(resource, sub)));
        }
    }
    if group == "authorization.k8s.io" {
        for kind in ["SelfSubjectAccessReview", "SelfSubjectRulesReview"] {
            let singular = kind.to_lowercase();
            resources.push(json!({
                "name": format!("{singular}s"),
                "singularName": singular,
                "namespaced": false,
                "kind": kind,
                "verbs": ["create"],
            }));
        }
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": name,
        "resources": resources,
    })
}

fn entry(resource: &Kind) -> Value {
    let mut entry = json!({
        "name": resource.plural,
        "singularName": resource.kind.to_lowercase(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": VERBS,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if resource.common {
        entry["categories"] = json!(["all"]);
    }
    entry
}

fn part(resource: &Kind, subresource: &str) -> Value {
    let (group, version, kind, verbs): (_, _, _, &[&str]) = match subresource {
        "scale" => ("autoscaling", "v1", "Scale", &["get", "patch", "update"]),
        "eviction" => ("policy", "v1", "Eviction", &["create"]),
        "binding" => ("", "v1", "Binding", &["create"]),
        "log" => ("", "v1", "Pod", &["get"]),
        _ => (resource.group, resource.version, resource.kind, &["get", "patch", "update"]),
    };
    json!({
        "name": format!("{}/{subresource}", resource.plural),
        "singularName": "",
        "namespaced": resource.namespaced,
        "group": group,
        "version": version,
        "kind": kind,
        "verbs": verbs,
    })
}

fn version_document(version: &str) -> Value {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": git_version(version),
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": "simulator",
    })
}
