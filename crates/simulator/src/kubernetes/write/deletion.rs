//! Deletion: preconditions, grace periods and finalizers.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::Value;

use crate::kubernetes::kinds::Kind;
use crate::kubernetes::object::{self, is_terminating, list, number, put, time, uid, version};
use crate::kubernetes::status_error::StatusError;

use super::{ObjectWriter, WriteOutcome};

/// The options of a deletion.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeleteOptions {
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) propagation: Propagation,
}

/// The fate of the objects that a deleted object owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

impl ObjectWriter<'_> {
    /// Deletes an object, or starts its deletion.
    pub(crate) fn delete(
        &mut self,
        resource: &'static Kind,
        namespace: &str,
        name: &str,
        deletion: &DeleteOptions,
    ) -> Result<WriteOutcome, StatusError> {
        let current = self
            .store
            .read(resource, namespace, name)
            .ok_or_else(|| StatusError::not_found(resource, name))?;
        check_deletion(resource, &current, deletion)?;
        let grace = resource.grace.map_or(0, |grace| grace(&current, deletion));
        let mut object = Value::clone(&current);
        add_finalizer(&mut object, deletion.propagation);
        let retained = !is_released_at(resource, &object, grace);
        if !retained {
            if self.dry_run {
                return Ok(WriteOutcome { object: current, changed: false });
            }
            let mut written = self.remove_from_store(resource, namespace, name, &current);
            if resource.grace.is_some() {
                // The last version is that of an object without a grace period.
                let mut gone = Value::clone(&written.object);
                self.mark_terminating(resource, &mut gone, grace);
                written.object = Arc::new(gone);
            }
            return Ok(written);
        }
        let shorter = number(&current, "/metadata/deletionGracePeriodSeconds")
            .is_none_or(|current_grace| grace < current_grace);
        if !shorter && object == *current {
            return Ok(WriteOutcome { object: current, changed: false });
        }
        self.mark_terminating(resource, &mut object, grace);
        if self.dry_run {
            return Ok(WriteOutcome { object: Arc::new(object), changed: false });
        }
        Ok(WriteOutcome { object: self.store.put(resource, object), changed: true })
    }

    fn mark_terminating(&self, resource: &Kind, object: &mut Value, grace: i64) {
        let end = self.now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(self.now);
        put(object, &["metadata", "deletionTimestamp"], time(end));
        put(object, &["metadata", "deletionGracePeriodSeconds"], grace);
        if let Some(generation) = number(object, "/metadata/generation") {
            put(object, &["metadata", "generation"], generation + 1);
        }
        (resource.mark_deleted)(object);
    }
}

/// Checks the preconditions of a deletion.
pub(crate) fn check_deletion(
    resource: &Kind,
    current: &Value,
    deletion: &DeleteOptions,
) -> Result<(), StatusError> {
    let name = object::name(current);
    if let Some(wanted) = deletion.uid.as_deref().filter(|wanted| *wanted != uid(current)) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({}). The \
             object might have been deleted and then recreated",
            uid(current)
        );
        return Err(StatusError::precondition_failed(resource, name, &why));
    }
    if let Some(wanted) = deletion.version.as_deref().filter(|wanted| *wanted != version(current)) {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion \
             in record ({}). The object might have been modified",
            version(current)
        );
        return Err(StatusError::precondition_failed(resource, name, &why));
    }
    Ok(())
}

fn add_finalizer(object: &mut Value, propagation: Propagation) {
    let finalizer = match propagation {
        Propagation::Background => return,
        Propagation::Foreground => "foregroundDeletion",
        Propagation::Orphan => "orphan",
    };
    let mut finalizers = list(object, "/metadata/finalizers").to_vec();
    if !finalizers.iter().any(|retained| retained == finalizer) {
        finalizers.push(finalizer.into());
        put(object, &["metadata", "finalizers"], finalizers);
    }
}

/// Returns whether nothing delays the removal of a terminating object any more.
pub(super) fn is_released(resource: &Kind, object: &Value) -> bool {
    let grace = number(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    is_terminating(object) && is_released_at(resource, object, grace)
}

fn is_released_at(resource: &Kind, object: &Value, grace: i64) -> bool {
    let finalizers = list(object, "/metadata/finalizers").is_empty();
    finalizers && !(resource.has_content)(object) && grace == 0
}
