//! An action with its types erased to JSON.
//!
//! Types are erased with plain function pointers: no trait objects, no macro, no central enum. An operation takes JSON,
//! deserializes it once into the action's type, and returns JSON.

use std::{future::Future, pin::Pin, sync::LazyLock};

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Action, ApprovalRequest, Approve, Change, Error, Impact, KnownTargets, Permission,
    PlannedChange, PlatformKind, PlatformReader, PlatformWriter, Progress, Read, RepeatedParam,
    Result, TargetState, Wait,
};
use runbook::{ActionKind, ActionSignature, Reversibility};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;
type ReadFn = for<'a> fn(Value, &'a PlatformReader, &'a Progress) -> BoxFuture<'a, Value>;
type PrepareFn =
    for<'a> fn(Value, &'a KnownTargets, &'a PlatformReader, &'a Progress) -> BoxFuture<'a, Value>;

type ReadTargetsFn = for<'a> fn(&'a Value, &'a PlatformReader) -> BoxFuture<'a, Vec<TargetState>>;

/// Takes the intent, the receipt if there is one, and the writer.
type UndoFn = for<'a> fn(
    &'a Value,
    Option<&'a Value>,
    &'a PlatformWriter,
    &'a Progress,
) -> BoxFuture<'a, Vec<String>>;

/// An action as the engine, the checks and the documentation see it.
pub struct ActionDef {
    /// The name that a runbook uses.
    pub name: &'static str,
    /// See [`Action::REVISION`].
    pub revision: u32,
    /// The permissions that the action needs.
    pub permissions: &'static [Permission],
    /// See [`Action::REPEATED_PARAMS`].
    pub repeated_params: &'static [RepeatedParam],
    /// JSON Schema of the parameters, which is made when it is asked for.
    pub params: LazyLock<Value>,
    /// JSON Schema of the output.
    pub output: LazyLock<Value>,
    /// See [`Action::add_known_targets`]. An output that does not have the action's type adds nothing.
    pub add_known_targets: fn(&Value, &mut KnownTargets),
    /// The operations.
    pub operations: Operations,
}

/// The operations of an action.
pub enum Operations {
    /// The action reads.
    Read(ReadFn),
    /// The action waits until a condition holds.
    Wait(ReadFn),
    /// The action waits for persons.
    Approval(ApprovalOps),
    /// The action changes something.
    Change(ChangeOps),
}

/// The operations of an [`Approve`], on JSON.
pub struct ApprovalOps {
    /// See [`Approve::request`].
    pub request: fn(Value) -> Result<ApprovalRequest>,
    /// See [`Approve::output`].
    pub output: fn(Vec<String>, Map<String, Value>) -> Result<Value>,
}

/// The operations of a [`Change`], on JSON.
pub struct ChangeOps {
    /// See [`Change::REVERSIBILITY`].
    pub reversibility: Reversibility,
    /// See [`Change::planned_changes`].
    pub planned_changes: fn(&Value) -> Result<Vec<PlannedChange>>,
    /// See [`Change::impact`].
    pub impact: fn(&Value) -> Result<Impact>,
    /// See [`Change::prepare`].
    pub prepare: PrepareFn,
    /// See [`Change::apply`].
    pub apply: for<'a> fn(&'a Value, &'a PlatformWriter) -> BoxFuture<'a, Value>,
    /// See [`Change::settle`].
    pub settle:
        for<'a> fn(&'a Value, &'a Value, &'a PlatformReader, &'a Progress) -> BoxFuture<'a, Value>,
    /// See [`Change::undo`].
    pub undo: UndoFn,
    /// See [`Change::read_targets`].
    pub read_targets: ReadTargetsFn,
    /// See [`Change::clean_up`].
    pub clean_up: for<'a> fn(&'a Value, &'a PlatformWriter) -> BoxFuture<'a, ()>,
}

impl ActionDef {
    /// Erases the types of an action that reads.
    pub fn read<A: Read>() -> Self {
        Self::new::<A>(Operations::Read(|params, reader, progress| {
            Box::pin(
                async move { to_json(A::read(params_from_json(params)?, reader, progress).await?) },
            )
        }))
    }

