//! The writes that all kinds share: what the API server sets, checks and keeps when an object is
//! created, changed or deleted. Knows the kinds through `kinds` and the table only.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::admission;
use super::custom;
use super::kinds;
use super::kinds::{Kind, NAMESPACES};
use super::object::{self, is_terminating, number, put, remove, text, time, uid, version};
use super::status_error::StatusError;
use super::store::ObjectStore;

use deletion::is_released;
pub(crate) use deletion::{DeleteOptions, Propagation, check_deletion};

mod deletion;

/// The part of an object that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectPart {
    /// Everything except the status, if the kind has a status subresource.
    Main,
    /// The status.
    Status,
    /// Everything: for the cluster's own components.
    Whole,
}

/// The result of a write.
#[derive(Debug, Clone)]
pub(crate) struct WriteOutcome {
    pub(crate) object: Arc<Value>,
    pub(crate) changed: bool,
}

/// A writer to the store at a given time.
pub(crate) struct ObjectWriter<'a> {
    pub(crate) store: &'a mut ObjectStore,
    pub(crate) now: Timestamp,
    /// Whether everything is checked and nothing is stored.
    pub(crate) dry_run: bool,
}

impl ObjectWriter<'_> {
    /// Creates an object. `namespace` is the namespace of the path, empty for kinds without one.
    pub(crate) fn create(
        &mut self,
        resource: &'static Kind,
        namespace: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, StatusError> {
        set_identity(resource, namespace, &mut object)?;
        put(&mut object, &["metadata", "uid"], "");
        if resource.has_status() && !resource.keeps_first_status {
            remove(&mut object, &["status"]);
        }
        if resource.generation {
            put(&mut object, &["metadata", "generation"], 1);
        }
        self.generate_name(&mut object);
        let name = object::name(&object).to_owned();
        put(&mut object, &["metadata", "creationTimestamp"], time(self.now));
        admission::set_limits(self.store, resource, &mut object);
        admission::set_priority(self.store, resource, &mut object);
        default_and_validate(resource, &mut object)?;
        kinds::admit(resource, &mut object);
        if resource.namespaced {
            self.require_namespace(resource, namespace, &name)?;
            admission::check(self.store, resource, &object)
                .map_err(|why| StatusError::forbidden(resource, &name, &why))?;
        }
        if self.store.get(resource, namespace, &name).is_some() {
            return Err(StatusError::already_exists(resource, &name));
        }
        let label = format!("{}/{namespace}/{name}", resource.plural);
        let given = self.store.ids.uuid(&label);
        put(&mut object, &["metadata", "uid"], given);
        if self.dry_run {
            return Ok(Arc::new(object));
        }
        Ok(self.store.put(resource, object))
    }

    /// Changes an object: `change` returns the new object for the current one.
    pub(crate) fn update(
        &mut self,
        resource: &'static Kind,
        namespace: &str,
        name: &str,
        part: ObjectPart,
        change: impl FnOnce(&Value) -> Result<Value, StatusError>,
    ) -> Result<WriteOutcome, StatusError> {
        let current = self
            .store
            .read(resource, namespace, name)
            .ok_or_else(|| StatusError::not_found(resource, name))?;
        let mut object = change(&current)?;
        if !object.is_object() {
            return Err(StatusError::bad_request("what is written must be a JSON object"));
        }
        check_preconditions(resource, &current, &object)?;
        keep_identity(&current, &mut object);
        keep_other_part(resource, part, &current, &mut object);
        kinds::note_change(resource, &current, &mut object);
        default_and_validate(resource, &mut object)?;
        let causes = match part {
            ObjectPart::Whole => Vec::new(),
            ObjectPart::Main | ObjectPart::Status => {
                kinds::validate_update(resource, &current, &object)
            }
        };
        if !causes.is_empty() {
            return Err(StatusError::invalid(resource, name, &causes));
        }
        if resource.generation && kinds::bumps_generation(resource, part, &current, &object) {
            let generation = number(&current, "/metadata/generation").unwrap_or(0) + 1;
            put(&mut object, &["metadata", "generation"], generation);
        }
        if object == *current {
            return Ok(WriteOutcome { object: current, changed: false });
        }
        if self.dry_run {
            return Ok(WriteOutcome { object: Arc::new(object), changed: false });
        }
        if is_released(resource, &object) {
            self.remove_from_store(resource, namespace, name, &current);
            return Ok(WriteOutcome { object: Arc::new(object), changed: true });
        }
        Ok(WriteOutcome { object: self.store.put(resource, object), changed: true })
    }

    fn remove_from_store(
        &mut self,
        resource: &'static Kind,
        namespace: &str,
        name: &str,
        current: &Arc<Value>,
    ) -> WriteOutcome {
        let last = self.store.delete(resource, namespace, name);
        WriteOutcome { object: last.unwrap_or_else(|| Arc::clone(current)), changed: true }
    }

    fn generate_name(&mut self, object: &mut Value) {
        let prefix = text(object, "/metadata/generateName").to_owned();
        if object::name(object).is_empty() && !prefix.is_empty() {
            let suffix = self.store.ids.suffix(&prefix);
            put(object, &["metadata", "name"], format!("{prefix}{suffix}"));
        }
    }

    fn require_namespace(
        &self,
        resource: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<(), StatusError> {
        let Some(found) = self.store.get(&NAMESPACES, "", namespace) else {
            return Err(StatusError::not_found(&NAMESPACES, namespace));
        };
        if is_terminating(found) {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            return Err(StatusError::forbidden(resource, name, &why));
        }
        Ok(())
    }
}

/// Sets the object's kind and namespace to those of the path, or returns an error if they
/// differ.
fn set_identity(resource: &Kind, namespace: &str, object: &mut Value) -> Result<(), StatusError> {
    if !object.is_object() {
        return Err(StatusError::bad_request("the body is not an object"));
    }
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    if custom::is_custom(resource) && kind.is_empty() {
        let wanted = resource.kind;
        return Err(StatusError::bad_request(format!(
            "the object provided is unrecognized (must be of type {wanted}): Object 'Kind' is missing"
        )));
    }
    let wanted = resource.api_version();
    let wrong_version = !api_version.is_empty() && api_version != wanted;
    if wrong_version || (!kind.is_empty() && kind != resource.kind) {
        let (given, version) = (text(object, "/kind"), resource.version);
        return Err(StatusError::bad_request(format!(
            "{given} in version {version:?} cannot be handled as a {}: unknown conversion",
            resource.kind
        )));
    }
    let own = object::namespace(object);
    if !own.is_empty() && own != namespace {
        return Err(StatusError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the \
             request",
        ));
    }
    put(object, &["apiVersion"], wanted);
    put(object, &["kind"], resource.kind);
    if resource.namespaced {
        put(object, &["metadata", "namespace"], namespace);
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

fn default_and_validate(resource: &Kind, object: &mut Value) -> Result<(), StatusError> {
    if let Some(type_error) = kinds::type_error(resource, object) {
        let (kind, version) = (resource.kind, resource.version);
        return Err(StatusError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {type_error}"
        )));
    }
    remove(object, &["metadata", "managedFields"]);
    kinds::normalize(resource, object);
    kinds::set_defaults(resource, object);
    kinds::normalize(resource, object);
    let causes = kinds::validate(resource, object);
    if causes.is_empty() {
        Ok(())
    } else {
        Err(StatusError::invalid(resource, object::name(object), &causes))
    }
}

