//! EC2 Auto Scaling: groups, their instances and activities, over the query protocol with XML.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ids::name_uuid;
use crate::scenario::PROCESSES;

use super::fleet::{
    ActivityStatus, AutoScalingGroup, Fleet, Lifecycle, ScalingActivity, SimulatedInstance,
};
use super::permission::PolicyResource;
use super::protocol::{AwsError, QueryParameters, format_iso8601, paginate};

/// The largest number of instances in one `SetInstanceProtection` call.
const MAX_PROTECTED_INSTANCES: usize = 50;

/// The operations that may change something.
pub(crate) const MUTATING: [&str; 6] = [
    "SetInstanceProtection",
    "UpdateAutoScalingGroup",
    "SetDesiredCapacity",
    "TerminateInstanceInAutoScalingGroup",
    "SuspendProcesses",
    "ResumeProcesses",
];

/// Performs a call and returns its result and whether it changed anything. If `in_region` is false,
/// the account has no groups in the request's region.
pub(crate) fn handle(
    fleet: &mut Fleet,
    action: &str,
    parameters: &QueryParameters,
    in_region: bool,
    now: Timestamp,
) -> Result<(Value, bool), AwsError> {
    let read_only = |result: Result<Value, AwsError>| result.map(|value| (value, false));
    match action {
        "DescribeAutoScalingGroups" => read_only(describe_groups(fleet, parameters, in_region)),
        "DescribeAutoScalingInstances" => {
            read_only(describe_instances(fleet, parameters, in_region))
        }
        "DescribeScalingActivities" => read_only(describe_activities(fleet, parameters, in_region)),
        "SetInstanceProtection" => set_protection(fleet, parameters),
        "UpdateAutoScalingGroup" => update_group(fleet, parameters),
        "SetDesiredCapacity" => set_desired_capacity(fleet, parameters),
        "TerminateInstanceInAutoScalingGroup" => terminate(fleet, parameters, now),
        "SuspendProcesses" | "ResumeProcesses" => suspend_or_resume(fleet, parameters, action),
        other => {
            let message = format!("Could not find operation {other} for version 2011-01-01");
            Err(AwsError::new(400, "InvalidAction", message))
        }
    }
}

/// Returns the resource of a call, as IAM policies name it.
pub(crate) fn policy_resource(
    fleet: &Fleet,
    action: &str,
    parameters: &QueryParameters,
    region: &str,
) -> PolicyResource {
    if !MUTATING.contains(&action) {
        return PolicyResource::any();
    }
    let of_instance = || fleet.instances.get(parameters.get("InstanceId")?).map(|i| &*i.group);
    let name = parameters.get("AutoScalingGroupName").or_else(of_instance).unwrap_or_default();
    // In another region, a group of this name would be another group.
    let group = fleet.groups.get(name).filter(|_| region == fleet.region);
    PolicyResource {
        arn: group_arn(&fleet.account, region, name),
        tags: group.map(|group| group.tags.clone()).unwrap_or_default(),
    }
}

fn group_arn(account: &str, region: &str, group: &str) -> String {
    let id = name_uuid(&format!("{region}/{group}"));
    format!(
        "arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{id}:autoScalingGroupName/{group}"
    )
}

fn max_records(parameters: &QueryParameters, default: u32, most: u32) -> Result<usize, AwsError> {
    let size = parameters.number("MaxRecords")?.unwrap_or(default);
    if !(1..=most).contains(&size) {
        let message = format!("The value of MaxRecords is out of range: it must be 1 to {most}.");
        return Err(AwsError::validation(message));
    }
    Ok(size as usize)
}

fn describe_groups(
    fleet: &Fleet,
    parameters: &QueryParameters,
    in_region: bool,
) -> Result<Value, AwsError> {
    let names = parameters.list("AutoScalingGroupNames.member");
    let filters = parameters.filters("Filters.member", "Values.member");
    let groups: Vec<Value> = fleet
        .groups
        .values()
        .filter(|group| in_region && (names.is_empty() || names.contains(&group.name.as_str())))
        .filter(|group| filters.iter().all(|(name, values)| matches_filter(group, name, values)))
        .map(|group| describe_group(fleet, group))
        .collect();
    let size = max_records(parameters, 50, 100)?;
    let (groups, next) = paginate(groups, size, parameters.get("NextToken"))?;
    Ok(json!({"AutoScalingGroups": groups, "NextToken": next}))
}

