//! The names that templates can use during a run: the inputs, and the outputs of completed steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};
use serde_json::{Map, Value as Json};

use super::environment::Budget;

/// The inputs and outputs known so far. Adding an output takes time proportional to its size, however
/// many outputs are already present.
#[derive(Debug, Clone)]
pub struct EvaluationScope {
    bindings: Arc<Bindings>,
    /// The size of the value of each name, which the budget of an evaluation depends on.
    sizes: Arc<BTreeMap<String, usize>>,
}

impl EvaluationScope {
    /// Creates a scope of bound inputs (see [`Runbook::bind`](super::super::Runbook::bind)).
    pub fn new(inputs: &Map<String, Json>) -> Self {
        let sizes = [("inputs".to_owned(), inputs.values().map(size).sum())].into();
        let inputs = Value::from(Serde(inputs));
        let bindings = Bindings([("inputs".to_owned(), inputs)].into());
        Self { bindings: Arc::new(bindings), sizes: Arc::new(sizes) }
    }

    /// Adds the output of a step. The output of a step that is never added is absent: the step was
    /// skipped, or failed under `continue`.
    pub fn insert(&mut self, step: &str, output: &Json) {
        Arc::make_mut(&mut self.sizes).insert(step.to_owned(), size(output));
        let value = Value::from(Serde(output));
        Arc::make_mut(&mut self.bindings).0.insert(step.to_owned(), value);
    }

    /// Returns the scope of one item of a step that runs for each of several.
    #[must_use]
    pub fn with_each(&self, each: &Json) -> Self {
        let mut scope = self.clone();
        scope.insert("each", each);
        scope
    }

    /// Whether a name has a value: `inputs`, or the output of a step.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.bindings.0.contains_key(name)
    }

    /// Returns the size of all values: each value and every eight bytes of text count one.
    pub(super) fn size(&self) -> usize {
        self.sizes.values().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Returns the size of the values of some names: that of a template is the same whatever else is known by then.
    pub(super) fn size_of(&self, names: &BTreeSet<String>) -> usize {
        let sizes = names.iter().filter_map(|name| self.sizes.get(name));
        sizes.fold(0, |sum: usize, size| sum.saturating_add(*size))
    }

    /// Returns the most instructions that evaluating one template takes.
    pub(crate) fn max_fuel(&self) -> u64 {
        Budget::for_data(self.size()).fuel()
    }

    pub(super) fn value(&self) -> Value {
        Value::from_dyn_object(Arc::clone(&self.bindings))
    }
}

/// Returns the size of a value. It does not recurse: the output of an action may be nested to any depth.
fn size(value: &Json) -> usize {
    let mut size = 0;
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        size += 1;
        match value {
            Json::String(text) => size += text.len() / 8,
            Json::Array(items) => rest.extend(items),
            Json::Object(fields) => {
                size += fields.keys().map(|name| name.len() / 8).sum::<usize>();
                rest.extend(fields.values());
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
    size
}

#[derive(Debug, Clone)]
struct Bindings(BTreeMap<String, Value>);

impl Object for Bindings {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    /// The checker accepts only known names, so a name without a value is an absent output.
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let present = self.0.get(key).cloned();
        present.or_else(|| Some(Value::from_object(Absent(key.to_owned()))))
    }
}

/// An absent output. Its fields are absent too, so that `a.b is defined` and `a.b | default(1)` can
/// be evaluated.
#[derive(Debug)]
pub(super) struct Absent(pub(super) String);

impl Object for Absent {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(Value::from_object(Self(format!("{}.{key}", self.0))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }
}

/// Returns the path of an absent output.
pub(super) fn absent(value: &Value) -> Option<String> {
    value.downcast_object_ref::<Absent>().map(|absent| absent.0.clone())
}
