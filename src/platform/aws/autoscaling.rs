//! EC2 Auto Scaling: groups, what they did lately, and the protection of instances from scale-in.

use std::collections::BTreeMap;

use aws_sdk_autoscaling::{config::retry::RetryConfig, types as sdk};
use jiff::Timestamp;

use crate::platform::error::Error;

use super::{AwsReader, AwsWriter, Scaling, count, names::ensure_name, timestamp, to_sdk_count};

/// How many groups may be named in one call.
const MAX_NAMES_PER_CALL: usize = 50;
/// A page of groups; the service's greatest.
const PAGE_SIZE: i32 = 100;
/// How many instances [`AwsWriter::set_instance_protection`] takes in one call.
pub const MAX_PROTECTED_PER_CALL: usize = 50;

/// An Auto Scaling group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoScalingGroup {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The least number of instances.
    pub min: u32,
    /// The greatest number of instances.
    pub max: u32,
    /// The wanted number of instances.
    pub desired: u32,
    /// Whether instances are born protected from scale-in.
    pub new_instances_protected: bool,
    /// The instances that it has, in whatever state.
    pub instances: Vec<GroupInstance>,
    /// The suspended processes (`Launch`, `Terminate`, …).
    pub suspended_processes: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The availability zones in which it launches instances.
    pub zones: Vec<String>,
    /// The subnets in which it launches instances.
    pub subnets: Vec<String>,
    /// The instance types that it may launch, where it has a policy of several.
    pub instance_types: Vec<String>,
}

/// An instance, as its group sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupInstance {
    /// Its id.
    pub id: String,
    /// Its availability zone.
    pub zone: String,
    /// `InService`, `Pending:Wait`, `Terminating`, … as Auto Scaling spells it.
    pub lifecycle: String,
    /// `Healthy` or `Unhealthy`.
    pub health: String,
    /// Whether it is protected from scale-in.
    pub protected: bool,
    /// Its instance type.
    pub instance_type: String,
    /// The launch template (or configuration) that it was made from, with its version.
    pub launched_from: Option<String>,
}

/// Something that a group did, does or could not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// Its id.
    pub id: String,
    /// What: `Launching a new EC2 instance: i-…`.
    pub description: String,
    /// Why the group did it.
    pub cause: String,
    /// `InProgress`, `Successful`, `Failed`, `Cancelled`, … as Auto Scaling spells it.
    pub status: String,
    /// Why it failed.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl GroupInstance {
    /// Whether it is in service.
    pub fn is_in_service(&self) -> bool {
        self.lifecycle == "InService"
    }

    /// Whether it is leaving the group.
    pub fn is_leaving(&self) -> bool {
        ["Terminat", "Detach"].iter().any(|state| self.lifecycle.starts_with(state))
    }

    /// Whether its protection can be set: in any other state the service refuses the whole call.
    pub fn is_protectable(&self) -> bool {
        matches!(self.lifecycle.as_str(), "InService" | "EnteringStandby" | "Standby")
    }
}

impl AutoScalingGroup {
    /// Whether a process, such as `Launch` or `Terminate`, is suspended.
    pub fn is_suspended(&self, process: &str) -> bool {
        self.suspended_processes.iter().any(|suspended| suspended == process)
    }
}

impl Activity {
    /// Whether it ended without doing what it should. `Cancelled` is an activity that another one replaced.
    pub fn has_failed(&self) -> bool {
        self.status == "Failed"
    }
}

impl AwsReader {
    /// The groups of these names. One that does not exist is left out; without names nothing is asked.
    ///
    /// # Errors
    /// A call failed.
    pub async fn describe_auto_scaling_groups(
        &self,
        names: &[String],
    ) -> Result<Vec<AutoScalingGroup>, Error> {
        let mut found = Vec::new();
        names.iter().try_for_each(|name| ensure_name("Auto Scaling group name", name))?;
        for names in names.chunks(MAX_NAMES_PER_CALL) {
            let resource = names.join(",");
            let call = self.call("autoscaling", "DescribeAutoScalingGroups", &resource);
            let groups = self
                .clients
                .autoscaling
                .describe_auto_scaling_groups()
                .set_auto_scaling_group_names(Some(names.to_vec()))
                .max_records(PAGE_SIZE)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
                .await
                .map_err(|error| call.to_error(error))?;
            found.extend(groups.into_iter().map(AutoScalingGroup::from_sdk));
        }
        Ok(found)
    }

    /// Returns the groups that have all of these tags.
    ///
    /// # Errors
    /// The call failed.
    pub async fn auto_scaling_groups_with_tags(
        &self,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<AutoScalingGroup>, Error> {
        let pairs: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let resource = pairs.join(",");
        let call = self.call("autoscaling", "DescribeAutoScalingGroups", &resource);
        let filter = |(key, value): (&String, &String)| {
            sdk::Filter::builder().name(format!("tag:{key}")).values(value).build()
        };
        let groups = self
            .clients
            .autoscaling
            .describe_auto_scaling_groups()
            .set_filters(Some(tags.iter().map(filter).collect()))
            .max_records(PAGE_SIZE)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| call.to_error(error))?;
        Ok(groups.into_iter().map(AutoScalingGroup::from_sdk).collect())
    }

