//! The JSON Schema that editors use. `tests/editor/run` checks the schema with third-party validators.

use std::{fs, path::Path};

use rafay_relay_sop::actions;
use runbook::{ActionRegistry, json_schema};
use serde_json::{Value, json};

use crate::language::registry;
use test_support::{ProgramOutput, program};

/// Compares a file with what is generated; `UPDATE_FIXTURES=1` writes it anew.
fn assert_current(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let is_current = fs::read_to_string(&path).unwrap_or_default() == generated;
    assert!(is_current, "{file} is stale: `UPDATE_FIXTURES=1 cargo test json_schema`");
}

#[test]
fn the_schema_is_current() {
    let printed = ProgramOutput::run(program().arg("schema")).expect_exit_code(0).stdout;
    assert_current("schema/runbook.schema.json", &printed);
}

#[test]
fn the_schema_of_scenarios_is_current() {
    let printed = ProgramOutput::run(program().args(["schema", "--scenario"])).expect_exit_code(0);
    assert_current("schema/scenario.schema.json", &printed.stdout);
}

#[test]
fn the_document_of_the_http_api_is_current() {
    let printed = ProgramOutput::run(program().args(["schema", "--openapi"])).expect_exit_code(0);
    assert_current("schema/openapi.json", &printed.stdout);
}

#[test]
fn the_schema_of_files_of_webhooks_is_current() {
    let printed = ProgramOutput::run(program().args(["schema", "--notify"])).expect_exit_code(0);
    assert_current("schema/notify.schema.json", &printed.stdout);
}

#[test]
fn the_definitions_for_a_cluster_are_current() {
    let printed = ProgramOutput::run(program().arg("crds")).expect_exit_code(0).stdout;
    assert_current("k8s/crds.yaml", &printed);
}

/// `schema/actions.json` is what the program prints, and the registry read from either is the registry of the actions.
#[test]
fn the_action_registry_is_current() {
    let printed =
        ProgramOutput::run(program().args(["actions", "--format", "json"])).expect_exit_code(0);
    let actions: Value = serde_json::from_str(&printed.stdout).unwrap();
    let document = format!("{:#}\n", json!({"format": 1, "actions": actions}));
    assert_current("schema/actions.json", &document);
    for text in [document, printed.stdout] {
        let registry = ActionRegistry::from_json(&text).unwrap();
        assert!(
            registry.iter().eq(actions::registry().iter()),
            "the registry from JSON has other actions"
        );
    }
}

/// The schema of the fixtures' actions is current, so that other validators can check each fixture.
#[test]
fn the_schema_of_the_fixtures_is_current() {
    assert_current(
        "tests/editor/fixtures.schema.json",
        &format!("{:#}\n", json_schema(&registry(), &[])),
    );
}

#[test]
fn an_editor_can_complete_and_explain_every_action_and_parameter() {
    let schema = json_schema(actions::registry(), &[]);
    let step = &schema["$defs"]["step"];
    let names = step["properties"]["action"]["enum"].as_array().unwrap();
    let choices = step["allOf"].as_array().unwrap();
    assert_eq!(names.len(), actions::all().len());
    assert_eq!(names.len(), choices.len());
    for choice in choices {
        let action = &choice["if"]["properties"]["action"]["const"];
        assert!(names.contains(action), "{action}");
        let then = &choice["then"]["properties"];
        assert!(!then["action"]["description"].as_str().unwrap().is_empty(), "{action}");
        for (name, parameter) in then["with"]["properties"].as_object().unwrap() {
            let described = parameter["description"].as_str().is_some_and(|text| text.len() > 5);
            assert!(described, "{action}: {name} has no description");
        }
    }
}

/// Every `$ref` leads somewhere, and every key that is closed has something in it.
#[test]
fn schema_references_resolve() {
    let schema = json_schema(actions::registry(), &[]);
    let mut count = 0;
    walk(&schema, &mut |node| {
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer));
            assert!(target.is_some(), "{reference}");
            count += 1;
        }
    });
    assert!(count > 20);
}

fn walk(node: &Value, visit: &mut dyn FnMut(&Value)) {
    visit(node);
    match node {
        Value::Object(map) => map.values().for_each(|value| walk(value, visit)),
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}
