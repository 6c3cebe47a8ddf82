//! What an empty list or map means for a step.

use super::super::registry::{ActionKind, ActionSignature, ObjectUse};
use super::super::types::Type;

/// Returns what is wrong with a parameter that is given and empty; `None` if it may be.
pub(crate) fn empty_message(action: &ActionSignature, path: &str) -> Option<String> {
    let params = &action.params;
    let field = params.field(path)?;
    let group = params.exactly_one_of.iter().flatten().any(|name| name == path);
    if let Type::Map(_, keys) = field.ty.non_null() {
        let object = action.object.as_ref();
        let is_of_object = |name: fn(&ObjectUse) -> &Option<String>| {
            object.is_some_and(|o| name(o).as_deref() == Some(path))
        };
        if is_of_object(|object| &object.fields) {
            return Some(format!("'{path}' is empty: it reads nothing"));
        }
        // A map whose keys are named is a selection, or what a step is to change, and so is a patch.
        if keys.is_none() && !is_of_object(|object| &object.patch) {
            return None;
        }
        // Without it, too, a list has everything.
        if !field.required && !group && action.kind == ActionKind::Read {
            return None;
        }
        // What a change has a map of is what it sets.
        return Some(match action.kind {
            ActionKind::Change => format!("'{path}' is empty: it changes nothing"),
            ActionKind::Read | ActionKind::Wait => {
                format!("'{path}' is empty: it matches every object")
            }
        });
    }
    let acts = action.kind != ActionKind::Read && (field.required || group);
    acts.then(|| format!("'{path}' is empty: {} would do nothing", action.name))
}
