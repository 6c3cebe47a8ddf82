//! EC2: what became of instances.

use aws_sdk_ec2::types as sdk;
use jiff::Timestamp;

use crate::platform::error::Error;

use super::{AwsReader, names::ensure_name, timestamp};

/// How many values a filter takes.
const MAX_IDS_PER_CALL: usize = 200;

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Instance {
    /// Returns whether the instance is being terminated or is terminated.
    pub fn is_ending_or_ended(&self) -> bool {
        matches!(self.state.as_str(), "shutting-down" | "terminated")
    }

    fn from_sdk(found: sdk::Instance) -> Self {
        let reason = found.state_reason.and_then(|reason| reason.message.or(reason.code));
        Self {
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
