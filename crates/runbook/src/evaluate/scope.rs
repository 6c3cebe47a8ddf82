//! The names that templates can use during a run: the inputs, and the outputs of completed steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};
use serde_json::{Map, Value as Json};

use super::environment::Budget;

/// The inputs and outputs known so far. Adding an output takes time proportional to its size, however
/// many outputs are already present, and a clone takes none.
#[derive(Debug, Clone)]
pub struct EvaluationScope {
    bindings: Arc<Bindings>,
}

impl EvaluationScope {
    /// Creates a scope of bound inputs (see [`Runbook::bind`](super::super::Runbook::bind)).
    pub fn new(inputs: &Map<String, Json>) -> Self {
        let size = inputs.values().map(size).sum();
        let inputs = Bound { value: Value::from(Serde(inputs)), size };
        let own = [("inputs".to_owned(), inputs)].into();
        Self { bindings: Arc::new(Bindings { own, beneath: None, depth: 0, size }) }
    }

    /// Adds the output of a step. The output of a step that is never added is absent: the step was
    /// skipped, or failed under `continue`.
    pub fn insert(&mut self, step: &str, output: &Json) {
        let bound = Bound { value: Value::from(Serde(output)), size: size(output) };
        if Arc::get_mut(&mut self.bindings).is_none() {
            self.bindings = Arc::new(Bindings::above(&self.bindings));
        }
        // No other scope has it now.
        if let Some(bindings) = Arc::get_mut(&mut self.bindings) {
            bindings.insert(step, bound);
        }
    }

    /// Removes the output of a step that no further template uses.
    pub fn remove(&mut self, step: &str) {
        if !self.has(step) {
            return;
        }
        let is_alone = Arc::get_mut(&mut self.bindings).is_some_and(|own| own.beneath.is_none());
        if !is_alone {
            self.bindings = Arc::new(self.bindings.flat());
        }
        // No other scope has it now.
        if let Some(bindings) = Arc::get_mut(&mut self.bindings)
            && let Some(removed) = bindings.own.remove(step)
        {
            bindings.size = bindings.size.saturating_sub(removed.size);
        }
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
        self.bindings.find(name).is_some()
    }

    /// Returns the size of all values: each value and every eight bytes of text count one.
    pub(super) fn size(&self) -> usize {
        self.bindings.size
    }

    /// Returns the size of the values of some names: that of a template is the same whatever else is known by then.
    pub(super) fn size_of(&self, names: &BTreeSet<String>) -> usize {
        let sizes = names.iter().filter_map(|name| self.bindings.find(name));
        sizes.fold(0, |sum: usize, bound| sum.saturating_add(bound.size))
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

/// The most layers beneath another one.
const MAX_DEPTH: usize = 8;

/// Values by their names. What others share is not changed: further values are in a layer above it.
#[derive(Debug)]
struct Bindings {
    own: BTreeMap<String, Bound>,
    beneath: Option<Arc<Bindings>>,
    /// The number of layers beneath.
    depth: usize,
    /// The size of all values.
    size: usize,
}

#[derive(Debug, Clone)]
struct Bound {
    value: Value,
    /// The budget of an evaluation depends on it.
    size: usize,
}

impl Bindings {
    /// Returns an empty layer above others, or one with all their values where there are too many.
    fn above(beneath: &Arc<Self>) -> Self {
        let size = beneath.size;
        if beneath.depth < MAX_DEPTH {
            let beneath = Some(Arc::clone(beneath));
            let depth = beneath.as_ref().map_or(0, |beneath| beneath.depth + 1);
            return Self { own: BTreeMap::new(), beneath, depth, size };
        }
        beneath.flat()
    }

    /// Returns one layer with all values.
    fn flat(&self) -> Self {
        let mut own = BTreeMap::new();
        let mut layer = Some(self);
        while let Some(bindings) = layer {
            for (name, bound) in &bindings.own {
                own.entry(name.clone()).or_insert_with(|| bound.clone());
            }
            layer = bindings.beneath.as_deref();
        }
        Self { own, beneath: None, depth: 0, size: self.size }
    }

    fn insert(&mut self, name: &str, bound: Bound) {
        let replaced = self.find(name).map_or(0, |replaced| replaced.size);
        self.size = self.size.saturating_sub(replaced).saturating_add(bound.size);
        self.own.insert(name.to_owned(), bound);
    }

    fn find(&self, name: &str) -> Option<&Bound> {
        let mut layer = Some(self);
        while let Some(bindings) = layer {
            if let Some(bound) = bindings.own.get(name) {
                return Some(bound);
            }
            layer = bindings.beneath.as_deref();
        }
        None
    }
}

impl Object for Bindings {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    /// The checker accepts only known names, so a name without a value is an absent output.
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let present = self.find(key).map(|bound| bound.value.clone());
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
