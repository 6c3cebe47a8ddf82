//! EKS: clusters, nodegroups and updates, over REST with JSON.

use std::collections::BTreeMap;

use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gateway::Incoming;
use crate::scenario::Taint;

use super::certificate;
use super::fleet::{
    AutoScalingGroup, ConfigChange, ConfigUpdate, Fleet, ManagedNodegroup, MaxUnavailable,
    UpdateError, VersionChange,
};
use super::permission::PolicyResource;
use super::protocol::{AwsError, QueryParameters, epoch_seconds, paginate};

/// A call to EKS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EksCall {
    ListClusters,
    DescribeCluster(String),
    ListNodegroups(String),
    DescribeNodegroup(String, String),
    UpdateNodegroupConfig(String, String),
    UpdateNodegroupVersion(String, String),
    ListUpdates(String),
    DescribeUpdate(String, String),
}

impl EksCall {
    /// Parses the call from a request's method and path.
    pub(crate) fn of(incoming: &Incoming) -> Option<Self> {
        let path: Vec<&str> = incoming.path().trim_matches('/').split('/').collect();
        let own = |text: &str| text.to_owned();
        match (&incoming.parts.method, path.as_slice()) {
            (&Method::GET, ["clusters"]) => Some(Self::ListClusters),
            (&Method::GET, ["clusters", cluster]) => Some(Self::DescribeCluster(own(cluster))),
            (&Method::GET, ["clusters", cluster, "node-groups"]) => {
                Some(Self::ListNodegroups(own(cluster)))
            }
            (&Method::GET, ["clusters", cluster, "node-groups", nodegroup]) => {
                Some(Self::DescribeNodegroup(own(cluster), own(nodegroup)))
            }
            (&Method::POST, ["clusters", cluster, "node-groups", nodegroup, "update-config"]) => {
                Some(Self::UpdateNodegroupConfig(own(cluster), own(nodegroup)))
            }
            (&Method::POST, ["clusters", cluster, "node-groups", nodegroup, "update-version"]) => {
                Some(Self::UpdateNodegroupVersion(own(cluster), own(nodegroup)))
            }
            (&Method::GET, ["clusters", cluster, "updates"]) => {
                Some(Self::ListUpdates(own(cluster)))
            }
            (&Method::GET, ["clusters", cluster, "updates", update]) => {
                Some(Self::DescribeUpdate(own(cluster), own(update)))
            }
            _ => None,
        }
    }

    /// Returns the operation's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ListClusters => "ListClusters",
            Self::DescribeCluster(_) => "DescribeCluster",
            Self::ListNodegroups(_) => "ListNodegroups",
            Self::DescribeNodegroup(..) => "DescribeNodegroup",
            Self::UpdateNodegroupConfig(..) => "UpdateNodegroupConfig",
            Self::UpdateNodegroupVersion(..) => "UpdateNodegroupVersion",
            Self::ListUpdates(_) => "ListUpdates",
            Self::DescribeUpdate(..) => "DescribeUpdate",
        }
    }

    /// Returns whether the call may change something.
    pub(crate) fn is_mutating(&self) -> bool {
        matches!(self, Self::UpdateNodegroupConfig(..) | Self::UpdateNodegroupVersion(..))
    }

    /// Returns the resources of the call, as IAM policies name them.
    pub(crate) fn policy_resources(
        &self,
        incoming: &Incoming,
        fleet: &Fleet,
        region: &str,
    ) -> Vec<PolicyResource> {
        let query = QueryParameters::parse(incoming.query().as_bytes());
        let cluster = |name: &str| PolicyResource::untagged(cluster_arn(fleet, region, name));
        let nodegroup = |cluster: &str, name: &str| {
            let arn = nodegroup_arn(fleet, region, cluster, name);
            let of_fleet = region == fleet.region && cluster == fleet.cluster;
            let found = fleet.nodegroups.get(name).filter(|_| of_fleet);
            let tags = found.map(|nodegroup| nodegroup.tags.clone()).unwrap_or_default();
            PolicyResource { arn, tags }
        };
        match self {
            Self::ListClusters => vec![PolicyResource::any()],
            Self::DescribeCluster(name) | Self::ListNodegroups(name) => vec![cluster(name)],
            Self::DescribeNodegroup(of, name)
            | Self::UpdateNodegroupConfig(of, name)
            | Self::UpdateNodegroupVersion(of, name) => vec![nodegroup(of, name)],
            // AWS documents both resource types and not which one is checked, so a policy must
            // allow both.
            Self::ListUpdates(of) | Self::DescribeUpdate(of, _) => {
                let named = query.get("nodegroupName").map(|name| nodegroup(of, name));
                std::iter::once(cluster(of)).chain(named).collect()
            }
        }
    }

    fn cluster(&self) -> Option<&str> {
        match self {
            Self::ListClusters => None,
            Self::DescribeCluster(cluster)
            | Self::ListNodegroups(cluster)
            | Self::DescribeNodegroup(cluster, _)
            | Self::UpdateNodegroupConfig(cluster, _)
            | Self::UpdateNodegroupVersion(cluster, _)
            | Self::ListUpdates(cluster)
            | Self::DescribeUpdate(cluster, _) => Some(cluster),
        }
    }
}

