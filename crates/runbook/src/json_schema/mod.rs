//! The JSON Schema of runbooks, draft 2020-12, for editors and for validators that are not ours. It
//! knows the shape of a runbook and each action's parameters; what a template names and yields, only
//! the checks know. Whatever the checks accept, the schema accepts.
//!
//! An action's parameters are chosen by `if`/`then` and not by `oneOf`, which would blame a whole
//! step for one wrong parameter.

mod parameters;

use serde_json::{Value as Json, json};

use super::document::{
    DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, DEFAULT_MAX_BACKOFF, DEFAULT_TIMEOUT, MappingKind, OnFailure,
};
use super::registry::{ActionKind, ActionRegistry, ActionSignature, Reversibility};
use super::rules::reserved_step_id;
use super::types::{Syntax, Type};

/// The schema of runbooks over a catalogue.
pub fn json_schema(registry: &ActionRegistry) -> Json {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Runbook",
        "description": "A runbook of rafay-relay-sop: typed actions, one after the other.",
        "type": "object",
        "required": ["name", "steps"],
        "additionalProperties": false,
        "properties": {
            "name": {
                "description": "The runbook's name, which is its file's without the ending.",
                "type": ["string", "number"],
                "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$",
                "examples": ["relay-scale"],
            },
            "description": { "description": "What it is for.", "$ref": "#/$defs/text" },
            "inputs": {
                "description": "What a run is given, by name. Templates say `{{ inputs.NAME }}`.",
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME },
                "additionalProperties": { "$ref": "#/$defs/input" },
            },
            "defaults": {
                "description": "How patient the steps are and what a failure means, unless a step says otherwise.",
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": policy(),
            },
            "steps": {
                "description": "What is done, in this order.",
                "type": "array",
                "minItems": 1,
                "items": { "$ref": "#/$defs/step" },
            },
        },
        "$defs": {
            "step": step(registry),
            "input": input(),
            "retry": retry(),
            "text": { "type": ["string", "number", "boolean"] },
            "duration": parameters::duration(),
            "template": parameters::template(),
            "whole_template": parameters::whole_template(),
        },
    });
    debug_assert_eq!(keys(&schema["properties"]), sorted(MappingKind::Runbook.keys()));
    schema
}

/// A name that templates can say.
const NAME: &str = "^[a-z][a-z0-9_]*$";

fn step(registry: &ActionRegistry) -> Json {
    let actions = || registry.iter();
    let names: Vec<&str> = actions().map(|action| action.name.as_str()).collect();
    let summaries: Vec<&str> = actions().map(|action| action.summary.as_str()).collect();
    let mut properties = json!({
        "id": {
            "description": "The name under which later steps see its output: `{{ ID.FIELD }}`.",
            "type": "string",
            "pattern": NAME,
            "maxLength": 64,
            "not": { "enum": reserved_step_id::RESERVED },
            "examples": ["scale_up"],
        },
        "name": { "description": "The name that people read; else the id.", "$ref": "#/$defs/text" },
        "action": {
            // No description: the chosen action's own is shown.
            "enum": names,
            // Not of JSON Schema, but of editors.
            "enumDescriptions": summaries,
            "markdownEnumDescriptions": summaries,
        },
        "with": { "description": "The action's parameters.", "type": ["object", "null"] },
        "when": {
            "description": "A condition: the step is skipped unless it is true. Its output is then absent.",
            "anyOf": [{ "type": "boolean" }, { "$ref": "#/$defs/whole_template" }],
            "examples": ["{{ group.desired < 10 }}"],
        },
        "log": {
            "description": "What to log after success. May name the step's own output.",
            "$ref": "#/$defs/text",
            "examples": ["{{ group.name }} has {{ group.desired }} nodes"],
        },
    });
    extend(&mut properties, policy());
    debug_assert_eq!(keys(&properties), sorted(MappingKind::Step.keys()));
    json!({
        "title": "Step",
        "type": "object",
        "required": ["id", "action"],
        "additionalProperties": false,
        "properties": properties,
        "allOf": actions().map(chosen).collect::<Vec<_>>(),
    })
}

/// What holds of a step with this action.
fn chosen(action: &ActionSignature) -> Json {
    let documentation = documentation(action);
    let mut properties = json!({
        // The second is not of JSON Schema, but of editors.
        "action": { "description": documentation, "markdownDescription": documentation },
        "with": parameters::of(&action.params),
    });
    let needs_any = !action.params.exactly_one_of.is_empty()
        || action.params.fields.iter().any(|field| field.required);
    if !needs_any {
        properties["with"]["type"] = json!(["object", "null"]);
    }
    let mut then = json!({ "properties": properties });
    if needs_any {
        then["required"] = json!(["with"]);
    }
    json!({
        "if": { "properties": { "action": { "const": action.name } }, "required": ["action"] },
        "then": then,
    })
}

