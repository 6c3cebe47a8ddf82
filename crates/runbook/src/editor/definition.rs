//! Where what is at the cursor is declared.

use std::ops::Range;

use super::super::library::Library;
use super::super::registry::ActionRegistry;
use super::super::source::Source;
use super::cursor::Role;
use super::expression::{self, Expected};
use super::level::{self, Known, Level};
use super::recover;
use super::scope::Asked;

/// The place of a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The file, if it is another one.
    pub file: Option<Source>,
    /// The byte range.
    pub span: Range<usize>,
}

/// Returns where what is at an offset is declared: a step, an input, or a runbook that is called.
pub fn define(
    source: &Source,
    offset: usize,
    registry: &ActionRegistry,
    library: &dyn Library,
) -> Option<Definition> {
    let known = Known { registry, library };
    let Asked { offset, text, cursor, template } = Asked::at(source, offset);
    if let Some(template) = template {
        return in_template(source, &template, offset, known);
    }
    match cursor.role {
        Role::Value if level::at(&cursor, &cursor.path, known) == Level::Call => {
            called(text.get(cursor.word.clone())?, None, known)
        }
        Role::Key => {
            let (with, parents) = cursor.path.split_last()?;
            let step = *parents.last()?;
            let name = cursor.value(step, "call")?;
            let is_parameter = cursor.entry(*with)?.key == Some("with");
            called(name, text.get(cursor.word.clone()).filter(|_| is_parameter), known)
        }
        _ => None,
    }
}

/// Returns the file of a runbook, at the declaration of an input if one is named.
fn called(name: &str, input: Option<&str>, known: Known<'_>) -> Option<Definition> {
    let file = known.library.find(name).ok()?;
    let declared = input.and_then(|input| {
        recover::analyze(&file, file.text().len(), known, |analysis| {
            let mut inputs = analysis.document.inputs.iter();
            inputs.find(|declared| declared.name == input).map(|one| one.key.span.clone())
        })
        .flatten()
    });
    Some(Definition { file: Some(file), span: declared.unwrap_or(0..0) })
}

fn in_template(
    source: &Source,
    template: &Range<usize>,
    offset: usize,
    known: Known<'_>,
) -> Option<Definition> {
    let at = expression::at(source.text(), template, offset);
    let name = source.text().get(at.name)?;
    // A field is declared by its action. Of a longer path, the first name is what is in this file.
    let (root, field) = match at.expected {
        Expected::Name => (name, None),
        Expected::Field("inputs") => ("inputs", Some(name)),
        Expected::Field(base) => match base.split_once(['.', '[', ' ']) {
            Some(("inputs", rest)) => ("inputs", rest.split(['.', '[', ' ']).next()),
            Some((root, _)) => (root, None),
            None => (base, None),
        },
        _ => return None,
    };
    let span = recover::analyze(source, offset, known, |analysis| {
        if root == "inputs" {
            let mut inputs = analysis.document.inputs.iter();
            let declared = inputs.find(|input| field.is_none_or(|field| input.name == field));
            return declared.map(|input| input.key.span.clone());
        }
        analysis.symbols.steps.get(root).map(|step| analysis.declaration(*step))
    });
    Some(Definition { file: None, span: span.flatten()? })
}

#[cfg(test)]
mod tests {
    use super::super::super::editor_tests::{library, marked, registry};
    use super::*;

    /// Returns what is at the declaration of the word at the cursor `‸`.
    fn declared(text: &str) -> String {
        let (source, offset) = marked(text);
        let Some(found) = define(&source, offset, &registry(), &library()) else {
            return String::new();
        };
        let file = found.file.as_ref().unwrap_or(&source);
        let at = file.position(found.span.start);
        format!("{}:{}:{} {}", file.name(), at.line, at.column, &file.text()[found.span])
    }

    #[test]
    fn steps_inputs_and_runbooks_have_a_declaration() {
        const STEPS: &str = "name: book\ninputs: {count: {type: integer}}\nsteps:\n  - id: group\n    action: find_group\n  - id: up\n";
        let of = |value: &str| declared(&format!("{STEPS}    when: \"{{{{ {value} }}}}\"\n"));
        assert_eq!(of("gro‸up.size > 1"), "/books/book.yaml:4:9 group");
        assert_eq!(of("group.si‸ze > 1"), "/books/book.yaml:4:9 group");
        assert_eq!(of("group.nodes[0].na‸me"), "/books/book.yaml:4:9 group");
        assert_eq!(of("inputs.co‸unt"), "/books/book.yaml:2:10 count");
        assert_eq!(of("unkno‸wn"), "");
        assert_eq!(of("group | fir‸st"), "");
        assert_eq!(declared("steps:\n  - call: dra‸in"), "/books/drain.yaml:1:1 ");
        assert_eq!(
            declared("steps:\n  - call: drain\n    with: {no‸de: a}"),
            "/books/drain.yaml:4:3 node"
        );
        assert_eq!(declared("steps:\n  - call: unkno‸wn"), "");
        assert_eq!(declared("steps:\n  - act‸ion: scale"), "");
    }
}
