//! The language from the user's side: whole runbooks and their diagnostics.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use runbook::{
    ActionKind, ActionRegistry, ActionSignature, CheckResult, Duration, EvaluationScope, Fix,
    Reversibility, Severity, Source, check, check_in, render, rules,
};
use schemars::{JsonSchema, schema_for};
use serde_json::{Value as Json, json};

/// Returns the actions that the fixtures are checked against: small, with every kind of parameter.
pub fn registry() -> ActionRegistry {
    fn action<P: JsonSchema, O: JsonSchema>(
        name: &str,
        kind: ActionKind,
        undo: Reversibility,
    ) -> ActionSignature {
        let schemas = (schema_for!(P).to_value(), schema_for!(O).to_value());
        ActionSignature::from_schemas(name, kind, undo, &schemas.0, &schemas.1).unwrap()
    }
    ActionRegistry::new(vec![
        action::<ReadConfig, Config>("read_config", ActionKind::Read, Reversibility::NotApplicable),
        action::<FindNodegroup, Nodegroup>(
            "find_nodegroup",
            ActionKind::Read,
            Reversibility::NotApplicable,
        ),
        action::<ScaleNodegroup, Scaled>(
            "scale_nodegroup",
            ActionKind::Change,
            Reversibility::Reversible,
        ),
        action::<WaitNodes, Nodes>("wait_nodes", ActionKind::Wait, Reversibility::NotApplicable),
        action::<SetProtection, Protected>(
            "set_protection",
            ActionKind::Change,
            Reversibility::Reversible,
        ),
        action::<DeletePods, Deleted>(
            "delete_pods",
            ActionKind::Change,
            Reversibility::Irreversible,
        ),
        action::<GetObject, Nothing>("get_object", ActionKind::Read, Reversibility::NotApplicable),
        action::<PatchObject, Nothing>(
            "patch_object",
            ActionKind::Change,
            Reversibility::Reversible,
        ),
        action::<Cordon, Nodes>("cordon", ActionKind::Change, Reversibility::Reversible),
        action::<Uncordon, Nodes>("uncordon", ActionKind::Change, Reversibility::Reversible),
        action::<Assert, Nothing>("assert", ActionKind::Wait, Reversibility::NotApplicable),
        action::<Sleep, Nothing>("sleep", ActionKind::Wait, Reversibility::NotApplicable),
        action::<WaitApproval, Approved>(
            "wait_approval",
            ActionKind::Wait,
            Reversibility::NotApplicable,
        ),
    ])
}

/// Reads keys of a `ConfigMap`.
///
/// The environment comes first, then the `ConfigMap`, then the default.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct ReadConfig {
    /// Namespace of the `ConfigMap`.
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    namespace: String,
    /// Name of the `ConfigMap`.
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    name: String,
    /// Values of keys that neither has.
    #[serde(default)]
    defaults: BTreeMap<String, String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Config {
    /// AWS region.
    #[schemars(extend("x-syntax" = "aws-region"))]
    region: String,
    /// EKS cluster.
    cluster: String,
    /// All values.
    values: BTreeMap<String, String>,
}

/// Finds the one nodegroup that has some labels.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct FindNodegroup {
    #[schemars(extend("x-syntax" = "aws-region"))]
    region: String,
    cluster: String,
    /// Labels of the nodegroup.
    #[schemars(extend("x-syntax" = "labels"))]
    labels: BTreeMap<String, String>,
    /// Minimum number of nodes.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    min_nodes: Option<u32>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Nodegroup {
    #[schemars(extend("x-syntax" = "aws-region"))]
    region: String,
    cluster: String,
    name: String,
    min: u32,
    max: u32,
    desired: u32,
    /// The launch template, if any.
    launch_template: Option<String>,
    nodes: Vec<Node>,
}

/// A node.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Node {
    name: String,
    #[schemars(extend("x-syntax" = "instance-id"))]
    instance: String,
    labels: BTreeMap<String, String>,
}

/// The nodegroup to scale.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Group {
    region: String,
    cluster: String,
    name: String,
}

