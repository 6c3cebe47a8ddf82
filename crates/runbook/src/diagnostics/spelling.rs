//! Finds the name that a misspelled name probably means.

/// Longer names are not compared: no name in a runbook is as long.
const MAX_LENGTH: usize = 64;

/// Returns the name that is most similar to `wrong`, if at most a third of its letters differ.
pub fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    nearest_two(wrong, names).map(|(name, _)| name)
}

/// Returns the name that is most similar to `wrong`, and another one that is as similar, if there is one.
pub(crate) fn nearest_two<'n>(
    wrong: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<(&'n str, Option<&'n str>)> {
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
    let mut best: Option<((usize, &'n str), Option<&'n str>)> = None;
    for (distance, name) in names.into_iter().filter_map(distance) {
        best = Some(match best {
            Some((first, _)) if distance < first.0 => ((distance, name), None),
            Some((first, rival)) if distance == first.0 && name != first.1 => {
                let (first_name, other) = (first.1.min(name), first.1.max(name));
                ((distance, first_name), Some(rival.map_or(other, |rival| rival.min(other))))
            }
            Some(best) => best,
            None => ((distance, name), None),
        });
    }
    best.map(|((_, name), rival)| (name, rival))
}

fn fold(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::{nearest, nearest_two};

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

    #[test]
    fn a_name_that_is_as_similar_is_told() {
        let names = ["node_b", "node_a", "other", "node_c", "node_a"];
        assert_eq!(nearest_two("node_d", names), Some(("node_a", Some("node_b"))));
        assert_eq!(nearest_two("othr", names), Some(("other", None)));
        assert_eq!(nearest_two("node_A", names), Some(("node_a", None)));
    }
}
