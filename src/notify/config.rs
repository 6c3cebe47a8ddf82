//! The file that says who is told what: `serve --notify-file`. It belongs to the service, never to a runbook.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;
use text::printable;
use url::Url;

use super::credentials::{Credentials, CredentialsError};
use crate::platform::http::HttpTarget;

/// The longest file, in bytes.
const MAX_BYTES: u64 = 256 << 10;
/// How many webhooks a file may have: each has a queue and a task.
const MAX_WEBHOOKS: usize = 32;
/// The longest name: that of an annotation has 63 characters, with a prefix.
const MAX_NAME: usize = 40;
/// After how long a run without progress is told of, unless the file says so.
const STUCK_AFTER: runbook::Duration = runbook::Duration::from_secs(30 * 60);
/// The least such time.
const MIN_STUCK_AFTER: Duration = Duration::from_secs(1);

/// The file, as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NotifyFile {
    /// The addresses that are told.
    #[schemars(length(min = 1, max = 32))]
    webhooks: Vec<WrittenWebhook>,
    /// The address of the service's page, as people open it: `https://sop.example.com`. Messages link to it.
    #[serde(default)]
    page_url: Option<String>,
    /// For how long a run may make no progress, or be left unfinished, before `stuck` is told.
    #[serde(default = "default_stuck_after")]
    #[schemars(with = "String", regex(pattern = "^([0-9]+(d|h|m|s|ms))+$"))]
    stuck_after: runbook::Duration,
}

fn default_stuck_after() -> runbook::Duration {
    STUCK_AFTER
}

/// An address that is told, as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenWebhook {
    /// Its name, in logs, metrics and `notify test`: lower-case letters, digits and `-`.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"))]
    name: String,
    /// The URL, of https; of http with `allow_http`, or to this machine.
    url: String,
    /// The kinds of messages that it is told.
    #[serde(default = "default_when")]
    #[schemars(length(min = 1))]
    when: Vec<When>,
    /// The runbooks whose runs are told; all of them, unless it is given.
    #[serde(default)]
    #[schemars(length(min = 1))]
    runbooks: Option<Vec<String>>,
    /// The form of the messages.
    #[serde(default)]
    form: Form,
    /// A file with the secret by which messages are signed: `whsec_` and at least 24 bytes in base64.
    #[serde(default)]
    secret_file: Option<PathBuf>,
    /// A file with headers to send, such as `Authorization: Bearer …`: one on each line.
    #[serde(default)]
    headers_file: Option<PathBuf>,
    /// Whether messages may be sent without encryption.
    #[serde(default)]
    allow_http: bool,
}

/// A kind of messages that a webhook may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// A run was started, or resumed.
    Started,
    /// A run has ended, however it did.
    Ended,
    /// A run has failed, or has begun to roll back because a step failed.
    Failed,
    /// A step waits for approval.
    Approval,
    /// A run makes no progress, or is unfinished and driven by no process.
    Stuck,
}

fn default_when() -> Vec<When> {
    vec![When::Failed, When::Approval, When::Stuck]
}

/// The form of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A CloudEvent 1.0 in JSON, for programs.
    #[default]
    CloudEvents,
    /// `{"text": …}`, for Slack and Mattermost.
    Slack,
}

/// The webhooks of a file, and what their messages say.
#[derive(Debug, Clone)]
pub struct NotifyConfig {
    /// The addresses.
    pub webhooks: Vec<Webhook>,
    /// The address of the page, without a slash at its end.
    pub page_url: Option<String>,
    /// After how long a run counts as stuck.
    pub stuck_after: Duration,
}

/// An address that is told.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// The address. It may hold a secret in its path.
    pub target: HttpTarget,
    /// The form of the messages.
    pub form: Form,
    when: BTreeSet<When>,
    runbooks: Option<BTreeSet<String>>,
    secret_file: Option<PathBuf>,
    headers_file: Option<PathBuf>,
}

/// The reason why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotifyFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The text is not a valid configuration.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The mistake, and its place.
        reason: String,
        /// The remedy, where it is not an example of a valid file.
        hint: Option<&'static str>,
    },
    /// A file that it names cannot be used.
    #[error("webhook {webhook}: {error}")]
    Credentials {
        /// The webhook.
        webhook: String,
        /// Why.
        #[source]
        error: CredentialsError,
    },
}

impl NotifyFileError {
    /// Returns the remedy, where one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Invalid { hint: Some(hint), .. } => Some((*hint).to_owned()),
            Self::Invalid { hint: None, .. } => Some(
                "a valid file is: webhooks: [{name: oncall, url: https://hooks.example.com/sop, when: [failed, stuck]}]"
                    .to_owned(),
            ),
            Self::Credentials { error, .. } => error.hint(),
        }
    }
}

