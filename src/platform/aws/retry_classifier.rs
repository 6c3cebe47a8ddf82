//! The calls that the SDK must not retry by itself: those that reach no server. A wrong address stays wrong, and the
//! caller should learn of it at once and not after half a minute; a caller that can wait for an outage to end reports
//! the failure and retries.

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

use crate::platform::error::ErrorKind;
use crate::platform::transport;

/// A classifier that forbids retries which cannot help, and leaves everything else to the SDK.
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
        "no retry on connect errors"
    }
}
