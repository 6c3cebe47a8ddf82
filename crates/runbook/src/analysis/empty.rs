//! What an empty list or map means for a step.

use super::super::registry::{ActionKind, ActionSignature};
use super::super::types::Type;

/// Returns what is wrong with a parameter that is given and empty; `None` if it may be.
pub(crate) fn empty_message(action: &ActionSignature, path: &str) -> Option<String> {
    let params = &action.params;
    let field = params.field(path)?;
    if matches!(field.ty.non_null(), Type::Map(..)) {
        // What a change has a map of is what it sets.
        return Some(match action.kind {
            ActionKind::Change => format!("'{path}' is empty: it changes nothing"),
            ActionKind::Read | ActionKind::Wait => {
                format!("'{path}' is empty: it matches every object")
            }
        });
    }
    let group = params.exactly_one_of.iter().flatten().any(|name| name == path);
    let acts = action.kind != ActionKind::Read && (field.required || group);
    acts.then(|| format!("'{path}' is empty: {} would do nothing", action.name))
}
