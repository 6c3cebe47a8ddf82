//! The inferred type of an expression is the type of its value.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::super::template::{self, Narrowing, Presence, StepOutput, SymbolTable};
use super::super::types::{Field, RecordType, Type};
use super::environment::COMPILATIONS;
use super::*;

fn record(fields: &[(&str, Type)]) -> RecordType {
    let field = |(name, ty): &(&str, Type)| Field::required(*name, ty.clone());
    RecordType {
        name: "test".to_owned(),
        fields: fields.iter().map(field).collect(),
        ..RecordType::default()
    }
}

fn symbols() -> SymbolTable<'static> {
    let node = Type::Record(Arc::new(record(&[("name", Type::text()), ("cpus", Type::integer())])));
    let group = record(&[
        ("name", Type::text()),
        ("size", Type::integer()),
        ("share", Type::number()),
        ("ready", Type::Boolean),
        ("pause", Type::Duration),
        ("mode", Type::Enum(["rolling".to_owned(), "surge".to_owned()].into())),
        ("template", Type::text().or_null()),
        ("nodes", Type::list(node)),
        ("sizes", Type::list(Type::integer())),
        ("labels", Type::map(Type::text())),
    ]);
    let presence = Presence { when: vec!["c".to_owned()], may_fail: false };
    let record = Some(Arc::new(group));
    let sure = StepOutput::new(record.clone(), Presence::default(), None);
    SymbolTable {
        inputs: Arc::new(self::record(&[("factor", Type::integer())])),
        steps: HashMap::from([("group", 0), ("gone", 1), ("here", 2)]),
        outputs: vec![sure, StepOutput::new(record, presence, None), StepOutput::default()],
    }
}

fn scope() -> EvaluationScope {
    let mut scope = EvaluationScope::new(json!({"factor": 2}).as_object().unwrap());
    let group = json!({
        "name": "relay", "size": 3, "share": 0.5, "ready": true, "pause": "5m", "mode": "surge",
        "template": null, "nodes": [{"name": "a", "cpus": 4}, {"name": "b", "cpus": 8}],
        "sizes": [3, 1, 2, 1], "labels": {"Name": "relay"},
    });
    scope.insert("group", &group);
    scope
}

#[test]
fn an_output_that_is_removed_is_in_no_scope_but_those_that_had_it() {
    let mut scope = scope();
    let size = scope.size();
    scope.insert("other", &json!([1, 2]));
    let mut shared = scope.clone();
    shared.insert("third", &json!("three"));
    shared.remove("group");
    shared.remove("group");
    let has =
        |scope: &EvaluationScope| ["inputs", "group", "other", "third"].map(|id| scope.has(id));
    assert_eq!(has(&shared), [true, false, true, true]);
    assert_eq!(has(&scope), [true, true, true, false]);
    scope.remove("other");
    assert_eq!(has(&scope), [true, true, false, false]);
    assert_eq!(scope.size(), size);
}

/// Infers the type of a template, or returns its first issue.
fn inferred(text: &str) -> Result<Type, String> {
    let template = template::parse(text).map_err(|issue| format!("{:?}", issue.kind))?;
    let inferred =
        template::infer(&template, &symbols(), 2, template::Names::Earlier, &Narrowing::default());
    match inferred.issues.first() {
        Some(issue) => Err(format!("{:?}", issue.kind)),
        None => Ok(inferred.ty),
    }
}

fn evaluated(text: &str) -> Result<Json, EvaluationError> {
    let whole = template::parse(text).is_ok_and(|template| template.whole().is_some());
    Expression::new(text, whole, &Type::Any, "test").compile().evaluate(&scope())
}

