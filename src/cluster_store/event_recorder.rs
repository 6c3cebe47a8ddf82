//! Writes Kubernetes Events of a run beside its appends, so that `kubectl describe` tells what happened. They are a
//! convenience: no append waits for one, or fails by one, and what cannot be written is dropped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
};

use super::{
    attempts::{Attempts, DENIED_PATIENCE},
    failure::is_ending,
    kubernetes_events::{Report, Reports},
};
use crate::{
    journal::RecordedEvent,
    platform::{
        Error, ErrorKind,
        kubernetes::{RunObjects, RunbookRun},
    },
};

/// How many reports wait for the API server; further ones are dropped.
const QUEUE: usize = 256;
/// How long a report is tried while the API server does not answer. The reports after it wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of a run waits for its last reports.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether this process may write Kubernetes Events in the namespace of its store, as far as it knows.
#[derive(Default)]
pub(super) struct EventAccess {
    was_allowed: AtomicBool,
    is_denied: AtomicBool,
}

impl EventAccess {
    /// Lets none be written.
    pub(super) fn deny(&self) {
        self.is_denied.store(true, Ordering::Relaxed);
    }
}

/// Writes the Kubernetes Events of one run. Dropped, it writes those that were handed over.
pub(super) struct EventRecorder {
    reports: Reports,
    queue: mpsc::Sender<Report>,
    has_dropped: bool,
    task: JoinHandle<()>,
}

impl EventRecorder {
    /// Returns the recorder of a run that has these events.
    pub(super) fn new(
        objects: &RunObjects,
        access: &Arc<EventAccess>,
        run: &RunbookRun,
        writer: &str,
        past: &[RecordedEvent],
    ) -> Self {
        let (queue, received) = mpsc::channel(QUEUE);
        let delivery = Delivery {
            objects: objects.clone(),
            access: Arc::clone(access),
            run: run.object_ref(&()),
            writer: writer.to_owned(),
            last: None,
            has_warned: false,
        };
        let task = tokio::spawn(delivery.deliver(received));
        Self { reports: Reports::after(past), queue, has_dropped: false, task }
    }

    /// Hands over what some events have to report.
    pub(super) fn record(&mut self, events: &[RecordedEvent]) {
        for event in events {
            let Some(report) = self.reports.next(event) else { continue };
            // Closed: this process may not write any.
            if let Err(TrySendError::Full(_)) = self.queue.try_send(report)
                && !std::mem::replace(&mut self.has_dropped, true)
            {
                tracing::warn!("Kubernetes Events of the run are dropped: the API server is slow");
            }
        }
    }

    /// Writes those that were handed over, within a few seconds.
    pub(super) async fn end(self) {
        let Self { queue, task, .. } = self;
        drop(queue);
        if tokio::time::timeout(END_TIMEOUT, task).await.is_err() {
            tracing::warn!("the last Kubernetes Events of the run could not be written in time");
        }
    }
}

/// The reports of one run, as the API server has them.
struct Delivery {
    objects: RunObjects,
    access: Arc<EventAccess>,
    run: ObjectReference,
    writer: String,
    /// The last one, and how often it has happened.
    last: Option<(Report, i32)>,
    has_warned: bool,
}

impl Delivery {
    async fn deliver(mut self, mut reports: mpsc::Receiver<Report>) {
        while let Some(report) = reports.recv().await {
            if self.access.is_denied.load(Ordering::Relaxed) {
                return;
            }
            self.write(report).await;
        }
    }

    async fn write(&mut self, report: Report) {
        let mut attempts = Attempts::new();
        loop {
            let Err(error) = self.send(&report).await else {
                self.access.was_allowed.store(true, Ordering::Relaxed);
                return;
            };
            let patience = match error.kind() {
                ErrorKind::Denied if self.access.was_allowed.load(Ordering::Relaxed) => {
                    DENIED_PATIENCE
                }
                kind if kind.is_retryable() => PATIENCE,
                _ => Duration::ZERO,
            };
            if !attempts.are_left(patience) {
                self.give_up(&error);
                return;
            }
            attempts.pause().await;
        }
    }

    /// Sends one report, and keeps it as the last one.
    async fn send(&mut self, report: &Report) -> Result<(), Error> {
        if let Some((last, count)) = &mut self.last
            && report.repeats(last)
        {
            let object = last.object(&self.run, &self.writer);
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let series = report.series(count.saturating_add(1));
            match self.objects.count_kubernetes_event(name, &series).await {
                Ok(()) => {
                    *count = series.count;
                    return Ok(());
                }
                // It was too old: this one begins anew.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let object = report.object(&self.run, &self.writer);
        self.objects.create_kubernetes_event(&object).await?;
        self.last = Some((report.clone(), 1));
        Ok(())
    }

    fn give_up(&mut self, error: &Error) {
        let run = self.run.name.as_deref();
        let is_denied = error.code() == "Forbidden" && !is_ending(error);
        if is_denied {
            if !self.access.is_denied.swap(true, Ordering::Relaxed) {
                let rule =
                    "{apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}";
                let namespace = self.objects.namespace();
                let hint = format!("add to a Role in the namespace {namespace}: {rule}");
                tracing::warn!(%error, %hint, "runs are kept without Kubernetes Events");
            }
        } else if std::mem::replace(&mut self.has_warned, true) {
            tracing::debug!(%error, run, "cannot write a Kubernetes Event of the run");
        } else {
            tracing::warn!(%error, run, "cannot write a Kubernetes Event of the run");
        }
    }
}
