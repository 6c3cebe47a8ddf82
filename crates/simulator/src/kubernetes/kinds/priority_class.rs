//! Priority classes.

use super::{Kind, grouped};

pub(crate) static PRIORITY_CLASSES: Kind = Kind {
    short_names: &["pc"],
    generation: true,
    namespaced: false,

    ..grouped("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
};