fn cluster_arn(fleet: &Fleet, region: &str, cluster: &str) -> String {
    format!("arn:aws:eks:{region}:{}:cluster/{cluster}", fleet.account)
}

/// Returns the ARN of a nodegroup; that of one that does not exist has an empty id.
fn nodegroup_arn(fleet: &Fleet, region: &str, cluster: &str, name: &str) -> String {
    let of_fleet = region == fleet.region && cluster == fleet.cluster;
    match fleet.nodegroups.get(name).filter(|_| of_fleet) {
        Some(nodegroup) => nodegroup.arn.clone(),
        None => format!("arn:aws:eks:{region}:{}:nodegroup/{cluster}/{name}/", fleet.account),
    }
}

/// Performs a call and returns its result and whether it changed anything. `in_region` is whether
/// the request's region is the cluster's.
pub(crate) fn handle(
    fleet: &mut Fleet,
    call: &EksCall,
    incoming: &Incoming,
    in_region: bool,
    now: Timestamp,
) -> Result<(Value, bool), AwsError> {
    let query = QueryParameters::parse(incoming.query().as_bytes());
    if let Some(cluster) = call.cluster().filter(|name| !in_region || *name != fleet.cluster) {
        let message = format!("No cluster found for name: {cluster}.");
        return Err(AwsError::new(404, "ResourceNotFoundException", message));
    }
    let result = match call {
        EksCall::ListClusters => {
            let names = in_region.then(|| fleet.cluster.clone()).into_iter().collect();
            names_response("clusters", names, &query)?
        }
        EksCall::DescribeCluster(_) => json!({"cluster": describe_cluster(fleet)}),
        EksCall::ListNodegroups(_) => {
            names_response("nodegroups", fleet.nodegroups.keys().cloned().collect(), &query)?
        }
        EksCall::DescribeNodegroup(_, name) => {
            let nodegroup = find_nodegroup(fleet, name)?;
            json!({"nodegroup": describe_nodegroup(fleet, nodegroup)})
        }
        EksCall::UpdateNodegroupConfig(_, name) => {
            let (update, new) = update_config(fleet, name, incoming, now)?;
            return Ok((json!({"update": describe_update(&update)}), new));
        }
        EksCall::UpdateNodegroupVersion(_, name) => {
            let (update, new) = update_version(fleet, name, incoming, now)?;
            return Ok((json!({"update": describe_update(&update)}), new));
        }
        EksCall::ListUpdates(_) => list_updates(fleet, &query)?,
        EksCall::DescribeUpdate(_, id) => {
            json!({"update": describe_update(find_update(fleet, id, &query)?)})
        }
    };
    Ok((result, false))
}

fn names_response(
    field: &str,
    names: Vec<String>,
    query: &QueryParameters,
) -> Result<Value, AwsError> {
    let size = query.number("maxResults").map_err(invalid_parameter)?.unwrap_or(100);
    if !(1..=100).contains(&size) {
        let message = "maxResults must be between 1 and 100";
        return Err(AwsError::new(400, "InvalidParameterException", message));
    }
    let (names, next) =
        paginate(names, size as usize, query.get("nextToken")).map_err(invalid_parameter)?;
    Ok(json!({field: names, "nextToken": next}))
}

/// Converts the `ValidationError` of the query services' parsers into the code that EKS uses.
fn invalid_parameter(error: AwsError) -> AwsError {
    AwsError::new(400, "InvalidParameterException", error.message)
}

