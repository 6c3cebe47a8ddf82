//! URLs that may be called: of http or https, without credentials.

use std::net::{IpAddr, Ipv6Addr};

/// Whether a text is a URL with a host, without a user, and not of a link-local address, where the metadata and
/// credential services of AWS are.
pub(super) fn is_url(text: &str) -> bool {
    refusal(text).is_none()
}

/// Returns why a text is not such a URL, and what to write.
pub(super) fn refusal(text: &str) -> Option<&'static str> {
    const PORT: &str = "the port after ':' is a number from 1 to 65535";
    let Some(rest) = strip_scheme(text) else {
        return Some(match text.contains("://") {
            true => "the text before '://' is http or https: nothing else is called",
            false => "begin it with http:// or https://",
        });
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if text.contains(char::is_whitespace) {
        return Some("remove the spaces, or write %20 for each");
    }
    if authority.contains('@') {
        return Some(
            "remove the user and the password before '@': all who read the runbook see them",
        );
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host, port),
            None => return Some("close the address of the host with ']'"),
        },
        None => match authority.find(':') {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        },
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_link_local = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        // That of the metadata service over IPv6 is none by its number.
        Ok(IpAddr::V6(address)) => {
            address.is_unicast_link_local()
                || address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
        Err(_) => false,
    };
    match (host, is_port) {
        ("", _) => Some("write a host, such as relay.rafay-core.svc, after '://'"),
        (_, false) => Some(PORT),
        _ => is_link_local.then_some(
            "this address is link-local: the metadata and credentials of AWS are there, and are not for a runbook",
        ),
    }
}

/// Returns what comes after `http://` or `https://`; the case of a scheme does not matter.
fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::is_url;

    #[test]
    fn urls_are_of_http_and_have_no_credentials() {
        for good in [
            "http://relay.rafay-core.svc:8080/healthz",
            "https://relay.example.com",
            "https://relay.example.com/a?b=c@d#e",
            "http://10.0.0.1:80/",
            "http://[::1]:8080/x",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "",
            "relay.example.com/healthz",
            "ftp://relay.example.com",
            "http:///healthz",
            "http://relay:99999/",
            "http://relay:port/",
            "http://user:pass@relay/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://re lay/",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
