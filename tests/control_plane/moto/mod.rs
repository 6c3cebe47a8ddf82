//! Tests against moto, a third-party implementation of EKS, Auto Scaling and EC2.
//!
//! They verify the wire format: moto understands the program's requests, and the program understands moto's responses,
//! page by page. They do not verify how AWS behaves: moto answers an update `Successful` at once, has neither
//! `DescribeUpdate` nor `ListUpdates` nor any scaling activity, ignores client tokens, accepts a desired size above the
//! maximum, protects instances that are not in the group without an error, answers some calls for an unknown cluster or
//! group with 500, and its nodegroups have no instances. The simulator does all of that as AWS documents it.
//!
//! `calls` makes each AWS call of the program, and `actions` runs the actions that need only AWS. `nodegroup` and
//! `relay_scale` also use the real control plane and the [`bridge`], which does for moto what EKS and the kubelets do.

mod actions;
mod aws_account;
mod bridge;
mod calls;
mod nodegroup;
pub(crate) mod relay_cluster;
pub(crate) mod relay_scale;
pub(crate) mod request_log;
mod server;

pub(crate) use server::Moto;

use crate::harness::Test;

/// The region of all tests.
pub(crate) const REGION: &str = "us-west-2";

pub(crate) fn tests() -> Vec<Test> {
    [calls::tests(), actions::tests(), nodegroup::tests(), relay_scale::tests()]
        .into_iter()
        .flatten()
        .collect()
}
