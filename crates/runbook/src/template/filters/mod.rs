//! The filters of templates and their types.

mod arguments;
pub(crate) mod predicates;

use std::sync::Arc;

use super::super::types::Type;
use super::operators::is_joinable;
pub(crate) use arguments::{ArgumentMismatch, FilterArgument};
use arguments::{Expected, Parameters};

/// A filter with its signature.
struct Filter {
    name: &'static str,
    parameters: Parameters,
}

const fn filter(name: &'static str, parameters: Parameters) -> Filter {
    Filter { name, parameters }
}

/// The arguments of `sort` and similar filters: the field to compare, and whether case matters.
const BY_FIELD: Parameters =
    Parameters::named(&[("attribute", Expected::Field), ("case_sensitive", Expected::Boolean)]);

/// All filters, by name.
const TABLE: &[Filter] = &[
    filter("abs", Parameters::NONE),
    filter("bool", Parameters::NONE),
    filter("capitalize", Parameters::NONE),
    filter("count", Parameters::NONE),
    filter("d", Parameters::of(1, &[Expected::Any, Expected::Boolean])),
    filter("default", Parameters::of(1, &[Expected::Any, Expected::Boolean])),
    filter("first", Parameters::NONE),
    filter("float", Parameters::of(0, &[Expected::Number]).and(&[("default", Expected::Number)])),
    filter(
        "int",
        Parameters::of(0, &[Expected::Integer, Expected::Integer])
            .and(&[("default", Expected::Integer), ("base", Expected::Integer)]),
    ),
    filter(
        "join",
        Parameters::of(0, &[Expected::Text, Expected::Field])
            .and(&[("d", Expected::Text), ("attribute", Expected::Field)]),
    ),
    filter("last", Parameters::NONE),
    filter("length", Parameters::NONE),
    filter("lines", Parameters::NONE),
    filter("list", Parameters::NONE),
    filter("lower", Parameters::NONE),
    filter("map", Parameters::ANY),
    filter("max", BY_FIELD),
    filter("min", BY_FIELD),
    filter("reject", Parameters::ANY),
    filter("rejectattr", Parameters::ANY),
    filter(
        "replace",
        Parameters::of(2, &[Expected::Text, Expected::Text, Expected::Integer])
            .and(&[("count", Expected::Integer)]),
    ),
    filter("reverse", Parameters::NONE),
    filter(
        "round",
        Parameters::of(0, &[Expected::Integer, Expected::Text])
            .and(&[("precision", Expected::Integer), ("method", Expected::Text)]),
    ),
    filter("select", Parameters::ANY),
    filter("selectattr", Parameters::ANY),
    filter(
        "sort",
        Parameters::named(&[
            ("attribute", Expected::Field),
            ("case_sensitive", Expected::Boolean),
            ("reverse", Expected::Boolean),
        ]),
    ),
    filter("split", Parameters::of(0, &[Expected::Text, Expected::Integer])),
    filter("string", Parameters::NONE),
    filter(
        "sum",
        Parameters::of(0, &[Expected::Field, Expected::Number])
            .and(&[("attribute", Expected::Field), ("start", Expected::Number)]),
    ),
    filter("title", Parameters::NONE),
    filter("trim", Parameters::of(0, &[Expected::Text])),
    filter("unique", BY_FIELD),
    filter("upper", Parameters::NONE),
];

/// Returns the names of all filters.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|filter| filter.name)
}

/// Whether a filter with the name exists.
pub(crate) fn exists(name: &str) -> bool {
    names().any(|known| known == name)
}

/// Whether a filter has arguments without a name.
pub(crate) fn takes_positional(name: &str) -> bool {
    let filter = TABLE.iter().find(|filter| filter.name == name);
    filter.is_some_and(|filter| filter.parameters.takes_positional())
}

/// Returns how a filter is written.
pub(crate) fn example(name: &str) -> Option<&'static str> {
    Some(match name {
        "default" | "d" => "default('value')",
        "join" => "join(', ')",
        "split" => "split(',')",
        "replace" => "replace('old', 'new')",
        "round" => "round(2)",
        "sum" => "sum(attribute='FIELD'), or sum of a list of numbers",
        "sort" => "sort(attribute='FIELD'), and reverse=true for the other order",
        "unique" => "unique(attribute='FIELD')",
        "min" => "min(attribute='FIELD')",
        "max" => "max(attribute='FIELD')",
        "map" => "map(attribute='FIELD')",
        "int" => "int, or int(default=0)",
        "float" => "float, or float(default=0.0)",
        _ => return None,
    })
}

