//! What the caller may do in AWS: reads are tried, and IAM simulates the rest, where the caller may ask it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::{
    ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType,
    ResourceSpecificResult,
};

use super::{AwsReader, error::AwsCall};
use crate::platform::error::{Error, ErrorKind};

/// An id that no update has.
const NO_UPDATE: &str = "00000000-0000-4000-8000-000000000000";
/// The code with which EC2 says that a call would have been allowed.
const WOULD_BE_ALLOWED: &str = "DryRunOperation";

/// The ARNs and the tags of a nodegroup and its Auto Scaling group, which policies may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodegroupArns {
    /// The ARN of the nodegroup.
    pub nodegroup: String,
    /// Its tags.
    pub nodegroup_tags: BTreeMap<String, String>,
    /// The ARN of its group.
    pub group: String,
    /// The tags of the group.
    pub group_tags: BTreeMap<String, String>,
}

/// An IAM action with what it is simulated on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedCall {
    /// The action, such as `autoscaling:SetInstanceProtection`.
    pub action: String,
    /// The ARNs of the resources; `*` for an action that takes none.
    pub resources: Vec<String>,
    /// The condition keys that the call would have, with their values.
    pub context: BTreeMap<String, String>,
}

impl AwsReader {
    /// Tries an IAM action that reads, on a cluster and where it is known on a nodegroup, and reads as little as
    /// possible. Returns nothing for an action that cannot be tried.
    ///
    /// # Errors
    /// The call failed: [`ErrorKind::Denied`] where the action is not allowed. What is read need not exist.
    pub async fn try_read(
        &self,
        action: &str,
        cluster: Option<&str>,
        nodegroup: Option<&str>,
    ) -> Option<Result<(), Error>> {
        let result = match (action, cluster, nodegroup) {
            ("eks:DescribeCluster", Some(cluster), _) => {
                self.describe_cluster(cluster).await.map(drop)
            }
            ("eks:ListNodegroups", Some(cluster), _) => {
                self.first_nodegroup(cluster).await.map(drop)
            }
            ("eks:DescribeNodegroup", Some(cluster), Some(nodegroup)) => {
                self.describe_nodegroup(cluster, nodegroup).await.map(drop)
            }
            ("eks:DescribeNodegroup", Some(cluster), None) => {
                // For an action that finds one by reading all of them.
                let first = self.first_nodegroup(cluster).await.ok()??;
                self.describe_nodegroup(cluster, &first).await.map(drop)
            }
            ("eks:ListUpdates", Some(cluster), Some(nodegroup)) => {
                self.try_list_updates(cluster, nodegroup).await
            }
            ("eks:DescribeUpdate", Some(cluster), Some(nodegroup)) => {
                self.describe_update(cluster, nodegroup, NO_UPDATE).await.map(drop)
            }
            ("autoscaling:DescribeAutoScalingGroups", ..) => self.try_describe_groups().await,
            ("autoscaling:DescribeScalingActivities", ..) => self.try_describe_activities().await,
            ("ec2:DescribeInstances", ..) => self.try_describe_instances().await,
            _ => return None,
        };
        Some(match result {
            // It was looked for, so it was allowed.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                Ok(())
            }
            result => result,
        })
    }

    /// Returns the ARNs of a nodegroup and its only Auto Scaling group; nothing where one of them is not there.
    ///
    /// # Errors
    /// A call failed.
    pub async fn nodegroup_arns(
        &self,
        cluster: &str,
        nodegroup: &str,
    ) -> Result<Option<NodegroupArns>, Error> {
        let Some(found) = self.describe_nodegroup(cluster, nodegroup).await? else {
            return Ok(None);
        };
        let call = self.call("autoscaling", "DescribeAutoScalingGroups", nodegroup);
        let groups = self
            .clients
            .autoscaling
            .describe_auto_scaling_groups()
            .set_auto_scaling_group_names(Some(found.auto_scaling_groups.clone()))
            .send()
            .await
            .map_err(|error| call.to_error(error))?;
        let group = groups.auto_scaling_groups.unwrap_or_default().into_iter().next();
        let Some((group, arn)) = group.and_then(|group| {
            let arn = group.auto_scaling_group_arn.clone()?;
            Some((group, arn))
        }) else {
            return Ok(None);
        };
        let tags = group.tags.unwrap_or_default().into_iter();
        Ok(Some(NodegroupArns {
            nodegroup: found.arn,
            nodegroup_tags: found.tags,
            group: arn,
            group_tags: tags.filter_map(|tag| Some((tag.key?, tag.value?))).collect(),
        }))
    }

    async fn first_nodegroup(&self, cluster: &str) -> Result<Option<String>, Error> {
        let call = self.call("eks", "ListNodegroups", cluster);
        let one = self.clients.eks.list_nodegroups().cluster_name(cluster).max_results(1);
        let listed = one.send().await.map_err(|error| call.to_error(error))?;
        Ok(listed.nodegroups.unwrap_or_default().into_iter().next())
    }

    async fn try_list_updates(&self, cluster: &str, nodegroup: &str) -> Result<(), Error> {
        let call = self.call("eks", "ListUpdates", cluster);
        let one = self.clients.eks.list_updates().name(cluster).nodegroup_name(nodegroup);
        one.max_results(1).send().await.map(drop).map_err(|error| call.to_error(error))
    }

    async fn try_describe_groups(&self) -> Result<(), Error> {
        let call = self.call("autoscaling", "DescribeAutoScalingGroups", "");
        let one = self.clients.autoscaling.describe_auto_scaling_groups().max_records(1);
        one.send().await.map(drop).map_err(|error| call.to_error(error))
    }

    async fn try_describe_activities(&self) -> Result<(), Error> {
        let call = self.call("autoscaling", "DescribeScalingActivities", "");
        let one = self.clients.autoscaling.describe_scaling_activities().max_records(1);
        one.send().await.map(drop).map_err(|error| call.to_error(error))
    }

    async fn try_describe_instances(&self) -> Result<(), Error> {
        let call = self.call("ec2", "DescribeInstances", "");
        let dry_run = self.clients.ec2.describe_instances().dry_run(true).max_results(5);
        match dry_run.send().await.map_err(|error| call.to_error(error)) {
            Err(error) if error.code() == WOULD_BE_ALLOWED => Ok(()),
            result => result.map(drop),
        }
    }
}