/// A mistake in a webhook, with its remedy.
type Mistake = (String, Option<&'static str>);

impl NotifyConfig {
    /// Reads a file, and the files of secrets that it names.
    ///
    /// # Errors
    /// The file, or one of those, cannot be read or is not valid.
    pub fn read(path: &Path) -> Result<Self, NotifyFileError> {
        let unreadable = |error| NotifyFileError::Unreadable { path: path.to_owned(), error };
        let invalid =
            |reason, hint| NotifyFileError::Invalid { path: path.to_owned(), reason, hint };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(invalid(format!("longer than {MAX_BYTES} bytes"), None));
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        let config =
            Self::parse(&text, directory).map_err(|(reason, hint)| invalid(reason, hint))?;
        for webhook in &config.webhooks {
            webhook.credentials().map_err(|error| NotifyFileError::Credentials {
                webhook: webhook.name.clone(),
                error,
            })?;
        }
        Ok(config)
    }

    /// Returns the configuration of a text, or the mistake in it. The files that it names are in a directory, unless
    /// their paths are absolute.
    fn parse(text: &str, directory: &Path) -> Result<Self, Mistake> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: 8 },
            with_snippet: false,
        };
        let file: NotifyFile = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| (printable(&error.to_string()).into_owned(), None))?;
        if file.webhooks.is_empty() {
            return Err(("`webhooks` is empty".to_owned(), None));
        }
        if file.webhooks.len() > MAX_WEBHOOKS {
            return Err((format!("`webhooks` has more than {MAX_WEBHOOKS} entries"), None));
        }
        let stuck_after = file.stuck_after.std();
        if stuck_after < MIN_STUCK_AFTER {
            return Err(("`stuck_after` is less than 1s".to_owned(), None));
        }
        let page_url = file.page_url.as_deref().map(page_url).transpose()?;
        let mut names = BTreeSet::new();
        let mut webhooks = Vec::new();
        for (index, written) in file.webhooks.into_iter().enumerate() {
            let place = format!("webhook {} ({})", index + 1, printable(&written.name));
            let webhook = Webhook::new(written, directory)
                .map_err(|(reason, hint)| (format!("{place}: {reason}"), hint))?;
            if !names.insert(webhook.name.clone()) {
                let hint = "each webhook has a name of its own";
                return Err((format!("{place}: another webhook has this name"), Some(hint)));
            }
            webhooks.push(webhook);
        }
        Ok(Self { webhooks, page_url, stuck_after })
    }

    /// Returns the JSON Schema of the file.
    pub fn json_schema() -> Value {
        let mut schema = schema_for!(NotifyFile).to_value();
        schema["title"] = "Who is told what by rafay-relay-sop".into();
        schema
    }

    /// Returns the runbooks by which webhooks are limited: a name that no runbook has would drop messages in silence.
    pub fn named_runbooks(&self) -> BTreeSet<&str> {
        let names = self.webhooks.iter().filter_map(|webhook| webhook.runbooks.as_ref());
        names.flatten().map(String::as_str).collect()
    }
}

impl Webhook {
    fn new(written: WrittenWebhook, directory: &Path) -> Result<Self, Mistake> {
        let WrittenWebhook {
            name,
            url,
            when,
            runbooks,
            form,
            secret_file,
            headers_file,
            allow_http,
        } = written;
        if !is_name(&name) {
            let hint = "a name has 1 to 40 lower-case letters, digits and `-`, such as oncall";
            return Err(("`name` is not a valid name".to_owned(), Some(hint)));
        }
        // The address may be a secret: the error names no part of it.
        let target = HttpTarget::parse(&url).map_err(|refused| {
            (format!("`url`: {refused}"), Some("such as https://hooks.example.com/sop"))
        })?;
        if !target.is_https() && !target.is_loopback() && !allow_http {
            let hint =
                "use https, or set `allow_http: true`: who can read the network reads the messages";
            return Err(("`url` is not encrypted".to_owned(), Some(hint)));
        }
        if when.is_empty() {
            let hint = "name started, ended, failed, approval or stuck";
            return Err(("`when` is empty".to_owned(), Some(hint)));
        }
        if runbooks.as_ref().is_some_and(Vec::is_empty) {
            let hint = "leave it out to be told of all runbooks";
            return Err(("`runbooks` is empty".to_owned(), Some(hint)));
        }
        Ok(Self {
            name,
            target,
            form,
            when: when.into_iter().collect(),
            runbooks: runbooks.map(|names| names.into_iter().collect()),
            secret_file: secret_file.map(|file| directory.join(file)),
            headers_file: headers_file.map(|file| directory.join(file)),
        })
    }

