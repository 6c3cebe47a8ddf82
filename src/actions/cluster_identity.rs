//! Whether the Kubernetes cluster is the EKS cluster that a runbook names.

use std::collections::BTreeSet;

use url::Url;

use super::{
    Error, Result,
    types::{NodeRecord, NodegroupName},
};
use crate::platform::{
    ErrorKind,
    aws::{AutoScalingGroup, AwsReader, EksCluster},
    kubernetes::KubernetesReader,
};

/// Refuses if the kubeconfig may name another cluster than the runbook. The cluster is proven by the endpoint or the
/// certificate authority that EKS reports, else by an instance of the nodegroup that is a node of it: a kubeconfig may
/// lead through a proxy that has an address and an authority of its own.
pub(super) async fn ensure_same_cluster(
    name: &NodegroupName,
    group: &AutoScalingGroup,
    nodes: &[NodeRecord],
    aws: &AwsReader,
    kubernetes: &KubernetesReader,
) -> Result<()> {
    let by_description = match aws.describe_cluster(&name.cluster).await {
        Ok(cluster) => check_description(&cluster, kubernetes.server(), kubernetes.authorities()),
        // A role from before this call was needed may not allow it.
        Err(error) if error.kind() == ErrorKind::Denied => {
            Err(format!("its endpoint is unknown ({error})"))
        }
        Err(error) => return Err(error.into()),
    };
    let Err(no_endpoint) = by_description else { return Ok(()) };
    let Err(no_instance) = check_instances(name, group, nodes) else { return Ok(()) };
    let NodegroupName { region, cluster, .. } = name;
    Err(Error::precondition(format!(
        "cannot verify that the Kubernetes cluster is EKS cluster {cluster} in {region}: {no_endpoint}, and {no_instance}"
    ))
    .with_hint(format!(
        "check the kubeconfig's context (`--context`) and the runbook's cluster; \
         `aws eks update-kubeconfig --region {region} --name {cluster}` writes a context that can be verified"
    )))
}

/// Compares the description of the cluster with the connection, or returns why the two do not fit.
fn check_description(
    cluster: &EksCluster,
    server: &str,
    authorities: &[Vec<u8>],
) -> Result<(), String> {
    let Some(endpoint) = &cluster.endpoint else {
        return Err("EKS reports no endpoint for it".into());
    };
    let trusted: BTreeSet<&Vec<u8>> = authorities.iter().collect();
    if is_same_endpoint(endpoint, server)
        || cluster.authorities.iter().any(|authority| trusted.contains(authority))
    {
        return Ok(());
    }
    let authority = match (authorities, cluster.authorities.as_slice()) {
        ([], _) | (_, []) => "",
        _ => " with another certificate authority",
    };
    Err(format!("its endpoint is {endpoint}, but the API server is {server}{authority}"))
}

/// Returns whether two addresses have the same host and port.
fn is_same_endpoint(one: &str, other: &str) -> bool {
    let place = |address: &str| {
        let url = Url::parse(address).ok()?;
        Some((url.host_str()?.to_ascii_lowercase(), url.port_or_known_default()?))
    };
    place(one).is_some_and(|one| place(other) == Some(one))
}

/// Searches for an instance of the nodegroup that is a node of the Kubernetes cluster, or returns why none proves it.
fn check_instances(
    name: &NodegroupName,
    group: &AutoScalingGroup,
    nodes: &[NodeRecord],
) -> Result<(), String> {
    let mut running = group.instances.iter().filter(|instance| instance.is_in_service());
    let is_node_here = |id: &str| nodes.iter().any(|node| node.instance == id);
    if running.clone().any(|instance| is_node_here(&instance.id)) {
        return Ok(());
    }
    Err(match running.next() {
        Some(instance) => {
            format!("instance {} of nodegroup {} is not a node of it", instance.id, name.name)
        }
        None => format!("nodegroup {} has no instance in service", name.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let is_same = is_same_endpoint;
        assert!(is_same(
            "https://ABC.gr7.eks.amazonaws.com",
            "https://abc.gr7.eks.amazonaws.com:443/"
        ));
        assert!(is_same("http://127.0.0.1:1/", "http://127.0.0.1:1"));
        assert!(!is_same("https://abc.gr7.eks.amazonaws.com", "https://localhost:443"));
        assert!(!is_same("https://localhost:8443", "https://localhost:9443"));
        assert!(!is_same("", ""));
    }

    #[test]
    fn the_certificate_authority_proves_a_cluster_behind_another_address() {
        let cluster = EksCluster {
            endpoint: Some("https://abc.gr7.eks.amazonaws.com".into()),
            authorities: vec![vec![1, 2]],
            ..EksCluster::default()
        };
        let check = |authorities: &[Vec<u8>]| {
            check_description(&cluster, "https://localhost:8443", authorities)
        };
        assert_eq!(check(&[vec![9], vec![1, 2]]), Ok(()));
        let other = "its endpoint is https://abc.gr7.eks.amazonaws.com, but the API server is https://localhost:8443";
        assert_eq!(check(&[]).unwrap_err(), other);
        let with_another = format!("{other} with another certificate authority");
        assert_eq!(check(&[vec![9]]).unwrap_err(), with_another);
    }
}
