//! The runbooks that the programs come with: those of `runbooks/`.

use super::{Library, MissingRunbook, Source};

/// The runbooks that are compiled in: names and texts. A file of the same name comes first where runbooks are looked
/// up.
pub const BUILT_IN_RUNBOOKS: &[(&str, &str)] = &[
    ("drain-node", include_str!("../../../runbooks/drain-node.yaml")),
    ("evacuate-zone", include_str!("../../../runbooks/evacuate-zone.yaml")),
    ("park", include_str!("../../../runbooks/park.yaml")),
    ("relay-scale", include_str!("../../../runbooks/relay-scale.yaml")),
    ("replace-node", include_str!("../../../runbooks/replace-node.yaml")),
    ("restart-deployments", include_str!("../../../runbooks/restart-deployments.yaml")),
    ("rotate-nodegroup", include_str!("../../../runbooks/rotate-nodegroup.yaml")),
    ("scale-nodegroup", include_str!("../../../runbooks/scale-nodegroup.yaml")),
    ("unpark", include_str!("../../../runbooks/unpark.yaml")),
    ("upgrade-nodegroup", include_str!("../../../runbooks/upgrade-nodegroup.yaml")),
];

/// The built-in runbooks as a library.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltInLibrary;

impl Library for BuiltInLibrary {
    fn find(&self, name: &str) -> Result<Source, MissingRunbook> {
        let found = BUILT_IN_RUNBOOKS.iter().find(|(known, _)| *known == name);
        found.map(|(name, text)| Source::new(format!("{name}.yaml"), *text)).ok_or_else(|| {
            let names = BUILT_IN_RUNBOOKS.iter().map(|(name, _)| (*name).to_owned());
            MissingRunbook::Unknown(names.collect())
        })
    }
}
