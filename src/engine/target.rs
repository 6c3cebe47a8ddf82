//! Asks the cluster and the account for their identities, before anything is changed.

use super::Engine;
use crate::{
    actions::{self, PlatformKind},
    journal::{AwsTarget, KubernetesTarget, RunTarget},
    platform::Error as PlatformError,
};
use runbook::Runbook;

impl Engine {
    /// Returns the target of a run of `runbook`. Only the platforms that one of its actions uses are asked, so a
    /// runbook without AWS actions needs no AWS credentials.
    pub(super) async fn identify(&self, runbook: &Runbook) -> Result<RunTarget, PlatformError> {
        let uses = |side: PlatformKind| {
            runbook
                .all_steps()
                .into_iter()
                .filter_map(|step| actions::find(&step.action))
                .any(|action| action.uses_platform(side))
        };
        // One after the other, so that the same problem always gives the same message.
        let kubernetes = if uses(PlatformKind::Kubernetes) {
            let identity = self.platform.kubernetes_identity().await?;
            Some(KubernetesTarget {
                server: identity.server,
                context: identity.context,
                uid: identity.uid,
            })
        } else {
            None
        };
        let aws = if uses(PlatformKind::Aws) {
            let identity = self.platform.aws_identity().await?;
            Some(AwsTarget { account: identity.account, identity: identity.arn })
        } else {
            None
        };
        Ok(RunTarget { simulated: self.simulated, kubernetes, aws })
    }
}