/// The answer of IAM about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Simulation {
    /// The policies allow it.
    Allowed,
    /// The policies do not allow it.
    Denied,
    /// The policies have conditions on these keys, of which this program does not know the values.
    Depends(Vec<String>),
}

/// Asks IAM whether a principal may make a call. Policies of the organization and of the session are not all known to
/// IAM, so the answer can be wrong in both directions; it is about the policies of the principal.
pub(super) async fn simulate(
    client: &aws_sdk_iam::Client,
    principal: &str,
    region: &str,
    simulated: &SimulatedCall,
) -> Result<Simulation, Error> {
    let call = AwsCall::new("iam", "SimulatePrincipalPolicy", principal, region);
    let entry = |(key, value): (&String, &String)| {
        ContextEntry::builder()
            .context_key_name(key)
            .context_key_type(ContextKeyTypeEnum::String)
            .context_key_values(value)
            .build()
    };
    let request = client
        .simulate_principal_policy()
        .policy_source_arn(principal)
        .action_names(&simulated.action)
        .set_resource_arns(Some(simulated.resources.clone()))
        .set_context_entries(Some(simulated.context.iter().map(entry).collect()));
    let answer = request.send().await.map_err(|error| call.to_error(error))?;
    let results = answer.evaluation_results.unwrap_or_default();
    if results.is_empty() {
        return call.require(None, "evaluation");
    }
    let is = |wanted: PolicyEvaluationDecisionType| {
        results.iter().any(|result| result.eval_decision == wanted)
    };
    if is(PolicyEvaluationDecisionType::ExplicitDeny) {
        return Ok(Simulation::Denied);
    }
    if !is(PolicyEvaluationDecisionType::ImplicitDeny) {
        return Ok(Simulation::Allowed);
    }
    let of_call = results.iter().flat_map(EvaluationResult::missing_context_values);
    let of_resources = results
        .iter()
        .flat_map(EvaluationResult::resource_specific_results)
        .flat_map(ResourceSpecificResult::missing_context_values);
    let keys: BTreeSet<String> = of_call.chain(of_resources).cloned().collect();
    match keys.is_empty() {
        true => Ok(Simulation::Denied),
        false => Ok(Simulation::Depends(keys.into_iter().collect())),
    }
}

/// Returns the ARN of the principal whose policies apply to a caller: the role of a session. `None` for a caller that
/// IAM cannot simulate, such as the root user.
pub(super) fn principal_of(caller: &str) -> Option<String> {
    let mut parts = caller.splitn(6, ':');
    let [Some("arn"), Some(partition), Some(service), Some(_), Some(account), Some(resource)] =
        std::array::from_fn(|_| parts.next())
    else {
        return None;
    };
    match (service, resource.split_once('/')) {
        ("sts", Some(("assumed-role", rest))) => {
            // The session is last. A role with a path is named without the path here.
            let (role, _session) = rest.rsplit_once('/')?;
            Some(format!("arn:{partition}:iam::{account}:role/{role}"))
        }
        ("iam", Some(("user" | "role", _))) => Some(caller.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::principal_of;

    #[test]
    fn the_principal_of_a_session_is_its_role() {
        let role = principal_of("arn:aws:sts::123456789012:assumed-role/sop/i-0abc");
        assert_eq!(role.as_deref(), Some("arn:aws:iam::123456789012:role/sop"));
        let role = principal_of("arn:aws-cn:sts::123456789012:assumed-role/sop/a");
        assert_eq!(role.as_deref(), Some("arn:aws-cn:iam::123456789012:role/sop"));
        let user = "arn:aws:iam::123456789012:user/team/ann";
        assert_eq!(principal_of(user).as_deref(), Some(user));
        for other in ["arn:aws:iam::123456789012:root", "arn:aws:sts::1:federated-user/x", "x", ""]
        {
            assert_eq!(principal_of(other), None, "{other}");
        }
    }
}
