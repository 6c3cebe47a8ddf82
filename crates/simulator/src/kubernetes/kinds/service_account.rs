//! Service accounts.

use super::{Kind, core};

pub(crate) static SERVICE_ACCOUNTS: Kind = Kind {
    short_names: &["sa"],
    is_shown_when_deleted: true,
    ..core("serviceaccounts", "ServiceAccount", true)
};
