//! The items of a loop that are known before a run: those that are written down, and those of the default of an input.

use std::ops::Range;

use serde_json::{Map, Value as Json, json};

use super::super::template::{self, is_template};
use super::super::types::Type;
use super::super::yaml::Node;
use super::{Analysis, literal_value};

/// An item of a loop.
pub(super) struct WrittenItem {
    /// The value of `each`.
    pub(super) each: Json,
    /// The place of the item; of one of a map, that of its value.
    pub(super) place: Range<usize>,
    /// The input whose default has it, by position.
    pub(super) input: Option<usize>,
}

/// The most items of a loop that are tried.
const MAX_TRIED: usize = 100;

impl Analysis<'_> {
    /// Returns the items for which a step runs, as far as they are known; `inputs` are the valid defaults.
    pub(super) fn written_items(
        &self,
        step: usize,
        inputs: &Map<String, Json>,
    ) -> Vec<WrittenItem> {
        let Some(node) = self.document.steps.get(step).and_then(|step| step.for_each) else {
            return Vec::new();
        };
        let Some(text) = node.text().filter(|text| is_template(text)) else {
            return items_of(node, None);
        };
        let name = template::inside_braces(text).and_then(|path| path.strip_prefix("inputs."));
        let Some(name) = name.filter(|name| inputs.contains_key(*name)) else { return Vec::new() };
        let input = self.document.inputs.iter().position(|input| input.name == name);
        let default = input.and_then(|input| self.document.inputs.get(input)?.default);
        default.map_or_else(Vec::new, |default| items_of(default, input))
    }
}

/// Returns the items of a list or map, without those that have templates in them.
fn items_of(node: &Node, input: Option<usize>) -> Vec<WrittenItem> {
    let value = |node: &Node| literal_value(node, &Type::Any);
    if let Some(items) = node.items() {
        let items = items.iter().take(MAX_TRIED).filter_map(|item| {
            Some(WrittenItem { each: value(item)?, place: item.span.clone(), input })
        });
        return items.collect();
    }
    let pairs = node.pairs().unwrap_or_default().iter().take(MAX_TRIED);
    let items = pairs.filter_map(|(key, item)| {
        let each = json!({ "key": key.text()?, "value": value(item)? });
        Some(WrittenItem { each, place: item.span.clone(), input })
    });
    items.collect()
}
