//! The action registry: the names, parameters and outputs of all actions. The language is given the
//! registry and never an action itself.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::limits::LimitKind;
use super::types::{RecordType, UnsupportedSchema};

/// The actions that a runbook may name. A signature is made when it is asked for: a runbook has a few of the actions,
/// and to make those of all takes longer than to check it.
#[derive(Debug, Default)]
pub struct ActionRegistry {
    actions: BTreeMap<String, LazySignature>,
}

type LazySignature = LazyLock<ActionSignature, Box<dyn FnOnce() -> ActionSignature + Send + Sync>>;

/// The signature of an action: everything that the language knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionSignature {
    /// The name, as in a step's `action`.
    pub name: String,
    /// A summary of the action, in one line.
    pub summary: String,
    /// Whether the action reads, waits or changes.
    pub kind: ActionKind,
    /// The effect of undoing the action.
    pub reversibility: Reversibility,
    /// Whether a failure of the action may be retried.
    pub retries: bool,
    /// Whether the action waits for persons, whose answers to the questions of a parameter are in its output.
    pub asks: bool,
    /// Whether the action does more each time, given the same parameters.
    pub repeats: bool,
    /// The parameter with which it does.
    pub repeats_with: Option<String>,
    /// The action that reverts this one, given the same parameters.
    pub opposite: Option<String>,
    /// The parameters.
    pub params: RecordType,
    /// The output.
    pub output: RecordType,
    /// The use of the Kubernetes object that the parameters name, if they name one of any kind.
    pub object: Option<ObjectUse>,
    /// The limits of a runbook that the action can reach.
    pub limits: Vec<LimitKind>,
    /// Those of them that it reaches only with a flag among the parameters, with the flag.
    pub limits_with: Vec<(LimitKind, String)>,
}

/// The use of an object of any kind, which the parameters `api_version`, `kind`, `resource`, `namespace` and `name`
/// name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ObjectUse {
    /// The parameter that declares the fields of the output: a map of records with `path` and `type`.
    pub fields: Option<String>,
    /// The parameter with which every field of the output may be null.
    pub nullable_if: Option<String>,
    /// The parameter with the merge patch.
    pub patch: Option<String>,
}

/// Whether an action reads, waits or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Reads once.
    Read,
    /// Reads until a condition holds.
    Wait,
    /// Changes something.
    Change,
}

/// The effect of undoing an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversibility {
    /// The action changes nothing.
    #[serde(rename = "not_needed")]
    NotApplicable,
    /// The previous state is restored.
    #[serde(rename = "restores")]
    Reversible,
    /// Nothing can be restored, which a plan says before the run.
    #[serde(rename = "nothing")]
    Irreversible,
}

impl ActionSignature {
    /// Creates a signature from the schemas of the action's parameter and output structs. The
    /// description of the parameters is the action's; its first line is the summary. The
    /// parameters' schema may have these extensions: `x-never-retried: true`, `x-opposite: "NAME"`
    /// with the action that reverts this one, `x-repeats: true` of one that does more each time, or the parameter with
    /// which it does, `x-asks: true` of one that waits for persons, `x-object`
    /// with an [`ObjectUse`], `x-limits` with the limits that the action can reach, and `x-limits-with` with those that
    /// it reaches only with a flag, and the flag. A parameter
    /// with `x-literal: true` takes no template; a duration with `x-outlasts: true` may be longer than the step.
    /// Those about relations between parameters are at [`FieldRelation`](super::types::FieldRelation), and those about
    /// literals at [`FieldChecks`](super::types::FieldChecks).
    ///
    /// # Errors
    /// A schema uses a construct that the language has no type for.
    pub fn from_schemas(
        name: &str,
        kind: ActionKind,
        reversibility: Reversibility,
        params: &Json,
        output: &Json,
    ) -> Result<Self, UnsupportedSchema> {
        let schema = params;
        let mut params = RecordType::from_schema(name, schema)?;
        let mut output = RecordType::from_schema(name, output)?;
        name.clone_into(&mut params.name);
        output.name = format!("output of {name}");
        let flag = |name: &str| schema.get(name).and_then(Json::as_bool) == Some(true);
        let opposite = schema.get("x-opposite").and_then(Json::as_str);
        let object = schema.get("x-object").map(ObjectUse::deserialize).transpose();
        let object = object.map_err(|error| UnsupportedSchema {
            location: name.to_owned(),
            what: format!("x-object ({error})"),
        })?;
        let limits = schema.get("x-limits").map(Vec::<LimitKind>::deserialize).transpose();
        let limits = limits.map_err(|error| UnsupportedSchema {
            location: name.to_owned(),
            what: format!("x-limits ({error})"),
        })?;
        let limits_with =
            schema.get("x-limits-with").map(BTreeMap::<LimitKind, String>::deserialize);
        let limits_with = limits_with.transpose().map_err(|error| UnsupportedSchema {
            location: name.to_owned(),
            what: format!("x-limits-with ({error})"),
        })?;
        let summary = params.description.lines().next().unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            summary: summary.to_owned(),
            kind,
            reversibility,
            retries: !flag("x-never-retried"),
            asks: flag("x-asks"),
            repeats: flag("x-repeats"),
            repeats_with: schema.get("x-repeats").and_then(Json::as_str).map(str::to_owned),
            opposite: opposite.map(str::to_owned),
            params,
            output,
            object,
            limits: limits.unwrap_or_default(),
            limits_with: limits_with.unwrap_or_default().into_iter().collect(),
        })
    }
}

