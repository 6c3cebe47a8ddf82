//! EKS: nodegroups and their updates.

use std::collections::BTreeMap;

use aws_sdk_eks::types as sdk;
use aws_smithy_types::base64;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::platform::error::{Error, ErrorKind};

use super::{AwsReader, AwsWriter, count, names::ensure_name, timestamp, to_sdk_count};

/// EKS throttles describing calls of one account together; more at once would only wait for each other.
const MAX_CONCURRENT: usize = 8;

/// The code of a 404 that is not an error of the service itself.
const UNKNOWN_CALL_CODE: &str = "404";

/// The identity of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EksCluster {
    /// Its ARN.
    pub arn: String,
    /// Its Kubernetes version, such as `1.35`.
    pub version: String,
    /// The address of its API server; none while the cluster is being created.
    pub endpoint: Option<String>,
    /// The certificates of its authority, in DER.
    pub authorities: Vec<Vec<u8>>,
}

/// A managed nodegroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodegroup {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The cluster that it belongs to.
    pub cluster: String,
    /// `ACTIVE`, `UPDATING`, `DEGRADED`, … as EKS spells it.
    pub status: String,
    /// The Kubernetes labels of its nodes.
    pub labels: BTreeMap<String, String>,
    /// The tags of the nodegroup itself, which its group does not have.
    pub tags: BTreeMap<String, String>,
    /// The taints that EKS puts on its nodes.
    pub taints: Vec<NodegroupTaint>,
    /// The least number of nodes.
    pub min: u32,
    /// The greatest number of nodes.
    pub max: u32,
    /// The wanted number of nodes, as EKS believes it; an autoscaler changes the group behind its back.
    pub desired: u32,
    /// How many nodes an update may replace at a time.
    pub update_config: UpdateConfig,
    /// The Kubernetes version of its nodes, such as `1.35`.
    pub version: String,
    /// The release of its image, such as `1.35.2-20260901`; the id of the image where it has one of its own.
    pub release_version: String,
    /// The launch template that it was made from; none where EKS has its own.
    pub launch_template: Option<LaunchTemplate>,
    /// The instance types that it may launch; none where its launch template names the one.
    pub instance_types: Vec<String>,
    /// `ON_DEMAND` or `SPOT`, as EKS spells it.
    pub capacity_type: String,
    /// The kind of its image, such as `AL2023_x86_64_STANDARD`.
    pub ami_type: String,
    /// The subnets of its instances.
    pub subnets: Vec<String>,
    /// The Auto Scaling groups that hold its instances.
    pub auto_scaling_groups: Vec<String>,
    /// The health issues that EKS reports.
    pub health: Vec<String>,
}

/// How many nodes of a nodegroup an update may replace at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateConfig {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percentage(u32),
}

/// A launch template of a nodegroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchTemplate {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// A change of a nodegroup's configuration; what is not given is not changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodegroupChange {
    /// The sizes.
    pub scaling: Scaling,
    /// The labels to add or to change.
    pub labels: BTreeMap<String, String>,
    /// The keys of the labels to remove.
    pub remove_labels: Vec<String>,
    /// The taints to add or to change.
    pub taints: Vec<NodegroupTaint>,
    /// The taints to remove.
    pub remove_taints: Vec<NodegroupTaint>,
    /// How many nodes an update may replace at a time.
    pub update_config: Option<UpdateConfig>,
}

/// A change of the version of a nodegroup's nodes; what is not given is what EKS chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodegroupVersion {
    /// The Kubernetes version.
    pub version: Option<String>,
    /// The release of the image.
    pub release_version: Option<String>,
    /// The launch template with its new version.
    pub launch_template: Option<LaunchTemplate>,
    /// Whether pods that cannot be evicted are ended all the same.
    pub force: bool,
}

/// A taint that a nodegroup declares, in the words of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodegroupTaint {
    /// Its key.
    pub key: String,
    /// Its value; empty where none is declared.
    pub value: String,
    /// `NoSchedule`, `NoExecute` or `PreferNoSchedule`.
    pub effect: String,
}

/// A change of a nodegroup that EKS works on or has worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Its id.
    pub id: String,
    /// The state.
    pub status: UpdateStatus,
    /// Why it failed.
    pub errors: Vec<String>,
    /// When it was asked for.
    pub created_at: Option<Timestamp>,
    /// The scaling that it was asked to set; all nothing if it is no change of scaling.
    pub scaling: Scaling,
    /// The version that it was asked to set; none if it is no change of the version.
    pub version: Option<RequestedVersion>,
}

