//! Reads the account of a cluster: its nodegroups, their Auto Scaling groups and instances, and what goes on in them.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;

use super::locate::cluster_of_instances;
use super::{ClusterScope, Gap, ReadCount, SnapshotError};
use crate::platform::aws::{
    Activity, AutoScalingGroup, AwsReader, EksCluster, Instance, Nodegroup, Subnet, Update,
    UpdateStatus,
};
use crate::platform::{Error, PlatformReader};

/// How many groups are asked about at the same time.
const MAX_CONCURRENT: usize = 8;
/// How many updates of a nodegroup that is being updated are looked at. The one in progress is among the latest, and
/// EKS does not say in which order it lists them.
const MAX_UPDATES: usize = 20;

/// How many items the services return in one page, or take in one call.
const NODEGROUPS_PER_PAGE: usize = 100;
const GROUPS_PER_CALL: usize = 50;
const IDS_PER_CALL: usize = 200;

/// The state of an account as far as it was read.
#[derive(Default)]
pub(super) struct Account {
    pub(super) id: Option<String>,
    pub(super) region: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) version: Option<String>,
    pub(super) nodegroups: Vec<Nodegroup>,
    pub(super) groups: Vec<AutoScalingGroup>,
    pub(super) instances: Vec<Instance>,
    pub(super) activities: BTreeMap<String, Vec<Activity>>,
    pub(super) updates: BTreeMap<String, Vec<Update>>,
    pub(super) subnets: Vec<Subnet>,
    pub(super) reads: ReadCount,
    pub(super) gaps: Vec<Gap>,
}

/// Reads the account. What cannot be read is a gap.
///
/// # Errors
/// The EKS cluster is another one than that of the kubeconfig.
pub(super) async fn read(
    reader: &PlatformReader,
    scope: &ClusterScope,
    node_instances: &[String],
    server: &str,
) -> Result<Account, SnapshotError> {
    let mut account = Account { region: scope.region.clone(), ..Account::default() };
    let Some(region) = &scope.region else {
        account.gaps.push(Gap {
            what: "the nodegroups of the cluster".into(),
            why: "no region is named, and neither the kubeconfig nor the nodes have one".into(),
            unpredicted: "changes of nodegroups and of Auto Scaling groups".into(),
        });
        return Ok(account);
    };
    let aws = match reader.aws(region).await {
        Ok(aws) => aws,
        Err(error) => {
            account.explain("the account", &error, "changes of nodegroups");
            return Ok(account);
        }
    };
    account.read_instances(&aws, node_instances).await;
    account.cluster = scope.cluster.clone().or_else(|| cluster_of_instances(&account.instances));
    let described = match account.cluster.clone() {
        Some(cluster) => account.read_nodegroups(&aws, &cluster).await,
        None => {
            account.gaps.push(Gap {
                what: "the nodegroups of the cluster".into(),
                why: "the name of the EKS cluster is not known".into(),
                unpredicted: "changes of nodegroups".into(),
            });
            None
        }
    };
    account.read_groups(&aws).await;
    if let Some(described) = described {
        account.ensure_same_cluster(&described, server, node_instances)?;
        account.version = Some(described.version).filter(|version| !version.is_empty());
    }
    let members = account.groups.iter().flat_map(|group| &group.instances);
    let known: BTreeSet<&String> = node_instances.iter().collect();
    let others: Vec<String> = members
        .filter(|member| !known.contains(&member.id))
        .map(|member| member.id.clone())
        .collect();
    account.read_instances(&aws, &others).await;
    account.instances.sort_by(|one, other| one.id.cmp(&other.id));
    account.read_activities(&aws).await;
    account.read_updates(&aws).await;
    account.read_subnets(&aws).await;
    Ok(account)
}

impl Account {
    fn explain(&mut self, what: &str, error: &Error, unpredicted: &str) {
        // The call goes on with what it is about, which may be hundreds of instances.
        let what = error.call().and_then(|call| call.split(' ').next()).unwrap_or(what);
        self.gaps.push(Gap::of(what, error, unpredicted));
    }