/// Returns the type that the filter `name` yields for a value of type `input`.
pub(crate) fn apply(
    name: &str,
    input: &Type,
    args: &[FilterArgument],
) -> Result<Type, ArgumentMismatch> {
    let Some(filter) = TABLE.iter().find(|filter| filter.name == name) else {
        return Ok(Type::Any);
    };
    filter.parameters.check(args)?;
    match name {
        "int" => require_scalar(input).map(|()| Type::integer()),
        "float" => require_scalar(input).map(|()| Type::number()),
        "bool" => require_scalar(input).map(|()| Type::Boolean),
        "string" => require_scalar(input).map(|()| Type::built_text()),
        "upper" | "lower" | "title" | "capitalize" | "trim" | "replace" => {
            require(input, Type::is_text, "a string").map(|()| Type::built_text())
        }
        "split" | "lines" => {
            require(input, Type::is_text, "a string").map(|()| Type::list(Type::text()))
        }
        "abs" => require(input, Type::is_numeric, "a number").map(|()| unlimited(input)),
        "round" => require(input, Type::is_numeric, "a number").map(|()| Type::number()),
        "length" | "count" => {
            require(input, has_length, "a string, list or map").map(|()| Type::integer())
        }
        "default" | "d" => Ok(match args.first() {
            Some(FilterArgument { word: Some(word), .. }) => {
                input.non_null().clone().join_word(word)
            }
            Some(fallback) => input.non_null().clone().join(fallback.ty.clone()),
            None => Type::Any,
        }),
        "select" | "reject" => {
            let of = item_type(input)?;
            predicates::check_named(&of, args, 0)?;
            let is_without_null = drops_null(name == "select", args);
            Ok(Type::list(if is_without_null { of.non_null().clone() } else { of }))
        }
        "selectattr" | "rejectattr" => {
            let of = item_type(input)?;
            let field = field_type(&of, args.first()).map_err(|wrong| wrong.at(0))?;
            let test = args.get(1..).unwrap_or_default();
            predicates::check_named(&field, test, 1)?;
            let name_of_field = args.first().and_then(|arg| arg.word.as_deref());
            Ok(Type::list(match (of, name_of_field) {
                (Type::Record(record), Some(field)) if drops_null(name == "selectattr", test) => {
                    Type::Record(Arc::new(record.with_non_null(field)))
                }
                (of, _) => of,
            }))
        }
        "map" => apply_map(input, args),
        _ => apply_to_items(name, input, args),
    }
}

/// Whether no item is null of those that a test selects, or of those that it does not reject.
fn drops_null(selects: bool, test: &[FilterArgument]) -> bool {
    let name = test.first().and_then(|arg| arg.word.as_deref());
    match name {
        // The value itself is the condition, and null is false.
        None => selects,
        Some("none" | "undefined") => !selects,
        // True of values of these types, which null has not.
        Some(
            "string" | "number" | "integer" | "float" | "boolean" | "mapping" | "sequence"
            | "iterable" | "true" | "false",
        ) => selects,
        // Equal to a value that is written there.
        Some("eq" | "equalto") => {
            selects && test.get(1).is_some_and(|value| !may_be_null(&value.ty))
        }
        Some("in") => {
            selects
                && test.get(1).is_some_and(|list| match &list.ty {
                    Type::List(of, _) => !may_be_null(of),
                    _ => false,
                })
        }
        Some(_) => false,
    }
}

fn may_be_null(ty: &Type) -> bool {
    matches!(ty, Type::Any | Type::Null | Type::Optional(_))
}

/// Returns the type of a filter that reads the items of a list.
fn apply_to_items(
    name: &str,
    input: &Type,
    args: &[FilterArgument],
) -> Result<Type, ArgumentMismatch> {
    let of = item_type(input)?;
    let seen = match arguments::field_argument(name, args) {
        Some(field) => {
            let at = args.iter().position(|arg| std::ptr::eq(arg, field)).unwrap_or_default();
            field_type(&of, Some(field)).map_err(|wrong| wrong.at(at))?
        }
        None => of.clone(),
    };
    match name {
        "sum" if seen.is_numeric() || seen == Type::Any => Ok(unlimited(&seen)),
        "sum" => Err(ArgumentMismatch::input("a list of numbers", input)),
        "join" if is_joinable(&seen) => Ok(Type::built_text()),
        "join" => Err(ArgumentMismatch::input("a list of strings or numbers", input)),
        "first" | "last" | "min" | "max" => Ok(of),
        _ => Ok(Type::list(of)),
    }
}

