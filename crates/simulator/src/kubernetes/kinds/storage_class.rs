//! Storage classes.

use super::{Kind, grouped};

pub(crate) static STORAGE_CLASSES: Kind = Kind {
    short_names: &["sc"],
    namespaced: false,

    ..grouped("storage.k8s.io", "v1", "storageclasses", "StorageClass")
};