/// The version that an update was asked to set, as far as EKS says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestedVersion {
    /// The Kubernetes version.
    pub version: Option<String>,
    /// The release of the image.
    pub release_version: Option<String>,
}

/// The state of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateStatus {
    /// EKS works on it.
    InProgress,
    /// The update is done. The nodes need not be ready.
    Successful,
    /// The update failed.
    Failed,
    /// The update was cancelled.
    Cancelled,
    /// A word that this program does not know.
    Unknown(String),
}

/// The numbers of a scaling configuration; what is not given is not changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scaling {
    /// The least number of nodes.
    pub min: Option<u32>,
    /// The greatest number of nodes.
    pub max: Option<u32>,
    /// The wanted number of nodes.
    pub desired: Option<u32>,
}

impl AwsReader {
    /// The identity of a cluster.
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::NotFound`] if there is no such cluster.
    pub async fn describe_cluster(&self, name: &str) -> Result<EksCluster, Error> {
        ensure_name("cluster name", name)?;
        let call = self.call("eks", "DescribeCluster", name);
        let response = self.clients.eks.describe_cluster().name(name).send().await;
        let response = response.map_err(|error| call.to_error(error))?;
        Ok(EksCluster::from_sdk(&call.require(response.cluster, "cluster")?))
    }

    /// The names of a cluster's nodegroups.
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::NotFound`] if there is no such cluster.
    pub async fn list_nodegroups(&self, cluster: &str) -> Result<Vec<String>, Error> {
        ensure_name("cluster name", cluster)?;
        let call = self.call("eks", "ListNodegroups", cluster);
        self.clients
            .eks
            .list_nodegroups()
            .cluster_name(cluster)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| call.to_error(error))
    }

    /// One nodegroup; nothing if the cluster has none of this name.
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::NotFound`] if there is no such cluster.
    pub async fn describe_nodegroup(
        &self,
        cluster: &str,
        name: &str,
    ) -> Result<Option<Nodegroup>, Error> {
        ensure_nodegroup(cluster, name)?;
        let resource = format!("{cluster}/{name}");
        let call = self.call("eks", "DescribeNodegroup", &resource);
        let response = self
            .clients
            .eks
            .describe_nodegroup()
            .cluster_name(cluster)
            .nodegroup_name(name)
            .send()
            .await;
        match response.map_err(|error| call.to_error(error)) {
            Ok(response) => call
                .require(response.nodegroup, "nodegroup")
                .map(|found| Some(Nodegroup::from_sdk(found, cluster, name))),
            Err(error) if is_missing_nodegroup(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Several nodegroups, a few at a time, in the order of their names here. One that vanished meanwhile is left
    /// out.
    ///
    /// # Errors
    /// A call failed.
    pub async fn describe_nodegroups(
        &self,
        cluster: &str,
        names: &[String],
    ) -> Result<Vec<Nodegroup>, Error> {
        // Made before they are streamed: a closure that borrows both could not be sent between threads.
        let reads: Vec<_> =
            names.iter().map(|name| self.describe_nodegroup(cluster, name)).collect();
        let found: Vec<Option<Nodegroup>> =
            futures::stream::iter(reads).buffered(MAX_CONCURRENT).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The ids of a nodegroup's updates, as EKS orders them; none where the service does not know the call (moto).
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::NotFound`] if there is no such nodegroup.
    pub async fn list_updates(&self, cluster: &str, nodegroup: &str) -> Result<Vec<String>, Error> {
        ensure_nodegroup(cluster, nodegroup)?;
        let resource = format!("{cluster}/{nodegroup}");
        let call = self.call("eks", "ListUpdates", &resource);
        let response = self
            .clients
            .eks
            .list_updates()
            .name(cluster)
            .nodegroup_name(nodegroup)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await;
        match response.map_err(|error| call.to_error(error)) {
            Err(error) if error.code() == UNKNOWN_CALL_CODE => Ok(Vec::new()),
            response => response,
        }
    }

    /// An update of a nodegroup; nothing if the service does not know it, or does not know this call at all (moto).
    ///
    /// # Errors
    /// The call failed.
    pub async fn describe_update(
        &self,
        cluster: &str,
        nodegroup: &str,
        id: &str,
    ) -> Result<Option<Update>, Error> {
        ensure_nodegroup(cluster, nodegroup)?;
        ensure_name("update id", id)?;
        let resource = format!("{cluster}/{nodegroup} {id}");
        let call = self.call("eks", "DescribeUpdate", &resource);
        let response = self
            .clients
            .eks
            .describe_update()
            .name(cluster)
            .nodegroup_name(nodegroup)
            .update_id(id)
            .send()
            .await;
        match response.map_err(|error| call.to_error(error)) {
            Ok(response) => {
                let update = call.require(response.update, "update")?;
                Ok(Some(Update::from_sdk(update, id)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AwsWriter {
    /// Asks EKS to change the configuration of a nodegroup. Sent with the writer's client token: EKS takes a repetition
    /// for the same request.
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::Busy`] while another update runs.
    pub async fn update_nodegroup_config(
        &self,
        cluster: &str,
        name: &str,
        change: &NodegroupChange,
    ) -> Result<Update, Error> {
        ensure_nodegroup(cluster, name)?;
        let resource = format!("{cluster}/{name}");
        let call = self.reader.call("eks", "UpdateNodegroupConfig", &resource);
        let request = self
            .reader
            .clients
            .eks_writes
            .update_nodegroup_config()
            .cluster_name(cluster)
            .nodegroup_name(name)
            .set_scaling_config(change.scaling_to_sdk())
            .set_labels(change.labels_to_sdk())
            .set_taints(change.taints_to_sdk())
            .set_update_config(change.update_config.map(UpdateConfig::to_sdk))
            .client_request_token(&*self.client_token);
        let sending = async { request.send().await.map_err(|error| call.to_error(error)) };
        let response = call.guard(&self.fence, sending).await?;
        let update = call.require(response.update, "update")?;
        let id = call.require(update.id.clone(), "update id")?;
        Ok(Update::from_sdk(update, &id))
    }

    /// Asks EKS to replace the nodes of a nodegroup by nodes of another version. Sent with the writer's client token.
    ///
    /// # Errors
    /// The call failed; [`ErrorKind::Busy`] while another update runs.
    pub async fn update_nodegroup_version(
        &self,
        cluster: &str,
        name: &str,
        to: &NodegroupVersion,
    ) -> Result<Update, Error> {
        ensure_nodegroup(cluster, name)?;
        let resource = format!("{cluster}/{name}");
        let call = self.reader.call("eks", "UpdateNodegroupVersion", &resource);
        let template = to.launch_template.as_ref().map(|template| {
            sdk::LaunchTemplateSpecification::builder()
                .id(&template.id)
                .version(&template.version)
                .build()
        });
        let request = self
            .reader
            .clients
            .eks_writes
            .update_nodegroup_version()
            .cluster_name(cluster)
            .nodegroup_name(name)
            .set_version(to.version.clone())
            .set_release_version(to.release_version.clone())
            .set_launch_template(template)
            .force(to.force)
            .client_request_token(&*self.client_token);
        let sending = async { request.send().await.map_err(|error| call.to_error(error)) };
        let response = call.guard(&self.fence, sending).await?;
        let update = call.require(response.update, "update")?;
        let id = call.require(update.id.clone(), "update id")?;
        Ok(Update::from_sdk(update, &id))
    }
}

fn ensure_nodegroup(cluster: &str, name: &str) -> Result<(), Error> {
    ensure_name("cluster name", cluster)?;
    ensure_name("nodegroup name", name)
}

impl EksCluster {
    fn from_sdk(found: &sdk::Cluster) -> Self {
        let data = found.certificate_authority().and_then(|authority| authority.data());
        let pem = data.and_then(|data| base64::decode(data).ok());
        let pem = pem.and_then(|pem| String::from_utf8(pem).ok()).unwrap_or_default();
        Self {
            arn: found.arn.clone().unwrap_or_default(),
            version: found.version.clone().unwrap_or_default(),
            endpoint: found.endpoint.clone(),
            authorities: certificates(&pem),
        }
    }
}

/// Returns the certificates of a text in PEM. One that cannot be read is left out.
fn certificates(pem: &str) -> Vec<Vec<u8>> {
    let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = blocks.filter_map(|block| block.split("-----END CERTIFICATE-----").next());
    let compact = |body: &str| body.split_whitespace().collect::<String>();
    bodies.filter_map(|body| base64::decode(compact(body)).ok()).collect()
}

impl Nodegroup {
    fn from_sdk(found: sdk::Nodegroup, cluster: &str, name: &str) -> Self {
        let scaling = found.scaling_config.as_ref();
        let groups = found.resources.and_then(|resources| resources.auto_scaling_groups);
        let issues = found.health.and_then(|health| health.issues);
        let template = found.launch_template.and_then(|template| {
            let version = template.version.unwrap_or_default();
            Some(LaunchTemplate { id: template.id?, version })
        });
        Self {
            update_config: UpdateConfig::from_sdk(found.update_config.as_ref()),
            version: found.version.unwrap_or_default(),
            release_version: found.release_version.unwrap_or_default(),
            launch_template: template,
            instance_types: found.instance_types.unwrap_or_default(),
            capacity_type: found
                .capacity_type
                .map_or_else(String::new, |kind| kind.as_str().to_owned()),
            ami_type: found.ami_type.map_or_else(String::new, |kind| kind.as_str().to_owned()),
            subnets: found.subnets.unwrap_or_default(),
            min: count(scaling.and_then(|scaling| scaling.min_size)),
            max: count(scaling.and_then(|scaling| scaling.max_size)),
            desired: count(scaling.and_then(|scaling| scaling.desired_size)),
            name: found.nodegroup_name.unwrap_or_else(|| name.to_owned()),
            arn: found.nodegroup_arn.unwrap_or_default(),
            cluster: found.cluster_name.unwrap_or_else(|| cluster.to_owned()),
            status: found.status.map_or_else(String::new, |status| status.as_str().to_owned()),
            labels: found.labels.unwrap_or_default().into_iter().collect(),
            tags: found.tags.unwrap_or_default().into_iter().collect(),
            taints: found
                .taints
                .unwrap_or_default()
                .into_iter()
                .map(NodegroupTaint::from_sdk)
                .collect(),
            auto_scaling_groups: groups
                .unwrap_or_default()
                .into_iter()
                .filter_map(|group| group.name)
                .collect(),
            health: issues.unwrap_or_default().iter().map(describe_issue).collect(),
        }
    }
}

impl NodegroupTaint {
    fn from_sdk(found: sdk::Taint) -> Self {
        // EKS spells the effects in its own way.
        let effect = match found.effect {
            Some(sdk::TaintEffect::NoSchedule) => "NoSchedule".to_owned(),
            Some(sdk::TaintEffect::NoExecute) => "NoExecute".to_owned(),
            Some(sdk::TaintEffect::PreferNoSchedule) => "PreferNoSchedule".to_owned(),
            other => other.map_or_else(String::new, |effect| effect.as_str().to_owned()),
        };
        Self { key: found.key.unwrap_or_default(), value: found.value.unwrap_or_default(), effect }
    }

    /// Returns an effect as EKS spells it.
    pub fn eks_effect(effect: &str) -> &str {
        match effect {
            "NoSchedule" => "NO_SCHEDULE",
            "NoExecute" => "NO_EXECUTE",
            "PreferNoSchedule" => "PREFER_NO_SCHEDULE",
            other => other,
        }
    }

    fn to_sdk(&self) -> sdk::Taint {
        sdk::Taint::builder()
            .key(&self.key)
            .value(&self.value)
            .effect(Self::eks_effect(&self.effect).into())
            .build()
    }
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl UpdateConfig {
    /// Without one, EKS replaces one node at a time.
    fn from_sdk(found: Option<&sdk::NodegroupUpdateConfig>) -> Self {
        let percentage = found.and_then(|config| config.max_unavailable_percentage);
        match percentage {
            Some(percentage) => Self::Percentage(count(Some(percentage))),
            None => {
                let number = found.and_then(|config| config.max_unavailable);
                number.map_or(Self::default(), |number| Self::Count(count(Some(number))))
            }
        }
    }

    fn to_sdk(self) -> sdk::NodegroupUpdateConfig {
        let config = sdk::NodegroupUpdateConfig::builder();
        match self {
            Self::Count(count) => config.max_unavailable(to_sdk_count(count)).build(),
            Self::Percentage(percentage) => {
                config.max_unavailable_percentage(to_sdk_count(percentage)).build()
            }
        }
    }
}

impl NodegroupChange {
    fn scaling_to_sdk(&self) -> Option<sdk::NodegroupScalingConfig> {
        (self.scaling != Scaling::default()).then(|| self.scaling.to_sdk())
    }

    fn labels_to_sdk(&self) -> Option<sdk::UpdateLabelsPayload> {
        if self.labels.is_empty() && self.remove_labels.is_empty() {
            return None;
        }
        let labels = self.labels.clone().into_iter().collect();
        let payload = sdk::UpdateLabelsPayload::builder().set_add_or_update_labels(Some(labels));
        Some(payload.set_remove_labels(Some(self.remove_labels.clone())).build())
    }

    fn taints_to_sdk(&self) -> Option<sdk::UpdateTaintsPayload> {
        if self.taints.is_empty() && self.remove_taints.is_empty() {
            return None;
        }
        let all = |taints: &[NodegroupTaint]| taints.iter().map(NodegroupTaint::to_sdk).collect();
        let payload = sdk::UpdateTaintsPayload::builder();
        let payload = payload.set_add_or_update_taints(Some(all(&self.taints)));
        Some(payload.set_remove_taints(Some(all(&self.remove_taints))).build())
    }
}

impl From<Scaling> for NodegroupChange {
    fn from(scaling: Scaling) -> Self {
        Self { scaling, ..Self::default() }
    }
}

impl Update {
    fn from_sdk(found: sdk::Update, id: &str) -> Self {
        let params = found.params.unwrap_or_default();
        let text = |kind: &sdk::UpdateParamType| {
            let param = params.iter().find(|param| param.r#type.as_ref() == Some(kind))?;
            param.value.clone()
        };
        let is_of_version = found.r#type == Some(sdk::UpdateType::VersionUpdate);
        Self {
            version: is_of_version.then(|| RequestedVersion {
                version: text(&sdk::UpdateParamType::Version),
                release_version: text(&sdk::UpdateParamType::ReleaseVersion),
            }),
            id: found.id.unwrap_or_else(|| id.to_owned()),
            status: UpdateStatus::from_code(
                found.status.as_ref().map_or("", |status| status.as_str()),
            ),
            errors: found.errors.unwrap_or_default().iter().map(describe_error).collect(),
            created_at: timestamp(found.created_at),
            scaling: Scaling {
                min: size_param(&params, &sdk::UpdateParamType::MinSize),
                max: size_param(&params, &sdk::UpdateParamType::MaxSize),
                desired: size_param(&params, &sdk::UpdateParamType::DesiredSize),
            },
        }
    }
}

impl UpdateStatus {
    fn from_code(code: &str) -> Self {
        match code {
            "InProgress" => Self::InProgress,
            "Successful" => Self::Successful,
            "Failed" => Self::Failed,
            "Cancelled" => Self::Cancelled,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Whether nothing more will come of it.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Cancelled)
    }
}

impl Scaling {
    fn to_sdk(self) -> sdk::NodegroupScalingConfig {
        sdk::NodegroupScalingConfig::builder()
            .set_min_size(self.min.map(to_sdk_count))
            .set_max_size(self.max.map(to_sdk_count))
            .set_desired_size(self.desired.map(to_sdk_count))
            .build()
    }
}

/// EKS has one code for both, and tells them apart in words only.
fn is_missing_nodegroup(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
        && !error.to_string().to_lowercase().contains("no cluster found")
}

fn size_param(params: &[sdk::UpdateParam], kind: &sdk::UpdateParamType) -> Option<u32> {
    let param = params.iter().find(|param| param.r#type.as_ref() == Some(kind))?;
    param.value.as_ref()?.parse().ok()
}

fn describe_issue(issue: &sdk::Issue) -> String {
    let code = issue.code.as_ref().map_or("", |code| code.as_str());
    describe(code, issue.message.as_deref(), issue.resource_ids.as_deref())
}

fn describe_error(error: &sdk::ErrorDetail) -> String {
    let code = error.error_code.as_ref().map_or("", |code| code.as_str());
    describe(code, error.error_message.as_deref(), error.resource_ids.as_deref())
}

fn describe(code: &str, message: Option<&str>, resources: Option<&[String]>) -> String {
    let mut text = code.to_owned();
    if let Some(message) = message.filter(|message| !message.is_empty()) {
        text.push_str(": ");
        text.push_str(message);
    }
    if let Some(resources) = resources.filter(|resources| !resources.is_empty()) {
        text.push_str(&format!(" ({})", resources.join(", ")));
    }
    text
}
