//! Label selectors, as Kubernetes parses them.
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>

use super::checks::{is_label, is_label_key};

/// Whether a text is a label selector with at least one requirement: `app=relay,tier in (web, api),!canary`.
pub(super) fn is_selector(text: &str) -> bool {
    let mut rest = text.trim();
    loop {
        let Some(after) = requirement(rest) else { return false };
        rest = after.trim_start();
        if rest.is_empty() {
            return true;
        }
        let Some(after) = rest.strip_prefix(',') else { return false };
        rest = after.trim_start();
    }
}

/// Reads one requirement, and returns the text after it.
fn requirement(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('!') {
        let (key, rest) = word(rest.trim_start());
        return is_label_key(key).then_some(rest);
    }
    let (key, after_key) = word(text);
    if !is_label_key(key) {
        return None;
    }
    let rest = after_key.trim_start();
    if rest.is_empty() || rest.starts_with(',') {
        return Some(after_key);
    }
    for operator in ["==", "!=", "="] {
        if let Some(rest) = rest.strip_prefix(operator) {
            let (value, rest) = word(rest.trim_start());
            return is_value(value).then_some(rest);
        }
    }
    for operator in [">", "<"] {
        if let Some(rest) = rest.strip_prefix(operator) {
            let (value, rest) = word(rest.trim_start());
            return value.parse::<i64>().is_ok().then_some(rest);
        }
    }
    let (operator, rest) = word(rest);
    match operator {
        "in" | "notin" => values(rest.trim_start()),
        _ => None,
    }
}

/// Reads `(a, b)`, and returns the text after it.
fn values(text: &str) -> Option<&str> {
    let (inside, rest) = text.strip_prefix('(')?.split_once(')')?;
    inside.split(',').all(|value| is_value(value.trim())).then_some(rest)
}

fn is_value(text: &str) -> bool {
    text.is_empty() || is_label(text)
}

/// Splits a text after the characters that a key, a value or a word has.
fn word(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::is_selector;

    #[test]
    fn selectors_are_those_of_kubectl() {
        for good in [
            "app=relay",
            "app==relay, tier != web",
            "app.kubernetes.io/name in (relay,web)",
            "tier notin (a)",
            "!canary",
            "canary",
            "x=,y",
            "generation>3",
        ] {
            assert!(is_selector(good), "{good}");
        }
        for bad in [
            "",
            "app: relay",
            "app=re lay",
            "app=relay,",
            "app=-x",
            "app in relay",
            "app in (relay",
            "app~relay",
            "app=relay;tier=web",
            "app = a = b",
            "=x",
            "app=a&&b=c",
            "{app: relay}",
        ] {
            assert!(!is_selector(bad), "{bad}");
        }
    }
}
