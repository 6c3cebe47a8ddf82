//! The output of a step whose parameters declare its fields.

use super::super::registry::{ActionSignature, ObjectUse};
use super::super::types::{Field, RecordType, Type};
use super::super::yaml::{Node, ScalarValue};

/// Returns the output that the parameters declare; none where the declaration cannot be read, which is reported as an
/// issue of the parameter.
pub(super) fn of(action: &ActionSignature, with: Option<&Node>) -> Option<RecordType> {
    let ObjectUse { fields, nullable_if, .. } = action.object.as_ref()?;
    let declared = with?.member(fields.as_deref()?)?.pairs()?;
    let nullable = nullable_if.as_deref().and_then(|name| with?.member(name));
    let nullable = nullable.and_then(Node::scalar_value);
    let is_nullable = matches!(nullable, Some(ScalarValue::Boolean(true)));
    let field = |(name, declaration): &(Node, Node)| {
        let text = declaration.member("type").and_then(Node::text);
        let ty = text.and_then(|text| Type::parse(text).ok()).unwrap_or(Type::Any);
        let ty = if is_nullable { ty.or_null() } else { ty };
        Some(Field::required(name.text()?, ty))
    };
    Some(RecordType {
        name: action.output.name.clone(),
        fields: declared.iter().filter_map(field).collect(),
        ..RecordType::default()
    })
}