fn find_nodegroup<'a>(fleet: &'a Fleet, name: &str) -> Result<&'a ManagedNodegroup, AwsError> {
    fleet.nodegroups.get(name).ok_or_else(|| {
        AwsError::new(
            404,
            "ResourceNotFoundException",
            format!("No node group found for name: {name}."),
        )
        .with_field("clusterName", &fleet.cluster)
        .with_field("nodegroupName", name)
    })
}

fn describe_cluster(fleet: &Fleet) -> Value {
    json!({
        "name": fleet.cluster,
        "arn": cluster_arn(fleet, &fleet.region, &fleet.cluster),
        "createdAt": epoch_seconds(fleet.created),
        "version": fleet.version,
        "endpoint": fleet.endpoint,
        "certificateAuthority": {"data": certificate::to_data(&fleet.authority)},
        "platformVersion": "eks.1",
        "status": "ACTIVE",
        "tags": {},
    })
}

fn describe_nodegroup(fleet: &Fleet, nodegroup: &ManagedNodegroup) -> Value {
    let issues: Vec<Value> = (nodegroup.status == "DEGRADED")
        .then(|| {
            json!({
                "code": "AsgInstanceLaunchFailures",
                "message": "instances could not be launched in the past",
                "resourceIds": [nodegroup.group],
            })
        })
        .into_iter()
        .collect();
    let taints: Vec<Value> = nodegroup.taints.iter().map(describe_taint).collect();
    let template = nodegroup.release.template.as_ref().map(|version| {
        let (id, name) = &nodegroup.launch_template;
        json!({"id": id, "name": name, "version": version})
    });
    let group = fleet.groups.get(&nodegroup.group);
    let groups: Vec<Value> = std::iter::once(&nodegroup.group)
        .chain(&nodegroup.more_groups)
        .map(|name| json!({"name": name}))
        .collect();
    json!({
        "launchTemplate": template,
        "nodegroupName": nodegroup.name,
        "nodegroupArn": nodegroup.arn,
        "clusterName": fleet.cluster,
        "version": nodegroup.release.version,
        "releaseVersion": nodegroup.release.image,
        "createdAt": epoch_seconds(nodegroup.created),
        "modifiedAt": epoch_seconds(nodegroup.modified),
        "status": nodegroup.status,
        "capacityType": nodegroup.capacity_type.as_str(),
        "scalingConfig": {
            "minSize": nodegroup.sizes.min,
            "maxSize": nodegroup.sizes.max,
            "desiredSize": nodegroup.sizes.desired,
        },
        "instanceTypes": [nodegroup.instance_type],
        "subnets": group.map(AutoScalingGroup::subnets),
        "amiType": nodegroup.ami_type,
        "nodeRole": format!("arn:aws:iam::{}:role/node", fleet.account),
        "labels": nodegroup.labels,
        "taints": taints,
        "resources": {"autoScalingGroups": groups},
        "diskSize": 20,
        "health": {"issues": issues},
        "updateConfig": describe_max_unavailable(nodegroup.max_unavailable),
        "tags": nodegroup.tags,
    })
}

fn describe_max_unavailable(max_unavailable: MaxUnavailable) -> Value {
    match max_unavailable {
        MaxUnavailable::Count(count) => json!({"maxUnavailable": count}),
        MaxUnavailable::Percentage(percentage) => json!({"maxUnavailablePercentage": percentage}),
    }
}

/// Describes a taint as EKS spells it.
fn describe_taint(taint: &Taint) -> Value {
    let effect = match taint.effect.as_str() {
        "NoSchedule" => "NO_SCHEDULE",
        "NoExecute" => "NO_EXECUTE",
        "PreferNoSchedule" => "PREFER_NO_SCHEDULE",
        other => other,
    };
    json!({"key": taint.key, "value": taint.value, "effect": effect})
}

