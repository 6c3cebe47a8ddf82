//! EC2: descriptions of the account's instances and subnets, over EC2's own query form.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::fleet::{Fleet, Lifecycle, SimulatedInstance};
use super::protocol::{AwsError, QueryParameters, format_iso8601, paginate};

/// Performs a call and returns its result; none of the calls changes anything. If `in_region` is
/// false, the account has no instances in the request's region.
pub(crate) fn handle(
    fleet: &Fleet,
    action: &str,
    parameters: &QueryParameters,
    in_region: bool,
) -> Result<Value, AwsError> {
    match action {
        "DescribeInstances" => describe_instances(fleet, parameters, in_region),
        "DescribeInstanceStatus" => describe_status(fleet, parameters, in_region),
        "DescribeSubnets" => describe_subnets(fleet, parameters, in_region),
        other => {
            let message = format!("The action {other} is not valid for this web service.");
            Err(AwsError::new(400, "InvalidAction", message))
        }
    }
}

/// Returns the selected instances in the order of their ids.
fn select_instances<'a>(
    fleet: &'a Fleet,
    parameters: &QueryParameters,
    in_region: bool,
) -> Result<Vec<&'a SimulatedInstance>, AwsError> {
    let ids = parameters.list("InstanceId");
    for id in &ids {
        let digits = id.strip_prefix("i-").unwrap_or_default();
        if !matches!(digits.len(), 8 | 17) || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            let message = format!("Invalid id: \"{id}\"");
            return Err(AwsError::new(400, "InvalidInstanceID.Malformed", message));
        }
    }
    let missing: Vec<&str> =
        ids.iter().copied().filter(|id| !in_region || !fleet.instances.contains_key(*id)).collect();
    if let [one] = missing.as_slice() {
        let message = format!("The instance ID '{one}' does not exist");
        return Err(AwsError::new(400, "InvalidInstanceID.NotFound", message));
    } else if !missing.is_empty() {
        let message = format!("The instance IDs '{}' do not exist", missing.join(", "));
        return Err(AwsError::new(400, "InvalidInstanceID.NotFound", message));
    }
    let filters = parameters.filters("Filter", "Value");
    let wanted: HashSet<&str> = ids.into_iter().collect();
    let found = fleet.instances.values().filter(|instance| {
        in_region
            && (wanted.is_empty() || wanted.contains(instance.id.as_str()))
            && filters.iter().all(|(name, values)| matches_filter(fleet, instance, name, values))
    });
    Ok(found.collect())
}

fn matches_filter(
    fleet: &Fleet,
    instance: &SimulatedInstance,
    filter: &str,
    values: &[&str],
) -> bool {
    let tags = || tags(fleet, instance).into_iter();
    let actual: Vec<String> = match filter {
        "instance-id" => vec![instance.id.clone()],
        "instance-state-name" => vec![instance.lifecycle.ec2_state().1.to_owned()],
        "private-dns-name" => vec![instance.node_name()],
        "availability-zone" => vec![instance.zone.clone()],
        "tag-key" => tags().map(|(key, _)| key).collect(),
        other => {
            let key = other.strip_prefix("tag:").unwrap_or_default();
            let same = tags().filter(|(candidate, _)| candidate == key);
            same.map(|(_, value)| value).collect()
        }
    };
    actual.iter().any(|text| values.contains(&text.as_str()))
}

fn tags(fleet: &Fleet, instance: &SimulatedInstance) -> Vec<(String, String)> {
    let group = fleet.groups.get(&instance.group);
    let mut tags: Vec<(String, String)> =
        group.into_iter().flat_map(|group| group.tags.clone()).collect();
    tags.push(("aws:autoscaling:groupName".to_owned(), instance.group.clone()));
    tags
}

fn describe_instances(
    fleet: &Fleet,
    parameters: &QueryParameters,
    in_region: bool,
) -> Result<Value, AwsError> {
    let instances = select_instances(fleet, parameters, in_region)?;
    let (instances, next) = paginate_instances(instances, parameters)?;
    let reservations: Vec<Value> = instances
        .into_iter()
        .map(|instance| {
            json!({
                "reservationId": instance.id.replacen("i-", "r-", 1),
                "ownerId": fleet.account,
                "groupSet": [],
                "instancesSet": [describe_instance(fleet, instance)],
            })
        })
        .collect();
    Ok(json!({"reservationSet": reservations, "nextToken": next}))
}

