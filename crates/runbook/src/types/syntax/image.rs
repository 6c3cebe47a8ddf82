//! References to container images, as the distribution specification has them.
//! <https://github.com/distribution/reference>

/// The longest name of a repository.
const MAX_NAME_LENGTH: usize = 255;

/// Whether a text is `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
pub(super) fn is_image(text: &str) -> bool {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    // A colon before a slash is that of a port.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let path = match name.split_once('/') {
        Some((host, path)) if is_host(host) => path,
        _ => name,
    };
    name.len() <= MAX_NAME_LENGTH
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

/// Returns why a text is not such a reference, and what to write.
pub(super) fn refusal(text: &str) -> Option<&'static str> {
    let name = text.split('@').next().unwrap_or_default();
    let path = name.rsplit_once(':').map_or(
        name,
        |(path, tag)| {
            if tag.contains('/') { name } else { path }
        },
    );
    if text.contains("://") {
        return Some("remove 'https://': an image has no scheme");
    }
    if text.contains(char::is_whitespace) {
        return Some("remove the spaces");
    }
    path.bytes().any(|b| b.is_ascii_uppercase()).then_some("write the name in lowercase letters")
}

/// Whether the first part is a host and not a part of the path.
fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "1"));
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let labels = host.split('.').all(|label| !label.is_empty() && label.bytes().all(inside));
    (text.contains(['.', ':']) || text == "localhost") && is_port && labels
}

/// Whether a part of a path has lowercase letters and digits with separators between them: `.`, `_`, `__` or `-`.
fn is_component(text: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = [text.bytes().next(), text.bytes().next_back()];
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    edges.into_iter().all(|edge| edge.is_some_and(is_letter))
        && separators.filter(|separator| !separator.is_empty()).all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(inside) && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digits)| {
        let is_algorithm =
            algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b));
        !algorithm.is_empty()
            && is_algorithm
            && digits.len() >= 32
            && digits.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::is_image;

    #[test]
    fn images_are_those_that_a_node_can_pull() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for good in [
            "nginx",
            "nginx:1.27",
            "rafay/relay:1.4.2",
            "registry.example.com:5000/a/b_c/d:v1",
            "111122223333.dkr.ecr.us-west-2.amazonaws.com/relay:1.4.2",
            "localhost/relay",
            &format!("relay@{digest}"),
            &format!("registry.example.com/relay:1@{digest}"),
        ] {
            assert!(is_image(good), "{good}");
        }
        for bad in [
            "",
            "Nginx",
            "nginx:",
            "nginx: 1.27",
            "nginx:1.27:2",
            "https://registry.example.com/relay:1",
            "registry.example.com/Relay:1",
            "relay@sha256:12",
            "a//b",
            "relay:1.4.2 ",
        ] {
            assert!(!is_image(bad), "{bad}");
        }
    }
}
