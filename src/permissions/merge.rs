//! Requirements without repetitions: what is allowed already by a wider one is left out, and what needs it is added
//! there.

use std::collections::BTreeMap;

use super::{Access, AwsAccess, AwsResource, KubernetesAccess, Place, Requirement};

/// Merges equal requirements, and those that another one covers. They are in a fixed order then.
pub fn merge(requirements: impl IntoIterator<Item = Requirement>) -> Vec<Requirement> {
    let mut merged: BTreeMap<Access, Requirement> = BTreeMap::new();
    for requirement in requirements {
        match merged.get_mut(&requirement.access) {
            Some(same) => same.absorb(requirement),
            None => {
                merged.insert(requirement.access.clone(), requirement);
            }
        }
    }
    let all: Vec<Access> = merged.keys().cloned().collect();
    for access in &all {
        // The widest one: what covers it may be covered itself.
        let wider = all.iter().filter(|wider| *wider != access && covers(wider, access));
        let Some(widest) =
            wider.min_by_key(|wider| all.iter().filter(|one| covers(one, wider)).count())
        else {
            continue;
        };
        if let Some(covered) = merged.remove(access)
            && let Some(widest) = merged.get_mut(widest)
        {
            // The note of the narrow one does not explain the wide one.
            widest.absorb(Requirement { notes: widest.notes.clone(), ..covered });
        }
    }
    merged.into_values().collect()
}

impl Requirement {
    fn absorb(&mut self, other: Self) {
        self.needed_by.extend(other.needed_by);
        self.notes.extend(other.notes);
        self.is_optional &= other.is_optional;
    }
}

/// Whether `wide` allows everything that `narrow` does.
fn covers(wide: &Access, narrow: &Access) -> bool {
    match (wide, narrow) {
        (Access::Kubernetes(wide), Access::Kubernetes(narrow)) => {
            let KubernetesAccess { place, group, resource, name, verb } = wide;
            let is_same =
                *group == narrow.group && *resource == narrow.resource && *verb == narrow.verb;
            let is_place = *place == narrow.place || !matches!(place, Place::Namespace(_));
            is_same && is_place && (name.is_none() || *name == narrow.name)
        }
        (Access::Aws(wide), Access::Aws(narrow)) => covers_in_aws(wide, narrow),
        (Access::Kubernetes(_), Access::Aws(_)) | (Access::Aws(_), Access::Kubernetes(_)) => false,
    }
}

fn covers_in_aws(wide: &AwsAccess, narrow: &AwsAccess) -> bool {
    let (AwsResource::OfCluster { nodegroup: None, .. }, true) =
        (&wide.resource, wide.action == narrow.action)
    else {
        return wide == narrow;
    };
    let mut of_all = narrow.resource.clone();
    if let AwsResource::OfCluster { nodegroup, .. } = &mut of_all {
        *nodegroup = None;
    }
    of_all == wide.resource
}
