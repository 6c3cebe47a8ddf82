//! What the tests of `editor` and `language_server` share: small actions, a runbook to call, and texts with a cursor.

use super::{ActionRegistry, Source};

const ACTIONS: &str = r##"[
  {"name": "find_group", "kind": "read", "reversibility": "not_needed",
    "parameters": {"type": "object", "additionalProperties": false, "required": ["region"],
      "description": "Finds a nodegroup.\n\nBy its labels.",
      "properties": {"region": {"type": "string", "description": "AWS region.", "x-syntax": "aws-region"}}},
    "output": {"$ref": "#/$defs/Group", "$defs": {
      "Group": {"type": "object", "required": ["region", "name", "size", "nodes"], "properties": {
        "region": {"type": "string"},
        "name": {"type": "string"},
        "size": {"type": "integer", "description": "How many nodes it has."},
        "nodes": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}},
      "Node": {"type": "object", "required": ["name", "labels"], "properties": {
        "name": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}}}},
  {"name": "scale", "kind": "change", "reversibility": "restores",
    "parameters": {"type": "object", "additionalProperties": false, "required": ["group", "desired"],
      "description": "Sets the size of a nodegroup.",
      "properties": {
        "group": {"$ref": "#/$defs/Group", "description": "The nodegroup."},
        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast", "description": "How."},
        "modes": {"type": "array", "items": {"type": "string", "enum": ["fast", "slow"]}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "desired": {"type": "integer", "minimum": 0, "maximum": 500, "description": "The size."},
        "raise": {"type": "boolean", "default": false, "description": "Whether to raise the maximum."}},
      "$defs": {
        "Group": {"type": "object", "required": ["region", "name", "size", "nodes"], "properties": {
          "region": {"type": "string"},
          "name": {"type": "string"},
          "size": {"type": "integer"},
          "nodes": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}},
        "Node": {"type": "object", "required": ["name", "labels"], "properties": {
          "name": {"type": "string"},
          "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}}},
    "output": {"type": "object", "required": ["before", "group"], "properties": {
      "before": {"type": "integer"}, "group": {"type": "string"}}}}
]"##;

const DRAIN: &str = "\
name: drain
description: Empty a node
inputs:
  node: {type: string, description: Name of the node}
steps:
  - {id: group, action: find_group, with: {region: us-west-2}}
outputs: {size: \"{{ group.size }}\"}
";

pub(crate) fn registry() -> ActionRegistry {
    ActionRegistry::from_json(ACTIONS).unwrap()
}

/// The runbook that can be called.
pub(crate) fn library() -> Vec<Source> {
    vec![Source::new("/books/drain.yaml", DRAIN)]
}

/// Returns a text without its cursor `‸`, and the offset of the cursor.
pub(crate) fn marked(text: &str) -> (Source, usize) {
    let offset = text.find('‸').unwrap();
    (Source::new("/books/book.yaml", text.replace('‸', "")), offset)
}
