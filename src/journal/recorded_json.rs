//! A value of an event that is written once and seldom read: it is kept as the text that the journal has.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Value, value::RawValue};

/// A value as JSON. A list of nodes takes about a sixth of the memory of the same as a [`Value`], and clones share it.
#[derive(Debug, Clone)]
pub struct RecordedJson(Arc<RawValue>);

impl RecordedJson {
    /// Returns the value.
    pub fn to_value(&self) -> Value {
        // What is nested so deeply that it is not read is in no journal that can be read.
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// Returns the JSON.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl From<&Value> for RecordedJson {
    fn from(value: &Value) -> Self {
        let text = serde_json::value::to_raw_value(value);
        Self(text.expect("maps of JSON have texts as keys").into())
    }
}

impl From<Value> for RecordedJson {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl PartialEq for RecordedJson {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() || self.to_value() == other.to_value()
    }
}

impl Serialize for RecordedJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// By way of a value, because an event is read as a map first.
impl<'de> Deserialize<'de> for RecordedJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = serde_json::value::to_raw_value(&value).map_err(D::Error::custom)?;
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_the_same_after_it_was_recorded() {
        let value = json!({"b": [1, 2.5, u64::MAX, -1], "a": {"text": "\"\u{0}ä"}, "none": null});
        let recorded = RecordedJson::from(&value);
        assert_eq!(recorded.to_value(), value);
        assert_eq!(recorded.text(), value.to_string());
        let read: RecordedJson = serde_json::from_value(json!(recorded)).unwrap();
        assert_eq!(read, recorded);
    }
}
