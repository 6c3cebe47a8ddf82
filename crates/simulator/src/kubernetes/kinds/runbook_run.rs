//! The runs of runbooks, which `rafay-relay-sop crds` defines, as if that had been applied (`custom`).

use super::{Kind, grouped};

pub(crate) static RUNBOOK_RUNS: Kind = Kind {
    short_names: &["rbr"],
    subresources: &["status"],
    generation: true,

    ..grouped("sop.rafay.dev", "v1alpha1", "runbookruns", "RunbookRun")
};
