//! `run_job`: run a job in the cluster and wait until it has ended.

mod manifest;
mod wait;

use k8s_openapi::api::batch::v1::Job;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Action, Change, Condition, Error, KnownTargets, KubernetesScope, Permission, PlannedChange,
    PlatformReader, PlatformWriter, Progress, RepeatedParam, RestoreCommand, Result, TargetState,
    types::default_give_up_after,
};
use crate::platform::kubernetes::{KubernetesReader, Selection};
use manifest::{ConfigMapKey, JobSpec};
use runbook::{Duration, Reversibility};

/// The label by which the jobs of one step are found again.
const STEP_LABEL: &str = "rafay-relay-sop/job";
/// How much of the client token is in the name of a job.
const TOKEN_LENGTH: usize = 12;

/// Runs a Kubernetes Job and waits until it has completed.
///
/// The job is given as a manifest in a ConfigMap, or in the step itself (`spec`). Its name is made of `name` and of the
/// identity of the step's attempt, so that a run that is continued after a crash waits for the job that it has started,
/// and starts no other one. A job that fails is run again, as a new job, as often as the step's `retry` allows: `retry:
/// {attempts: 1}` runs it once. The failure names the reason, the exit code, the termination message and the last lines
/// of the log. The step fails early when a pod of the job cannot start for `give_up_after`. The last lines of the log
/// are kept in the journal: a job must not print secrets.
///
/// The undo deletes the jobs that the step has created, with their pods. What a job has done is not undone. A job that
/// still runs when the run is interrupted, cancelled or fails goes on, until `time_limit` at the latest, and a run that
/// is resumed waits for it. One that has ended is kept for `keep_for`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-exactly-one-of" = [["config_map", "spec"]], "x-repeats" = true))]
pub struct Params {
    /// Namespace of the job.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// The first part of the job's name.
    #[schemars(length(min = 1, max = 40), extend("x-syntax" = "kubernetes-name"))]
    pub name: String,
    /// The ConfigMap with the manifest of the job.
    #[serde(default)]
    pub config_map: Option<ConfigMapKey>,
    /// The one container of the job.
    #[serde(default)]
    pub spec: Option<JobSpec>,
    /// How long the job may run, less than the step. A shorter limit in the manifest is kept.
    #[serde(default = "default_time_limit")]
    pub time_limit: Duration,
    /// How long the job is kept after it has ended, unless the manifest says it.
    #[serde(default = "default_keep_for")]
    #[schemars(extend("x-outlasts" = true))]
    pub keep_for: Duration,
    /// How many lines of the log are kept, from the end; at most 20.
    #[serde(default = "default_log_lines")]
    #[schemars(range(max = 20))]
    pub log_lines: u32,
    /// How long a pod of the job may fail to start before the wait is given up.
    #[serde(default = "default_give_up_after")]
    pub give_up_after: Duration,
}

fn default_time_limit() -> Duration {
    Duration::from_secs(10 * 60)
}

fn default_keep_for() -> Duration {
    Duration::from_secs(60 * 60)
}

fn default_log_lines() -> u32 {
    20
}

/// The completed job.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace of the job.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the job.
    pub job: String,
    /// Name of the pod that succeeded; none where it is gone.
    #[schemars(extend("x-syntax" = "pod-name"))]
    pub pod: Option<String>,
    /// The exit code of its first container.
    pub exit_code: Option<i32>,
    /// The termination message of that container.
    pub message: Option<String>,
    /// The last lines that it has written, at most 4 KiB.
    pub log: String,
}

/// The job to create. Its name depends on the attempt, which apply knows.
#[derive(Serialize, Deserialize)]
pub struct Intent {
    namespace: String,
    name: String,
    /// The value of the label of the jobs of this step.
    mark: String,
    manifest: Value,
    log_lines: u32,
    give_up_after: Duration,
}

/// The job.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    job: String,
}

pub(super) struct RunJob;

impl Action for RunJob {
    const NAME: &'static str = "run_job";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::core(
            "configmaps",
            &["get"],
            KubernetesScope::Object { namespace: "config_map.namespace", name: "config_map.name" },
        )
        .only(Condition::IfGiven("config_map")),
        Permission::kubernetes(
            "batch",
            "jobs",
            &["create", "list", "watch", "delete"],
            KubernetesScope::Namespace("namespace"),
        ),
        Permission::core("pods", &["list", "watch"], KubernetesScope::Namespace("namespace")),
        // For the last lines of the log; without it there are none.
        Permission::core("pods/log", &["get"], KubernetesScope::Namespace("namespace")).optional(),
    ];
    const REPEATED_PARAMS: &'static [RepeatedParam] =
        &[RepeatedParam::new("namespace", "namespace")];
    type Params = Params;
    type Output = Output;
}

