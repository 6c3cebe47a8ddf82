//! The events of runs, which `rafay-relay-sop crds` defines (`custom`).

use super::{Kind, grouped};

pub(crate) static RUN_EVENTS: Kind =
    Kind { generation: true, ..grouped("sop.rafay.dev", "v1alpha1", "runevents", "RunEvents") };
