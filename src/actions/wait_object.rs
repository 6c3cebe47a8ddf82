//! `wait_object`: until an object of any kind is as wanted, or gone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Action, Error, Permission, PlatformReader, Progress, Result, Wait,
    objects::{self, ObjectParams},
};
use crate::platform::{
    kubernetes::ObjectAddress,
    wait::{self, WaitState},
};
use runbook::objects::{ObjectKind, ObjectPath, refusal_to_read};

/// Waits until one Kubernetes object of any kind is as wanted, or gone.
///
/// All of `until` must hold at the same time. An object that does not exist is waited for, up to the step's timeout.
/// As with `kubectl wait`, a condition counts only when the object's controller has seen the last change of the
/// object. Values are compared as they are written, so `equals: 3` is true for the number and for the string.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-object" = {}, "x-exactly-one-of" = [["until", "gone"]]))]
pub struct Params {
    /// API group and version of the kind, such as `apps/v1`; `v1` for the core group.
    #[schemars(extend("x-literal" = true))]
    pub api_version: String,
    /// The kind, such as `Job`.
    #[schemars(extend("x-literal" = true))]
    pub kind: String,
    /// The kind in the plural, as `kubectl api-resources` shows it, such as `certificates`. Required where Kubernetes
    /// itself does not have the kind.
    #[serde(default)]
    #[schemars(extend("x-literal" = true, "x-syntax" = "kubernetes-name"))]
    pub resource: Option<String>,
    /// Namespace of the object; none for a kind without namespaces.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: Option<String>,
    /// Name of the object.
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub name: String,
    /// The expectations: each `{condition: Ready}`, or a `path` with a test of its value, such as
    /// `{path: .status.phase, equals: Running}`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub until: Option<Vec<Expectation>>,
    /// `true` waits until the object that is there when the step begins no longer exists.
    #[serde(default)]
    #[schemars(extend("x-only" = true))]
    pub gone: Option<bool>,
}

/// An expectation of the object.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [
    ["condition", "path"],
    ["condition", "equals", "not_equals", "at_least", "exists"],
], "x-excludes" = [
    ["path", {"status": "False"}, "the status is that of a condition"],
    ["path", {"status": "Unknown"}, "the status is that of a condition"],
], "x-no-effect" = [[{"status": "True"}, "path", "the status is that of a condition"]]))]
pub struct Expectation {
    /// The type of one of the conditions in `.status.conditions`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub condition: Option<String>,
    /// The status that the condition must have.
    #[serde(default)]
    pub status: ConditionStatus,
    /// The path to a field, such as `.status.phase`.
    #[serde(default)]
    #[schemars(extend("x-literal" = true, "x-syntax" = "object-path"))]
    pub path: Option<String>,
    /// The value of the field.
    #[serde(default)]
    pub equals: Option<String>,
    /// A value that the field must have no longer. A field that is missing has no other value.
    #[serde(default)]
    pub not_equals: Option<String>,
    /// The least number that the value may be.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Whether the object has the field.
    #[serde(default)]
    pub exists: Option<bool>,
}

/// The status of a condition, as Kubernetes writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    #[default]
    True,
    /// The condition does not hold.
    False,
    /// The controller does not know.
    Unknown,
}

impl ConditionStatus {
    fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The object that was waited for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// UID of the object; null when it is gone.
    #[schemars(extend("x-syntax" = "uid"))]
    pub uid: Option<String>,
}

pub(super) struct WaitObject;

impl Action for WaitObject {
    const NAME: &'static str = "wait_object";
    const PERMISSIONS: &'static [Permission] = &[Permission::object(&["list", "watch"])];
    type Params = Params;
    type Output = Output;
}

