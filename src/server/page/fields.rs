//! Inputs of a runbook, and questions of an approval, as fields of a form; and the texts of a form as values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::words::{shown, shown_lines};
use runbook::{Input, InputError, types::Type};

/// The beginning of the names of fields that are inputs or answers.
pub(super) const PREFIX: &str = "in.";

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// A part of the ids of its elements.
    pub(super) id: String,
    pub(super) description: Option<String>,
    /// The type with its limits, in words.
    pub(super) hint: String,
    pub(super) kind: FieldKind,
    pub(super) value: String,
    /// Whether it must not be empty.
    pub(super) is_required: bool,
    pub(super) has_default: bool,
    pub(super) error: Option<String>,
}

/// The element of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// One line. The pattern is that of the syntax.
    Line { pattern: Option<String>, placeholder: String },
    /// A number.
    Number { minimum: String, maximum: String, step: &'static str },
    /// Several lines.
    Lines { placeholder: &'static str },
    /// One of several values.
    Choice { choices: Vec<String> },
}

/// The texts of a form, and the errors in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Typed {
    /// The texts, by name.
    pub(super) texts: BTreeMap<String, String>,
    /// The messages, by name.
    pub(super) errors: BTreeMap<String, String>,
}

impl Field {
    /// Returns the field of an input, with what was typed, else the default.
    pub(super) fn of(input: &Input, of_form: &str, typed: Option<&Typed>) -> Self {
        let ty = input.ty.non_null();
        let is_optional = matches!(input.ty, Type::Optional(_));
        let default = input.default.as_ref().map(|value| text_of(value, ty)).unwrap_or_default();
        let typed_text = typed.and_then(|typed| typed.texts.get(&input.name));
        let is_text = matches!(ty, Type::String(_));
        Self {
            name: format!("{PREFIX}{}", input.name),
            id: format!("{of_form}-{}", input.name),
            description: input.description.as_deref().map(shown_lines),
            hint: hint_of(input),
            kind: kind_of(ty, is_optional || input.default.is_none()),
            value: typed_text.cloned().unwrap_or(default),
            is_required: !is_optional && (input.default.is_none() || !is_text),
            has_default: input.default.is_some(),
            error: typed.and_then(|typed| typed.errors.get(&input.name)).cloned(),
        }
    }
}

/// Returns the type of an input in words, with whether it may be left out.
fn hint_of(input: &Input) -> String {
    let mut hint = input.ty.to_string();
    if let Type::String(text) = input.ty.non_null()
        && let Some(syntax) = text.syntax
    {
        hint = syntax.sentence();
    }
    match &input.default {
        Some(default) if !default.is_null() => {
            hint.push_str(&format!("; default {}", super::words::value(default)));
        }
        _ if matches!(input.ty, Type::Optional(_)) => hint.push_str("; may be left empty"),
        _ => {}
    }
    shown(&hint)
}

/// Returns a value as the text that is parsed as the same value.
fn text_of(value: &Value, ty: &Type) -> String {
    match (value, ty) {
        (Value::Null, _) => String::new(),
        (Value::String(text), Type::String(_) | Type::Duration | Type::Enum(_)) => text.clone(),
        (other, _) => other.to_string(),
    }
}

fn kind_of(ty: &Type, can_be_empty: bool) -> FieldKind {
    let choices = |words: Vec<String>| FieldKind::Choice {
        choices: can_be_empty.then(String::new).into_iter().chain(words).collect(),
    };
    match ty {
        Type::Boolean => choices(vec!["true".into(), "false".into()]),
        Type::Enum(words) => choices(words.to_vec()),
        Type::Integer(bounds) => FieldKind::Number {
            minimum: bounds.minimum.map(|least| least.to_string()).unwrap_or_default(),
            maximum: bounds.maximum.map(|most| most.to_string()).unwrap_or_default(),
            step: "1",
        },
        Type::Number(bounds) => FieldKind::Number {
            minimum: bounds.minimum.map(|least| least.to_string()).unwrap_or_default(),
            maximum: bounds.maximum.map(|most| most.to_string()).unwrap_or_default(),
            step: "any",
        },
        Type::String(text) => FieldKind::Line {
            pattern: text.syntax.map(|syntax| html_pattern(&syntax.pattern())),
            placeholder: text.syntax.map(|syntax| syntax.example().to_owned()).unwrap_or_default(),
        },
        Type::Duration => FieldKind::Line { pattern: None, placeholder: "10m".to_owned() },
        Type::List(..) => FieldKind::Lines { placeholder: "a, b, c" },
        Type::Map(..) | Type::Record(_) | Type::Any => {
            FieldKind::Lines { placeholder: "{name: value}" }
        }
        Type::Null | Type::Optional(_) => {
            FieldKind::Line { pattern: None, placeholder: String::new() }
        }
    }
}