/// Returns the type of `map`: `map(attribute='name')` yields the field of each item, `map('upper')`
/// applies the filter to each item.
fn apply_map(input: &Type, args: &[FilterArgument]) -> Result<Type, ArgumentMismatch> {
    let of = item_type(input)?;
    if let Some(at) = args.iter().position(|arg| arg.name.as_deref() == Some("attribute")) {
        let field = field_type(&of, args.get(at)).map_err(|wrong| wrong.at(at))?;
        return Ok(Type::list(field));
    }
    if let Some(at) = args.iter().position(|arg| arg.name.is_some()) {
        let name = args.get(at).and_then(|arg| arg.name.clone()).unwrap_or_default();
        return Err(ArgumentMismatch::new("attribute=", format!("'{name}='")).at_name(at));
    }
    match args.first().and_then(|arg| arg.word.as_deref()) {
        Some(name) if exists(name) => apply(name, &of, &args[1..]).map(Type::list),
        // `map('name')` of Python's habit: a field of the items.
        Some(name) if has_field(&of, name) => {
            let wanted = format!("attribute='{name}'");
            Err(ArgumentMismatch::new(&wanted, format!("'{name}'")).at_name(0))
        }
        Some(name) => {
            let wanted = "attribute='FIELD' or the name of a filter";
            Err(ArgumentMismatch::new(wanted, format!("'{name}'")).at(0))
        }
        None => Err(ArgumentMismatch::new("attribute='FIELD' or the name of a filter", "neither")),
    }
}

/// Whether the items are records that have a field.
fn has_field(of: &Type, name: &str) -> bool {
    matches!(of.non_null(), Type::Record(record) if record.field(name).is_some())
}

/// Returns the type of a field of the items.
fn field_type(of: &Type, name: Option<&FilterArgument>) -> Result<Type, ArgumentMismatch> {
    let Some(name) = name else {
        return Err(ArgumentMismatch::new("the name of a field", "nothing"));
    };
    match (of, name.word.as_deref()) {
        (Type::Record(record), Some(name)) if !name.contains('.') => {
            if let Some(field) = record.field(name) {
                return Ok(field.ty.clone());
            }
            let names = record.names().collect::<Vec<_>>().join(", ");
            Err(ArgumentMismatch::new(&format!("one of the fields {names}"), format!("'{name}'")))
        }
        (Type::Map(of, _), _) => Ok((**of).clone()),
        (Type::Record(_) | Type::Any, _) => Ok(Type::Any),
        (other, _) => Err(ArgumentMismatch::fieldless(&Type::list(other.clone()))),
    }
}

fn require(
    input: &Type,
    fits: impl Fn(&Type) -> bool,
    wanted: &str,
) -> Result<(), ArgumentMismatch> {
    if *input == Type::Any || fits(input) {
        Ok(())
    } else {
        Err(ArgumentMismatch::input(wanted, input))
    }
}

fn require_scalar(input: &Type) -> Result<(), ArgumentMismatch> {
    require(input, Type::is_printable, "a string, number or boolean")
}

fn has_length(ty: &Type) -> bool {
    ty.is_text() || matches!(ty, Type::List(..) | Type::Map(..) | Type::Record(_))
}

/// Returns the type of the items of a list, or of the keys of a map.
fn item_type(input: &Type) -> Result<Type, ArgumentMismatch> {
    match input {
        Type::List(of, _) => Ok((**of).clone()),
        Type::Map(..) | Type::Record(_) => Ok(Type::text()),
        Type::Any => Ok(Type::Any),
        other => Err(ArgumentMismatch::input("a list", other)),
    }
}

/// Returns the type of a computed number, which keeps its kind but not its limits.
pub(crate) fn unlimited(ty: &Type) -> Type {
    match ty {
        Type::Integer(_) => Type::integer(),
        Type::Number(_) => Type::number(),
        other => other.clone(),
    }
}