impl Wait for WaitObject {
    async fn wait(params: Params, reader: &PlatformReader, progress: &Progress) -> Result<Output> {
        let Params { api_version, kind, resource, namespace, name, until, gone } = params;
        if until.is_none() && gone != Some(true) {
            return Err(Error::precondition("there is nothing to wait for: `gone` is not true"));
        }
        let (kind, address) =
            ObjectParams { api_version, kind, resource, namespace, name }.resolve()?;
        let tests = until.map(|until| {
            until.into_iter().map(|one| Test::new(one, &kind)).collect::<Result<Vec<Test>>>()
        });
        let tests = tests.transpose()?;
        let mut watch = reader.kubernetes().await?.watch_any(&address);
        let seen = watch.view();
        let mut first = None;
        let evaluate = || {
            let object = seen.objects().first().map(|object| objects::content(object));
            let uid = object.as_ref().and_then(uid_of);
            match &tests {
                Some(tests) => evaluate_tests(tests, object.as_ref(), &address).map(|()| uid),
                None => {
                    let awaited = first.get_or_insert_with(|| uid.clone());
                    evaluate_gone(awaited.as_deref(), object.as_ref(), &address).map(|()| None)
                }
            }
        };
        let waited = wait::until(progress, &mut [&mut watch], evaluate).await;
        let uid = waited.map_err(|error| objects::explain(error.into(), &address))?;
        Ok(Output { uid })
    }
}

fn uid_of(object: &Value) -> Option<String> {
    object["metadata"]["uid"].as_str().map(str::to_owned)
}

/// An expectation, read.
#[derive(Debug)]
enum Test {
    Condition(String, ConditionStatus),
    Field(ObjectPath, FieldTest),
}

#[derive(Debug)]
enum FieldTest {
    Equals(String),
    NotEquals(String),
    AtLeast(f64),
    Exists(bool),
}

impl Test {
    fn new(one: Expectation, kind: &ObjectKind) -> Result<Self> {
        let Expectation { condition, status, path, equals, not_equals, at_least, exists } = one;
        let tests = [
            equals.map(FieldTest::Equals),
            not_equals.map(FieldTest::NotEquals),
            at_least.map(FieldTest::AtLeast),
            exists.map(FieldTest::Exists),
        ];
        // The registry lets only one of them be given, and none together with a condition.
        match (condition, path, tests.into_iter().flatten().next()) {
            (Some(condition), ..) => Ok(Self::Condition(condition, status)),
            (None, Some(_), Some(_)) if status != ConditionStatus::True => {
                Err(Error::precondition("`status` is that of a `condition`, not of a `path`"))
            }
            (None, Some(path), Some(test)) => {
                let parsed = ObjectPath::parse(&path);
                let path = parsed.ok_or_else(|| {
                    Error::precondition(format!("'{path}' is not a path to a field"))
                })?;
                match refusal_to_read(kind, &path) {
                    Some(why) => Err(Error::precondition(why)),
                    None => Ok(Self::Field(path, test)),
                }
            }
            (None, ..) => Err(Error::precondition(
                "each of `until` needs a `condition`, or a `path` with a test",
            )),
        }
    }

    /// Returns what is missing; none where the object is as wanted.
    fn missing(&self, object: &Value) -> Option<String> {
        match self {
            Self::Condition(name, wanted) => missing_condition(object, name, *wanted),
            Self::Field(path, test) => {
                test.missing(path, path.find(object).unwrap_or(&Value::Null))
            }
        }
    }
}

impl FieldTest {
    fn missing(&self, path: &ObjectPath, found: &Value) -> Option<String> {
        let is_there = !found.is_null();
        let (holds, wanted) = match self {
            Self::Equals(wanted) => (written(found).as_ref() == Some(wanted), wanted.clone()),
            Self::NotEquals(other) => {
                (is_there && written(found).as_ref() != Some(other), "another value".to_owned())
            }
            Self::AtLeast(least) => {
                (found.as_f64().is_some_and(|found| found >= *least), format!("at least {least}"))
            }
            Self::Exists(true) => (is_there, "a value".to_owned()),
            Self::Exists(false) => (!is_there, "no value".to_owned()),
        };
        (!holds).then(|| format!("{path} is {}, not {wanted}", objects::shown(found)))
    }
}

/// Returns the written form of a string, number or boolean.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn missing_condition(object: &Value, name: &str, wanted: ConditionStatus) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice);
    let conditions = conditions.unwrap_or_default();
    // kubectl compares without regard to case.
    let is_meant =
        |one: &&Value| one["type"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(name));
    let Some(condition) = conditions.iter().find(is_meant) else {
        return Some(format!("it has no condition {name} yet"));
    };
    let observed = condition["observedGeneration"].as_i64();
    let observed = observed.or_else(|| object["status"]["observedGeneration"].as_i64());
    let is_stale = observed
        .zip(object["metadata"]["generation"].as_i64())
        .is_some_and(|(observed, generation)| observed < generation);
    if is_stale {
        return Some("its controller has not seen its last change yet".to_owned());
    }
    let status = condition["status"].as_str().unwrap_or_default();
    if status == wanted.name() {
        return None;
    }
    let why = ["reason", "message"].into_iter().filter_map(|part| condition[part].as_str());
    let why: Vec<&str> = why.map(str::trim).filter(|part| !part.is_empty()).collect();
    let why = if why.is_empty() { String::new() } else { format!(": {}", why.join(": ")) };
    Some(format!("{name} is {status}{why}"))
}

