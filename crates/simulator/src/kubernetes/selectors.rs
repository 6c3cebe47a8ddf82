//! Label and field selectors of requests, and label selectors in objects. Knows by which fields
//! each kind can be selected, as the API documents them.

use serde_json::Value;

use super::custom;
use super::event_forms::kept_field;
use super::kinds::Kind;
use super::object::{label, list, map, text};
use super::status_error::StatusError;

/// The selectors of a list or a watch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq)]
struct Requirement {
    key: String,
    operator: LabelOperator,
}

#[derive(Debug, Clone, PartialEq)]
enum LabelOperator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

#[derive(Debug, Clone, PartialEq)]
struct FieldRequirement {
    pointer: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Parses the two query parameters.
    pub(crate) fn parse(resource: &Kind, labels: &str, fields: &str) -> Result<Self, StatusError> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(resource, fields)? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|requirement| requirement.matches(object))
            && self.fields.iter().all(|requirement| requirement.matches(object))
    }
}

impl Requirement {
    fn matches(&self, object: &Value) -> bool {
        let value = label(object, &self.key);
        match &self.operator {
            LabelOperator::In(values) => {
                value.is_some_and(|value| values.iter().any(|v| v == value))
            }
            LabelOperator::NotIn(values) => {
                value.is_none_or(|value| values.iter().all(|v| v != value))
            }
            LabelOperator::Exists => value.is_some(),
            LabelOperator::Absent => value.is_none(),
        }
    }
}

impl FieldRequirement {
    fn matches(&self, object: &Value) -> bool {
        let value = match object.pointer(&self.pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            // An absent flag is false: the only flag that can be selected by is
            // `spec.unschedulable`.
            _ if self.pointer == "/spec/unschedulable" => "false".to_owned(),
            _ => String::new(),
        };
        (value == self.value) == self.equal
    }
}

fn parse_labels(selector: &str) -> Result<Vec<Requirement>, StatusError> {
    let mut requirements = Vec::new();
    for part in split_outside_parentheses(selector) {
        let part = part.trim();
        if !part.is_empty() {
            requirements.push(parse_requirement(part)?);
        }
    }
    Ok(requirements)
}

fn parse_requirement(part: &str) -> Result<Requirement, StatusError> {
    let unreadable = || StatusError::bad_request(format!("unable to parse requirement: {part:?}"));
    if let Some(key) = part.strip_prefix('!') {
        return requirement(key, LabelOperator::Absent).ok_or_else(unreadable);
    }
    if let Some((key, set)) = part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        let values = set.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = key.split_whitespace();
        let (key, word) = (words.next().unwrap_or_default(), words.next());
        return match (word, words.next()) {
            (Some("in"), None) => requirement(key, LabelOperator::In(values)),
            (Some("notin"), None) => requirement(key, LabelOperator::NotIn(values)),
            _ => None,
        }
        .ok_or_else(unreadable);
    }
    if let Some((key, value)) = part.split_once("!=") {
        return requirement(key, LabelOperator::NotIn(vec![value.trim().to_owned()]))
            .ok_or_else(unreadable);
    }
    if let Some((key, value)) = part.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return requirement(key, LabelOperator::In(vec![value.trim().to_owned()]))
            .ok_or_else(unreadable);
    }
    requirement(part, LabelOperator::Exists).ok_or_else(unreadable)
}

fn requirement(key: &str, operator: LabelOperator) -> Option<Requirement> {
    let key = key.trim();
    let good = !key.is_empty()
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    good.then(|| Requirement { key: key.to_owned(), operator })
}

/// Splits at commas that are not inside a set.
fn split_outside_parentheses(selector: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, character) in selector.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&selector[start..]);
    parts
}

fn parse_fields(resource: &Kind, selector: &str) -> Result<Vec<FieldRequirement>, StatusError> {
    let parts = selector.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else {
                let (field, value) = part.split_once('=').ok_or_else(|| {
                    StatusError::bad_request(format!(
                        "invalid selector: '{part}'; can't understand '{part}'"
                    ))
                })?;
                (field, value.strip_prefix('=').unwrap_or(value), true)
            };
            if !is_selectable(resource, field) {
                return Err(StatusError::bad_request(not_selectable(resource, field)));
            }
            Ok(FieldRequirement {
                pointer: format!("/{}", kept_field(resource, field).replace('.', "/")),
                value: value.to_owned(),
                equal,
            })
        })
        .collect()
}

