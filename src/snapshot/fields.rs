//! Which fields of an object are kept, as a tree that is written like the fields themselves: `spec{replicas selector}`.
//! What is not named is dropped, so a field that Kubernetes adds one day is dropped too.

use serde_json::{Map, Value};

/// The fields of an object that are kept. Those of a list are the fields of each of its items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, Option<Fields>)>);

impl Fields {
    /// Reads a tree: names with spaces between them, each perhaps with the fields below it in braces. A name without
    /// braces is kept with everything below it; empty braces keep that the field is there.
    pub(super) fn parse(text: &str) -> Self {
        let spaced = text.replace('{', " { ").replace('}', " } ");
        Self::from_tokens(&mut spaced.split_whitespace())
    }

    fn from_tokens<'t>(tokens: &mut impl Iterator<Item = &'t str>) -> Self {
        let mut fields: Vec<(String, Option<Self>)> = Vec::new();
        while let Some(token) = tokens.next() {
            match token {
                "{" => {
                    let below = Self::from_tokens(tokens);
                    if let Some((_, slot)) = fields.last_mut() {
                        *slot = Some(below);
                    }
                }
                "}" => break,
                name => fields.push((name.to_owned(), None)),
            }
        }
        Self(fields)
    }

    /// Returns a value with these fields alone; nothing of a value that has no fields.
    pub(super) fn keep(&self, value: Value) -> Option<Value> {
        match value {
            Value::Object(mut object) => {
                let mut kept = Map::new();
                for (name, below) in &self.0 {
                    let Some(value) = object.remove(name) else { continue };
                    let value = match below {
                        Some(below) => below.keep(value),
                        None => Some(value),
                    };
                    kept.extend(value.map(|value| (name.clone(), value)));
                }
                Some(Value::Object(kept))
            }
            Value::Array(items) => {
                Some(items.into_iter().filter_map(|item| self.keep(item)).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_named_fields_are_kept_in_objects_and_in_lists() {
        let fields = Fields::parse("a b{c d{}} e{f}");
        let kept = fields.keep(json!({
            "a": {"any": 1},
            "b": [{"c": 1, "x": "secret", "d": {"y": "secret"}}, "text"],
            "e": "text",
            "z": "secret",
        }));
        assert_eq!(kept, Some(json!({"a": {"any": 1}, "b": [{"c": 1, "d": {}}]})));
    }
}
