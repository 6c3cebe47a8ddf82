//! Why there are no credentials, and how to come by some. The SDK tells its reasons in words only, through several
//! layers; this file picks the words that matter.

use std::error::Error as StdError;

use crate::platform::error::{Class, Verdict};
use crate::platform::transport;

const HOW_TO: &str = "choose a profile (AWS_PROFILE, --profile), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                      or give the pod's service account a role";
const SSO: &str = "log in with the AWS CLI, then `eval \"$(aws configure export-credentials --format env)\"`, or give \
                   the profile `credential_process = aws configure export-credentials --profile NAME`";
const PROCESS: &str = "run the profile's credential_process by hand";
const SEE: &str =
    "`aws sts get-caller-identity` in the same environment shows whether the AWS CLI finds any";

/// What the SDK says of a profile without any.
const NOTHING: &str = "the credential provider was not enabled";
/// Where credentials can be said to be.
const SOURCES: [&str; 4] = [
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// Whether an error that no server answered comes from looking for credentials.
pub(super) fn is_about(words: &str) -> bool {
    ["credential", "identity resolver", "IMDS", "SSO"].iter().any(|word| words.contains(word))
}

/// The verdict on it.
pub(super) fn judge(words: &str, error: &(dyn StdError + 'static)) -> Verdict {
    if words.contains("no credentials found in chain") || words.contains("IMDS") {
        return denied(
            format!(
                "no credentials in the environment, the profile{}, or a role",
                named(&["AWS_PROFILE"])
            ),
            HOW_TO,
        );
    }
    if words.contains("enabled: sso") || words.contains("SSO") {
        return denied(
            "the profile logs in through SSO, whose cache this program does not read",
            SSO,
        );
    }
    if let Some(profile) = between(words, "profile `", "` was not defined") {
        return denied(
            format!("the profile `{profile}` does not exist"),
            "`aws configure list-profiles` shows those that do",
        );
    }
    if words.contains("external process") {
        return denied(format!("no credentials: {}", last_words(words)), PROCESS);
    }
    if let Some(network) = network(words, error) {
        let answer = format!("credentials could not be fetched: {}", network.answer);
        return Verdict::new(network.class, answer);
    }
    let answer = match last_words(words).as_str() {
        NOTHING => "no credentials: the profile has none".into(),
        words => format!("no credentials: {words}{}", named(&SOURCES)),
    };
    denied(answer, SEE)
}

/// A role is assumed by a call like any other, and can fail like any other.
fn network(words: &str, error: &(dyn StdError + 'static)) -> Option<Verdict> {
    if words.contains("timed out") {
        return Some(Verdict::new(Class::Transient, "no answer in time"));
    }
    transport::recognise(error)
}

fn denied(answer: impl Into<String>, advice: &str) -> Verdict {
    Verdict::new(Class::Denied, answer).advice(advice)
}

/// Which of these the environment names: what it names wrongly is often passed over without a word.
fn named(sources: &[&str]) -> String {
    let set: Vec<String> = sources
        .iter()
        .filter_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(format!("{name} is `{value}`"))
        })
        .collect();
    if set.is_empty() { String::new() } else { format!(" ({})", set.join(", ")) }
}

fn between<'a>(words: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = words.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// The words without the layers that passed them on, on one line.
fn last_words(words: &str) -> String {
    let passed_on = [
        "dispatch failure: other: ",
        "an error occurred while loading credentials: ",
        "the credentials provider was not properly configured: ",
        "the credential provider was not enabled: ",
    ];
    let mut rest = words;
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
    fn the_words_that_matter_are_picked() {
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
                "the profile logs in through SSO",
            ),
            (
                "dispatch failure: other: the credential provider was not enabled: profile `loopy` was not defined: \
                 could not find source profile loopy",
                "the profile `loopy` does not exist",
            ),
            (
                "dispatch failure: other: an error occurred while loading credentials: Error retrieving credentials: \
                 external process exited with code exit status: 1. Stderr: ",
                "no credentials: Error retrieving credentials: external process exited with code exit status: 1. \
                 Stderr:",
            ),
        ];
        for (words, answer) in cases {
            assert!(is_about(words), "{words}");
            let verdict = judge(words, &std::fmt::Error);
            assert!(verdict.answer.starts_with(answer), "{}", verdict.answer);
            assert_eq!(verdict.class, Class::Denied);
        }
    }

    #[test]
    fn a_network_that_fails_on_the_way_to_credentials_can_heal() {
        let words = "dispatch failure: other: an error occurred while loading credentials: identity resolver timed \
                     out after 5s";
        let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let verdict = judge(words, &late);
        assert_eq!(verdict.class, Class::Transient);
        assert_eq!(verdict.answer, "credentials could not be fetched: no answer in time");
    }
}
