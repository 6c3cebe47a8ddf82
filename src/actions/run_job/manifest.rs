//! The manifest of a job: read from a ConfigMap or made of the step's parameters, and completed.

use std::collections::BTreeMap;

use k8s_openapi::api::{batch::v1::Job, core::v1::ConfigMap};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::kinds::Quantity;
use crate::{
    actions::{Error, Result},
    platform::kubernetes::KubernetesReader,
};
use runbook::Duration;

/// The longest manifest, in bytes.
const MAX_MANIFEST: usize = 64 << 10;
/// The maximum nesting of a manifest.
const MAX_DEPTH: usize = 24;

/// The place of a manifest.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigMapKey {
    /// Namespace of the ConfigMap.
    #[schemars(extend("x-syntax" = "namespace"))]
    pub namespace: String,
    /// Name of the ConfigMap.
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub name: String,
    /// The key whose value is the manifest of a Job, in YAML.
    #[schemars(length(min = 1))]
    pub key: String,
}

/// The one container of a job. What it needs beyond this is written as a manifest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The image.
    #[schemars(length(min = 1))]
    #[schemars(extend("x-syntax" = "image"))]
    pub image: String,
    /// The program, instead of that of the image.
    #[serde(default)]
    pub command: Vec<String>,
    /// The arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// The environment variables. No secret belongs here: the runbook and the journal hold the values.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The service account of the pod; that of the namespace, unless it is said.
    #[serde(default)]
    #[schemars(extend("x-syntax" = "kubernetes-name"))]
    pub service_account: Option<String>,
    /// The requests and the limits.
    #[serde(default)]
    pub resources: Option<JobResources>,
}

/// The resources of a container, as quantities such as `100m` or `64Mi`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobResources {
    /// The requests, such as `cpu: 100m`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Quantity>")]
    pub requests: BTreeMap<String, String>,
    /// The limits.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Quantity>")]
    pub limits: BTreeMap<String, String>,
}

/// The limits of time of a job.
pub(super) struct Limits {
    pub(super) time_limit: Duration,
    pub(super) keep_for: Duration,
}

/// Reads the manifest from a ConfigMap.
pub(super) async fn read(key: &ConfigMapKey, kubernetes: &KubernetesReader) -> Result<Value> {
    let ConfigMapKey { namespace, name, key } = key;
    let place = format!("ConfigMap {namespace}/{name}");
    let Some(found) = kubernetes.get::<ConfigMap>(Some(namespace), name).await? else {
        return Err(Error::precondition(format!("{place} not found")));
    };
    let Some(text) = found.data.and_then(|mut data| data.remove(key)) else {
        return Err(Error::precondition(format!("{place} has no key {key}")));
    };
    parse(&text).map_err(|why| Error::precondition(format!("{key} of {place}: {why}")))
}

fn parse(text: &str) -> Result<Value, String> {
    if text.len() > MAX_MANIFEST {
        return Err(format!("the manifest is longer than {} KiB", MAX_MANIFEST >> 10));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        with_snippet: false,
    };
    let manifest: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    match (manifest["apiVersion"].as_str(), manifest["kind"].as_str()) {
        (Some("batch/v1"), Some("Job")) => Ok(manifest),
        _ => Err("it is not a Job of batch/v1".to_owned()),
    }
}

