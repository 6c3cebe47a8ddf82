//! Services.

use crate::kubernetes::object::put_default;

use super::{Kind, core};

pub(crate) static SERVICES: Kind = Kind {
    short_names: &["svc"],
    common: true,
    is_counted_by_plural: true,
    name_is_label: true,
    set_defaults: |service| put_default(service, &["spec", "type"], "ClusterIP"),
    port_key: "port",
    ..core("services", "Service", true)
};
