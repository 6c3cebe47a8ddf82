//! Counts and lists in messages. Every crate and module may use this one; it depends on nothing.

/// The number of names that a list shows. More would hide the sentence around the list.
const MAX_NAMES: usize = 5;

/// Returns a count with its noun: `1 pod`, `3 pods`.
pub fn plural(count: usize, noun: &str) -> String {
    let suffix = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{suffix}")
}

/// Returns the first names of a list and the number of the others: `a, b, c, d, e and 7 more`.
pub fn join_truncated(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(MAX_NAMES).collect();
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plural_adds_an_s_except_for_one() {
        let shown = [0, 1, 2].map(|count| plural(count, "pod"));
        assert_eq!(shown, ["0 pods", "1 pod", "2 pods"]);
    }

    #[test]
    fn a_long_list_is_truncated() {
        assert_eq!(join_truncated(["a", "b"]), "a, b");
        assert_eq!(join_truncated(["a", "b", "c", "d", "e"]), "a, b, c, d, e");
        assert_eq!(join_truncated(["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
        assert_eq!(join_truncated(Vec::<String>::new()), "");
    }
}
