//! An IAM policy document of requirements: one statement for each resource, with what reads apart from what changes.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{Access, AwsAccess, AwsResource, AwsResourceKind, Requirement, Value, is_read};

/// A partition of AWS, which every ARN names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// China.
    China,
    /// US GovCloud.
    GovCloud,
    /// The isolated regions of the US.
    Iso,
    /// The second isolated partition of the US.
    IsoB,
    /// The isolated regions of Europe.
    IsoE,
    /// The third isolated partition of the US.
    IsoF,
    /// The European sovereign cloud.
    Eusc,
}

impl Partition {
    /// Returns the partition of a region.
    /// <https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html>
    pub fn of_region(region: &str) -> Self {
        match region {
            region if region.starts_with("cn-") => Self::China,
            region if region.starts_with("us-gov-") => Self::GovCloud,
            region if region.starts_with("us-iso-") => Self::Iso,
            region if region.starts_with("us-isob-") => Self::IsoB,
            region if region.starts_with("eu-isoe-") => Self::IsoE,
            region if region.starts_with("us-isof-") => Self::IsoF,
            region if region.starts_with("eusc-") => Self::Eusc,
            _ => Self::Aws,
        }
    }

    /// Returns the name that ARNs have.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::China => "aws-cn",
            Self::GovCloud => "aws-us-gov",
            Self::Iso => "aws-iso",
            Self::IsoB => "aws-iso-b",
            Self::IsoE => "aws-iso-e",
            Self::IsoF => "aws-iso-f",
            Self::Eusc => "aws-eusc",
        }
    }
}

/// Returns the policy document that allows the AWS part of the requirements, and nothing else; `None` where there is
/// none.
pub fn policy(requirements: &[Requirement]) -> Option<Json> {
    let mut statements: BTreeMap<(AwsResource, bool), Vec<&str>> = BTreeMap::new();
    for requirement in requirements {
        let Access::Aws(AwsAccess { action, resource }) = &requirement.access else { continue };
        statements.entry((resource.clone(), is_read(action))).or_default().push(action);
    }
    if statements.is_empty() {
        return None;
    }
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    let statement = |((resource, reads), actions): (&(AwsResource, bool), &Vec<&str>)| {
        let sid = sid(resource, *reads);
        let number = numbers.entry(sid).or_default();
        *number += 1;
        // A policy takes each Sid once.
        let sid = if *number == 1 { sid.to_owned() } else { format!("{sid}{number}") };
        let mut statement = json!({
            "Sid": sid,
            "Effect": "Allow",
            "Action": actions,
            "Resource": one_or_many(arns(resource)),
        });
        let condition = condition(resource);
        if !condition.is_empty() {
            statement["Condition"] = json!({ "StringEquals": condition });
        }
        statement
    };
    let statements: Vec<Json> = statements.iter().map(statement).collect();
    Some(json!({ "Version": "2012-10-17", "Statement": statements }))
}

fn sid(resource: &AwsResource, reads: bool) -> &'static str {
    match resource {
        AwsResource::OfCluster { kind, .. } => match (kind, reads) {
            (AwsResourceKind::Cluster, true) => "ReadCluster",
            (AwsResourceKind::Cluster, false) => "ChangeCluster",
            (AwsResourceKind::Nodegroup, true) => "ReadNodegroups",
            (AwsResourceKind::Nodegroup, false) => "ChangeNodegroups",
            (AwsResourceKind::ClusterAndNodegroup, true) => "ReadUpdates",
            (AwsResourceKind::ClusterAndNodegroup, false) => "ChangeUpdates",
            (AwsResourceKind::AutoScalingGroup, true) => "ReadGroups",
            (AwsResourceKind::AutoScalingGroup, false) => "ChangeGroups",
        },
        AwsResource::AutoScalingGroup { .. } if reads => "ReadNamedGroups",
        AwsResource::AutoScalingGroup { .. } => "ChangeNamedGroups",
        AwsResource::Region(_) if reads => "ReadRegion",
        AwsResource::Region(_) => "ChangeRegion",
        AwsResource::Role { .. } => "CheckOwnPermissions",
    }
}

/// Returns the ARNs of a resource; `*` for what takes none.
pub fn arns(resource: &AwsResource) -> Vec<String> {
    match resource {
        AwsResource::Region(_) => vec!["*".into()],
        AwsResource::AutoScalingGroup { region, account, name } => {
            let partition = Partition::of_region(&region.to_string()).name();
            let name = name.as_ref().map_or_else(|| "*".into(), |name| literal(&name.to_string()));
            // The id of a group is known to AWS alone, and a request names the group by name.
            vec![format!(
                "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{name}"
            )]
        }
        AwsResource::Role { partition, account, role } => {
            vec![format!("arn:{}:iam::{account}:role/{role}", partition.name())]
        }
        AwsResource::OfCluster { kind, region, account, cluster, nodegroup } => {
            let partition = Partition::of_region(&region.to_string()).name();
            let eks = |rest: String| format!("arn:{partition}:eks:{region}:{account}:{rest}");
            let any = Value::Known("*".into());
            let name = nodegroup.as_ref().unwrap_or(&any);
            let of_cluster = eks(format!("cluster/{cluster}"));
            // The ARN of a nodegroup ends in a UUID, and a request names it by name.
            let of_nodegroup = eks(format!("nodegroup/{cluster}/{name}/*"));
            match kind {
                AwsResourceKind::Cluster => vec![of_cluster],
                AwsResourceKind::Nodegroup => vec![of_nodegroup],
                AwsResourceKind::ClusterAndNodegroup => vec![of_cluster, of_nodegroup],
                // EKS names the group of a nodegroup `eks-NODEGROUP-UUID`, and older ones `eks-UUID`.
                AwsResourceKind::AutoScalingGroup => vec![format!(
                    "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/eks-*"
                )],
            }
        }
    }
}

/// Returns a text in which IAM finds no wildcard and no variable. The name of a group may have any character.
fn literal(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '*' | '?' | '$' => escaped.extend(["${", character.encode_utf8(&mut [0; 4]), "}"]),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Returns a list as IAM has it: one value without brackets.
fn one_or_many(values: Vec<String>) -> Json {
    match <[String; 1]>::try_from(values) {
        Ok([one]) => json!(one),
        Err(many) => json!(many),
    }
}

/// Returns the condition keys of a statement about a resource, with their values.
pub fn condition(resource: &AwsResource) -> Map<String, Json> {
    let mut condition = Map::new();
    match resource {
        AwsResource::Region(region) => {
            condition.insert("aws:RequestedRegion".into(), json!(region.to_string()));
        }
        // EKS tags the group of a nodegroup so. The user's tags of a nodegroup do not reach its group.
        AwsResource::OfCluster {
            kind: AwsResourceKind::AutoScalingGroup,
            cluster,
            nodegroup,
            ..
        } => {
            let key = |tag: &str| format!("autoscaling:ResourceTag/{tag}");
            condition.insert(key("eks:cluster-name"), json!(cluster.to_string()));
            if let Some(nodegroup) = nodegroup {
                condition.insert(key("eks:nodegroup-name"), json!(nodegroup.to_string()));
            }
        }
        AwsResource::OfCluster { .. }
        | AwsResource::AutoScalingGroup { .. }
        | AwsResource::Role { .. } => {}
    }
    condition
}
