//! `wait_pods`: until pods are Ready, or gone.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Action, Error, Permission, Progress, Reader, Result, Wait,
    records::{Instances, PodRecord, two_minutes},
    words::{counted, how_many, listed},
    workload::{self, Views, Watching, lasting_trouble, unready},
};
use crate::{
    platform::{
        kubernetes::{self, Selection, View, Watched, pod},
        wait::{self, Patience, Source, State},
    },
    runbook,
};

/// Waits until pods are Ready, or until they are gone.
///
/// The pods are those of a deployment, those that a label selector matches, or those of a list, by their UIDs. Waiting
/// for them to be gone means the pods that are there when the step begins; the wait for Ready counts pods that come
/// later too, except where they are listed. It fails early when a pod keeps crashing, cannot pull its image or finds
/// no node for `give_up_after`, and when a listed pod that should be Ready is gone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["deployment", "pods", "selector"]]))]
pub struct Params {
    /// Namespace of the pods.
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub namespace: String,
    /// Name of the deployment.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub deployment: Option<String>,
    /// A label selector as kubectl takes it, such as `app=rafay-relay,tier!=test`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub selector: Option<String>,
    /// The pods themselves, such as the `pods` of `list_pods`.
    #[serde(default)]
    pub pods: Option<Vec<PodRecord>>,
    /// How many are enough; all of them, unless it is said. All of a deployment's are as many as it is to have.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub count: Option<u32>,
    /// What they are to become.
    #[serde(default)]
    pub until: Goal,
    /// How long a pod may fail before the wait is given up.
    #[serde(default = "two_minutes")]
    pub give_up_after: runbook::Duration,
}

/// What pods are waited to become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Ready.
    #[default]
    Ready,
    /// Not there any more.
    Gone,
}

/// The pods that became so.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// How many there are.
    pub count: u32,
    /// The pods, by name: as they are, or as they last were.
    pub pods: Vec<PodRecord>,
}

pub(super) struct WaitPods;

impl Action for WaitPods {
    const NAME: &'static str = "wait_pods";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::core("pods", &["list", "watch"]),
        Permission::core("nodes", &["list"]),
        Permission::apps("deployments", &["get", "list", "watch"]),
        Permission::apps("replicasets", &["list", "watch"]),
    ];
    type Params = Params;
    type Output = Output;
}

impl Wait for WaitPods {
    async fn wait(params: Params, reader: &Reader, progress: &Progress) -> Result<Output> {
        refuse_other_namespaces(&params)?;
        let kubernetes = reader.kubernetes().await?;
        let mut watch = Watch::of(&params, &kubernetes).await?;
        let views = watch.views(&params);
        let mut pods = match params.until {
            Goal::Ready => {
                let mut patience =
                    Patience::new(reader.clock().deadline(params.give_up_after.std()));
                let ready = wait::until(progress, &mut watch.sources(), || {
                    judge_ready(&params, &views, &mut patience)
                })
                .await?;
                records(&ready, &Instances::read(&kubernetes).await?)
            }
            Goal::Gone => {
                let instances = Instances::read(&kubernetes).await?;
                let mut there = None;
                wait::until(progress, &mut watch.sources(), || {
                    let there =
                        there.get_or_insert_with(|| those_there(&params, &views, &instances));
                    judge_gone(&params, there, &views)
                })
                .await?
            }
        };
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Output { count: how_many(&pods), pods })
    }
}

fn refuse_other_namespaces(params: &Params) -> Result<()> {
    let elsewhere = |pod: &&PodRecord| pod.namespace != params.namespace;
    match params.pods.iter().flatten().find(elsewhere) {
        Some(pod) => Err(Error::Refused(format!(
            "pod {} is in namespace {}, not in {}",
            pod.name, pod.namespace, params.namespace
        ))),
        None => Ok(()),
    }
}

/// What is watched.
enum Watch {
    Deployment(Box<Watching>),
    Pods(Box<Watched<Pod>>),
}

enum Seen {
    Deployment(Views),
    Pods(View<Pod>),
    /// Of these pods, the listed ones.
    Listed(View<Pod>, Vec<PodRecord>),
}

impl Watch {
    async fn of(params: &Params, kubernetes: &kubernetes::Reader) -> Result<Self> {
        if let Some(name) = &params.deployment {
            let found = workload::deployment(kubernetes, &params.namespace, name).await?;
            return Ok(Self::Deployment(Box::new(workload::watch(kubernetes, &found))));
        }
        let all = Selection::of_namespace(&params.namespace);
        let selection = match &params.selector {
            Some(selector) => all.labelled(selector),
            None => all,
        };
        Ok(Self::Pods(Box::new(kubernetes.watch(&selection))))
    }

    fn sources(&mut self) -> Vec<&mut dyn Source> {
        match self {
            Self::Deployment(watching) => watching.sources().into(),
            Self::Pods(pods) => vec![pods.as_mut()],
        }
    }