fn evaluate_tests(
    tests: &[Test],
    object: Option<&Value>,
    address: &ObjectAddress,
) -> WaitState<()> {
    let Some(object) = object else {
        return WaitState::Pending(format!("{address} does not exist yet"));
    };
    let missing: Vec<String> = tests.iter().filter_map(|test| test.missing(object)).collect();
    if missing.is_empty() {
        return WaitState::Ready(());
    }
    WaitState::Pending(format!("{address}: {}", missing.join("; ")))
}

fn evaluate_gone(
    awaited: Option<&str>,
    object: Option<&Value>,
    address: &ObjectAddress,
) -> WaitState<()> {
    // A successor of the same name is another object.
    let Some(object) = object.filter(|object| awaited == uid_of(object).as_deref()) else {
        return WaitState::Ready(());
    };
    let finalizers = object["metadata"]["finalizers"].as_array().map(Vec::as_slice);
    let finalizers: Vec<&str> =
        finalizers.unwrap_or_default().iter().filter_map(Value::as_str).collect();
    WaitState::Pending(match (object["metadata"]["deletionTimestamp"].is_null(), &*finalizers) {
        (true, _) => format!("{address} exists, and is not being deleted"),
        (false, []) => format!("{address} is being deleted"),
        (false, held) => format!("{address} is being deleted, held by {}", held.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn missing(expectation: Value, object: &Value) -> Option<String> {
        let one: Expectation = serde_json::from_value(expectation).unwrap();
        let kind = ObjectKind::new("v1", "Pod", None, true).unwrap();
        Test::new(one, &kind).unwrap().missing(object)
    }

    #[test]
    fn a_condition_is_found_with_its_status_and_the_reason() {
        let object = json!({"metadata": {"generation": 2}, "status": {
            "observedGeneration": 2,
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "Pulling", "message": "pulls the image"},
                {"type": "Valid", "status": "True"},
                {"type": "Old", "status": "True", "observedGeneration": 1},
            ],
        }});
        for (expectation, what) in [
            (json!({"condition": "Valid"}), None),
            (json!({"condition": "valid"}), None),
            (json!({"condition": "Ready", "status": "False"}), None),
            (json!({"condition": "Ready"}), Some("Ready is False: Pulling: pulls the image")),
            (json!({"condition": "Other"}), Some("it has no condition Other yet")),
            (json!({"condition": "Old"}), Some("its controller has not seen its last change yet")),
        ] {
            assert_eq!(missing(expectation, &object).as_deref(), what);
        }
    }

    #[test]
    fn a_field_is_compared_as_it_is_written() {
        let object = json!({"status": {"phase": "Running", "count": 3, "on": true, "list": []}});
        for (expectation, what) in [
            (json!({"path": ".status.phase", "equals": "Running"}), None),
            (json!({"path": ".status.count", "equals": "3"}), None),
            (json!({"path": ".status.on", "equals": "true"}), None),
            (json!({"path": ".status.count", "at_least": 3.0}), None),
            (json!({"path": ".status.phase", "not_equals": "Pending"}), None),
            (json!({"path": ".status.list", "exists": true}), None),
            (json!({"path": ".status.other", "exists": false}), None),
            (
                json!({"path": ".status.phase", "equals": "Failed"}),
                Some(".status.phase is \"Running\", not Failed"),
            ),
            (
                json!({"path": ".status.count", "at_least": 4.0}),
                Some(".status.count is 3, not at least 4"),
            ),
            (
                json!({"path": ".status.other", "not_equals": "x"}),
                Some(".status.other is none, not another value"),
            ),
        ] {
            assert_eq!(missing(expectation, &object).as_deref(), what);
        }
    }
}
