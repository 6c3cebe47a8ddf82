//! What may be written at a place of a runbook: the keys of a mapping, or the values of a key.

use std::sync::Arc;

use super::super::analysis::ASK;
use super::super::document::{AT_END, MAX_AT_ONCE, MappingKind, OnFailure};
use super::super::library::Library;
use super::super::limits;
use super::super::registry::{ActionRegistry, ActionSignature};
use super::super::types::{Bounds, Syntax, Type};
use super::cursor::Cursor;

/// The kind of text that is expected at a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Level {
    /// A mapping of the language.
    Mapping(MappingKind),
    /// Names with declarations of inputs.
    Inputs,
    /// The list of steps.
    Steps,
    /// Names with any values.
    Outputs,
    /// The name of an action.
    Action,
    /// The name of a runbook.
    Call,
    /// The name of a type.
    TypeName,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A value of a type; of a record, its fields.
    Value(Type),
    /// Anything.
    Free,
}

/// Where signatures are looked up.
#[derive(Clone, Copy)]
pub(super) struct Known<'k> {
    pub(super) registry: &'k ActionRegistry,
    pub(super) library: &'k dyn Library,
}

impl Known<'_> {
    /// Returns the action, or the called runbook, of the step that is an entry.
    pub(super) fn signature(&self, cursor: &Cursor<'_>, step: usize) -> Option<ActionSignature> {
        if let Some(name) = cursor.value(step, "call") {
            return super::super::callable(name, self.registry, self.library);
        }
        self.registry.get(cursor.value(step, "action")?).cloned()
    }
}

/// Returns what is expected below the entries of a path.
pub(super) fn at(cursor: &Cursor<'_>, path: &[usize], known: Known<'_>) -> Level {
    let mut level = Level::Mapping(MappingKind::Runbook);
    let mut asks = false;
    for (depth, entry) in path.iter().enumerate() {
        let Some(found) = cursor.entry(*entry) else { return Level::Free };
        level = match (level, found.key) {
            (Level::Mapping(MappingKind::Step), Some("with")) => {
                let step = path.get(depth.wrapping_sub(1));
                let signature = step.and_then(|step| known.signature(cursor, *step));
                asks = signature.as_ref().is_some_and(|signature| signature.asks);
                let record = signature.map(|signature| Type::Record(Arc::new(signature.params)));
                record.map_or(Level::Free, Level::Value)
            }
            (Level::Value(_), Some(ASK)) if asks && depth == 3 => Level::Inputs,
            (Level::Mapping(MappingKind::Input), Some("default")) => {
                let input = path.get(depth.wrapping_sub(1));
                let ty = input.and_then(|input| Type::parse(cursor.value(*input, "type")?).ok());
                ty.map_or(Level::Free, Level::Value)
            }
            (Level::Mapping(mapping), Some(key)) => below_key(mapping, key),
            (Level::Inputs, Some(_)) => Level::Mapping(MappingKind::Input),
            (Level::Steps, None) => Level::Mapping(MappingKind::Step),
            (Level::Value(ty), key) => below_value(&ty, key),
            _ => Level::Free,
        };
    }
    level
}

fn below_key(mapping: MappingKind, key: &str) -> Level {
    match (mapping, key) {
        (MappingKind::Runbook, "inputs") => Level::Inputs,
        (MappingKind::Runbook, "defaults") => Level::Mapping(MappingKind::Defaults),
        (MappingKind::Runbook, "limits") => Level::Value(Type::Record(Arc::new(limits::record()))),
        (MappingKind::Runbook, "steps") => Level::Steps,
        (MappingKind::Runbook, "outputs") => Level::Outputs,
        (MappingKind::Input, "type") => Level::TypeName,
        (MappingKind::Input, "syntax") => Level::Words(&Syntax::NAMES),
        (MappingKind::Step, "action") => Level::Action,
        (MappingKind::Step, "call") => Level::Call,
        (MappingKind::Step, "restore") => Level::Words(&[AT_END]),
        (MappingKind::Step, "when") => Level::Value(Type::Boolean),
        (MappingKind::Step, "at_once") => Level::Value(Type::Integer(Bounds {
            minimum: Some(1),
            maximum: Some(i128::from(MAX_AT_ONCE)),
        })),
        (MappingKind::Step | MappingKind::Defaults, "retry") => Level::Mapping(MappingKind::Retry),
        (MappingKind::Step | MappingKind::Defaults, "on_failure") => Level::Words(OnFailure::NAMES),
        (MappingKind::Step | MappingKind::Defaults, "timeout") => Level::Value(Type::Duration),
        (MappingKind::Retry, "backoff" | "max_backoff") => Level::Value(Type::Duration),
        _ => Level::Free,
    }
}

fn below_value(ty: &Type, key: Option<&str>) -> Level {
    let of = match (ty.non_null(), key) {
        (Type::Record(record), Some(key)) => record.field(key).map(|field| field.ty.clone()),
        (Type::Map(of, _), Some(_)) | (Type::List(of, _), None) => Some((**of).clone()),
        _ => None,
    };
    of.map_or(Level::Free, Level::Value)
}
