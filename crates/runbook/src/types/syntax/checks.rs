//! The formats that are checked character by character.

/// The limit of `ObjectMeta` names: they are DNS subdomains, which RFC 1123 limits to 253.
const MAX_NAME_LENGTH: usize = 253;
/// The limit of a DNS label, of the part of a label key after the slash, and of a label value.
const MAX_LABEL_LENGTH: usize = 63;

/// The letters are those of clusters and nodegroups; a cluster may have 100, a nodegroup 63.
/// <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html>
/// <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateNodegroup.html>
pub(super) fn is_eks_name(text: &str, max_length: usize) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=max_length).contains(&text.len())
        && text.bytes().all(inside)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

pub(super) fn is_name(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_NAME_LENGTH
        && text.split('.').all(|part| {
            let inside = part.bytes().all(|byte| edge(byte) || byte == b'-');
            inside && has_edges(part, edge)
        })
}

pub(super) fn is_label(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_alphanumeric();
    let inside = |byte: u8| edge(byte) || b"-_.".contains(&byte);
    text.len() <= MAX_LABEL_LENGTH && text.bytes().all(inside) && has_edges(text, edge)
}

pub(super) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_name(prefix) && is_label(name),
        None => is_label(text),
    }
}

/// Whether the first and the last character satisfy a condition.
fn has_edges(text: &str, edge: impl Fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter().all(|byte| byte.is_some_and(&edge))
}

/// Two letters, one or more words, a number: the format of all AWS regions so far.
pub(super) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, words @ .., number] = parts.as_slice() else {
        return false;
    };
    let lower = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    area.len() == 2 && lower(area) && !words.is_empty() && words.iter().all(lower) && digits
}

pub(super) fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|id| {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        matches!(id.len(), 8 | 17) && id.bytes().all(hexadecimal)
    })
}

/// Whether a text is a DNS label, as the name of a namespace is.
pub(super) fn is_name_of_label_length(text: &str) -> bool {
    text.len() <= MAX_LABEL_LENGTH && !text.contains('.') && is_name(text)
}

/// The six parts of an Amazon Resource Name; some services have neither a region nor an account.
pub(super) fn is_arn(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (arn, partition, service) = (next(), next(), next());
    let (region, account, resource) = (next(), next(), next());
    let is_word = |text: &str| {
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_account = |text: &str| {
        matches!(text, "" | "aws") || text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
    };
    arn == "arn"
        && partition.starts_with("aws")
        && is_word(partition)
        && !service.is_empty()
        && is_word(service)
        && (region.is_empty() || is_region(region))
        && is_account(account)
        && !resource.is_empty()
        && !resource.contains(char::is_whitespace)
}

/// A region, perhaps with a local zone, and a letter.
pub(super) fn is_zone(text: &str) -> bool {
    let Some(place) = text.strip_suffix(|last: char| last.is_ascii_lowercase()) else {
        return false;
    };
    // `us-west-2`, or `us-west-2-lax-1` of a local zone.
    let local = place.split_once(|c: char| c.is_ascii_digit());
    let Some((_, rest)) = local else { return false };
    let region =
        &place[..place.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()];
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    is_region(region) && (rest.is_empty() || is_region(&format!("xx{rest}")))
}

/// A version with two numbers.
pub(super) fn is_version(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

/// A version with one to three numbers, and what a build adds to it.
pub(super) fn is_kubelet_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (numbers, build) = match text.find(['-', '+']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte);
    are_numbers(numbers, 1..=3)
        && build.is_none_or(|build| !build.is_empty() && build.bytes().all(inside))
}

/// The version and the date or the commit of an image: of Amazon Linux, Bottlerocket or Windows.
pub(super) fn is_release(text: &str) -> bool {
    let Some((version, build)) = text.split_once('-') else { return false };
    match version.split('.').count() {
        // Linux: 1.35.2-20260901; Bottlerocket: 1.20.3-5d9ac849
        3 => {
            let is_plain = build.bytes().all(|byte| byte.is_ascii_alphanumeric());
            are_numbers(version, 3..=3) && is_plain && !build.is_empty()
        }
        // Windows: 1.30-2024.06.11
        _ => are_numbers(version, 2..=2) && are_numbers(build, 3..=3),
    }
}

fn are_numbers(text: &str, count: std::ops::RangeInclusive<usize>) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    count.contains(&text.split('.').count()) && text.split('.').all(is_number)
}