fn describe_update(update: &ConfigUpdate) -> Value {
    let change = &update.change;
    let sizes = [("MinSize", change.min), ("MaxSize", change.max), ("DesiredSize", change.desired)];
    let mut params: Vec<Value> = sizes
        .iter()
        .filter_map(|(kind, size)| Some(json!({"type": kind, "value": (*size)?.to_string()})))
        .collect();
    if !change.add_labels.is_empty() {
        let labels = json!(change.add_labels).to_string();
        params.push(json!({"type": "LabelsToAdd", "value": labels}));
    }
    if !change.remove_labels.is_empty() {
        let labels = json!(change.remove_labels).to_string();
        params.push(json!({"type": "LabelsToRemove", "value": labels}));
    }
    let taints =
        |taints: &[Taint]| json!(taints.iter().map(describe_taint).collect::<Vec<_>>()).to_string();
    if !change.add_taints.is_empty() {
        params.push(json!({"type": "TaintsToAdd", "value": taints(&change.add_taints)}));
    }
    if !change.remove_taints.is_empty() {
        params.push(json!({"type": "TaintsToRemove", "value": taints(&change.remove_taints)}));
    }
    match change.max_unavailable {
        Some(MaxUnavailable::Count(count)) => {
            params.push(json!({"type": "MaxUnavailable", "value": count.to_string()}));
        }
        Some(MaxUnavailable::Percentage(percentage)) => {
            let value = percentage.to_string();
            params.push(json!({"type": "MaxUnavailablePercentage", "value": value}));
        }
        None => {}
    }
    if let Some(VersionChange { version, image, template, force: _ }) = &update.version {
        let given =
            [("Version", version), ("ReleaseVersion", image), ("LaunchTemplateVersion", template)];
        let given = given.iter().filter_map(|(kind, value)| Some((kind, value.as_ref()?)));
        params.extend(given.map(|(kind, value)| json!({"type": kind, "value": value})));
    }
    let errors: Vec<Value> = update
        .errors
        .iter()
        .map(|(code, message)| {
            json!({"errorCode": code, "errorMessage": message, "resourceIds": [change.nodegroup]})
        })
        .collect();
    json!({
        "id": update.id,
        "status": update.status.as_str(),
        "type": if update.version.is_some() { "VersionUpdate" } else { "ConfigUpdate" },
        "params": params,
        "createdAt": epoch_seconds(update.created),
        "errors": errors,
    })
}

fn update_config(
    fleet: &mut Fleet,
    name: &str,
    incoming: &Incoming,
    now: Timestamp,
) -> Result<(ConfigUpdate, bool), AwsError> {
    let body = parse_body(incoming)?;
    find_nodegroup(fleet, name)?;
    let change = parse_change(name, &body)?;
    start_update(fleet, change, None, &body, now)
}

fn update_version(
    fleet: &mut Fleet,
    name: &str,
    incoming: &Incoming,
    now: Timestamp,
) -> Result<(ConfigUpdate, bool), AwsError> {
    let body = parse_body(incoming)?;
    find_nodegroup(fleet, name)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let version = VersionChange {
        version: text(&body["version"]),
        image: text(&body["releaseVersion"]),
        template: text(&body["launchTemplate"]["version"]),
        force: body["force"].as_bool().unwrap_or_default(),
    };
    let change = ConfigChange { nodegroup: name.to_owned(), ..ConfigChange::default() };
    start_update(fleet, change, Some(version), &body, now)
}

fn parse_body(incoming: &Incoming) -> Result<Value, AwsError> {
    serde_json::from_slice(&incoming.body).map_err(|_| {
        let message = "Unable to unmarshal the request body";
        AwsError::new(400, "SerializationException", message)
    })
}

fn start_update(
    fleet: &mut Fleet,
    change: ConfigChange,
    version: Option<VersionChange>,
    body: &Value,
    now: Timestamp,
) -> Result<(ConfigUpdate, bool), AwsError> {
    let name = change.nodegroup.clone();
    let token = body.get("clientRequestToken").and_then(Value::as_str);
    fleet.start_update(change, version, token, now).map_err(|refused| {
        let error = match refused {
            UpdateError::NodegroupNotFound => {
                let message = format!("No node group found for name: {name}.");
                AwsError::new(404, "ResourceNotFoundException", message)
            }
            UpdateError::InUse => AwsError::new(
                409,
                "ResourceInUseException",
                "Nodegroup cannot be updated as it is currently not in Active State",
            ),
            UpdateError::InvalidSizes(message) | UpdateError::InvalidVersion(message) => {
                AwsError::new(400, "InvalidParameterException", message)
            }
            UpdateError::TokenReused => AwsError::new(
                400,
                "InvalidParameterException",
                "The clientRequestToken was used before with other parameters",
            ),
        };
        error.with_field("clusterName", &fleet.cluster).with_field("nodegroupName", &name)
    })
}

