//! `list_pods`: the pods of a deployment or a selector, and what they run on.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::{InstanceId, NodeName};
use super::{
    Action, Condition, KnownTargets, KubernetesScope, Permission, PlatformReader, Progress, Read,
    RepeatedParam, Result,
    types::{NodeInstances, PodRecord, count_u32},
    workload,
};
use crate::platform::kubernetes::pod::Pod;
use crate::platform::kubernetes::{self, Selection, pod};

/// Lists the pods of a deployment, or those that a label selector matches, with the nodes that they run on.
///
/// A deployment's pods are those that its replica sets control. Pods that have finished or were told to end are left
/// out; pods that wait for a node are not, and their `node` and `instance` are null.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["deployment", "selector"]]))]
pub struct Params {
    /// Namespace of the pods.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the deployment.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "deployment-name"))]
    pub deployment: Option<String>,
    /// A label selector as kubectl takes it, such as `app=rafay-relay,tier!=test`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    #[schemars(extend("x-syntax" = "label-selector"))]
    pub selector: Option<String>,
}

/// The pods and what they run on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many pods there are.
    pub count: u32,
    /// The pods, by name.
    pub pods: Vec<PodRecord>,
    /// Names of the nodes that they run on, each once, sorted.
    #[schemars(with = "Vec<NodeName>")]
    pub nodes: Vec<String>,
    /// Ids of the EC2 instances that they run on, each once, sorted.
    #[schemars(with = "Vec<InstanceId>")]
    pub instances: Vec<String>,
}

pub(super) struct ListPods;

impl Action for ListPods {
    const NAME: &'static str = "list_pods";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::core("pods", &["list"], KubernetesScope::Namespace("namespace")),
        Permission::core("nodes", &["list"], KubernetesScope::Cluster),
        Permission::apps(
            "deployments",
            &["get"],
            KubernetesScope::Object { namespace: "namespace", name: "deployment" },
        )
        .only(Condition::IfGiven("deployment")),
        Permission::apps("replicasets", &["list"], KubernetesScope::Namespace("namespace"))
            .only(Condition::IfGiven("deployment")),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] =
        &[RepeatedParam::new("pods[].namespace", "namespace")];
    type Params = Params;
    type Output = Output;

    fn add_known_targets(output: &Output, known: &mut KnownTargets) {
        output.pods.iter().for_each(|pod| known.add_pod(pod));
    }
}

impl Read for ListPods {
    async fn read(params: Params, reader: &PlatformReader, _: &Progress) -> Result<Output> {
        let kubernetes = reader.kubernetes().await?;
        let pods = match &params.deployment {
            Some(name) => list_of_deployment(&kubernetes, &params.namespace, name).await?,
            None => list_of_selector(&kubernetes, &params).await?,
        };
        Ok(output(pods))
    }
}

async fn list_of_deployment(
    kubernetes: &kubernetes::KubernetesReader,
    namespace: &str,
    name: &str,
) -> Result<Vec<PodRecord>> {
    let deployment = workload::deployment(kubernetes, namespace, name).await?;
    let snapshot = workload::read_snapshot(kubernetes, deployment).await?;
    Ok(snapshot.records(&NodeInstances::read(kubernetes).await?))
}

async fn list_of_selector(
    kubernetes: &kubernetes::KubernetesReader,
    params: &Params,
) -> Result<Vec<PodRecord>> {
    let selector = params.selector.clone().unwrap_or_default();
    let selection = Selection::in_namespace(&params.namespace).with_labels(selector);
    let pods = kubernetes.list::<Pod>(&selection).await?;
    let instances = NodeInstances::read(kubernetes).await?;
    let active = pods.iter().filter(|pod| pod::is_active(pod));
    Ok(active.map(|pod| PodRecord::of(pod, &instances)).collect())
}

fn output(mut pods: Vec<PodRecord>) -> Output {
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    let distinct = |of: fn(&PodRecord) -> Option<&String>| -> Vec<String> {
        let all: BTreeSet<&String> = pods.iter().filter_map(of).collect();
        all.into_iter().cloned().collect()
    };
    Output {
        count: count_u32(&pods),
        nodes: distinct(|pod| pod.node.as_ref()),
        instances: distinct(|pod| pod.instance.as_ref()),
        pods,
    }
}
