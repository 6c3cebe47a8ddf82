//! Converts minijinja's values to JSON within limits, because lazy values are evaluated here, after
//! the fuel has been counted.

use minijinja::Value;
use minijinja::value::ValueKind;
use serde_json::{Map, Number, Value as Json};

use super::EvaluationErrorKind;
use super::scope::absent;

/// The size limit of what is made of small data: each value and every eight bytes of text count one. A list of all pods
/// of a large cluster takes about 20,000.
const MAX_SIZE: usize = 200_000;
/// How much larger than its data a result may be.
const MAX_GROWTH: usize = 4;
/// The nesting limit, the same as that of a runbook.
const MAX_DEPTH: usize = 32;

/// Converts a value, made of data of a size, to JSON.
pub(super) fn to_json(value: &Value, data_size: usize) -> Result<Json, EvaluationErrorKind> {
    let mut budget = MAX_SIZE.max(data_size.saturating_mul(MAX_GROWTH));
    convert(value, &mut budget, MAX_DEPTH)
}

fn convert(value: &Value, budget: &mut usize, depth: usize) -> Result<Json, EvaluationErrorKind> {
    spend(budget, 1)?;
    if depth == 0 {
        return Err(EvaluationErrorKind::TooDeep);
    }
    if let Some(path) = absent(value) {
        return Err(EvaluationErrorKind::Undefined(path));
    }
    match value.kind() {
        ValueKind::Undefined => Err(EvaluationErrorKind::Undefined("the expression".to_owned())),
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(Json::Bool(value.is_true())),
        ValueKind::Number => number(value).map(Json::Number),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            spend(budget, text.len() / 8)?;
            Ok(Json::String(text.to_owned()))
        }
        ValueKind::Seq | ValueKind::Iterable => list(value, budget, depth).map(Json::Array),
        ValueKind::Map => map(value, budget, depth).map(Json::Object),
        kind => Err(EvaluationErrorKind::InvalidValue(format!("a template cannot yield a {kind}"))),
    }
}

fn spend(budget: &mut usize, cost: usize) -> Result<(), EvaluationErrorKind> {
    *budget = budget.checked_sub(cost).ok_or(EvaluationErrorKind::TooLarge)?;
    Ok(())
}

fn number(value: &Value) -> Result<Number, EvaluationErrorKind> {
    if value.is_integer() {
        let exact = i128::try_from(value.clone()).ok();
        let signed = exact.and_then(|value| i64::try_from(value).ok()).map(Number::from);
        let unsigned = || exact.and_then(|value| u64::try_from(value).ok()).map(Number::from);
        return signed.or_else(unsigned).ok_or_else(|| {
            EvaluationErrorKind::InvalidValue("the integer is out of range".to_owned())
        });
    }
    f64::try_from(value.clone())
        .ok()
        .and_then(Number::from_f64)
        .ok_or_else(|| EvaluationErrorKind::InvalidValue("the number is not finite".to_owned()))
}

fn list(value: &Value, budget: &mut usize, depth: usize) -> Result<Vec<Json>, EvaluationErrorKind> {
    let items = value.try_iter().map_err(|error| failed(&error))?;
    let mut list = Vec::new();
    for item in items {
        list.push(convert(&item, budget, depth - 1)?);
    }
    Ok(list)
}

fn map(
    value: &Value,
    budget: &mut usize,
    depth: usize,
) -> Result<Map<String, Json>, EvaluationErrorKind> {
    let keys = value.try_iter().map_err(|error| failed(&error))?;
    let mut map = Map::new();
    for key in keys {
        let Some(name) = key.as_str() else {
            return Err(EvaluationErrorKind::InvalidValue("map keys must be strings".to_owned()));
        };
        spend(budget, name.len() / 8)?;
        let item = value.get_item(&key).map_err(|error| failed(&error))?;
        map.insert(name.to_owned(), convert(&item, budget, depth - 1)?);
    }
    Ok(map)
}

fn failed(error: &minijinja::Error) -> EvaluationErrorKind {
    EvaluationErrorKind::Failed(error.kind().to_string())
}