fn documentation(action: &ActionSignature) -> String {
    let undo = match (action.kind, action.reversibility) {
        (ActionKind::Read, _) => "Looks, and changes nothing.",
        (ActionKind::Wait, _) => "Waits, and changes nothing.",
        (ActionKind::Change, Reversibility::Irreversible) => {
            "Changes something that cannot be restored."
        }
        (ActionKind::Change, _) => "Changes something; a rollback restores what stood before.",
    };
    let outputs: Vec<String> =
        action.output.fields.iter().map(|field| format!("`{}`", field.name)).collect();
    let outputs = if outputs.is_empty() { "nothing".to_owned() } else { outputs.join(", ") };
    format!("{}\n\n{undo}\n\nOutput: {outputs}.", action.params.description)
}

/// The keys that a step and `defaults` share.
fn policy() -> Json {
    let policy = json!({
        "timeout": {
            "description": "How long the step may take, retries and waits included.",
            "$ref": "#/$defs/duration",
            "default": DEFAULT_TIMEOUT.to_string(),
        },
        "retry": { "description": "How often it is tried.", "$ref": "#/$defs/retry" },
        "on_failure": {
            "description": "What a failure means: `rollback` undoes what the run has done, `stop` leaves it as it is and resumable, `continue` goes on without the step's output.",
            "enum": OnFailure::NAMES,
            "default": "stop",
        },
    });
    debug_assert_eq!(keys(&policy), sorted(MappingKind::Defaults.keys()));
    policy
}

fn retry() -> Json {
    let pause = |what: &str, default: super::Duration| {
        json!({
            "description": what, "$ref": "#/$defs/duration", "default": default.to_string(),
        })
    };
    let properties = json!({
        "attempts": {
            "description": "Tries, the first included. Only a failure that can heal is tried again.",
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "default": DEFAULT_ATTEMPTS,
        },
        "backoff": pause("The first rest; each is twice the one before.", DEFAULT_BACKOFF),
        "max_backoff": pause("The longest rest.", DEFAULT_MAX_BACKOFF),
    });
    debug_assert_eq!(keys(&properties), sorted(MappingKind::Retry.keys()));
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    })
}

fn input() -> Json {
    let length = json!({ "type": "integer", "minimum": 0 });
    let mut properties = json!({
        "type": {
            "description": "What it is: string, integer, number, boolean, duration or enum; also `list of`, `map of` and `optional` of one.",
            "type": "string",
            "anyOf": [
                { "enum": Type::NAMES },
                { "enum": ["list of string", "map of string", "optional string"] },
                { "pattern": format!("^\\s*((list of|map of|optional) +)*({})\\s*$", Type::NAMES.join("|")) },
            ],
        },
        "default": { "description": "What it is when a run is not given it. Without one it must be given." },
        "description": { "description": "What it is for.", "$ref": "#/$defs/text" },
        "minimum": { "description": "The least that it may be.", "type": "number" },
        "maximum": { "description": "The most that it may be.", "type": "number" },
        "values": {
            "description": "The words that an enum may be.",
            "type": "array",
            "minItems": 1,
            "items": { "$ref": "#/$defs/text" },
        },
        "syntax": { "description": "The form that a string must have.", "enum": Syntax::NAMES },
    });
    for (key, words) in [("min_length", "fewest"), ("max_length", "most")] {
        properties[key] = length.clone();
        properties[key]["description"] =
            json!(format!("The {words} characters of a string, or items of a list."));
    }
    debug_assert_eq!(keys(&properties), sorted(MappingKind::Input.keys()));
    json!({
        "title": "Input",
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": properties,
        "examples": [{ "type": "integer", "default": 2, "minimum": 2, "maximum": 4 }],
    })
}

/// Adds the properties of one object to another.
fn extend(object: &mut Json, more: Json) {
    if let (Json::Object(object), Json::Object(more)) = (object, more) {
        object.extend(more);
    }
}

fn keys(object: &Json) -> Vec<&str> {
    let keys: Vec<&str> = object.as_object().into_iter().flatten().map(|(key, _)| &**key).collect();
    sorted(&keys)
}

fn sorted<'k>(keys: &[&'k str]) -> Vec<&'k str> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys
}
