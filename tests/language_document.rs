//! `docs/language.md` is accurate: its runbooks are valid, its diagnostics are those that are reported, and its
//! expressions yield the documented results.

use std::{fs, path::Path};

use rafay_relay_sop::actions;
use runbook::{
    ActionKind, ActionRegistry, ActionSignature, EvaluationScope, Reversibility, Severity, Source,
    check, check_in, render, types::Syntax,
};
use serde_json::{Map, Value, json};

/// A block between fences.
struct Block<'d> {
    language: &'d str,
    text: String,
    /// The line of the document on which the block starts.
    line: usize,
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/language.md")).unwrap()
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = document.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let inside = lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```");
        let text = inside.map(|line| format!("{line}\n")).collect();
        blocks.push(Block { language, text, line: number });
    }
    blocks
}

/// Returns the runbook that the document's steps belong to.
fn example(blocks: &[Block<'_>]) -> String {
    let is_example = |block: &&Block| block.text.starts_with("name: example\n");
    blocks.iter().find(is_example).expect("the document has a runbook named example").text.clone()
}

/// Completes a part of a runbook to a whole runbook.
fn complete_runbook(block: &Block<'_>, example: &str) -> Source {
    let text = if block.text.starts_with("- id:") {
        let steps: String = block.text.lines().map(|line| format!("  {line}\n")).collect();
        format!("{example}{steps}")
    } else if block.text.starts_with("inputs:") {
        let step = "steps: [{id: rest, action: sleep, with: {duration: 1s}}]";
        format!("name: example\n{}{step}\n", block.text)
    } else {
        block.text.clone()
    };
    let name = text.lines().find_map(|line| line.strip_prefix("name: ")).unwrap_or("example");
    Source::new(format!("{name}.yaml"), text.clone())
}

#[test]
fn the_documents_runbooks_are_valid_and_its_diagnostics_are_exact() {
    let document = document();
    let blocks = blocks(&document);
    let example = example(&blocks);
    let named = |block: &Block<'_>| block.language == "yaml" && block.text.starts_with("name: ");
    let library: Vec<Source> = blocks
        .iter()
        .filter(|block| named(block))
        .map(|block| complete_runbook(block, &example))
        .collect();
    let mut seen = (0, 0);
    for (at, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "yaml") {
        let source = complete_runbook(block, &example);
        let diagnostics = check_in(&source, actions::registry(), &library).diagnostics;
        let errors: Vec<_> = diagnostics
            .into_iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .collect();
        let expected_block = blocks.get(at + 1).filter(|next| next.language == "text");
        let expected = expected_block.map_or("", |block| block.text.as_str());
        let line = block.line;
        assert_eq!(render::short(&source, &errors), expected, "docs/language.md:{line}");
        seen = (seen.0 + 1, seen.1 + usize::from(expected_block.is_some()));
    }
    assert!(seen.0 >= 8 && seen.1 >= 2, "{seen:?}");
}

/// Returns the cells of a table row.
fn cells(line: &str) -> Vec<String> {
    let line = line.replace("\\|", "\u{1}");
    let cells = line.trim_matches('|').split('|');
    cells.map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

/// Returns the code of a cell that is one code span.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|code| !code.contains('`'))
}

/// Returns the expressions of all tables with a column `yields`, with their documented results.
fn expressions(document: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let mut column = None;
    for line in document.lines() {
        if !line.starts_with('|') {
            column = None;
            continue;
        }
        let cells = cells(line);
        if let Some(at) = cells.iter().position(|cell| cell == "yields") {
            column = Some(at);
        } else if let Some(at) = column.filter(|_| !line.starts_with("|---")) {
            let (expression, result) = (code(&cells[at - 1]), code(&cells[at]));
            let (expression, result) = expression.zip(result).unwrap_or_else(|| panic!("{line}"));
            found.push((expression.to_owned(), serde_json::from_str(result).expect(line)));
        }
    }
    found
}

/// Returns the real actions and one that accepts any value.
fn registry_with_show() -> ActionRegistry {
    let params = json!({
        "type": "object", "description": "Shows.", "properties": {"value": true}, "required": ["value"]
    });
    let nothing = json!({"type": "object", "description": "Nothing.", "properties": {}});
    let show = ActionSignature::from_schemas(
        "show",
        ActionKind::Read,
        Reversibility::NotApplicable,
        &params,
        &nothing,
    )
    .unwrap();
    ActionRegistry::new(actions::registry().iter().cloned().chain([show]).collect())
}

#[test]
fn the_documents_expressions_yield_their_results() {
    let document = document();
    let example = example(&blocks(&document));
    let registry = registry_with_show();
    let group = json!({
        "region": "us-west-2", "cluster": "relay", "name": "relay", "arn": "arn", "status": "ACTIVE",
        "labels": {"Name": "nodegroup-relay-services"}, "min": 1, "max": 6, "desired": 3,
        "auto_scaling_group": "asg", "instances": ["i-1", "i-2", "i-3"]
    });
    let pod = |name: &str, node: &str| json!({"namespace": "rafay-core", "name": name, "uid": name, "node": node, "instance": "i-1", "ready": true});
    let pods = json!({
        "count": 2, "pods": [pod("a", "n1"), pod("b", "n2")], "nodes": ["n1", "n2"], "instances": ["i-1"]
    });
    let expressions = expressions(&document);
    assert!(expressions.len() > 40, "{}", expressions.len());
    for (expression, expected) in expressions {
        let template = json!(format!("{{{{ {expression} }}}}"));
        let step = format!("  - {{id: show, action: show, with: {{value: {template}}}}}\n");
        let source = Source::new("example.yaml", format!("{example}{step}"));
        let checked = check(&source, &registry);
        let short = render::short(&source, &checked.diagnostics);
        let runbook = checked.runbook.unwrap_or_else(|| panic!("{expression}: {short}"));
        let mut scope = EvaluationScope::new(&runbook.bind(&Map::new()).unwrap());
        scope.insert("group", &group);
        scope.insert("pods", &pods);
        let result = runbook.steps.last().unwrap().arguments(&scope);
        let value = result.unwrap_or_else(|error| panic!("{error}"))["value"].clone();
        assert_eq!(value, expected, "{expression}");
    }
}

#[test]
fn the_document_names_every_key_of_the_schema() {
    let document = document();
    let schema = runbook::json_schema(actions::registry(), &[]);
    for place in [
        "/properties",
        "/$defs/step/properties",
        "/$defs/input/properties",
        "/$defs/retry/properties",
    ] {
        for key in schema.pointer(place).unwrap().as_object().unwrap().keys() {
            let named = [format!("`{key}`"), format!("`retry.{key}`")];
            assert!(named.iter().any(|name| document.contains(name)), "{key} is not documented");
        }
    }
}

#[test]
fn the_document_lists_every_kind_of_string() {
    let document = document();
    for name in Syntax::names() {
        let example = Syntax::from_name(name).map(Syntax::example).unwrap_or_default();
        let row = format!("| `{name}` | `{example}` |");
        assert!(document.contains(&row), "{row}");
    }
}
