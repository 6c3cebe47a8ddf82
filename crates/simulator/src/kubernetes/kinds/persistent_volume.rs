//! Persistent volumes.

use super::{Kind, core};

pub(crate) static PERSISTENT_VOLUMES: Kind = Kind {
    short_names: &["pv"],
    subresources: &["status"],

    ..core("persistentvolumes", "PersistentVolume", false)
};
