//! An instance and its lifecycle in an Auto Scaling group.

use jiff::Timestamp;

use super::rollout::Release;

/// The lifecycle state of an instance in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Pending,
    InService,
    Terminating,
    /// The instance is no longer in its group.
    Terminated,
}

impl Lifecycle {
    /// Returns the name of the state in Auto Scaling.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
            Self::Terminated => "Terminated",
        }
    }

    /// Returns the code and the name of the state in EC2.
    pub(crate) fn ec2_state(self) -> (u32, &'static str) {
        match self {
            Self::Pending => (0, "pending"),
            Self::InService => (16, "running"),
            Self::Terminating => (32, "shutting-down"),
            Self::Terminated => (48, "terminated"),
        }
    }
}

/// The state of the instance's Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeState {
    Absent,
    Registered,
    Ready,
}

/// An instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SimulatedInstance {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) zone: String,
    pub(crate) address: String,
    /// The name of the instance's Node.
    pub(super) node_name: String,
    pub(crate) instance_type: String,
    pub(crate) release: Release,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) protected: bool,
    /// Whether the instance is protected from scale-in when it enters service.
    pub(super) protect_at_launch: bool,
    pub(crate) launched: Timestamp,
    /// When the instance has booted.
    pub(crate) in_service_at: Timestamp,
    /// When the instance's Node becomes Ready; `None` if it never does.
    pub(crate) ready_at: Option<Timestamp>,
    /// When the termination is complete.
    pub(crate) terminated_at: Option<Timestamp>,
    pub(super) node: NodeState,
}

/// Returns the private DNS name of an instance, which is the name of its Node.
pub(super) fn private_name(zone: &str, address: &str) -> String {
    let region = zone.trim_end_matches(char::is_alphabetic);
    format!("ip-{}.{region}.compute.internal", address.replace('.', "-"))
}

impl SimulatedInstance {
    /// Returns the name of the instance's Node.
    pub(crate) fn node_name(&self) -> String {
        self.node_name.clone()
    }

    /// Returns whether the instance is in service and its Node is Ready.
    pub(super) fn is_ready(&self) -> bool {
        self.lifecycle == Lifecycle::InService && self.node == NodeState::Ready
    }

    /// Returns whether scale-in protection may be changed.
    pub(crate) fn can_be_protected(&self) -> bool {
        self.lifecycle == Lifecycle::InService
    }
}