    async fn read_instances(&mut self, aws: &AwsReader, ids: &[String]) {
        if ids.is_empty() {
            return;
        }
        self.reads.add("ec2:DescribeInstances", pages(ids.len(), IDS_PER_CALL));
        match aws.describe_instances(ids).await {
            Ok(found) => self.instances.extend(found),
            Err(error) => self.explain(
                "instances",
                &error,
                "the groups of nodes that belong to no nodegroup, and how long instances take to boot",
            ),
        }
    }

    /// Reads the nodegroups of a cluster, and returns the description of the cluster.
    async fn read_nodegroups(&mut self, aws: &AwsReader, cluster: &str) -> Option<EksCluster> {
        let (described, names) =
            tokio::join!(aws.describe_cluster(cluster), aws.list_nodegroups(cluster));
        self.reads.add("eks:DescribeCluster", 1);
        let described = match described {
            Ok(described) => {
                // arn:aws:eks:REGION:ACCOUNT:cluster/NAME
                self.id = described.arn.split(':').nth(4).map(str::to_owned);
                Some(described)
            }
            Err(error) => {
                self.explain("cluster", &error, "whether the cluster is that of the kubeconfig");
                None
            }
        };
        match names {
            Ok(names) => {
                self.reads.add("eks:ListNodegroups", pages(names.len(), NODEGROUPS_PER_PAGE));
                self.reads.add("eks:DescribeNodegroup", count(names.len()));
                match aws.describe_nodegroups(cluster, &names).await {
                    Ok(found) => self.nodegroups = found,
                    Err(error) => self.explain("nodegroups", &error, "changes of nodegroups"),
                }
            }
            Err(error) => {
                self.reads.add("eks:ListNodegroups", 1);
                self.explain("nodegroups", &error, "changes of nodegroups");
            }
        }
        let mut arns = self.nodegroups.iter().map(|nodegroup| nodegroup.arn.as_str());
        let id = arns.find_map(|arn| arn.split(':').nth(4)).map(str::to_owned);
        self.id = self.id.take().or(id);
        described
    }

    /// Reads the groups of the nodegroups, and those by which the instances of the nodes were launched.
    async fn read_groups(&mut self, aws: &AwsReader) {
        let of_nodegroups = self.nodegroups.iter().flat_map(|group| &group.auto_scaling_groups);
        let of_instances = self.instances.iter().filter_map(|one| one.auto_scaling_group.as_ref());
        let names: BTreeSet<String> = of_nodegroups.chain(of_instances).cloned().collect();
        let names: Vec<String> = names.into_iter().collect();
        if names.is_empty() {
            return;
        }
        self.reads
            .add("autoscaling:DescribeAutoScalingGroups", pages(names.len(), GROUPS_PER_CALL));
        match aws.describe_auto_scaling_groups(&names).await {
            Ok(mut found) => {
                found.sort_by(|one, other| one.name.cmp(&other.name));
                self.groups = found;
            }
            Err(error) => self.explain("groups", &error, "changes of nodegroups"),
        }
    }

    /// Refuses a cluster that shows by its endpoint and by its instances that it is another one.
    fn ensure_same_cluster(
        &self,
        described: &EksCluster,
        server: &str,
        node_instances: &[String],
    ) -> Result<(), SnapshotError> {
        let Some(endpoint) = &described.endpoint else { return Ok(()) };
        let trimmed = |address: &str| address.trim_end_matches('/').to_ascii_lowercase();
        let of_nodegroups: BTreeSet<&String> =
            self.nodegroups.iter().flat_map(|group| &group.auto_scaling_groups).collect();
        let groups = self.groups.iter().filter(|group| of_nodegroups.contains(&group.name));
        let mut in_service = groups
            .flat_map(|group| &group.instances)
            .filter(|instance| instance.is_in_service())
            .peekable();
        let is_another = trimmed(endpoint) != trimmed(server)
            && in_service.peek().is_some()
            && !in_service.any(|instance| node_instances.contains(&instance.id));
        match is_another {
            true => Err(SnapshotError::OtherCluster {
                cluster: self.cluster.clone().unwrap_or_default(),
                region: self.region.clone().unwrap_or_default(),
                endpoint: endpoint.clone(),
                server: server.to_owned(),
            }),
            false => Ok(()),
        }
    }

