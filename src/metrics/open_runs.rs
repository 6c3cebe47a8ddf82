//! The states of runs as the store has them, whichever process drives them: what a restart of the service must not
//! hide.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{family::Family, gauge::Gauge},
    registry::Unit,
};

use super::{
    Moment,
    labels::{RunInState, RunResult, Runbook},
    lock,
};
use crate::journal::{RunHead, RunId, RunState};

/// A run of the store.
#[derive(Debug)]
pub struct ObservedRun {
    /// The run, as the store has it.
    pub head: RunHead,
    /// Whether a process drives it.
    pub is_live: bool,
}

/// The knowledge of the runs of the store.
#[derive(Clone, Default)]
pub(super) struct RunStates(Arc<Mutex<States>>);

#[derive(Default)]
pub(super) struct States {
    /// The latest run of each runbook, and its state.
    latest: BTreeMap<String, (RunId, Timestamp, RunState)>,
    /// When a run of a runbook last ended in this way.
    ends: BTreeMap<(String, &'static str), Timestamp>,
    /// The states of runs that are not over, and the earliest of their last progress.
    open: BTreeMap<(String, &'static str), Timestamp>,
    /// Since when a run of a runbook has waited for persons.
    approvals: BTreeMap<String, Timestamp>,
    unreadable: usize,
}

impl RunStates {
    pub(super) fn set(
        &self,
        runs: &[ObservedRun],
        unreadable: usize,
        label_of: &dyn Fn(&str) -> String,
        progress_of: &dyn Fn(&ObservedRun) -> Option<Timestamp>,
    ) {
        let mut states = lock(&self.0);
        states.unreadable = unreadable;
        states.open.clear();
        states.approvals.clear();
        for run in runs {
            let head = &run.head;
            let (runbook, state) = (label_of(&head.runbook), head.state(run.is_live));
            let latest = states.latest.get(&runbook);
            if latest.is_none_or(|(latest, ..)| *latest <= head.run) {
                let latest = (head.run.clone(), head.started_at, state);
                states.latest.insert(runbook.clone(), latest);
            }
            if let Some(ended_at) = head.ended_at {
                let end = states.ends.entry((runbook.clone(), state.as_str()));
                let end = end.or_insert(ended_at);
                *end = ended_at.max(*end);
            }
            if state.is_over() {
                continue;
            }
            // A wait is an event, too, where another process drives the run.
            let progress = progress_of(run).unwrap_or(head.last_event_at);
            if state.is_active() && !head.open_approvals.is_empty() {
                let since = states.approvals.entry(runbook.clone()).or_insert(progress);
                *since = progress.min(*since);
                // Such a run is not late.
                states.open.entry((runbook, state.as_str())).or_insert(Timestamp::MAX);
                continue;
            }
            let since = states.open.entry((runbook, state.as_str())).or_insert(progress);
            *since = progress.min(*since);
        }
    }
}

impl Collector for RunStates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let states = lock(&self.0);
        let family: Family<RunInState, Gauge> = Family::default();
        for (runbook, (_, _, latest)) in &states.latest {
            for state in RunState::ALL {
                let is_open = states.open.contains_key(&(runbook.clone(), state.as_str()));
                let labels = RunInState { runbook: runbook.clone(), state: state.as_str() };
                family.get_or_create(&labels).set((is_open || *latest == state).into());
            }
        }
        let help = "1 for the state of the latest run of a runbook, and of each earlier one that is not over.";
        encode(&mut encoder, "run_state", help, None, &family)?;

        let started = moments(states.latest.iter().map(|(runbook, (_, started_at, _))| {
            (Runbook { runbook: runbook.clone() }, *started_at)
        }));
        let help = "When the latest run of a runbook started.";
        encode(&mut encoder, "run_started_timestamp", help, Some(&Unit::Seconds), &started)?;

        let ends = moments(states.ends.iter().map(|((runbook, result), ended_at)| {
            (RunResult { runbook: runbook.clone(), result }, *ended_at)
        }));
        let help = "When a run of a runbook last stopped in this way.";
        encode(&mut encoder, "run_last_end_timestamp", help, Some(&Unit::Seconds), &ends)?;

        let open = states.open.iter().filter(|(_, since)| **since != Timestamp::MAX);
        let progress = moments(open.map(|((runbook, state), since)| {
            (RunInState { runbook: runbook.clone(), state }, *since)
        }));
        let help = "When something last happened in a run that is not over, waits not counted; of several runs, the \
                    earliest. Runs that wait for approval are not among them.";
        encode(&mut encoder, "run_last_progress_timestamp", help, Some(&Unit::Seconds), &progress)?;

        let approvals = moments(
            states
                .approvals
                .iter()
                .map(|(runbook, since)| (Runbook { runbook: runbook.clone() }, *since)),
        );
        let help =
            "Since when a run of a runbook waits for approval; of several runs, the earliest.";
        let name = "approval_requested_timestamp";
        encode(&mut encoder, name, help, Some(&Unit::Seconds), &approvals)?;

        let unreadable: Gauge = Gauge::default();
        unreadable.set(i64::try_from(states.unreadable).unwrap_or(i64::MAX));
        let help = "Runs of the store whose journal cannot be read.";
        encode(&mut encoder, "runs_unreadable", help, None, &unreadable)
    }
}

impl fmt::Debug for RunStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunStates")
    }
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &dyn EncodeMetric,
) -> Result<(), fmt::Error> {
    let encoder = encoder.encode_descriptor(name, help, unit, metric.metric_type())?;
    metric.encode(encoder)
}

/// Returns gauges of moments, in seconds since 1970.
fn moments<L>(of: impl Iterator<Item = (L, Timestamp)>) -> Family<L, Moment>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet,
{
    let family: Family<L, Moment> = Family::default();
    for (labels, time) in of {
        family.get_or_create(&labels).set(time.as_duration().as_secs_f64());
    }
    family
}