fn matches_filter(group: &AutoScalingGroup, filter: &str, values: &[&str]) -> bool {
    let named = |text: &str| values.contains(&text);
    match filter {
        "tag-key" => group.tags.keys().any(|key| named(key)),
        "tag-value" => group.tags.values().any(|value| named(value)),
        other => other
            .strip_prefix("tag:")
            .and_then(|key| group.tags.get(key))
            .is_some_and(|value| named(value)),
    }
}

fn describe_group(fleet: &Fleet, group: &AutoScalingGroup) -> Value {
    let instances: Vec<Value> = fleet.members(&group.name).map(describe_member).collect();
    let tags: Vec<Value> = group
        .tags
        .iter()
        .map(|(key, value)| {
            json!({
                "ResourceId": group.name,
                "ResourceType": "auto-scaling-group",
                "Key": key,
                "Value": value,
                "PropagateAtLaunch": true,
            })
        })
        .collect();
    let suspended: Vec<Value> = group
        .suspended
        .iter()
        .map(|process| json!({"ProcessName": process, "SuspensionReason": "User suspended"}))
        .collect();
    json!({
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group_arn(&fleet.account, &fleet.region, &group.name),
        "MinSize": group.min,
        "MaxSize": group.max,
        "DesiredCapacity": group.desired,
        "DefaultCooldown": 300,
        "AvailabilityZones": group.zones,
        "LoadBalancerNames": [],
        "TargetGroupARNs": [],
        "HealthCheckType": "EC2",
        "HealthCheckGracePeriod": 15,
        "Instances": instances,
        "CreatedTime": format_iso8601(group.created),
        "SuspendedProcesses": suspended,
        "VPCZoneIdentifier": group.subnets().join(","),
        "EnabledMetrics": [],
        "Tags": tags,
        "TerminationPolicies": ["AllocationStrategy", "OldestLaunchTemplate", "OldestInstance"],
        "NewInstancesProtectedFromScaleIn": group.new_instances_protected,
        "CapacityRebalance": true,
    })
}

fn describe_member(instance: &SimulatedInstance) -> Value {
    let health = match instance.lifecycle {
        Lifecycle::Terminating | Lifecycle::Terminated => "Unhealthy",
        Lifecycle::Pending | Lifecycle::InService => "Healthy",
    };
    json!({
        "InstanceId": instance.id,
        "InstanceType": instance.instance_type,
        "AvailabilityZone": instance.zone,
        "LifecycleState": instance.lifecycle.as_str(),
        "HealthStatus": health,
        "ProtectedFromScaleIn": instance.protected,
    })
}

fn describe_instances(
    fleet: &Fleet,
    parameters: &QueryParameters,
    in_region: bool,
) -> Result<Value, AwsError> {
    let ids = parameters.list("InstanceIds.member");
    let wanted: HashSet<&str> = ids.into_iter().collect();
    let instances: Vec<&SimulatedInstance> = fleet
        .groups
        .keys()
        .flat_map(|group| fleet.members(group))
        .filter(|one| in_region && (wanted.is_empty() || wanted.contains(one.id.as_str())))
        .collect();
    let size = max_records(parameters, 50, 50)?;
    let (instances, next) = paginate(instances, size, parameters.get("NextToken"))?;
    let instances: Vec<Value> = instances
        .into_iter()
        .map(|instance| {
            let mut described = describe_member(instance);
            described["AutoScalingGroupName"] = instance.group.as_str().into();
            // Only this call writes the health status in capitals.
            let health = described["HealthStatus"].as_str().unwrap_or_default().to_uppercase();
            described["HealthStatus"] = health.into();
            described
        })
        .collect();
    Ok(json!({"AutoScalingInstances": instances, "NextToken": next}))
}

