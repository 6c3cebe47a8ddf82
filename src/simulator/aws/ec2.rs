//! EC2: what the account's instances are, over EC2's own query form.

use serde_json::{Value, json};

use super::fleet::{Fleet, Instance, Lifecycle};
use super::protocol::{Parameters, Refusal, iso, page};

/// Answers a call, none of which alters anything. Nothing is here when `here` is false.
pub(crate) fn answer(
    fleet: &Fleet,
    action: &str,
    parameters: &Parameters,
    here: bool,
) -> Result<Value, Refusal> {
    match action {
        "DescribeInstances" => describe_instances(fleet, parameters, here),
        "DescribeInstanceStatus" => describe_status(fleet, parameters, here),
        other => {
            let message = format!("The action {other} is not valid for this web service.");
            Err(Refusal::new(400, "InvalidAction", message))
        }
    }
}

/// The instances that are asked for, in the order of their ids.
fn select<'a>(
    fleet: &'a Fleet,
    parameters: &Parameters,
    here: bool,
) -> Result<Vec<&'a Instance>, Refusal> {
    let ids = parameters.list("InstanceId");
    for id in &ids {
        let digits = id.strip_prefix("i-").unwrap_or_default();
        if !matches!(digits.len(), 8 | 17) || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            let message = format!("Invalid id: \"{id}\"");
            return Err(Refusal::new(400, "InvalidInstanceID.Malformed", message));
        }
    }
    let missing: Vec<&str> =
        ids.iter().copied().filter(|id| !here || !fleet.instances.contains_key(*id)).collect();
    if let [one] = missing.as_slice() {
        let message = format!("The instance ID '{one}' does not exist");
        return Err(Refusal::new(400, "InvalidInstanceID.NotFound", message));
    } else if !missing.is_empty() {
        let message = format!("The instance IDs '{}' do not exist", missing.join(", "));
        return Err(Refusal::new(400, "InvalidInstanceID.NotFound", message));
    }
    let filters = parameters.filters("Filter", "Value");
    let found = fleet.instances.values().filter(|instance| {
        here && (ids.is_empty() || ids.contains(&instance.id.as_str()))
            && filters.iter().all(|(name, values)| passes(fleet, instance, name, values))
    });
    Ok(found.collect())
}

fn passes(fleet: &Fleet, instance: &Instance, filter: &str, values: &[&str]) -> bool {
    let tags = tags(fleet, instance);
    let actual: Vec<String> = match filter {
        "instance-id" => vec![instance.id.clone()],
        "instance-state-name" => vec![instance.lifecycle.state().1.to_owned()],
        "private-dns-name" => vec![instance.node_name()],
        "availability-zone" => vec![instance.zone.clone()],
        "tag-key" => tags.into_iter().map(|(key, _)| key).collect(),
        other => {
            let key = other.strip_prefix("tag:").unwrap_or_default();
            let same = tags.into_iter().filter(|(candidate, _)| candidate == key);
            same.map(|(_, value)| value).collect()
        }
    };
    actual.iter().any(|text| values.contains(&text.as_str()))
}

fn tags(fleet: &Fleet, instance: &Instance) -> Vec<(String, String)> {
    let group = fleet.groups.get(&instance.group);
    let mut tags: Vec<(String, String)> =
        group.into_iter().flat_map(|group| group.tags.clone()).collect();
    tags.push(("aws:autoscaling:groupName".to_owned(), instance.group.clone()));
    tags
}

fn describe_instances(
    fleet: &Fleet,
    parameters: &Parameters,
    here: bool,
) -> Result<Value, Refusal> {
    let instances = select(fleet, parameters, here)?;
    let (instances, next) = paged(instances, parameters)?;
    let reservations: Vec<Value> = instances
        .into_iter()
        .map(|instance| {
            json!({
                "reservationId": instance.id.replacen("i-", "r-", 1),
                "ownerId": fleet.account,
                "groupSet": [],
                "instancesSet": [describe(fleet, instance)],
            })
        })
        .collect();
    Ok(json!({"reservationSet": reservations, "nextToken": next}))
}

fn paged<'a>(
    instances: Vec<&'a Instance>,
    parameters: &Parameters,
) -> Result<(Vec<&'a Instance>, Option<String>), Refusal> {
    let invalid = |refusal: Refusal| Refusal::new(400, "InvalidParameterValue", refusal.message);
    let size = parameters.number("MaxResults").map_err(invalid)?.unwrap_or(1000);
    if !(5..=1000).contains(&size) {
        let message = format!(
            "Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 \
             and 1000."
        );
        return Err(Refusal::new(400, "InvalidParameterValue", message));
    }
    page(instances, size as usize, parameters.get("NextToken"))
}

fn describe(fleet: &Fleet, instance: &Instance) -> Value {
    let (code, name) = instance.lifecycle.state();
    let tags: Vec<Value> = tags(fleet, instance)
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let gone = instance.lifecycle == Lifecycle::Terminated;
    let leaving = gone || instance.lifecycle == Lifecycle::Terminating;
    let why = "Client.UserInitiatedShutdown";
    json!({
        "instanceId": instance.id,
        "imageId": "ami-0simulated",
        "instanceState": {"code": code, "name": name},
        "privateDnsName": if gone { String::new() } else { instance.node_name() },
        "privateIpAddress": (!gone).then_some(&instance.address),
        "instanceType": instance.instance_type,
        "launchTime": iso(instance.launched),
        "placement": {"availabilityZone": instance.zone, "tenancy": "default"},
        "reason": if leaving { "User initiated" } else { "" },
        "stateReason": leaving.then(|| {
            json!({"code": why, "message": format!("{why}: User initiated shutdown")})
        }),
        "tagSet": tags,
    })
}

fn describe_status(fleet: &Fleet, parameters: &Parameters, here: bool) -> Result<Value, Refusal> {
    let all = parameters.flag("IncludeAllInstances");
    let mut instances = select(fleet, parameters, here)?;
    instances.retain(|instance| all || instance.lifecycle == Lifecycle::InService);
    let (instances, next) = paged(instances, parameters)?;
    let statuses: Vec<Value> = instances
        .into_iter()
        .map(|instance| {
            let (code, name) = instance.lifecycle.state();
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
