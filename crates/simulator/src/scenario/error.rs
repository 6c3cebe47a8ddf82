//! The reasons why a scenario cannot be used.

/// The reason why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The text is not a scenario.
    #[error("scenario is not valid: {0}")]
    Parse(String),
    /// The scenario cannot be written.
    #[error("scenario cannot be written as YAML: {0}")]
    Write(String),
    /// Two nodegroups have the same name.
    #[error("duplicate nodegroup {0:?} in the scenario")]
    DuplicateNodegroup(String),
    /// A nodegroup's sizes contradict each other.
    #[error("invalid sizes of nodegroup {0:?}: min <= desired <= max and max >= 1 must hold")]
    InvalidSizes(String),
    /// The account is not an AWS account id.
    #[error("invalid account {0:?} in the scenario: an account id has 12 digits")]
    InvalidAccount(String),
    /// A number of an instance, a launch or an update that there cannot be.
    #[error("invalid {field} {number} of nodegroup {nodegroup:?}: expected {limit}")]
    InvalidNumber {
        /// The nodegroup.
        nodegroup: String,
        /// The field.
        field: &'static str,
        /// The number in it.
        number: u32,
        /// The numbers that are valid.
        limit: String,
    },
    /// A taint has an effect that Kubernetes does not know.
    #[error(
        "invalid taint effect {effect:?} of nodegroup {nodegroup:?}: expected NoSchedule, NoExecute or PreferNoSchedule"
    )]
    InvalidTaint {
        /// The nodegroup.
        nodegroup: String,
        /// The effect.
        effect: String,
    },
    /// A value of a nodegroup or of a group that there cannot be.
    #[error("invalid {field} of nodegroup {nodegroup:?}: {why}")]
    InvalidField {
        /// The nodegroup or the group.
        nodegroup: String,
        /// The field.
        field: &'static str,
        /// The reason.
        why: String,
    },
    /// Two nodegroups have the same Auto Scaling group.
    #[error("duplicate Auto Scaling group {0:?} in the scenario")]
    DuplicateGroup(String),
    /// Two instances have the same id.
    #[error("duplicate instance {0:?} in the scenario")]
    DuplicateInstance(String),
    /// A cluster object lacks what every object of a cluster has.
    #[error("cluster object {number} of the scenario is malformed: {why}")]
    MalformedClusterObject {
        /// The position of the object, from 1.
        number: usize,
        /// The reason.
        why: String,
    },
    /// A cluster object is of a kind that the simulator does not know.
    #[error("the simulator does not know the kind {kind} of cluster object {name:?}")]
    UnknownClusterObject {
        /// The version and the kind.
        kind: String,
        /// The name.
        name: String,
    },
    /// Two cluster objects have the same kind and name, or the same UID.
    #[error("duplicate cluster object in the scenario: {0}")]
    DuplicateClusterObject(String),
}
