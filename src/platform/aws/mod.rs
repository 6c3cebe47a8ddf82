//! The AWS clients of one region: EKS, Auto Scaling and EC2. [`AwsReader`] only reads; [`AwsWriter`] changes things.
//! Responses are converted to plain records with only the fields that actions use; an unknown value is kept as the
//! service spells it. This module is independent of Kubernetes and of the actions.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_smithy_types::DateTime;
use jiff::Timestamp;

use super::{WriteFence, calls::Hook, removal::Removals};

use bounded_responses::BoundedResponses;
use error::AwsCall;
use observed_calls::ObservedCalls;
use retry_classifier::NoRetryOnConnectError;

mod access;
mod autoscaling;
mod bounded_responses;
mod connect;
mod credentials;
mod ec2;
mod eks;
mod error;
mod http_client;
mod local_credentials;
mod names;
mod observed_calls;
mod retry_classifier;
#[cfg(test)]
mod tests;

pub use access::{NodegroupArns, SimulatedCall, Simulation};
pub use autoscaling::{Activity, AutoScalingGroup, GroupInstance, MAX_PROTECTED_PER_CALL};
pub(super) use connect::AwsAccount;
pub use ec2::{Instance, Subnet};
pub use eks::{
    EksCluster, LaunchTemplate, Nodegroup, NodegroupChange, NodegroupTaint, NodegroupVersion,
    RequestedVersion, Scaling, Update, UpdateConfig, UpdateStatus,
};

/// The clients of one region. Reads and writes have different timeouts, so each has its own client.
pub(super) struct Clients {
    region: String,
    eks: aws_sdk_eks::Client,
    autoscaling: aws_sdk_autoscaling::Client,
    ec2: aws_sdk_ec2::Client,
    eks_writes: aws_sdk_eks::Client,
    autoscaling_writes: aws_sdk_autoscaling::Client,
}

impl Clients {
    fn new(region: &str, reads: &SdkConfig, writes: &SdkConfig, hook: &Hook) -> Self {
        Self {
            region: region.to_owned(),
            eks: eks(reads, hook),
            autoscaling: autoscaling(reads, hook),
            ec2: ec2(reads, hook),
            eks_writes: eks(writes, hook),
            autoscaling_writes: autoscaling(writes, hook),
        }
    }
}

/// Reads from one region of the account.
#[derive(Clone)]
pub struct AwsReader {
    clients: Arc<Clients>,
}

impl AwsReader {
    pub(super) fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.clients.region
    }

    fn call<'a>(
        &'a self,
        service: &'static str,
        operation: &'static str,
        resource: &'a str,
    ) -> AwsCall<'a> {
        AwsCall::new(service, operation, resource, &self.clients.region)
    }
}

/// Changes one region of the account.
#[derive(Clone)]
pub struct AwsWriter {
    reader: AwsReader,
    client_token: Arc<str>,
    fence: WriteFence,
    removals: Removals,
}

impl AwsWriter {
    pub(super) fn new(
        clients: Arc<Clients>,
        client_token: &Arc<str>,
        fence: WriteFence,
        removals: Removals,
    ) -> Self {
        let client_token = Arc::clone(client_token);
        Self { reader: AwsReader::new(clients), client_token, fence, removals }
    }

    /// Returns the reader of the same region.
    pub fn reader(&self) -> &AwsReader {
        &self.reader
    }
}

fn eks(config: &SdkConfig, hook: &Hook) -> aws_sdk_eks::Client {
    let config = aws_sdk_eks::config::Builder::from(config)
        .retry_classifier(NoRetryOnConnectError)
        .interceptor(BoundedResponses)
        .interceptor(ObservedCalls::new("eks", hook));
    aws_sdk_eks::Client::from_conf(config.build())
}

fn autoscaling(config: &SdkConfig, hook: &Hook) -> aws_sdk_autoscaling::Client {
    let config = aws_sdk_autoscaling::config::Builder::from(config)
        .retry_classifier(NoRetryOnConnectError)
        .interceptor(BoundedResponses)
        .interceptor(ObservedCalls::new("autoscaling", hook));
    aws_sdk_autoscaling::Client::from_conf(config.build())
}

fn ec2(config: &SdkConfig, hook: &Hook) -> aws_sdk_ec2::Client {
    let config = aws_sdk_ec2::config::Builder::from(config)
        .retry_classifier(NoRetryOnConnectError)
        .interceptor(BoundedResponses)
        .interceptor(ObservedCalls::new("ec2", hook));
    aws_sdk_ec2::Client::from_conf(config.build())
}

fn iam(config: &SdkConfig, hook: &Hook) -> aws_sdk_iam::Client {
    let config = aws_sdk_iam::config::Builder::from(config)
        .retry_classifier(NoRetryOnConnectError)
        .interceptor(BoundedResponses)
        .interceptor(ObservedCalls::new("iam", hook));
    aws_sdk_iam::Client::from_conf(config.build())
}

fn sts(config: &SdkConfig, hook: &Hook) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::config::Builder::from(config)
        .retry_classifier(NoRetryOnConnectError)
        .interceptor(BoundedResponses)
        .interceptor(ObservedCalls::new("sts", hook));
    aws_sdk_sts::Client::from_conf(config.build())
}

fn timestamp(time: Option<DateTime>) -> Option<Timestamp> {
    let time = time?;
    let nanoseconds = i32::try_from(time.subsec_nanos()).ok()?;
    Timestamp::new(time.secs(), nanoseconds).ok()
}

/// Returns a number of nodes or instances. The protocols have signed numbers, but no size is negative.
fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

/// Returns a number of nodes or instances in the SDK's type. No group is that large.
fn to_sdk_count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
