//! The nodes that can mount the volumes of a pod. A claim that is missing or not bound is no constraint: volumes are
//! not provisioned here.

use serde_json::Value;

use crate::kubernetes::controllers::ClusterView;
use crate::kubernetes::kinds::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES};
use crate::kubernetes::object::{self, list, text};

/// Returns the names of the claims that a pod mounts.
fn claims(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = list(pod, "/spec/volumes").iter();
    let names = volumes.map(|volume| text(volume, "/persistentVolumeClaim/claimName"));
    names.filter(|name| !name.is_empty())
}

pub(super) fn has_claims(pod: &Value) -> bool {
    claims(pod).next().is_some()
}

/// Returns for each bound volume that only some nodes can mount the node selector terms of which one must match.
pub(super) fn required_terms(view: &ClusterView<'_>, pod: &Value) -> Vec<Value> {
    let terms = |claim: &str| {
        let claim = view.get(&PERSISTENT_VOLUME_CLAIMS, object::namespace(pod), claim)?;
        let volume = view.get(&PERSISTENT_VOLUMES, "", text(claim, "/spec/volumeName"))?;
        volume.pointer("/spec/nodeAffinity/required/nodeSelectorTerms").cloned()
    };
    claims(pod).filter_map(terms).collect()
}