impl Change for RunJob {
    const REVERSIBILITY: Reversibility = Reversibility::Irreversible;
    type Intent = Intent;
    type Receipt = Receipt;

    fn planned_changes(intent: &Intent) -> Vec<PlannedChange> {
        vec![PlannedChange::new(intent.target(), Value::Null, manifest::describe(&intent.manifest))]
    }

    async fn prepare(
        params: Params,
        _: &KnownTargets,
        reader: &PlatformReader,
        _: &Progress,
    ) -> Result<Intent> {
        let manifest = match (&params.config_map, &params.spec) {
            (Some(key), _) => manifest::read(key, &reader.kubernetes().await?).await?,
            (None, Some(spec)) => manifest::of_spec(spec),
            (None, None) => return Err(Error::precondition("no job is given")),
        };
        let mark = format!("{:016x}", fastrand::u64(..));
        let limits = manifest::Limits { time_limit: params.time_limit, keep_for: params.keep_for };
        Ok(Intent {
            manifest: manifest::complete(manifest, limits, STEP_LABEL, &mark)?,
            mark,
            namespace: params.namespace,
            name: params.name,
            log_lines: params.log_lines.min(default_log_lines()),
            give_up_after: params.give_up_after,
        })
    }

    async fn apply(intent: &Intent, writer: &PlatformWriter) -> Result<Receipt> {
        let token: String = writer.client_token().chars().take(TOKEN_LENGTH).collect();
        let name = format!("{}-{token}", intent.name);
        // A job of this name is that of an earlier attempt whose response was lost.
        writer.kubernetes().await?.create(&intent.job(&name)?).await?;
        Ok(Receipt { job: name })
    }

    async fn settle(
        intent: &Intent,
        receipt: &Receipt,
        reader: &PlatformReader,
        progress: &Progress,
    ) -> Result<Output> {
        wait::until_ended(intent, &receipt.job, reader, progress).await
    }

    async fn undo(
        intent: &Intent,
        _: Option<&Receipt>,
        writer: &PlatformWriter,
        _: &Progress,
    ) -> Result<Vec<String>> {
        delete_jobs(intent, writer).await?;
        Ok(Vec::new())
    }

    async fn read_targets(intent: &Intent, reader: &PlatformReader) -> Result<Vec<TargetState>> {
        let found = jobs(intent, &reader.kubernetes().await?).await?;
        let state = |job: &Job| {
            let name = job.metadata.name.clone().unwrap_or_default();
            let target = format!("job {}/{name}", intent.namespace);
            let delete = ["-n", intent.namespace.as_str(), "delete", "job", &name];
            let restore = RestoreCommand::kubectl(delete);
            TargetState::new(target, Value::Null, true, Some(restore))
        };
        Ok(found.iter().map(state).collect())
    }
}

impl Intent {
    fn target(&self) -> String {
        format!("job {}/{}", self.namespace, self.name)
    }

    /// Returns the job under this name.
    fn job(&self, name: &str) -> Result<Job> {
        let mut job = self.manifest.clone();
        job["metadata"]["name"] = json!(name);
        job["metadata"]["namespace"] = json!(self.namespace);
        serde_json::from_value(job).map_err(|source| Error::Decode { what: "the job", source })
    }
}

/// Returns the jobs that this step has created.
async fn jobs(intent: &Intent, kubernetes: &KubernetesReader) -> Result<Vec<Job>> {
    let selector = format!("{STEP_LABEL}={}", intent.mark);
    let selection = Selection::in_namespace(intent.namespace.as_str()).with_labels(selector);
    Ok(kubernetes.list::<Job>(&selection).await?)
}

async fn delete_jobs(intent: &Intent, writer: &PlatformWriter) -> Result<()> {
    let kubernetes = writer.kubernetes().await?;
    for found in jobs(intent, kubernetes.reader()).await? {
        let name = found.metadata.name.as_deref().unwrap_or_default();
        let uid = found.metadata.uid.as_deref().unwrap_or_default();
        kubernetes.delete_if_same::<Job>(&intent.namespace, name, uid).await?;
    }
    Ok(())
}
