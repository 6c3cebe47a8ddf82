//! EC2: what became of instances, and how many addresses subnets have left.

use aws_sdk_ec2::types as sdk;
use jiff::Timestamp;

use crate::platform::error::Error;

use super::{AwsReader, count, names::ensure_name, timestamp};

/// How many values a filter takes.
const MAX_IDS_PER_CALL: usize = 200;

/// The tag that Auto Scaling puts on the instances of a group.
const GROUP_TAG: &str = "aws:autoscaling:groupName";
/// The tags in which EKS, and who makes nodes for it, name the cluster.
const CLUSTER_TAGS: [&str; 2] = ["aws:eks:cluster-name", "eks:cluster-name"];
/// The beginning of the key of the tag that self-managed nodes need. The name of the cluster follows.
const OWNER_TAG: &str = "kubernetes.io/cluster/";

/// An instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// `pending`, `running`, `shutting-down`, `terminated`, … as EC2 spells it.
    pub state: String,
    /// Why it came into that state, where EC2 says so.
    pub state_reason: Option<String>,
    /// Its private DNS name, which is its node's name.
    pub private_dns: String,
    /// Its availability zone.
    pub zone: String,
    /// When it was launched.
    pub launched_at: Option<Timestamp>,
    /// Its private address; none of one that has ended.
    pub address: Option<String>,
    /// Its instance type.
    pub instance_type: String,
    /// Its subnet.
    pub subnet: Option<String>,
    /// Whether it is a spot instance.
    pub is_spot: bool,
    /// The Auto Scaling group that launched it, by its tag.
    pub auto_scaling_group: Option<String>,
    /// The EKS cluster that it was launched for, by its tags.
    pub cluster: Option<String>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its availability zone.
    pub zone: String,
    /// How many of its addresses are free.
    pub free_addresses: u32,
}

impl AwsReader {
    /// The instances of these ids. One that EC2 has forgotten is left out (it does so an hour after the end); named
    /// as ids instead of in a filter, a single such one would fail the whole call.
    ///
    /// # Errors
    /// A call failed.
    pub async fn describe_instances(&self, ids: &[String]) -> Result<Vec<Instance>, Error> {
        ids.iter().try_for_each(|id| ensure_name("instance id", id))?;
        let mut found = Vec::new();
        for ids in ids.chunks(MAX_IDS_PER_CALL) {
            let resource = ids.join(",");
            let call = self.call("ec2", "DescribeInstances", &resource);
            let filter =
                sdk::Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
            let mut pages =
                self.clients.ec2.describe_instances().filters(filter).into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| call.to_error(error))?;
                let reservations = page.reservations.unwrap_or_default();
                let instances = reservations
                    .into_iter()
                    .flat_map(|reservation| reservation.instances.unwrap_or_default());
                found.extend(instances.map(Instance::from_sdk));
            }
        }
        Ok(found)
    }

    /// Returns the subnets of these ids. One that does not exist is left out.
    ///
    /// # Errors
    /// A call failed.
    pub async fn describe_subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, Error> {
        ids.iter().try_for_each(|id| ensure_name("subnet id", id))?;
        let mut found = Vec::new();
        for ids in ids.chunks(MAX_IDS_PER_CALL) {
            let resource = ids.join(",");
            let call = self.call("ec2", "DescribeSubnets", &resource);
            let filter =
                sdk::Filter::builder().name("subnet-id").set_values(Some(ids.to_vec())).build();
            let subnets = self
                .clients
                .ec2
                .describe_subnets()
                .filters(filter)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
                .await
                .map_err(|error| call.to_error(error))?;
            found.extend(subnets.into_iter().map(Subnet::from_sdk));
        }
        Ok(found)
    }
}

impl Subnet {
    fn from_sdk(found: sdk::Subnet) -> Self {
        Self {
            id: found.subnet_id.unwrap_or_default(),
            zone: found.availability_zone.unwrap_or_default(),
            free_addresses: count(found.available_ip_address_count),
        }
    }
}

impl Instance {
    /// Returns whether the instance is being terminated or is terminated.
    pub fn is_ending_or_ended(&self) -> bool {
        matches!(self.state.as_str(), "shutting-down" | "terminated")
    }

    fn from_sdk(found: sdk::Instance) -> Self {
        let reason = found.state_reason.and_then(|reason| reason.message.or(reason.code));
        let tags = found.tags.unwrap_or_default();
        let tag = |key: &str| {
            let tag = tags.iter().find(|tag| tag.key.as_deref() == Some(key));
            tag.and_then(|tag| tag.value.clone())
        };
        let owner = || {
            let mut keys = tags.iter().filter_map(|tag| tag.key.as_deref());
            keys.find_map(|key| key.strip_prefix(OWNER_TAG)).map(str::to_owned)
        };
        Self {
            auto_scaling_group: tag(GROUP_TAG),
            cluster: CLUSTER_TAGS.iter().find_map(|key| tag(key)).or_else(owner),
            address: found.private_ip_address,
            instance_type: found
                .instance_type
                .map_or_else(String::new, |kind| kind.as_str().to_owned()),
            subnet: found.subnet_id,
            is_spot: found.instance_lifecycle == Some(sdk::InstanceLifecycleType::Spot),
            id: found.instance_id.unwrap_or_default(),
            state: found
                .state
                .and_then(|state| state.name)
                .map_or_else(String::new, |name| name.as_str().to_owned()),
            state_reason: reason
                .or(found.state_transition_reason)
                .filter(|reason| !reason.is_empty()),
            private_dns: found.private_dns_name.unwrap_or_default(),
            zone: found
                .placement
                .and_then(|placement| placement.availability_zone)
                .unwrap_or_default(),
            launched_at: timestamp(found.launch_time),
        }
    }
}
