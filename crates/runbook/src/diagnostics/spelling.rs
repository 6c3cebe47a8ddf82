//! Finds the name that a misspelled name probably means.

/// Longer names are not compared: no name in a runbook is as long.
const MAX_LENGTH: usize = 64;

/// Returns the name that is most similar to `wrong`, if at most a third of its letters differ.
pub fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if wrong.len() > MAX_LENGTH {
        return None;
    }
    let folded = fold(wrong);
    let distance = |name: &'n str| {
        if name.len() > MAX_LENGTH || name.len().abs_diff(wrong.len()) > MAX_LENGTH / 3 {
            return None;
        }
        let distance = if fold(name) == folded {
            0 // only the case or the separator of the words differs
        } else {
            strsim::osa_distance(wrong, name)
        };
        let allowed = (wrong.chars().count().max(name.chars().count()) / 3).max(1);
        (distance <= allowed && name != wrong).then_some((distance, name))
    };
    names.into_iter().filter_map(distance).min().map(|(_, name)| name)
}

fn fold(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_similar_names_are_suggested() {
        let names = ["scale_nodegroup", "wait_nodes", "assert", "id"];
        assert_eq!(nearest("scale_nodegrup", names), Some("scale_nodegroup"));
        assert_eq!(nearest("ScaleNodegroup", names), Some("scale_nodegroup"));
        assert_eq!(nearest("wait-nodes", names), Some("wait_nodes"));
        assert_eq!(nearest("asert", names), Some("assert"));
        assert_eq!(nearest("ix", names), Some("id"));
        assert_eq!(nearest("cordon", names), None);
        assert_eq!(nearest(&"a".repeat(10_000), names), None);
    }
}
