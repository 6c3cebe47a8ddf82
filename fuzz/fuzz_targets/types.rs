//! Parses any text as a type: a type that is accepted has a name that is the same type, and a depth within the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook::types::{MAX_TYPE_DEPTH, Type};

fuzz_target!(|text: &str| {
    let Ok(ty) = Type::parse(text) else { return };
    assert!(depth(&ty) <= MAX_TYPE_DEPTH);
    if !text.trim().ends_with("enum") {
        assert_eq!(Type::parse(&ty.to_string()).as_ref(), Ok(&ty));
    }
    let _ = ty.coerce(serde_json::json!([{"a": [1, null]}]));
});

/// Returns how often the type is a list, a map or optional.
fn depth(ty: &Type) -> usize {
    match ty {
        Type::List(of, _) | Type::Map(of, _) | Type::Optional(of) => 1 + depth(of),
        _ => 0,
    }
}
