//! The limits of `serve`, from the command line and from the process.

use std::num::{NonZeroU16, NonZeroUsize};

use rustix::process::{Resource, getrlimit};

use super::CliError;
use crate::server::{EXTRA_DESCRIPTORS, Limits};

/// The descriptors that journals, the clients of Kubernetes and AWS, and the simulator keep for themselves. A run uses
/// about ten.
const RESERVED_DESCRIPTORS: usize = 128;

/// With fewer connections than this, the service does not start.
const MIN_CONNECTIONS: usize = 8;

/// Limits, above which a request is answered with 503 and `Retry-After`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitsArgs {
    /// Open connections; fewer where the process may open too few files (`ulimit -n`)
    #[arg(long, value_name = "COUNT", env = "SOP_MAX_CONNECTIONS", default_value = "256")]
    max_connections: NonZeroU16,
    /// Open connections of one client address
    ///
    /// Behind a proxy, all clients have the address of the proxy.
    #[arg(long, value_name = "COUNT", env = "SOP_MAX_CONNECTIONS_PER_PEER", default_value = "64")]
    max_connections_per_peer: NonZeroU16,
    /// Requests of one route that are answered at a time, but for `/health`, `/ready`, `/validate` and streams
    #[arg(long, value_name = "COUNT", env = "SOP_MAX_REQUESTS_PER_ROUTE", default_value = "16")]
    max_requests_per_route: NonZeroU16,
    /// Bodies of requests that are received at a time
    ///
    /// One more takes the place of the one that takes longest to arrive.
    #[arg(long, value_name = "COUNT", env = "SOP_MAX_BODIES", default_value = "64")]
    max_bodies: NonZeroU16,
    /// Texts that wait for `/validate`, which checks one at a time
    #[arg(long, value_name = "COUNT", env = "SOP_VALIDATE_QUEUE", default_value = "16")]
    validate_queue: u16,
    /// How long a connection may take to send the header of its next request
    #[arg(long, value_name = "DURATION", env = "SOP_HEADER_TIMEOUT", default_value = "15s")]
    header_timeout: runbook::Duration,
    /// How long a request may take to send its body
    #[arg(long, value_name = "DURATION", env = "SOP_BODY_TIMEOUT", default_value = "15s")]
    body_timeout: runbook::Duration,
}

impl LimitsArgs {
    /// Returns the limits, with as many connections as the process has descriptors for.
    pub(super) fn limits(&self) -> Result<Limits, CliError> {
        let descriptors = getrlimit(Resource::Nofile).current;
        // No limit, or more than there is memory for.
        let descriptors = descriptors.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let connections = available_connections(descriptors).ok_or_else(|| {
            let needed = RESERVED_DESCRIPTORS + EXTRA_DESCRIPTORS + MIN_CONNECTIONS;
            let message = format!("this process may open {descriptors} files: too few to serve");
            CliError::usage_with_hint(message, format!("allow at least {needed} (`ulimit -n`)"))
        })?;
        for (flag, duration) in
            [("--header-timeout", self.header_timeout), ("--body-timeout", self.body_timeout)]
        {
            if duration.std().is_zero() {
                let message = format!("{flag} is 0, so that no request could arrive in time");
                return Err(CliError::usage_with_hint(message, "name a duration such as 15s"));
            }
        }
        let max_connections = NonZeroUsize::from(self.max_connections);
        if connections < max_connections {
            tracing::warn!(
                descriptors,
                connections,
                "fewer connections than --max-connections, because the process may open few files"
            );
        }
        Ok(Limits {
            connections: connections.min(max_connections),
            connections_per_peer: self.max_connections_per_peer.into(),
            requests_per_route: self.max_requests_per_route.into(),
            bodies: self.max_bodies.into(),
            validate_queue: self.validate_queue.into(),
            header_timeout: self.header_timeout.std(),
            body_timeout: self.body_timeout.std(),
        })
    }
}

/// Returns how many connections leave enough descriptors to the runs; none where the service cannot do its work.
fn available_connections(descriptors: usize) -> Option<NonZeroUsize> {
    let available = descriptors.checked_sub(RESERVED_DESCRIPTORS + EXTRA_DESCRIPTORS)?;
    NonZeroUsize::new(available).filter(|connections| connections.get() >= MIN_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::available_connections;

    #[test]
    fn connections_leave_descriptors_to_the_runs() {
        let available = |descriptors| available_connections(descriptors).map(usize::from);
        assert_eq!(available(1024), Some(784));
        assert_eq!(available(256), Some(16));
        assert_eq!(available(247), None);
        assert_eq!(available(64), None);
    }
}
