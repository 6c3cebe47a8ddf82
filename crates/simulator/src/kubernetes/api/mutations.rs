//! The writing verbs: create, update, patch, delete and deletecollection.

use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::gateway::Incoming;
use crate::kubernetes::event_forms;
use crate::kubernetes::kinds;
use crate::kubernetes::kinds::Kind;
use crate::kubernetes::object::{self, put, text, uid};
use crate::kubernetes::patch::{self, PatchType};
use crate::kubernetes::request::{self, Query, ResourcePath};
use crate::kubernetes::status_error::{StatusCause, StatusError};
use crate::kubernetes::write::{
    DeleteOptions, ObjectPart, ObjectWriter, Propagation, WriteOutcome,
};

/// The response to a writing verb.
#[derive(Debug)]
pub(crate) struct WriteResponse {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) changed: bool,
}

impl WriteResponse {
    pub(crate) fn ok(written: &WriteOutcome) -> Self {
        Self {
            status: StatusCode::OK,
            changed: written.changed,
            body: Value::clone(&written.object),
        }
    }
}

pub(crate) fn create(
    writer: &mut ObjectWriter<'_>,
    target: &ResourcePath,
    object: Value,
) -> Result<WriteResponse, StatusError> {
    if target.resource.namespaced && target.namespace.is_none() {
        return Err(StatusError::method_not_allowed());
    }
    let (resource, object) = (target.resource, event_forms::to_kept(target.resource, object));
    check(resource, &object, event_forms::validate(resource, &object))?;
    let name = object::name(&object).to_owned();
    let created = writer.create(resource.kept(), target.namespace(), object).map_err(|error| {
        if error.code == 409 { StatusError::already_exists(resource, &name) } else { error }
    })?;
    Ok(WriteResponse {
        status: StatusCode::CREATED,
        body: Value::clone(&created),
        changed: !writer.dry_run,
    })
}

pub(crate) fn update(
    writer: &mut ObjectWriter<'_>,
    target: &ResourcePath,
    part: ObjectPart,
    object: Value,
) -> Result<WriteResponse, StatusError> {
    let (namespace, name) = (target.namespace(), target.name());
    let resource = target.resource;
    require(writer, target)?;
    let written = writer.update(resource.kept(), namespace, name, part, |current| {
        let object = event_forms::to_kept(resource, object);
        check(resource, current, event_forms::validate_update(resource, current, &object))?;
        Ok(object)
    })?;
    Ok(WriteResponse::ok(&written))
}

/// Patches an object; a server-side apply creates a missing object.
pub(crate) fn patch(
    writer: &mut ObjectWriter<'_>,
    target: &ResourcePath,
    part: ObjectPart,
    incoming: &Incoming,
    query: &Query,
) -> Result<WriteResponse, StatusError> {
    let patch_type = PatchType::of(incoming.header(header::CONTENT_TYPE))?;
    let change = request::body(incoming)?;
    let (resource, namespace, name) = (target.resource, target.namespace(), target.name());
    if patch_type == PatchType::Apply {
        check_apply(query, resource, &change)?;
        if part == ObjectPart::Main && writer.store.get(resource.kept(), namespace, name).is_none()
        {
            let mut object = change;
            put(&mut object, &["metadata", "name"], name);
            return create(writer, target, object);
        }
    }
    require(writer, target)?;
    let written = writer.update(resource.kept(), namespace, name, part, |current| {
        let shown = event_forms::shown(resource, current);
        let patched = patch::apply(resource, patch_type, &shown, &change)?;
        check_patched(resource, current, &patched)?;
        let patched = event_forms::to_kept(resource, patched);
        check(resource, current, event_forms::validate_update(resource, current, &patched))?;
        Ok(patched)
    })?;
    Ok(WriteResponse::ok(&written))
}

/// Rejects a change of an object that does not exist.
fn require(writer: &ObjectWriter<'_>, target: &ResourcePath) -> Result<(), StatusError> {
    let found = writer.store.get(target.resource.kept(), target.namespace(), target.name());
    found.map(drop).ok_or_else(|| StatusError::not_found(target.resource, target.name()))
}

/// Rejects an object that is invalid.
fn check(
    resource: &'static Kind,
    object: &Value,
    causes: Vec<StatusCause>,
) -> Result<(), StatusError> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(StatusError::invalid(resource.kept(), object::name(object), &causes))
}

