//! The writes that all kinds share: what the API server fills in, checks and keeps when an object
//! is created, changed or deleted. Knows the kinds through `kinds` and the table only.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::failure::Failure;
use super::kinds;
use super::object::{
    is_terminating, name, namespace, number, put, remove, text, time, uid, version,
};
use super::resources::{NAMESPACES, NODES, Resource};
use super::store::Store;

use deletion::is_released;
pub(crate) use deletion::{Deletion, Propagation, check_deletion};

mod deletion;

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
        kinds::admit(resource, &mut object);
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
        if !object.is_object() {
            return Err(Failure::bad_request("what is written must be a JSON object"));
        }
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
        if resource.generation && kinds::counts_as_generation(resource, part, &current, &object) {
            let generation = number(&current, "/metadata/generation").unwrap_or(0) + 1;
            put(&mut object, &["metadata", "generation"], generation);
        }
        if object == *current {
            return Ok(Written { object: current, changed: false });
        }
        if self.dry_run {
            return Ok(Written { object: Arc::new(object), changed: false });
        }
        if is_released(resource, &object) {
            self.take_out(resource, space, called, &current);
            return Ok(Written { object: Arc::new(object), changed: true });
        }
        Ok(Written { object: self.store.put(resource, object), changed: true })
    }

    fn take_out(
        &mut self,
        resource: &Resource,
        space: &str,
        called: &str,
        current: &Arc<Value>,
    ) -> Written {
        let last = self.store.delete(resource, space, called);
        Written { object: last.unwrap_or_else(|| Arc::clone(current)), changed: true }
    }

    /// Makes the object's own words about its kind and namespace agree with the path.
    fn identify(
        &self,
        resource: &Resource,
        space: &str,
        object: &mut Value,
    ) -> Result<(), Failure> {
        if !object.is_object() {
            return Err(Failure::bad_request("the body is not an object"));
        }
        let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let wanted = resource.api_version();
        let wrong_version = !api_version.is_empty() && api_version != wanted;
        if wrong_version || (!kind.is_empty() && kind != resource.kind) {
            let (given, version) = (text(object, "/kind"), resource.version);
            return Err(Failure::bad_request(format!(
                "{given} in version {version:?} cannot be handled as a {}: unknown conversion",
                resource.kind
            )));
        }
        let own = namespace(object);
        if !own.is_empty() && own != space {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
        put(object, &["apiVersion"], wanted);
        put(object, &["kind"], resource.kind);
        if resource.namespaced {
            put(object, &["metadata", "namespace"], space);
        } else {
            remove(object, &["metadata", "namespace"]);
        }
        for field in [
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "selfLink",
            "generation",
        ] {
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
        if let Some(complaint) = kinds::mistyped(resource, object) {
            let (kind, version) = (resource.kind, resource.version);
            return Err(Failure::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {complaint}"
            )));
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

    fn require_namespace(
        &self,
        resource: &Resource,
        space: &str,
        called: &str,
    ) -> Result<(), Failure> {
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
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
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
            // A component may write these together with the status.
            let fields: &[&str] = match resource.plural {
                "nodes" | "pods" => &["labels", "annotations"],
                "deployments" => &["annotations"],
                _ => &[],
            };
            for field in fields {
                if let Some(value) = metadata.get(*field) {
                    put(object, &["metadata", field], value.clone());
                }
            }
        }
    }
}
