//! How several things are named in one message.

/// At most so many names are listed: more would hide the sentence around them.
const MAX_NAMES: usize = 5;

/// `a, b, c, d, e and 7 more`.
pub(super) fn join_truncated(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(MAX_NAMES).collect();
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `1 pod`, `3 pods`.
pub(super) fn plural(count: usize, noun: &str) -> String {
    let suffix = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{suffix}")
}

/// How many there are, as the language counts. No cluster has more than it holds.
pub(super) fn count_u32<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_truncated() {
        assert_eq!(join_truncated(["a", "b"]), "a, b");
        assert_eq!(join_truncated(["a", "b", "c", "d", "e"]), "a, b, c, d, e");
        assert_eq!(join_truncated(["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
        assert_eq!(join_truncated(Vec::<String>::new()), "");
        assert_eq!((plural(1, "pod"), plural(2, "pod")), ("1 pod".into(), "2 pods".into()));
    }
}
