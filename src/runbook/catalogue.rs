//! What actions there are: their names, parameters and outputs. The language is given it and never
//! meets an action.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::types::{Record, Unsupported};

/// The actions that a runbook may name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    actions: BTreeMap<String, Signature>,
}

/// An action as the language sees it.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The name that a step's `action` gives.
    pub name: String,
    /// One line that says what it does.
    pub summary: String,
    /// Whether it looks, waits or changes.
    pub kind: Kind,
    /// What undoing it restores.
    pub undo: Undo,
    /// Whether a failure of it can heal by being tried again.
    pub retries: bool,
    /// The action that takes back what this one does, given the same parameters.
    pub opposite: Option<String>,
    /// Its parameters.
    pub params: Record,
    /// Its output.
    pub output: Record,
}

/// Whether an action looks, waits or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
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
pub enum Undo {
    /// It changes nothing.
    NotNeeded,
    /// What stood before.
    Restores,
    /// Nothing can be restored, which is said beforehand.
    Nothing,
}

impl Signature {
    /// A signature from the schemas of the action's parameter and output structs. The parameters'
    /// description is the action's; its first line is the summary. Two extensions on the
    /// parameters' struct say more of the action: `x-never-retried: true`, and `x-opposite: "NAME"`
    /// of the action that takes it back.
    ///
    /// # Errors
    /// A schema uses what the language has no type for.
    pub fn from_schemas(
        name: &str,
        kind: Kind,
        undo: Undo,
        params: &Json,
        output: &Json,
    ) -> Result<Self, Unsupported> {
        let schema = params;
        let mut params = Record::from_schema(name, schema)?;
        let mut output = Record::from_schema(name, output)?;
        params.name = name.to_owned();
        output.name = format!("output of {name}");
        let flag = |name: &str| schema.get(name).and_then(Json::as_bool) == Some(true);
        let opposite = schema.get("x-opposite").and_then(Json::as_str);
        let summary = params.description.lines().next().unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            summary: summary.to_owned(),
            kind,
            undo,
            retries: !flag("x-never-retried"),
            opposite: opposite.map(str::to_owned),
            params,
            output,
        })
    }
}

impl Catalogue {
    /// A catalogue of these actions.
    pub fn new(actions: Vec<Signature>) -> Self {
        let by_name = |action: Signature| (action.name.clone(), action);
        Self { actions: actions.into_iter().map(by_name).collect() }
    }

    /// The action of a name.
    pub fn get(&self, name: &str) -> Option<&Signature> {
        self.actions.get(name)
    }

    /// All actions, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Signature> {
        self.actions.values()
    }
}
