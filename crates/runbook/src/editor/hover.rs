//! What is at the cursor, in words.

use std::ops::Range;

use super::super::document::MappingKind;
use super::super::library::Library;
use super::super::registry::ActionRegistry;
use super::super::source::Source;
use super::super::types::{Field, Type};
use super::super::yaml::Node;
use super::cursor::{Cursor, Role};
use super::expression::{self, Expected};
use super::level::{self, Known, Level};
use super::scope::{Asked, Scope};
use super::{documentation, recover, words};

/// A text about a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hover {
    /// The text, in Markdown.
    pub text: String,
    /// The byte range that it is about.
    pub span: Range<usize>,
}

/// Returns what is at an offset.
pub fn hover(
    source: &Source,
    offset: usize,
    registry: &ActionRegistry,
    library: &dyn Library,
) -> Option<Hover> {
    let known = Known { registry, library };
    let Asked { offset, text, cursor, template } = Asked::at(source, offset);
    if let Some(template) = template {
        return in_template(source, &cursor, &template, offset, known);
    }
    let word = text.get(cursor.word.clone()).unwrap_or_default();
    let about = match cursor.role {
        Role::Text => None,
        Role::Key => of_key(&cursor, &cursor.path, word, known),
        Role::Value => of_value(&cursor, word, known),
    };
    about.map(|text| Hover { text, span: cursor.word.clone() })
}

/// Returns the text about a key below the entries of a path.
fn of_key(cursor: &Cursor<'_>, path: &[usize], key: &str, known: Known<'_>) -> Option<String> {
    match level::at(cursor, path, known) {
        Level::Mapping(MappingKind::Step) if matches!(key, "action" | "call") => {
            let signature = known.signature(cursor, *path.last()?);
            match signature {
                Some(signature) => {
                    Some(titled(&signature.name, &documentation::of_action(&signature)))
                }
                None => documentation::of_key(MappingKind::Step, key).map(str::to_owned),
            }
        }
        Level::Mapping(mapping) => {
            documentation::of_key(mapping, key).map(|text| titled(key, text))
        }
        Level::Value(ty) => match ty.non_null() {
            Type::Record(record) => record.field(key).map(of_field),
            _ => None,
        },
        Level::Inputs => {
            let input = cursor.entries.iter().position(|entry| entry.span == cursor.word)?;
            let ty = cursor.value(input, "type").unwrap_or("any value");
            let description = cursor.value(input, "description").unwrap_or_default();
            Some(titled(&format!("{key}: {ty}"), description))
        }
        _ => None,
    }
}

fn of_value(cursor: &Cursor<'_>, word: &str, known: Known<'_>) -> Option<String> {
    let (last, parents) = cursor.path.split_last()?;
    match level::at(cursor, &cursor.path, known) {
        Level::Action => {
            let action = known.registry.get(word)?;
            Some(titled(word, &documentation::of_action(action)))
        }
        Level::Call => {
            let called = super::super::callable(word, known.registry, known.library)?;
            Some(titled(word, &documentation::of_action(&called)))
        }
        _ => of_key(cursor, parents, cursor.entry(*last)?.key?, known),
    }
}

fn of_field(field: &Field) -> String {
    titled(&format!("{}: {}", field.name, documentation::detail(field)), &field.description)
}

fn titled(title: &str, text: &str) -> String {
    format!("`{title}`\n\n{text}").trim_end().to_owned()
}

fn in_template(
    source: &Source,
    cursor: &Cursor<'_>,
    template: &Range<usize>,
    offset: usize,
    known: Known<'_>,
) -> Option<Hover> {
    let at = expression::at(source.text(), template, offset);
    let name = source.text().get(at.name.clone()).filter(|name| !name.is_empty())?;
    let of_scope = |read: &dyn Fn(&Scope<'_, '_>) -> Option<String>| {
        recover::analyze(source, offset, known, |analysis| {
            Scope::at(analysis, cursor, offset).and_then(|scope| read(&scope))
        })
        .flatten()
    };
    let about = match at.expected {
        Expected::Filter => words::of_filter(name).map(|text| titled(&format!("| {name}"), text)),
        Expected::Test => words::of_test(name).map(|text| titled(&format!("is {name}"), text)),
        Expected::Operator | Expected::Text => None,
        Expected::Field(base) => of_scope(&|scope| of_member(&scope.type_of(base), name)),
        Expected::ItemField(base) => of_scope(&|scope| match scope.type_of(base).non_null() {
            Type::List(of, _) => of_member(of, name),
            _ => None,
        }),
        Expected::Name => of_scope(&|scope| of_name(scope, name)),
    };
    about.map(|text| Hover { text, span: at.name })
}

