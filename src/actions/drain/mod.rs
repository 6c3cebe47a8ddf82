//! Draining nodes: evicting their pods as disruption budgets allow.

pub(super) mod until_empty;
