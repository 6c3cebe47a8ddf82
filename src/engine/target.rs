//! Asks the cluster and the account who they are, before anything moves.

use super::Engine;
use crate::{
    actions::{self, PlatformError, PlatformKind},
    journal::{AwsTarget, KubernetesTarget, RunTarget},
};
use runbook::Runbook;

impl Engine {
    /// The target of a run of `runbook`. Only the sides that one of its actions talks to are asked, so a runbook
    /// without AWS actions needs no AWS credentials.
    pub(super) async fn identify(&self, runbook: &Runbook) -> Result<RunTarget, PlatformError> {
        let uses = |side: PlatformKind| {
            runbook
                .steps
                .iter()
                .filter_map(|step| actions::find(&step.action))
                .any(|action| action.uses_platform(side))
        };
        // One after the other, so that the same trouble always gives the same message.
        let kubernetes = if uses(PlatformKind::Kubernetes) {
            let who = self.platform.kubernetes_identity().await?;
            Some(KubernetesTarget { server: who.server, context: who.context, uid: who.uid })
        } else {
            None
        };
        let aws = if uses(PlatformKind::Aws) {
            let who = self.platform.aws_identity().await?;
            Some(AwsTarget { account: who.account, identity: who.arn })
        } else {
            None
        };
        Ok(RunTarget { simulated: self.simulated, kubernetes, aws })
    }
}