fn describe_activities(
    fleet: &Fleet,
    parameters: &QueryParameters,
    in_region: bool,
) -> Result<Value, AwsError> {
    let group = parameters.get("AutoScalingGroupName");
    let ids = parameters.list("ActivityIds.member");
    if let Some(name) = group {
        find_group(fleet, name)?;
    }
    let mut activities: Vec<(&str, &ScalingActivity)> = fleet
        .groups
        .values()
        .filter(|candidate| in_region && group.is_none_or(|name| name == candidate.name))
        .flat_map(|group| group.activities.iter().rev().map(|a| (group.name.as_str(), a)))
        .filter(|(_, activity)| ids.is_empty() || ids.contains(&activity.id.as_str()))
        .collect();
    activities.sort_by_key(|(_, activity)| std::cmp::Reverse(activity.started));
    let size = max_records(parameters, 100, 100)?;
    let (activities, next) = paginate(activities, size, parameters.get("NextToken"))?;
    let described: Vec<Value> = activities
        .into_iter()
        .map(|(group, activity)| describe_activity(group, activity))
        .collect();
    Ok(json!({"Activities": described, "NextToken": next}))
}

fn describe_activity(group: &str, activity: &ScalingActivity) -> Value {
    let progress = match activity.status {
        ActivityStatus::InProgress => 50,
        ActivityStatus::Successful | ActivityStatus::Failed => 100,
    };
    json!({
        "ActivityId": activity.id,
        "AutoScalingGroupName": group,
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": format_iso8601(activity.started),
        "EndTime": activity.ended.map(format_iso8601),
        "StatusCode": activity.status.as_str(),
        "StatusMessage": activity.message,
        "Progress": progress,
        "Details": "{}",
    })
}

fn find_group<'a>(fleet: &'a Fleet, name: &str) -> Result<&'a AutoScalingGroup, AwsError> {
    fleet.groups.get(name).ok_or_else(|| {
        AwsError::validation(format!(
            "AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"
        ))
    })
}

/// Returns the named group for a change.
fn group_mut<'a>(
    fleet: &'a mut Fleet,
    parameters: &QueryParameters,
) -> Result<&'a mut AutoScalingGroup, AwsError> {
    let name = parameters.required("AutoScalingGroupName")?;
    find_group(fleet, name)?;
    fleet
        .groups
        .get_mut(name)
        .ok_or_else(|| AwsError::validation("AutoScalingGroup name not found"))
}

fn set_protection(
    fleet: &mut Fleet,
    parameters: &QueryParameters,
) -> Result<(Value, bool), AwsError> {
    let group = parameters.required("AutoScalingGroupName")?;
    parameters.required("ProtectedFromScaleIn")?;
    find_group(fleet, group)?;
    let ids = parameters.list("InstanceIds.member");
    if ids.len() > MAX_PROTECTED_INSTANCES {
        return Err(AwsError::validation(format!(
            "The number of instance ids, {}, exceeds the limit of {MAX_PROTECTED_INSTANCES}.",
            ids.len()
        )));
    }
    for id in &ids {
        let member = fleet.instances.get(*id).filter(|instance| {
            instance.group == group && instance.lifecycle != Lifecycle::Terminated
        });
        let Some(instance) = member else {
            return Err(AwsError::validation(format!(
                "The instance {id} is not part of Auto Scaling group {group}."
            )));
        };
        if !instance.can_be_protected() {
            return Err(AwsError::validation(format!(
                "The instance {id} is not in InService or EnteringStandby or Standby."
            )));
        }
    }
    let wanted = parameters.flag("ProtectedFromScaleIn");
    let mut changed = false;
    for id in ids {
        if let Some(instance) = fleet.instances.get_mut(id) {
            changed |= instance.protected != wanted;
            instance.protected = wanted;
        }
    }
    if let Some(group) = fleet.groups.get_mut(group).filter(|_| changed) {
        group.reset_protection_report();
    }
    Ok((json!({}), changed))
}

