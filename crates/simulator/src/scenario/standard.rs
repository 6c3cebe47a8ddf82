//! The default scenario: the cluster of the original service, arranged so that every step of
//! relay-scale has an effect.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ConfigMap, Deployment, FailingImage, Nodegroup, Scenario, SlowLaunch, Spread, Times};

const NAMESPACE: &str = "rafay-core";
const RELAY_LABEL: &str = "nodegroup-relay-services";

impl Default for Scenario {
    fn default() -> Self {
        Self {
            nodegroups: nodegroups(),
            namespaces: vec![NAMESPACE.to_owned()],
            config_maps: vec![ConfigMap {
                namespace: NAMESPACE.to_owned(),
                name: "rafay-relay-sop-config".to_owned(),
                data: labels(&[("aws-region", "us-west-2"), ("eks-cluster", "rafay-cluster")]),
            }],
            deployments: deployments(),
            ..Self::empty()
        }
    }
}

impl Scenario {
    /// Returns a scenario with the default account and cluster, without nodegroups and objects.
    pub fn empty() -> Self {
        Self {
            seed: 1,
            account: "123456789012".to_owned(),
            region: "us-west-2".to_owned(),
            cluster: "rafay-cluster".to_owned(),
            version: "1.35".to_owned(),
            cluster_uid: None,
            times: Times::default(),
            nodegroups: Vec::new(),
            auto_scaling_groups: Vec::new(),
            namespaces: Vec::new(),
            config_maps: Vec::new(),
            deployments: Vec::new(),
            objects: Vec::new(),
            cluster_objects: Vec::new(),
            workload_times: Vec::new(),
            failing_images: Vec::<FailingImage>::new(),
        }
    }
}

/// Returns three groups: two have the label by which relay-scale selects, and of these two only the
/// first has more than one node.
fn nodegroups() -> Vec<Nodegroup> {
    let plain = Nodegroup::default();
    vec![
        Nodegroup {
            name: "relay-services-1a2b3c".to_owned(),
            labels: labels(&[("Name", RELAY_LABEL)]),
            min: 3,
            // Twice the size exceeds `max`, so `max` has to be raised.
            max: 4,
            desired: 3,
            // Left from an earlier run.
            protected: vec![1, 2],
            slow: vec![SlowLaunch {
                nth: 2,
                boot: Duration::from_secs(90),
                node_ready: None,
                never_ready: false,
            }],
            ..plain.clone()
        },
        Nodegroup {
            name: "relay-services-canary".to_owned(),
            labels: labels(&[("Name", RELAY_LABEL), ("track", "canary")]),
            ..plain.clone()
        },
        Nodegroup {
            name: "core-services".to_owned(),
            labels: labels(&[("Name", "nodegroup-core-services")]),
            min: 2,
            max: 5,
            desired: 2,
            ..plain
        },
    ]
}

fn deployments() -> Vec<Deployment> {
    let relay_nodes = labels(&[("eks.amazonaws.com/nodegroup", "relay-services-1a2b3c")]);
    let core_nodes = labels(&[("Name", "nodegroup-core-services")]);
    let deployment =
        |name: &str, replicas, node_selector: &BTreeMap<String, String>, spread| Deployment {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            replicas,
            image: format!("registry.example.com/rafay/{name}:1.0"),
            node_selector: node_selector.clone(),
            spread,
            cpu: "200m".to_owned(),
            grace: 30,
            min_ready_seconds: 0,
            progress_deadline: 600,
            paused: false,
        };
    vec![
        // One relay pod per node: its replacements have to wait for free nodes.
        deployment("rafay-relay", 3, &relay_nodes, Spread::Required),
        deployment("rafay-sentry", 2, &core_nodes, Spread::Preferred),
        // These pods share the old nodes; cordoning must not affect them.
        deployment("relay-cache", 2, &relay_nodes, Spread::Preferred),
    ]
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