/// Sets a nodegroup's desired size.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("x-limits" = ["nodes_at_most", "keep_ready"]))]
#[expect(dead_code, reason = "only its schema is used")]
struct ScaleNodegroup {
    nodegroup: Group,
    /// The desired size.
    #[schemars(range(max = 500))]
    desired: u32,
    /// Whether to raise a maximum that is too small.
    #[serde(default)]
    raise_max: bool,
    #[serde(default)]
    mode: Mode,
}

#[derive(JsonSchema, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Mode {
    #[default]
    Rolling,
    Surge,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Scaled {
    name: String,
    before: Sizes,
    desired: u32,
    mode: Mode,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Sizes {
    min: u32,
    max: u32,
    desired: u32,
}

/// Waits until nodes are Ready.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct WaitNodes {
    nodegroup: String,
    count: u32,
    /// How long a node may make no progress.
    #[serde(default)]
    give_up_after: Option<Duration>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Nodes {
    nodes: Vec<String>,
    count: u32,
}

/// Protects instances from being scaled in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["nodes", "instances"]]))]
#[expect(dead_code, reason = "only its schema is used")]
struct SetProtection {
    #[serde(default)]
    nodes: Option<Vec<String>>,
    #[serde(default)]
    instances: Option<Vec<String>>,
    protected: bool,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Protected {
    instances: Vec<String>,
}

/// Deletes pods.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct DeletePods {
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    namespace: String,
    #[schemars(length(min = 1))]
    pods: Vec<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Deleted {
    count: u32,
}

/// Reads fields of an object.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("x-object" = {"fields": "fields", "nullable_if": "may_be_missing"}))]
#[expect(dead_code, reason = "only its schema is used")]
struct GetObject {
    #[schemars(extend("x-literal" = true))]
    api_version: String,
    #[schemars(extend("x-literal" = true))]
    kind: String,
    #[serde(default)]
    #[schemars(extend("x-literal" = true, "x-syntax" = "kubernetes-name"))]
    resource: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
    #[schemars(extend("x-literal" = true))]
    fields: BTreeMap<String, Field>,
    #[serde(default)]
    #[schemars(extend("x-literal" = true))]
    may_be_missing: bool,
}

/// A field.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Field {
    #[schemars(extend("x-literal" = true, "x-syntax" = "object-path"))]
    path: String,
    #[serde(rename = "type")]
    #[schemars(extend("x-literal" = true, "enum" = ["string", "integer", "optional integer", "map of string"]))]
    value_type: String,
}

/// Changes fields of an object.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("x-object" = {"patch": "patch"}))]
#[expect(dead_code, reason = "only its schema is used")]
struct PatchObject {
    #[schemars(extend("x-literal" = true))]
    api_version: String,
    #[schemars(extend("x-literal" = true))]
    kind: String,
    #[serde(default)]
    #[schemars(extend("x-literal" = true, "x-syntax" = "kubernetes-name"))]
    resource: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
    patch: BTreeMap<String, Json>,
}

/// Prevents new pods from being scheduled on nodes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("x-opposite" = "uncordon", "x-limits" = ["cordon_at_most", "keep_ready"]))]
#[expect(dead_code, reason = "only its schema is used")]
struct Cordon {
    nodes: Vec<String>,
}

/// Allows new pods on nodes again.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("x-opposite" = "cordon"))]
#[expect(dead_code, reason = "only its schema is used")]
struct Uncordon {
    nodes: Vec<String>,
}

/// Fails unless a condition holds.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Assert {
    that: bool,
    #[serde(default)]
    message: Option<String>,
    /// A share from 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    share: Option<f64>,
}

/// Waits.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("x-never-retried" = true))]
#[expect(dead_code, reason = "only its schema is used")]
struct Sleep {
    #[serde(rename = "for")]
    duration: Duration,
}

/// Waits until persons have approved.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("x-never-retried" = true, "x-asks" = true))]
#[expect(dead_code, reason = "only its schema is used")]
struct WaitApproval {
    message: String,
    expires: Duration,
    /// How many must approve.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10))]
    approvals: u32,
    #[serde(default)]
    ask: BTreeMap<String, Question>,
}

