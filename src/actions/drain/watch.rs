//! Reads, once or live, what a [`DrainSnapshot`] consists of: all pods and their controllers, in all namespaces.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};

use super::snapshot::{DrainRules, DrainSnapshot};
use crate::platform::kubernetes::pod::Pod;
use crate::{
    actions::{
        Progress, Result,
        pod_causes::{CauseView, PodCauses},
    },
    platform::{
        kubernetes::{KubernetesReader, ObjectView, ObjectWatch, Selection},
        wait::{self, WaitSource, WaitState},
    },
};
use clock::Clock;

/// Reads the pods of these nodes and their controllers once.
pub(in crate::actions) async fn read_snapshot(
    kubernetes: &KubernetesReader,
    nodes: &[String],
    rules: DrainRules,
) -> Result<DrainSnapshot> {
    let all = Selection::all();
    let selection = pod_selection(&rules);
    let (pods, replica_sets, stateful_sets) = tokio::join!(
        kubernetes.list::<Pod>(&selection),
        kubernetes.list::<ReplicaSet>(&all),
        kubernetes.list::<StatefulSet>(&all)
    );
    Ok(DrainSnapshot {
        nodes: nodes.iter().cloned().collect(),
        rules,
        pods: shared(pods?),
        replica_sets: shared(replica_sets?),
        stateful_sets: shared(stateful_sets?),
        causes: CauseView::default(),
    })
}

fn shared<K>(objects: Vec<K>) -> Vec<Arc<K>> {
    objects.into_iter().map(Arc::new).collect()
}

fn pod_selection(rules: &DrainRules) -> Selection {
    if rules.removes_finished {
        return Selection::all();
    }
    Selection::all().with_fields("status.phase!=Succeeded,status.phase!=Failed")
}

/// The watches of all pods and their controllers, in all namespaces.
pub(super) struct DrainWatch {
    pods: ObjectWatch<Pod>,
    replica_sets: ObjectWatch<ReplicaSet>,
    stateful_sets: ObjectWatch<StatefulSet>,
    causes: PodCauses,
}

/// The state of a [`DrainWatch`], for some nodes, readable while it runs.
pub(super) struct DrainViews {
    nodes: BTreeSet<String>,
    rules: DrainRules,
    pods: ObjectView<Pod>,
    replica_sets: ObjectView<ReplicaSet>,
    stateful_sets: ObjectView<StatefulSet>,
    causes: CauseView,
}

impl DrainWatch {
    pub(super) fn new(
        kubernetes: &KubernetesReader,
        clock: Clock,
        rules: &DrainRules,
        progress: &Progress,
    ) -> Self {
        Self {
            pods: kubernetes.watch(&pod_selection(rules)),
            replica_sets: kubernetes.watch(&Selection::all()),
            stateful_sets: kubernetes.watch(&Selection::all()),
            causes: PodCauses::new(kubernetes, clock, progress),
        }
    }

    pub(super) fn views(&self, nodes: &[String], rules: DrainRules) -> DrainViews {
        DrainViews {
            nodes: nodes.iter().cloned().collect(),
            rules,
            pods: self.pods.view(),
            replica_sets: self.replica_sets.view(),
            stateful_sets: self.stateful_sets.view(),
            causes: self.causes.view(),
        }
    }

    pub(super) async fn read(&mut self, progress: &Progress) -> Result<()> {
        Ok(wait::until(progress, &mut self.sources(), || WaitState::Ready(())).await?)
    }

    pub(super) async fn wait<T>(
        &mut self,
        progress: &Progress,
        evaluate: impl FnMut() -> WaitState<T>,
    ) -> Result<T> {
        Ok(wait::until_with_read_sources(progress, &mut self.sources(), evaluate).await?)
    }

    fn sources(&mut self) -> [&mut dyn WaitSource; 4] {
        [&mut self.pods, &mut self.replica_sets, &mut self.stateful_sets, self.causes.source()]
    }
}

impl DrainViews {
    pub(super) fn snapshot(&self) -> DrainSnapshot {
        DrainSnapshot {
            nodes: self.nodes.clone(),
            rules: self.rules.clone(),
            pods: self.pods.objects(),
            replica_sets: self.replica_sets.objects(),
            stateful_sets: self.stateful_sets.objects(),
            causes: self.causes.clone(),
        }
    }
}
