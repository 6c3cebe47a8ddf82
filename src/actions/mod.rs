//! The actions: everything that a runbook can do. One file per action, and one line in [`all`].
//!
//! An action is a type that declares its name, its parameters and its output ([`Action`]) and has one of three kinds:
//! [`Read`] reads, [`Wait`] waits until a condition holds, [`Change`] changes something in operations that can each be
//! repeated: prepare, apply, settle, undo. Only `apply` and `undo` are given a [`PlatformWriter`]; every other
//! operation gets a [`PlatformReader`], which has no call that changes anything, so a dry run cannot change anything
//! either.
//!
//! [`ActionDef`] is an action with its types erased to JSON, the form of the journal. Nothing is declared twice: the
//! checks of runbooks, the editor's schema and the documentation all come from the Rust types `Params` and `Output`.
//!
//! This module uses the platform's clients and the types of the runbook language. It must not use the engine, the
//! journal or the simulator.

mod action_def;
mod error;
mod impact;
mod permission;
mod target_state;
mod traits;

pub(crate) mod autoscaling;
mod budgets;
mod cluster_identity;
mod compare_and_set;
mod concurrency;
mod cordon_change;
mod group_instances;
mod group_target;
mod kinds;
mod known_targets;
mod node_entries;
mod node_targets;
mod nodegroup_update;
mod nodegroups;
mod object_target;
mod objects;
mod optimistic;
mod pod_causes;
mod protection;
mod rollout_guard;
mod rollouts;
mod types;
mod workload;

mod annotate;
mod assert;
mod cordon;
mod delete_pods;
mod drain;
mod emit_event;
mod find_auto_scaling_group;
mod find_nodegroup;
mod get_object;
mod get_protection;
mod http_probe;
mod label_nodes;
mod list_nodegroups;
mod list_nodes;
mod list_pods;
mod patch_object;
mod read_config;
mod rollout_restart;
mod rollout_undo;
mod run_job;
mod scale_auto_scaling_group;
mod scale_deployment;
mod scale_nodegroup;
mod set_image;
mod set_nodegroup;
mod set_protection;
mod sleep;
mod suspend_processes;
mod taint_nodes;
mod terminate_instances;
mod update_nodegroup_version;
mod wait_approval;
mod wait_nodes;
mod wait_object;
mod wait_pods;
mod wait_rollout;

use std::sync::LazyLock;

pub use action_def::{ActionDef, ApprovalOps, ChangeOps, Operations};
pub use error::{Error, Recovery, Result};
pub use impact::{Impact, ShrunkWorkload, SizeChange};
pub use known_targets::KnownTargets;
pub use permission::{
    Access, AwsParams, AwsScope, Condition, KubernetesScope, OF_GROUP, OF_NODEGROUP, Permission,
    PlatformKind, RepeatedParam,
};
pub use target_state::{RestoreCommand, TargetState};
pub use traits::{Action, ApprovalRequest, Approve, Change, PlannedChange, Read, Wait};

use crate::platform::{PlatformReader, PlatformWriter, Progress};
use runbook::ActionRegistry;

/// Returns every action, in the order in which the documentation lists them.
pub fn all() -> &'static [ActionDef] {
    static ALL: LazyLock<Vec<ActionDef>> = LazyLock::new(|| {
        vec![
            ActionDef::read::<read_config::ReadConfig>(),
            ActionDef::read::<find_nodegroup::FindNodegroup>(),
            ActionDef::read::<list_nodegroups::ListNodegroups>(),
            ActionDef::change::<scale_nodegroup::ScaleNodegroup>(),
            ActionDef::change::<set_nodegroup::SetNodegroup>(),
            ActionDef::change::<update_nodegroup_version::UpdateNodegroupVersion>(),
            ActionDef::wait::<wait_nodes::WaitNodes>(),
            ActionDef::change::<rollout_restart::RolloutRestart>(),
            ActionDef::change::<set_image::SetImage>(),
            ActionDef::change::<rollout_undo::RolloutUndo>(),
            ActionDef::read::<list_nodes::ListNodes>(),
            ActionDef::read::<list_pods::ListPods>(),
            ActionDef::change::<scale_deployment::ScaleDeployment>(),
            ActionDef::wait::<wait_pods::WaitPods>(),
            ActionDef::wait::<wait_rollout::WaitRollout>(),
            ActionDef::change::<delete_pods::DeletePods>(),
            ActionDef::change::<cordon::Cordon>(),
            ActionDef::change::<cordon::Uncordon>(),
            ActionDef::change::<drain::Drain>(),
            ActionDef::change::<label_nodes::LabelNodes>(),
            ActionDef::change::<taint_nodes::TaintNodes>(),
            ActionDef::change::<annotate::Annotate>(),
            ActionDef::change::<emit_event::EmitEvent>(),
            ActionDef::read::<get_object::GetObject>(),
            ActionDef::change::<patch_object::PatchObject>(),
            ActionDef::wait::<wait_object::WaitObject>(),
            ActionDef::read::<get_protection::GetProtection>(),
            ActionDef::change::<set_protection::SetProtection>(),
            ActionDef::change::<suspend_processes::SuspendProcesses>(),
            ActionDef::change::<suspend_processes::ResumeProcesses>(),
            ActionDef::change::<terminate_instances::TerminateInstances>(),
            ActionDef::read::<find_auto_scaling_group::FindAutoScalingGroup>(),
            ActionDef::change::<scale_auto_scaling_group::ScaleAutoScalingGroup>(),
            ActionDef::change::<run_job::RunJob>(),
            ActionDef::wait::<http_probe::HttpProbe>(),
            ActionDef::wait::<assert::Assert>(),
            ActionDef::wait::<sleep::Sleep>(),
            ActionDef::approval::<wait_approval::WaitApproval>(),
        ]
    });
    &ALL
}

/// Returns the action of that name.
pub fn find(name: &str) -> Option<&'static ActionDef> {
    all().iter().find(|action| action.name == name)
}

/// Returns the signatures of all actions, against which runbooks are checked.
pub fn registry() -> &'static ActionRegistry {
    static REGISTRY: LazyLock<ActionRegistry> = LazyLock::new(|| {
        ActionRegistry::lazy(
            all().iter().map(|action| (action.name.to_owned(), || action.signature())),
        )
    });
    &REGISTRY
}
