//! An object of a cluster that many can have at once: a snapshot, the scenarios made from it and the simulators that
//! begin with them. A cluster has thousands, and a copy of each in each of them would be most of a plan's memory.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A Kubernetes object, as JSON. Clones share it until one of them is changed.
#[derive(Debug, Clone)]
pub struct ClusterObject {
    object: Arc<Value>,
    /// Whether it has what simulators add, which is found out once.
    is_complete: bool,
}

impl ClusterObject {
    /// Returns the object to be changed; a copy of it, where another has it too.
    pub fn make_mut(&mut self) -> &mut Value {
        self.is_complete = false;
        Arc::make_mut(&mut self.object)
    }

    /// Returns an object to which nothing is to be added.
    pub(crate) fn completed(object: Value) -> Self {
        Self { object: Arc::new(object), is_complete: true }
    }

    /// Returns whether it has all that simulators add.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Returns the object as a store shares it.
    pub(crate) fn shared(&self) -> &Arc<Value> {
        &self.object
    }
}

impl PartialEq for ClusterObject {
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl Default for ClusterObject {
    fn default() -> Self {
        Value::Null.into()
    }
}

impl Deref for ClusterObject {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.object
    }
}

impl From<Value> for ClusterObject {
    fn from(object: Value) -> Self {
        Self { object: Arc::new(object), is_complete: false }
    }
}

impl PartialEq<Value> for ClusterObject {
    fn eq(&self, other: &Value) -> bool {
        **self == *other
    }
}

impl Serialize for ClusterObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ClusterObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}
