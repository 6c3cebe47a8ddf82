//! `read_config`: which region and which cluster.

use k8s_openapi::api::core::v1::ConfigMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Error, KubernetesScope, Permission, PlatformReader, Progress, Read, Result};

/// Reads the AWS region and the EKS cluster's name from a ConfigMap.
///
/// The environment variables `AWS_REGION` and `EKS_CLUSTER` come before the ConfigMap; where neither says anything,
/// the defaults hold. A ConfigMap that is not there counts as empty; one that may not be read is an error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Namespace of the ConfigMap.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the ConfigMap.
    #[serde(default = "default_name")]
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub name: String,
    /// Key that holds the AWS region.
    #[serde(default = "default_region_key")]
    pub region_key: String,
    /// Key that holds the name of the EKS cluster.
    #[serde(default = "default_cluster_key")]
    pub cluster_key: String,
    /// The region where nothing else names one.
    #[serde(default = "default_region")]
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub default_region: String,
    /// The cluster where nothing else names one.
    #[serde(default = "default_cluster")]
    #[schemars(extend("x-syntax" = "cluster-name"))]
    pub default_cluster: String,
}

/// The output of `read_config`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// AWS region.
    #[schemars(extend("x-syntax" = "aws-region"))]
    pub region: String,
    /// Name of the EKS cluster.
    #[schemars(extend("x-syntax" = "cluster-name"))]
    pub cluster: String,
    /// Where the region was found.
    pub region_from: Origin,
    /// Where the cluster's name was found.
    pub cluster_from: Origin,
}

/// Where a setting was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// In the environment.
    Environment,
    /// In the ConfigMap.
    ConfigMap,
    /// Nowhere: the default.
    Default,
}

pub(super) struct ReadConfig;

impl Action for ReadConfig {
    const NAME: &'static str = "read_config";
    const PERMISSIONS: &'static [Permission] = &[Permission::core(
        "configmaps",
        &["get"],
        KubernetesScope::Object { namespace: "namespace", name: "name" },
    )];
    type Params = Params;
    type Output = Output;
}

impl Read for ReadConfig {
    async fn read(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        let kubernetes = reader.kubernetes().await?;
        let found = kubernetes.get::<ConfigMap>(Some(&params.namespace), &params.name).await?;
        if found.is_none() {
            progress.report(&format!(
                "ConfigMap {}/{} is not there: using the environment and the defaults",
                params.namespace, params.name
            ));
        }
        let is_there = found.is_some();
        let data = found.and_then(|map| map.data).unwrap_or_default();
        let map = format!("ConfigMap {}/{}", params.namespace, params.name);
        let setting = |variable: &str, key: &str, default: &str| {
            let in_map = data.get(key).map(String::as_str);
            let (value, from) = choose(reader.environment(variable), in_map, default);
            if is_there && let Some(why) = override_notice(from, variable, key, in_map, &value) {
                progress.report(&format!("{map} {why}"));
            }
            (value, from)
        };
        let (region, region_from) =
            setting("AWS_REGION", &params.region_key, &params.default_region);
        let (cluster, cluster_from) =
            setting("EKS_CLUSTER", &params.cluster_key, &params.default_cluster);
        if region.is_empty() || cluster.is_empty() {
            return Err(Error::precondition(format!(
                "no region or no cluster in the environment, {map} or the defaults"
            ))
            .with_hint(format!(
                "set AWS_REGION and EKS_CLUSTER, or the keys {} and {} of the ConfigMap",
                params.region_key, params.cluster_key
            )));
        }
        Ok(Output { region, cluster, region_from, cluster_from })
    }
}

/// The first that says something. A blank value says nothing: an empty variable is how a shell unsets one.
fn choose(environment: Option<&str>, map: Option<&str>, default: &str) -> (String, Origin) {
    let non_blank =
        |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(text) = non_blank(environment) {
        return (text, Origin::Environment);
    }
    match non_blank(map) {
        Some(text) => (text, Origin::ConfigMap),
        None => (default.trim().to_owned(), Origin::Default),
    }
}

/// Returns the ConfigMap's value of a setting, where another value is used: it may be another cluster than is meant.
fn override_notice(
    from: Origin,
    variable: &str,
    key: &str,
    in_map: Option<&str>,
    value: &str,
) -> Option<String> {
    let in_map = in_map.map(str::trim).filter(|text| !text.is_empty() && *text != value);
    match (from, in_map) {
        (Origin::Default, _) => Some(format!("has no {key}: using the default {value}")),
        (Origin::Environment, Some(text)) => {
            Some(format!("says {key} {text}, but {variable} is set: using {value}"))
        }
        _ => None,
    }
}

fn default_name() -> String {
    "rafay-relay-sop-config".into()
}

fn default_region_key() -> String {
    "aws-region".into()
}

fn default_cluster_key() -> String {
    "eks-cluster".into()
}

fn default_region() -> String {
    "us-west-2".into()
}

fn default_cluster() -> String {
    "rafay-cluster".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overridden_map_value_is_reported() {
        let notice = |from, in_map| override_notice(from, "AWS_REGION", "aws-region", in_map, "a");
        let default = Some("has no aws-region: using the default a".to_owned());
        assert_eq!(notice(Origin::Default, None), default);
        assert_eq!(notice(Origin::Default, Some(" ")), default);
        let other = Some("says aws-region b, but AWS_REGION is set: using a".to_owned());
        assert_eq!(notice(Origin::Environment, Some("b\n")), other);
        assert_eq!(notice(Origin::Environment, Some("a")), None);
        assert_eq!(notice(Origin::Environment, None), None);
        assert_eq!(notice(Origin::ConfigMap, Some("a")), None);
    }

    #[test]
    fn the_environment_comes_first_and_blank_values_are_ignored() {
        let cases = [
            ((Some("a"), Some("b")), ("a", Origin::Environment)),
            ((Some(" "), Some("b")), ("b", Origin::ConfigMap)),
            ((None, Some(" b\n")), ("b", Origin::ConfigMap)),
            ((None, Some("")), ("c", Origin::Default)),
            ((None, None), ("c", Origin::Default)),
        ];
        for ((environment, map), (value, origin)) in cases {
            assert_eq!(choose(environment, map, "c"), (value.to_owned(), origin));
        }
    }
}
