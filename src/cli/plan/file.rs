//! The file of a plan: written by `plan --out`, and read by `run --plan`.

use std::path::Path;

use super::super::{
    CliError,
    private_file::{self, Existing},
};
use crate::{
    engine::digest,
    plan::{PLAN_FORMAT, Plan},
};

/// Writes a plan to a file that only its owner can read: inputs may be secret. A plan that is there is replaced.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: &Path, plan: &Plan) -> Result<(), CliError> {
    let text = format!("{:#}\n", serde_json::json!(plan));
    Ok(private_file::write(path, &text, Existing::Replaced)?)
}

/// Reads a plan, and the digest of its file.
///
/// # Errors
/// The file cannot be read, or is not a plan of this version.
pub(in crate::cli) fn read(path: &Path) -> Result<(Plan, String), CliError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Usage(format!("cannot read {shown}: {error}")))?;
    let hint = "make the plan again with `plan --out`";
    let plan: Plan = serde_json::from_str(&text).map_err(|error| {
        CliError::usage_with_hint(format!("{shown} is not a plan: {error}"), hint)
    })?;
    if plan.format != PLAN_FORMAT {
        let message =
            format!("{shown} has format {}, and this version reads {PLAN_FORMAT}", plan.format);
        return Err(CliError::usage_with_hint(message, hint));
    }
    Ok((plan, digest(&text)))
}
