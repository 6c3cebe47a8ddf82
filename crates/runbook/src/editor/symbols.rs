//! The outline of a runbook: its inputs, steps and outputs.

use std::ops::Range;

use super::super::library::EmptyLibrary;
use super::super::registry::ActionRegistry;
use super::super::source::Source;
use super::super::yaml::Node;
use super::level::Known;
use super::recover;

/// A part of a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// The id of a step, else the name.
    pub name: String,
    /// The action of a step, or the type of an input.
    pub detail: String,
    /// The kind of part.
    pub kind: SymbolKind,
    /// The byte range of the whole part.
    pub span: Range<usize>,
    /// The byte range of the name, which is in that of the part.
    pub name_span: Range<usize>,
}

/// The kind of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolKind {
    /// An input.
    Input,
    /// A step.
    Step,
    /// An output.
    Output,
}

/// Returns the parts of a runbook, in the order of the text.
pub fn symbols(source: &Source) -> Vec<Symbol> {
    let known = Known { registry: &ActionRegistry::default(), library: &EmptyLibrary };
    let found = recover::analyze(source, source.text().len(), known, |analysis| {
        let document = &analysis.document;
        let mut found = Vec::new();
        for input in &document.inputs {
            found.push(Symbol {
                name: input.name.to_owned(),
                detail: input.ty.to_string(),
                kind: SymbolKind::Input,
                span: input.key.span.clone(),
                name_span: input.key.span.clone(),
            });
        }
        for step in &document.steps {
            let head = step.head();
            let name = step.id_text().or_else(|| step.name.and_then(Node::text));
            let of = step.call.or(step.action).and_then(Node::text);
            found.push(Symbol {
                name: name.unwrap_or("step").to_owned(),
                detail: of.unwrap_or_default().to_owned(),
                kind: SymbolKind::Step,
                span: step.node.span.start.min(head.start)..step.node.span.end.max(head.end),
                name_span: head,
            });
        }
        for (key, _) in &document.outputs {
            found.push(Symbol {
                name: key.text().unwrap_or_default().to_owned(),
                detail: String::new(),
                kind: SymbolKind::Output,
                span: key.span.clone(),
                name_span: key.span.clone(),
            });
        }
        found.sort_by_key(|symbol| symbol.span.start);
        found
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_has_inputs_steps_and_outputs() {
        let text = "inputs: {a: {type: integer}}\nsteps:\n  - id: b\n    action: c\n  - {id: d, call: e}\n  - broken: [\noutputs: {f: 1}\n";
        let source = Source::new("x", text);
        let lines: Vec<String> = symbols(&source)
            .iter()
            .map(|one| format!("{} {} '{}'", one.name, one.detail, &text[one.name_span.clone()]))
            .collect();
        assert_eq!(lines, ["a integer 'a'", "b c 'b'", "d e 'd'", "f  'f'"]);
    }
}
