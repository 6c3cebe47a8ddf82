//! A sentence about each filter and each test, with an example. The manual is docs/language.md.

/// The filters.
const FILTERS: &[(&str, &str)] = &[
    ("abs", "The absolute value: `-3 | abs` is `3`."),
    ("bool", "As a boolean: `1 | bool` is `true`."),
    ("capitalize", "The first letter in upper case, the others in lower case."),
    ("count", "How many items or characters there are, as `length`."),
    ("d", "A value in place of one that is absent or null, as `default`."),
    (
        "default",
        "A value in place of one that is absent or null: `inputs.suffix | default('none')`.",
    ),
    ("first", "The first item of a list."),
    ("float", "As a number: `'0.5' | float` is `0.5`."),
    ("int", "As an integer: `'12' | int` is `12`."),
    ("join", "The items as one text: `pods.nodes | join(', ')` is `n1, n2`."),
    ("last", "The last item of a list."),
    ("length", "How many items or characters there are: `pods.nodes | length`."),
    ("lines", "The lines of a text; `list` makes a list of them."),
    ("list", "As a list, after `map`, `select`, `split` and the like."),
    ("lower", "In lower case."),
    (
        "map",
        "A field of each item, `map(attribute='name') | list`, or a filter of each, `map('upper') | list`.",
    ),
    ("max", "The greatest item; with `attribute='field'`, the record with the greatest field."),
    ("min", "The least item; with `attribute='field'`, the record with the least field."),
    ("reject", "The items for which a test does not hold: `reject('eq', 'east') | list`."),
    (
        "rejectattr",
        "The records of which a field does not pass a test: `rejectattr('node', 'in', nodes) | list`.",
    ),
    ("replace", "A text with a part replaced: `replace('re', 'de')`."),
    ("reverse", "In the reverse order."),
    ("round", "Rounded: `1.26 | round(1)` is `1.3`."),
    ("select", "The items for which a test holds: `select('gt', 1) | list`."),
    (
        "selectattr",
        "The records of which a field passes a test: `selectattr('node', 'eq', 'n2') | list`.",
    ),
    ("sort", "In order: `sort(reverse=true)`, `sort(attribute='name')`."),
    ("split", "The parts of a text: `'a,b' | split(',') | list`."),
    ("string", "As a text: `3 | string` is `\"3\"`."),
    ("sum", "The sum of numbers: `sum`, `sum(attribute='count')`."),
    ("title", "Each word with its first letter in upper case."),
    ("trim", "Without the blanks at both ends."),
    ("unique", "Each item once."),
    ("upper", "In upper case."),
];

/// The tests.
const TESTS: &[(&str, &str)] = &[
    ("boolean", "Whether the value is `true` or `false`."),
    ("defined", "Whether there is a value: the step was not skipped and has not failed."),
    ("divisibleby", "Whether a number can be divided by another: `n is divisibleby(3)`."),
    ("endingwith", "Whether a text ends so: `name is endingwith('-b')`."),
    ("eq", "Whether two values are equal: `select('eq', 'a')`."),
    ("equalto", "Whether two values are equal, as `eq`."),
    ("even", "Whether an integer is even."),
    ("false", "Whether the value is `false`."),
    ("float", "Whether the value is a number with a fraction."),
    ("ge", "Whether the value is greater than another or equal to it."),
    ("greaterthan", "Whether the value is greater than another, as `gt`."),
    ("gt", "Whether the value is greater than another: `select('gt', 1)`."),
    ("in", "Whether a list has the value: `name is in(['a', 'b'])`."),
    ("integer", "Whether the value is an integer."),
    ("iterable", "Whether the value has items."),
    ("le", "Whether the value is less than another or equal to it."),
    ("lessthan", "Whether the value is less than another, as `lt`."),
    ("lower", "Whether a text is in lower case."),
    ("lt", "Whether the value is less than another."),
    ("mapping", "Whether the value is a map or a record."),
    ("ne", "Whether two values are not equal."),
    ("none", "Whether the value is null."),
    ("number", "Whether the value is a number."),
    ("odd", "Whether an integer is odd."),
    ("sequence", "Whether the value is a list."),
    ("startingwith", "Whether a text begins so: `name is startingwith('re')`."),
    ("string", "Whether the value is a text."),
    ("true", "Whether the value is `true`."),
    ("undefined", "Whether there is no value: the step was skipped or has failed."),
    ("upper", "Whether a text is in upper case."),
];

/// Returns the sentence about a filter.
pub(super) fn of_filter(name: &str) -> Option<&'static str> {
    sentence(FILTERS, name)
}

/// Returns the sentence about a test.
pub(super) fn of_test(name: &str) -> Option<&'static str> {
    sentence(TESTS, name)
}

fn sentence(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == name).map(|(_, sentence)| *sentence)
}

#[cfg(test)]
mod tests {
    use super::super::super::template::filters::{names, predicates};
    use super::*;

    #[test]
    fn every_filter_and_every_test_has_a_sentence() {
        let known = |table: &[(&'static str, &str)]| -> Vec<&str> {
            table.iter().map(|(name, _)| *name).collect()
        };
        assert_eq!(known(FILTERS), names().collect::<Vec<_>>());
        assert_eq!(known(TESTS), predicates::NAMES);
    }
}
