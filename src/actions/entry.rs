//! An action with its types erased to JSON.
//!
//! Erasure is by plain function pointers: no trait objects, no macro, no central enum. A verb takes JSON, reads it
//! into the action's own type once, and returns JSON.

use std::{future::Future, pin::Pin};

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Action, Change, Cluster, Diff, Error, Permission, Progress, Read, Reader, Result, Wait, Writer,
};
use crate::runbook::{ActionKind, ActionSignature, Reversibility};

type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;
type Look = for<'a> fn(Value, &'a Reader, &'a Progress) -> Running<'a, Value>;

/// The intent, the receipt if there is one, and the hands to put things back with.
type PutBack =
    for<'a> fn(&'a Value, Option<&'a Value>, &'a Writer, &'a Progress) -> Running<'a, Vec<String>>;

/// An action as the engine, the checks and the documentation see it.
pub struct Entry {
    /// The word that a runbook uses.
    pub name: &'static str,
    /// See [`Action::REVISION`].
    pub revision: u32,
    /// What the platform must allow.
    pub permissions: &'static [Permission],
    /// JSON Schema of its parameters.
    pub params: Value,
    /// JSON Schema of its output.
    pub output: Value,
    /// What it does.
    pub verbs: Verbs,
}

/// What an action does.
pub enum Verbs {
    /// It looks.
    Read(Look),
    /// It looks until something is so.
    Wait(Look),
    /// It changes the world.
    Change(ChangeVerbs),
}

/// The verbs of a [`Change`], at JSON.
pub struct ChangeVerbs {
    /// See [`Change::UNDO`].
    pub undoes: Reversibility,
    /// See [`Change::changes`].
    pub changes: fn(&Value) -> Result<Vec<Diff>>,
    /// See [`Change::prepare`].
    pub prepare: Look,
    /// See [`Change::apply`].
    pub apply: for<'a> fn(&'a Value, &'a Writer) -> Running<'a, Value>,
    /// See [`Change::settle`].
    pub settle: for<'a> fn(&'a Value, &'a Value, &'a Reader, &'a Progress) -> Running<'a, Value>,
    /// See [`Change::undo`].
    pub undo: PutBack,
}

impl Entry {
    /// Erases an action that looks.
    pub fn read<A: Read>() -> Self {
        Self::of::<A>(Verbs::Read(|params, reader, progress| {
            Box::pin(async move { to_json(A::read(parameters(params)?, reader, progress).await?) })
        }))
    }

    /// Erases an action that waits.
    pub fn wait<A: Wait>() -> Self {
        Self::of::<A>(Verbs::Wait(|params, reader, progress| {
            Box::pin(async move { to_json(A::wait(parameters(params)?, reader, progress).await?) })
        }))
    }

    /// Erases an action that changes the world.
    pub fn change<A: Change>() -> Self {
        Self::of::<A>(Verbs::Change(ChangeVerbs {
            undoes: A::UNDO,
            changes: |intent| Ok(A::changes(&from_json("the intent", intent)?)),
            prepare: |params, reader, progress| {
                Box::pin(async move {
                    to_json(A::prepare(parameters(params)?, reader, progress).await?)
                })
            },
            apply: |intent, writer| {
                Box::pin(async move {
                    let intent = from_json("the intent", intent)?;
                    to_json(A::apply(&intent, writer).await?)
                })
            },
            settle: |intent, receipt, reader, progress| {
                Box::pin(async move {
                    let intent = from_json("the intent", intent)?;
                    let receipt = from_json("the receipt", receipt)?;
                    to_json(A::settle(&intent, &receipt, reader, progress).await?)
                })
            },
            undo: |intent, receipt, writer, progress| {
                Box::pin(async move {
                    let intent = from_json("the intent", intent)?;
                    let receipt = receipt.map(|r| from_json("the receipt", r)).transpose()?;
                    A::undo(&intent, receipt.as_ref(), writer, progress).await
                })
            },
        }))
    }

    fn of<A: Action>(verbs: Verbs) -> Self {
        Self {
            name: A::NAME,
            revision: A::REVISION,
            permissions: A::PERMISSIONS,
            params: schema::<A::Params>(),
            output: schema::<A::Output>(),
            verbs,
        }
    }

    /// Read, wait or change.
    pub fn kind(&self) -> ActionKind {
        match self.verbs {
            Verbs::Read(_) => ActionKind::Read,
            Verbs::Wait(_) => ActionKind::Wait,
            Verbs::Change(_) => ActionKind::Change,
        }
    }

    /// What its undo puts back.
    pub fn undo(&self) -> Reversibility {
        match &self.verbs {
            Verbs::Read(_) | Verbs::Wait(_) => Reversibility::NotApplicable,
            Verbs::Change(verbs) => verbs.undoes,
        }
    }

    /// Whether it talks to that side.
    pub fn talks_to(&self, side: Cluster) -> bool {
        self.permissions.iter().any(|permission| permission.side() == side)
    }

    /// What the runbook's checks need to know of it.
    pub fn signature(&self) -> ActionSignature {
        ActionSignature::from_schemas(
            self.name,
            self.kind(),
            self.undo(),
            &self.params,
            &self.output,
        )
        .unwrap_or_else(|error| {
            // A programmer's mistake, not a user's: the test `every_action_has_a_signature` meets it first.
            panic!("the types of action {} are outside the documented subset: {error}", self.name)
        })
    }
}

fn schema<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

fn parameters<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|source| Error::Shape { what: "a parameter", source })
}

fn from_json<'a, T: Deserialize<'a>>(what: &'static str, value: &'a Value) -> Result<T> {
    T::deserialize(value).map_err(|source| Error::Shape { what, source })
}

fn to_json<T: Serialize>(value: T) -> Result<Value> {
    serde_json::to_value(value).map_err(|source| Error::Shape { what: "a result", source })
}

#[cfg(test)]
mod tests {
    use crate::actions;

    #[test]
    fn every_action_has_a_signature() {
        for entry in actions::all() {
            let signature = entry.signature();
            assert!(!signature.summary.is_empty(), "{} has no documentation", entry.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = actions::all().iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), actions::all().len());
    }
}
