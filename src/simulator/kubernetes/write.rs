//! The writes that all kinds share: what the API server fills in, checks and keeps when an object is created, changed
//! or deleted. Knows the kinds through `kinds` and the table only.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::failure::Failure;
use super::kinds;
use super::object::{
    is_terminating, list, map, name, namespace, number, put, remove, text, time, uid, version,
};
use super::resources::{NAMESPACES, NODES, Resource};
use super::store::Store;

/// Which part of an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but the status, where the kind keeps that apart.
    Main,
    /// The status.
    Status,
    /// Everything: for the cluster's own components.
    Whole,
}

/// What a write came to.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) object: Arc<Value>,
    pub(crate) changed: bool,
}

/// How an object is to be deleted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Deletion {
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) propagation: Propagation,
}

/// What becomes of the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

/// A hand that writes to the store at a given moment.
pub(crate) struct Writer<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) now: Timestamp,
    /// Everything is checked and nothing is kept.
    pub(crate) dry_run: bool,
}

impl Writer<'_> {
    /// Makes an object. `space` is the namespace of the path, empty for kinds without one.
    pub(crate) fn create(
        &mut self,
        resource: &Resource,
        space: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, Failure> {
        self.identify(resource, space, &mut object)?;
        put(&mut object, &["metadata", "uid"], "");
        if resource.has_status() && resource.plural != NODES.plural {
            remove(&mut object, &["status"]);
        }
        if resource.generation {
            put(&mut object, &["metadata", "generation"], 1);
        }
        self.name(&mut object);
        let called = name(&object).to_owned();
        put(&mut object, &["metadata", "creationTimestamp"], time(self.now));
        self.check(resource, &mut object)?;
        if resource.namespaced {
            self.require_namespace(resource, space, &called)?;
        }
        if self.store.get(resource, space, &called).is_some() {
            return Err(Failure::already_exists(resource, &called));
        }
        let label = format!("{}/{space}/{called}", resource.plural);
        let given = self.store.ids.uuid(&label);
        put(&mut object, &["metadata", "uid"], given);
        if self.dry_run {
            return Ok(Arc::new(object));
        }
        Ok(self.store.put(resource, object))
    }

    /// Changes an object: `change` makes what it shall be from what it is.
    pub(crate) fn update(
        &mut self,
        resource: &Resource,
        space: &str,
        called: &str,
        part: Part,
        change: impl FnOnce(&Value) -> Result<Value, Failure>,
    ) -> Result<Written, Failure> {
        let current = self
            .store
            .get(resource, space, called)
            .cloned()
            .ok_or_else(|| Failure::not_found(resource, called))?;
        let mut object = change(&current)?;
        check_preconditions(resource, &current, &object)?;
        keep_identity(&current, &mut object);
        keep_other_part(resource, part, &current, &mut object);
        self.check(resource, &mut object)?;
        let causes = match part {
            Part::Whole => Vec::new(),
            Part::Main | Part::Status => kinds::validate_update(resource, &current, &object),
        };
        if !causes.is_empty() {
            return Err(Failure::invalid(resource, called, causes));
        }
        if resource.generation && kinds::counts_as_generation(resource, &current, &object) {
            let generation = number(&current, "/metadata/generation").unwrap_or(0) + 1;
            put(&mut object, &["metadata", "generation"], generation);
        }
        if object == *current {
            return Ok(Written {
                object: current,
                changed: false,
            });
        }
        if self.dry_run {
            return Ok(Written {
                object: Arc::new(object),
                changed: false,
            });
        }
        if is_released(resource, &object) {
            return Ok(self.take_out(resource, space, called, &current));
        }
        Ok(Written {
            object: self.store.put(resource, object),
            changed: true,
        })
    }

    /// Deletes an object, or begins to.
    pub(crate) fn delete(
        &mut self,
        resource: &Resource,
        space: &str,
        called: &str,
        deletion: &Deletion,
    ) -> Result<Written, Failure> {
        let current = self
            .store
            .get(resource, space, called)
            .cloned()
            .ok_or_else(|| Failure::not_found(resource, called))?;
        check_deletion(resource, &current, deletion)?;
        let grace = grace_of(resource, &current, deletion);
        let mut object = Value::clone(&current);
        add_finalizer(&mut object, deletion.propagation);
        let held = !is_released_at(resource, &object, grace);
        if !held {
            if self.dry_run {
                return Ok(Written {
                    object: current,
                    changed: false,
                });
            }
            return Ok(self.take_out(resource, space, called, &current));
        }
        let shorter = number(&current, "/metadata/deletionGracePeriodSeconds")
            .is_none_or(|standing| grace < standing);
        if !shorter && object == *current {
            return Ok(Written {
                object: current,
                changed: false,
            });
        }
        self.mark_terminating(resource, &mut object, grace);
        if self.dry_run {
            return Ok(Written {
                object: Arc::new(object),
                changed: false,
            });
        }
        Ok(Written {
            object: self.store.put(resource, object),
            changed: true,
        })
    }

    fn mark_terminating(&self, resource: &Resource, object: &mut Value, grace: i64) {
        let end = self
            .now
            .checked_add(SignedDuration::from_secs(grace))
            .unwrap_or(self.now);
        put(object, &["metadata", "deletionTimestamp"], time(end));
        put(object, &["metadata", "deletionGracePeriodSeconds"], grace);
        if let Some(generation) = number(object, "/metadata/generation") {
            put(object, &["metadata", "generation"], generation + 1);
        }
        if resource.plural == NAMESPACES.plural {
            put(object, &["status", "phase"], "Terminating");
        }
    }

    fn take_out(
        &mut self,
        resource: &Resource,
        space: &str,
        called: &str,
        current: &Arc<Value>,
    ) -> Written {
        let last = self.store.delete(resource, space, called);
        Written {
            object: last.unwrap_or_else(|| Arc::clone(current)),
            changed: true,
        }
    }

    /// Makes the object's own words about its kind and namespace agree with the path.
    fn identify(&self, resource: &Resource, space: &str, object: &mut Value) -> Result<(), Failure> {
        if !object.is_object() {
            return Err(Failure::bad_request("the body is not an object"));
        }
        let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let wanted = resource.api_version();
        let wrong_version = !api_version.is_empty() && api_version != wanted;
        if wrong_version || (!kind.is_empty() && kind != resource.kind) {
            return Err(Failure::bad_request(format!(
                "the API version in the data ({api_version}, {kind}) does not match the expected API \
                 version ({wanted}, {})",
                resource.kind
            )));
        }
        let own = namespace(object);
        if !own.is_empty() && own != space {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        put(object, &["apiVersion"], wanted);
        put(object, &["kind"], resource.kind);
        if resource.namespaced {
            put(object, &["metadata", "namespace"], space);
        } else {
            remove(object, &["metadata", "namespace"]);
        }
        for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds",
            "managedFields", "selfLink", "generation"]
        {
            remove(object, &["metadata", field]);
        }
        Ok(())
    }

    fn name(&mut self, object: &mut Value) {
        let prefix = text(object, "/metadata/generateName").to_owned();
        if name(object).is_empty() && !prefix.is_empty() {
            let suffix = self.store.ids.suffix(&prefix);
            put(object, &["metadata", "name"], format!("{prefix}{suffix}"));
        }
    }

    fn check(&self, resource: &Resource, object: &mut Value) -> Result<(), Failure> {
        if let Some(message) = kinds::mistyped(resource, object) {
            return Err(Failure::bad_request(message));
        }
        remove(object, &["metadata", "managedFields"]);
        kinds::normalise(resource, object);
        kinds::set_defaults(resource, object);
        kinds::normalise(resource, object);
        let causes = kinds::validate(resource, object);
        if causes.is_empty() {
            Ok(())
        } else {
            Err(Failure::invalid(resource, name(object), causes))
        }
    }

    fn require_namespace(&self, resource: &Resource, space: &str, called: &str) -> Result<(), Failure> {
        let Some(found) = self.store.get(&NAMESPACES, "", space) else {
            return Err(Failure::not_found(&NAMESPACES, space));
        };
        if is_terminating(found) {
            let why = format!(
                "unable to create new content in namespace {space} because it is being terminated"
            );
            return Err(Failure::forbidden(resource, called, &why));
        }
        Ok(())
    }
}

