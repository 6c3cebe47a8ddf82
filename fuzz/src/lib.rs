//! What the fuzz targets share: the language, the real actions, and what must hold of any text.

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

/// Checks a text, and holds what was found to what every finding must be.
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

/// Draws what was found in every form.
pub fn render_all(source: &Source, diagnostics: &[Diagnostic]) {
    assert_eq!(render::short(source, diagnostics).lines().count(), diagnostics.len());
    render::human(source, diagnostics, true);
    render::json(source, diagnostics);
    render::github(source, diagnostics);
    render::sarif(&[(source, diagnostics)], "0");
}

/// Runs a runbook's templates as the engine does, with outputs made up from the actions' types, once with every step
/// done and once with every step that could be skipped left out. A checked template may run out of fuel or meet an
/// empty list; it may not panic, and may not yield another kind of value than the checker said.
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

/// A value for each input that needs one.
fn sample_inputs(runbook: &Runbook) -> Map<String, Json> {
    let needed = runbook.inputs.iter().filter(|input| input.default.is_none());
    needed.map(|input| (input.name.clone(), sample_value(&input.ty))).collect()
}

/// A plain value of a type; limits and forms are not looked at.
fn sample_value(ty: &Type) -> Json {
    match ty {
        Type::Any | Type::Null => Json::Null,
        Type::Boolean => json!(true),
        Type::Integer(span) => json!(i64::try_from(span.minimum.unwrap_or(3)).unwrap_or(3)),
        Type::Number(span) => json!(span.minimum.unwrap_or(0.5)),
        Type::String(_) => json!("us-west-2"),
        Type::Duration => json!("5s"),
        Type::Enum(words) => json!(words.first()),
        Type::List(of, _) => json!([sample_value(of), sample_value(of)]),
        Type::Map(of, _) => json!({ "Name": sample_value(of) }),
        Type::Record(record) => {
            let fields = record.fields.iter();
            fields.map(|field| (field.name.clone(), sample_value(&field.ty))).collect()
        }
        Type::Optional(of) => sample_value(of),
    }
}
