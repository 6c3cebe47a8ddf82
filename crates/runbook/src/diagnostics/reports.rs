//! Renders diagnostics in the formats of other programs: GitHub's workflow commands and SARIF.

use serde_json::{Value as Json, json};
use text::printable;

use super::super::rules::{Rule, rules};
use super::super::source::Source;
use super::{Diagnostic, Severity};

/// Renders one workflow command per diagnostic, which GitHub shows at the line of a pull request.
pub fn github(source: &Source, diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| command(source, diagnostic)).collect()
}

fn command(source: &Source, diagnostic: &Diagnostic) -> String {
    let (start, end) =
        (source.position(diagnostic.span.start), source.position(diagnostic.span.end));
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let file = property(source.name());
    let title = rule(diagnostic).map_or_else(String::new, |rule| format!(" {}", rule.name));
    let mut message = diagnostic.message.clone();
    for label in &diagnostic.labels {
        let Some(file) = &label.file else { continue };
        let at = file.position(label.span.start);
        message.push_str(&format!(" ({}:{}:{}: {})", file.name(), at.line, at.column, label.text));
    }
    if let Some(help) = &diagnostic.help {
        message = format!("{message}; {help}");
    }
    format!(
        "::{level} file={file},line={},col={},endLine={},endColumn={},title={}{title}::{}\n",
        start.line,
        start.column,
        end.line,
        end.column,
        diagnostic.code,
        data(&message)
    )
}

/// Escapes the message of a command.
fn data(text: &str) -> String {
    printable(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

fn rule(diagnostic: &Diagnostic) -> Option<&'static Rule> {
    rules().iter().find(|rule| rule.code == diagnostic.code)
}

/// Renders a SARIF 2.1.0 log of one check of several files.
pub fn sarif(files: &[(&Source, &[Diagnostic])], version: &str) -> Json {
    let descriptors: Vec<Json> = rules().iter().map(descriptor).collect();
    let results = files.iter().flat_map(|(source, diagnostics)| {
        diagnostics.iter().map(move |diagnostic| result(source, diagnostic))
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "rafay-relay-sop",
                "version": version,
                "rules": descriptors,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn descriptor(rule: &Rule) -> Json {
    json!({
        "id": rule.code,
        "name": rule.name,
        "shortDescription": { "text": rule.summary },
        "fullDescription": { "text": rule.explanation },
        "defaultConfiguration": { "level": rule.severity.as_str() },
    })
}

fn result(source: &Source, diagnostic: &Diagnostic) -> Json {
    let text = match &diagnostic.help {
        Some(help) => format!("{}\n{help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let related = diagnostic.labels.iter().enumerate().map(|(index, label)| {
        let mut place = location(label.file.as_deref().unwrap_or(source), &label.span);
        place["id"] = json!(index);
        place["message"] = json!({ "text": label.text });
        place
    });
    let mut result = json!({
        "ruleId": diagnostic.code,
        "level": diagnostic.severity.as_str(),
        "message": { "text": text },
        "locations": [location(source, &diagnostic.span)],
        "relatedLocations": related.collect::<Vec<_>>(),
    });
    if let Some(index) = rules().iter().position(|rule| rule.code == diagnostic.code) {
        result["ruleIndex"] = json!(index);
    }
    if let Some(suggestion) = &diagnostic.suggestion {
        result["fixes"] = json!([{
            "description": { "text": format!("write {suggestion}") },
            "artifactChanges": [{
                "artifactLocation": { "uri": uri(source.name()) },
                "replacements": [{
                    "deletedRegion": region(source, &diagnostic.span),
                    "insertedContent": { "text": suggestion },
                }],
            }],
        }]);
    }
    result
}

fn location(source: &Source, span: &std::ops::Range<usize>) -> Json {
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(source.name()) },
        "region": region(source, span),
    }})
}

fn region(source: &Source, span: &std::ops::Range<usize>) -> Json {
    let (start, end) = (source.position(span.start), source.position(span.end));
    json!({
        "startLine": start.line,
        "startColumn": start.column,
        "endLine": end.line,
        "endColumn": end.column,
    })
}

/// Returns a path as a relative URI reference.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escaped = path.bytes().map(|byte| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        b'\\' => "/".to_owned(),
        byte => format!("%{byte:02X}"),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActionRegistry, check};

    fn checked() -> (Source, Vec<Diagnostic>) {
        let source = Source::new("a:b/x.yaml", "name: x\nsteps:\n  - {id: a, acton: b%}\n");
        let diagnostics = check(&source, &ActionRegistry::default()).diagnostics;
        (source, diagnostics)
    }

    #[test]
    fn a_command_escapes_its_delimiters() {
        let (source, diagnostics) = checked();
        assert_eq!(
            github(&source, &diagnostics),
            "::error file=a%3Ab/x.yaml,line=3,col=13,endLine=3,endColumn=18,\
             title=RB006 unknown_key::a step has no key 'acton'; did you mean 'action'?\n"
        );
    }

    #[test]
    fn a_sarif_log_has_rules_and_positions() {
        let (source, diagnostics) = checked();
        let log = sarif(&[(&source, &diagnostics)], "1.0");
        let run = &log["runs"][0];
        let result = &run["results"][0];
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "RB006");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%3Ab/x.yaml");
        assert_eq!(place["region"]["startColumn"], 13);
        assert_eq!(
            result["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"],
            "action"
        );
    }
}
