//! Secrets.

use crate::kubernetes::object::put_default;

use super::column::{AGE, NAME, column};
use super::{Kind, core};

pub(crate) static SECRETS: Kind = Kind {
    is_counted_by_plural: true,
    set_defaults: |secret| put_default(secret, &["type"], "Opaque"),
    fields: &["type"],
    columns: &[NAME, column("Data", |secret, _| super::config_map::entries(secret)), AGE],
    ..core("secrets", "Secret", true)
};
