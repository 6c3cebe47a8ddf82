//! Classification of missing credentials. The SDK gives the reasons only in messages, through several layers; this
//! module picks the relevant part.

use std::error::Error as StdError;

use crate::platform::error::{Classified, ErrorKind};
use crate::platform::transport;

const CONFIGURE_HINT: &str = "set a profile (AWS_PROFILE, --profile), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the \
                      pod's service account a role";
const SSO_HINT: &str = "log in with the AWS CLI, then `eval \"$(aws configure export-credentials --format env)\"`, or give \
                   the profile `credential_process = aws configure export-credentials --profile NAME`";
const PROCESS_HINT: &str = "run the profile's credential_process by hand to see its error";
const TIMED_OUT_HINT: &str = "run the profile's credential_process, or `aws sts get-caller-identity`, by hand to see what it waits for";
const CHECK_HINT: &str =
    "run `aws sts get-caller-identity` in the same environment to check what the AWS CLI finds";

/// The SDK's message for a profile without credentials.
const NOT_ENABLED: &str = "the credential provider was not enabled";
/// Where credentials can be said to be.
const SOURCE_VARIABLES: [&str; 4] = [
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// Returns whether an error without a response comes from resolving credentials.
pub(super) fn is_credentials_error(text: &str) -> bool {
    ["credential", "identity resolver", "IMDS", "SSO"].iter().any(|marker| text.contains(marker))
}

/// Classifies such an error.
pub(super) fn classify(text: &str, error: &(dyn StdError + 'static)) -> Classified {
    if text.contains("no credentials found in chain") || text.contains("IMDS") {
        return denied(
            format!(
                "no credentials in the environment, the profile{} or a role",
                describe_variables(&["AWS_PROFILE"])
            ),
            CONFIGURE_HINT,
        );
    }
    if text.contains("enabled: sso") || text.contains("SSO") {
        return denied("the profile uses SSO, which this program does not support", SSO_HINT);
    }
    if let Some(profile) = between(text, "profile `", "` was not defined") {
        return denied(
            format!("profile `{profile}` not found"),
            "list the profiles with `aws configure list-profiles`",
        );
    }
    if text.contains("external process") {
        return denied(format!("no credentials: {}", innermost_message(text)), PROCESS_HINT);
    }
    if text.contains("timed out") {
        let message = "cannot fetch credentials: timed out";
        return Classified::new(ErrorKind::Transient, message).hint(TIMED_OUT_HINT);
    }
    // A role is assumed by a call like any other, and can fail like any other.
    if let Some(network) = transport::classify_network_error(error) {
        let message = format!("cannot fetch credentials: {}", network.message);
        return Classified::new(network.kind, message);
    }
    let message = match innermost_message(text).as_str() {
        NOT_ENABLED => "no credentials: the profile has none".into(),
        text => format!("no credentials: {text}{}", describe_variables(&SOURCE_VARIABLES)),
    };
    denied(message, CHECK_HINT)
}

fn denied(message: impl Into<String>, hint: &str) -> Classified {
    Classified::new(ErrorKind::Denied, message).hint(hint)
}

/// Returns which of these variables are set: a wrong value is often ignored silently.
fn describe_variables(names: &[&str]) -> String {
    let described: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(format!("{name} is `{value}`"))
        })
        .collect();
    if described.is_empty() { String::new() } else { format!(" ({})", described.join(", ")) }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// Returns the message without those of the layers that passed it on, on one line.
fn innermost_message(text: &str) -> String {
    let passed_on = [
        "dispatch failure: other: ",
        "an error occurred while loading credentials: ",
        "the credentials provider was not properly configured: ",
        "the credential provider was not enabled: ",
    ];
    let mut rest = text;
    while let Some(shorter) = passed_on.iter().find_map(|layer| rest.strip_prefix(layer)) {
        rest = shorter;
    }
    rest.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as the SDK gave them when this was written.
    #[test]
    fn the_relevant_message_is_picked() {
        let cases = [
            (
                "dispatch failure: other: the credential provider was not enabled: no credentials found in chain. \
                 Attempted:\n  Environment: the credential provider was not enabled",
                "no credentials in the environment, the profile",
            ),
            (
                "dispatch failure: other: an error occurred while loading credentials: failed to load IMDS session \
                 token: dispatch failure: timeout: HTTP connect timeout occurred after 1s",
                "no credentials in the environment, the profile",
            ),
            (
                "dispatch failure: other: the credentials provider was not properly configured: ProfileFile provider \
                 could not be built: This behavior requires following cargo feature(s) enabled: sso. ",
                "the profile uses SSO",
            ),
            (
                "dispatch failure: other: the credential provider was not enabled: profile `loopy` was not defined: \
                 could not find source profile loopy",
                "profile `loopy` not found",
            ),
            (
                "dispatch failure: other: an error occurred while loading credentials: Error retrieving credentials: \
                 external process exited with code exit status: 1. Stderr: ",
                "no credentials: Error retrieving credentials: external process exited with code exit status: 1. \
                 Stderr:",
            ),
        ];
        for (text, message) in cases {
            assert!(is_credentials_error(text), "{text}");
            let classified = classify(text, &std::fmt::Error);
            assert!(classified.message.starts_with(message), "{}", classified.message);
            assert_eq!(classified.kind, ErrorKind::Denied);
        }
    }

    #[test]
    fn a_network_error_on_the_way_to_credentials_is_retryable() {
        let text = "dispatch failure: other: an error occurred while loading credentials: identity resolver timed \
                     out after 5s";
        let timed_out = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let classified = classify(text, &timed_out);
        assert_eq!(classified.kind, ErrorKind::Transient);
        assert_eq!(classified.message, "cannot fetch credentials: timed out");
        assert!(classified.hint.unwrap().contains("credential_process"));
    }
}
