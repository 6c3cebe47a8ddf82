//! Conversion of Rust structs to types, and assignability.

use std::collections::BTreeMap;

use schemars::{JsonSchema, schema_for};
use serde_json::{Value as Json, json};

use super::*;
use crate::Duration;

/// A thing.
///
/// The details.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("x-exactly-one-of" = [["a", "b"]]))]
#[expect(dead_code, reason = "only its schema is used")]
struct Thing {
    text: String,
    #[schemars(length(min = 1, max = 8))]
    short: String,
    #[schemars(regex(pattern = "^a"))]
    matching: String,
    small: u8,
    count: u32,
    offset: i64,
    #[schemars(range(min = 2, max = 4))]
    factor: u32,
    share: f64,
    flag: bool,
    pause: Duration,
    #[serde(default)]
    a: Option<String>,
    #[serde(default)]
    b: Option<Part>,
    #[serde(default = "seven")]
    seven: u32,
    mode: Mode,
    documented: Documented,
    #[schemars(length(min = 1))]
    parts: Vec<Part>,
    labels: BTreeMap<String, u32>,
    anything: Json,
}

fn seven() -> u32 {
    7
}

/// A part of it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Part {
    #[schemars(extend("x-syntax" = "instance-id"))]
    id: String,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Mode {
    RollingOver,
    Surge,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Documented {
    /// The one.
    One,
    /// The other.
    Other,
}

fn thing() -> RecordType {
    RecordType::from_schema("thing", &schema_for!(Thing).to_value()).unwrap()
}

#[test]
fn a_rust_struct_is_a_record() {
    let thing = thing();
    assert_eq!(thing.description, "A thing.\n\nThe details.");
    assert_eq!(thing.exactly_one_of, [["a", "b"]]);
    let name = |field: &str| thing.field(field).unwrap().ty.to_string();
    for (field, ty) in [
        ("text", "string"),
        ("count", "integer"),
        ("share", "number"),
        ("flag", "boolean"),
        ("pause", "duration"),
        ("a", "optional string"),
        ("b", "optional record of id"),
        ("mode", "one of rolling_over, surge"),
        ("documented", "one of one, other"),
        ("parts", "list of record of id"),
        ("labels", "map of integer"),
        ("anything", "any value"),
    ] {
        assert_eq!(name(field), ty, "{field}");
    }
    let seven = thing.field("seven").unwrap();
    assert_eq!((seven.required, seven.default.clone()), (false, Some(json!(7))));
    assert!(thing.field("count").unwrap().required);
    assert!(!thing.field("a").unwrap().required);
}

#[test]
fn limits_come_from_the_rust_type_and_its_attributes() {
    let thing = thing();
    let wrong = |field: &str, value: Json| {
        let projected = thing.field(field).unwrap().ty.coerce(value);
        projected.map_err(|mismatch| mismatch.to_string()).err()
    };
    for (field, value, words) in [
        ("small", json!(256), "must be from 0 to 255"),
        ("count", json!(-1), "must be at least 0"),
        ("count", json!(5_000_000_000_u64), "must be from 0 to 2147483647"),
        ("factor", json!(5), "must be from 2 to 4"),
        ("short", json!(""), "must have 1 to 8 characters"),
        ("parts", json!([]), "must have at least 1 item"),
        ("parts", json!([{"id": "x"}]), "[0].id: must be an EC2 instance id"),
        ("parts", json!([{}]), "[0]: 'id' is missing"),
        ("mode", json!("fast"), "must be one of rolling_over, surge"),
        ("pause", json!("soon"), "must be a duration"),
        ("flag", json!("true"), "must be a boolean, not a string"),
        ("labels", json!({"x": "y"}), "x: must be an integer, not a string"),
        ("text", json!(null), "must be a string, not null"),
    ] {
        let found = wrong(field, value).unwrap_or_default();
        assert!(found.contains(words), "{field}: {found}");
    }
    assert_eq!(wrong("offset", json!(i64::MIN)), None);
    assert_eq!(wrong("text", json!(1.5)), None);
    assert_eq!(wrong("anything", json!([{}])), None);
}

#[test]
fn a_schema_without_a_type_is_an_error() {
    for schema in [
        json!({"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}),
        json!({"type": "object", "properties": {"a": {"type": "array"}}}),
        json!({"type": "object", "properties": {"a": {"type": ["string", "integer"]}}}),
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}}),
        json!({"type": "object", "properties": {"a": {"type": "string", "x-syntax": "poem"}}}),
        json!({"type": "object", "properties": {"a": false}}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}}),
        json!({"type": "string"}),
    ] {
        assert!(RecordType::from_schema("thing", &schema).is_err(), "{schema}");
    }
    let nothing = RecordType::from_schema("thing", &schema_for!(()).to_value()).unwrap();
    assert!(nothing.fields.is_empty());
}

#[test]
fn a_value_is_accepted_where_its_type_is_assignable() {
    let thing = Type::Record(Arc::new(thing()));
    let narrow = Type::Record(Arc::new(RecordType {
        fields: vec![Field::required("count", Type::integer())],
        ..RecordType::default()
    }));
    let fits = |to: &Type, from: &Type| to.check_assignable(from).is_ok();
    assert!(fits(&narrow, &thing) && !fits(&thing, &narrow));
    assert!(fits(&Type::number(), &Type::integer()) && !fits(&Type::integer(), &Type::number()));
    assert!(fits(&Type::text(), &Type::Boolean) && !fits(&Type::Boolean, &Type::text()));
    assert!(fits(&Type::text().or_null(), &Type::text()));
    assert_eq!(
        Type::text().check_assignable(&Type::text().or_null()),
        Err(TypeMismatch::PossiblyNull)
    );
    assert_eq!(
        Type::Boolean.check_assignable(&Type::text().or_null()),
        Err(TypeMismatch::Incompatible)
    );
    assert!(fits(&Type::list(narrow), &Type::list(thing)));
    assert!(!fits(&Type::Duration, &Type::text()) && fits(&Type::Duration, &Type::built_text()));
    let few = Type::Integer(Bounds { minimum: Some(0), maximum: Some(3) });
    let many = Type::Integer(Bounds { minimum: Some(4), maximum: None });
    assert!(!fits(&few, &many) && fits(&few, &Type::integer()));
}
