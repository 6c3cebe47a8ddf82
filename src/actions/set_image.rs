//! `set_image`: other images for the containers of a workload.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::{Container, PodTemplateSpec},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kinds::ImageName;
use super::{
    Action, Change, Error, Impact, KnownTargets, Permission, PlannedChange, PlatformReader,
    PlatformWriter, Progress, RepeatedParam, RestoreCommand, Result, TargetState,
    compare_and_set::{WriteDecision, decide_write},
    optimistic::patch_strategically_if_unchanged,
    rollout_guard::RolloutInProgress,
    rollouts::{self, Rollable, RolloutWait, WorkloadKind, WorkloadRef},
    types::default_give_up_after,
};
use crate::platform::kubernetes::{KubernetesReader, KubernetesWriter};
use runbook::{LimitKind, Reversibility};
use text::join_truncated;

/// Gives containers of a deployment, a stateful set or a daemon set other images, and waits until that is rolled out.
///
/// It keeps to the workload's own strategy. A rollout that is in progress must end first. It fails early when
/// Kubernetes says that the progress deadline is exceeded, or when a new pod keeps crashing, cannot pull its image,
/// mount its volumes or get its network, finds no node, or is refused by a quota or an admission webhook for
/// `give_up_after`. A paused deployment is refused, and so is a workload with the update strategy OnDelete. The undo
/// gives each container its former image again, if it still has the one that this step set, and waits until that is
/// rolled out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["deployment", "stateful_set", "daemon_set"]]))]
pub struct Params {
    /// Namespace of the workload.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the deployment.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "deployment-name"))]
    pub deployment: Option<String>,
    /// Name of the stateful set.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "stateful-set-name"))]
    pub stateful_set: Option<String>,
    /// Name of the daemon set.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "daemon-set-name"))]
    pub daemon_set: Option<String>,
    /// The image of each container or init container, by its name. Other containers keep theirs.
    #[schemars(length(min = 1), extend("x-keys" = "kubernetes-name"))]
    pub images: BTreeMap<String, Image>,
    /// How long a new pod may fail before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: runbook::Duration,
    /// The reaction to a rollout of the workload that is in progress when the step begins.
    #[serde(default)]
    pub rollout_in_progress: RolloutInProgress,
}

/// An image, such as `registry.example.com/relay:1.2`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(extend("x-syntax" = "image"))]
pub struct Image(String);

/// The workload with its new images.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace of the workload.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the workload.
    pub name: String,
    /// The image of each container that was named.
    #[schemars(with = "BTreeMap<String, ImageName>")]
    pub images: BTreeMap<String, String>,
    /// The image that each of them had before.
    #[schemars(with = "BTreeMap<String, ImageName>")]
    pub before: BTreeMap<String, String>,
    /// How many pods the workload is to have.
    pub replicas: u32,
}

/// The images as they were, and as they are to be.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    #[serde(flatten)]
    workload: WorkloadRef,
    uid: String,
    images: BTreeMap<String, BeforeAndAfter>,
    give_up_after: runbook::Duration,
}

/// The image of a container before and after the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BeforeAndAfter {
    before: String,
    after: String,
}

/// Nothing needs to be kept: the template shows the state.
#[derive(Serialize, Deserialize)]
pub struct Receipt {}

pub(super) struct SetImage;

impl Action for SetImage {
    const NAME: &'static str = "set_image";
    const PERMISSIONS: &'static [Permission] = rollouts::PERMISSIONS;
    const REPEATED_PARAMS: &'static [RepeatedParam] =
        &[RepeatedParam::new("namespace", "namespace")];
    type Params = Params;
    type Output = Output;
}