fn of_member(ty: &Type, name: &str) -> Option<String> {
    match ty.non_null() {
        Type::Record(record) => {
            let field = record.field(name)?;
            let ty = documentation::described(&field.ty);
            Some(titled(&format!("{name}: {ty}"), &field.description))
        }
        Type::Map(of, _) => Some(titled(&format!("{name}: {}", documentation::described(of)), "")),
        _ => None,
    }
}

fn of_name(scope: &Scope<'_, '_>, name: &str) -> Option<String> {
    let ty = scope.type_of(name);
    match name {
        "inputs" => return Some(titled(name, "The inputs of the run.")),
        "each" => return Some(titled(&format!("each: {}", documentation::described(&ty)), "")),
        _ => {}
    }
    let step = scope.analysis.symbols.steps.get(name)?;
    let raw = scope.analysis.document.steps.get(*step)?;
    let title = raw.name.and_then(Node::text).unwrap_or_default();
    let fields = match ty.non_null() {
        Type::Record(record) => record
            .fields
            .iter()
            .map(|field| format!("- `{}: {}`\n", field.name, documentation::described(&field.ty)))
            .collect(),
        other => format!("`{other}`"),
    };
    let of = raw.call.or(raw.action).and_then(Node::text).unwrap_or_default();
    Some(titled(name, &format!("The output of the step, {of}. {title}\n\n{fields}")))
}

#[cfg(test)]
mod tests {
    use super::super::super::editor_tests::{library, marked, registry};
    use super::*;

    /// Returns what is said about the word at the cursor `‸`, with the word.
    fn said(text: &str) -> String {
        let (source, offset) = marked(text);
        match hover(&source, offset, &registry(), &library()) {
            Some(hover) => {
                let line = hover.text.replace("\n\n", " | ").replace('\n', " ");
                format!("[{}] {line}", &source.text()[hover.span])
            }
            None => String::new(),
        }
    }

    const STEPS: &str = "\
name: book
inputs:
  count: {type: integer, minimum: 2, description: How many}
steps:
  - id: group
    name: Find it
    action: find_group
    with: {region: us-west-2}
  - id: up
";

    #[test]
    fn keys_and_values_are_explained() {
        assert_eq!(
            said("na‸me: x"),
            "[name] `name` | The name of the runbook: the name of the file without the extension."
        );
        assert!(
            said("steps:\n  - action: sca‸le")
                .starts_with("[scale] `scale` | Sets the size of a nodegroup. | Makes a change")
        );
        assert!(said("steps:\n  - ac‸tion: scale").starts_with("[action] `scale` | Sets the size"));
        assert!(said("steps:\n  - call: dr‸ain").starts_with("[drain] `drain` | Empty a node"));
        assert_eq!(
            said("steps:\n  - action: scale\n    with: {desi‸red: 3}"),
            "[desired] `desired: integer, from 0 to 500 (required)` | The size."
        );
        assert_eq!(
            said("steps:\n  - action: scale\n    with: {mode: sl‸ow}"),
            "[slow] `mode: one of fast, slow = \"fast\"` | How."
        );
        assert_eq!(
            said("steps:\n  - call: drain\n    with: {no‸de: x}"),
            "[node] `node: string (required)` | Name of the node"
        );
        assert_eq!(
            said("inputs:\n  co‸unt: {type: integer, description: How many}"),
            "[count] `count: integer` | How many"
        );
        assert!(
            said("steps:\n  - on_failure: st‸op")
                .starts_with("[stop] `on_failure` | What a failure does")
        );
        assert_eq!(said("name: x # na‸me"), "");
    }

    #[test]
    fn the_parts_of_an_expression_have_types() {
        let of = |value: &str| said(&format!("{STEPS}    when: \"{{{{ {value} }}}}\"\n"));
        assert_eq!(of("inputs.co‸unt > 1"), "[count] `count: integer, at least 2` | How many");
        assert_eq!(of("group.si‸ze > 1"), "[size] `size: integer` | How many nodes it has.");
        assert_eq!(of("group.nodes[0].na‸me"), "[name] `name: string`");
        assert_eq!(of("group.nodes[0].labels.zo‸ne"), "[zone] `zone: string`");
        assert!(of("gro‸up.size").starts_with(
            "[group] `group` | The output of the step, find_group. Find it | - `region: string`"
        ));
        assert_eq!(of("inp‸uts.count"), "[inputs] `inputs` | The inputs of the run.");
        assert_eq!(of("group.nodes | fi‸rst"), "[first] `| first` | The first item of a list.");
        assert!(
            of("group is def‸ined")
                .starts_with("[defined] `is defined` | Whether there is a value")
        );
        assert_eq!(of("unkn‸own.x"), "");
    }
}
