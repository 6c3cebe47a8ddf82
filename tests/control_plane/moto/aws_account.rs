//! The contents of an account: a cluster, its nodegroups, and the Auto Scaling groups behind them.

use std::collections::BTreeMap;

use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchTemplateSpecification, Tag};
use aws_sdk_ec2::types::{Filter, Instance, InstanceType, RequestLaunchTemplateData};
use aws_sdk_eks::{
    config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider},
    types::{Nodegroup, NodegroupScalingConfig, VpcConfigRequest},
};

use super::{Moto, REGION};

/// A role that moto does not check.
const ROLE: &str = "arn:aws:iam::123456789012:role/eks";

/// The instance type that every group launches.
const TEMPLATE: &str = "nodes";

/// An account with one EKS cluster and nothing else.
#[derive(Clone)]
pub(crate) struct AwsAccount {
    pub(crate) cluster: String,
    pub(crate) eks: aws_sdk_eks::Client,
    pub(crate) autoscaling: aws_sdk_autoscaling::Client,
    pub(crate) ec2: aws_sdk_ec2::Client,
}

/// The sizes of a group: least, greatest, wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes(pub(crate) i32, pub(crate) i32, pub(crate) i32);

impl AwsAccount {
    /// An empty cluster in a world that has forgotten everything else.
    pub(crate) async fn new(moto: &Moto, cluster: &str) -> Self {
        moto.reset().await;
        let credentials = Credentials::new("test", "test", None, None, "test");
        let config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .region(Region::new(REGION))
            .endpoint_url(&moto.url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let account = Self {
            cluster: cluster.to_owned(),
            eks: aws_sdk_eks::Client::new(&config),
            autoscaling: aws_sdk_autoscaling::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
        };
        let data = RequestLaunchTemplateData::builder()
            .instance_type(InstanceType::M5Xlarge)
            .image_id("ami-12c6146b")
            .build();
        let template = account.ec2.create_launch_template();
        template.launch_template_name(TEMPLATE).launch_template_data(data).send().await.unwrap();
        account.add_cluster(cluster).await;
        account
    }

    async fn add_cluster(&self, name: &str) {
        let network = VpcConfigRequest::builder().subnet_ids("subnet-1").build();
        let cluster = self.eks.create_cluster().name(name).role_arn(ROLE);
        cluster.resources_vpc_config(network).send().await.unwrap();
    }

    /// A nodegroup, without the group that EKS would make for it.
    pub(crate) async fn bare_nodegroup(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        sizes: Sizes,
    ) -> Nodegroup {
        let Sizes(min, max, desired) = sizes;
        let scaling = NodegroupScalingConfig::builder();
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let made = self
            .eks
            .create_nodegroup()
            .cluster_name(&self.cluster)
            .nodegroup_name(name)
            .subnets("subnet-1")
            .node_role(ROLE)
            .set_labels(Some(labels))
            .scaling_config(scaling.min_size(min).max_size(max).desired_size(desired).build());
        made.send().await.unwrap().nodegroup.unwrap()
    }

    /// A nodegroup with its Auto Scaling group, as EKS makes it; returns the group's name.
    pub(crate) async fn nodegroup(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        sizes: Sizes,
    ) -> String {
        let made = self.bare_nodegroup(name, labels, sizes).await;
        let group = group_name(&made);
        self.group(&group, sizes).await;
        group
    }

    /// An Auto Scaling group; moto starts its instances at once.
    pub(crate) async fn group(&self, name: &str, sizes: Sizes) {
        let Sizes(min, max, desired) = sizes;
        let template = LaunchTemplateSpecification::builder().launch_template_name(TEMPLATE);
        let tag = Tag::builder().key("eks:cluster-name").value(&self.cluster);
        let group = self
            .autoscaling
            .create_auto_scaling_group()
            .auto_scaling_group_name(name)
            .launch_template(template.version("1").build())
            .min_size(min)
            .max_size(max)
            .desired_capacity(desired)
            .tags(tag.propagate_at_launch(true).build());
        let zones = ["a", "b"].map(|zone| format!("{REGION}{zone}"));
        group.set_availability_zones(Some(zones.into())).send().await.unwrap();
    }

    pub(crate) async fn describe_nodegroup(&self, name: &str) -> Nodegroup {
        let request =
            self.eks.describe_nodegroup().cluster_name(&self.cluster).nodegroup_name(name);
        request.send().await.unwrap().nodegroup.unwrap()
    }

    /// The sizes of a nodegroup as EKS has them.
    pub(crate) async fn sizes(&self, nodegroup: &str) -> Sizes {
        let scaling = self.describe_nodegroup(nodegroup).await.scaling_config.unwrap();
        Sizes(scaling.min_size.unwrap(), scaling.max_size.unwrap(), scaling.desired_size.unwrap())
    }

    pub(crate) async fn describe_group(&self, name: &str) -> AutoScalingGroup {
        let request =
            self.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(name);
        request.send().await.unwrap().auto_scaling_groups.unwrap().remove(0)
    }

    /// Instances by their ids; none for no ids.
    pub(crate) async fn instances(&self, ids: &[String]) -> Vec<Instance> {
        if ids.is_empty() {
            return Vec::new();
        }
        let filter = Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
        let found = self.ec2.describe_instances().filters(filter).send().await.unwrap();
        let reservations = found.reservations.unwrap_or_default();
        reservations.into_iter().flat_map(|it| it.instances.unwrap_or_default()).collect()
    }

    /// Whether each instance of a group is protected from scale-in.
    pub(crate) async fn protections(&self, group: &str) -> BTreeMap<String, bool> {
        let instances = self.describe_group(group).await.instances.unwrap();
        instances
            .into_iter()
            .map(|it| (it.instance_id.unwrap(), it.protected_from_scale_in.unwrap()))
            .collect()
    }

    /// Protects instances as another client would.
    pub(crate) async fn protect(&self, group: &str, instances: &[String]) {
        let call = self.autoscaling.set_instance_protection().auto_scaling_group_name(group);
        let call = call.set_instance_ids(Some(instances.to_vec())).protected_from_scale_in(true);
        call.send().await.unwrap();
    }
}

/// The Auto Scaling group that a nodegroup says it has.
pub(crate) fn group_name(nodegroup: &Nodegroup) -> String {
    let groups = nodegroup.resources.as_ref().unwrap().auto_scaling_groups();
    groups[0].name.clone().unwrap()
}
