//! IAM: what the policy of the clients allows, over the query protocol with XML.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::authorize::{AccessPolicy, Decision, Evaluation, RequestContext};

use super::fleet::Fleet;
use super::permission::PolicyResource;
use super::protocol::{AwsError, QueryParameters, paginate};

/// The parameters that would change the result and that the simulator does not know.
const UNKNOWN_PARAMETERS: [&str; 7] = [
    "CallerArn",
    "PermissionsBoundaryPolicyInputList.member.1",
    "PolicyExclusionList.member.1",
    "PolicyInputList.member.1",
    "ResourceHandlingOption",
    "ResourceOwner",
    "ResourcePolicy",
];

/// Performs a call and returns its result; none of the calls changes anything.
pub(crate) fn handle(
    fleet: &Fleet,
    policy: &AccessPolicy,
    action: &str,
    parameters: &QueryParameters,
) -> Result<Value, AwsError> {
    match action {
        "SimulatePrincipalPolicy" => simulate_principal_policy(fleet, policy, parameters),
        other => {
            let message = format!("Could not find operation {other} for version 2010-05-08");
            Err(AwsError::new(400, "InvalidAction", message))
        }
    }
}

/// Returns the resource of a call, as IAM policies name it.
pub(crate) fn policy_resource(parameters: &QueryParameters) -> PolicyResource {
    match parameters.get("PolicySourceArn") {
        Some(principal) => PolicyResource::untagged(principal.to_owned()),
        None => PolicyResource::any(),
    }
}

/// Returns one result for each action. Its decision is the most restrictive one of all resources;
/// that of each resource is in `ResourceSpecificResults`, which only a call with ARNs has.
fn simulate_principal_policy(
    fleet: &Fleet,
    policy: &AccessPolicy,
    parameters: &QueryParameters,
) -> Result<Value, AwsError> {
    check_principal(fleet, parameters.required("PolicySourceArn")?)?;
    if let Some(unknown) = UNKNOWN_PARAMETERS.iter().find(|key| parameters.get(key).is_some()) {
        return Err(invalid_input(format!("The simulator does not know {unknown}.")));
    }
    parameters.required("ActionNames.member.1")?;
    let actions = parameters.list("ActionNames.member");
    let is_qualified = |action: &str| {
        action
            .split_once(':')
            .is_some_and(|(service, name)| !service.is_empty() && !name.is_empty())
    };
    if let Some(invalid) = actions.iter().find(|action| !is_qualified(action)) {
        return Err(invalid_input(format!("ActionNames are not in a valid format: {invalid}.")));
    }
    let mut resources = parameters.list("ResourceArns.member");
    if resources.is_empty() {
        resources.push("*");
    }
    let is_arn = |arn: &str| arn.starts_with("arn:") && arn.split(':').count() >= 6;
    if let Some(invalid) = resources.iter().find(|arn| **arn != "*" && !is_arn(arn)) {
        let message = format!("ResourceNames are not in a valid ARN format: {invalid}.");
        return Err(invalid_input(message));
    }
    let context = parse_context(parameters)?;
    let size = parameters.number("MaxItems")?.unwrap_or(100);
    if !(1..=1000).contains(&size) {
        let message = "The value of MaxItems is out of range: it must be 1 to 1000.";
        return Err(AwsError::validation(message));
    }
    let marker = parameters.get("Marker");
    let (actions, next) = paginate(actions, size as usize, marker)
        .map_err(|_| invalid_input("The value of Marker is not valid."))?;
    let results: Vec<Value> = actions
        .into_iter()
        .map(|action| simulate_action(policy, action, &resources, &context))
        .collect();
    Ok(json!({"EvaluationResults": results, "IsTruncated": next.is_some(), "Marker": next}))
}

/// Checks that the policies of this principal are known: the role of the clients, and not a session
/// of it.
fn check_principal(fleet: &Fleet, principal: &str) -> Result<(), AwsError> {
    let entity = principal.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(':'));
    let entity = entity.and_then(|(account, entity)| Some((account, entity.split_once('/')?)));
    match entity {
        Some((account, ("role" | "user" | "group", name))) if !name.is_empty() => {
            if account != fleet.account {
                let message = format!("The principal {principal} is in another account.");
                return Err(AwsError::new(403, "AccessDenied", message));
            }
        }
        _ => {
            return Err(invalid_input(format!(
                "Invalid Entity Arn: {principal} does not clearly define entity type and name."
            )));
        }
    }
    if principal == fleet.role_arn() {
        return Ok(());
    }
    let name = principal.rsplit('/').next().unwrap_or_default();
    let kind = entity.map_or("role", |(_, (kind, _))| kind);
    let message = format!("The {kind} with name {name} cannot be found.");
    Err(AwsError::new(404, "NoSuchEntity", message))
}