/// Returns the manifest of a job with this container.
pub(super) fn of_spec(spec: &JobSpec) -> Value {
    let env: Vec<Value> =
        spec.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let mut container = json!({
        "name": "job",
        "image": spec.image,
        "env": env,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    for (field, texts) in [("command", &spec.command), ("args", &spec.args)] {
        if !texts.is_empty() {
            container[field] = json!(texts);
        }
    }
    if let Some(resources) = &spec.resources {
        container["resources"] = json!(resources);
    }
    let mut pod = json!({"restartPolicy": "Never", "containers": [container]});
    if let Some(account) = &spec.service_account {
        pod["serviceAccountName"] = json!(account);
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    })
}

/// Sets the limits and the label, and removes what belongs to another object: names, selectors, a status.
///
/// # Errors
/// It is not the manifest of a job that can end.
pub(super) fn complete(manifest: Value, limits: Limits, label: &str, mark: &str) -> Result<Value> {
    let invalid = |why: &str| Error::precondition(format!("the manifest of the job {why}"));
    let is_never_run = manifest["spec"]["suspend"] == true;
    let mut metadata = Map::new();
    for field in ["labels", "annotations"] {
        if let Value::Object(entries) = &manifest["metadata"][field] {
            metadata.insert(field.to_owned(), Value::Object(entries.clone()));
        }
    }
    let Value::Object(mut spec) = manifest["spec"].clone() else {
        return Err(invalid("has no spec"));
    };
    if is_never_run {
        return Err(invalid("is suspended, so the job would not run"));
    }
    for field in ["selector", "manualSelector"] {
        spec.remove(field);
    }
    let seconds = |limit: Duration| i64::try_from(limit.std().as_secs()).unwrap_or(i64::MAX).max(1);
    let given = spec.get("activeDeadlineSeconds").and_then(Value::as_i64);
    let limit = seconds(limits.time_limit);
    spec.insert(
        "activeDeadlineSeconds".to_owned(),
        given.map_or(limit, |given| given.min(limit)).into(),
    );
    spec.entry("ttlSecondsAfterFinished").or_insert_with(|| seconds(limits.keep_for).into());
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    labels[label] = json!(mark);
    let complete = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec,
    });
    match serde_json::from_value::<Job>(complete.clone()) {
        Ok(job) if containers(&job).next().is_some() => Ok(complete),
        Ok(_) => Err(invalid("has no containers")),
        Err(error) => Err(invalid(&format!("cannot be read: {error}"))),
    }
}

fn containers(job: &Job) -> impl Iterator<Item = &str> {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.into_iter().flat_map(|pod| &pod.containers).filter_map(|one| one.image.as_deref())
}

/// Returns the images and the commands of a job, for plans.
pub(super) fn describe(manifest: &Value) -> String {
    let containers = manifest["spec"]["template"]["spec"]["containers"].as_array();
    let text = |container: &Value| {
        let words = ["command", "args"].iter().filter_map(|field| container[*field].as_array());
        let words = words.flatten().filter_map(Value::as_str);
        let image = container["image"].as_str().unwrap_or_default();
        [image].into_iter().chain(words).collect::<Vec<_>>().join(" ")
    };
    containers.into_iter().flatten().map(text).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { time_limit: Duration::from_secs(300), keep_for: Duration::from_secs(60) }
    }

    fn completed(text: &str) -> Result<Value, String> {
        let manifest = parse(text)?;
        complete(manifest, limits(), "l", "m").map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_keeps_its_template_and_loses_what_belongs_to_another_object() {
        let text = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: theirs, namespace: other, uid: u, labels: {a: b}}\n\
                    spec:\n  activeDeadlineSeconds: 30\n  manualSelector: true\n  selector: {}\n  template:\n    \
                    spec: {restartPolicy: Never, containers: [{name: c, image: i, command: [a, b]}]}\nstatus: {}\n";
        let job = completed(text).unwrap();
        assert_eq!(job["metadata"], json!({"labels": {"a": "b", "l": "m"}}));
        assert_eq!(job["spec"]["activeDeadlineSeconds"], 30, "the shorter limit");
        assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 60);
        assert_eq!(job["spec"].get("selector"), None);
        assert_eq!(job.get("status"), None);
        assert_eq!(describe(&job), "i a b");
    }

    #[test]
    fn what_is_not_a_job_is_refused() {
        let head = "apiVersion: batch/v1\nkind: Job\n";
        assert_eq!(completed("kind: Pod").unwrap_err(), "it is not a Job of batch/v1");
        let refusal = |spec: &str| completed(&format!("{head}spec: {spec}")).unwrap_err();
        assert!(refusal("null").ends_with("has no spec"));
        assert!(refusal("{suspend: true}").contains("is suspended"));
        assert!(refusal("{template: {spec: {containers: []}}}").ends_with("has no containers"));
        assert!(refusal("{template: 1}").contains("cannot be read"));
        assert!(parse(&"#".repeat(MAX_MANIFEST + 1)).unwrap_err().contains("longer than 64 KiB"));
    }

    #[test]
    fn an_inline_job_has_one_container_that_runs_once() {
        let spec = JobSpec {
            image: "i".into(),
            command: vec!["a".into()],
            args: Vec::new(),
            env: [("KEY".to_owned(), "value".to_owned())].into(),
            service_account: Some("migrator".into()),
            resources: None,
        };
        let job = complete(of_spec(&spec), limits(), "l", "m").unwrap();
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], "migrator");
        assert_eq!(pod["containers"][0]["env"], json!([{"name": "KEY", "value": "value"}]));
        assert_eq!(job["spec"]["backoffLimit"], 0);
    }
}
