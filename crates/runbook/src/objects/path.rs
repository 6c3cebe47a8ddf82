//! Paths to fields of objects: `.spec.replicas`, `.spec.containers[0].image`,
//! `.metadata.annotations['example.com/note']`.

use std::fmt;

use serde_json::{Map, Value as Json};

/// A path to a field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPath(Vec<PathSegment>);

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSegment {
    /// The key of a map.
    Key(String),
    /// The position in a list, from 0.
    Index(usize),
}

impl ObjectPath {
    /// Parses a path; `None` for a text that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (segment, after) = match rest.strip_prefix('[') {
                Some(inside) => bracketed(inside)?,
                // The first dot may be left out.
                None => match rest.strip_prefix('.') {
                    Some(after) => key(after)?,
                    None if segments.is_empty() => key(rest)?,
                    None => return None,
                },
            };
            segments.push(segment);
            rest = after;
        }
        (!segments.is_empty()).then_some(Self(segments))
    }

    /// Returns the path of these keys.
    pub fn of_keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(keys.into_iter().map(|key| PathSegment::Key(key.into())).collect())
    }

    /// Returns the value at the path; none where the object has none.
    pub fn find<'o>(&self, object: &'o Json) -> Option<&'o Json> {
        self.0.iter().try_fold(object, |value, segment| match segment {
            PathSegment::Key(key) => value.as_object()?.get(key),
            PathSegment::Index(index) => value.as_array()?.get(*index),
        })
    }

    /// Returns the parts.
    pub fn segments(&self) -> &[PathSegment] {
        &self.0
    }

    /// Returns whether the path leads to these keys, or into what is there, or to what contains it.
    pub fn meets(&self, keys: &[&str]) -> bool {
        let is_same = |(segment, key): (&PathSegment, &&str)| matches!(segment, PathSegment::Key(own) if own == key);
        self.0.iter().zip(keys).all(is_same)
    }
}

fn bracketed(inside: &str) -> Option<(PathSegment, &str)> {
    if let Some(quoted) = inside.strip_prefix('\'') {
        let (key, after) = quoted.split_once("']")?;
        let is_key = !key.is_empty() && !key.contains('\'');
        return is_key.then(|| (PathSegment::Key(key.to_owned()), after));
    }
    let (digits, after) = inside.split_once(']')?;
    let is_index = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_index.then(|| digits.parse().ok())?.map(|index| (PathSegment::Index(index), after))
}

fn key(text: &str) -> Option<(PathSegment, &str)> {
    let end = text.find(|char| !is_plain(char)).unwrap_or(text.len());
    let (key, after) = text.split_at(end);
    (!key.is_empty()).then(|| (PathSegment::Key(key.to_owned()), after))
}

/// Whether a character needs no quotes in a key.
fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || "_-$".contains(char)
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                PathSegment::Key(key) if key.chars().all(is_plain) => write!(f, ".{key}")?,
                PathSegment::Key(key) => write!(f, "['{key}']")?,
                PathSegment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Returns the fields that a merge patch sets, each with its keys and its value; null removes one. A list is one field.
pub fn leaf_paths(patch: &Map<String, Json>) -> Vec<(Vec<String>, &Json)> {
    fn collect<'p>(
        patch: &'p Map<String, Json>,
        above: &[String],
        leaves: &mut Vec<(Vec<String>, &'p Json)>,
    ) {
        for (key, value) in patch {
            let keys = [above, std::slice::from_ref(key)].concat();
            match value {
                Json::Object(inner) if !inner.is_empty() => collect(inner, &keys, leaves),
                leaf => leaves.push((keys, leaf)),
            }
        }
    }
    let mut leaves = Vec::new();
    collect(patch, &[], &mut leaves);
    leaves
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_to_a_value() {
        let object = json!({"spec": {"a": [{"b": 1}, {"b": 2}], "x/y.z": "quoted"}});
        let found = |path: &str| ObjectPath::parse(path).unwrap().find(&object).cloned();
        assert_eq!(found(".spec.a[1].b"), Some(json!(2)));
        assert_eq!(found("spec['x/y.z']"), Some(json!("quoted")));
        assert_eq!(found(".spec.a[2].b"), None);
        assert_eq!(found(".spec.a.b"), None);
    }

    #[test]
    fn a_path_is_written_as_it_is_read() {
        for text in [".spec.replicas", ".a[0].b['c/d']", "['a b'].c"] {
            assert_eq!(ObjectPath::parse(text).unwrap().to_string(), text);
        }
        for text in
            ["", ".", ".a.", "..a", ".a[", ".a[x]", ".a['']", ".a[-1]", ".a b", ".a/b", "{.a}"]
        {
            assert_eq!(ObjectPath::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_leaves_of_a_patch_are_its_fields() {
        let patch = json!({"spec": {"replicas": 2, "list": [1]}, "metadata": {"labels": {"a": null, "b": {}}}});
        let leaves = leaf_paths(patch.as_object().unwrap());
        let shown: Vec<String> = leaves
            .into_iter()
            .map(|(keys, value)| format!("{} {value}", ObjectPath::of_keys(keys)))
            .collect();
        assert_eq!(
            shown,
            [
                ".spec.replicas 2",
                ".spec.list [1]",
                ".metadata.labels.a null",
                ".metadata.labels.b {}"
            ]
        );
    }
}