impl ActionSignature {
    /// Returns whether the parameters of a step declare the fields of its output.
    pub fn declares_output(&self) -> bool {
        self.object.as_ref().is_some_and(|object| object.fields.is_some())
    }
}

impl ActionRegistry {
    /// Creates a registry of these actions.
    pub fn new(actions: Vec<ActionSignature>) -> Self {
        Self::lazy(actions.into_iter().map(|action| (action.name.clone(), move || action)))
    }

    /// Creates a registry of actions by their names, of which each is made when it is asked for.
    pub fn lazy<S>(actions: impl IntoIterator<Item = (String, S)>) -> Self
    where
        S: FnOnce() -> ActionSignature + Send + Sync + 'static,
    {
        let lazy = |(name, signature): (String, S)| (name, LazySignature::new(Box::new(signature)));
        Self { actions: actions.into_iter().map(lazy).collect() }
    }

    /// Returns the action with a name.
    pub fn get(&self, name: &str) -> Option<&ActionSignature> {
        self.actions.get(name).map(|signature| &**signature)
    }

    /// Returns the names of all actions, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.actions.keys().map(String::as_str)
    }

    /// Returns all actions, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &ActionSignature> {
        self.actions.values().map(|signature| &**signature)
    }
}

/// The reason why a text is not an action registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The text is not JSON.
    #[error("the action registry is not valid JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// The JSON is something else.
    #[error("not an action registry: expected an object with `format` and `actions`")]
    NotARegistry,
    /// A newer version of the program wrote it.
    #[error("the action registry has format {found}, and this version reads format {FORMAT}")]
    UnknownFormat {
        /// The format of the text.
        found: u64,
    },
    /// One of its actions is not valid.
    #[error("action {action}: {reason}")]
    InvalidAction {
        /// The action's name in backticks, or its number, from 1.
        action: String,
        /// The problem.
        reason: String,
    },
}

/// The version of the registry's JSON form. A new version is for changes that a reader of the
/// previous one would misunderstand; a new key that a reader may ignore is not such a change.
const FORMAT: u64 = 1;