#[test]
fn the_inferred_type_is_the_type_of_the_value() {
    for (expression, ty, value) in [
        ("group.size * inputs.factor", "integer", json!(6)),
        ("group.size / 2", "number", json!(1.5)),
        ("group.size // 2", "integer", json!(1)),
        ("group.size % 2", "integer", json!(1)),
        ("group.size ** 2", "integer", json!(9)),
        ("-group.size", "integer", json!(-3)),
        ("group.size + group.share", "number", json!(3.5)),
        ("(group.size / 2) | int", "integer", json!(1)),
        ("'4' | int + 1", "integer", json!(5)),
        ("group.size | float", "number", json!(3.0)),
        ("(group.share + 1.1) | round", "number", json!(2.0)),
        ("-group.size | abs", "integer", json!(3)),
        ("group.name ~ group.size", "string", json!("relay3")),
        ("group.name + 's'", "string", json!("relays")),
        ("group.name | upper", "string", json!("RELAY")),
        ("group.name | capitalize | replace('R', 'D')", "string", json!("Delay")),
        ("' a ' | trim", "string", json!("a")),
        ("group.name[0]", "", json!(null)),
        ("group.name[1:3]", "string", json!("el")),
        ("'a,b' | split(',')", "list of string", json!(["a", "b"])),
        ("group.size > 2 and not group.ready or false", "boolean", json!(false)),
        ("1 < group.size <= 3", "boolean", json!(true)),
        ("'a' in group.nodes | map(attribute='name')", "boolean", json!(true)),
        ("'Name' in group.labels", "boolean", json!(true)),
        ("'lay' in group.name", "boolean", json!(true)),
        ("group.mode == 'surge'", "boolean", json!(true)),
        ("group.size if group.ready else 0", "integer", json!(3)),
        ("group.nodes[1].cpus", "integer", json!(8)),
        ("group.nodes[-1]['name']", "string", json!("b")),
        ("(group.nodes | first).name", "string", json!("a")),
        ("group.nodes | map(attribute='cpus') | sum", "integer", json!(12)),
        ("group.nodes | map(attribute='cpus') | max", "integer", json!(8)),
        ("group.nodes | length", "integer", json!(2)),
        (
            "group.nodes | selectattr('cpus', 'gt', 4) | map(attribute='name') | list",
            "list of string",
            json!(["b"]),
        ),
        ("group.sizes | select('gt', 1) | list", "list of integer", json!([3, 2])),
        ("group.sizes | sort | unique | list", "list of integer", json!([1, 2, 3])),
        ("group.sizes | reverse | list", "list of integer", json!([1, 2, 1, 3])),
        ("group.sizes | last", "integer", json!(1)),
        ("group.sizes | join('-')", "string", json!("3-1-2-1")),
        ("group.sizes + [4]", "list of integer", json!([3, 1, 2, 1, 4])),
        ("group.sizes[1:3]", "list of integer", json!([1, 2])),
        ("[group.name, 'x'] | map('upper') | join(',')", "string", json!("RELAY,X")),
        ("group.labels.Name", "string", json!("relay")),
        ("group.labels['Name']", "string", json!("relay")),
        ("group.labels | list", "list of string", json!(["Name"])),
        ("{'a': group.size}", "record of a", json!({"a": 3})),
        ("group.pause", "duration", json!("5m")),
        ("group.template", "optional string", json!(null)),
        ("group.template | default('none')", "string", json!("none")),
        ("group.template is none", "boolean", json!(true)),
        ("'x' if group.template is none else group.template", "string", json!("x")),
        ("gone.size | default(7)", "integer", json!(7)),
        ("gone.nodes[0].cpus | default(7)", "integer", json!(7)),
        ("gone is defined", "boolean", json!(false)),
        ("gone.size is undefined", "boolean", json!(true)),
        ("gone.size if gone is defined else 1", "integer", json!(1)),
        ("gone is defined and gone.size > 1", "boolean", json!(false)),
        ("gone is undefined or gone.size > 1", "boolean", json!(true)),
        ("not (gone is defined) or gone.ready", "boolean", json!(true)),
        ("3.0 | string", "string", json!("3.0")),
        ("group.ready | string", "string", json!("true")),
        ("'true' | bool", "boolean", json!(true)),
        ("group.size is even", "boolean", json!(false)),
        ("group.name is startingwith('re')", "boolean", json!(true)),
    ] {
        let text = format!("{{{{ {expression} }}}}");
        if ty.is_empty() {
            assert!(inferred(&text).is_err(), "{expression}");
            continue;
        }
        let inferred = inferred(&text).unwrap_or_else(|issue| panic!("{expression}: {issue}"));
        assert_eq!(inferred.to_string(), ty, "{expression}");
        let evaluated = evaluated(&text).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(evaluated, value, "{expression}");
        assert_eq!(inferred.coerce(value.clone()).as_ref(), Ok(&value), "{expression}");
    }
}

