//! Tells the observer of each request of the AWS clients: an attempt of a call is a request.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use crate::platform::calls::{CallEnd, Hook, Observation, StepObservation};

/// Observes the requests to a service.
#[derive(Debug)]
pub(super) struct ObservedCalls {
    service: &'static str,
    hook: Hook,
}

impl ObservedCalls {
    pub(super) fn new(service: &'static str, hook: &Hook) -> Self {
        Self { service, hook: hook.clone() }
    }
}

/// The request in flight, which ends with its call.
#[derive(Debug)]
struct InFlight {
    request: Observation,
    of_step: Option<StepObservation>,
}

impl Storable for InFlight {
    type Storer = StoreReplace<Self>;
}

impl Intercept for ObservedCalls {
    fn name(&self) -> &'static str {
        "ObservedCalls"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = bag.load::<Metadata>().map_or("other", Metadata::name).to_owned();
        let request = self.hook.begin(self.service, operation);
        let of_step = self.hook.begin_call_of_step();
        bag.interceptor_state().store_put(InFlight { request, of_step });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(InFlight { request, of_step }) = bag.load::<InFlight>() else { return Ok(()) };
        let status = context.response().map(|response| response.status().as_u16());
        request.end(status.map_or(CallEnd::Failed, CallEnd::Answered));
        if let Some(of_step) = of_step {
            let error = match status {
                Some(200..=299) => None,
                Some(status) => Some(format!("status {status}")),
                None => Some("no response".into()),
            };
            let name = bag.load::<Metadata>().map_or("other", Metadata::name);
            of_step.end(self.service, name, error.as_deref());
        }
        Ok(())
    }
}
