//! The forms of a message: a CloudEvent for programs, a text for people. Pure.

use serde_json::{Map, Value, json};
use text::printable;

use super::{config::Form, notice::Notice};

/// How the types of CloudEvents begin.
const TYPE_PREFIX: &str = "dev.rafay.sop.";

/// The places that messages lead to.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// The address of the page, without a slash at its end.
    pub page_url: Option<String>,
    /// The program with the flags that name its store, as a person types it.
    pub program: String,
}

impl Links {
    fn page(&self, notice: &Notice) -> Option<String> {
        let base = self.page_url.as_ref().filter(|_| !notice.command.is_empty())?;
        Some(format!("{base}/runs/{}", notice.run))
    }

    fn command(&self, notice: &Notice) -> Option<String> {
        (!notice.command.is_empty())
            .then(|| format!("{} {}", self.program, notice.command.join(" ")))
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The type of its content.
    pub(super) content_type: &'static str,
    /// Its content.
    pub(super) body: String,
}

/// Returns the message of a notice.
pub(super) fn message(form: Form, notice: &Notice, links: &Links) -> Message {
    match form {
        Form::CloudEvents => Message {
            content_type: "application/cloudevents+json; charset=utf-8",
            body: cloud_event(notice, links).to_string(),
        },
        Form::Slack => Message {
            content_type: "application/json; charset=utf-8",
            body: json!({"text": slack_text(notice, links)}).to_string(),
        },
    }
}

/// Returns a CloudEvent 1.0 in its structured JSON format
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>). Nothing in it changes from
/// one attempt to the next, so that a receiver can leave repetitions out.
fn cloud_event(notice: &Notice, links: &Links) -> Value {
    let mut data = Map::new();
    data.insert("run".to_owned(), json!(notice.run));
    data.insert("runbook".to_owned(), json!(notice.runbook));
    data.insert("state".to_owned(), json!(notice.state));
    data.insert("actor".to_owned(), json!(notice.actor));
    if let Some((path, name)) = &notice.step {
        data.insert("step".to_owned(), json!(path));
        data.insert("step_name".to_owned(), json!(name));
    }
    let optional = [
        ("message", notice.message.as_ref().map(|text| json!(text))),
        ("failure", notice.failure.as_ref().map(|failure| json!(failure))),
        ("target", Some(json!(notice.target))),
        ("page", links.page(notice).map(Value::from)),
        ("command", links.command(notice).map(Value::from)),
    ];
    for (name, value) in optional {
        data.extend(value.map(|value| (name.to_owned(), value)));
    }
    json!({
        "specversion": "1.0",
        "id": notice.id,
        "source": links.page_url.as_deref().unwrap_or("urn:rafay-relay-sop"),
        "type": format!("{TYPE_PREFIX}{}", notice.what.event_type()),
        "subject": format!("runs/{}", notice.run),
        "time": notice.time,
        "datacontenttype": "application/json",
        "data": data,
    })
}

/// Returns a text with the little markup that Slack and Mattermost share.
fn slack_text(notice: &Notice, links: &Links) -> String {
    let title = format!("*{} {}*", escaped(&notice.runbook), notice.what.verb());
    let mut text = vec![title];
    if let Some((path, name)) = &notice.step {
        let path = path.to_string();
        let name = if path == *name { String::new() } else { format!(" ({})", escaped(name)) };
        text.push(format!("step {}{name}", escaped(&path)));
    }
    text.extend(notice.message.as_deref().map(escaped));
    if let Some(failure) = &notice.failure {
        text.push(escaped(&failure.message));
        text.extend(failure.hint.as_ref().map(|hint| format!("hint: {}", escaped(hint))));
    }
    if !notice.command.is_empty() {
        let (run, actor) = (&notice.run, escaped(&notice.actor));
        text.push(format!("run {run} on {}, by {actor}", escaped(&notice.target)));
    }
    text.extend(links.page(notice).as_deref().map(escaped_link));
    text.extend(links.command(notice).map(|command| format!("`{}`", escaped(&command))));
    text.join("\n")
}

/// Returns a text as one line in which nothing is markup: `<!channel>` would call everybody in Slack, and `@all` in
/// Mattermost.
fn escaped(text: &str) -> String {
    escaped_link(&printable(text.trim())).replace('@', "@\u{200b}")
}

/// Returns a text with the three characters that Slack has replaced
/// (<https://docs.slack.dev/messaging/formatting-message-text/>).
fn escaped_link(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::notice::tests::notices;

    fn links() -> Links {
        let page_url = Some("https://sop.example.com".to_owned());
        Links { page_url, program: "rafay-relay-sop --store cluster".to_owned() }
    }

    #[test]
    fn a_cloud_event_has_the_attributes_of_the_specification() {
        let notices = notices();
        let event = cloud_event(&notices[2], &links());
        for (name, expected) in [
            ("specversion", "1.0"),
            ("id", notices[2].id.as_str()),
            ("source", "https://sop.example.com"),
            ("type", "dev.rafay.sop.run.rolled_back"),
            ("subject", "runs/20261125t090002z-rolled-back-0003"),
            ("datacontenttype", "application/json"),
        ] {
            assert_eq!(event[name], expected, "{name}");
        }
        let data = &event["data"];
        assert_eq!(data["state"], "rolled_back");
        assert_eq!(data["page"], "https://sop.example.com/runs/20261125t090002z-rolled-back-0003");
        assert_eq!(
            data["command"],
            "rafay-relay-sop --store cluster runs show 20261125t090002z-rolled-back-0003"
        );
        assert!(data["failure"]["message"].is_string(), "{event:#}");
        // Lower-case letters and digits only, by the specification.
        let is_name = |name: &String| name.chars().all(|c| c.is_ascii_lowercase());
        assert!(event.as_object().unwrap().keys().all(is_name), "{event:#}");
    }

    #[test]
    fn a_text_says_what_happened_and_what_to_do() {
        let mut notice = notices().remove(1);
        notice.runbook = "park<!channel>".to_owned();
        let failure = notice.failure.as_mut().unwrap();
        failure.message = "a & b\n@all `x`".to_owned();
        failure.hint = Some("wait".to_owned());
        let text = slack_text(&notice, &links());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "*park&lt;!channel&gt; rolls back*");
        assert!(lines.contains(&"a &amp; b\\n@\u{200b}all `x`"), "{text}");
        assert!(lines.contains(&"hint: wait"), "{text}");
        assert!(lines.contains(&"https://sop.example.com/runs/20261125t090002z-rolled-back-0003"));
        let command = lines.last().unwrap();
        assert!(command.starts_with("`rafay-relay-sop --store cluster runs show "), "{text}");
    }
}
