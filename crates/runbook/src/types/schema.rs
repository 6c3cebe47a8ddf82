//! Converts JSON Schema, as schemars 1 writes it for plain Rust structs, to types. A schema without
//! an exact type is an error when the registry is built; it is never guessed.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::relation::relations;
use super::{Bounds, Field, FieldChecks, LengthBounds, RecordType, Syntax, Text, Type};

/// The error for a schema that the language has no type for: a mistake in the definition of an
/// action, found by the tests of the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {what} has no type in the runbook language")]
pub struct UnsupportedSchema {
    /// The location in the schema.
    pub location: String,
    /// The unsupported construct.
    pub what: String,
}

/// The maximum depth of references, because a type that contains itself never ends.
const MAX_DEPTH: usize = 16;

impl RecordType {
    /// Converts the schema of a Rust struct to a record.
    ///
    /// # Errors
    /// The schema uses a construct that the language has no type for.
    pub fn from_schema(name: &str, schema: &Json) -> Result<Self, UnsupportedSchema> {
        let reader = SchemaReader { root: schema };
        match reader.read(schema, name, 0)? {
            Type::Record(record) => Ok(Arc::unwrap_or_clone(record)),
            Type::Null => Ok(Self { name: name.to_owned(), ..Self::default() }),
            other => Err(unsupported(name, format!("{other} instead of a struct"))),
        }
    }
}

/// Names a record after its Rust type.
fn with_name(ty: Type, name: &str) -> Type {
    match ty {
        Type::Record(mut record) => {
            name.clone_into(&mut Arc::make_mut(&mut record).name);
            Type::Record(record)
        }
        other => other,
    }
}

fn unsupported(location: &str, what: impl Into<String>) -> UnsupportedSchema {
    UnsupportedSchema { location: location.to_owned(), what: what.into() }
}

struct SchemaReader<'s> {
    root: &'s Json,
}