/// A question, declared as an input is.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Question {
    #[serde(rename = "type")]
    ty: String,
    #[serde(default)]
    default: Option<Json>,
    #[serde(default)]
    minimum: Option<f64>,
    #[serde(default)]
    maximum: Option<f64>,
    #[serde(default)]
    values: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Approved {
    approved_by: Vec<String>,
    /// The answers.
    answers: serde_json::Map<String, Json>,
}

#[derive(JsonSchema)]
struct Nothing {}

fn fixtures(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(dir);
    let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", dir.display());
    files
}

/// Reads a fixture under its bare file name, so that the output is the same on every machine.
fn source(path: &Path) -> Result<Source, String> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Source::from_bytes(name, fs::read(path).unwrap())
        .map_err(|error| report(&error.readable, std::slice::from_ref(&error.diagnostic)))
}

/// The runbooks that the fixtures call.
fn called() -> Vec<Source> {
    fixtures("called").iter().map(|path| source(path).unwrap()).collect()
}

fn report(source: &Source, diagnostics: &[runbook::Diagnostic]) -> String {
    let short = render::short(source, diagnostics);
    format!("{short}\n{}", render::human(source, diagnostics, false))
}

/// Returns the actions of the program.
fn real_registry() -> ActionRegistry {
    ActionRegistry::from_json(include_str!("../schema/actions.json")).unwrap()
}

/// Each runbook of `tests/fixtures/invalid` has exactly the diagnostics of its `.out` file.
/// `UPDATE_FIXTURES=1` regenerates the file.
#[test]
fn invalid_runbooks_are_reported_exactly() {
    are_reported_exactly("invalid", &registry());
}

/// The same for mistakes that are mistakes because of what the actions of the program are.
#[test]
fn mistakes_about_actions_are_reported_exactly() {
    are_reported_exactly("mistakes", &real_registry());
}