#[test]
fn a_template_with_text_around_it_yields_a_string() {
    for (text, value) in [
        ("{{ group.size }} nodes", "3 nodes"),
        ("{{ group.ready }}{{ group.share }}\n", "true0.5\n"),
        ("<{{ group.name }}>", "<relay>"),
        ("a {{ '{{' }} b", "a {{ b"),
        ("{{ group.size -}}   nodes", "3nodes"),
    ] {
        assert_eq!(evaluated(text).unwrap(), json!(value), "{text}");
    }
    assert_eq!(evaluated(" {{- group.size -}} ").unwrap(), json!(3));
    assert_eq!(evaluated("{{ -1 }}").unwrap(), json!(-1));
}

#[test]
fn a_compiled_template_is_not_compiled_again() {
    let before = COMPILATIONS.get();
    let value = Expression::new("{{ group.size }}", true, &Type::Any, "test").compile();
    let text = Expression::new("{{ group.size }} nodes", false, &Type::Any, "test").compile();
    assert_eq!(COMPILATIONS.get() - before, 2);
    for size in 1..4 {
        let mut scope = scope();
        scope.insert("group", &json!({"size": size}));
        assert_eq!(value.evaluate(&scope).unwrap(), json!(size));
        assert_eq!(text.evaluate(&scope).unwrap(), json!(format!("{size} nodes")));
    }
    assert_eq!(COMPILATIONS.get() - before, 2);
}

/// Names as those of nodes.
fn names(count: usize) -> Json {
    (0..count).map(|number| json!(format!("ip-10-0-{number}.us-west-2.compute.internal"))).collect()
}

/// Returns a scope with lists of names, of records and of lists.
fn large_scope(count: usize) -> EvaluationScope {
    let names = names(count);
    let each = |value: &dyn Fn(&Json) -> Json| -> Json {
        names.as_array().unwrap().iter().map(value).collect()
    };
    let nodes = each(&|name| json!({"name": name, "cpus": 1}));
    let lists = each(&|name| json!([name]));
    let mut scope = EvaluationScope::new(json!({"factor": 2}).as_object().unwrap());
    scope.insert("group", &json!({"names": names, "nodes": nodes, "same": nodes, "lists": lists}));
    scope
}

fn evaluated_in(scope: &EvaluationScope, expression: &str) -> Result<Json, EvaluationError> {
    let text = format!("{{{{ {expression} }}}}");
    Expression::new(&text, true, &Type::Any, "test").compile().evaluate(scope)
}

#[test]
fn the_test_in_takes_time_in_proportion_to_both_lists() {
    const COUNT: usize = 5_000;
    let scope = large_scope(COUNT);
    for (expression, expected) in [
        ("group.names | reject('in', group.names) | list | length", 0),
        ("group.names | select('in', group.names) | list | length", COUNT),
        ("group.nodes | rejectattr('name', 'in', group.names) | list | length", 0),
        ("group.nodes | selectattr('name', 'in', group.names[1:]) | list | length", COUNT - 1),
        ("group.names | select('in', group.names + ['a']) | list | length", COUNT),
        ("group.nodes | select('in', group.same) | list | length", COUNT),
        ("group.lists | map('select', 'in', group.names) | map('first') | list | length", COUNT),
        ("group.names | unique | list | length", COUNT),
        ("group.names | sort | list | length", COUNT),
        ("(group.names + group.names) | unique | list | length", COUNT),
        ("group.names | reject('eq', group.names[0]) | list | length", COUNT - 1),
    ] {
        assert_eq!(evaluated_in(&scope, expression).as_ref(), Ok(&json!(expected)), "{expression}");
    }
    // What is handed on to an action may be as large as its data.
    assert_eq!(
        evaluated_in(&large_scope(20_000), "group.nodes").unwrap().as_array().unwrap().len(),
        20_000
    );
}

