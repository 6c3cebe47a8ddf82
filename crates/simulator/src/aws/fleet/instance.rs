//! An instance and its life in its group.

use jiff::Timestamp;

/// Where an instance stands in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Pending,
    InService,
    Terminating,
    /// No longer in its group.
    Terminated,
}

impl Lifecycle {
    /// Auto Scaling's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
            Self::Terminated => "Terminated",
        }
    }

    /// EC2's code and word for it.
    pub(crate) fn ec2_state(self) -> (u32, &'static str) {
        match self {
            Self::Pending => (0, "pending"),
            Self::InService => (16, "running"),
            Self::Terminating => (32, "shutting-down"),
            Self::Terminated => (48, "terminated"),
        }
    }
}

/// What has been done about the instance's Node.
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
    pub(crate) instance_type: String,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) protected: bool,
    /// Whether it is protected from the moment at which it comes into service.
    pub(super) protect_at_launch: bool,
    pub(crate) launched: Timestamp,
    /// When its boot is over.
    pub(crate) in_service_at: Timestamp,
    /// When its Node gets Ready; never, if there is no such moment.
    pub(crate) ready_at: Option<Timestamp>,
    /// When its termination is over.
    pub(crate) terminated_at: Option<Timestamp>,
    pub(super) node: NodeState,
}

impl SimulatedInstance {
    /// The name of its Node, which is its private DNS name.
    pub(crate) fn node_name(&self) -> String {
        let region = self.zone.trim_end_matches(char::is_alphabetic);
        format!("ip-{}.{region}.compute.internal", self.address.replace('.', "-"))
    }

    /// Whether scale-in protection may be changed.
    pub(crate) fn can_be_protected(&self) -> bool {
        self.lifecycle == Lifecycle::InService
    }
}
