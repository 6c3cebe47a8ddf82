//! The cluster and account that a run may touch.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The cluster and account that a run may touch, as they named themselves when it was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunTarget {
    /// Whether it is a simulation.
    pub simulated: bool,
    /// The Kubernetes cluster, where the runbook uses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesTarget>,
    /// The AWS account, where the runbook uses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsTarget>,
}

/// A Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KubernetesTarget {
    /// The API server's address. The same cluster may have other addresses.
    pub server: String,
    /// The kubeconfig context that named the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// UID of the `kube-system` namespace: the usual identity of a cluster.
    pub uid: String,
}

/// An AWS account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AwsTarget {
    /// The account's number.
    pub account: String,
    /// The ARN under which this program is known there.
    pub identity: String,
}

/// Returned when a run is continued somewhere else than where it was started.
#[derive(Debug, thiserror::Error)]
#[error("the run was started against {started_on}, and this is {here}")]
pub struct TargetMismatch {
    started_on: String,
    here: String,
}

/// The names of the cluster and the account, as a part of a sentence.
impl fmt::Display for RunTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.simulated {
            return f.write_str("the simulator");
        }
        let cluster = self.kubernetes.as_ref().map(|kubernetes| {
            let context = kubernetes.context.as_ref().map(|name| format!(" (context {name})"));
            format!("cluster {}{}", kubernetes.server, context.unwrap_or_default())
        });
        let account = self.aws.as_ref().map(|aws| format!("AWS account {}", aws.account));
        let names: Vec<String> = cluster.into_iter().chain(account).collect();
        if names.is_empty() { f.write_str("no cluster") } else { f.write_str(&names.join(" and ")) }
    }
}

impl RunTarget {
    /// Checks that `here` is where the run was started. Addresses and identities may differ; the cluster and the
    /// account may not.
    ///
    /// # Errors
    /// What the run was started against, and what was found.
    pub fn ensure_same(&self, here: &Self) -> Result<(), TargetMismatch> {
        let mismatch = |started_on, here| Err(TargetMismatch { started_on, here });
        let kind = |target: &Self| if target.simulated { "a simulation" } else { "a real cluster" };
        if self.simulated != here.simulated {
            return mismatch(kind(self).into(), kind(here).into());
        }
        if let (Some(before), Some(now)) = (&self.kubernetes, &here.kubernetes)
            && before.uid != now.uid
        {
            let name = |k: &KubernetesTarget| format!("cluster {} at {}", k.uid, k.server);
            return mismatch(name(before), name(now));
        }
        if let (Some(before), Some(now)) = (&self.aws, &here.aws)
            && before.account != now.account
        {
            let name = |a: &AwsTarget| format!("AWS account {}", a.account);
            return mismatch(name(before), name(now));
        }
        Ok(())
    }

    /// Whether a run on this target and a run on `other` could change the same things, so that only one of them may be
    /// unfinished. Where one of them names only a cluster and the other only an account, they may belong together.
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.simulated != other.simulated || self.is_empty() || other.is_empty() {
            return false;
        }
        if let (Some(one), Some(two)) = (&self.kubernetes, &other.kubernetes) {
            return one.uid == two.uid;
        }
        if let (Some(one), Some(two)) = (&self.aws, &other.aws) {
            return one.account == two.account;
        }
        true
    }

    /// Whether the runbook uses neither a cluster nor an account.
    pub fn is_empty(&self) -> bool {
        self.kubernetes.is_none() && self.aws.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(uid: &str) -> RunTarget {
        let kubernetes =
            KubernetesTarget { server: format!("https://{uid}"), context: None, uid: uid.into() };
        RunTarget { kubernetes: Some(kubernetes), ..RunTarget::default() }
    }

    fn account(account: &str) -> RunTarget {
        let aws = AwsTarget { account: account.into(), identity: "arn".into() };
        RunTarget { aws: Some(aws), ..RunTarget::default() }
    }

    #[test]
    fn a_target_names_its_cluster_and_account() {
        let mut both = RunTarget { aws: account("1").aws, ..cluster("a") };
        assert_eq!(both.to_string(), "cluster https://a and AWS account 1");
        both.kubernetes.as_mut().unwrap().context = Some("prod".into());
        assert_eq!(both.to_string(), "cluster https://a (context prod) and AWS account 1");
        assert_eq!(RunTarget::default().to_string(), "no cluster");
        assert_eq!(RunTarget { simulated: true, ..both }.to_string(), "the simulator");
    }

    #[test]
    fn another_cluster_is_not_the_same_target() {
        assert!(cluster("a").ensure_same(&cluster("a")).is_ok());
        assert_eq!(
            cluster("a").ensure_same(&cluster("b")).unwrap_err().to_string(),
            "the run was started against cluster a at https://a, and this is cluster b at https://b"
        );
    }

    #[test]
    fn a_simulation_is_never_a_cluster() {
        let simulated = RunTarget { simulated: true, ..cluster("a") };
        assert!(cluster("a").ensure_same(&simulated).is_err());
        assert!(!cluster("a").overlaps(&simulated));
    }

    #[test]
    fn runs_overlap_unless_they_are_known_to_touch_different_things() {
        let both = |uid, number| RunTarget { aws: account(number).aws, ..cluster(uid) };
        assert!(cluster("a").overlaps(&cluster("a")));
        assert!(!cluster("a").overlaps(&cluster("b")));
        assert!(!both("a", "1").overlaps(&both("b", "1")), "two clusters in one account");
        assert!(account("1").overlaps(&both("b", "1")));
        assert!(!account("2").overlaps(&both("b", "1")));
        assert!(cluster("a").overlaps(&account("1")), "the cluster may be in that account");
        assert!(!RunTarget::default().overlaps(&cluster("a")), "a run that touches nothing");
    }
}
