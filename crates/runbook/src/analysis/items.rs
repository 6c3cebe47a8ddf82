//! The types of the items for which a step with `for_each` runs.

use std::sync::Arc;

use super::super::template::{self, Items, Names, Narrowing, SymbolTable, is_template};
use super::super::types::{Field, LengthBounds, RecordType, Type};
use super::super::yaml::{Node, NodeKind, ScalarValue};

/// Returns the items of the step at a position; the symbols have the outputs of the steps before it.
pub(super) fn items(
    node: &Node,
    symbols: &SymbolTable<'_>,
    index: usize,
    narrowing: &Narrowing,
    may_fail: bool,
) -> Items {
    let context = Context { symbols, index, narrowing };
    Items::of(&context.type_of(node), may_fail)
}

/// Returns the type of a value with templates in it, which can use the outputs of the steps before a position.
pub(super) fn type_of_node(node: &Node, symbols: &SymbolTable<'_>, index: usize) -> Type {
    Context { symbols, index, narrowing: &Narrowing::default() }.type_of(node)
}

struct Context<'s, 't> {
    symbols: &'s SymbolTable<'t>,
    index: usize,
    narrowing: &'s Narrowing,
}

impl Context<'_, '_> {
    fn type_of(&self, node: &Node) -> Type {
        if let Some(text) = node.text().filter(|text| is_template(text)) {
            let Ok(template) = template::parse(text) else { return Type::Any };
            let (symbols, names) = (self.symbols, Names::Earlier);
            return template::infer(&template, symbols, self.index, names, self.narrowing).ty;
        }
        match &node.kind {
            NodeKind::List(items) => {
                let of = items.iter().map(|item| self.type_of(item)).reduce(join);
                // An empty one is reported as that, and has no items that are wrong.
                let length = Some(items.len()).filter(|length| *length > 0);
                let lengths = LengthBounds { minimum: length, maximum: length };
                Type::List(Box::new(of.unwrap_or(Type::Any)), lengths)
            }
            NodeKind::Map(pairs) => {
                // The keys of a literal are known, so it is a record.
                let field = |(key, value): &(Node, Node)| {
                    Field::required(key.text().unwrap_or_default(), self.type_of(value))
                };
                let fields = pairs.iter().map(field).collect();
                Type::Record(Arc::new(RecordType { fields, ..RecordType::default() }))
            }
            NodeKind::Scalar { .. } | NodeKind::Broken => match node.scalar_value() {
                Some(ScalarValue::Boolean(_)) => Type::Boolean,
                Some(ScalarValue::Integer(_)) => Type::integer(),
                Some(ScalarValue::Number(_)) => Type::number(),
                // A word may be one that a parameter takes, or a duration.
                Some(ScalarValue::Text(word)) => Type::words(&[word]),
                Some(ScalarValue::Null) => Type::Null,
                None => Type::Any,
            },
        }
    }
}

/// The most fields that two records have together whose common type is known, so that the time for a long list of maps
/// stays linear. Items of a loop have a few.
const MAX_FIELDS: usize = 256;

/// Returns the type of items of which some have one type and some the other. Of two records, the fields that only one
/// of them has may be absent.
fn join(a: Type, b: Type) -> Type {
    let (Type::Record(a), Type::Record(b)) = (&a, &b) else { return a.join(b) };
    if a.fields.len() + b.fields.len() > MAX_FIELDS {
        return Type::Any;
    }
    let in_both = |field: &Field| match b.field(&field.name) {
        Some(other) => Field {
            ty: join(field.ty.clone(), other.ty.clone()),
            required: field.required && other.required,
            ..field.clone()
        },
        None => Field { required: false, ..field.clone() },
    };
    let only_in_b = b.fields.iter().filter(|field| a.field(&field.name).is_none());
    let only_in_b = only_in_b.map(|field| Field { required: false, ..field.clone() });
    let fields = a.fields.iter().map(in_both).chain(only_in_b).collect();
    Type::Record(Arc::new(RecordType { fields, ..RecordType::default() }))
}
