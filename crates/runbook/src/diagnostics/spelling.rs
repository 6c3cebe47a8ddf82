//! The right spelling that a wrong one was probably meant to be.

/// Longer names are not compared: nothing that a runbook names is as long.
const MAX_LENGTH: usize = 64;

/// The name that is nearest to `wrong`, if any is near: a third of its letters may differ.
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
            0 // it differs in case or in the sign between its words only
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
    fn only_what_is_near_is_suggested() {
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
