//! The metadata of objects that are kept in large numbers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};

/// Reads metadata and drops the record of who manages which field, which is longer than the rest and is not needed.
pub(super) fn without_managed_fields<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ObjectMeta, D::Error> {
    let metadata = ObjectMeta::deserialize(deserializer)?;
    Ok(ObjectMeta { managed_fields: None, ..metadata })
}