    async fn read_activities(&mut self, aws: &AwsReader) {
        let names: Vec<String> = self.groups.iter().map(|group| group.name.clone()).collect();
        let reads: Vec<_> = names.iter().map(|name| aws.recent_activities(name)).collect();
        let answers: Vec<_> = futures::stream::iter(reads).buffered(MAX_CONCURRENT).collect().await;
        self.reads.add("autoscaling:DescribeScalingActivities", count(names.len()));
        let mut is_explained = false;
        for (name, answer) in names.into_iter().zip(answers) {
            match answer {
                Ok(activities) => {
                    self.activities.insert(name, activities);
                }
                Err(error) if !is_explained => {
                    is_explained = true;
                    let unpredicted = "how long instances take to boot and to end";
                    self.explain("activities", &error, unpredicted);
                }
                Err(_) => {}
            }
        }
    }

    /// Reads the updates in progress of the nodegroups that are being updated.
    async fn read_updates(&mut self, aws: &AwsReader) {
        let busy = self.nodegroups.iter().filter(|group| group.status == "UPDATING");
        let names: Vec<(String, String)> =
            busy.map(|group| (group.cluster.clone(), group.name.clone())).collect();
        for (cluster, name) in names {
            self.reads.add("eks:ListUpdates", 1);
            match updates_in_progress(aws, &cluster, &name).await {
                Ok((updates, calls)) => {
                    self.reads.add("eks:DescribeUpdate", calls);
                    self.updates.insert(name, updates);
                }
                Err(error) => self.explain("updates", &error, "when an update in progress ends"),
            }
        }
    }

    async fn read_subnets(&mut self, aws: &AwsReader) {
        let of_groups = self.groups.iter().flat_map(|group| &group.subnets);
        let of_nodegroups = self.nodegroups.iter().flat_map(|nodegroup| &nodegroup.subnets);
        let ids: BTreeSet<String> = of_groups.chain(of_nodegroups).cloned().collect();
        let ids: Vec<String> = ids.into_iter().collect();
        if ids.is_empty() {
            return;
        }
        self.reads.add("ec2:DescribeSubnets", pages(ids.len(), IDS_PER_CALL));
        match aws.describe_subnets(&ids).await {
            Ok(mut found) => {
                found.sort_by(|one, other| one.id.cmp(&other.id));
                self.subnets = found;
            }
            Err(error) => self.explain(
                "subnets",
                &error,
                "whether the subnets have addresses for more nodes and pods",
            ),
        }
    }
}

/// Returns the updates of a nodegroup in progress, and how many were looked at.
async fn updates_in_progress(
    aws: &AwsReader,
    cluster: &str,
    nodegroup: &str,
) -> Result<(Vec<Update>, u32), Error> {
    let ids = aws.list_updates(cluster, nodegroup).await?;
    let half = MAX_UPDATES / 2;
    let ends: BTreeSet<&String> =
        ids.iter().take(half).chain(ids.iter().rev().take(half)).collect();
    let reads: Vec<_> =
        ends.into_iter().map(|id| aws.describe_update(cluster, nodegroup, id)).collect();
    let calls = count(reads.len());
    let answers: Vec<_> = futures::stream::iter(reads).buffered(MAX_CONCURRENT).collect().await;
    let mut found = Vec::new();
    for answer in answers {
        found.extend(answer?.filter(|update| update.status == UpdateStatus::InProgress));
    }
    Ok((found, calls))
}

/// Returns how many calls it takes to read so many items, if no page is shorter than it may be.
fn pages(items: usize, per_call: usize) -> u32 {
    count(items.div_ceil(per_call).max(1))
}

fn count(calls: usize) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}
