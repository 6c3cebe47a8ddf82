//! Leases.

use super::column::{AGE, NAME, column, text_or_none};
use super::{Kind, grouped};

pub(crate) static LEASES: Kind = Kind {
    columns: &[NAME, column("Holder", |lease, _| text_or_none(lease, "/spec/holderIdentity")), AGE],
    ..grouped("coordination.k8s.io", "v1", "leases", "Lease")
};
