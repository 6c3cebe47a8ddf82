//! The vocabulary: what a runbook can say. One file per action, and one line in [`all`].
//!
//! An action is a type that says its name, its parameters and its output ([`Action`]) and does one of three things:
//! [`Read`] looks, [`Wait`] looks until something is so, [`Change`] changes the world in verbs that can each be
//! repeated: prepare, apply, settle, undo. Only `apply` and `undo` are handed a [`Writer`]; everything else gets a
//! [`Reader`], which has no call that changes anything, so a dry run cannot mutate by construction.
//!
//! [`Entry`] is an action with its types erased to JSON, the journal's own form. Nothing is declared twice: the
//! runbook's checks, the editor's schema and the documentation all come from the Rust types of `Params` and `Output`.
//!
//! This room knows the platform's clients and the types of the runbook language. It may not know the engine, the
//! journal or the simulator.

mod entry;
mod error;
mod permission;
mod verbs;

mod at_once;
mod cordoning;
mod nodegroups;
mod patched;
mod pauses;
mod protection;
mod records;
mod three_way;
mod words;
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
mod uncordon;
mod wait_nodes;
mod wait_pods;

use std::sync::LazyLock;

pub use entry::{ChangeVerbs, Entry, Verbs};
pub use error::{Cure, Error, Result};
pub use permission::{Cluster, Permission};
pub use verbs::{Action, Change, Diff, Read, Wait};

pub use crate::platform::{
    AwsAccess, AwsIdentity, Error as PlatformError, KubernetesAccess, KubernetesIdentity, Note,
    Options, Platform, Progress, Reader, Writer,
};
use crate::runbook::ActionRegistry;

/// Every action, in the order in which documentation lists them.
pub fn all() -> &'static [Entry] {
    static ALL: LazyLock<Vec<Entry>> = LazyLock::new(|| {
        vec![
            Entry::read::<read_config::ReadConfig>(),
            Entry::read::<find_nodegroup::FindNodegroup>(),
            Entry::change::<scale_nodegroup::ScaleNodegroup>(),
            Entry::wait::<wait_nodes::WaitNodes>(),
            Entry::change::<rollout_restart::RolloutRestart>(),
            Entry::read::<list_pods::ListPods>(),
            Entry::change::<scale_deployment::ScaleDeployment>(),
            Entry::wait::<wait_pods::WaitPods>(),
            Entry::change::<delete_pods::DeletePods>(),
            Entry::change::<cordon::Cordon>(),
            Entry::change::<uncordon::Uncordon>(),
            Entry::read::<get_protection::GetProtection>(),
            Entry::change::<set_protection::SetProtection>(),
            Entry::wait::<assert::Assert>(),
            Entry::wait::<sleep::Sleep>(),
        ]
    });
    &ALL
}

/// The action of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    all().iter().find(|entry| entry.name == name)
}

/// What the runbook's checks need to know of every action.
pub fn catalogue() -> &'static ActionRegistry {
    static CATALOGUE: LazyLock<ActionRegistry> =
        LazyLock::new(|| ActionRegistry::new(all().iter().map(Entry::signature).collect()));
    &CATALOGUE
}