fn paginate_instances<'a>(
    instances: Vec<&'a SimulatedInstance>,
    parameters: &QueryParameters,
) -> Result<(Vec<&'a SimulatedInstance>, Option<String>), AwsError> {
    let invalid = |error: AwsError| AwsError::new(400, "InvalidParameterValue", error.message);
    let size = parameters.number("MaxResults").map_err(invalid)?.unwrap_or(1000);
    if !(5..=1000).contains(&size) {
        let message = format!(
            "Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 \
             and 1000."
        );
        return Err(AwsError::new(400, "InvalidParameterValue", message));
    }
    paginate(instances, size as usize, parameters.get("NextToken"))
}

fn describe_instance(fleet: &Fleet, instance: &SimulatedInstance) -> Value {
    let (code, name) = instance.lifecycle.ec2_state();
    let tags: Vec<Value> = tags(fleet, instance)
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let gone = instance.lifecycle == Lifecycle::Terminated;
    let terminating = gone || instance.lifecycle == Lifecycle::Terminating;
    let reason = "Client.UserInitiatedShutdown";
    json!({
        "instanceId": instance.id,
        "imageId": "ami-0simulated",
        "instanceState": {"code": code, "name": name},
        "privateDnsName": if gone { String::new() } else { instance.node_name() },
        "privateIpAddress": (!gone).then_some(&instance.address),
        "instanceType": instance.instance_type,
        "launchTime": format_iso8601(instance.launched),
        "placement": {"availabilityZone": instance.zone, "tenancy": "default"},
        "reason": if terminating { "User initiated" } else { "" },
        "stateReason": terminating.then(|| {
            json!({"code": reason, "message": format!("{reason}: User initiated shutdown")})
        }),
        "tagSet": tags,
    })
}

/// The addresses of a subnet of 4,096 that AWS does not keep for itself.
const SUBNET_ADDRESSES: usize = 4091;

/// Describes the subnets of the groups, one of each zone. Only instances take addresses.
fn describe_subnets(
    fleet: &Fleet,
    parameters: &QueryParameters,
    in_region: bool,
) -> Result<Value, AwsError> {
    let ids = parameters.list("SubnetId");
    let filters = parameters.filters("Filter", "Value");
    let zones: BTreeMap<String, &String> = fleet
        .groups
        .values()
        .flat_map(|group| group.subnets().into_iter().zip(&group.zones))
        .filter(|_| in_region)
        .collect();
    if let Some(missing) = ids.iter().find(|id| !zones.contains_key(**id)) {
        let message = format!("The subnet ID '{missing}' does not exist");
        return Err(AwsError::new(400, "InvalidSubnetID.NotFound", message));
    }
    let matches = |id: &str, zone: &str| {
        let is_named = ids.is_empty() || ids.contains(&id);
        let has = |(name, values): &(&str, Vec<&str>)| match *name {
            "subnet-id" => values.contains(&id),
            "availability-zone" => values.contains(&zone),
            _ => false,
        };
        is_named && filters.iter().all(has)
    };
    let subnets: Vec<Value> = zones
        .iter()
        .filter(|(id, zone)| matches(id, zone))
        .map(|(id, zone)| {
            let instances = fleet.instances.values().filter(|instance| {
                instance.zone == **zone && instance.lifecycle != Lifecycle::Terminated
            });
            json!({
                "subnetId": id,
                "state": "available",
                "vpcId": "vpc-0simulated",
                "ownerId": fleet.account,
                "availabilityZone": zone,
                "availableIpAddressCount": SUBNET_ADDRESSES.saturating_sub(instances.count()),
            })
        })
        .collect();
    Ok(json!({"subnetSet": subnets}))
}

fn describe_status(
    fleet: &Fleet,
    parameters: &QueryParameters,
    in_region: bool,
) -> Result<Value, AwsError> {
    let all = parameters.flag("IncludeAllInstances");
    let mut instances = select_instances(fleet, parameters, in_region)?;
    instances.retain(|instance| all || instance.lifecycle == Lifecycle::InService);
    let (instances, next) = paginate_instances(instances, parameters)?;
    let statuses: Vec<Value> = instances
        .into_iter()
        .map(|instance| {
            let (code, name) = instance.lifecycle.ec2_state();
            let status = match instance.lifecycle {
                Lifecycle::InService => "ok",
                Lifecycle::Pending => "initializing",
                Lifecycle::Terminating | Lifecycle::Terminated => "not-applicable",
            };
            json!({
                "instanceId": instance.id,
                "availabilityZone": instance.zone,
                "instanceState": {"code": code, "name": name},
                "instanceStatus": {"status": status, "details": []},
                "systemStatus": {"status": status, "details": []},
            })
        })
        .collect();
    Ok(json!({"instanceStatusSet": statuses, "nextToken": next}))
}
