//! What actions there are: their names, parameters and outputs. The language is given it and never
//! meets an action.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::types::{RecordType, UnsupportedSchema};

/// The actions that a runbook may name.
#[derive(Debug, Clone, Default)]
pub struct ActionRegistry {
    actions: BTreeMap<String, ActionSignature>,
}

/// An action as the language sees it.
#[derive(Debug, Clone)]
pub struct ActionSignature {
    /// The name that a step's `action` gives.
    pub name: String,
    /// One line that says what it does.
    pub summary: String,
    /// Whether it looks, waits or changes.
    pub kind: ActionKind,
    /// What undoing it restores.
    pub reversibility: Reversibility,
    /// Whether a failure of it can heal by being tried again.
    pub retries: bool,
    /// The action that takes back what this one does, given the same parameters.
    pub opposite: Option<String>,
    /// Its parameters.
    pub params: RecordType,
    /// Its output.
    pub output: RecordType,
}

/// Whether an action looks, waits or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Looks once.
    Read,
    /// Looks until it is so.
    Wait,
    /// Changes something.
    Change,
}

/// What undoing an action restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversibility {
    /// It changes nothing.
    #[serde(rename = "not_needed")]
    NotApplicable,
    /// What stood before.
    #[serde(rename = "restores")]
    Reversible,
    /// Nothing can be restored, which is said beforehand.
    #[serde(rename = "nothing")]
    Irreversible,
}

impl ActionSignature {
    /// A signature from the schemas of the action's parameter and output structs. The parameters'
    /// description is the action's; its first line is the summary. Two extensions on the
    /// parameters' struct say more of the action: `x-never-retried: true`, and `x-opposite: "NAME"`
    /// of the action that takes it back.
    ///
    /// # Errors
    /// A schema uses what the language has no type for.
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
        params.name = name.to_owned();
        output.name = format!("output of {name}");
        let flag = |name: &str| schema.get(name).and_then(Json::as_bool) == Some(true);
        let opposite = schema.get("x-opposite").and_then(Json::as_str);
        let summary = params.description.lines().next().unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            summary: summary.to_owned(),
            kind,
            reversibility,
            retries: !flag("x-never-retried"),
            opposite: opposite.map(str::to_owned),
            params,
            output,
        })
    }
}

impl ActionRegistry {
    /// A catalogue of these actions.
    pub fn new(actions: Vec<ActionSignature>) -> Self {
        let by_name = |action: ActionSignature| (action.name.clone(), action);
        Self { actions: actions.into_iter().map(by_name).collect() }
    }

    /// The action of a name.
    pub fn get(&self, name: &str) -> Option<&ActionSignature> {
        self.actions.get(name)
    }

    /// All actions, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ActionSignature> {
        self.actions.values()
    }
}
