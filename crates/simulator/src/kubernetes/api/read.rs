//! Reading one object, and lists in pages.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::ids::to_hex;
use crate::kubernetes::object;
use crate::kubernetes::request::{Query, ResourcePath};
use crate::kubernetes::status_error::{StatusCause, StatusError};
use crate::kubernetes::store::{ListedObject, ObjectStore};

/// A page of objects and the metadata of the list.
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Value>>,
    pub(crate) metadata: Value,
}

/// The position at which a list continues: the version of its first page, and the last object of
/// the previous page.
#[derive(Debug, PartialEq, Eq)]
struct ContinueToken {
    version: u64,
    namespace: String,
    name: String,
}

/// Lists the objects of the target: at the newest version, at an exact version, or from the end of
/// the previous page.
pub(crate) fn list(
    store: &ObjectStore,
    target: &ResourcePath,
    query: &Query,
) -> Result<Page, StatusError> {
    let resource = target.resource;
    let selector = query.selector(resource)?;
    let token = ContinueToken::decode(query.get("continue"))?;
    let version = match &token {
        Some(token) => token.version,
        None => version_to_list(store, query)?,
    };
    let namespace = target.namespace.as_deref();
    let after = token.map(|token| (token.namespace, token.name));
    let mut listed =
        store.list_at(resource.kept(), namespace, version, after.as_ref()).map_err(|_| {
            StatusError::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter.",
            )
        })?;
    let limit = usize::try_from(query.number("limit").unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = if limit == 0 { usize::MAX } else { limit };
    let is_selected = |object: &Arc<Value>| selector.matches(object);
    let read = |object: ListedObject<'_>| object.read();
    let objects: Vec<Arc<Value>> =
        listed.by_ref().map(read).filter(is_selected).take(limit).collect();
    // How many are left is known without reading them, and with a selector only whether there are any.
    let left = match selector.is_empty() {
        true => listed.count(),
        false => usize::from(listed.map(read).any(|object| is_selected(&object))),
    };
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if left > 0 {
        if let Some(last) = objects.last() {
            let token = ContinueToken {
                version,
                namespace: object::namespace(last).to_owned(),
                name: object::name(last).to_owned(),
            };
            metadata["continue"] = token.encode().into();
        }
        if selector.is_empty() {
            metadata["remainingItemCount"] = left.into();
        }
    }
    Ok(Page { objects, metadata })
}

fn version_to_list(store: &ObjectStore, query: &Query) -> Result<u64, StatusError> {
    let given = query.get("resourceVersion");
    if given.is_empty() || given == "0" {
        return Ok(store.version());
    }
    let version = parse_version(given)?;
    if version > store.version() {
        return Err(version_too_large(version, store.version()));
    }
    match query.get("resourceVersionMatch") {
        "Exact" => Ok(version),
        _ => Ok(store.version()),
    }
}

/// Parses a client's resource version.
pub(crate) fn parse_version(given: &str) -> Result<u64, StatusError> {
    given.parse().map_err(|_| {
        StatusError::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {given:?}: \
             strconv.ParseUint: parsing {given:?}: invalid syntax"
        ))
    })
}

fn version_too_large(wanted: u64, current: u64) -> StatusError {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let mut error = StatusError::new(504, "Timeout", message);
    error.details = json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    });
    error
}

/// Rejects options that contradict each other.
pub(crate) fn check_options(query: &Query) -> Result<(), StatusError> {
    let match_rule = query.get("resourceVersionMatch");
    let cause = if query.flag("watch") && query.flag("sendInitialEvents") {
        (match_rule != "NotOlderThan").then(|| {
            StatusCause::forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )
        })
    } else if !match_rule.is_empty() && query.get("resourceVersion").is_empty() {
        Some(StatusCause::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ))
    } else {
        None
    };
    match cause {
        None => Ok(()),
        Some(cause) => Err(StatusError::bad_options("ListOptions", &cause)),
    }
}

impl ContinueToken {
    fn encode(&self) -> String {
        let plain = json!([self.version, self.namespace, self.name]).to_string();
        to_hex(plain.as_bytes())
    }

    fn decode(text: &str) -> Result<Option<Self>, StatusError> {
        if text.is_empty() {
            return Ok(None);
        }
        let invalid_token = || StatusError::bad_request("continue key is not valid");
        let bytes: Option<Vec<u8>> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
            .collect();
        let parts: (u64, String, String) =
            serde_json::from_slice(&bytes.ok_or_else(invalid_token)?)
                .map_err(|_| invalid_token())?;
        Ok(Some(Self { version: parts.0, namespace: parts.1, name: parts.2 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdGenerator;
    use crate::kubernetes::kinds::{Kind, NODES};

    fn page(
        store: &ObjectStore,
        resource: &'static Kind,
        query: &str,
    ) -> Result<Page, StatusError> {
        let target = ResourcePath { resource, namespace: None, name: None, subresource: None };
        list(store, &target, &Query::parse(query))
    }

    fn names(page: &Page) -> Vec<&str> {
        page.objects.iter().map(|object| object::name(object)).collect()
    }

    #[test]
    fn pages_show_the_list_as_it_was_at_the_first() {
        let mut store = ObjectStore::new(IdGenerator::new(1));
        for node in ["a", "b", "c", "d"] {
            store.put(&NODES, json!({"metadata": {"name": node}}));
        }
        let first = page(&store, &NODES, "limit=2").unwrap();
        assert_eq!(names(&first), ["a", "b"]);
        assert_eq!(first.metadata["remainingItemCount"], 2);
        let token = first.metadata["continue"].as_str().unwrap();
        store.delete(&NODES, "", "c");
        let second = page(&store, &NODES, &format!("limit=2&continue={token}")).unwrap();
        assert_eq!(names(&second), ["c", "d"]);
        assert!(second.metadata.get("continue").is_none());
        store.compact();
        let late = page(&store, &NODES, &format!("continue={token}")).err().unwrap();
        assert_eq!(late.code, 410);
        assert_eq!(page(&store, &NODES, "continue=zz").err().unwrap().code, 400);
    }
}