fn are_reported_exactly(dir: &str, registry: &ActionRegistry) {
    let update = std::env::var_os("UPDATE_FIXTURES").is_some();
    let mut wrong = Vec::new();
    for path in fixtures(dir) {
        let got = match source(&path) {
            Ok(source) => {
                let CheckResult { diagnostics, .. } = check_in(&source, registry, &called());
                let is_legitimate = source.name().starts_with("legitimate");
                let short = render::short(&source, &diagnostics);
                assert_eq!(diagnostics.is_empty(), is_legitimate, "{}: {short}", path.display());
                report(&source, &diagnostics)
            }
            Err(report) => report,
        };
        let expected = path.with_extension("out");
        if update {
            fs::write(&expected, &got).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each runbook of `tests/fixtures/flow` has exactly the diagnostics of its `.out` file with the actions that there are:
/// they are about the relations of steps.
#[test]
fn relations_of_steps_are_reported_exactly() {
    are_reported_exactly("flow", &real_registry());
}

/// The suggestions of fixtures with a second mistake in the same place, which is checked once the name is known.
const UNCOVERING: &[(&str, &str)] = &[
    ("call_of_another_type.yaml:14:", "node"),
    ("habits.yaml:4:30:", "minimum"),
    ("habits.yaml:6:", "list of string"),
    ("habits.yaml:11:", "action"),
    ("habits.yaml:19:", "10m"),
    ("habits.yaml:31:", "true"),
    ("habits.yaml:42:", "desired"),
    ("habits.yaml:44:", "patch_object"),
    ("habits.yaml:56:", "sleep"),
    ("invalid_type.yaml:13:", "1m30s"),
    ("invalid_yaml_quote.yaml:4:", "\"sleep\""),
    ("invalid_yaml_tab.yaml:3:", "  "),
    ("missing_key.yaml:9:", "when"),
    ("questions.yaml:18:", "minimum"),
    ("template_form.yaml:10:20:", "\"{{ inputs.x }}\""),
    ("template_form.yaml:33:20:", "\"{{ inputs.x }}\""),
    ("unknown_input.yaml:7:", "cluster"),
    ("invalid_input.yaml:5:", "string"),
    ("unknown_action.yaml:4:", "find_nodegroup"),
    ("unknown_runbook.yaml:4:", "close-node"),
    ("wrong_operand.yaml:31:45:", "'surge'"),
];

/// A suggestion is what `validate --fix` and the editors write: the text with it has one diagnostic less, and no other.
#[test]
fn each_suggestion_removes_its_diagnostic_and_adds_none() {
    let (registry, called) = (registry(), called());
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in fixtures("invalid") {
        let Ok(source) = source(&path) else { continue };
        let before = check_in(&source, &registry, &called).diagnostics;
        for diagnostic in &before {
            let Some(fix) = Fix::of(&source, diagnostic) else { continue };
            count += 1;
            let after = check_in(&fix.apply(&source), &registry, &called).diagnostics;
            // What has no use is reported when the last error is gone.
            let is_listed = |one: &&runbook::Diagnostic| !["RB042", "RB053"].contains(&one.code);
            let codes = |diagnostics: &[runbook::Diagnostic]| {
                let listed = diagnostics.iter().filter(is_listed);
                let mut codes: Vec<&str> = listed.map(|one| one.code).collect();
                codes.sort_unstable();
                codes
            };
            let mut expected = codes(&before);
            expected.remove(expected.iter().position(|code| *code == fix.code).unwrap());
            let short = render::short(&source, std::slice::from_ref(diagnostic));
            let is_uncovering = UNCOVERING
                .iter()
                .any(|(place, text)| short.starts_with(place) && fix.replacement == *text);
            if (codes(&after) == expected) == is_uncovering {
                let after = render::short(&fix.apply(&source), &after);
                wrong.push(format!("{short}with '{}' it has\n{after}", fix.replacement));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 50, "{count}");
}

/// `validate --fix` makes nothing worse, and a second time there is nothing left for it.
#[test]
fn fixing_a_runbook_adds_no_diagnostic() {
    let (registry, called) = (registry(), called());
    let mut count = 0;
    for path in fixtures("invalid") {
        let Ok(source) = source(&path) else { continue };
        let diagnostics = |source: &Source| check_in(source, &registry, &called).diagnostics;
        let mut before: Vec<&str> = diagnostics(&source).iter().map(|one| one.code).collect();
        let fixed = runbook::fix(&source, &registry, &called);
        count += fixed.fixes.len();
        for one in diagnostics(&fixed.source) {
            let old = before.iter().position(|code| *code == one.code);
            before.swap_remove(old.unwrap_or_else(|| panic!("{one:?} in {}", path.display())));
        }
        assert!(runbook::fix(&fixed.source, &registry, &called).fixes.is_empty());
    }
    assert!(count > 40, "{count}");
}

#[test]
fn valid_runbooks_have_no_diagnostics() {
    let registry = registry();
    for path in fixtures("valid") {
        let source = source(&path).unwrap();
        let checked = check_in(&source, &registry, &called());
        assert!(checked.diagnostics.is_empty(), "{}", render::short(&source, &checked.diagnostics));
        assert!(checked.runbook.is_some());
    }
}

#[test]
fn every_rule_has_a_fixture() {
    let mut seen = String::new();
    for path in ["invalid", "mistakes", "flow"].into_iter().flat_map(fixtures) {
        seen += &fs::read_to_string(path.with_extension("out")).unwrap_or_default();
    }
    let unseen: Vec<&str> = rules()
        .iter()
        .filter(|rule| !seen.contains(&format!("[{}]", rule.code)))
        .map(|rule| rule.name)
        .collect();
    assert!(unseen.is_empty(), "no fixture for {unseen:?}");
}

fn checked(text: &str) -> runbook::Runbook {
    let source = Source::new("-", text);
    let checked = check(&source, &registry());
    let short = render::short(&source, &checked.diagnostics);
    checked.runbook.unwrap_or_else(|| panic!("{short}"))
}

const SCALE: &str = r#"
name: scale
inputs:
  factor: {type: integer, default: 2, minimum: 2, maximum: 4}
  zones: {type: list of string, default: [], max_length: 3}
  pause: {type: optional duration}
defaults: {timeout: 20m, retry: {attempts: 4}, on_failure: rollback}
steps:
  - id: group
    action: find_nodegroup
    with: {region: us-west-2, cluster: relay, labels: {Name: relay, version: 1.10}, min_nodes: 2}
  - id: scale_up
    name: Scale it
    action: scale_nodegroup
    when: "{{ group.desired < 100 }}"
    timeout: 5m
    with: {nodegroup: "{{ group }}", desired: "{{ group.desired * inputs.factor }}", raise_max: true}
    log: "{{ group.name }}: {{ scale_up.before.desired }} -> {{ scale_up.desired }}{{ inputs.zones | join }}"
  - id: wait
    action: wait_nodes
    with:
      nodegroup: "{{ group.desired }}"
      count: "{{ scale_up.desired | default(group.desired) }}"
      give_up_after: "{{ inputs.pause }}"
"#;

fn group() -> Json {
    json!({
        "region": "us-west-2", "cluster": "relay", "name": "ng", "min": 1, "max": 9,
        "desired": 3, "launch_template": null, "nodes": []
    })
}

#[test]
fn a_checked_runbook_evaluates_step_by_step() {
    let runbook = checked(SCALE);
    let inputs = runbook.bind(json!({"factor": 3}).as_object().unwrap()).unwrap();
    assert_eq!(Json::Object(inputs.clone()), json!({"factor": 3, "zones": [], "pause": null}));
    let mut scope = EvaluationScope::new(&inputs);
    let [find, scale, wait] = runbook.steps.as_slice() else { panic!() };

    assert_eq!(
        find.arguments(&scope).unwrap(),
        json!({"region": "us-west-2", "cluster": "relay",
               "labels": {"Name": "relay", "version": "1.10"}, "min_nodes": 2})
    );
    assert_eq!(find.retry.attempts, 4);
    assert_eq!(find.timeout.to_string(), "20m");
    assert!(find.uses().is_empty());
    scope.insert("group", &group());

    assert!(scale.should_run(&scope).unwrap());
    assert_eq!((scale.name.as_str(), scale.timeout.to_string().as_str()), ("Scale it", "5m"));
    // The record is reduced to the required fields; the product is an integer.
    assert_eq!(
        scale.arguments(&scope).unwrap(),
        json!({"nodegroup": {"region": "us-west-2", "cluster": "relay", "name": "ng"},
               "desired": 9, "raise_max": true})
    );
    let mut after = scope.clone();
    after.insert(
        "scale_up",
        &json!({"name": "ng", "before": {"min": 1, "max": 9, "desired": 3},
                "desired": 9, "mode": "rolling"}),
    );
    assert_eq!(scale.message(&after).unwrap().unwrap(), "ng: 3 -> 9");
    assert_eq!(scale.uses().iter().collect::<Vec<_>>(), ["group"]);

    // With the step's output, and with the step skipped.
    assert_eq!(wait.arguments(&after).unwrap()["count"], json!(9));
    assert_eq!(
        wait.arguments(&scope).unwrap(),
        json!({"nodegroup": "3", "count": 3, "give_up_after": null})
    );
    assert_eq!(wait.uses().iter().collect::<Vec<_>>(), ["group", "scale_up"]);
}

#[test]
fn inputs_are_bound_within_their_limits() {
    let runbook = checked(SCALE);
    let errors = |given: Json| {
        let errors = runbook.bind(given.as_object().unwrap()).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        errors(json!({"facter": 3, "factor": 9, "zones": ["a", null], "pause": "soon"})),
        [
            "unknown input 'facter'",
            "invalid input 'factor': must be from 2 to 4",
            "invalid input 'zones': [1]: must be a string, not null",
            "invalid input 'pause': must be a duration, such as 250ms, 5s, 10m or 1h30m",
        ]
    );
    let unknown = runbook.parse_input("facter", "3").unwrap_err();
    assert_eq!(unknown.hint().as_deref(), Some("did you mean 'factor'?"));
    assert_eq!(runbook.parse_input("factor", "4").unwrap(), json!(4));
    assert_eq!(runbook.parse_input("zones", "a, b").unwrap(), json!(["a", "b"]));
    assert_eq!(runbook.parse_input("zones", "[a, 1]").unwrap(), json!(["a", "1"]));
    assert_eq!(runbook.parse_input("pause", "5m").unwrap(), json!("5m"));
    assert!(runbook.parse_input("factor", "two").is_err());
    assert!(runbook.parse_input("nothing", "2").is_err());
}

/// An xorshift generator, which yields the same texts on every machine.
struct Xorshift(u64);

impl Xorshift {
    fn next_below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.next_below(choices.len())]
    }
}

/// Asserts that every span of a diagnostic lies in the text, splits no character, and can be rendered.
fn assert_renderable(source: &Source, diagnostics: &[runbook::Diagnostic]) {
    let text = source.text();
    for diagnostic in diagnostics {
        let labels = diagnostic.labels.iter().map(|label| &label.span);
        for span in labels.chain([&diagnostic.span]) {
            assert!(text.get(span.clone()).is_some(), "{diagnostic:?} in {text:?}");
            let start = source.position(span.start);
            assert!(start.line >= 1 && start.column >= 1);
        }
    }
    assert_eq!(render::short(source, diagnostics).lines().count(), diagnostics.len());
    render::json(source, diagnostics);
}

/// Mutates the fixtures at random; no mutation may cause a panic or a span outside the text.
#[test]
fn broken_runbooks_are_reported_within_their_text() {
    const FRAGMENTS: &[&str] = &[
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "\"",
        "'",
        "\n",
        "  ",
        ":",
        "- ",
        "|",
        ">",
        "&a ",
        "*a",
        "!t ",
        "<<: ",
        "é",
        "🚀",
        "\\",
        "\t",
        "[",
        "]",
        "{",
        "}",
        ",",
        "#",
        "? ",
        "---\n",
        "...",
        "%",
        "@",
        "\u{feff}",
        "\r\n",
        "group",
        ".",
        "+",
        "0",
        "null",
        "\0",
        "\u{2028}",
        " if ",
        " is defined",
        "| default(1)",
        "inputs",
        "not ",
        "-",
        "(",
        ")",
        "~",
        "==",
        "'a'",
    ];
    let registry = registry();
    let mut seeds: Vec<Vec<char>> = Vec::new();
    for dir in ["invalid", "valid"] {
        for path in fixtures(dir) {
            let text = fs::read_to_string(path).unwrap_or_default();
            seeds.push(text.chars().take(1500).collect());
        }
    }
    let mut random = Xorshift(42);
    for round in 0..4_000 {
        let mut text = seeds[random.next_below(seeds.len())].clone();
        for _ in 0..=random.next_below(5) {
            mutate(&mut text, &mut random, FRAGMENTS);
        }
        let source = Source::new("-", text.into_iter().collect::<String>());
        let checked = check(&source, &registry);
        let wrong = checked.diagnostics.iter().any(|f| f.severity == Severity::Error);
        assert_ne!(checked.runbook.is_some(), wrong, "{}", source.text());
        assert_renderable(&source, &checked.diagnostics);
        if round % 20 == 0 {
            render::human(&source, &checked.diagnostics, true);
        }
    }
}

fn mutate(text: &mut Vec<char>, random: &mut Xorshift, fragments: &[&str]) {
    if text.is_empty() {
        return;
    }
    let at = random.next_below(text.len());
    match random.next_below(4) {
        0 => {
            text.remove(at);
        }
        1 => {
            let bit: Vec<char> = random.pick(fragments).chars().collect();
            text.splice(at..at, bit);
        }
        2 => {
            let end = at + random.next_below(40).min(text.len() - at);
            text.drain(at..end);
        }
        _ => {
            let end = at + random.next_below(60).min(text.len() - at);
            let copy: Vec<char> = text[at..end].to_vec();
            let to = random.next_below(text.len());
            text.splice(to..to, copy);
        }
    }
}

/// Returns the text with one mistake in each place where a person makes one: a letter of a word, a quote, a bracket, a
/// colon or a comma is missing, a dash is missing, a line is missing, or is indented by one space more or less.
fn with_one_mistake(text: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    let without = |from: usize, to: usize| format!("{}{}", &text[..from], &text[to..]);
    let mut word = None;
    for (at, character) in text.char_indices() {
        if character.is_ascii_lowercase() || character == '_' {
            word.get_or_insert(at);
            continue;
        }
        if let Some(from) = word.take().filter(|from| at - from > 2) {
            let middle = usize::midpoint(from, at);
            mistakes.push(without(middle, middle + 1));
        }
        if "\"'{}[]():,|".contains(character) {
            mistakes.push(without(at, at + 1));
        }
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        mistakes.push(without(start, start + line.len()));
        mistakes.push(format!("{} {}", &text[..start], &text[start..]));
        if indent > 0 {
            mistakes.push(without(start, start + 1));
        }
        if line[indent..].starts_with("- ") {
            let dash = start + indent;
            mistakes.push(format!("{} {}", &text[..dash], &text[dash + 1..]));
        }
        start += line.len();
    }
    mistakes
}

/// A mistake has one diagnostic: what follows from the mistake is held back.
#[test]
fn one_mistake_has_one_error() {
    /// Mistakes that are several by their nature, in percent: a line that several others need, such as the declaration
    /// of a field that is used with different filters.
    const MAX_SEVERAL: usize = 2;
    let registry = registry();
    let (mut all, mut several) = (0, Vec::new());
    for path in fixtures("valid") {
        for text in with_one_mistake(&fs::read_to_string(&path).unwrap()) {
            let source = Source::new(path.file_name().unwrap().to_string_lossy(), text);
            let diagnostics = check_in(&source, &registry, &called()).diagnostics;
            let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
            all += 1;
            if errors > 1 {
                several.push(render::short(&source, &diagnostics));
            }
        }
    }
    assert!(all > 1_000, "{all}");
    let share = several.len() * 100 / all;
    assert!(share <= MAX_SEVERAL, "{} of {all}:\n{}", several.len(), several.join("\n"));
}

/// The span of an unknown name is exactly the written text, at every position in an expression and
/// a scalar.
#[test]
fn a_diagnostic_points_at_the_text_that_it_names() {
    /// Expressions with `@` in place of the unknown name, each with the expected rule.
    const EXPRESSIONS: &[(&str, &str)] = &[
        ("@", "RB023"),
        ("@.name.first", "RB023"),
        ("1 + @ * 2", "RB023"),
        ("inputs.@", "RB026"),
        ("inputs['@']", "RB026"),
        ("group.@", "RB027"),
        ("group.nodes[0].@", "RB027"),
        ("group.nodes[0].labels.x ~ group.nodes[1].@", "RB027"),
        ("up.before.@ + 1", "RB027"),
        ("group['@']", "RB027"),
        ("group.name | @", "RB028"),
        ("group.name | upper | @(1, 'x')", "RB028"),
        ("group.name is @", "RB028"),
        ("'é🚀' ~ (group.desired if group.@ else 3)", "RB027"),
        ("[1, {'a': group.@}]", "RB027"),
        ("group.desired < 3 and not (group.@ == 1 or @)", "RB027"),
        ("(group.nodes | map(attribute='name') | join(',')) ~ @", "RB023"),
        ("group.nodes[group.@]", "RB027"),
        ("later.name ~ @", "RB023"),
    ];
    const WRONG: &str = "zz_9";
    let registry = registry();
    let mut random = Xorshift(7);
    let mut checked_places = 0;
    for round in 0..1_500 {
        let (expression, code) = EXPRESSIONS[round % EXPRESSIONS.len()];
        let mut expression = expression.replace('@', WRONG);
        if random.next_below(3) == 0 {
            expression = expression.replace(' ', "   ");
        }
        let (before, after) =
            (random.pick(&["", "a ", "Größe: 🚀 "]), random.pick(&["", " b", "é"]));
        let template = format!("{before}{{{{ {expression} }}}}{after}");
        let scalar = match random.next_below(4) {
            0 => format!("'{}'", template.replace('\'', "''")),
            1 => format!("\"\\u00e9\\t{}\"", template.replace('é', "\\u00e9")),
            2 => format!("|\n        {}", template.replace("   ", "\n          ")),
            _ => format!(">-\n        one\n        {template}\n\n        two"),
        };
        let text = format!(
            "name: x\nsteps:\n  - id: group\n    action: find_nodegroup\n    with: {{region: us-west-2, \
             cluster: c, labels: {{}}}}\n  - id: up\n    action: scale_nodegroup\n    with: \
             {{nodegroup: \"{{{{ group }}}}\", desired: 4}}\n  - id: a\n    action: assert\n    with:\n      \
             that: true\n      message: {scalar}\n  - id: later\n    action: sleep\n    with: {{for: 5s}}\n"
        );
        let source = Source::new("-", text);
        let diagnostics = check(&source, &registry).diagnostics;
        let named: Vec<_> = diagnostics.iter().filter(|f| f.message.contains(WRONG)).collect();
        assert!(
            named.iter().any(|diagnostic| diagnostic.code == code),
            "{}\n{}",
            source.text(),
            render::short(&source, &diagnostics)
        );
        for diagnostic in named {
            assert_eq!(&source.text()[diagnostic.span.clone()], WRONG, "{}", source.text());
            checked_places += 1;
        }
    }
    assert!(checked_places >= 1_500);
}

/// Each hostile text is rejected or checked quickly, with little stack and bounded output.
#[test]
fn hostile_texts_end_quickly() {
    const LARGE: usize = 200_000;
    let fill = |bit: &str| bit.repeat(LARGE / bit.len());
    let with = |value: &str| {
        format!(
            "name: x\nsteps:\n  - id: a\n    action: assert\n    with: {{that: true, message: {value}}}\n"
        )
    };
    let expression = |text: &str| with(&format!("'{{{{ {text} }}}}'"));
    let steps = |step: &dyn Fn(usize) -> String| {
        let steps: String = (0..LARGE / 100).map(step).collect();
        format!("name: x\nsteps:\n{steps}")
    };
    let mut texts: Vec<String> = [
        "[", "{", "- ", "? ", ": ", "a: ", "\"", "'", "&a ", "*a ", "!a ", "\n", "\t", "#", "|\n",
        "---\n", "%a\n", "a: b\n", "\0", "🚀", "{{ x }}", "[a,",
    ]
    .map(fill)
    .into();
    texts.extend(
        ["{{ x }}", "{{ ", "{# ", "{% ", "}} "].map(|bit| with(&format!("'{}'", fill(bit)))),
    );
    texts.extend(["-", "(", "[", "not ", "a.b", "x|upper ", "1+", "a if b else "].map(|bit| {
        expression(&bit.repeat(120)) // within the limit of tokens, or just beyond it
    }));
    texts.extend(["-", "(", "b", ".b", "'a'", "1 ", "é"].map(|bit| expression(&fill(bit))));
    texts.push(expression("'a' * 100000000 * 100000000"));
    texts.push(expression("9 ** 9 ** 9 ** 9"));
    texts.push(with(&format!("\"{}\"", fill("\\u00e9{{ x }}"))));
    texts.push(steps(&|i| format!(" - {{id: s{i}, action: b{i}, when: '{{{{ t{i}.x }}}}'}}\n")));
    texts.push(steps(&|i| format!(" - {{id: s, action: assert, k{i}: 1, l{i}: 2}}\n")));
    texts.push(steps(&|i| {
        format!(" - {{id: s{i}, when: '{{{{ s{}.x }}}}', action: assert}}\n", i + 1)
    }));
    let registry = registry();
    for text in texts {
        let source = Source::new("-", text);
        let diagnostics = check(&source, &registry).diagnostics;
        assert!(diagnostics.len() <= runbook::MAX_DIAGNOSTICS + 1);
        assert_renderable(&source, &diagnostics);
        let rendered = render::human(&source, &diagnostics, false);
        assert!(rendered.len() < 200_000, "{} bytes are rendered", rendered.len());
    }
    let large = Source::new("-", "a".repeat((1 << 20) + 1));
    assert_eq!(check(&large, &registry).diagnostics[0].code, "RB002");
}
