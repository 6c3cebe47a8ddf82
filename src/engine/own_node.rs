//! Whether a run acts on the node on which this process runs: the pod says which node that is, in an environment
//! variable that the manifests set.

use super::{CheckedRunbook, Engine};
use crate::platform::kubernetes::node::Node;
use crate::{
    permissions::{self, Access, AwsAccess, AwsResource, RunbookContext},
    platform::{NODE_NAME, kubernetes::node},
};
use runbook::EvaluationScope;

impl Engine {
    /// Returns a warning when this process runs on a node of a nodegroup that the run changes, and the run cordons or
    /// drains nodes: the process may have to move in the middle of the run. What cannot be read is no warning.
    pub(super) async fn own_node_warning(
        &self,
        checked: &CheckedRunbook,
        scope: &EvaluationScope,
    ) -> Option<String> {
        let reader = self.platform.reader();
        let own = reader.environment(NODE_NAME).filter(|name| !name.is_empty())?;
        let requirements =
            permissions::of_runbook(checked.runbook(), scope, &RunbookContext::default());
        let cordons = requirements.iter().any(|requirement| {
            matches!(&requirement.access, Access::Kubernetes(access)
                if access.resource == "nodes" && access.verb == "patch")
        });
        if !cordons {
            return None;
        }
        let found = reader.kubernetes().await.ok()?.get::<Node>(None, own).await.ok()??;
        let nodegroup = node::nodegroup(&found)?;
        let is_changed = requirements.iter().any(|requirement| {
            let Access::Aws(AwsAccess { resource, .. }) = &requirement.access else { return false };
            let AwsResource::OfCluster { nodegroup: Some(name), .. } = resource else {
                return false;
            };
            name.known() == Some(nodegroup)
        });
        is_changed.then(|| {
            format!(
                "this process runs on node {own} of nodegroup {nodegroup}, whose nodes the run may cordon or remove: move it to other nodes, or let another replica continue the run"
            )
        })
    }
}
