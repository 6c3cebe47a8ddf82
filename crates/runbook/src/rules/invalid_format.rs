//! A string that does not have its parameter's format.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::super::analysis::{ArgumentIssueKind, ImpossibleText, Role, TemplateSite};
use super::super::habits;
use super::super::template;
use super::super::types::{Syntax, Type};
use super::super::yaml::{Node, ScalarValue, quoted};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB017",
    name: "invalid_format",
    severity: Severity::Error,
    summary: "a string that does not have its parameter's format",
    explanation: "\
Some strings have a format that the platform would reject only in the middle of a run: durations
(10m), the names of Kubernetes objects, label keys, AWS regions (us-west-2), EC2 instance ids
(i-0123456789abcdef0). The format is checked before the run.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::InvalidFormat { path, form, found } = &issue.kind else {
            continue;
        };
        let text = analysis.source.text().get(issue.span.clone()).unwrap_or_default();
        let is_duration = form.starts_with("must be a duration");
        let text = text.trim_matches(['"', '\'']);
        let syntax = [Syntax::Url, Syntax::Image, Syntax::LabelSelector, Syntax::AvailabilityZone];
        let mut of = syntax
            .into_iter()
            .filter(|syntax| form.strip_prefix("must be ") == Some(&syntax.sentence()));
        let why = of.find_map(|syntax| syntax.refusal(text));
        let message = format!("'{path}' {}, not {found}", short(form, why));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let meant = habits::duration(text).filter(|_| is_duration);
        let of_kubectl =
            form.ends_with("with a letter or digit") || form.contains("lowercase letters");
        let name = kubectl_name(text).filter(|_| of_kubectl);
        let comment = [" // ", " /* "].iter().find(|sign| text.contains(**sign));
        // `kubectl label node a in-rotation-`
        let is_list_item = path.ends_with(']');
        if is_list_item && text.contains(',') && text.len() <= 200 {
            let items: Vec<&str> =
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
            let help = format!("write several items: {}", items.join(", "));
            diagnostics.push(diagnostic.help(help));
            continue;
        }
        let percentage = text.replace(' ', "");
        if form.starts_with("must be a number or a percentage")
            && percentage != text
            && Syntax::Amount.matches(&percentage)
        {
            diagnostics.push(diagnostic.write(percentage));
            continue;
        }
        if let Some(meant) = meant_name(form, text).filter(|_| kubectl_name(text).is_none()) {
            diagnostics.push(diagnostic.write(meant));
            continue;
        }
        if let Some(meant) = meant_format(form, text) {
            diagnostics.push(diagnostic.write(meant));
            continue;
        }
        if let Some(path) = object_path(form, text) {
            diagnostics.push(diagnostic.write(path));
            continue;
        }
        if text.starts_with('$') || text.contains("${") {
            diagnostics.push(diagnostic.help(of_shell(analysis, text)));
            continue;
        }
        let removed = text.strip_suffix('-').filter(|key| {
            form.starts_with("has a key")
                && ["labels", "annotations"].contains(&path.as_str())
                && Syntax::LabelKey.matches(key)
        });
        if let Some(key) = removed {
            diagnostics.push(diagnostic.help(format!("write {key}: null, which removes it")));
            continue;
        }
        diagnostics.push(match (meant, why, name) {
            _ if comment.is_some() => diagnostic
                .help("a comment begins with ' #': what begins with '/' is a part of the value"),
            (.., Some(name)) => diagnostic.write(name),
            (Some(meant), ..) => diagnostic.replace(meant),
            (None, Some(why), _) => diagnostic.help(why),
            (None, None, None) => diagnostic,
        });
    }
    check_literal_items(analysis, diagnostics);
    for site in analysis.sites() {
        let Role::Parameter(path) = &site.role else { continue };
        let Some(ImpossibleText { span, character, form, why }) = analysis.impossible_text(site)
        else {
            continue;
        };
        let form = short(&form, why);
        let message = match character {
            Some(character) => {
                format!("'{path}' must be {form}; {} is not allowed in it", shown(character))
            }
            None => format!("'{path}' must be {form}, which this text never is"),
        };
        let mut diagnostic = Diagnostic::new(&RULE, span, message);
        diagnostic.help = why.map(str::to_owned);
        diagnostics.push(diagnostic);
    }
}

/// Reports the items of a literal `for_each` that the parameter with `{{ each }}` does not take.
fn check_literal_items(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let Some(items) = raw.for_each.and_then(Node::items) else { continue };
        let is_each = |site: &&TemplateSite<'_>| {
            let expression = site.node.text().and_then(template::inside_braces);
            site.inferred.issues.is_empty() && expression == Some("each")
        };
        let mut told = HashSet::new();
        for site in step.sites.iter().filter(is_each) {
            let (Role::Parameter(path), Type::String(_)) = (&site.role, site.wanted.non_null())
            else {
                continue;
            };
            for item in items {
                let Some(ScalarValue::Text(text)) = item.scalar_value() else { continue };
                if template::is_template(text) || !told.insert(item.span.start) {
                    continue;
                }
                let Err(mismatch) = site.wanted.coerce(Json::from(text)) else {
                    told.remove(&item.span.start);
                    continue;
                };
                let (reason, found) = (mismatch.reason, quoted(text));
                let message = format!("'{path}' {reason}, not {found}");
                let mut diagnostic = Diagnostic::new(&RULE, item.span.clone(), message)
                    .label(site.node.span.clone(), "it is used here");
                let mut words = text.split_whitespace();
                let is_item = |word: &str| site.wanted.coerce(Json::from(word)).is_ok();
                if text.contains(' ') && words.clone().count() <= 10 && words.all(is_item) {
                    let items: Vec<&str> = text.split_whitespace().collect();
                    let items = items.join(", ");
                    diagnostic = diagnostic.help(format!("a comma is missing: write {items}"));
                }
                diagnostics.push(diagnostic);
            }
        }
    }
}

