//! Shared by the fuzz targets: the real actions, and the properties that must hold for any text.

use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};

use runbook::{
    ActionRegistry, CheckResult, Diagnostic, EvaluationScope, Runbook, Severity, Source,
};
use runbook::{check, render, types::Type};

/// Returns the registry of the program's actions.
pub fn registry() -> &'static ActionRegistry {
    static REGISTRY: LazyLock<ActionRegistry> = LazyLock::new(|| {
        ActionRegistry::from_json(include_str!("../../schema/actions.json"))
            .expect("tests/json_schema.rs reads this file")
    });
    &REGISTRY
}

/// Checks a text, and asserts the properties of every diagnostic.
pub fn check_source(source: &Source, registry: &ActionRegistry) -> CheckResult {
    let checked = check(source, registry);
    let diagnostics = &checked.diagnostics;
    let wrong = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_ne!(checked.runbook.is_some(), wrong, "a runbook exactly when there is no error");
    assert!(diagnostics.len() <= runbook::MAX_DIAGNOSTICS + 1);
    assert!(
        diagnostics.is_sorted_by_key(|diagnostic| diagnostic.span.start),
        "in the order of the source"
    );
    for diagnostic in diagnostics {
        let labels = diagnostic.labels.iter().map(|label| &label.span);
        for span in labels.chain([&diagnostic.span]) {
            assert!(source.text().get(span.clone()).is_some(), "{diagnostic:?}");
        }
    }
    checked
}

/// Renders the diagnostics in every format.
pub fn render_all(source: &Source, diagnostics: &[Diagnostic]) {
    assert_eq!(render::short(source, diagnostics).lines().count(), diagnostics.len());
    render::human(source, diagnostics, true);
    render::json(source, diagnostics);
    render::github(source, diagnostics);
    render::sarif(&[(source, diagnostics)], "0");
}

/// Evaluates the templates of a runbook as the engine does, with outputs generated from the actions' types. A checked
/// template may run out of fuel or use an empty list; it must not panic.
pub fn evaluate(runbook: &Runbook, registry: &ActionRegistry) {
    let Ok(inputs) = runbook.bind(&sample_inputs(runbook)) else { return };
    let mut scope = EvaluationScope::new(&inputs);
    for step in &runbook.steps {
        let _ = step.should_run(&scope);
        let arguments = step.arguments(&scope);
        if let Ok(arguments) = &arguments {
            assert!(arguments.is_object());
        }
        if let Some(signature) = registry.get(&step.action) {
            let fields = signature.output.fields.iter();
            let output: Map<String, Json> =
                fields.map(|field| (field.name.clone(), sample_value(&field.ty))).collect();
            scope.insert(&step.id, &Json::Object(output));
        }
        let _ = step.message(&scope);
    }
}

/// Returns a value for each input without a default.
fn sample_inputs(runbook: &Runbook) -> Map<String, Json> {
    let needed = runbook.inputs.iter().filter(|input| input.default.is_none());
    needed.map(|input| (input.name.clone(), sample_value(&input.ty))).collect()
}

/// Returns a simple value of a type; limits and syntaxes are ignored.
fn sample_value(ty: &Type) -> Json {
    match ty {
        Type::Any | Type::Null => Json::Null,
        Type::Boolean => json!(true),
        Type::Integer(span) => json!(i64::try_from(span.minimum.unwrap_or(3)).unwrap_or(3)),
        Type::Number(span) => json!(span.minimum.unwrap_or(0.5)),
        Type::String(_) => json!("us-west-2"),
        Type::Duration => json!("5s"),
        Type::Enum(values) => json!(values.first()),
        Type::List(of, _) => json!([sample_value(of), sample_value(of)]),
        Type::Map(of, _) => json!({ "Name": sample_value(of) }),
        Type::Record(record) => {
            let fields = record.fields.iter();
            fields.map(|field| (field.name.clone(), sample_value(&field.ty))).collect()
        }
        Type::Optional(of) => sample_value(of),
    }
}
