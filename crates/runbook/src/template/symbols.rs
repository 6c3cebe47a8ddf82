//! The symbols of expressions: `inputs` and the steps.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::types::{Field, LengthBounds, RecordType, Type};

/// The symbols of a runbook.
pub(crate) struct SymbolTable<'t> {
    /// The inputs, as a record.
    pub(crate) inputs: Arc<RecordType>,
    /// The index of each step, by its id; the first of two steps with the same id.
    pub(crate) steps: HashMap<&'t str, usize>,
    /// The output of each step, in order.
    pub(crate) outputs: Vec<StepOutput>,
}

/// The output of a step.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepOutput {
    /// The fields; `None` when the action is unknown.
    pub(crate) record: Option<Arc<RecordType>>,
    /// The reasons why the output can be absent.
    pub(crate) presence: Presence,
    /// The items for which the step runs, if it runs for each of several.
    pub(crate) items: Option<Items>,
    /// The outputs of the items by their keys, where these are known.
    by_key: Option<Type>,
}

/// The items of a step with `for_each`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Items {
    /// The type of `each`.
    pub(crate) each: Type,
    pub(crate) shape: ItemsShape,
    /// Whether the run continues when an item fails.
    pub(crate) may_fail: bool,
}

/// The kind of value that the items are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemsShape {
    List(LengthBounds),
    Map,
    /// A map whose keys are written down.
    Keys(Vec<String>),
    /// The type of the expression is not known.
    Unknown,
}

impl StepOutput {
    /// Creates the output of a step.
    pub(crate) fn new(
        record: Option<Arc<RecordType>>,
        presence: Presence,
        items: Option<Items>,
    ) -> Self {
        let by_key = items.as_ref().and_then(|items| {
            let ItemsShape::Keys(keys) = &items.shape else { return None };
            let one = record.clone().map_or(Type::Any, Type::Record);
            let one = if items.may_fail { one.or_null() } else { one };
            let fields = keys.iter().map(|key| Field::required(key, one.clone())).collect();
            let name = RecordType::BY_KEY.to_owned();
            Some(Type::Record(Arc::new(RecordType { name, fields, ..RecordType::default() })))
        });
        Self { record, presence, items, by_key }
    }

    /// Returns the type of the output for later steps; for the step itself, of one item.
    pub(crate) fn ty(&self, is_own: bool) -> Type {
        let one = self.record.clone().map_or(Type::Any, Type::Record);
        let Some(items) = self.items.as_ref().filter(|_| !is_own) else { return one };
        let element = if items.may_fail { one.or_null() } else { one };
        match &items.shape {
            ItemsShape::List(lengths) => Type::List(Box::new(element), *lengths),
            ItemsShape::Map => Type::map(element),
            ItemsShape::Keys(_) => self.by_key.clone().unwrap_or(Type::Any),
            ItemsShape::Unknown => Type::Any,
        }
    }
}

impl Items {
    /// Returns the items of a value of this type.
    pub(crate) fn of(ty: &Type, may_fail: bool) -> Self {
        let (each, shape) = match ty.non_null() {
            Type::List(of, lengths) => ((**of).clone(), ItemsShape::List(*lengths)),
            Type::Map(of, _) => (entry(of), ItemsShape::Map),
            Type::Record(record) if record.is_map() => {
                let values = record.fields.iter().map(|field| field.ty.clone());
                let value = values.reduce(Type::join).unwrap_or(Type::Any);
                (entry(&value), ItemsShape::Keys(record.names().map(str::to_owned).collect()))
            }
            _ => (Type::Any, ItemsShape::Unknown),
        };
        Self { each, shape, may_fail }
    }
}

/// Returns the type of `each` over a map.
fn entry(value: &Type) -> Type {
    let fields =
        vec![Field::required("key", Type::text()), Field::required("value", value.clone())];
    Type::Record(Arc::new(RecordType {
        name: RecordType::EACH.into(),
        fields,
        ..RecordType::default()
    }))
}

/// The reasons why an output can be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The canonical conditions under which the step runs; empty when it always runs.
    pub(crate) when: Vec<String>,
    /// Whether the run continues when the step fails.
    pub(crate) may_fail: bool,
}

impl Presence {
    /// Whether the output can be absent.
    pub(crate) fn is_conditional(&self) -> bool {
        self.may_fail || !self.when.is_empty()
    }
}
