//! Cron jobs, which have no controller.

use super::{Kind, grouped};

pub(crate) static CRON_JOBS: Kind = Kind {
    short_names: &["cj"],
    subresources: &["status"],
    generation: true,
    common: true,

    ..grouped("batch", "v1", "cronjobs", "CronJob")
};