fn parse_change(name: &str, body: &Value) -> Result<ConfigChange, AwsError> {
    let size = |field: &str| {
        body["scalingConfig"]
            .get(field)
            .filter(|value| !value.is_null())
            .map(|value| {
                value.as_u64().and_then(|size| u32::try_from(size).ok()).ok_or_else(|| {
                    let message = format!("{field} must be a whole number that is not negative");
                    AwsError::new(400, "InvalidParameterException", message)
                })
            })
            .transpose()
    };
    let labels = &body["labels"];
    let added: BTreeMap<String, String> =
        serde_json::from_value(labels["addOrUpdateLabels"].clone()).unwrap_or_default();
    let removed: Vec<String> =
        serde_json::from_value(labels["removeLabels"].clone()).unwrap_or_default();
    let change = ConfigChange {
        nodegroup: name.to_owned(),
        min: size("minSize")?,
        max: size("maxSize")?,
        desired: size("desiredSize")?,
        add_labels: added,
        remove_labels: removed,
        add_taints: parse_taints(&body["taints"]["addOrUpdateTaints"])?,
        remove_taints: parse_taints(&body["taints"]["removeTaints"])?,
        max_unavailable: parse_max_unavailable(&body["updateConfig"])?,
    };
    let other_fields = ["taints", "updateConfig", "nodeRepairConfig"];
    let empty = change == ConfigChange { nodegroup: name.to_owned(), ..ConfigChange::default() }
        && other_fields.iter().all(|field| body.get(field).is_none());
    if empty {
        let message = "You must provide at least one of the following: labels, taints, \
                       scalingConfig, updateConfig or nodeRepairConfig";
        return Err(AwsError::new(400, "InvalidParameterException", message));
    }
    Ok(change)
}

fn parse_taints(list: &Value) -> Result<Vec<Taint>, AwsError> {
    let taint = |taint: &Value| {
        let text = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
        let effect = match taint["effect"].as_str() {
            Some("NO_SCHEDULE") => "NoSchedule",
            Some("NO_EXECUTE") => "NoExecute",
            Some("PREFER_NO_SCHEDULE") => "PreferNoSchedule",
            _ => {
                let message = "Taint effect must be one of NO_SCHEDULE, NO_EXECUTE or \
                               PREFER_NO_SCHEDULE";
                return Err(AwsError::new(400, "InvalidParameterException", message));
            }
        };
        Ok(Taint { key: text("key"), value: text("value"), effect: effect.to_owned() })
    };
    list.as_array().into_iter().flatten().map(taint).collect()
}

fn parse_max_unavailable(config: &Value) -> Result<Option<MaxUnavailable>, AwsError> {
    let number = |field: &str| {
        let number = config.get(field).filter(|value| !value.is_null());
        let in_range = |value: &Value| {
            let number = value.as_u64().filter(|number| (1..=100).contains(number));
            number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
                let message = format!("{field} must be between 1 and 100");
                AwsError::new(400, "InvalidParameterException", message)
            })
        };
        number.map(in_range).transpose()
    };
    match (number("maxUnavailable")?, number("maxUnavailablePercentage")?) {
        (Some(_), Some(_)) => {
            let message = "Only one of maxUnavailable and maxUnavailablePercentage can be given";
            Err(AwsError::new(400, "InvalidParameterException", message))
        }
        (Some(count), None) => Ok(Some(MaxUnavailable::Count(count))),
        (None, Some(percentage)) => Ok(Some(MaxUnavailable::Percentage(percentage))),
        (None, None) => Ok(None),
    }
}

fn list_updates(fleet: &Fleet, query: &QueryParameters) -> Result<Value, AwsError> {
    let ids = match query.get("nodegroupName") {
        // The cluster has no updates of its own.
        None => Vec::new(),
        Some(name) => {
            find_nodegroup(fleet, name)?;
            let updates = fleet.updates.iter().rev();
            let own = updates.filter(|update| update.change.nodegroup == name);
            own.map(|update| update.id.clone()).collect()
        }
    };
    names_response("updateIds", ids, query)
}

fn find_update<'a>(
    fleet: &'a Fleet,
    id: &str,
    query: &QueryParameters,
) -> Result<&'a ConfigUpdate, AwsError> {
    let nodegroup = query.get("nodegroupName");
    fleet
        .updates
        .iter()
        .find(|update| update.id == id && nodegroup == Some(update.change.nodegroup.as_str()))
        .ok_or_else(|| {
            let message = format!("No update found for ID: {id}");
            AwsError::new(404, "ResourceNotFoundException", message)
        })
}