impl ActionRegistry {
    /// Reads the JSON form of a registry, which is `schema/actions.json`: an object with the number
    /// `format` and the list `actions`. The list alone, as `rafay-relay-sop actions --format json`
    /// prints it, is read as format 1. Of an action, `name`, `kind`, `reversibility`, `parameters`
    /// and `output` are used; other keys are ignored.
    ///
    /// # Errors
    /// The text is not JSON or has another format. An action is incomplete, is a duplicate, or has a
    /// schema with a construct that the language has no type for.
    pub fn from_json(text: &str) -> Result<Self, RegistryError> {
        let document: Json = serde_json::from_str(text).map_err(RegistryError::NotJson)?;
        let actions = match &document {
            Json::Array(actions) => actions,
            document => match (document["format"].as_u64(), document["actions"].as_array()) {
                (Some(FORMAT), Some(actions)) => actions,
                (Some(found), _) if found != FORMAT => {
                    return Err(RegistryError::UnknownFormat { found });
                }
                _ => return Err(RegistryError::NotARegistry),
            },
        };
        let mut by_name = BTreeMap::new();
        for (at, json) in actions.iter().enumerate() {
            let name = json["name"].as_str();
            let invalid = |reason: String| RegistryError::InvalidAction {
                action: name.map_or_else(|| (at + 1).to_string(), |name| format!("`{name}`")),
                reason,
            };
            let signature = ActionSignature::from_json(json).map_err(invalid)?;
            let name = signature.name.clone();
            let known = LazySignature::new(Box::new(move || signature));
            if by_name.insert(name, known).is_some() {
                return Err(invalid("duplicate name".to_owned()));
            }
        }
        Ok(Self { actions: by_name })
    }
}

impl ActionSignature {
    fn from_json(json: &Json) -> Result<Self, String> {
        let field = |key: &str| json.get(key).ok_or_else(|| format!("`{key}` is missing"));
        let name = field("name")?.as_str().ok_or("`name` is not a string")?;
        let kind = ActionKind::deserialize(field("kind")?)
            .map_err(|error| format!("`kind` is not valid: {error}"))?;
        let reversibility = Reversibility::deserialize(field("reversibility")?)
            .map_err(|error| format!("`reversibility` is not valid: {error}"))?;
        Self::from_schemas(name, kind, reversibility, field("parameters")?, field("output")?)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn action(name: &str) -> Json {
        json!({
            "name": name,
            "revision": 1,
            "kind": "wait",
            "reversibility": "not_needed",
            "parameters": {
                "type": "object",
                "description": "Waits.",
                "properties": {"duration": {"type": "string"}},
                "required": ["duration"],
            },
            "output": {"type": "object", "properties": {}},
        })
    }

    fn message(document: &Json) -> String {
        ActionRegistry::from_json(&document.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn a_registry_is_read_with_and_without_its_format() {
        let list = json!([action("sleep"), action("rest")]);
        let alone = ActionRegistry::from_json(&list.to_string()).unwrap();
        let document = json!({"format": 1, "actions": list});
        let both = ActionRegistry::from_json(&document.to_string()).unwrap();
        assert!(both.iter().eq(alone.iter()));
        let sleep = alone.get("sleep").unwrap();
        assert_eq!((sleep.kind, sleep.summary.as_str()), (ActionKind::Wait, "Waits."));
        assert_eq!(alone.iter().count(), 2);
    }

    #[test]
    fn an_invalid_registry_is_rejected_with_the_reason() {
        let not_json = ActionRegistry::from_json("name: x").unwrap_err().to_string();
        assert!(not_json.starts_with("the action registry is not valid JSON: expected"));
        let not_a_registry =
            "not an action registry: expected an object with `format` and `actions`";
        for document in [json!(3), json!({}), json!({"format": 1}), json!({"actions": []})] {
            assert_eq!(message(&document), not_a_registry, "{document}");
        }
        assert_eq!(
            message(&json!({"format": 2, "operations": []})),
            "the action registry has format 2, and this version reads format 1"
        );
    }

    #[test]
    fn an_invalid_action_is_named() {
        let changed = |key: &str, value: Json| {
            let mut sleep = action("sleep");
            sleep[key] = value;
            message(&json!({"format": 1, "actions": [action("rest"), sleep]}))
        };
        assert_eq!(changed("name", json!(7)), "action 2: `name` is not a string");
        assert_eq!(changed("name", json!("rest")), "action `rest`: duplicate name");
        let kind = changed("kind", json!("dream"));
        assert!(kind.starts_with("action `sleep`: `kind` is not valid: unknown variant"), "{kind}");
        let output = changed("output", json!({"type": "tuple"}));
        assert!(output.starts_with("action `sleep`: sleep: "), "{output}");
        let mut incomplete = action("sleep");
        incomplete.as_object_mut().unwrap().remove("parameters");
        assert_eq!(message(&json!([incomplete])), "action `sleep`: `parameters` is missing");
    }
}
