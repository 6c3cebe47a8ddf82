//! How several things are named in one message.

/// At most so many names are listed: more would hide the sentence around them.
const NAMES_SHOWN: usize = 5;

/// `a, b, c, d, e and 7 more`.
pub(super) fn listed(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(NAMES_SHOWN).collect();
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `1 pod`, `3 pods`.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// How many there are, as the language counts. No cluster has more than it holds.
pub(super) fn how_many<T>(things: &[T]) -> u32 {
    u32::try_from(things.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed(["a", "b", "c", "d", "e"]), "a, b, c, d, e");
        assert_eq!(listed(["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
        assert_eq!(listed(Vec::<String>::new()), "");
        assert_eq!((counted(1, "pod"), counted(2, "pod")), ("1 pod".into(), "2 pods".into()));
    }
}