impl Change for SetImage {
    const LIMITS: &'static [LimitKind] = Impact::REMOVES_PODS;
    const REVERSIBILITY: Reversibility = Reversibility::Reversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        let planned = |(container, image): (&String, &BeforeAndAfter)| {
            let target = intent.target(container);
            PlannedChange::new(target, image.before.clone(), image.after.clone())
        };
        intent.changed().map(planned).collect()
    }

    fn impact(intent: &Intent) -> Impact {
        match intent.changed().next() {
            Some(_) => intent.workload.rollout_impact(),
            None => Impact::default(),
        }
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Intent> {
        let Params { namespace, deployment, stateful_set, daemon_set, .. } = params;
        let workload = WorkloadRef::new(namespace, deployment, stateful_set, daemon_set);
        let (policy, give_up_after) = (params.rollout_in_progress, params.give_up_after);
        let wait = RolloutWait { policy, give_up_after };
        let found = match workload.kind() {
            WorkloadKind::Deployment => {
                find::<Deployment>(&workload, wait, reader, progress).await?
            }
            WorkloadKind::StatefulSet => {
                find::<StatefulSet>(&workload, wait, reader, progress).await?
            }
            WorkloadKind::DaemonSet => find::<DaemonSet>(&workload, wait, reader, progress).await?,
        };
        let images = planned_images(&params.images, &found.template, &workload)?;
        Ok(Intent { workload, uid: found.uid, images, give_up_after })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let kubernetes = writer.kubernetes().await?;
        match intent.workload.kind() {
            WorkloadKind::Deployment => apply_to::<Deployment>(intent, &kubernetes).await?,
            WorkloadKind::StatefulSet => apply_to::<StatefulSet>(intent, &kubernetes).await?,
            WorkloadKind::DaemonSet => apply_to::<DaemonSet>(intent, &kubernetes).await?,
        }
        Ok(Receipt {})
    }

    async fn settle(
        intent: &Intent,
        _: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        let (target, duration) = (&intent.workload, intent.give_up_after);
        let is_current = |template: &PodTemplateSpec| {
            let mut images = intent.images.iter();
            images.try_for_each(|(container, image)| {
                intent.check(container, template, &image.before, &image.after)
            })
        };
        let replicas =
            rollouts::wait_for_rollout(target, &is_current, duration, reader, progress).await?;
        let images = |image: fn(&BeforeAndAfter) -> &String| {
            let images = intent.images.iter();
            images.map(|(container, images)| (container.clone(), image(images).clone())).collect()
        };
        Ok(Output {
            namespace: target.namespace.clone(),
            name: target.name().to_owned(),
            images: images(|image| &image.after),
            before: images(|image| &image.before),
            replicas,
        })
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        if intent.changed().next().is_none() {
            return Ok(Vec::new());
        }
        let kubernetes = writer.kubernetes().await?;
        let undone = match intent.workload.kind() {
            WorkloadKind::Deployment => restore::<Deployment>(intent, &kubernetes).await?,
            WorkloadKind::StatefulSet => restore::<StatefulSet>(intent, &kubernetes).await?,
            WorkloadKind::DaemonSet => restore::<DaemonSet>(intent, &kubernetes).await?,
        };
        if !undone.restored.is_empty() {
            let is_current = |template: &PodTemplateSpec| {
                let mut restored = undone.restored.iter();
                restored.try_for_each(|(container, image)| {
                    intent.check(container, template, &image.after, &image.before)
                })
            };
            let (target, duration) = (&intent.workload, intent.give_up_after);
            let reader = writer.reader();
            rollouts::wait_for_rollout(target, &is_current, duration, reader, progress).await?;
        }
        Ok(undone.not_restored)
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        let kubernetes = reader.kubernetes().await?;
        let template = match intent.workload.kind() {
            WorkloadKind::Deployment => template::<Deployment>(intent, &kubernetes).await?,
            WorkloadKind::StatefulSet => template::<StatefulSet>(intent, &kubernetes).await?,
            WorkloadKind::DaemonSet => template::<DaemonSet>(intent, &kubernetes).await?,
        };
        let state = |(container, image): (&String, &BeforeAndAfter)| {
            let now = template.as_ref().and_then(|template| image_of(template, container));
            let restore = now.as_ref().map(|_| intent.restore_command(container, &image.before));
            TargetState::new(intent.target(container), image.before.clone(), now, restore)
        };
        Ok(intent.changed().map(state).collect())
    }
}

/// A workload whose images can be changed.
struct Found {
    uid: String,
    template: PodTemplateSpec,
}

/// Returns the workload once no rollout is in progress.
async fn find<K: Rollable>(
    workload: &WorkloadRef,
    wait: RolloutWait,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Found> {
    let found: K = rollouts::read(&reader.kubernetes().await?, workload).await?;
    rollouts::reject_unrollable(&found, workload, "the rollout of another image")?;
    let found = found.settle(workload, wait, reader, progress).await?;
    Ok(Found {
        uid: found.meta().uid.clone().unwrap_or_default(),
        template: found.template().clone(),
    })
}

/// Returns the image of each named container before and after the change.
///
/// # Errors
/// The template has no container of one of the names.
fn planned_images(
    images: &BTreeMap<String, Image>,
    template: &PodTemplateSpec,
    workload: &WorkloadRef,
) -> Result<BTreeMap<String, BeforeAndAfter>> {
    let planned = |(container, Image(after)): (&String, &Image)| {
        let before = image_of(template, container).ok_or_else(|| {
            let names = containers(template).map(|(_, container)| &container.name);
            let message =
                format!("{} has no container with the name {container}", workload.target());
            Error::precondition(message).with_hint(format!("it has: {}", join_truncated(names)))
        })?;
        Ok((container.clone(), BeforeAndAfter { before, after: after.clone() }))
    };
    images.iter().map(planned).collect()
}

/// Returns all containers, each with the list that it is in.
fn containers(template: &PodTemplateSpec) -> impl Iterator<Item = (&'static str, &Container)> {
    let spec = template.spec.iter();
    let init = spec.clone().flat_map(|spec| spec.init_containers.iter().flatten());
    let main = spec.flat_map(|spec| &spec.containers);
    main.map(|found| ("containers", found)).chain(init.map(|found| ("initContainers", found)))
}

fn image_of(template: &PodTemplateSpec, container: &str) -> Option<String> {
    let (_, found) = containers(template).find(|(_, found)| found.name == container)?;
    Some(found.image.clone().unwrap_or_default())
}

/// Returns the strategic merge patch that gives containers these images: lists of containers are merged by name.
fn patch(template: &PodTemplateSpec, images: &BTreeMap<&str, &str>) -> Option<Value> {
    if images.is_empty() {
        return None;
    }
    let mut spec = json!({});
    for (list, container) in containers(template) {
        let Some(image) = images.get(container.name.as_str()) else { continue };
        let entry = json!({"name": container.name, "image": image});
        match spec[list].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => spec[list] = json!([entry]),
        }
    }
    Some(json!({"spec": {"template": {"spec": spec}}}))
}