/// Rejects a patch whose result is not valid.
fn check_patched(resource: &Kind, current: &Value, patched: &Value) -> Result<(), StatusError> {
    if let Some(type_error) = kinds::type_error(resource, patched) {
        let message = format!(" \"\" is invalid: patch: Invalid value: {patched}: {type_error}");
        return Err(StatusError::new(422, "Invalid", message));
    }
    if !uid(patched).is_empty() && uid(patched) != uid(current) {
        let cause =
            StatusCause::invalid("metadata.uid", &uid(patched).into(), "field is immutable");
        return Err(StatusError::invalid(resource, object::name(current), &[cause]));
    }
    Ok(())
}

fn check_apply(query: &Query, resource: &Kind, change: &Value) -> Result<(), StatusError> {
    if query.get("fieldManager").is_empty() {
        let cause = StatusCause::required("fieldManager", "is required for apply patch");
        return Err(StatusError::bad_options("PatchOptions", &cause));
    }
    if text(change, "/apiVersion") != resource.api_version()
        || text(change, "/kind") != resource.kind
    {
        let message = "incorrect object given: apiVersion and kind are required for apply patch";
        return Err(StatusError::bad_request(message));
    }
    Ok(())
}

pub(crate) fn delete(
    writer: &mut ObjectWriter<'_>,
    target: &ResourcePath,
    deletion: &DeleteOptions,
) -> Result<WriteResponse, StatusError> {
    require(writer, target)?;
    let resource = target.resource.kept();
    let written = writer.delete(resource, target.namespace(), target.name(), deletion)?;
    let object = &written.object;
    let namespace = object::namespace(object);
    let gone =
        written.changed && writer.store.get(resource, namespace, object::name(object)).is_none();
    // For only these kinds the response is the deleted object.
    let shown = !gone || resource.is_shown_when_deleted;
    if shown {
        return Ok(WriteResponse::ok(&written));
    }
    let mut details = json!({
        "name": object::name(object),
        "kind": resource.plural,
        "uid": uid(object),
    });
    if !target.resource.group.is_empty() {
        details["group"] = target.resource.group.into();
    }
    Ok(WriteResponse {
        status: StatusCode::OK,
        changed: written.changed,
        body: json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }),
    })
}

pub(crate) fn delete_collection(
    writer: &mut ObjectWriter<'_>,
    target: &ResourcePath,
    query: &Query,
    deletion: &DeleteOptions,
) -> Result<WriteResponse, StatusError> {
    let resource = target.resource;
    let selector = query.selector(resource)?;
    let selected: Vec<(String, String)> = writer
        .store
        .read_all(resource.kept(), target.namespace.as_deref())
        .filter(|object| selector.matches(object))
        .map(|object| (object::namespace(&object).to_owned(), object::name(&object).to_owned()))
        .collect();
    let (mut items, mut changed) = (Vec::new(), false);
    for (namespace, name) in selected {
        let written = writer.delete(resource.kept(), &namespace, &name, deletion)?;
        changed |= written.changed;
        items.push(event_forms::shown(resource, &written.object).into_owned());
    }
    Ok(WriteResponse {
        status: StatusCode::OK,
        changed,
        body: json!({
            "kind": format!("{}List", resource.kind),
            "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": writer.store.version().to_string()},
            "items": items,
        }),
    })
}

/// Parses `DeleteOptions` from the body and the query; the body takes precedence.
pub(crate) fn parse_deletion(query: &Query, options: &Value) -> Result<DeleteOptions, StatusError> {
    let grace = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    let policy = match text(options, "/propagationPolicy") {
        "" => query.get("propagationPolicy"),
        policy => policy,
    };
    let orphans = options.get("orphanDependents").and_then(Value::as_bool);
    let propagation = match (policy, orphans) {
        ("Foreground", _) => Propagation::Foreground,
        ("Orphan", _) | ("", Some(true)) => Propagation::Orphan,
        ("Background" | "", _) => Propagation::Background,
        (other, _) => {
            let message = format!(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported \
                 value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
            );
            return Err(StatusError::new(422, "Invalid", message));
        }
    };
    let precondition = |field: &str| {
        let given = text(options, &format!("/preconditions/{field}"));
        (!given.is_empty()).then(|| given.to_owned())
    };
    Ok(DeleteOptions {
        grace: grace.or_else(|| query.get("gracePeriodSeconds").parse().ok()),
        uid: precondition("uid"),
        version: precondition("resourceVersion"),
        propagation,
    })
}

/// Returns whether `DeleteOptions` ask for a dry run.
pub(crate) fn is_dry_run(query: &Query, options: &Value) -> bool {
    query.dry_run()
        || options
            .get("dryRun")
            .and_then(Value::as_array)
            .is_some_and(|modes| modes.iter().any(|mode| mode == "All"))
}
