//! The vocabulary: what a runbook can say. One file per action, and one line in [`all`].
//!
//! An action is a type that says its name, its parameters and its output ([`Action`]) and does one of three things:
//! [`Read`] looks, [`Wait`] looks until something is so, [`Change`] changes the world in verbs that can each be
//! repeated: prepare, apply, settle, undo. Only `apply` and `undo` are handed a [`PlatformWriter`]; everything else gets a
//! [`PlatformReader`], which has no call that changes anything, so a dry run cannot mutate by construction.
//!
//! [`ActionDef`] is an action with its types erased to JSON, the journal's own form. Nothing is declared twice: the
//! runbook's checks, the editor's schema and the documentation all come from the Rust types of `Params` and `Output`.
//!
//! This room knows the platform's clients and the types of the runbook language. It may not know the engine, the
//! journal or the simulator.

mod action_def;
mod error;
mod permission;
mod traits;

mod compare_and_set;
mod concurrency;
mod cordon_change;
mod nodegroups;
mod optimistic;
mod protection;
mod types;
mod workload;

mod assert;
mod cordon;
mod delete_pods;
mod find_nodegroup;
mod get_protection;
mod list_pods;
mod read_config;
mod rollout_restart;
mod scale_deployment;
mod scale_nodegroup;
mod set_protection;
mod sleep;
mod wait_nodes;
mod wait_pods;

use std::sync::LazyLock;

pub use action_def::{ActionDef, ChangeOps, Operations};
pub use error::{Error, Recovery, Result};
pub use permission::{Permission, PlatformKind};
pub use traits::{Action, Change, PlannedChange, Read, Wait};

use crate::platform::{PlatformReader, PlatformWriter, Progress};
use runbook::ActionRegistry;

/// Every action, in the order in which documentation lists them.
pub fn all() -> &'static [ActionDef] {
    static ALL: LazyLock<Vec<ActionDef>> = LazyLock::new(|| {
        vec![
            ActionDef::read::<read_config::ReadConfig>(),
            ActionDef::read::<find_nodegroup::FindNodegroup>(),
            ActionDef::change::<scale_nodegroup::ScaleNodegroup>(),
            ActionDef::wait::<wait_nodes::WaitNodes>(),
            ActionDef::change::<rollout_restart::RolloutRestart>(),
            ActionDef::read::<list_pods::ListPods>(),
            ActionDef::change::<scale_deployment::ScaleDeployment>(),
            ActionDef::wait::<wait_pods::WaitPods>(),
            ActionDef::change::<delete_pods::DeletePods>(),
            ActionDef::change::<cordon::Cordon>(),
            ActionDef::change::<cordon::Uncordon>(),
            ActionDef::read::<get_protection::GetProtection>(),
            ActionDef::change::<set_protection::SetProtection>(),
            ActionDef::wait::<assert::Assert>(),
            ActionDef::wait::<sleep::Sleep>(),
        ]
    });
    &ALL
}

/// The action of that name.
pub fn find(name: &str) -> Option<&'static ActionDef> {
    all().iter().find(|action| action.name == name)
}

/// What the runbook's checks need to know of every action.
pub fn registry() -> &'static ActionRegistry {
    static REGISTRY: LazyLock<ActionRegistry> =
        LazyLock::new(|| ActionRegistry::new(all().iter().map(ActionDef::signature).collect()));
    &REGISTRY
}
