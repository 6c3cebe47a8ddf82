//! What holds between fields of a record, and for the literals of a field, as the extensions of their schemas say it.

use serde_json::{Map, Value as Json};

use crate::duration::Duration;

/// A relation between fields of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldRelation {
    /// The second field is required where the first one is given: `x-requires`.
    Requires(String, String),
    /// The two are not accepted together, and why: `x-excludes`.
    Excludes(Given, Given, Option<String>),
    /// The first one has no effect where the second one is given, and why: `x-no-effect`.
    NoEffect(Given, Given, Option<String>),
    /// One or more of the fields are required, and a list among them has items: `x-any-of`.
    AnyOf(Vec<String>),
    /// No two items of these lists are alike in some of their fields: `x-distinct`.
    Distinct {
        /// The lists.
        of: Vec<String>,
        /// The fields of their items.
        by: Vec<String>,
    },
    /// The first field is how often something happens, and the second the time from one to the next: `x-lasts`.
    Lasts(String, String),
}

/// A field that is given, with any value or with one.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The field.
    pub field: String,
    /// The value, where only that one matters.
    pub value: Option<Json>,
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            None => f.write_str(&self.field),
            Some(Json::String(word)) => write!(f, "{}: {word}", self.field),
            Some(value) => write!(f, "{}: {value}", self.field),
        }
    }
}

/// The requirement of an action for a literal beyond its type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldChecks {
    /// The shortest duration: `x-at-least`.
    pub at_least: Option<Duration>,
    /// The only value: `x-only`.
    pub only: Option<Json>,
    /// The texts that are refused, of a map as its keys: `x-refused`.
    pub refused: Vec<RefusedText>,
}

/// A text that an action refuses.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedText {
    /// The text; with `*` at its end, all that begin with what is before it.
    pub text: String,
    /// Why it is refused.
    pub why: String,
    /// The remedy.
    pub help: String,
}

impl FieldChecks {
    /// Reads the checks of the schema of a field.
    pub(super) fn of(schema: &Json) -> Self {
        let text = |json: &Json, key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let refused = schema.get("x-refused").and_then(Json::as_array).into_iter().flatten();
        let refused = refused.filter_map(|one| {
            Some(RefusedText {
                text: text(one, "text")?,
                why: text(one, "why")?,
                help: text(one, "help").unwrap_or_default(),
            })
        });
        Self {
            at_least: text(schema, "x-at-least").and_then(|text| text.parse().ok()),
            only: schema.get("x-only").cloned(),
            refused: refused.collect(),
        }
    }
}

impl RefusedText {
    /// Whether a text is refused.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self.text.strip_suffix('*') {
            Some(prefix) => text.starts_with(prefix),
            None => text == self.text,
        }
    }
}

/// Reads the relations of a schema.
pub(super) fn relations(schema: &Map<String, Json>) -> Vec<FieldRelation> {
    let all = |key: &str| schema.get(key).and_then(Json::as_array).into_iter().flatten();
    let requires = all("x-requires").filter_map(two).map(|(a, b)| FieldRelation::Requires(a, b));
    let excludes =
        all("x-excludes").filter_map(pair).map(|(a, b, why)| FieldRelation::Excludes(a, b, why));
    let useless =
        all("x-no-effect").filter_map(pair).map(|(a, b, why)| FieldRelation::NoEffect(a, b, why));
    let any = all("x-any-of").map(|group| FieldRelation::AnyOf(names(group)));
    let distinct = all("x-distinct").map(|one| FieldRelation::Distinct {
        of: one.get("of").map(names).unwrap_or_default(),
        by: one.get("by").map(names).unwrap_or_default(),
    });
    let lasts = all("x-lasts").filter_map(two).map(|(a, b)| FieldRelation::Lasts(a, b));
    requires.chain(excludes).chain(useless).chain(any).chain(distinct).chain(lasts).collect()
}

fn names(list: &Json) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Json::as_str).map(str::to_owned).collect()
}

fn two(pair: &Json) -> Option<(String, String)> {
    match names(pair).as_slice() {
        [one, other] => Some((one.clone(), other.clone())),
        _ => None,
    }
}

/// Reads two fields, and perhaps a reason.
fn pair(pair: &Json) -> Option<(Given, Given, Option<String>)> {
    let items = pair.as_array()?;
    let why = items.get(2).and_then(Json::as_str).map(str::to_owned);
    Some((given(items.first()?)?, given(items.get(1)?)?, why))
}

/// Reads `"field"`, or `{"field": value}`.
fn given(json: &Json) -> Option<Given> {
    if let Some(field) = json.as_str() {
        return Some(Given { field: field.to_owned(), value: None });
    }
    let (field, value) = json.as_object()?.iter().next()?;
    Some(Given { field: field.clone(), value: Some(value.clone()) })
}