/// Returns a regular expression as browsers read those of fields: with the flag `v`, where more characters of a class
/// are escaped.
fn html_pattern(pattern: &str) -> String {
    let anchored = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$'));
    let text = anchored.unwrap_or(pattern);
    let mut result = String::with_capacity(text.len() + 8);
    let (mut in_class, mut is_first, mut is_escaped) = (false, false, false);
    for (at, c) in text.char_indices() {
        let is_last_of_class = text[at + c.len_utf8()..].starts_with(']');
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '[' if !in_class => in_class = true,
            ']' if in_class => in_class = false,
            '^' if in_class && is_first => {
                result.push(c);
                continue;
            }
            '-' if in_class && (is_first || is_last_of_class) => result.push('\\'),
            '(' | ')' | '[' | '{' | '}' | '/' | '|' if in_class => result.push('\\'),
            _ => {}
        }
        is_first = c == '[' && in_class;
        result.push(c);
    }
    result
}

/// Returns the values of the inputs that were filled in. A field that was left empty is an input that is not given,
/// unless it is a text.
pub(super) fn values(
    inputs: &[Input],
    typed: &mut Typed,
    parse: impl Fn(&str, &str) -> Result<Value, InputError>,
) -> Map<String, Value> {
    let mut values = Map::new();
    for input in inputs {
        let Some(text) = typed.texts.get(&input.name) else { continue };
        let is_text = matches!(input.ty, Type::String(_)) && input.default.is_some();
        if text.trim().is_empty() && !is_text {
            if input.default.is_some() && matches!(input.ty, Type::Optional(_)) {
                values.insert(input.name.clone(), Value::Null);
            }
            continue;
        }
        match parse(&input.name, text) {
            Ok(value) => {
                values.insert(input.name.clone(), value);
            }
            Err(error) => {
                typed.errors.insert(input.name.clone(), message(&error));
            }
        }
    }
    values
}

/// Takes note of errors, each at its field.
pub(super) fn add_errors(typed: &mut Typed, errors: &[InputError]) {
    for error in errors {
        let (InputError::Unknown { name, .. }
        | InputError::Missing { name, .. }
        | InputError::Invalid { name, .. }
        | InputError::Unparsable { name, .. }) = error;
        typed.errors.entry(name.clone()).or_insert_with(|| message(error));
    }
}

/// Returns an error for where the field says which input it is.
fn message(error: &InputError) -> String {
    let text = match error {
        InputError::Missing { .. } => "is missing".to_owned(),
        InputError::Invalid { mismatch, .. } => mismatch.to_string(),
        InputError::Unparsable { ty, .. } => format!("not a valid {ty}"),
        InputError::Unknown { .. } => error.to_string(),
    };
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    shown(&format!("{text}{hint}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use runbook::Questions;

    fn questions() -> Questions {
        Questions::read(&json!({
            "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 2},
            "node": {"type": "string", "syntax": "node-name", "description": "which <node>"},
            "zone": {"type": "optional string"},
            "mode": {"type": "enum", "values": ["slow", "fast"], "default": "slow"},
            "nodes": {"type": "list of string", "default": ["a", "b"]},
        }))
    }

    fn typed(texts: &[(&str, &str)]) -> Typed {
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Typed { texts: texts.collect(), ..Typed::default() }
    }

    #[test]
    fn a_field_has_the_element_of_its_type() {
        let questions = questions();
        let field = |name: &str| {
            let input = questions.all().iter().find(|input| input.name == name).unwrap();
            Field::of(input, "start", None)
        };
        let count = field("count");
        let FieldKind::Number { minimum, maximum, .. } = &count.kind else { panic!("{count:?}") };
        assert_eq!((minimum.as_str(), maximum.as_str(), count.value.as_str()), ("1", "9", "2"));
        assert!(matches!(field("node").kind, FieldKind::Line { pattern: Some(_), .. }));
        assert!(field("node").is_required && !field("zone").is_required);
        assert_eq!(
            field("mode").kind,
            FieldKind::Choice { choices: vec!["slow".into(), "fast".into()] }
        );
        assert_eq!(field("nodes").value, r#"["a","b"]"#);
    }

    #[test]
    fn what_was_typed_is_parsed_by_the_types_and_stays_in_the_form() {
        let questions = questions();
        let mut form = typed(&[("count", "12"), ("node", "n1"), ("zone", ""), ("nodes", "a, c")]);
        let values = values(questions.all(), &mut form, |name, text| questions.parse(name, text));
        assert_eq!(Value::Object(values), json!({"node": "n1", "nodes": ["a", "c"]}));
        assert!(form.errors["count"].contains("from 1 to 9"), "{form:?}");
        let count = questions.all().iter().find(|input| input.name == "count").unwrap();
        let field = Field::of(count, "start", Some(&form));
        assert_eq!(field.value, "12");
        assert!(field.error.is_some());
    }

    #[test]
    fn patterns_are_written_as_browsers_read_them() {
        for (pattern, html) in [
            ("^[-a-z.]+$", r"[\-a-z.]+"),
            ("^[a-z_-]$", r"[a-z_\-]"),
            ("^[^/]+(a|b)$", r"[^\/]+(a|b)"),
            (r"^a\.b$", r"a\.b"),
            ("^i-[0-9a-f]{8}$", "i-[0-9a-f]{8}"),
        ] {
            assert_eq!(html_pattern(pattern), html);
        }
    }
}
