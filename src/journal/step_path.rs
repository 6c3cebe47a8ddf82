//! The address of a step in a run.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The address of a step in a run: the ids from the outermost step to this one, each with the index of its item where
/// the step runs once for each item of a list. Prints as `drain`, `drain[2]`, `rotate[1]/cordon`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepPath(Vec<PathSegment>);

/// One level of a [`StepPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathSegment {
    /// The step's id.
    pub step: String,
    /// The index of the item, from 0.
    pub item: Option<u32>,
}

/// A text that is not a valid step path.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a valid step path")]
pub struct InvalidStepPath(String);

impl JsonSchema for StepPath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StepPath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The address of a step in a run, such as `drain`, `drain[2]` or `rotate[1]/cordon`.",
            "type": "string",
        })
    }
}

impl StepPath {
    /// Returns the path of a step at the top level of the runbook.
    pub fn top_level(step: &str) -> Self {
        Self(vec![PathSegment { step: step.to_owned(), item: None }])
    }

    /// Returns the path of an item of this step, from 0.
    #[must_use]
    pub fn item(&self, index: u32) -> Self {
        let mut segments = self.0.clone();
        if let Some(last) = segments.last_mut() {
            last.item = Some(index);
        }
        Self(segments)
    }

    /// Returns the path of a step of the runbook that this step, or item, calls.
    #[must_use]
    pub fn child(&self, step: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(PathSegment { step: step.to_owned(), item: None });
        Self(segments)
    }

    /// Returns the path of what this is a part of: the step of an item, or the step or item that calls the runbook.
    pub fn outer(&self) -> Option<Self> {
        self.step_of_item().or_else(|| {
            let (_, outer) = self.0.split_last().filter(|(_, outer)| !outer.is_empty())?;
            Some(Self(outer.to_vec()))
        })
    }

    /// Returns the path of the step at the top level of the runbook that this is a part of.
    #[must_use]
    pub fn top(&self) -> Self {
        Self(
            self.0
                .first()
                .map(|segment| PathSegment { item: None, ..segment.clone() })
                .into_iter()
                .collect(),
        )
    }

    /// Whether this is the path of a step at the top level of the runbook.
    pub fn is_top_level(&self) -> bool {
        self.outer().is_none()
    }

    /// Whether this is an item, or a part of one.
    pub fn is_within_item(&self) -> bool {
        self.0.iter().any(|segment| segment.item.is_some())
    }

    /// Returns the path of the step that this is an item of; none for a step that is none.
    pub fn step_of_item(&self) -> Option<Self> {
        let mut segments = self.0.clone();
        segments.last_mut()?.item.take()?;
        Some(Self(segments))
    }

    /// Whether this is the path of a step, or of anything that is done for it.
    pub fn is_part_of(&self, step: &Self) -> bool {
        let Some((last, outer)) = step.0.split_last() else { return false };
        let Some(own) = self.0.get(outer.len()) else { return false };
        self.0.starts_with(outer)
            && own.step == last.step
            && (last.item.is_none() || own.item == last.item)
    }

    /// Returns paths as one text.
    pub fn join(paths: &[Self], separator: &str) -> String {
        paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
    }

    /// Returns the levels, the outermost first.
    pub fn segments(&self) -> &[PathSegment] {
        &self.0
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, segment) in self.0.iter().enumerate() {
            if level > 0 {
                f.write_str("/")?;
            }
            f.write_str(&segment.step)?;
            if let Some(item) = segment.item {
                write!(f, "[{item}]")?;
            }
        }
        Ok(())
    }
}

impl FromStr for StepPath {
    type Err = InvalidStepPath;

    fn from_str(text: &str) -> Result<Self, InvalidStepPath> {
        let segments: Option<Vec<PathSegment>> = text.split('/').map(segment).collect();
        segments.map(Self).ok_or_else(|| InvalidStepPath(text.to_owned()))
    }
}

fn segment(text: &str) -> Option<PathSegment> {
    let (step, item) = match text.split_once('[') {
        Some((step, rest)) => {
            let digits = rest.strip_suffix(']')?;
            let item: u32 = digits.parse().ok()?;
            // One text for one path: no sign, no leading zeros.
            (step, Some(item).filter(|item| item.to_string() == digits).map(Some)?)
        }
        None => (text, None),
    };
    let is_valid = !step.is_empty() && !step.contains(['[', ']']);
    is_valid.then(|| PathSegment { step: step.to_owned(), item })
}

impl TryFrom<String> for StepPath {
    type Error = InvalidStepPath;

    fn try_from(text: String) -> Result<Self, InvalidStepPath> {
        text.parse()
    }
}

impl From<StepPath> for String {
    fn from(path: StepPath) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_from_its_text() {
        for text in ["drain", "drain[2]", "rotate[1]/cordon", "a/b[0]/c"] {
            assert_eq!(text.parse::<StepPath>().unwrap().to_string(), text);
        }
        assert_eq!("drain".parse::<StepPath>().unwrap(), StepPath::top_level("drain"));
    }

    #[test]
    fn a_text_that_no_path_prints_as_is_refused() {
        for text in ["", "/", "a/", "a[", "a[]", "a[-1]", "a[01]", "a[1]x", "[1]", "a]b"] {
            assert!(text.parse::<StepPath>().is_err(), "{text}");
        }
    }
}