fn invalid_input(message: impl Into<String>) -> AwsError {
    AwsError::new(400, "InvalidInput", message)
}

/// Parses the condition keys of the call that is simulated. Nothing is added to them: IAM knows
/// neither the region of that call nor the tags of its resources.
fn parse_context(parameters: &QueryParameters) -> Result<RequestContext, AwsError> {
    let mut context = RequestContext::default();
    for at in 1.. {
        let entry = format!("ContextEntries.member.{at}");
        let Some(key) = parameters.get(&format!("{entry}.ContextKeyName")) else {
            break;
        };
        let kind = parameters.required(&format!("{entry}.ContextKeyType"))?;
        if !matches!(kind, "string" | "stringList") {
            let message = format!("The simulator does not know the type {kind} of {key}.");
            return Err(invalid_input(message));
        }
        let values = parameters.list(&format!("{entry}.ContextKeyValues.member"));
        context.insert(key, values.into_iter().map(str::to_owned).collect());
    }
    Ok(context)
}

fn simulate_action(
    policy: &AccessPolicy,
    action: &str,
    resources: &[&str],
    context: &RequestContext,
) -> Value {
    let evaluations: Vec<(&str, Evaluation)> = resources
        .iter()
        .map(|resource| (*resource, policy.evaluate(action, resource, context)))
        .collect();
    let decisions = evaluations.iter().map(|(_, evaluation)| evaluation.decision);
    let decision = decisions.max().unwrap_or(Decision::ImplicitDeny);
    let deciding = evaluations.iter().filter(|(_, evaluation)| evaluation.decision == decision);
    let matched: BTreeSet<usize> =
        deciding.flat_map(|(_, evaluation)| evaluation.matched.clone()).collect();
    let missing: BTreeSet<&String> =
        evaluations.iter().flat_map(|(_, evaluation)| &evaluation.missing).collect();
    let of_resources: Vec<Value> = evaluations
        .iter()
        .filter(|(resource, _)| *resource != "*")
        .map(|(resource, evaluation)| {
            json!({
                "EvalResourceName": resource,
                "EvalResourceDecision": decision_name(evaluation.decision),
                "MatchedStatements": describe_statements(&evaluation.matched),
                "MissingContextValues": evaluation.missing,
            })
        })
        .collect();
    json!({
        "EvalActionName": action,
        "EvalResourceName": resource_template(action),
        "EvalDecision": decision_name(decision),
        "MatchedStatements": describe_statements(&matched),
        "MissingContextValues": missing,
        "ResourceSpecificResults": (!of_resources.is_empty()).then_some(of_resources),
    })
}

fn decision_name(decision: Decision) -> &'static str {
    match decision {
        Decision::Allowed => "allowed",
        Decision::ImplicitDeny => "implicitDeny",
        Decision::ExplicitDeny => "explicitDeny",
    }
}

/// Describes statements by their policy. Their positions in its text are not known.
fn describe_statements(statements: &BTreeSet<usize>) -> Vec<Value> {
    let described = json!({
        "SourcePolicyId": "role_rafay-relay-sop-role_simulator",
        "SourcePolicyType": "IAM Policy",
    });
    vec![described; statements.len()]
}

/// Returns the form of the ARNs of an action's resources, as the service authorization reference
/// writes it.
fn resource_template(action: &str) -> &'static str {
    match action {
        "eks:DescribeCluster" | "eks:ListNodegroups" => {
            "arn:${Partition}:eks:${Region}:${Account}:cluster/${ClusterName}"
        }
        "eks:DescribeNodegroup" | "eks:UpdateNodegroupConfig" => {
            "arn:${Partition}:eks:${Region}:${Account}:nodegroup/${ClusterName}/${NodegroupName}/\
             ${UUID}"
        }
        "autoscaling:SetInstanceProtection" => {
            "arn:${Partition}:autoscaling:${Region}:${Account}:autoScalingGroup:${GroupId}:\
             autoScalingGroupName/${GroupFriendlyName}"
        }
        _ => "*",
    }
}
