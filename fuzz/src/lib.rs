//! What the fuzz targets share: the language, the real actions, and what must hold of any text.

#[path = "../../src/runbook/mod.rs"]
pub mod runbook;

use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};

use runbook::{
    Catalogue, Checked, Finding, Kind, Runbook, Scope, Severity, Signature, Source, Undo,
};
use runbook::{check, render, types::Type};

/// The actions as `rafay-relay-sop actions --format json` lists them, which `fuzz/run` has written into the file that
/// `SOP_FUZZ_CATALOGUE` names.
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        let path = std::env::var("SOP_FUZZ_CATALOGUE").expect("fuzz/run sets SOP_FUZZ_CATALOGUE");
        let text = std::fs::read_to_string(path).expect("fuzz/run has written the catalogue");
        let actions: Vec<Json> = serde_json::from_str(&text).expect("the program writes JSON");
        Catalogue::new(actions.iter().map(signature).collect())
    });
    &CATALOGUE
}

fn signature(action: &Json) -> Signature {
    let name = action["name"].as_str().expect("an action has a name");
    let kind: Kind = serde_json::from_value(action["kind"].clone()).expect("an action has a kind");
    let undo = match (kind, action["undo"].as_str().unwrap_or_default()) {
        (Kind::Read | Kind::Wait, _) => Undo::NotNeeded,
        (Kind::Change, words) if words.starts_with("restores") => Undo::Restores,
        (Kind::Change, _) => Undo::Nothing,
    };
    Signature::from_schemas(name, kind, undo, &action["parameters"], &action["output"])
        .expect("the program's own tests make signatures of these")
}

/// Checks a text, and holds what was found to what every finding must be.
pub fn examine(source: &Source, catalogue: &Catalogue) -> Checked {
    let checked = check(source, catalogue);
    let findings = &checked.findings;
    let wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_ne!(checked.runbook.is_some(), wrong, "a runbook exactly when there is no error");
    assert!(findings.len() <= runbook::MAX_FINDINGS + 1);
    assert!(findings.is_sorted_by_key(|finding| finding.span.start), "in the order of the source");
    for finding in findings {
        let labels = finding.labels.iter().map(|label| &label.span);
        for span in labels.chain([&finding.span]) {
            assert!(source.text().get(span.clone()).is_some(), "{finding:?}");
        }
    }
    checked
}

/// Draws what was found in every form.
pub fn draw(source: &Source, findings: &[Finding]) {
    assert_eq!(render::short(source, findings).lines().count(), findings.len());
    render::human(source, findings, true);
    render::json(source, findings);
    render::github(source, findings);
    render::sarif(&[(source, findings)], "0");
}

/// Runs a runbook's templates as the engine does, with outputs made up from the actions' types, once with every step
/// done and once with every step that could be skipped left out. A checked template may run out of fuel or meet an
/// empty list; it may not panic, and may not yield another kind of value than the checker said.
pub fn evaluate(runbook: &Runbook, catalogue: &Catalogue) {
    let Ok(inputs) = runbook.bind(&given(runbook)) else { return };
    let mut scope = Scope::new(&inputs);
    for step in &runbook.steps {
        let _ = step.applies(&scope);
        let arguments = step.arguments(&scope);
        if let Ok(arguments) = &arguments {
            assert!(arguments.is_object());
        }
        if let Some(signature) = catalogue.get(&step.action) {
            let fields = signature.output.fields.iter();
            let output: Map<String, Json> =
                fields.map(|field| (field.name.clone(), made_up(&field.ty))).collect();
            scope.insert(&step.id, &Json::Object(output));
        }
        let _ = step.message(&scope);
    }
}

/// A value for each input that needs one.
fn given(runbook: &Runbook) -> Map<String, Json> {
    let needed = runbook.inputs.iter().filter(|input| input.default.is_none());
    needed.map(|input| (input.name.clone(), made_up(&input.ty))).collect()
}

/// A plain value of a type; limits and forms are not looked at.
fn made_up(ty: &Type) -> Json {
    match ty {
        Type::Any | Type::Null => Json::Null,
        Type::Boolean => json!(true),
        Type::Integer(span) => json!(i64::try_from(span.minimum.unwrap_or(3)).unwrap_or(3)),
        Type::Number(span) => json!(span.minimum.unwrap_or(0.5)),
        Type::String(_) => json!("us-west-2"),
        Type::Duration => json!("5s"),
        Type::Enum(words) => json!(words.first()),
        Type::List(of, _) => json!([made_up(of), made_up(of)]),
        Type::Map(of, _) => json!({ "Name": made_up(of) }),
        Type::Record(record) => {
            let fields = record.fields.iter();
            fields.map(|field| (field.name.clone(), made_up(&field.ty))).collect()
        }
        Type::Optional(of) => made_up(of),
    }
}