fn update_group(
    fleet: &mut Fleet,
    parameters: &QueryParameters,
) -> Result<(Value, bool), AwsError> {
    let group = group_mut(fleet, parameters)?;
    let min = parameters.number("MinSize")?.unwrap_or(group.min);
    let max = parameters.number("MaxSize")?.unwrap_or(group.max);
    let desired =
        parameters.number("DesiredCapacity")?.unwrap_or(group.desired.clamp(min.min(max), max));
    let protect = match parameters.get("NewInstancesProtectedFromScaleIn") {
        None => group.new_instances_protected,
        Some(_) => parameters.flag("NewInstancesProtectedFromScaleIn"),
    };
    if min > max {
        let message =
            format!("Max bound, {max}, must be greater than or equal to min bound, {min}");
        return Err(AwsError::validation(message));
    }
    if !(min..=max).contains(&desired) {
        return Err(AwsError::validation(format!(
            "Desired capacity:{desired} must be between the specified min size:{min} and max \
             size:{max}"
        )));
    }
    let before = (group.min, group.max, group.desired, group.new_instances_protected);
    (group.min, group.max, group.desired) = (min, max, desired);
    group.new_instances_protected = protect;
    group.reset_protection_report();
    Ok((json!({}), before != (min, max, desired, protect)))
}

fn set_desired_capacity(
    fleet: &mut Fleet,
    parameters: &QueryParameters,
) -> Result<(Value, bool), AwsError> {
    parameters.required("DesiredCapacity")?;
    let group = group_mut(fleet, parameters)?;
    let desired = parameters.number("DesiredCapacity")?.unwrap_or(group.desired);
    let side = match desired {
        low if low < group.min => Some(("below min", group.min)),
        high if high > group.max => Some(("above max", group.max)),
        _ => None,
    };
    if let Some((side, bound)) = side {
        return Err(AwsError::validation(format!(
            "New SetDesiredCapacity value {desired} is {side} value {bound} for the \
             AutoScalingGroup."
        )));
    }
    let changed = group.desired != desired;
    group.desired = desired;
    group.reset_protection_report();
    Ok((json!({}), changed))
}

fn terminate(
    fleet: &mut Fleet,
    parameters: &QueryParameters,
    now: Timestamp,
) -> Result<(Value, bool), AwsError> {
    let id = parameters.required("InstanceId")?;
    parameters.required("ShouldDecrementDesiredCapacity")?;
    let member = fleet
        .instances
        .get(id)
        .filter(|instance| instance.lifecycle != Lifecycle::Terminated)
        .ok_or_else(|| {
            let message =
                format!("Instance Id not found - No managed instance found for instance ID {id}");
            AwsError::validation(message)
        })?;
    let group_name = member.group.clone();
    if member.lifecycle == Lifecycle::Terminating {
        let open = find_group(fleet, &group_name)?.activities.iter().rev();
        let mut open = open.filter(|activity| activity.instance.as_deref() == Some(id));
        let activity = open.next().map(|activity| describe_activity(&group_name, activity));
        return Ok((json!({"Activity": activity}), false));
    }
    if parameters.flag("ShouldDecrementDesiredCapacity")
        && let Some(group) = fleet.groups.get_mut(&group_name)
    {
        if group.desired <= group.min {
            return Err(AwsError::validation(format!(
                "Currently, desiredSize equals minSize ({}). Terminating instance without \
                 replacement will violate group's min size constraint. Either set \
                 shouldDecrementDesiredCapacity flag to false or lower group's min size.",
                group.min
            )));
        }
        group.desired -= 1;
    }
    let cause = format!(
        "At {} instance {id} was taken out of service in response to a user request.",
        format_iso8601(now)
    );
    let activity = fleet.terminate(id, &cause, now);
    let described = activity.map(|activity| describe_activity(&group_name, &activity));
    Ok((json!({"Activity": described}), true))
}

fn suspend_or_resume(
    fleet: &mut Fleet,
    parameters: &QueryParameters,
    action: &str,
) -> Result<(Value, bool), AwsError> {
    let mut processes = parameters.list("ScalingProcesses.member");
    if let Some(unknown) = processes.iter().find(|process| !PROCESSES.contains(process)) {
        let message = format!("{unknown} is not a valid scaling process type");
        return Err(AwsError::validation(message));
    }
    if processes.is_empty() {
        processes = PROCESSES.to_vec();
    }
    let group = group_mut(fleet, parameters)?;
    let before = group.suspended.clone();
    for process in processes {
        if action == "SuspendProcesses" {
            group.suspended.insert(process.to_owned());
        } else {
            group.suspended.remove(process);
        }
    }
    let changed = before != group.suspended;
    Ok((json!({}), changed))
}