    /// Returns the latest activities of a group, the latest first: one page.
    ///
    /// # Errors
    /// The call failed.
    pub async fn recent_activities(&self, group: &str) -> Result<Vec<Activity>, Error> {
        ensure_name("Auto Scaling group name", group)?;
        let call = self.call("autoscaling", "DescribeScalingActivities", group);
        let page = self
            .clients
            .autoscaling
            .describe_scaling_activities()
            .auto_scaling_group_name(group)
            .max_records(PAGE_SIZE)
            .send()
            .await
            .map_err(|error| call.to_error(error))?;
        let activities = page.activities.unwrap_or_default();
        Ok(activities.into_iter().map(Activity::from_sdk).collect())
    }

    /// Returns the activities of a group since `since`, the latest first, with those in progress.
    ///
    /// # Errors
    /// The call failed.
    pub async fn scaling_activities(
        &self,
        group: &str,
        since: Timestamp,
    ) -> Result<Vec<Activity>, Error> {
        ensure_name("Auto Scaling group name", group)?;
        let call = self.call("autoscaling", "DescribeScalingActivities", group);
        let mut found = Vec::new();
        let mut pages = self
            .clients
            .autoscaling
            .describe_scaling_activities()
            .auto_scaling_group_name(group)
            .max_records(PAGE_SIZE)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.to_error(error))?;
            let activities = page.activities.unwrap_or_default();
            // The latest come first, so a page that ends before `since` is the last of interest.
            let is_last = activities.last().is_some_and(|oldest| {
                timestamp(oldest.start_time).is_some_and(|start| start < since)
            });
            let activities = activities.into_iter().map(Activity::from_sdk);
            found.extend(activities.filter(|activity| activity.is_relevant_since(since)));
            if is_last {
                break;
            }
        }
        Ok(found)
    }
}

impl AwsWriter {
    /// Protects these instances from scale-in, or no longer. One call, so at most [`MAX_PROTECTED_PER_CALL`], and
    /// either all of them are set or none.
    ///
    /// # Errors
    /// The call failed, for instance because one of them is in a state where protection cannot be set.
    pub async fn set_instance_protection(
        &self,
        group: &str,
        instances: &[String],
        protected: bool,
    ) -> Result<(), Error> {
        ensure_name("Auto Scaling group name", group)?;
        instances.iter().try_for_each(|id| ensure_name("instance id", id))?;
        let call = self.reader.call("autoscaling", "SetInstanceProtection", group);
        let request = self
            .reader
            .clients
            .autoscaling_writes
            .set_instance_protection()
            .auto_scaling_group_name(group)
            .set_instance_ids(Some(instances.to_vec()))
            .protected_from_scale_in(protected);
        let sending = async { request.send().await.map_err(|error| call.to_error(error)) };
        call.guard(&self.fence, sending).await.map(drop)
    }

    /// Suspends processes of a group.
    ///
    /// # Errors
    /// The call failed.
    pub async fn suspend_processes(&self, group: &str, processes: &[&str]) -> Result<(), Error> {
        ensure_name("Auto Scaling group name", group)?;
        let call = self.reader.call("autoscaling", "SuspendProcesses", group);
        let request = self
            .reader
            .clients
            .autoscaling_writes
            .suspend_processes()
            .auto_scaling_group_name(group)
            .set_scaling_processes(Some(processes.iter().copied().map(str::to_owned).collect()));
        let sending = async { request.send().await.map_err(|error| call.to_error(error)) };
        call.guard(&self.fence, sending).await.map(drop)
    }

    /// Resumes processes of a group.
    ///
    /// # Errors
    /// The call failed.
    pub async fn resume_processes(&self, group: &str, processes: &[&str]) -> Result<(), Error> {
        ensure_name("Auto Scaling group name", group)?;
        let call = self.reader.call("autoscaling", "ResumeProcesses", group);
        let request = self
            .reader
            .clients
            .autoscaling_writes
            .resume_processes()
            .auto_scaling_group_name(group)
            .set_scaling_processes(Some(processes.iter().copied().map(str::to_owned).collect()));
        let sending = async { request.send().await.map_err(|error| call.to_error(error)) };
        call.guard(&self.fence, sending).await.map(drop)
    }

