//! The AWS half of the simulator: EKS, Auto Scaling, EC2 and STS on one port, told apart by the
//! scope of the request's signature. It makes and removes Nodes through the Kubernetes API, like
//! the instances of a real cluster.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::simulator::authorize::Need;
use crate::simulator::front::{Answer, Incoming, Service};
use crate::simulator::record::Operation;

use fleet::Fleet;
use protocol::{Parameters, Refusal, Scope, ServiceName, scope, success};

mod autoscaling;
mod ec2;
mod eks;
pub(crate) mod fleet;
pub(crate) mod nodes;
mod protocol;

/// The account and who wants to know of its changes.
pub(crate) struct Cloud {
    fleet: Mutex<Fleet>,
    /// Told when a call has changed something.
    pub(crate) changed: Notify,
    requests: AtomicU64,
}

impl Cloud {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self { fleet: Mutex::new(fleet), changed: Notify::new(), requests: AtomicU64::new(0) }
    }

    pub(crate) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        // No code panics while it holds the lock.
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }
}

/// The AWS half as the front sees it.
pub(crate) struct Endpoint(pub(crate) Arc<Cloud>);

/// A call that has been recognised.
enum Call {
    Eks(eks::Call),
    Query(ServiceName, String, Parameters),
}

fn recognise(incoming: &Incoming, scope: &Scope) -> Option<Call> {
    if scope.service == ServiceName::Eks {
        return eks::Call::of(incoming).map(Call::Eks);
    }
    let parameters = Parameters::parse(&incoming.body);
    let action = parameters.get("Action")?.to_owned();
    Some(Call::Query(scope.service, action, parameters))
}

impl Service for Endpoint {
    fn describe(&self, incoming: &Incoming) -> Operation {
        let unknown = |service: &'static str| Operation {
            service,
            name: format!("{} {}", incoming.parts.method, incoming.path()),
            summary: String::new(),
            mutating: false,
            need: Need::Nothing,
        };
        let Some(scope) = scope(incoming) else {
            return unknown("unsigned");
        };
        let service = scope.service.word();
        match recognise(incoming, &scope) {
            None => unknown(service),
            Some(Call::Eks(call)) => Operation {
                service,
                name: format!("eks:{}", call.name()),
                summary: eks_summary(incoming),
                mutating: call.name() == "UpdateNodegroupConfig",
                need: self
                    .need(format!("eks:{}", call.name()), |fleet| call.resource(incoming, fleet)),
            },
            Some(Call::Query(_, action, parameters)) => Operation {
                service,
                name: format!("{service}:{action}"),
                summary: parameters.summary(),
                mutating: autoscaling::MUTATING.contains(&action.as_str()),
                need: match scope.service {
                    // Everybody may ask who they are.
                    ServiceName::Sts => Need::Nothing,
                    _ => self.need(format!("{service}:{action}"), |fleet| {
                        autoscaling::resource(fleet, &action, &parameters)
                    }),
                },
            },
        }
    }

    async fn answer(&self, incoming: Incoming) -> Answer {
        let request = self.0.next_request();
        let Some(scope) = scope(&incoming) else {
            let message = "Missing Authentication Token";
            let refusal = Refusal::new(403, "MissingAuthenticationTokenException", message);
            return refusal.answer(ServiceName::Eks, request);
        };
        let Some(call) = recognise(&incoming, &scope) else {
            let message = "The simulator does not know this operation";
            let refusal = Refusal::new(404, "UnknownOperationException", message);
            return refusal.answer(scope.service, request);
        };
        let answered = self.perform(&call, &incoming, &scope);
        match answered {
            Ok((action, result, changed)) => {
                if changed {
                    self.0.changed.notify_one();
                }
                success(scope.service, &action, &result, request).effective(changed)
            }
            Err(refusal) => refusal.answer(scope.service, request),
        }
    }

    fn refuse(&self, incoming: &Incoming, status: StatusCode, code: &str, message: &str) -> Answer {
        let service = scope(incoming).map_or(ServiceName::Eks, |scope| scope.service);
        Refusal::new(status.as_u16(), code, message).answer(service, self.0.next_request())
    }

    fn forbid(&self, incoming: &Incoming, why: &str) -> Answer {
        let service = scope(incoming).map_or(ServiceName::Eks, |scope| scope.service);
        Refusal::denied(service, why).answer(service, self.0.next_request())
    }

    fn throttle(&self, incoming: &Incoming) -> Answer {
        let service = scope(incoming).map_or(ServiceName::Eks, |scope| scope.service);
        Refusal::throttled(service).answer(service, self.0.next_request())
    }
}

impl Endpoint {
    fn need(&self, action: String, resource: impl FnOnce(&Fleet) -> String) -> Need {
        let fleet = self.0.fleet();
        Need::Aws { action, resource: resource(&fleet), account: fleet.account.clone() }
    }

    /// Does what a call asks for: its name, its result and whether it altered anything.
    fn perform(
        &self,
        call: &Call,
        incoming: &Incoming,
        scope: &Scope,
    ) -> Result<(String, Value, bool), Refusal> {
        let mut fleet = self.0.fleet();
        let here = scope.region == fleet.region;
        let now = Timestamp::now();
        match call {
            Call::Eks(call) => {
                let (result, changed) = eks::answer(&mut fleet, call, incoming, here, now)?;
                Ok((call.name().to_owned(), result, changed))
            }
            Call::Query(ServiceName::AutoScaling, action, parameters) => {
                let (result, changed) =
                    autoscaling::answer(&mut fleet, action, parameters, here, now)?;
                Ok((action.clone(), result, changed))
            }
            Call::Query(ServiceName::Ec2, action, parameters) => {
                let result = ec2::answer(&fleet, action, parameters, here)?;
                Ok((action.clone(), result, false))
            }
            Call::Query(_, action, _) => Ok((action.clone(), identity(&fleet, action)?, false)),
        }
    }
}

/// STS.
fn identity(fleet: &Fleet, action: &str) -> Result<Value, Refusal> {
    if action != "GetCallerIdentity" {
        let message = format!("Could not find operation {action} for version 2011-06-15");
        return Err(Refusal::new(400, "InvalidAction", message));
    }
    Ok(json!({
        "Arn": format!("arn:aws:iam::{}:user/simulator", fleet.account),
        "UserId": "AIDASIMULATOR",
        "Account": fleet.account,
    }))
}

fn eks_summary(incoming: &Incoming) -> String {
    let path = incoming.path().trim_matches('/');
    let body = String::from_utf8_lossy(&incoming.body);
    match (incoming.query(), body.as_ref()) {
        ("", "") => path.to_owned(),
        (query, "") => format!("{path} {query}"),
        (_, body) => format!("{path} {body}"),
    }
}
