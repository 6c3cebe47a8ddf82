//! Asks the cluster and the account who they are, before anything moves.

use super::Engine;
use crate::{
    actions::{self, Cluster, PlatformError},
    journal::{AwsTarget, KubernetesTarget, Target},
    runbook::Runbook,
};

impl Engine {
    /// The target of a run of `runbook`. Only the sides that one of its actions talks to are asked, so a runbook
    /// without AWS actions needs no AWS credentials.
    pub(super) async fn identify(&self, runbook: &Runbook) -> Result<Target, PlatformError> {
        let uses = |side: Cluster| {
            runbook
                .steps
                .iter()
                .filter_map(|step| actions::find(&step.action))
                .any(|entry| entry.talks_to(side))
        };
        let kubernetes = async {
            if !uses(Cluster::Kubernetes) {
                return Ok(None);
            }
            let who = self.platform.kubernetes_identity().await?;
            Ok(Some(KubernetesTarget { server: who.server, context: who.context, uid: who.uid }))
        };
        let aws = async {
            if !uses(Cluster::Aws) {
                return Ok(None);
            }
            let who = self.platform.aws_identity().await?;
            Ok(Some(AwsTarget { account: who.account, identity: who.arn }))
        };
        let (kubernetes, aws) = tokio::try_join!(kubernetes, aws)?;
        Ok(Target { simulated: self.simulated, kubernetes, aws })
    }
}