fn not_selectable(resource: &Kind, field: &str) -> String {
    if !resource.fields.is_empty() || custom::is_custom(resource) {
        return format!("field label not supported: {field}");
    }
    let namespace = if resource.namespaced { ", \"metadata.namespace\"" } else { "" };
    format!("{field:?} is not a known field selector: only \"metadata.name\"{namespace}")
}

fn is_selectable(resource: &Kind, field: &str) -> bool {
    field == "metadata.name"
        || (resource.namespaced && field == "metadata.namespace")
        || resource.fields.contains(&field)
        || custom::is_selectable(resource, field)
}

/// Returns whether a label selector in an object (`matchLabels`, `matchExpressions`) matches
/// `object`. An empty selector matches everything, an absent one nothing.
pub(crate) fn selects(selector: Option<&Value>, object: &Value) -> bool {
    let Some(selector) = selector.filter(|selector| selector.is_object()) else {
        return false;
    };
    let equal = map(selector, "/matchLabels").is_none_or(|wanted| {
        wanted.iter().all(|(key, value)| label(object, key) == value.as_str())
    });
    equal
        && list(selector, "/matchExpressions")
            .iter()
            .all(|expression| expression_holds(expression, label(object, text(expression, "/key"))))
}

/// Returns whether a `{key, operator, values}` matches the value of its key. `Gt` and `Lt` are
/// those of node selectors.
pub(crate) fn expression_holds(expression: &Value, value: Option<&str>) -> bool {
    let values = list(expression, "/values");
    let named = |value: &str| values.iter().any(|v| v.as_str() == Some(value));
    let bound = || values.first()?.as_str()?.parse::<i64>().ok();
    let as_number = || value?.parse::<i64>().ok();
    match text(expression, "/operator") {
        "In" => value.is_some_and(named),
        "NotIn" => !value.is_some_and(named),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => matches!((as_number(), bound()), (Some(a), Some(b)) if a > b),
        "Lt" => matches!((as_number(), bound()), (Some(a), Some(b)) if a < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{NODES, PODS};
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "p", "labels": {"app": "relay", "tier": "edge"}},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running"},
        })
    }

    #[test]
    fn label_selectors_of_every_form_match() {
        let cases = [
            ("app=relay", true),
            ("app==relay,tier=edge", true),
            ("app!=relay", false),
            ("missing!=x", true),
            ("app in (relay, other)", true),
            ("app notin (relay,other),tier", false),
            ("tier notin (core)", true),
            ("!missing", true),
            ("!app", false),
            ("", true),
        ];
        for (text, expected) in cases {
            let selector = Selector::parse(&PODS, text, "").unwrap();
            assert_eq!(selector.matches(&pod()), expected, "{text}");
        }
        for bad in ["app in relay", "a b", "=x", "app within (x)"] {
            assert_eq!(Selector::parse(&PODS, bad, "").unwrap_err().code, 400);
        }
    }

    #[test]
    fn field_selectors_accept_only_the_fields_of_the_kind() {
        let cases = [
            ("spec.nodeName=n1", true),
            ("spec.nodeName!=n1", false),
            ("status.phase=Running,metadata.name=p", true),
            ("status.phase!=Succeeded,status.phase!=Failed", true),
            ("spec.nodeName=", false),
        ];
        for (text, expected) in cases {
            let selector = Selector::parse(&PODS, "", text).unwrap();
            assert_eq!(selector.matches(&pod()), expected, "{text}");
        }
        assert!(Selector::parse(&PODS, "", "spec.image=x").is_err());
        let selector = Selector::parse(&NODES, "", "spec.unschedulable=false").unwrap();
        assert!(selector.matches(&json!({"spec": {}})));
    }

    #[test]
    fn an_absent_selector_in_an_object_selects_nothing() {
        assert!(!selects(None, &pod()));
        assert!(selects(Some(&json!({})), &pod()));
        let expression = json!({"matchExpressions":
            [{"key": "app", "operator": "In", "values": ["relay"]}]});
        assert!(selects(Some(&expression), &pod()));
    }
}
