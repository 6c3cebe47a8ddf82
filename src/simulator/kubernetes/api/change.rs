//! The writing verbs: create, update, patch, delete and deletecollection.

use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::simulator::front::Incoming;
use crate::simulator::kubernetes::failure::{Cause, Failure};
use crate::simulator::kubernetes::kinds;
use crate::simulator::kubernetes::object::{name, namespace, put, text, uid};
use crate::simulator::kubernetes::patch::{self, PatchType};
use crate::simulator::kubernetes::request::{self, Query, Target};
use crate::simulator::kubernetes::resources::Resource;
use crate::simulator::kubernetes::write::{Deletion, Part, Propagation, Writer, Written};

/// What a writing verb answers.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) changed: bool,
}

impl Outcome {
    pub(crate) fn ok(written: Written) -> Self {
        Self {
            status: StatusCode::OK,
            changed: written.changed,
            body: Value::clone(&written.object),
        }
    }
}

pub(crate) fn create(
    writer: &mut Writer<'_>,
    target: &Target,
    object: Value,
) -> Result<Outcome, Failure> {
    if target.resource.namespaced && target.namespace.is_none() {
        return Err(Failure::method_not_allowed());
    }
    let made = writer.create(target.resource, target.space(), object)?;
    Ok(Outcome { status: StatusCode::CREATED, body: Value::clone(&made), changed: !writer.dry_run })
}

pub(crate) fn update(
    writer: &mut Writer<'_>,
    target: &Target,
    part: Part,
    object: Value,
) -> Result<Outcome, Failure> {
    let (space, called) = (target.space(), target.name());
    let written = writer.update(target.resource, space, called, part, |_| Ok(object))?;
    Ok(Outcome::ok(written))
}

/// Patches an object; a server-side apply makes it where it is missing.
pub(crate) fn patch(
    writer: &mut Writer<'_>,
    target: &Target,
    part: Part,
    incoming: &Incoming,
    query: &Query,
) -> Result<Outcome, Failure> {
    let kind = PatchType::of(incoming.header(header::CONTENT_TYPE))?;
    let change = request::body(incoming)?;
    let (resource, space, called) = (target.resource, target.space(), target.name());
    if kind == PatchType::Apply {
        check_apply(query, resource, &change)?;
        if part == Part::Main && writer.store.get(resource, space, called).is_none() {
            let mut object = change;
            put(&mut object, &["metadata", "name"], called);
            return create(writer, target, object);
        }
    }
    let written = writer.update(resource, space, called, part, |current| {
        let patched = patch::apply(resource, kind, current, &change)?;
        check_patched(resource, current, &patched)?;
        Ok(patched)
    })?;
    Ok(Outcome::ok(written))
}

/// What is wrong with the outcome of a patch is the patch's fault.
fn check_patched(resource: &Resource, current: &Value, patched: &Value) -> Result<(), Failure> {
    if let Some(complaint) = kinds::mistyped(resource, patched) {
        let message = format!(" \"\" is invalid: patch: Invalid value: {patched}: {complaint}");
        return Err(Failure::new(422, "Invalid", message));
    }
    if !uid(patched).is_empty() && uid(patched) != uid(current) {
        let cause = Cause::invalid("metadata.uid", &uid(patched).into(), "field is immutable");
        return Err(Failure::invalid(resource, name(current), vec![cause]));
    }
    Ok(())
}

fn check_apply(query: &Query, resource: &Resource, change: &Value) -> Result<(), Failure> {
    if query.get("fieldManager").is_empty() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Failure::bad_options("PatchOptions", cause));
    }
    if text(change, "/apiVersion") != resource.api_version()
        || text(change, "/kind") != resource.kind
    {
        let message = "incorrect object given: apiVersion and kind are required for apply patch";
        return Err(Failure::bad_request(message));
    }
    Ok(())
}

pub(crate) fn delete(
    writer: &mut Writer<'_>,
    target: &Target,
    deletion: &Deletion,
) -> Result<Outcome, Failure> {
    let resource = target.resource;
    let written = writer.delete(resource, target.space(), target.name(), deletion)?;
    let object = &written.object;
    let space = namespace(object);
    let gone = written.changed && writer.store.get(resource, space, name(object)).is_none();
    // Only these kinds answer with the object itself when it is gone.
    let shown = !gone || matches!(resource.plural, "pods" | "serviceaccounts");
    if shown {
        return Ok(Outcome::ok(written));
    }
    let mut details = json!({
        "name": name(object),
        "kind": resource.plural,
        "uid": uid(object),
    });
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    Ok(Outcome {
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
    writer: &mut Writer<'_>,
    target: &Target,
    query: &Query,
    deletion: &Deletion,
) -> Result<Outcome, Failure> {
    let resource = target.resource;
    let selector = query.selector(resource)?;
    let doomed: Vec<(String, String)> = writer
        .store
        .list(resource, target.namespace.as_deref())
        .filter(|object| selector.matches(object))
        .map(|object| (namespace(object).to_owned(), name(object).to_owned()))
        .collect();
    let (mut items, mut changed) = (Vec::new(), false);
    for (space, called) in doomed {
        let written = writer.delete(resource, &space, &called, deletion)?;
        changed |= written.changed;
        items.push(Value::clone(&written.object));
    }
    Ok(Outcome {
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

/// Reads DeleteOptions from the body and the query, of which the body has the last word.
pub(crate) fn deletion(query: &Query, options: &Value) -> Result<Deletion, Failure> {
    let grace = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    let word = match text(options, "/propagationPolicy") {
        "" => query.get("propagationPolicy"),
        word => word,
    };
    let orphans = options.get("orphanDependents").and_then(Value::as_bool);
    let propagation = match (word, orphans) {
        ("Foreground", _) => Propagation::Foreground,
        ("Orphan", _) | ("", Some(true)) => Propagation::Orphan,
        ("Background" | "", _) => Propagation::Background,
        (other, _) => {
            let message = format!(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported \
                 value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
            );
            return Err(Failure::new(422, "Invalid", message));
        }
    };
    let precondition = |field: &str| {
        let given = text(options, &format!("/preconditions/{field}"));
        (!given.is_empty()).then(|| given.to_owned())
    };
    Ok(Deletion {
        grace: grace.or_else(|| query.get("gracePeriodSeconds").parse().ok()),
        uid: precondition("uid"),
        version: precondition("resourceVersion"),
        propagation,
    })
}

/// Whether DeleteOptions ask for nothing to be done.
pub(crate) fn asks_dry_run(query: &Query, options: &Value) -> bool {
    query.dry_run()
        || options
            .get("dryRun")
            .and_then(Value::as_array)
            .is_some_and(|modes| modes.iter().any(|mode| mode == "All"))
}
