//! Slips of typing in the keys of labels and taints. Two keys of one runbook are often alike and both meant, so fewer
//! differences are slips than in other names. It knows no steps and no rules.

/// Returns the key that was meant: with two letters exchanged, or with one letter more, less or another inside of a
/// word. Keys that differ in another way, such as `slot-a` and `slot-b`, or `app.example.com` and `apps.example.com`,
/// are two.
pub(crate) fn similar<'n>(key: &str, others: &[&'n str]) -> Option<&'n str> {
    others.iter().copied().find(|other| {
        let ((prefix, name), (other_prefix, other_name)) = (parts(key), parts(other));
        if name == other_name {
            // `app` and `apps` are two owners.
            is_exchanged(prefix.as_bytes(), other_prefix.as_bytes())
        } else {
            prefix == other_prefix && is_slip(name.as_bytes(), other_name.as_bytes())
        }
    })
}

/// Returns the prefix of a key, if it has one, and its name.
fn parts(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// Whether two letters that follow each other are exchanged.
fn is_exchanged(one: &[u8], two: &[u8]) -> bool {
    let (one, two) = rests(one, two);
    match (one, two) {
        ([a, b, rest @ ..], [c, d, others @ ..]) => {
            let are_letters = a.is_ascii_alphabetic() && b.is_ascii_alphabetic();
            are_letters && a == d && b == c && rest == others
        }
        _ => false,
    }
}

/// Whether two names differ by letters that are exchanged, or by one letter inside of a word.
fn is_slip(one: &[u8], two: &[u8]) -> bool {
    /// The shortest word that is known again with another letter.
    const LEAST: usize = 6;
    let (rest_of_one, rest_of_two) = rests(one, two);
    let same = &one[..one.len() - rest_of_one.len()];
    let before = letters(same.iter().rev());
    match (rest_of_one, rest_of_two) {
        ([letter, rest @ ..], others) | (others, [letter, rest @ ..]) if rest == others => {
            letter.is_ascii_alphabetic() && before > 0 && letters(rest.iter()) > 0
        }
        ([letter, rest @ ..], [other, others @ ..]) if rest == others => {
            let after = letters(rest.iter());
            let are_letters = letter.is_ascii_alphabetic() && other.is_ascii_alphabetic();
            are_letters && before > 0 && after > 0 && before + after + 1 >= LEAST
        }
        _ => is_exchanged(one, two),
    }
}

/// Returns what follows the same beginning of two names.
fn rests<'n>(one: &'n [u8], two: &'n [u8]) -> (&'n [u8], &'n [u8]) {
    let same = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    (&one[same..], &two[same..])
}

/// Returns the number of letters that come first.
fn letters<'n>(bytes: impl Iterator<Item = &'n u8>) -> usize {
    bytes.take_while(|byte| byte.is_ascii_alphabetic()).count()
}

#[cfg(test)]
mod tests {
    use super::similar;

    #[test]
    fn slips_are_found_and_two_keys_are_two() {
        for (key, meant) in [
            ("maintenence", "maintenance"),
            ("maintnance", "maintenance"),
            ("maintenannce", "maintenance"),
            ("mainteannce", "maintenance"),
            ("exmaple.com/role", "example.com/role"),
        ] {
            assert_eq!(similar(key, &["other", meant]), Some(meant), "{key}");
        }
        for (key, other) in [
            ("slot-a", "slot-b"),
            ("slot-1-x", "slot-10-x"),
            ("v1", "v2"),
            ("role", "roles"),
            ("blue", "glue"),
            ("bar", "bor"),
            ("app.example.com/tier", "apps.example.com/tier"),
            ("a.example.com/role", "b.example.com/rloe"),
        ] {
            assert_eq!(similar(key, &[other]), None, "{key}");
        }
    }
}
