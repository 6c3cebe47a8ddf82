//! Which runs are removed: those that are over, long ago, and that newer runs of the same runbook have replaced.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use super::{HeadEntry, RunHead};

/// A rule for the removal of runs. With both parts, a run is removed only if both say so; an unfinished run never is,
/// nor one whose journal cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Runs that ended longer ago than this are removed.
    pub older_than: Option<Duration>,
    /// This many of the latest runs of each runbook are kept.
    pub keep: Option<usize>,
}

impl Retention {
    /// Returns the heads of the runs to remove, the oldest first. `heads` are those of all runs, the oldest first.
    pub fn select(&self, heads: Vec<HeadEntry>, now: Timestamp) -> Vec<RunHead> {
        let heads = heads.into_iter().filter_map(|entry| entry.head.ok());
        let mut newer: HashMap<String, usize> = HashMap::new();
        let mut selected: Vec<RunHead> = Vec::new();
        for head in heads.rev().filter(RunHead::is_final) {
            let rank = newer.entry(head.runbook.clone()).or_default();
            *rank += 1;
            let is_surplus = self.keep.is_none_or(|keep| *rank > keep);
            if is_surplus && self.is_old(&head, now) {
                selected.push(head);
            }
        }
        selected.reverse();
        selected
    }

    fn is_old(&self, head: &RunHead, now: Timestamp) -> bool {
        let Some(limit) = self.older_than else { return true };
        let end = head.ended_at.unwrap_or(head.last_event_at);
        // A run that ended in the future, by a clock that was set back since, is not old.
        Duration::try_from(now - end).is_ok_and(|age| age > limit)
    }
}