fn check_preconditions(
    resource: &Kind,
    current: &Value,
    wanted: &Value,
) -> Result<(), StatusError> {
    let name = object::name(current);
    if !object::name(wanted).is_empty() && object::name(wanted) != name {
        return Err(StatusError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            object::name(wanted)
        )));
    }
    if !uid(wanted).is_empty() && uid(wanted) != uid(current) {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            uid(wanted),
            uid(current)
        );
        return Err(StatusError::conflict(resource, name, &why));
    }
    if !version(wanted).is_empty() && version(wanted) != version(current) {
        return Err(StatusError::modified(resource, name));
    }
    Ok(())
}

/// Restores the fields that a client cannot change.
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

fn keep_other_part(resource: &Kind, part: ObjectPart, current: &Value, object: &mut Value) {
    match part {
        ObjectPart::Whole => {}
        ObjectPart::Main if !resource.has_status() => {}
        ObjectPart::Main => match current.get("status") {
            Some(status) => put(object, &["status"], status.clone()),
            None => {
                remove(object, &["status"]);
            }
        },
        ObjectPart::Status => {
            let status = object.get("status").cloned().unwrap_or_else(|| json!({}));
            let metadata = object["metadata"].take();
            *object = current.clone();
            put(object, &["status"], status);
            // A component may write these fields together with the status.
            for field in resource.status_metadata {
                if let Some(value) = metadata.get(*field) {
                    put(object, &["metadata", field], value.clone());
                }
            }
        }
    }
}
