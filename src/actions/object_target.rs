//! The one object that the parameters of `annotate` and `emit_event` name, of one of several kinds.

use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::Namespace,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, Result, optimistic::patch_if_unchanged};
use crate::platform::kubernetes::{KubernetesReader, KubernetesWriter, Object};
use crate::platform::kubernetes::{node::Node, pod::Pod};

/// An object, by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObjectTarget {
    pub(super) kind: TargetKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    pub(super) name: String,
}

/// The kind of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TargetKind {
    Node,
    Namespace,
    Deployment,
    StatefulSet,
    DaemonSet,
    Pod,
}

/// The names that parameters give, of which the registry lets only one be given.
#[derive(Debug, Default)]
pub(super) struct TargetNames {
    pub(super) node: Option<String>,
    pub(super) namespace_object: Option<String>,
    pub(super) deployment: Option<String>,
    pub(super) stateful_set: Option<String>,
    pub(super) daemon_set: Option<String>,
    pub(super) pod: Option<String>,
}

impl TargetNames {
    /// Returns the object in that namespace.
    ///
    /// # Errors
    /// The object has a namespace, and none is given, or it has none, and one is given.
    pub(super) fn target(self, namespace: Option<String>) -> Result<ObjectTarget> {
        let names = [
            (TargetKind::Node, self.node),
            (TargetKind::Namespace, self.namespace_object),
            (TargetKind::Deployment, self.deployment),
            (TargetKind::StatefulSet, self.stateful_set),
            (TargetKind::DaemonSet, self.daemon_set),
            (TargetKind::Pod, self.pod),
        ];
        let mut given = names.into_iter().filter_map(|(kind, name)| Some((kind, name?)));
        let Some((kind, name)) = given.next() else {
            return Err(Error::precondition("no object is named"));
        };
        match (kind.has_namespace(), &namespace) {
            (true, None) => Err(Error::precondition(format!(
                "`namespace` is missing for {} {name}",
                kind.noun()
            ))),
            (false, Some(_)) => {
                Err(Error::precondition(format!("{} {name} has no namespace", kind.noun())))
            }
            _ => Ok(ObjectTarget { kind, namespace, name }),
        }
    }
}

impl TargetKind {
    /// Returns the kind as kubectl names it.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Namespace => "namespace",
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::Pod => "pod",
        }
    }

    /// Returns the kind and the version of the API, as an object has them.
    pub(super) fn type_names(self) -> (String, String) {
        fn of<K: Object>() -> (String, String) {
            (K::kind(&()).into_owned(), K::api_version(&()).into_owned())
        }
        match self {
            Self::Node => of::<Node>(),
            Self::Namespace => of::<Namespace>(),
            Self::Deployment => of::<Deployment>(),
            Self::StatefulSet => of::<StatefulSet>(),
            Self::DaemonSet => of::<DaemonSet>(),
            Self::Pod => of::<Pod>(),
        }
    }

    fn has_namespace(self) -> bool {
        !matches!(self, Self::Node | Self::Namespace)
    }
}

impl ObjectTarget {
    /// Returns the namespace of the object; none where the kind has none.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Returns the object as messages name it.
    pub(super) fn text(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind.noun(), self.name),
            None => format!("{} {}", self.kind.noun(), self.name),
        }
    }

    /// Reads the metadata of the object; none where it does not exist.
    pub(super) async fn read(&self, kubernetes: &KubernetesReader) -> Result<Option<ObjectMeta>> {
        match self.kind {
            TargetKind::Node => self.read_as::<Node>(kubernetes).await,
            TargetKind::Namespace => self.read_as::<Namespace>(kubernetes).await,
            TargetKind::Deployment => self.read_as::<Deployment>(kubernetes).await,
            TargetKind::StatefulSet => self.read_as::<StatefulSet>(kubernetes).await,
            TargetKind::DaemonSet => self.read_as::<DaemonSet>(kubernetes).await,
            TargetKind::Pod => self.read_as::<Pod>(kubernetes).await,
        }
    }

    /// Lets `decide` choose a merge patch for the object as it is now, and sends it if the object has not changed
    /// since.
    ///
    /// # Errors
    /// `decide` refuses, or a call failed.
    pub(super) async fn patch<T: Send>(
        &self,
        kubernetes: &KubernetesWriter,
        decide: impl Fn(Option<&ObjectMeta>) -> Result<(T, Option<Value>)> + Send + Sync,
    ) -> Result<T> {
        match self.kind {
            TargetKind::Node => self.patch_as::<Node, T>(kubernetes, decide).await,
            TargetKind::Namespace => self.patch_as::<Namespace, T>(kubernetes, decide).await,
            TargetKind::Deployment => self.patch_as::<Deployment, T>(kubernetes, decide).await,
            TargetKind::StatefulSet => self.patch_as::<StatefulSet, T>(kubernetes, decide).await,
            TargetKind::DaemonSet => self.patch_as::<DaemonSet, T>(kubernetes, decide).await,
            TargetKind::Pod => self.patch_as::<Pod, T>(kubernetes, decide).await,
        }
    }

    async fn read_as<K: Object>(
        &self,
        kubernetes: &KubernetesReader,
    ) -> Result<Option<ObjectMeta>> {
        let found = kubernetes.get::<K>(self.namespace(), &self.name).await?;
        Ok(found.map(|found| found.meta().clone()))
    }

    /// Patches an object of one kind, on the heap: the stack would have room for every kind at once.
    fn patch_as<'a, K: Object, T: Send + 'a>(
        &'a self,
        kubernetes: &'a KubernetesWriter,
        decide: impl Fn(Option<&ObjectMeta>) -> Result<(T, Option<Value>)> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T>> {
        let decide = move |found: Option<&K>| decide(found.map(Resource::meta));
        Box::pin(async move {
            patch_if_unchanged(kubernetes, self.namespace(), &self.name, None, decide).await
        })
    }
}
