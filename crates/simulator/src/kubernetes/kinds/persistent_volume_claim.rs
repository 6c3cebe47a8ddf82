//! Claims of persistent volumes, which are not bound here.

use super::{Kind, core};

pub(crate) static PERSISTENT_VOLUME_CLAIMS: Kind = Kind {
    short_names: &["pvc"],
    subresources: &["status"],
    is_counted_by_plural: true,
    ..core("persistentvolumeclaims", "PersistentVolumeClaim", true)
};
