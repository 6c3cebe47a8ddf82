//! The JSON Schema of runbooks, draft 2020-12, for editors and third-party validators. The schema has
//! the structure of a runbook and the parameters of each action; names and types in templates are
//! checked by the rules only. The schema accepts every runbook that the rules accept.
//!
//! The parameters of an action are selected by `if`/`then` and not by `oneOf`, which would report a
//! whole step for one invalid parameter.

mod parameters;

use serde_json::{Value as Json, json};

use super::document::{
    AT_END, DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, DEFAULT_MAX_BACKOFF, DEFAULT_TIMEOUT, MAX_AT_ONCE,
    MappingKind, OnFailure,
};
use super::registry::{ActionKind, ActionRegistry, ActionSignature, Reversibility};
use super::rules::reserved_step_id;
use super::types::{MAX_TYPE_DEPTH, Syntax, Type};

/// Returns the schema of runbooks over an action registry. `callables` are runbooks that steps can call, for
/// completion: others can be called as well.
pub fn json_schema(registry: &ActionRegistry, callables: &[ActionSignature]) -> Json {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Runbook",
        "description": "A runbook of rafay-relay-sop: typed actions in sequence.",
        "type": "object",
        "required": ["name", "steps"],
        "additionalProperties": false,
        "properties": {
            "name": {
                "description": "The name of the runbook: the name of the file without the \
                    extension.",
                "type": ["string", "number"],
                "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$",
                "examples": ["relay-scale"],
            },
            "description": { "description": "The purpose of the runbook.", "$ref": "#/$defs/text" },
            "inputs": {
                "description": "The inputs of a run, by name. Templates use `{{ inputs.NAME }}`.",
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME },
                "additionalProperties": { "$ref": "#/$defs/input" },
            },
            "defaults": {
                "description": "The timeout, retry and failure policy of the steps that do not set \
                    their own.",
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": policy(),
            },
            "limits": limits(),
            "steps": {
                "description": "The steps, in order of execution.",
                "type": "array",
                "minItems": 1,
                "items": { "$ref": "#/$defs/step" },
            },
            "outputs": {
                "description": "The values that a runbook which calls this one is given, by name.",
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME },
            },
        },
        "$defs": {
            "step": step(registry, callables),
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

fn limits() -> Json {
    let mut limits = parameters::of(&super::limits::record());
    limits["description"] = json!(
        "How far the steps may go, whatever their parameters say. Templates can use the inputs."
    );
    limits["type"] = json!(["object", "null"]);
    limits
}

/// The pattern of a name that templates can use.
const NAME: &str = "^[a-z][a-z0-9_]*$";

fn step(registry: &ActionRegistry, callables: &[ActionSignature]) -> Json {
    let actions = || registry.iter();
    let names: Vec<&str> = actions().map(|action| action.name.as_str()).collect();
    let summaries: Vec<&str> = actions().map(|action| action.summary.as_str()).collect();
    let mut properties = json!({
        "id": {
            "description": "The name by which later steps refer to the output: `{{ ID.FIELD }}`.",
            "type": "string",
            "pattern": NAME,
            "maxLength": 64,
            "not": { "enum": reserved_step_id::RESERVED },
            "examples": ["scale_up"],
        },
        "name": {
            "description": "The display name; defaults to the id. It can use the inputs and the \
                outputs of earlier steps.",
            "$ref": "#/$defs/text",
        },
        "description": {
            "description": "What the step is for, in the log of a run. It can use the inputs and \
                the outputs of earlier steps.",
            "$ref": "#/$defs/text",
        },
        "call": call(callables),
        "action": {
            // No description: editors show that of the selected action.
            "enum": names,
            // An extension of editors, not a keyword of JSON Schema.
            "enumDescriptions": summaries,
            "markdownEnumDescriptions": summaries,
        },
        "with": { "description": "The parameters of the action.", "type": ["object", "null"] },
        "for_each": {
            "description": "A list or a map: the step runs once for each item, which is `each` in \
                `with` and `log` (of a map, `each.key` and `each.value`). The output is a list or \
                map of the outputs.",
            "anyOf": [
                { "type": ["array", "object"] },
                { "$ref": "#/$defs/whole_template" },
            ],
            "examples": ["{{ inputs.deployments }}"],
        },
        "at_once": {
            "description": "How many items of `for_each` are worked on at a time.",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": MAX_AT_ONCE },
                { "$ref": "#/$defs/whole_template" },
            ],
            "default": 1,
        },
        "restore": {
            "description": "`at_end` undoes the change when the run ends, however it ends.",
            "enum": [AT_END],
        },
        "when": {
            "description": "A condition: the step is skipped unless the condition is true. The \
                output of a skipped step is absent.",
            "anyOf": [{ "type": "boolean" }, { "$ref": "#/$defs/whole_template" }],
            "examples": ["{{ group.desired < 10 }}"],
        },
        "log": {
            "description": "The message to log after success. The message can use the step's own \
                output.",
            "$ref": "#/$defs/text",
            "examples": ["{{ group.name }} has {{ group.desired }} nodes"],
        },
    });
    extend(&mut properties, policy());
    debug_assert_eq!(keys(&properties), sorted(MappingKind::Step.keys()));
    json!({
        "title": "Step",
        "type": "object",
        "required": ["id"],
        "oneOf": [{ "required": ["action"] }, { "required": ["call"] }],
        "additionalProperties": false,
        "properties": properties,
        "allOf": actions()
            .map(|action| chosen("action", action))
            .chain(callables.iter().map(|callable| chosen("call", callable)))
            .collect::<Vec<_>>(),
    })
}

