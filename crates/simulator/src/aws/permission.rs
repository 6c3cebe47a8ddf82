//! The permission that a call to the AWS half needs: the IAM action, its resources, and the
//! condition keys that IAM compares.

use std::collections::BTreeMap;

use crate::authorize::{AwsPermission, AwsResource, RequestContext, RequiredPermission};
use crate::gateway::Incoming;

use super::fleet::Fleet;
use super::protocol::{CredentialScope, QueryParameters, ServiceName};
use super::{AwsCall, autoscaling, iam};

/// The region in which IAM, a global service, is called.
const GLOBAL_REGION: &str = "us-east-1";

/// A resource of a call, as IAM policies name it.
pub(crate) struct PolicyResource {
    pub(crate) arn: String,
    pub(crate) tags: BTreeMap<String, String>,
}

impl PolicyResource {
    /// The resource of a call that IAM cannot restrict to resources.
    pub(crate) fn any() -> Self {
        Self::untagged("*".to_owned())
    }

    pub(crate) fn untagged(arn: String) -> Self {
        Self { arn, tags: BTreeMap::new() }
    }
}

/// Returns the permission that a call needs.
pub(crate) fn required_permission(
    call: &AwsCall,
    incoming: &Incoming,
    scope: &CredentialScope,
    fleet: &Fleet,
) -> RequiredPermission {
    let region = match scope.service {
        ServiceName::Iam => GLOBAL_REGION,
        _ => &scope.region,
    };
    let resources = match call {
        AwsCall::Eks(call) => call.policy_resources(incoming, fleet, region),
        AwsCall::Query(service, action, parameters) => match service {
            // Every identity may call STS.
            ServiceName::Sts => return RequiredPermission::None,
            _ => vec![query_resource(*service, fleet, action, parameters, region)],
        },
    };
    let with_context = |resource: PolicyResource| AwsResource {
        context: request_context(scope.service, region, &resource),
        arn: resource.arn,
    };
    RequiredPermission::Aws(AwsPermission {
        action: call.qualified_name(),
        principal: fleet.caller_arn(),
        resources: resources.into_iter().map(with_context).collect(),
    })
}

fn query_resource(
    service: ServiceName,
    fleet: &Fleet,
    action: &str,
    parameters: &QueryParameters,
    region: &str,
) -> PolicyResource {
    match service {
        ServiceName::AutoScaling => autoscaling::policy_resource(fleet, action, parameters, region),
        ServiceName::Iam => iam::policy_resource(parameters),
        // IAM cannot restrict the descriptions of EC2 to resources.
        ServiceName::Ec2 | ServiceName::Eks | ServiceName::Sts => PolicyResource::any(),
    }
}

/// Returns the condition keys of a call about a resource.
fn request_context(
    service: ServiceName,
    region: &str,
    resource: &PolicyResource,
) -> RequestContext {
    let mut context = RequestContext::default();
    context.insert("aws:RequestedRegion", vec![region.to_owned()]);
    if service == ServiceName::Ec2 {
        context.insert("ec2:Region", vec![region.to_owned()]);
    }
    for (key, value) in &resource.tags {
        context.insert(&format!("aws:ResourceTag/{key}"), vec![value.clone()]);
        if service == ServiceName::AutoScaling {
            context.insert(&format!("autoscaling:ResourceTag/{key}"), vec![value.clone()]);
        }
    }
    context
}