impl SchemaReader<'_> {
    fn read(&self, schema: &Json, location: &str, depth: usize) -> Result<Type, UnsupportedSchema> {
        if depth > MAX_DEPTH {
            return Err(unsupported(location, "a type that contains itself"));
        }
        let schema = match schema {
            Json::Bool(true) => return Ok(Type::Any),
            Json::Object(schema) => schema,
            _ => return Err(unsupported(location, "a schema that accepts no value")),
        };
        if let Some(reference) = text(schema, "$ref") {
            let ty = self.read(self.follow(reference, location)?, location, depth + 1)?;
            return Ok(with_name(ty, reference.rsplit('/').next().unwrap_or(reference)));
        }
        if let Some(Json::Array(all)) = schema.get("allOf")
            && let [one] = all.as_slice()
        {
            return self.read(one, location, depth + 1);
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(Json::Array(choices)) = schema.get(union) {
                return self.union(choices, location, depth);
            }
        }
        if let Some(words) = words(schema) {
            return Ok(Type::Enum(words.into()));
        }
        match schema.get("type") {
            Some(Json::String(name)) => self.typed(name, schema, location, depth),
            Some(Json::Array(names)) => self.nullable(names, schema, location, depth),
            _ if is_only_annotated(schema) => Ok(Type::Any),
            _ => Err(unsupported(location, "a schema without a type")),
        }
    }

    fn follow(&self, reference: &str, location: &str) -> Result<&Json, UnsupportedSchema> {
        let pointer = reference.strip_prefix('#');
        let found = pointer.and_then(|pointer| self.root.pointer(pointer));
        found.ok_or_else(|| unsupported(location, format!("the reference {reference}")))
    }

    /// Converts `T or null`, or the constants of an enum whose variants are documented.
    fn union(
        &self,
        choices: &[Json],
        location: &str,
        depth: usize,
    ) -> Result<Type, UnsupportedSchema> {
        let is_null = |choice: &&Json| choice.get("type").is_some_and(|name| name == "null");
        let constants: Option<Vec<Vec<String>>> =
            choices.iter().map(|choice| choice.as_object().and_then(words)).collect();
        if let Some(constants) = constants {
            return Ok(Type::Enum(constants.concat().into()));
        }
        let others: Vec<&Json> = choices.iter().filter(|choice| !is_null(choice)).collect();
        match others.as_slice() {
            [one] if choices.len() == 2 => Ok(self.read(one, location, depth + 1)?.or_null()),
            _ => Err(unsupported(location, "a union")),
        }
    }

    fn nullable(
        &self,
        names: &[Json],
        schema: &Map<String, Json>,
        location: &str,
        depth: usize,
    ) -> Result<Type, UnsupportedSchema> {
        let mut others = names.iter().filter_map(Json::as_str).filter(|n| *n != "null");
        match (others.next(), others.next()) {
            (Some(name), None) => Ok(self.typed(name, schema, location, depth)?.or_null()),
            _ => Err(unsupported(location, "a union")),
        }
    }

    fn typed(
        &self,
        name: &str,
        schema: &Map<String, Json>,
        location: &str,
        depth: usize,
    ) -> Result<Type, UnsupportedSchema> {
        match name {
            "null" => Ok(Type::Null),
            "boolean" => Ok(Type::Boolean),
            "integer" => Ok(Type::Integer(integer_bounds(schema))),
            "number" => Ok(Type::Number(number_bounds(schema))),
            "string" => string(schema, location),
            "array" => {
                let items = schema.get("items");
                let items = items.ok_or_else(|| unsupported(location, "a tuple"))?;
                let of = self.read(items, &format!("{location}[]"), depth + 1)?;
                Ok(Type::List(Box::new(of), lengths(schema, "minItems", "maxItems")))
            }
            "object" => self.object(schema, location, depth),
            other => Err(unsupported(location, format!("the type {other}"))),
        }
    }

    fn object(
        &self,
        schema: &Map<String, Json>,
        location: &str,
        depth: usize,
    ) -> Result<Type, UnsupportedSchema> {
        let properties = schema.get("properties").and_then(Json::as_object);
        if let (None, Some(values)) = (properties, schema.get("additionalProperties"))
            && *values != Json::Bool(false)
        {
            if text(schema, "x-syntax") == Some("labels") {
                return Ok(labels());
            }
            let of = self.read(values, &format!("{location}.*"), depth + 1)?;
            return Ok(Type::Map(Box::new(of), key_syntax(schema, location)?));
        }
        let required: Vec<&str> = strings(schema.get("required"));
        let field = |(name, schema): (&String, &Json)| {
            let location = format!("{location}.{name}");
            let ty = self.read(schema, &location, depth + 1)?;
            let required = required.contains(&name.as_str());
            Ok(Field {
                name: name.clone(),
                required,
                default: schema.get("default").cloned(),
                description: self.description(schema),
                literal: schema.get("x-literal") == Some(&Json::Bool(true)),
                outlasts: schema.get("x-outlasts") == Some(&Json::Bool(true)),
                checks: FieldChecks::of(schema),
                ty,
            })
        };
        let fields = properties.into_iter().flatten().map(field);
        let mut fields: Vec<Field> = fields.collect::<Result<_, UnsupportedSchema>>()?;
        // Required fields come first; otherwise the order of declaration, which serde_json keeps.
        fields.sort_by_key(|field| !field.required);
        let groups = schema.get("x-exactly-one-of").and_then(Json::as_array);
        let groups = groups.into_iter().flatten();
        let last = location.rsplit('.').next().unwrap_or(location);
        Ok(Type::Record(Arc::new(RecordType {
            name: text(schema, "title").unwrap_or(last).to_owned(),
            noun: text(schema, "x-noun").map(str::to_owned),
            description: text(schema, "description").unwrap_or_default().to_owned(),
            fields,
            exactly_one_of: groups
                .map(|group| strings(Some(group)).into_iter().map(str::to_owned).collect())
                .collect(),
            relations: relations(schema),
        })))
    }

    /// Returns the documentation of a field, else that of the type that the field refers to.
    fn description(&self, schema: &Json) -> String {
        let own = schema.get("description").and_then(Json::as_str);
        let referred = || {
            let reference = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
            self.root.pointer(reference)?.get("description")?.as_str()
        };
        own.or_else(referred).unwrap_or_default().to_owned()
    }
}

/// Kubernetes labels: the keys and the values have a syntax.
fn labels() -> Type {
    let value = Type::String(Text { syntax: Some(Syntax::LabelValue), ..Text::default() });
    Type::Map(Box::new(value), Some(Syntax::LabelKey))
}