fn call(callables: &[ActionSignature]) -> Json {
    let mut call = json!({
        "description": "The name of a runbook that the step calls, in place of an action: its \
            inputs are the parameters, and its `outputs` the output.",
        "type": "string",
        "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$",
        "examples": ["drain-node"],
    });
    if !callables.is_empty() {
        let names: Vec<&str> = callables.iter().map(|callable| callable.name.as_str()).collect();
        let summaries: Vec<&str> =
            callables.iter().map(|callable| callable.summary.as_str()).collect();
        call["examples"] = json!(names);
        // Editors complete the first of these; the second allows every name.
        call["anyOf"] = json!([
            {
                "enum": names,
                "enumDescriptions": summaries,
                "markdownEnumDescriptions": summaries,
            },
            { "type": "string" },
        ]);
    }
    call
}

/// Returns the constraints of a step with this action, or with a call of this runbook.
fn chosen(key: &str, action: &ActionSignature) -> Json {
    let documentation = documentation(action);
    let mut properties = json!({
        // The second is an extension of editors, not a keyword of JSON Schema.
        key: { "description": documentation, "markdownDescription": documentation },
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
        "if": { "properties": { key: { "const": action.name } }, "required": [key] },
        "then": then,
    })
}

/// Returns the text about an action: what it does, what its undo does, and its output.
pub(crate) fn documentation(action: &ActionSignature) -> String {
    let undo = match (action.kind, action.reversibility) {
        (ActionKind::Read, _) => "Reads, and changes nothing.",
        (ActionKind::Wait, _) => "Waits, and changes nothing.",
        (ActionKind::Change, Reversibility::Irreversible) => {
            "Makes a change that cannot be undone."
        }
        (ActionKind::Change, _) => "Makes a change; a rollback restores the previous state.",
    };
    let outputs: Vec<String> =
        action.output.fields.iter().map(|field| format!("`{}`", field.name)).collect();
    let outputs = if action.declares_output() {
        "the declared fields".to_owned()
    } else if outputs.is_empty() {
        "nothing".to_owned()
    } else {
        outputs.join(", ")
    };
    format!("{}\n\n{undo}\n\nOutput: {outputs}.", action.params.description)
}

/// Returns the keys that a step and `defaults` share.
fn policy() -> Json {
    let policy = json!({
        "timeout": {
            "description": "The time limit of the step, including retries and waits.",
            "$ref": "#/$defs/duration",
            "default": DEFAULT_TIMEOUT.to_string(),
        },
        "retry": { "description": "The retry policy of the step.", "$ref": "#/$defs/retry" },
        "on_failure": {
            "description": "What a failure does: `rollback` undoes the changes of the run, `stop` \
                keeps the state and leaves the run resumable, `continue` continues without the \
                step's output.",
            "enum": OnFailure::NAMES,
            "default": "stop",
        },
    });
    debug_assert_eq!(keys(&policy), sorted(MappingKind::Defaults.keys()));
    policy
}

fn retry() -> Json {
    let delay = |what: &str, default: super::Duration| {
        json!({
            "description": what, "$ref": "#/$defs/duration", "default": default.to_string(),
        })
    };
    let properties = json!({
        "attempts": {
            "description": "The number of attempts, including the first. Only a retryable failure \
                is retried.",
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "default": DEFAULT_ATTEMPTS,
        },
        "backoff": delay(
            "The delay after the first failed attempt; each further delay is twice the previous one.",
            DEFAULT_BACKOFF,
        ),
        "max_backoff": delay("The maximum delay.", DEFAULT_MAX_BACKOFF),
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
    let names = Type::NAMES.join("|");
    let mut properties = json!({
        "type": {
            "description": "The type: string, integer, number, boolean, duration or enum; also \
                `list of`, `map of` and `optional` with a type.",
            "type": "string",
            "anyOf": [
                { "enum": Type::NAMES },
                { "enum": ["list of string", "map of string", "optional string"] },
                { "pattern": format!("^\\s*((list of|map of|optional) +){{0,{MAX_TYPE_DEPTH}}}({names})\\s*$") },
            ],
        },
        "default": {
            "description": "The value when a run does not set the input. \
                An input without a default is required.",
        },
        "description": { "description": "The purpose of the input.", "$ref": "#/$defs/text" },
        "minimum": { "description": "The minimum value.", "type": "number" },
        "maximum": { "description": "The maximum value.", "type": "number" },
        "values": {
            "description": "The values of an enum.",
            "type": "array",
            "minItems": 1,
            "items": { "$ref": "#/$defs/text" },
        },
        "syntax": { "description": "The syntax that a string must have.", "enum": Syntax::names().collect::<Vec<_>>() },
    });
    for (key, limit) in [("min_length", "minimum"), ("max_length", "maximum")] {
        properties[key] = length.clone();
        properties[key]["description"] =
            json!(format!("The {limit} number of characters of a string, or of items of a list."));
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
