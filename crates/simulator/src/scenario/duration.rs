//! Durations in scenario files: `40s`, `1m 30s`, or a number of seconds.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A duration in a scenario file.
pub(super) struct ScenarioDuration;

impl JsonSchema for ScenarioDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration such as `40s` or `1m 30s`, or a number of seconds.",
            "anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}],
        })
    }
}

/// The format of a duration: `40s`, `1m 30s`, or a number of seconds.
pub(crate) mod serde_duration {
    use std::time::Duration;

    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum DurationRepr {
        Seconds(f64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = match duration.as_millis() {
            milliseconds if milliseconds % 1000 == 0 => format!("{}s", duration.as_secs()),
            milliseconds => format!("{milliseconds}ms"),
        };
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        match DurationRepr::deserialize(deserializer)? {
            DurationRepr::Seconds(seconds) => {
                Duration::try_from_secs_f64(seconds).map_err(de::Error::custom)
            }
            DurationRepr::Text(text) => {
                let signed: SignedDuration = text.parse().map_err(de::Error::custom)?;
                Duration::try_from(signed).map_err(de::Error::custom)
            }
        }
    }
}

/// The format of an optional duration.
pub(super) mod serde_optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serde_duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Wrapped(#[serde(with = "super::serde_duration")] Duration);
        let wrapped = Option::<Wrapped>::deserialize(deserializer)?;
        Ok(wrapped.map(|Wrapped(duration)| duration))
    }
}