async fn apply_to<K: Rollable>(intent: &Intent, kubernetes: &KubernetesWriter) -> Result<()> {
    let (namespace, name) = (Some(intent.workload.namespace.as_str()), intent.workload.name());
    patch_strategically_if_unchanged::<K, ()>(kubernetes, namespace, name, None, |found| {
        let Some(found) = found.filter(|found| intent.is(*found)) else {
            return Err(Error::Conflict {
                target: intent.workload.target(),
                expected: format!("UID {}", intent.uid),
                found: "no such workload".into(),
            });
        };
        let mut images = BTreeMap::new();
        for (container, image) in intent.changed() {
            let now = image_of(found.template(), container).unwrap_or_default();
            let target = intent.target(container);
            match decide_write(&target, &now, &image.before, &image.after)? {
                WriteDecision::Needed => {
                    images.insert(container.as_str(), image.after.as_str());
                }
                WriteDecision::NotNeeded => {}
            }
        }
        Ok(((), patch(found.template(), &images)))
    })
    .await
}

/// The images after an undo.
#[derive(Default)]
struct Undone {
    restored: BTreeMap<String, BeforeAndAfter>,
    not_restored: Vec<String>,
}

async fn restore<K: Rollable>(intent: &Intent, kubernetes: &KubernetesWriter) -> Result<Undone> {
    let (namespace, name) = (Some(intent.workload.namespace.as_str()), intent.workload.name());
    patch_strategically_if_unchanged::<K, Undone>(kubernetes, namespace, name, None, |found| {
        let mut undone = Undone::default();
        let Some(found) = found.filter(|found| intent.is(*found)) else {
            undone.not_restored.push(format!("{} no longer exists", intent.workload.target()));
            return Ok((undone, None));
        };
        let mut images = BTreeMap::new();
        for (container, image) in intent.changed() {
            let now = image_of(found.template(), container).unwrap_or_default();
            if now == image.after {
                images.insert(container.as_str(), image.before.as_str());
            } else if now != image.before {
                undone.not_restored.push(format!(
                    "left {} at {now}: another client changed it from {}",
                    intent.target(container),
                    image.after
                ));
                continue;
            }
            undone.restored.insert(container.clone(), image.clone());
        }
        Ok((undone, patch(found.template(), &images)))
    })
    .await
}

/// Reads the template as it is now; none where the workload no longer exists.
async fn template<K: Rollable>(
    intent: &Intent,
    kubernetes: &KubernetesReader,
) -> Result<Option<PodTemplateSpec>> {
    let (namespace, name) = (Some(intent.workload.namespace.as_str()), intent.workload.name());
    let found = kubernetes.get::<K>(namespace, name).await?;
    Ok(found.filter(|found| intent.is(found)).map(|found| found.template().clone()))
}

impl Intent {
    fn changed(&self) -> impl Iterator<Item = (&String, &BeforeAndAfter)> {
        self.images.iter().filter(|(_, image)| image.before != image.after)
    }

    fn target(&self, container: &str) -> String {
        format!("{} image of container {container}", self.workload.target())
    }

    fn is<K: Rollable>(&self, found: &K) -> bool {
        found.meta().uid.as_deref() == Some(self.uid.as_str())
    }

    /// Returns the conflict, if a container does not have the wanted image.
    fn check(
        &self,
        container: &str,
        template: &PodTemplateSpec,
        from: &str,
        wanted: &str,
    ) -> Result<()> {
        let now = image_of(template, container).unwrap_or_default();
        if now == wanted {
            return Ok(());
        }
        let target = self.target(container);
        Err(Error::Conflict { target, expected: format!("{wanted} (before: {from})"), found: now })
    }

    fn restore_command(&self, container: &str, image: &str) -> RestoreCommand {
        let workload = format!("{}/{}", self.workload.kind_name(), self.workload.name());
        let image = format!("{container}={image}");
        RestoreCommand::kubectl(["-n", &self.workload.namespace, "set", "image", &workload, &image])
    }
}