/// Returns what to write for a variable of a shell, or of another tool.
fn of_shell(analysis: &Analysis<'_>, text: &str) -> String {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let last = words.rfind(|word| !word.is_empty()).unwrap_or_default().to_ascii_lowercase();
    match analysis.symbols.inputs.field(&last) {
        Some(_) => format!("write \"{{{{ inputs.{last} }}}}\""),
        None => "declare an input, and write \"{{ inputs.NAME }}\": a runbook has no variables"
            .to_owned(),
    }
}

/// Returns the name of an object of Kubernetes that a text means: with capital letters, other signs, or its namespace.
fn meant_name(form: &str, text: &str) -> Option<String> {
    let kinds = [
        Syntax::KubernetesName,
        Syntax::Namespace,
        Syntax::NodeName,
        Syntax::PodName,
        Syntax::DeploymentName,
        Syntax::StatefulSetName,
        Syntax::DaemonSetName,
    ];
    let syntax =
        kinds.into_iter().find(|kind| form.strip_prefix("must be ") == Some(&kind.sentence()))?;
    let name = text.rsplit('/').next().unwrap_or(text).to_lowercase();
    let name: String = name
        .trim()
        .chars()
        .map(|c| if matches!(c, '_' | ' ' | '\u{2010}'..='\u{2015}') { '-' } else { c })
        .collect();
    (name != text && name.len() <= 63 && syntax.matches(&name)).then_some(name)
}

/// Returns the reason of an Event, or the version of Kubernetes, that a text means.
fn meant_format(form: &str, text: &str) -> Option<String> {
    let is = |syntax: Syntax| form.strip_prefix("must be ") == Some(&syntax.sentence());
    let meant = if is(Syntax::EventReason) {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()))
        };
        words.filter_map(capital).collect::<String>()
    } else if is(Syntax::KubernetesVersion) {
        let version = text.strip_prefix(['v', 'V']).unwrap_or(text);
        version.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
    } else if is(Syntax::AwsRegion) {
        // A zone is its region and a letter.
        let region = text.to_ascii_lowercase().replace('_', "-");
        let without_letter = region.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let name = region.trim_end_matches(|c: char| c.is_ascii_digit());
        let with_hyphen = format!("{name}-{}", &region[name.len()..]);
        let mut meant = [&region, without_letter, &with_hyphen].into_iter();
        meant.find(|meant| Syntax::AwsRegion.matches(meant))?.to_owned()
    } else {
        return None;
    };
    let syntax = [Syntax::EventReason, Syntax::KubernetesVersion, Syntax::AwsRegion]
        .into_iter()
        .find(|s| is(*s))?;
    (meant != text && meant.len() <= 100 && syntax.matches(&meant)).then_some(meant)
}

/// Returns the path to a field that is written as another tool takes it: `$.spec.replicas`, `{.spec.replicas}`,
/// `/spec/replicas`.
fn object_path(form: &str, text: &str) -> Option<String> {
    if !form.starts_with("must be a path to a field") {
        return None;
    }
    let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let bare = bare.strip_prefix('$').unwrap_or(bare).trim();
    let path = match bare.strip_prefix('/') {
        Some(pointer) => format!(".{}", pointer.replace('/', ".")),
        None => bare.to_owned(),
    };
    (path != text && Syntax::ObjectPath.matches(&path)).then_some(path)
}

/// Returns the name of an object that is written as kubectl takes it: `deployment/relay`.
fn kubectl_name(text: &str) -> Option<&str> {
    const KINDS: [&str; 22] = [
        "deployment",
        "deployments",
        "deployment.apps",
        "deploy",
        "statefulset",
        "statefulsets",
        "statefulset.apps",
        "sts",
        "daemonset",
        "daemonsets",
        "daemonset.apps",
        "ds",
        "pod",
        "pods",
        "po",
        "node",
        "nodes",
        "no",
        "namespace",
        "namespaces",
        "ns",
        "configmap",
    ];
    let (kind, name) = text.split_once('/')?;
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    (KINDS.contains(&kind) && !name.is_empty() && name.bytes().all(is_name)).then_some(name)
}

/// Returns the description of a format, in short where the reason is given.
fn short<'f>(form: &'f str, why: Option<&str>) -> &'f str {
    match form.split_once(": of ").filter(|_| why.is_some()) {
        Some((short, _)) => short,
        None => form,
    }
}

/// Returns a character for a message.
fn shown(character: char) -> String {
    match character {
        ' ' => "a space".to_owned(),
        '\n' => "a line break".to_owned(),
        '\t' => "a tab".to_owned(),
        character => format!("'{character}'"),
    }
}