    /// Terminates an instance of a group. With `lowers_desired` the group is to have one fewer, else it launches
    /// another one. Auto Scaling has no client token for this: the caller asks first whether the instance is ending
    /// already.
    ///
    /// # Errors
    /// The instance is held by a guard, or the call failed, for instance because the group would have fewer instances
    /// than its minimum.
    pub async fn terminate_instance(&self, id: &str, lowers_desired: bool) -> Result<(), Error> {
        ensure_name("instance id", id)?;
        let _permit = self.removals.permit_instance(id).await?;
        let call = self.reader.call("autoscaling", "TerminateInstanceInAutoScalingGroup", id);
        let request = self
            .reader
            .clients
            .autoscaling_writes
            .terminate_instance_in_auto_scaling_group()
            .instance_id(id)
            .should_decrement_desired_capacity(lowers_desired)
            .customize()
            // The SDK would send it again without asking.
            .config_override(
                aws_sdk_autoscaling::config::Builder::new().retry_config(RetryConfig::disabled()),
            );
        let sending = async { request.send().await.map_err(|error| call.to_error(error)) };
        call.guard(&self.fence, sending).await.map(drop)
    }

    /// Sets sizes of a group. A size that is not given is not changed.
    ///
    /// # Errors
    /// The call failed, for instance because the sizes contradict each other.
    pub async fn update_auto_scaling_group(
        &self,
        group: &str,
        sizes: Scaling,
    ) -> Result<(), Error> {
        ensure_name("Auto Scaling group name", group)?;
        let call = self.reader.call("autoscaling", "UpdateAutoScalingGroup", group);
        let request = self
            .reader
            .clients
            .autoscaling_writes
            .update_auto_scaling_group()
            .auto_scaling_group_name(group)
            .set_min_size(sizes.min.map(to_sdk_count))
            .set_max_size(sizes.max.map(to_sdk_count))
            .set_desired_capacity(sizes.desired.map(to_sdk_count));
        let sending = async { request.send().await.map_err(|error| call.to_error(error)) };
        call.guard(&self.fence, sending).await.map(drop)
    }
}

impl AutoScalingGroup {
    fn from_sdk(found: sdk::AutoScalingGroup) -> Self {
        let instances = found.instances.unwrap_or_default();
        let suspended = found.suspended_processes.unwrap_or_default();
        let tags = found.tags.unwrap_or_default();
        let policy = found.mixed_instances_policy.and_then(|policy| policy.launch_template);
        let overrides = policy.and_then(|template| template.overrides).unwrap_or_default();
        let subnets = found.vpc_zone_identifier.unwrap_or_default();
        Self {
            zones: found.availability_zones.unwrap_or_default(),
            subnets: subnets
                .split(',')
                .map(|subnet| subnet.trim().to_owned())
                .filter(|subnet| !subnet.is_empty())
                .collect(),
            instance_types: overrides.into_iter().filter_map(|one| one.instance_type).collect(),
            name: found.auto_scaling_group_name.unwrap_or_default(),
            arn: found.auto_scaling_group_arn.unwrap_or_default(),
            min: count(found.min_size),
            max: count(found.max_size),
            desired: count(found.desired_capacity),
            new_instances_protected: found.new_instances_protected_from_scale_in.unwrap_or(false),
            instances: instances.into_iter().map(GroupInstance::from_sdk).collect(),
            suspended_processes: suspended
                .into_iter()
                .filter_map(|process| process.process_name)
                .collect(),
            tags: tags
                .into_iter()
                .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
                .collect(),
        }
    }
}

impl GroupInstance {
    fn from_sdk(found: sdk::Instance) -> Self {
        let template = found.launch_template.map(|template| {
            let name =
                template.launch_template_name.or(template.launch_template_id).unwrap_or_default();
            match template.version {
                Some(version) => format!("{name}:{version}"),
                None => name,
            }
        });
        Self {
            id: found.instance_id.unwrap_or_default(),
            zone: found.availability_zone.unwrap_or_default(),
            lifecycle: found
                .lifecycle_state
                .map_or_else(String::new, |state| state.as_str().to_owned()),
            health: found.health_status.unwrap_or_default(),
            protected: found.protected_from_scale_in.unwrap_or(false),
            instance_type: found.instance_type.unwrap_or_default(),
            launched_from: template.or(found.launch_configuration_name),
        }
    }
}

impl Activity {
    fn from_sdk(found: sdk::Activity) -> Self {
        Self {
            id: found.activity_id.unwrap_or_default(),
            description: found.description.unwrap_or_default(),
            cause: found.cause.unwrap_or_default(),
            status: found.status_code.map_or_else(String::new, |status| status.as_str().to_owned()),
            message: found.status_message.filter(|message| !message.is_empty()),
            started_at: timestamp(found.start_time),
            ended_at: timestamp(found.end_time),
        }
    }

    /// Activities that began before and have not ended belong to it.
    fn is_relevant_since(&self, since: Timestamp) -> bool {
        self.ended_at.is_none() || self.started_at.is_none_or(|start| start >= since)
    }
}
