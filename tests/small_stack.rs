//! Every parser of text from outside, on a small stack and with input that is nested far too deeply: each reports it and
//! none recurses with it. A stack overflow ends the whole test process.

use rafay_relay_sop::engine::registry;
use runbook::{ActionRegistry, EvaluationScope, Source, check, render, types::Type};
use serde_json::{Map, Value, json};
use simulator::Scenario;

/// A fraction of the two MiB that a thread of the service has.
const SMALL_STACK: usize = 256 << 10;
/// The same for what recurses to a limit of its own, in functions whose frames are large in a build without
/// optimization: the readers of JSON and of scenarios, and minijinja.
const MEDIUM_STACK: usize = 1 << 20;

const DEPTH: usize = 5_000;

fn on_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    on_a_stack_of(SMALL_STACK, run)
}

fn on_a_stack_of<T: Send + 'static>(size: usize, run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(size).spawn(run);
    thread.unwrap().join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Checks a text and renders what is reported; a runbook without errors is evaluated.
fn check_on_a_small_stack(text: String) -> Vec<String> {
    check_on_a_stack_of(SMALL_STACK, text)
}

fn check_on_a_stack_of(size: usize, text: String) -> Vec<String> {
    on_a_stack_of(size, move || {
        let source = Source::new("runbook.yaml", text);
        let checked = check(&source, registry());
        render::human(&source, &checked.diagnostics, true);
        render::json(&source, &checked.diagnostics);
        if let Some(runbook) = &checked.runbook
            && let Ok(inputs) = runbook.bind(&Map::new())
        {
            let scope = EvaluationScope::new(&inputs);
            for step in &runbook.steps {
                let _ = (step.arguments(&scope), step.should_run(&scope), step.message(&scope));
            }
        }
        render::short(&source, &checked.diagnostics).lines().map(str::to_owned).collect()
    })
}

fn input_of_type(ty: &str) -> String {
    format!(
        "name: runbook\ninputs:\n  a: {{type: {ty}, default: []}}\nsteps:\n  - {{id: a, action: assert, with: {{that: true, message: m}}}}\n"
    )
}

#[test]
fn a_type_that_is_nested_too_deeply_is_reported_at_its_place() {
    for word in ["list of ", "map of ", "optional "] {
        for end in ["string", "strng", ""] {
            let reported =
                check_on_a_small_stack(input_of_type(&format!("{}{end}", word.repeat(DEPTH))));
            let found = reported.iter().any(|line| {
                line.starts_with("runbook.yaml:3:13: error[RB040]: the type is nested more than 16 levels deep; pass ")
            });
            assert!(found, "{reported:?}");
        }
    }
    // As deep as a type may be.
    let reported =
        check_on_a_small_stack(input_of_type(&format!("{}string", "list of ".repeat(16))));
    assert!(!reported.iter().any(|line| line.contains("error")), "{reported:?}");
}

#[test]
fn yaml_that_is_nested_too_deeply_is_reported() {
    let block: String = (0..DEPTH / 10).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let texts = ["[", "{a: ", "- ", "? ", "- - ", "a:\n- ", "[{a: ", "{? ", "!t [", "&a ["]
        .map(|part| part.repeat(DEPTH));
    for text in texts.into_iter().chain([block]) {
        let start: String = text.chars().take(20).collect();
        let reported = check_on_a_small_stack(text);
        assert!(reported.iter().any(|line| line.contains("error")), "{start}: {reported:?}");
    }
}

#[test]
fn templates_are_parsed_and_evaluated() {
    let parts = [
        "-",
        "(",
        "[",
        "{'a': ",
        "not ",
        "a.b",
        "a[",
        "x|upper ",
        "1+",
        "1 ** ",
        "'a' ~ ",
        "true and ",
        "1 if true else ",
        "[1][",
        "a is ",
        "{",
        "(1, ",
    ];
    for part in parts {
        for (count, tail) in [(60, "1"), (120, "1"), (250, "1"), (DEPTH, "")] {
            let closed: String = (part.chars().rev())
                .filter_map(|c| match c {
                    '(' => Some(')'),
                    '[' => Some(']'),
                    '{' => Some('}'),
                    _ => None,
                })
                .collect();
            let template =
                format!("{{{{ {}{tail}{} == 1 }}}}", part.repeat(count), closed.repeat(count));
            let step = json!({"id": "a", "action": "assert", "with": {"that": template, "message": "m"}, "log": template});
            check_on_a_stack_of(
                MEDIUM_STACK,
                json!({"name": "runbook", "steps": [step]}).to_string(),
            );
        }
    }
}

#[test]
fn inputs_are_parsed() {
    let source = Source::new(
        "runbook.yaml",
        "name: runbook\ninputs:\n  a: {type: map of list of string}\nsteps:\n  - {id: a, action: assert, with: {that: true, message: m}}\n",
    );
    let runbook = check(&source, registry()).runbook.unwrap();
    let texts = ["[", "{a: ", "- ", "? "].map(|part| part.repeat(DEPTH));
    on_a_small_stack(move || {
        for text in texts {
            assert!(runbook.parse_input("a", &text).is_err());
        }
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([{ "a": deep }]);
        }
        let given: Map<String, Value> = [("a".to_owned(), deep)].into_iter().collect();
        assert!(runbook.bind(&given).is_err());
    });
}

#[test]
fn registries_and_schemas_are_read() {
    on_a_stack_of(MEDIUM_STACK, || {
        assert!(ActionRegistry::from_json(&"[".repeat(100_000)).is_err());
        let mut schema = json!({"type": "string"});
        for _ in 0..100 {
            schema = json!({"type": "array", "items": schema});
        }
        let parameters = json!({"type": "object", "properties": {"a": schema}});
        let action = json!({
            "name": "a", "kind": "read", "reversibility": "not_applicable",
            "parameters": parameters, "output": {"type": "object"},
        });
        assert!(ActionRegistry::from_json(&json!([action]).to_string()).is_err());
        assert!(Type::parse(&"optional list of ".repeat(DEPTH)).is_err());
    });
}

#[test]
fn scenarios_are_read() {
    for part in ["[", "{a: ", "- ", "? ", "- - "] {
        for head in ["", "objects: ", "objects:\n- spec: ", "config_maps: "] {
            let text = format!("{head}{}", part.repeat(DEPTH));
            on_a_stack_of(MEDIUM_STACK, move || assert!(Scenario::from_yaml(&text).is_err()));
        }
    }
    // A depth that is allowed.
    let text = format!("objects:\n- a: {}{}", "[".repeat(20), "]".repeat(20));
    on_a_stack_of(MEDIUM_STACK, move || Scenario::from_yaml(&text).unwrap());
}
