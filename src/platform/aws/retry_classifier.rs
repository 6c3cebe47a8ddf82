//! What the SDK should not repeat by itself: a call that reaches nobody. A wrong address stays wrong, and the caller
//! should hear of it at once and not after half a minute of silence; who can outlast an outage says so and tries again.

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

use crate::platform::error::ErrorKind;
use crate::platform::transport;

/// Forbids what has no prospect and leaves everything else to the SDK's own judgement.
#[derive(Debug)]
pub(super) struct NoRetryOnConnectError;

impl ClassifyRetry for NoRetryOnConnectError {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        let Some(error) = error.as_connector_error() else {
            return RetryAction::NoActionIndicated;
        };
        match transport::classify_network_error(error).map(|classified| classified.kind) {
            Some(ErrorKind::Unreachable | ErrorKind::Invalid) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "nobody there"
    }
}
