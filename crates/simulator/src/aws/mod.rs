//! The AWS half of the simulator: EKS, Auto Scaling, EC2, IAM and STS on one port, distinguished by
//! the scope of the request's signature. It creates and removes Nodes through the Kubernetes API,
//! like the instances of a real cluster.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Notify;

use clock::Clock;

use crate::authorize::{AccessPolicy, RequiredPermission};
use crate::call_log::CallInfo;
use crate::gateway::{Incoming, ServiceResponse, SimulatedService};

use eks::EksCall;
use fleet::Fleet;
use protocol::{
    AwsError, CredentialScope, QueryParameters, ServiceName, credential_scope, success_response,
};

mod autoscaling;
pub(crate) mod certificate;
mod ec2;
mod eks;
pub(crate) mod fleet;
mod iam;
pub(crate) mod nodes;
mod permission;
mod protocol;

/// The account, and a notification of its changes.
pub(crate) struct Cloud {
    fleet: Mutex<Fleet>,
    pub(crate) clock: Clock,
    /// Notified when a call has changed something.
    pub(crate) changed: Notify,
    requests: AtomicU64,
}

impl Cloud {
    pub(crate) fn new(fleet: Fleet, clock: Clock) -> Self {
        Self {
            fleet: Mutex::new(fleet),
            clock,
            changed: Notify::new(),
            requests: AtomicU64::new(0),
        }
    }

    pub(crate) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        // No code panics while it holds the lock.
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_request_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }
}

/// The AWS half as a service of the gateway.
pub(crate) struct AwsService {
    pub(crate) cloud: Arc<Cloud>,
    /// The policy that IAM simulates. The gateway enforces it.
    pub(crate) policy: AccessPolicy,
}

/// A parsed call.
enum AwsCall {
    Eks(EksCall),
    Query(ServiceName, String, QueryParameters),
}

impl AwsCall {
    /// Returns the operation's name with its service, which is its IAM action too.
    fn qualified_name(&self) -> String {
        match self {
            Self::Eks(call) => format!("eks:{}", call.name()),
            Self::Query(service, action, _) => format!("{}:{action}", service.as_str()),
        }
    }
}

fn parse_call(incoming: &Incoming, scope: &CredentialScope) -> Option<AwsCall> {
    if scope.service == ServiceName::Eks {
        return EksCall::of(incoming).map(AwsCall::Eks);
    }
    let parameters = QueryParameters::parse(&incoming.body);
    let action = parameters.get("Action")?.to_owned();
    Some(AwsCall::Query(scope.service, action, parameters))
}

impl SimulatedService for AwsService {
    fn describe(&self, incoming: &Incoming) -> CallInfo {
        let unknown = |service: &'static str| CallInfo {
            service,
            name: format!("{} {}", incoming.parts.method, incoming.path()),
            summary: String::new(),
            mutating: false,
            permission: RequiredPermission::None,
        };
        let Some(scope) = credential_scope(incoming) else {
            return unknown("unsigned");
        };
        let service = scope.service.as_str();
        let Some(call) = parse_call(incoming, &scope) else {
            return unknown(service);
        };
        let permission =
            permission::required_permission(&call, incoming, &scope, &self.cloud.fleet());
        let (summary, mutating) = match &call {
            AwsCall::Eks(call) => (summarize_eks(incoming), call.is_mutating()),
            AwsCall::Query(_, action, parameters) => {
                (parameters.summary(), autoscaling::MUTATING.contains(&action.as_str()))
            }
        };
        CallInfo { service, name: call.qualified_name(), summary, mutating, permission }
    }

    async fn respond(&self, incoming: Incoming) -> ServiceResponse {
        let request = self.cloud.next_request_number();
        let Some(scope) = credential_scope(&incoming) else {
            let message = "Missing Authentication Token";
            let error = AwsError::new(403, "MissingAuthenticationTokenException", message);
            return error.to_response(ServiceName::Eks, request);
        };
        let Some(call) = parse_call(&incoming, &scope) else {
            let message = "The simulator does not know this operation";
            let error = AwsError::new(404, "UnknownOperationException", message);
            return error.to_response(scope.service, request);
        };
        let executed = self.execute(&call, &incoming, &scope);
        match executed {
            Ok((action, result, changed)) => {
                if changed {
                    self.cloud.changed.notify_one();
                }
                success_response(scope.service, &action, &result, request).effective(changed)
            }
            Err(error) => error.to_response(scope.service, request),
        }
    }

    fn error_response(
        &self,
        incoming: &Incoming,
        status: StatusCode,
        code: &str,
        message: &str,
    ) -> ServiceResponse {
        let service = credential_scope(incoming).map_or(ServiceName::Eks, |scope| scope.service);
        AwsError::new(status.as_u16(), code, message)
            .to_response(service, self.cloud.next_request_number())
    }

    fn forbidden_response(&self, incoming: &Incoming, why: &str) -> ServiceResponse {
        let service = credential_scope(incoming).map_or(ServiceName::Eks, |scope| scope.service);
        AwsError::access_denied(service, why).to_response(service, self.cloud.next_request_number())
    }

    fn throttled_response(&self, incoming: &Incoming) -> ServiceResponse {
        let service = credential_scope(incoming).map_or(ServiceName::Eks, |scope| scope.service);
        AwsError::throttled(service).to_response(service, self.cloud.next_request_number())
    }
}

impl AwsService {
    /// Performs a call and returns its name, its result and whether it changed anything.
    fn execute(
        &self,
        call: &AwsCall,
        incoming: &Incoming,
        scope: &CredentialScope,
    ) -> Result<(String, Value, bool), AwsError> {
        let mut fleet = self.cloud.fleet();
        let in_region = scope.region == fleet.region;
        let now = self.cloud.clock.now();
        match call {
            AwsCall::Eks(call) => {
                let (result, changed) = eks::handle(&mut fleet, call, incoming, in_region, now)?;
                Ok((call.name().to_owned(), result, changed))
            }
            AwsCall::Query(ServiceName::AutoScaling, action, parameters) => {
                let (result, changed) =
                    autoscaling::handle(&mut fleet, action, parameters, in_region, now)?;
                Ok((action.clone(), result, changed))
            }
            AwsCall::Query(ServiceName::Ec2, action, parameters) => {
                let result = ec2::handle(&fleet, action, parameters, in_region)?;
                Ok((action.clone(), result, false))
            }
            AwsCall::Query(ServiceName::Iam, action, parameters) => {
                let result = iam::handle(&fleet, &self.policy, action, parameters)?;
                Ok((action.clone(), result, false))
            }
            AwsCall::Query(ServiceName::Sts | ServiceName::Eks, action, _) => {
                Ok((action.clone(), get_caller_identity(&fleet, action)?, false))
            }
        }
    }
}

/// Performs a call to STS.
fn get_caller_identity(fleet: &Fleet, action: &str) -> Result<Value, AwsError> {
    if action != "GetCallerIdentity" {
        let message = format!("Could not find operation {action} for version 2011-06-15");
        return Err(AwsError::new(400, "InvalidAction", message));
    }
    Ok(json!({
        "Arn": fleet.caller_arn(),
        "UserId": fleet::CALLER_ID,
        "Account": fleet.account,
    }))
}

fn summarize_eks(incoming: &Incoming) -> String {
    let path = incoming.path().trim_matches('/');
    let body = String::from_utf8_lossy(&incoming.body);
    match (incoming.query(), body.as_ref()) {
        ("", "") => path.to_owned(),
        (query, "") => format!("{path} {query}"),
        (_, body) => format!("{path} {body}"),
    }
}
