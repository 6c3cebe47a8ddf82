//! An object of a cluster that many can have at once: a snapshot, the scenarios made from it and the simulators that
//! begin with them. A cluster has thousands, and a copy of each in each of them would be most of a plan's memory.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A Kubernetes object, as JSON. Clones share it until one of them is changed.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterObject(Arc<Value>);

impl ClusterObject {
    /// Returns the object to be changed; a copy of it, where another has it too.
    pub fn make_mut(&mut self) -> &mut Value {
        Arc::make_mut(&mut self.0)
    }

    /// Returns the object as a store shares it.
    pub(crate) fn shared(&self) -> &Arc<Value> {
        &self.0
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
        &self.0
    }
}

impl From<Value> for ClusterObject {
    fn from(object: Value) -> Self {
        Self(Arc::new(object))
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
