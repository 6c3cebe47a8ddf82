//! Waiting until a job has ended, and what its pod says then.

use k8s_openapi::api::{batch::v1::Job, core::v1::ContainerStateTerminated};
use tokio::time::Instant;

use super::{Intent, Output};
use crate::platform::kubernetes::pod::Pod;
use crate::{
    actions::{Error, PlatformReader, Progress, Result, workload::pod_name},
    platform::{
        kubernetes::{
            KubernetesReader, Selection,
            job::{self, JobEnd},
            pod,
        },
        wait::{self, GraceTimer, WaitState},
    },
};

/// The longest part of the log that is kept, in bytes.
const MAX_LOG: usize = 4 << 10;
/// The longest part that is read: the server counts from the first of the last lines.
const MAX_LOG_READ: u32 = 256 << 10;
/// The longest termination message that is kept, in bytes.
const MAX_MESSAGE: usize = 1 << 10;

/// Waits until the job has ended.
///
/// # Errors
/// The job has failed, is gone, or cannot start its pods.
pub(super) async fn until_ended(
    intent: &Intent,
    name: &str,
    reader: &PlatformReader,
    progress: &Progress,
) -> Result<Output> {
    let kubernetes = reader.kubernetes().await?;
    let namespace = intent.namespace.as_str();
    let target = format!("job {namespace}/{name}");
    let mut jobs = kubernetes.watch::<Job>(&Selection::in_namespace(namespace).named(name));
    let of_job = Selection::in_namespace(namespace).with_labels(format!("job-name={name}"));
    let mut pods = kubernetes.watch::<Pod>(&of_job);
    let (job_view, pod_view) = (jobs.view(), pods.view());
    let mut grace = GraceTimer::new(reader.clock().deadline(intent.give_up_after.std()));
    let end = wait::until(progress, &mut [&mut jobs, &mut pods], || {
        let Some(found) = job_view.objects().pop() else {
            return WaitState::failed(format!("{target} is gone, and how it ended is not known"));
        };
        if let Some(end) = job::end(&found) {
            return WaitState::Ready(end);
        }
        let pods = pod_view.objects();
        let problems: Vec<(String, String)> = pods
            .iter()
            .filter_map(|pod| {
                let text = format!("pod {}: {}", pod_name(pod), pod::problem(pod)?.message);
                Some((pod.metadata.uid.clone()?, text))
            })
            .collect();
        let first = problems.first().map(|(_, text)| text.clone());
        if let Some(why) = grace.expired(Instant::now(), problems) {
            let message = format!("{target} cannot run: {why} (for {})", intent.give_up_after);
            return WaitState::failed(message);
        }
        WaitState::Pending(match first {
            Some(why) => format!("{target} to end: {why}"),
            None => format!("{target} to end"),
        })
    })
    .await?;
    let pods = kubernetes.list::<Pod>(&of_job).await?;
    let is_complete = end == JobEnd::Complete;
    let shown = last_pod(&pods, is_complete);
    let log = match shown {
        Some(pod) => log_of(intent, pod, &kubernetes, progress).await,
        None => String::new(),
    };
    let ended = shown.and_then(ended_container);
    let message =
        ended.and_then(|ended| ended.message.as_deref()).map(|text| cut(text, MAX_MESSAGE));
    match end {
        JobEnd::Complete => Ok(Output {
            namespace: namespace.to_owned(),
            job: name.to_owned(),
            pod: shown.and_then(|pod| pod.metadata.name.clone()),
            exit_code: ended.map(|ended| ended.exit_code),
            message,
            log,
        }),
        JobEnd::Failed(reason) => {
            let mut text = format!("{target} has failed: {reason}");
            if let (Some(pod), Some(ended)) = (shown, ended) {
                let (name, code) = (pod_name(pod), ended.exit_code);
                text.push_str(&format!("; pod {name} ended with exit code {code}"));
            }
            if let Some(message) = message {
                text.push_str(&format!("; {message}"));
            }
            if !log.is_empty() {
                text.push_str(&format!("; the last lines of its log:\n{log}"));
            }
            Err(Error::operation_failed(text))
        }
    }
}

/// Returns the pod that ended last, among those that ended as the job did, if there are such.
fn last_pod(pods: &[Pod], is_complete: bool) -> Option<&Pod> {
    let phase = if is_complete { "Succeeded" } else { "Failed" };
    let ended_at = |pod: &&Pod| {
        let has_phase =
            pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase);
        (
            has_phase,
            ended_container(pod).and_then(|ended| ended.finished_at.as_ref()).map(|at| at.0),
        )
    };
    pods.iter().max_by_key(ended_at)
}

/// Returns how the first container of the pod has ended.
fn ended_container(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let name = first_container(pod)?;
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let status = statuses.iter().find(|status| status.name == name)?;
    status.state.as_ref()?.terminated.as_ref()
}

fn first_container(pod: &Pod) -> Option<&str> {
    let containers = pod.spec.as_ref()?.containers.as_ref()?;
    containers.first().map(|container| container.name.as_str())
}

/// Returns the last lines of the log; none, with a report, where the log cannot be read.
async fn log_of(
    intent: &Intent,
    pod: &Pod,
    kubernetes: &KubernetesReader,
    progress: &Progress,
) -> String {
    if intent.log_lines == 0 {
        return String::new();
    }
    let (name, container) = (pod_name(pod), first_container(pod));
    let namespace = intent.namespace.as_str();
    let tail = kubernetes.log_tail(namespace, name, container, intent.log_lines, MAX_LOG_READ);
    match tail.await {
        Ok(text) => end_of(text.trim_end(), MAX_LOG),
        Err(error) => {
            progress.report(&format!("the log of pod {name} cannot be read: {error}"));
            String::new()
        }
    }
}

/// Returns the beginning of a text, in so many bytes.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

/// Returns the end of a text, in so many bytes.
fn end_of(text: &str, most: usize) -> String {
    text[text.ceil_char_boundary(text.len().saturating_sub(most))..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("ab", 9), "ab");
        assert_eq!(end_of("aäb", 2), "b");
        assert_eq!(end_of("ab", 9), "ab");
    }
}