/// `x-keys` on a map: the syntax of its keys.
fn key_syntax(
    schema: &Map<String, Json>,
    location: &str,
) -> Result<Option<Syntax>, UnsupportedSchema> {
    let Some(name) = text(schema, "x-keys") else {
        return Ok(None);
    };
    let unknown = || unsupported(location, format!("the syntax {name}"));
    Syntax::from_name(name).map(Some).ok_or_else(unknown)
}

fn string(schema: &Map<String, Json>, location: &str) -> Result<Type, UnsupportedSchema> {
    let named = text(schema, "x-syntax").or_else(|| text(schema, "format"));
    if named == Some("duration") {
        return Ok(Type::Duration);
    }
    let syntax = named.and_then(Syntax::from_name);
    if let Some(name) = text(schema, "x-syntax")
        && syntax.is_none()
    {
        return Err(unsupported(location, format!("the syntax {name}")));
    }
    Ok(Type::String(Text {
        syntax,
        lengths: lengths(schema, "minLength", "maxLength"),
        pattern: text(schema, "pattern").map(str::to_owned),
        built: false,
    }))
}

fn text<'s>(schema: &'s Map<String, Json>, key: &str) -> Option<&'s str> {
    schema.get(key).and_then(Json::as_str)
}

fn strings(list: Option<&Json>) -> Vec<&str> {
    let items = list.and_then(Json::as_array).into_iter().flatten();
    items.filter_map(Json::as_str).collect()
}

/// Returns the values of `enum` or `const`, if all are strings.
fn words(schema: &Map<String, Json>) -> Option<Vec<String>> {
    let one = schema.get("const").map(std::slice::from_ref);
    let values = one.or_else(|| Some(schema.get("enum")?.as_array()?.as_slice()))?;
    let word = |value: &Json| value.as_str().map(str::to_owned);
    values.iter().map(word).collect()
}

/// Whether a schema only documents, which is how schemars writes `serde_json::Value` with a doc
/// comment.
fn is_only_annotated(schema: &Map<String, Json>) -> bool {
    let annotations = ["title", "description", "default", "examples", "$schema", "$defs"];
    schema.keys().all(|key| annotations.contains(&key.as_str()))
}

fn lengths(schema: &Map<String, Json>, minimum: &str, maximum: &str) -> LengthBounds {
    let bound = |key: &str| usize::try_from(schema.get(key)?.as_u64()?).ok();
    LengthBounds { minimum: bound(minimum), maximum: bound(maximum) }
}

fn number_bounds(schema: &Map<String, Json>) -> Bounds<f64> {
    let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
    Bounds { minimum: bound("minimum"), maximum: bound("maximum") }
}

/// Returns the narrower of the declared limits and those of the Rust integer; JSON ends at 64 bits.
fn integer_bounds(schema: &Map<String, Json>) -> Bounds<i128> {
    let bound = |key: &str| {
        let value = schema.get(key)?;
        let signed = value.as_i64().map(i128::from);
        let unsigned = || value.as_u64().map(i128::from);
        signed.or_else(unsigned).or_else(|| whole(value.as_f64()?))
    };
    let (least, greatest) = match text(schema, "format") {
        Some("uint8") => (Some(0), Some(i128::from(u8::MAX))),
        Some("uint16") => (Some(0), Some(i128::from(u16::MAX))),
        // The counts of Kubernetes and of AWS are signed.
        Some("uint32") => (Some(0), Some(i128::from(i32::MAX))),
        Some("uint64" | "uint") => (Some(0), Some(i128::from(u64::MAX))),
        Some("int8") => (Some(i8::MIN.into()), Some(i8::MAX.into())),
        Some("int16") => (Some(i16::MIN.into()), Some(i16::MAX.into())),
        Some("int32") => (Some(i32::MIN.into()), Some(i32::MAX.into())),
        _ => (None, None),
    };
    Bounds {
        minimum: bound("minimum").max(least),
        maximum: match (bound("maximum"), greatest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        },
    }
}

fn whole(number: f64) -> Option<i128> {
    let exact = number.fract() == 0.0 && number.abs() < 1e30;
    exact.then(|| format!("{number:.0}").parse().ok())?
}