    fn views(&self, params: &Params) -> Seen {
        match (self, &params.pods) {
            (Self::Deployment(watching), _) => Seen::Deployment(watching.views()),
            (Self::Pods(pods), None) => Seen::Pods(pods.view()),
            (Self::Pods(pods), Some(listed)) => Seen::Listed(pods.view(), listed.clone()),
        }
    }
}

impl Seen {
    /// The pods that are meant, those that end too, and how many all of them are.
    fn pods(&self) -> Result<(Vec<Arc<Pod>>, usize), String> {
        match self {
            Self::Deployment(views) => {
                let sight = views.sight().ok_or("the deployment is not there any more")?;
                let all = sight.replicas() as usize;
                Ok((sight.pods, all))
            }
            Self::Pods(view) => {
                let pods = view.objects();
                let all = pods.iter().filter(|pod| pod::is_standing(pod)).count();
                Ok((pods, all))
            }
            Self::Listed(view, records) => {
                let mut pods = view.objects();
                pods.retain(|pod| records.iter().any(|record| record.is(pod)));
                Ok((pods, records.len()))
            }
        }
    }

    /// Listed pods that cannot become Ready any more, because they are gone or go.
    fn lost(&self, pods: &[Arc<Pod>]) -> Vec<String> {
        let Self::Listed(_, records) = self else { return Vec::new() };
        let stands =
            |record: &&PodRecord| pods.iter().any(|pod| record.is(pod) && pod::is_standing(pod));
        records.iter().filter(|record| !stands(record)).map(|r| r.name.clone()).collect()
    }
}

fn judge_ready(params: &Params, seen: &Seen, patience: &mut Patience) -> State<Vec<Arc<Pod>>> {
    let (pods, all) = match seen.pods() {
        Ok(found) => found,
        Err(why) => return State::Hopeless(why),
    };
    let wanted = params.count.map_or(all, |count| count as usize);
    let (ready, others): (Vec<_>, Vec<_>) =
        pods.iter().filter(|pod| pod::is_standing(pod)).partition(|pod| pod::is_ready(pod));
    // Of a selector that matches nothing yet, all are none: that is not what anybody waits for.
    let is_enough = ready.len() >= wanted && (wanted > 0 || params.selector.is_none());
    if is_enough && (params.count.is_some() || others.is_empty()) {
        return State::Done(ready.into_iter().cloned().collect());
    }
    let lost = seen.lost(&pods);
    if all < wanted + lost.len() && !lost.is_empty() {
        return State::Hopeless(format!(
            "{} of {} are Ready, and cannot become {wanted}: gone are {}",
            ready.len(),
            counted(all, "listed pod"),
            listed(lost)
        ));
    }
    if let Some(why) = lasting_trouble(patience, others.iter().copied()) {
        return State::Hopeless(format!(
            "{} of {} Ready, and {why} (for {})",
            ready.len(),
            counted(wanted, "pod"),
            params.give_up_after
        ));
    }
    let unready = unready(others).map(|pods| format!(": {pods}")).unwrap_or_default();
    State::Pending(format!("{} of {} Ready{unready}", ready.len(), counted(wanted, "pod")))
}

/// The pods whose end is waited for.
fn those_there(params: &Params, seen: &Seen, instances: &Instances) -> BTreeMap<String, PodRecord> {
    let records = match &params.pods {
        Some(pods) => pods.clone(),
        // A deployment that is gone has no pods left that anybody would tell of.
        None => records(&seen.pods().unwrap_or_default().0, instances),
    };
    records.into_iter().map(|record| (record.uid.clone(), record)).collect()
}

fn judge_gone(
    params: &Params,
    there: &BTreeMap<String, PodRecord>,
    seen: &Seen,
) -> State<Vec<PodRecord>> {
    let left = seen.pods().unwrap_or_default().0;
    let left: Vec<&Arc<Pod>> = left
        .iter()
        .filter(|pod| pod.metadata.uid.as_ref().is_some_and(|uid| there.contains_key(uid)))
        .collect();
    let is_gone = |record: &&PodRecord| !left.iter().any(|pod| record.is(pod));
    let gone: Vec<PodRecord> = there.values().filter(is_gone).cloned().collect();
    let wanted = params.count.map_or(there.len(), |count| count as usize);
    if gone.len() >= wanted {
        return State::Done(gone);
    }
    if there.len() < wanted {
        return State::Hopeless(format!(
            "{wanted} pods cannot go: there were only {}",
            there.len()
        ));
    }
    let names = left.iter().map(|pod| match pod::is_terminating(pod) {
        true => format!("{} (terminating)", workload::name(pod)),
        false => format!("{} (nobody has told it to end)", workload::name(pod)),
    });
    State::Pending(format!(
        "{} of {} gone; still there: {}",
        gone.len(),
        counted(wanted, "pod"),
        listed(names)
    ))
}

fn records(pods: &[Arc<Pod>], instances: &Instances) -> Vec<PodRecord> {
    pods.iter().map(|pod| PodRecord::of(pod, instances)).collect()
}