#[test]
fn the_test_in_compares_as_the_operator_does() {
    for (expression, expected) in [
        ("[1, 2.0, 'a', true] | select('in', [1.0, 2, 'b']) | list", json!([1, 2.0, true])),
        ("[{'a': 1, 'b': 2}] | select('in', [{'b': 2, 'a': 1}]) | list", json!([{"a": 1, "b": 2}])),
        ("[[1], [2]] | reject('in', [[2]]) | list", json!([[1]])),
        ("['a', 'x'] | select('in', 'abc') | list", json!(["a"])),
        ("['Name', 'x'] | select('in', group.labels) | list", json!(["Name"])),
        (
            "group.nodes | selectattr('cpus', 'in', [8]) | map(attribute='name') | list",
            json!(["b"]),
        ),
        ("[0, 1] | select | list", json!([1])),
        ("[0, 1] | reject | list", json!([0])),
        ("group.nodes | selectattr('cpus') | list | length", json!(2)),
        ("[none] | select('in', [none]) | list", json!([null])),
    ] {
        let text = format!("{{{{ {expression} }}}}");
        assert_eq!(evaluated(&text).as_ref(), Ok(&expected), "{expression}");
    }
}

/// The operator is minijinja's own, the test is ours.
#[test]
fn the_test_in_agrees_with_the_operator_for_every_pair_of_values() {
    let items = [
        "0",
        "1",
        "1.0",
        "-1",
        "1.5",
        "9007199254740993",
        "9007199254740992.0",
        "true",
        "false",
        "none",
        "'a'",
        "''",
        "'1'",
        "[1]",
        "[]",
        "[[1.0]]",
        "{'a': 1}",
        "{'a': 1.0}",
        "{}",
        "{'a': none}",
    ];
    for item in items {
        for other in items {
            let list = format!("['x', {other}, 7]");
            let by_test =
                format!("{{{{ ([{item}] | select('in', {list}) | list | length) == 1 }}}}");
            let by_operator = format!("{{{{ {item} in {list} }}}}");
            assert_eq!(evaluated(&by_test), evaluated(&by_operator), "{item} in {list}");
        }
    }
}

#[test]
fn the_budget_does_not_allow_everything() {
    let error = evaluated("{{ group.name | replace('r', 'x' * 2000000) }}").unwrap_err();
    assert!(error.kind.is_limit(), "{error}");
    let many = "group.name | replace('l', 'x' * 30000) | replace('x', 'y' * 30000)";
    assert_eq!(
        evaluated(&format!("{{{{ {many} }}}}")).unwrap_err().kind,
        EvaluationErrorKind::TooLong
    );
    let error = evaluated("{{ [[[[0] * 100] * 100] * 100] * 100 }}").unwrap_err();
    assert!(error.kind.is_limit(), "{error}");
}

/// Evaluated before the step `gone` has an output, each of these would fail.
#[test]
fn a_template_is_evaluated_early_only_when_all_its_names_have_values() {
    for expression in [
        "gone.sizes[:1]",
        "group.sizes[gone.size:]",
        "group.sizes[gone.size]",
        "group.sizes | select('in', gone.sizes) | list",
        "group.sizes | map('default', gone.size) | list",
        "[gone.size]",
        "{'a': gone.size}",
        "1 if gone.ready else 2",
        "not gone.ready",
        "1 in gone.sizes",
    ] {
        for text in [format!("{{{{ {expression} }}}}"), format!("text {{{{ {expression} }}}}")] {
            let whole = text.starts_with('{');
            let compiled = Argument::Template(Expression::new(&text, whole, &Type::Any, "test"));
            assert_eq!(compiled.compile().evaluate_early(&scope()), None, "{text}");
        }
    }
    let known = Argument::Template(Expression::new("{{ group.size + 1 }}", true, &Type::Any, "t"));
    assert_eq!(known.compile().evaluate_early(&scope()), Some(Ok(json!(4))));
}

#[test]
fn errors_contain_no_values() {
    let message = |expression: &str| {
        let text = format!("{{{{ {expression} }}}}");
        evaluated(&text).unwrap_err().to_string()
    };
    for (expression, expected) in [
        ("group.nodes[9]", "has no value here"),
        ("group.labels.Nam ~ 'x'", "has no value here"),
        ("gone.size", "gone.size has no value here"),
        ("group.name | int", "cannot be converted"),
        ("1 // (group.size - 3)", ""),
        ("2 ** 100", "out of range"),
        ("1e300 * 1e300", "not finite"),
        ("('x' * 3000000)", ""),
        ("[[[0] * 400] * 400] * 400", ""),
        ("{1: 2}", "keys must be strings"),
    ] {
        let message = message(expression);
        assert!(message.contains(expected), "{expression}: {message}");
        assert!(message.starts_with("test: `{{"), "{expression}: {message}");
        assert!(!message.contains("relay"), "{expression}: {message}");
    }
}
