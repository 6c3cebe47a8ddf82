//! Which EKS cluster it is that a kubeconfig leads to.

use std::collections::BTreeMap;

use url::Url;

use super::{ClusterScope, SnapshotObject};
use crate::platform::aws::Instance;

/// The label of a node's region.
const REGION_LABEL: &str = "topology.kubernetes.io/region";
/// The label with which eksctl names the cluster of a node.
const CLUSTER_LABEL: &str = "alpha.eksctl.io/cluster-name";

/// Returns the cluster as far as it is named, by the caller or by the context and the address of the kubeconfig, or by
/// labels of the nodes.
pub(super) fn locate(
    scope: &ClusterScope,
    context: Option<&str>,
    server: &str,
    nodes: &[SnapshotObject],
) -> ClusterScope {
    let named = context.and_then(of_context).unwrap_or_default();
    let region = scope.region.clone().or(named.region).or_else(|| region_of_server(server));
    // A name in another region is that of another cluster.
    let is_same_region = scope.region.is_none() || scope.region == region;
    let cluster = scope.cluster.clone().or(named.cluster.filter(|_| is_same_region));
    ClusterScope {
        region: region
            .or_else(|| most_frequent(nodes.iter().map(|node| label(node, REGION_LABEL)))),
        cluster: cluster
            .or_else(|| most_frequent(nodes.iter().map(|node| label(node, CLUSTER_LABEL)))),
    }
}

/// Returns the name of the cluster by the tags of the nodes' instances.
pub(super) fn cluster_of_instances(instances: &[Instance]) -> Option<String> {
    most_frequent(instances.iter().map(|instance| instance.cluster.clone().unwrap_or_default()))
}

/// Returns the id of the instance of a node: the end of `aws:///us-west-2a/i-0abc`.
pub(super) fn instance_id(node: &SnapshotObject) -> Option<&str> {
    let provider = node.text("/spec/providerID").strip_prefix("aws:")?;
    provider.rsplit('/').next().filter(|id| id.starts_with("i-"))
}

/// Reads the name of the context that `aws eks update-kubeconfig` makes, which is the ARN of the cluster.
fn of_context(context: &str) -> Option<ClusterScope> {
    let parts: Vec<&str> = context.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "eks", region, _, resource] => Some(ClusterScope {
            region: Some((*region).to_owned()),
            cluster: resource.strip_prefix("cluster/").map(str::to_owned),
        }),
        _ => None,
    }
}

/// Returns the region in the address of an EKS cluster: `https://ID.gr7.us-west-2.eks.amazonaws.com`.
fn region_of_server(server: &str) -> Option<String> {
    let url = Url::parse(server).ok()?;
    let host = url.host_str()?.trim_end_matches(".cn");
    host.strip_suffix(".eks.amazonaws.com")?.rsplit('.').next().map(str::to_owned)
}

fn label(node: &SnapshotObject, key: &str) -> String {
    let labels = node.object.pointer("/metadata/labels");
    labels.and_then(|labels| labels[key].as_str()).unwrap_or_default().to_owned()
}

/// Returns the text that occurs most often, without counting empty ones.
fn most_frequent(texts: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts.filter(|text| !text.is_empty()) {
        *counts.entry(text).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(
        scope: &ClusterScope,
        context: &str,
        server: &str,
    ) -> (Option<String>, Option<String>) {
        let found = locate(scope, Some(context), server, &[]);
        (found.region, found.cluster)
    }

    fn scope(region: &str, cluster: &str) -> ClusterScope {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ClusterScope { region: given(region), cluster: given(cluster) }
    }

    #[test]
    fn the_context_of_the_aws_cli_and_the_address_name_the_cluster() {
        let arn = "arn:aws:eks:eu-west-1:123456789012:cluster/relay";
        let server = "https://ABC.gr7.us-west-2.eks.amazonaws.com";
        let found = |region: &str, cluster: &str| {
            let ClusterScope { region, cluster } = scope(region, cluster);
            (region, cluster)
        };
        assert_eq!(located(&scope("", ""), arn, server), found("eu-west-1", "relay"));
        assert_eq!(located(&scope("", ""), "relay", server), found("us-west-2", ""));
        assert_eq!(located(&scope("", "other"), arn, server), found("eu-west-1", "other"));
        assert_eq!(located(&scope("", ""), "relay", "http://127.0.0.1:8080"), found("", ""));
    }
}
