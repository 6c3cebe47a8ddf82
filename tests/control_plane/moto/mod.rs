//! moto in the place of AWS: an implementation of EKS, Auto Scaling and EC2 that is not ours.
//!
//! It proves the wire shapes: what we send is understood by others, and what others answer is understood by us, by the
//! page and by the hundred. It does not prove how AWS behaves: moto answers an update `Successful` at once, has neither
//! `DescribeUpdate` nor `ListUpdates` nor any scaling activity, ignores client tokens, accepts a desired size above the
//! maximum, protects instances that are not in the group without a word, answers some calls for a cluster or group that it
//! does not have with 500, and its nodegroups have no instances. The simulator does all of that as AWS documents it.
//!
//! `calls` asks each call of ours, `actions` runs the actions that need nothing but AWS. With the [`bridge`], which does
//! for moto what EKS and the kubelets do, and the real control plane, nothing is left in the world that is ours but the
//! program: `nodegroup` and `relay_scale`.

mod actions;
mod aws_account;
mod bridge;
mod calls;
mod nodegroup;
mod relay_cluster;
mod relay_scale;
mod request_log;
mod server;

pub(crate) use server::Moto;

use crate::harness::Test;

/// Where everything is.
pub(crate) const REGION: &str = "us-west-2";

pub(crate) fn tests() -> Vec<Test> {
    [calls::tests(), actions::tests(), nodegroup::tests(), relay_scale::tests()]
        .into_iter()
        .flatten()
        .collect()
}
