//! Requirements without repetitions: what is allowed already by a wider one is left out, and what needs it is added
//! there.

use std::collections::BTreeMap;

use super::{Access, AwsAccess, AwsResource, KubernetesAccess, Place, Requirement};

/// Merges equal requirements, and those that another one covers. They are in a fixed order then.
pub fn merge(requirements: impl IntoIterator<Item = Requirement>) -> Vec<Requirement> {
    let mut merged: Vec<Requirement> = Vec::new();
    let mut rest = merge_equal(requirements);
    // The widest first: what covers a requirement is there before it.
    rest.sort_by_key(|one| width(&one.access));
    for requirement in rest {
        match merged.iter_mut().find(|wide| covers(&wide.access, &requirement.access)) {
            // The note of the narrow one does not explain the wide one.
            Some(wide) => {
                let notes = wide.notes.clone();
                wide.absorb(Requirement { notes, ..requirement });
            }
            None => merged.push(requirement),
        }
    }
    merged.sort_by(|a, b| a.access.cmp(&b.access));
    merged
}

/// Merges equal requirements. They are in a fixed order then.
pub fn merge_equal(requirements: impl IntoIterator<Item = Requirement>) -> Vec<Requirement> {
    let mut merged: BTreeMap<Access, Requirement> = BTreeMap::new();
    for requirement in requirements {
        match merged.get_mut(&requirement.access) {
            Some(same) => same.absorb(requirement),
            None => {
                merged.insert(requirement.access.clone(), requirement);
            }
        }
    }
    merged.into_values().collect()
}

/// Returns a number that is less for an access that may cover another one.
fn width(access: &Access) -> u8 {
    match access {
        Access::Kubernetes(KubernetesAccess { place, name, .. }) => {
            let place = match place {
                Place::Cluster => 0,
                Place::NamespaceAtRunTime => 2,
                Place::Namespace(_) => 4,
            };
            place + u8::from(name.is_some())
        }
        Access::Aws(AwsAccess { resource, .. }) => match resource {
            AwsResource::OfCluster { nodegroup: Some(_), .. }
            | AwsResource::AutoScalingGroup { name: Some(_), .. } => 1,
            _ => 0,
        },
    }
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
            let is_wider = match (place, &narrow.place) {
                (Place::Cluster, _) | (Place::NamespaceAtRunTime, Place::Namespace(_)) => true,
                (place, narrow) => place == narrow,
            };
            is_same && is_wider && (name.is_none() || *name == narrow.name)
        }
        (Access::Aws(wide), Access::Aws(narrow)) => covers_in_aws(wide, narrow),
        (Access::Kubernetes(_), Access::Aws(_)) | (Access::Aws(_), Access::Kubernetes(_)) => false,
    }
}

fn covers_in_aws(wide: &AwsAccess, narrow: &AwsAccess) -> bool {
    let mut of_all = narrow.clone();
    match (&wide.resource, &mut of_all.resource) {
        (
            AwsResource::OfCluster { nodegroup: None, .. },
            AwsResource::OfCluster { nodegroup: one, .. },
        )
        | (
            AwsResource::AutoScalingGroup { name: None, .. },
            AwsResource::AutoScalingGroup { name: one, .. },
        ) => *one = None,
        _ => {}
    }
    of_all == *wide
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::permissions::{AwsResourceKind, Need, Value};

    fn requirements() -> Vec<Requirement> {
        let value = |text: &str| Value::Known(text.into());
        let places = [
            Place::Cluster,
            Place::NamespaceAtRunTime,
            Place::Namespace(value("a")),
            Place::Namespace(value("b")),
        ];
        let mut accesses = Vec::new();
        for place in places {
            for name in [None, Some(value("x")), Some(value("y"))] {
                accesses.push(Access::Kubernetes(KubernetesAccess {
                    place: place.clone(),
                    group: String::new(),
                    resource: "pods".into(),
                    name,
                    verb: "get".into(),
                }));
            }
        }
        for nodegroup in [None, Some(value("n")), Some(value("m"))] {
            accesses.push(Access::Aws(AwsAccess {
                action: "eks:DescribeNodegroup".into(),
                resource: AwsResource::OfCluster {
                    kind: AwsResourceKind::Nodegroup,
                    region: value("r"),
                    account: value("1"),
                    cluster: value("c"),
                    nodegroup,
                },
            }));
        }
        let requirement = |access: Access| Requirement {
            needed_by: [Need::Run("a test")].into(),
            is_optional: false,
            notes: BTreeSet::new(),
            access,
        };
        accesses.into_iter().map(requirement).collect()
    }

    #[test]
    fn every_requirement_is_covered_by_what_is_left_of_any_of_them() {
        let all = requirements();
        for chosen in 0_u32..1 << all.len() {
            let some: Vec<Requirement> = (0..all.len())
                .filter(|at| chosen & (1 << at) != 0)
                .map(|at| all[at].clone())
                .collect();
            let merged = merge(some.clone());
            for one in &some {
                let mut left = merged.iter();
                assert!(left.any(|left| covers(&left.access, &one.access)), "{:?}", one.access);
            }
            for (at, one) in merged.iter().enumerate() {
                let mut others = merged.iter().enumerate().filter(|(other, _)| *other != at);
                assert!(!others.any(|(_, other)| covers(&other.access, &one.access)));
            }
        }
    }
}
