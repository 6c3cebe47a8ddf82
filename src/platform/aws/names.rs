//! Names that come from outside (a ConfigMap, an input, an API's answer), checked before they become part of a request:
//! the SDK panics on an address that is too long, and a region becomes part of a host name.

use crate::platform::error::{Error, ErrorKind};

/// The longest name of anything that is named here: that of an Auto Scaling group, in characters. A cluster's has at
/// most 100, a nodegroup's 63.
/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateAutoScalingGroup.html>
const MAX_NAME: usize = 255;

/// The longest region, with room for those to come: today `us-gov-east-1` and `ap-southeast-7`.
const MAX_REGION: usize = 32;

/// How much of a name that is not valid is shown, in characters.
const SHOWN: usize = 40;

/// Checks that a text can be the name of an EKS or Auto Scaling resource.
///
/// # Errors
/// It is empty, too long, or has a control character.
pub(super) fn ensure_name(what: &str, name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    if (1..=MAX_NAME).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid(what, name, &format!("names have 1 to {MAX_NAME} printable characters")))
}

/// Checks that a text can be a region.
///
/// # Errors
/// It has other characters than those of a host name's label.
pub(super) fn ensure_region(region: &str) -> Result<(), Error> {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=MAX_REGION).contains(&region.len()) && region.bytes().all(is_valid) {
        return Ok(());
    }
    Err(invalid("region", region, "a region is a name such as us-west-2"))
}

fn invalid(what: &str, name: &str, rule: &str) -> Error {
    let shown: String = name.chars().take(SHOWN).flat_map(char::escape_default).collect();
    let length = name.chars().count();
    let rest = if length > SHOWN { format!("… ({length} characters)") } else { String::new() };
    Error::access(format!("`{shown}{rest}` is not a valid {what}: {rule}"), ErrorKind::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_refused_in_short() {
        for name in ["rafay-cluster", "eks-relay/1", &"n".repeat(255)] {
            ensure_name("cluster", name).unwrap_or_else(|error| panic!("{error}"));
        }
        let error = ensure_name("cluster", &"n".repeat(30_000)).unwrap_err().to_string();
        assert!(error.starts_with("`nnn") && error.len() < 200, "{error}");
        assert!(error.contains("… (30000 characters)` is not a valid cluster: "), "{error}");
        for name in ["", "a\nb", "\u{1b}[31m"] {
            assert!(ensure_name("cluster", name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_region_cannot_lead_to_another_host() {
        ensure_region("us-gov-west-1").unwrap_or_else(|error| panic!("{error}"));
        for region in
            ["", "us-west-2.example.com", "us-west-2/x", "US-WEST-2", "us west", &"a".repeat(99)]
        {
            assert!(ensure_region(region).is_err(), "{region:?}");
        }
    }
}