    /// Erases the types of an action that waits.
    pub fn wait<A: Wait>() -> Self {
        Self::new::<A>(Operations::Wait(|params, reader, progress| {
            Box::pin(
                async move { to_json(A::wait(params_from_json(params)?, reader, progress).await?) },
            )
        }))
    }

    /// Erases the types of an action that waits for persons.
    pub fn approval<A: Approve>() -> Self {
        Self::new::<A>(Operations::Approval(ApprovalOps {
            request: |params| Ok(A::request(params_from_json(params)?)),
            output: |approved_by, answers| to_json(A::output(approved_by, answers)),
        }))
    }

    /// Erases the types of an action that changes something.
    pub fn change<A: Change>() -> Self {
        let operations = Operations::Change(ChangeOps {
            reversibility: A::REVERSIBILITY,
            planned_changes: |intent| Ok(A::planned_changes(&from_json("the intent", intent)?)),
            impact: |intent| Ok(A::impact(&from_json("the intent", intent)?)),
            prepare: |params, known, reader, progress| {
                Box::pin(async move {
                    to_json(A::prepare(params_from_json(params)?, known, reader, progress).await?)
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
            read_targets: |intent, reader| {
                Box::pin(async move {
                    let intent = from_json("the intent", intent)?;
                    A::read_targets(&intent, reader).await
                })
            },
            clean_up: |intent, writer| {
                Box::pin(
                    async move { A::clean_up(&from_json("the intent", intent)?, writer).await },
                )
            },
        });
        let params = || {
            let mut schema = schema_of::<A::Params>();
            if !A::LIMITS.is_empty() {
                schema["x-limits"] = A::LIMITS.iter().map(|limit| limit.key()).collect();
            }
            schema
        };
        Self { params: LazyLock::new(params), ..Self::new::<A>(operations) }
    }

    fn new<A: Action>(operations: Operations) -> Self {
        Self {
            name: A::NAME,
            revision: A::REVISION,
            permissions: A::PERMISSIONS,
            repeated_params: A::REPEATED_PARAMS,
            params: LazyLock::new(schema_of::<A::Params>),
            output: LazyLock::new(schema_of::<A::Output>),
            add_known_targets: |output, known| {
                if let Ok(output) = A::Output::deserialize(output) {
                    A::add_known_targets(&output, known);
                }
            },
            operations,
        }
    }

    /// Returns the kind: read, wait or change.
    pub fn kind(&self) -> ActionKind {
        match self.operations {
            Operations::Read(_) => ActionKind::Read,
            Operations::Wait(_) | Operations::Approval(_) => ActionKind::Wait,
            Operations::Change(_) => ActionKind::Change,
        }
    }

    /// Returns how much the undo restores.
    pub fn reversibility(&self) -> Reversibility {
        match &self.operations {
            Operations::Read(_) | Operations::Wait(_) | Operations::Approval(_) => {
                Reversibility::NotApplicable
            }
            Operations::Change(operations) => operations.reversibility,
        }
    }

    /// Returns whether the action calls that platform.
    pub fn uses_platform(&self, platform: PlatformKind) -> bool {
        self.permissions.iter().any(|permission| permission.platform() == platform)
    }

    /// Returns the signature that runbooks are checked against.
    pub fn signature(&self) -> ActionSignature {
        ActionSignature::from_schemas(
            self.name,
            self.kind(),
            self.reversibility(),
            &self.params,
            &self.output,
        )
        .unwrap_or_else(|error| {
            // A bug, not a user's error; the test `every_action_has_a_signature` fails first.
            panic!("the types of action {} are outside the documented subset: {error}", self.name)
        })
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

fn params_from_json<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|source| Error::Decode { what: "a parameter", source })
}

fn from_json<'a, T: Deserialize<'a>>(what: &'static str, value: &'a Value) -> Result<T> {
    T::deserialize(value).map_err(|source| Error::Decode { what, source })
}

fn to_json<T: Serialize>(value: T) -> Result<Value> {
    serde_json::to_value(value).map_err(|source| Error::Decode { what: "a result", source })
}

#[cfg(test)]
mod tests {
    use crate::actions;

    #[test]
    fn every_action_has_a_signature() {
        for action in actions::all() {
            let signature = action.signature();
            assert!(!signature.summary.is_empty(), "{} has no documentation", action.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = actions::all().iter().map(|action| action.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), actions::all().len());
    }
}
