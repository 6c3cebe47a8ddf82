//! Permissions as text for a terminal.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::permissions::{
    Access, AwsAccess, AwsResource, AwsResourceKind, KubernetesAccess, Requirement, placeholders,
};

/// Returns the requirements, grouped by where they are granted, with what needs them.
pub(super) fn render(requirements: &[Requirement]) -> String {
    let mut groups: BTreeMap<String, BTreeMap<String, Lines>> = BTreeMap::new();
    for requirement in requirements {
        let (place, object, verb) = describe(&requirement.access);
        let lines = groups.entry(place).or_default().entry(object).or_default();
        lines.verbs.push(verb);
        let optional = if requirement.is_optional { " (optional)" } else { "" };
        lines
            .needed_by
            .extend(requirement.needed_by.iter().map(|need| format!("{need}{optional}")));
        lines.notes.extend(requirement.notes.iter().cloned());
    }
    let mut text = String::new();
    for (place, objects) in groups {
        let _ = writeln!(text, "{place}");
        for (object, lines) in objects {
            let _ = writeln!(text, "  {}{object}", lines.verbs.join(","));
            let needed_by: Vec<String> = lines.needed_by.into_iter().collect();
            let _ = writeln!(text, "      for {}", needed_by.join(", "));
            for note in lines.notes {
                let _ = writeln!(text, "      wider: {note}");
            }
        }
    }
    if text.is_empty() {
        text.push_str("no permissions are needed\n");
    }
    let unknown = placeholders(requirements);
    if !unknown.is_empty() {
        text.push_str("not known\n");
        for name in unknown {
            let _ = writeln!(text, "  {name}: {}", meaning(name));
        }
    }
    text
}

#[derive(Default)]
struct Lines {
    verbs: Vec<String>,
    needed_by: BTreeSet<String>,
    notes: BTreeSet<String>,
}

/// Returns where an access is granted, on what, and the verb.
fn describe(access: &Access) -> (String, String, String) {
    match access {
        Access::Kubernetes(KubernetesAccess { place, group, resource, name, verb }) => {
            let place = match place.namespace() {
                Some(namespace) => format!("Kubernetes, namespace {namespace}"),
                None => "Kubernetes, the whole cluster".into(),
            };
            let dot = if group.is_empty() { "" } else { "." };
            let name = name.as_ref().map(|name| format!(" named {name}")).unwrap_or_default();
            (place, format!(" {resource}{dot}{group}{name}"), verb.clone())
        }
        Access::Aws(AwsAccess { action, resource }) => {
            let place = format!("AWS, {}", describe_resource(resource));
            // One line for each action.
            (place, action.clone(), String::new())
        }
    }
}

fn describe_resource(resource: &AwsResource) -> String {
    match resource {
        AwsResource::Region(region) => format!("everything in region {region}"),
        AwsResource::AutoScalingGroup { region, account, name } => match name {
            Some(name) => format!("Auto Scaling group {name} ({region}, {account})"),
            None => format!("every Auto Scaling group ({region}, {account})"),
        },
        AwsResource::Role { account, role, .. } => format!("role {role} of account {account}"),
        AwsResource::OfCluster { kind, region, account, cluster, nodegroup } => {
            let nodegroup = match nodegroup {
                Some(nodegroup) => format!("nodegroup {nodegroup}"),
                None => "every nodegroup".into(),
            };
            let what = match kind {
                AwsResourceKind::Cluster => String::new(),
                AwsResourceKind::Nodegroup => format!("{nodegroup} of "),
                AwsResourceKind::ClusterAndNodegroup => format!("{nodegroup} and itself: "),
                AwsResourceKind::AutoScalingGroup => {
                    format!("Auto Scaling group of {nodegroup} of ")
                }
            };
            format!("{what}cluster {cluster} ({region}, {account})")
        }
    }
}

/// Returns the meaning of a placeholder, and how its value is given.
pub(super) fn meaning(placeholder: &str) -> String {
    match placeholder {
        "REGION" => "the region of the cluster; pass --region".into(),
        computed if computed.contains("_OF_") && !computed.starts_with("INPUT_") => {
            "a value that the runbook computes, or finds out, in that step".into()
        }
        "CLUSTER" => "the name of the EKS cluster; pass --cluster".into(),
        "ACCOUNT_ID" => "the AWS account; pass --account".into(),
        input => {
            let name = input.strip_prefix("INPUT_").unwrap_or(input).to_lowercase();
            format!("an input of the runbook; pass --input {name}=VALUE")
        }
    }
}