    /// Whether it is told of something of a run.
    pub(super) fn wants(&self, when: &[When], runbook: &str) -> bool {
        when.iter().any(|when| self.when.contains(when))
            && self.runbooks.as_ref().is_none_or(|names| names.contains(runbook))
    }

    /// Whether it is told of runs that are stuck.
    pub(super) fn wants_stuck(&self) -> bool {
        self.when.contains(&When::Stuck)
    }

    /// Reads its secret and its headers: for each attempt, so that they can be renewed.
    pub(super) fn credentials(&self) -> Result<Credentials, CredentialsError> {
        Credentials::read(self.secret_file.as_deref(), self.headers_file.as_deref())
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=MAX_NAME).contains(&name.len())
        && name.chars().all(is_allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Returns the address of the page without a slash at its end.
fn page_url(text: &str) -> Result<String, Mistake> {
    let hint = Some("such as https://sop.example.com");
    let url = Url::parse(text).map_err(|error| (format!("`page_url`: {error}"), hint))?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match is_plain {
        true => Ok(url.as_str().trim_end_matches('/').to_owned()),
        false => Err(("`page_url` is not a plain address of http or https".to_owned(), hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NotifyConfig, Mistake> {
        NotifyConfig::parse(text, Path::new("/etc/sop"))
    }

    #[test]
    fn a_webhook_has_defaults_and_files_beside_the_file_that_names_them() {
        let config = parse(
            "page_url: https://sop.example.com/\nwebhooks:\n- {name: a, url: https://h.example.com/x, secret_file: s}\n",
        )
        .unwrap();
        assert_eq!(config.page_url.as_deref(), Some("https://sop.example.com"));
        assert_eq!(config.stuck_after, STUCK_AFTER.std());
        let webhook = &config.webhooks[0];
        assert_eq!(webhook.form, Form::CloudEvents);
        assert_eq!(webhook.secret_file.as_deref(), Some(Path::new("/etc/sop/s")));
        assert!(webhook.wants(&[When::Failed, When::Ended], "any") && webhook.wants_stuck());
        assert!(!webhook.wants(&[When::Started], "any"));
    }

    #[test]
    fn a_webhook_may_be_limited_to_runbooks() {
        let config = parse(
            "webhooks: [{name: a, url: 'http://localhost:1/', when: [started], runbooks: [park]}]",
        )
        .unwrap();
        assert!(config.webhooks[0].wants(&[When::Started], "park"));
        assert!(!config.webhooks[0].wants(&[When::Started], "unpark"));
        assert_eq!(config.named_runbooks(), BTreeSet::from(["park"]));
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_its_remedy() {
        let url = "url: 'https://h.example.com/T000/secret'";
        for (text, expected) in [
            ("webhooks: []", "`webhooks` is empty"),
            ("webhook: []", "unknown field"),
            ("webhooks:\n- {name: a, urk: x}\n", "line 2"),
            ("webhooks: [{name: A b, url: x}]", "webhook 1 (A b): `name` is not a valid name"),
            ("webhooks: [{name: a, url: x}]", "webhook 1 (a): `url`: not a valid URL"),
            ("webhooks: [{name: a, url: 'http://h.example.com'}]", "`url` is not encrypted"),
            ("webhooks: [{name: a, url: 'http://169.254.169.254/'}]", "link-local"),
            (&format!("webhooks: [{{name: a, {url}, when: []}}]"), "`when` is empty"),
            (&format!("webhooks: [{{name: a, {url}, when: [fail]}}]"), "fail"),
            (&format!("webhooks: [{{name: a, {url}, runbooks: []}}]"), "`runbooks` is empty"),
            (&format!("webhooks: [{{name: a, {url}, form: teams}}]"), "teams"),
            (
                &format!("webhooks: [{{name: a, {url}}}, {{name: a, {url}}}]"),
                "webhook 2 (a): another webhook has this name",
            ),
            (&format!("webhooks: [{{name: a, {url}}}]\npage_url: sop"), "`page_url`"),
            (&format!("webhooks: [{{name: a, {url}}}]\nstuck_after: 30"), "has no unit"),
            (&format!("webhooks: [{{name: a, {url}}}]\nstuck_after: 5ms"), "less than 1s"),
        ] {
            let (reason, _) = parse(text).unwrap_err();
            assert!(reason.contains(expected), "{text}: {reason}");
            assert!(!reason.contains("T000"), "{reason}");
        }
    }
}