fn check_preconditions(
    resource: &Resource,
    current: &Value,
    wanted: &Value,
) -> Result<(), Failure> {
    let called = name(current);
    if !name(wanted).is_empty() && name(wanted) != called {
        return Err(Failure::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({called})",
            name(wanted)
        )));
    }
    if !uid(wanted).is_empty() && uid(wanted) != uid(current) {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            uid(wanted),
            uid(current)
        );
        return Err(Failure::conflict(resource, called, &why));
    }
    if !version(wanted).is_empty() && version(wanted) != version(current) {
        return Err(Failure::modified(resource, called));
    }
    Ok(())
}

/// What a client cannot change is as it was.
fn keep_identity(current: &Value, object: &mut Value) {
    for field in ["apiVersion", "kind"] {
        object[field] = current[field].clone();
    }
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation",
        "generateName", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        match current["metadata"].get(field) {
            Some(value) => put(object, &["metadata", field], value.clone()),
            None => {
                remove(object, &["metadata", field]);
            }
        }
    }
}

fn keep_other_part(resource: &Resource, part: Part, current: &Value, object: &mut Value) {
    match part {
        Part::Whole => {}
        Part::Main if !resource.has_status() => {}
        Part::Main => match current.get("status") {
            Some(status) => put(object, &["status"], status.clone()),
            None => {
                remove(object, &["status"]);
            }
        },
        Part::Status => {
            let status = object.get("status").cloned().unwrap_or_else(|| json!({}));
            let metadata = object["metadata"].take();
            *object = current.clone();
            put(object, &["status"], status);
            // The kubelet may change labels and annotations together with the status.
            if matches!(resource.plural, "nodes" | "pods") {
                for field in ["labels", "annotations"] {
                    if let Some(value) = metadata.get(field) {
                        put(object, &["metadata", field], value.clone());
                    }
                }
            }
        }
    }
}

