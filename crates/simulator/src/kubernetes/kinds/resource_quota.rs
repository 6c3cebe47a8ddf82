//! Resource quotas.

use serde_json::Value;

use crate::kubernetes::object::map;

use super::column::{AGE, NAME, column};
use super::{Kind, core};

pub(crate) static RESOURCE_QUOTAS: Kind = Kind {
    short_names: &["quota"],
    subresources: &["status"],
    is_counted_by_plural: true,
    columns: &[
        NAME,
        column("Request", |quota, _| quota_usage(quota, false)),
        column("Limit", |quota, _| quota_usage(quota, true)),
        AGE,
    ],
    ..core("resourcequotas", "ResourceQuota", true)
};

/// Returns what a quota has of each resource: `pods: 2/3`.
fn quota_usage(quota: &Value, of_limits: bool) -> Value {
    let hard = map(quota, "/status/hard").into_iter().flatten();
    let parts: Vec<String> = hard
        .filter(|(name, _)| name.starts_with("limits.") == of_limits)
        .map(|(name, hard)| {
            let used = &quota["status"]["used"][name.as_str()];
            let plain =
                |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
            format!("{name}: {}/{}", plain(used), plain(hard))
        })
        .collect();
    parts.join(", ").into()
}
