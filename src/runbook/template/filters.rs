//! The filters and tests that a runbook may use, and what they take and give.

use super::super::types::Type;

/// The filters, for suggestions and for the environment that templates run in.
pub(crate) const FILTERS: &[&str] = &[
    "abs",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "first",
    "float",
    "int",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "trim",
    "unique",
    "upper",
];

/// The tests.
pub(crate) const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

/// An argument of a filter.
pub(crate) struct Argument {
    pub(crate) name: Option<String>,
    pub(crate) ty: Type,
    /// Its text, where it is a constant one.
    pub(crate) word: Option<String>,
}

/// What a filter was given and cannot take.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) wanted: String,
    pub(crate) found: String,
}

/// What `filter` yields of a value of type `input`.
pub(crate) fn apply(filter: &str, input: &Type, args: &[Argument]) -> Result<Type, Unfit> {
    count_arguments(filter, args)?;
    match filter {
        "int" => need(input, is_parsable, "a string, number or boolean").map(|()| Type::integer()),
        "float" => need(input, is_parsable, "a string, number or boolean").map(|()| Type::number()),
        "bool" => need(input, is_parsable, "a string, number or boolean").map(|()| Type::Boolean),
        "string" => need(input, Type::is_printable, "a string, number or boolean")
            .map(|()| Type::built_text()),
        "upper" | "lower" | "title" | "capitalize" | "trim" | "replace" => {
            need(input, Type::is_text, "a string").map(|()| Type::built_text())
        }
        "split" | "lines" => {
            need(input, Type::is_text, "a string").map(|()| Type::list(Type::text()))
        }
        "abs" => need(input, Type::is_numeric, "a number").map(|()| unlimited(input)),
        "round" => need(input, Type::is_numeric, "a number").map(|()| Type::number()),
        "length" | "count" => {
            need(input, has_length, "a string, list or map").map(|()| Type::integer())
        }
        "default" | "d" => Ok(match args.first() {
            Some(fallback) => input.present().clone().join(fallback.ty.clone()),
            None => Type::Any,
        }),
        "sum" => match items(input)? {
            of if of.is_numeric() || of == Type::Any => Ok(unlimited(&of)),
            _ => Err(unfit("a list of numbers", input)),
        },
        "join" => match items(input)? {
            of if of.is_printable() => Ok(Type::built_text()),
            _ => Err(unfit("a list of strings or numbers", input)),
        },
        "first" | "last" | "min" | "max" => items(input),
        "sort" | "unique" | "reverse" | "list" | "select" | "reject" => {
            items(input).map(Type::list)
        }
        "selectattr" | "rejectattr" => {
            let of = items(input)?;
            field_of(&of, args.first())?;
            Ok(Type::list(of))
        }
        "map" => mapped(input, args),
        _ => Ok(Type::Any),
    }
}

/// `map(attribute='name')` gives that field of each item, `map('upper')` that filter of each.
fn mapped(input: &Type, args: &[Argument]) -> Result<Type, Unfit> {
    let of = items(input)?;
    let attribute = args
        .iter()
        .find(|arg| arg.name.as_deref() == Some("attribute"));
    if let Some(attribute) = attribute {
        return field_of(&of, Some(attribute)).map(Type::list);
    }
    let Some(filter) = args.first().and_then(|arg| arg.word.as_deref()) else {
        return Err(Unfit {
            wanted: "attribute='name' or the name of a filter".to_owned(),
            found: "neither".to_owned(),
        });
    };
    if !FILTERS.contains(&filter) {
        return Err(Unfit {
            wanted: "the name of a filter".to_owned(),
            found: format!("'{filter}'"),
        });
    }
    apply(filter, &of, &args[1..]).map(Type::list)
}

/// The type of a field of each item.
fn field_of(of: &Type, name: Option<&Argument>) -> Result<Type, Unfit> {
    let name = name.and_then(|name| name.word.as_deref());
    match (of, name) {
        (Type::Record(record), Some(name)) if !name.contains('.') => match record.field(name) {
            Some(field) => Ok(field.ty.clone()),
            None => Err(Unfit {
                wanted: format!("a field: {}", record.names().collect::<Vec<_>>().join(", ")),
                found: format!("'{name}'"),
            }),
        },
        (Type::Map(of, _), _) => Ok((**of).clone()),
        (Type::Record(_) | Type::Any, _) => Ok(Type::Any),
        (other, _) => Err(unfit("a list of records", &Type::list(other.clone()))),
    }
}

/// How many arguments the filters take that cannot do without.
fn count_arguments(filter: &str, args: &[Argument]) -> Result<(), Unfit> {
    let (least, most) = match filter {
        "default" | "d" => (1, 2),
        "replace" => (2, 3),
        "map" | "selectattr" | "rejectattr" => (1, 4),
        "select" | "reject" => (0, 3),
        "split" | "join" | "round" | "sum" | "int" | "float" => (0, 2),
        "trim" | "sort" | "unique" | "min" | "max" => (0, 3),
        _ => (0, 0),
    };
    let given = args.len();
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let wanted = match (least, most) {
        (_, 0) => "no argument".to_owned(),
        (1, _) if given == 0 => "an argument".to_owned(),
        _ => format!("{least} to {most} arguments"),
    };
    Err(Unfit {
        wanted,
        found: given.to_string(),
    })
}

fn need(input: &Type, fits: impl Fn(&Type) -> bool, wanted: &str) -> Result<(), Unfit> {
    if *input == Type::Any || fits(input) {
        return Ok(());
    }
    Err(unfit(wanted, input))
}

fn unfit(wanted: &str, found: &Type) -> Unfit {
    Unfit {
        wanted: wanted.to_owned(),
        found: found.to_string(),
    }
}

/// What can be read as a number or boolean.
fn is_parsable(ty: &Type) -> bool {
    ty.is_printable()
}

fn has_length(ty: &Type) -> bool {
    ty.is_text() || matches!(ty, Type::List(..) | Type::Map(..) | Type::Record(_))
}

/// The items of a list, or the names of a map.
fn items(input: &Type) -> Result<Type, Unfit> {
    match input {
        Type::List(of, _) => Ok((**of).clone()),
        Type::Map(..) | Type::Record(_) => Ok(Type::text()),
        Type::Any => Ok(Type::Any),
        other => Err(unfit("a list", other)),
    }
}

/// A number that has been reckoned with keeps its kind, not its limits.
pub(crate) fn unlimited(ty: &Type) -> Type {
    match ty {
        Type::Integer(_) => Type::integer(),
        Type::Number(_) => Type::number(),
        other => other.clone(),
    }
}