fn check_deletion(
    resource: &Resource,
    current: &Value,
    deletion: &Deletion,
) -> Result<(), Failure> {
    let called = name(current);
    if let Some(wanted) = deletion.uid.as_deref().filter(|wanted| *wanted != uid(current)) {
        let why = format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {}",
            uid(current)
        );
        return Err(Failure::conflict(resource, called, &why));
    }
    if let Some(wanted) = deletion
        .version
        .as_deref()
        .filter(|wanted| *wanted != version(current))
    {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object \
             meta: {}",
            version(current)
        );
        return Err(Failure::conflict(resource, called, &why));
    }
    Ok(())
}

/// For how many seconds the object stays after its deletion; only pods that a kubelet runs do.
fn grace_of(resource: &Resource, current: &Value, deletion: &Deletion) -> i64 {
    if resource.plural != "pods" {
        return 0;
    }
    let finished = matches!(text(current, "/status/phase"), "Succeeded" | "Failed");
    if finished || text(current, "/spec/nodeName").is_empty() {
        return 0;
    }
    let asked = deletion
        .grace
        .or_else(|| number(current, "/spec/terminationGracePeriodSeconds"))
        .unwrap_or(30)
        .max(0);
    match number(current, "/metadata/deletionGracePeriodSeconds") {
        Some(standing) => asked.min(standing),
        None => asked,
    }
}

fn add_finalizer(object: &mut Value, propagation: Propagation) {
    let finalizer = match propagation {
        Propagation::Background => return,
        Propagation::Foreground => "foregroundDeletion",
        Propagation::Orphan => "orphan",
    };
    let mut finalizers = list(object, "/metadata/finalizers").to_vec();
    if !finalizers.iter().any(|held| held == finalizer) {
        finalizers.push(finalizer.into());
        put(object, &["metadata", "finalizers"], finalizers);
    }
}

/// Whether a terminating object has nothing left that holds it.
fn is_released(resource: &Resource, object: &Value) -> bool {
    let grace = number(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    is_terminating(object) && is_released_at(resource, object, grace)
}

fn is_released_at(resource: &Resource, object: &Value, grace: i64) -> bool {
    let finalizers = list(object, "/metadata/finalizers").is_empty();
    let content = resource.plural != NAMESPACES.plural
        || map(object, "/spec").is_none_or(|spec| !spec.contains_key("finalizers"));
    finalizers && content && grace == 0
}
