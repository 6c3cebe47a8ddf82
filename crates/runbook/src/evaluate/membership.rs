//! `select`, `reject`, `selectattr` and `rejectattr`. Their test `in` reads its list once and finds each item by a
//! hash: the time is that of the two lists together, not of their product.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use minijinja::value::{Rest, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// How deep a value is hashed. Values that differ only below have the same hash and are compared.
const MAX_HASHED_DEPTH: usize = 32;

/// The values of a list, by their hash.
struct Index(HashMap<u64, Vec<Value>>);

/// The indexes of this evaluation, by the address of the list, which the index keeps alive. A list that is the argument
/// of `map('select', 'in', list)` is read once, not once an item.
#[derive(Default)]
struct Indexes(HashMap<usize, (Value, Arc<Index>)>);

/// Keeps the items that pass the test.
pub(super) fn select(
    state: &mut State<'_, '_>,
    list: Value,
    test: Option<String>,
    args: Rest<Value>,
) -> Result<Vec<Value>, Error> {
    filter(
        state,
        &list,
        &Condition { field: None, test: test.as_deref(), args: &args, wanted: true },
    )
}

/// Keeps the items that do not pass the test.
pub(super) fn reject(
    state: &mut State<'_, '_>,
    list: Value,
    test: Option<String>,
    args: Rest<Value>,
) -> Result<Vec<Value>, Error> {
    filter(
        state,
        &list,
        &Condition { field: None, test: test.as_deref(), args: &args, wanted: false },
    )
}

/// Keeps the items whose field passes the test.
pub(super) fn selectattr(
    state: &mut State<'_, '_>,
    list: Value,
    field: String,
    test: Option<String>,
    args: Rest<Value>,
) -> Result<Vec<Value>, Error> {
    let field = Some(field.as_str());
    filter(state, &list, &Condition { field, test: test.as_deref(), args: &args, wanted: true })
}

/// Keeps the items whose field does not pass the test.
pub(super) fn rejectattr(
    state: &mut State<'_, '_>,
    list: Value,
    field: String,
    test: Option<String>,
    args: Rest<Value>,
) -> Result<Vec<Value>, Error> {
    let field = Some(field.as_str());
    filter(state, &list, &Condition { field, test: test.as_deref(), args: &args, wanted: false })
}

/// Which items a filter keeps.
struct Condition<'c> {
    /// The field that is tested, a path with dots; the item itself without one.
    field: Option<&'c str>,
    /// The name of the test; without one, whether the value is true.
    test: Option<&'c str>,
    args: &'c [Value],
    /// The result of the test for an item that is kept.
    wanted: bool,
}

fn filter(
    state: &mut State<'_, '_>,
    list: &Value,
    condition: &Condition<'_>,
) -> Result<Vec<Value>, Error> {
    if list.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let index = match (condition.test, condition.args) {
        (Some("in"), [container]) => index(state, container)?,
        _ => None,
    };
    let mut kept = Vec::new();
    for item in list.try_iter()? {
        state.consume_fuel(1 + fuel_of_text(&item))?;
        if item.kind() == ValueKind::Invalid {
            return Err(Error::from(ErrorKind::InvalidOperation));
        }
        let tested = match condition.field {
            Some(field) => get_path(&item, field)?,
            None => item.clone(),
        };
        let passed = match (&index, condition.test) {
            (Some(index), _) => index.contains(state, &tested)?,
            (None, Some(test)) => {
                let args: Vec<Value> =
                    std::iter::once(tested).chain(condition.args.iter().cloned()).collect();
                state.perform_test(test, &args)?
            }
            (None, None) => tested.is_true(),
        };
        if passed == condition.wanted {
            kept.push(item);
        }
    }
    Ok(kept)
}

/// Returns the index of a list; `None` for another container, whose look-up does not search.
fn index(state: &mut State<'_, '_>, container: &Value) -> Result<Option<Arc<Index>>, Error> {
    if !is_list(container) {
        return Ok(None);
    }
    let list = container.downcast_object_ref::<Vec<Value>>();
    let address = list.map(|list| std::ptr::from_ref(list).addr());
    let known = |address| state.get_extension::<Indexes>()?.0.get(&address);
    if let Some((_, index)) = address.and_then(known) {
        return Ok(Some(Arc::clone(index)));
    }
    let index = Arc::new(Index::new(state, container)?);
    if let Some(address) = address {
        let entry = (container.clone(), Arc::clone(&index));
        state.get_or_insert_extension(Indexes::default()).0.insert(address, entry);
    }
    Ok(Some(index))
}

impl Index {
    fn new(state: &State<'_, '_>, list: &Value) -> Result<Self, Error> {
        let mut by_hash: HashMap<u64, Vec<Value>> = HashMap::new();
        for item in list.try_iter()? {
            let hash = charged_hash(state, &item)?;
            let same = by_hash.entry(hash).or_default();
            if !same.contains(&item) {
                same.push(item);
            }
        }
        Ok(Self(by_hash))
    }

    fn contains(&self, state: &State<'_, '_>, value: &Value) -> Result<bool, Error> {
        let hash = charged_hash(state, value)?;
        Ok(self.0.get(&hash).is_some_and(|same| same.contains(value)))
    }
}

fn charged_hash(state: &State<'_, '_>, value: &Value) -> Result<u64, Error> {
    let mut visited = 0;
    let hash = hash(value, MAX_HASHED_DEPTH, &mut visited);
    state.consume_fuel(visited)?;
    Ok(hash)
}

/// Returns a hash that is equal for equal values. minijinja's own depends on the order of a map's keys, which equality
/// does not. `visited` counts the values that were read.
fn hash(value: &Value, depth: usize, visited: &mut u64) -> u64 {
    *visited += 1 + fuel_of_text(value);
    let mut hasher = DefaultHasher::new();
    if depth == 0 || value.as_object().is_none() {
        if value.as_object().is_none() {
            value.hash(&mut hasher);
        }
        return hasher.finish();
    }
    let Ok(items) = value.try_iter() else { return hasher.finish() };
    if value.kind() != ValueKind::Map {
        for item in items {
            hash(&item, depth - 1, visited).hash(&mut hasher);
        }
        return hasher.finish();
    }
    // The sum has no order.
    items.fold(0_u64, |sum, key| {
        let mut hasher = DefaultHasher::new();
        hash(&key, depth - 1, visited).hash(&mut hasher);
        let item = value.get_item(&key).unwrap_or_default();
        hash(&item, depth - 1, visited).hash(&mut hasher);
        sum.wrapping_add(hasher.finish())
    })
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// Returns what reading a text costs: 64 bytes are as much work as one instruction.
fn fuel_of_text(value: &Value) -> u64 {
    value.as_str().map_or(0, |text| u64::try_from(text.len() / 64).unwrap_or(u64::MAX))
}

fn get_path(value: &Value, path: &str) -> Result<Value, Error> {
    path.split('.').try_fold(value.clone(), |value, part| match part.parse::<usize>() {
        Ok(index) => value.get_item_by_index(index),
        Err(_) => value.get_attr(part),
    })
}
