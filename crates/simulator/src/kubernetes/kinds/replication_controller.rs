//! Replication controllers, which have no controller here.

use super::{Kind, core};

pub(crate) static REPLICATION_CONTROLLERS: Kind = Kind {
    short_names: &["rc"],
    subresources: &["status"],
    generation: true,
    common: true,
    is_counted_by_plural: true,
    ..core("replicationcontrollers", "ReplicationController", true)
};
