//! A store in memory, for tests and for embedding: its runs end with the process.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{
    HeadEntry, HeadQuery, Notified, PostedAnswer, RecordedEvent, RunHead, RunId, RunStore,
    StoreError, StoreLocation,
    store::{WATCH_BACKLOG, no_start},
};

/// Runs in memory.
pub struct MemoryStore {
    runs: Mutex<Runs>,
    changes: broadcast::Sender<RunHead>,
    id: u64,
}

#[derive(Default)]
struct Runs {
    journals: BTreeMap<RunId, (RunHead, Vec<RecordedEvent>)>,
    written: HashSet<RunId>,
    answers: BTreeMap<RunId, Vec<PostedAnswer>>,
    notified: BTreeMap<RunId, Notified>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let (changes, _) = broadcast::channel(WATCH_BACKLOG);
        Self { runs: Mutex::default(), changes, id: fastrand::u64(..) }
    }
}

impl MemoryStore {
    /// Forgets which runs are being written, as if the process that wrote them had died.
    pub fn forget_writers(&self) {
        self.runs().written.clear();
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        // Every change below is one assignment: a panic leaves nothing half done.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found(run: &RunId) -> StoreError {
    StoreError::NotFound { run: run.clone(), place: "memory".into() }
}

#[async_trait]
impl RunStore for MemoryStore {
    async fn append(
        &self,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        _sync: bool,
    ) -> Result<(), StoreError> {
        let mut runs = self.runs();
        let found = runs.journals.get(run).map_or(0, |(head, _)| head.events);
        if found != expected {
            return Err(StoreError::Conflict { run: run.clone(), expected, found });
        }
        let head = match runs.journals.get_mut(run) {
            Some((head, journal)) => {
                events.iter().for_each(|event| head.apply(event));
                journal.extend_from_slice(events);
                head.clone()
            }
            None => {
                let head = RunHead::of(run, events).ok_or_else(|| no_start(run))?;
                runs.journals.insert(run.clone(), (head.clone(), events.to_vec()));
                head
            }
        };
        runs.written.insert(run.clone());
        // A store that is not watched is fine.
        let _ = self.changes.send(head);
        Ok(())
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<RecordedEvent>, StoreError> {
        let runs = self.runs();
        let (_, journal) = runs.journals.get(run).ok_or_else(|| not_found(run))?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(journal.len());
        Ok(journal[from..].to_vec())
    }

    async fn heads(&self, query: HeadQuery) -> Result<Vec<HeadEntry>, StoreError> {
        let runs = self.runs();
        let newest_first = runs.journals.values().rev().map(|(head, _)| head);
        let mut heads: Vec<RunHead> = match query {
            HeadQuery::All => newest_first.cloned().collect(),
            HeadQuery::Newest(limit) => newest_first.take(limit).cloned().collect(),
            HeadQuery::Before(run, limit) => {
                newest_first.filter(|head| head.run < run).take(limit).cloned().collect()
            }
            HeadQuery::Open => newest_first.filter(|head| !head.is_final()).cloned().collect(),
            HeadQuery::WithKey(key) => {
                newest_first.filter(|head| head.key.as_ref() == Some(&key)).cloned().collect()
            }
        };
        heads.reverse();
        Ok(heads
            .into_iter()
            .map(|head| HeadEntry { run: head.run.clone(), head: Ok(head) })
            .collect())
    }

    async fn head(&self, run: &RunId) -> Result<RunHead, StoreError> {
        let runs = self.runs();
        runs.journals.get(run).map(|(head, _)| head.clone()).ok_or_else(|| not_found(run))
    }

    fn watch(&self) -> broadcast::Receiver<RunHead> {
        self.changes.subscribe()
    }

    async fn is_live(&self, run: &RunId) -> bool {
        self.runs().written.contains(run)
    }

    async fn post_answer(&self, run: &RunId, answer: &PostedAnswer) -> Result<(), StoreError> {
        let mut runs = self.runs();
        if !runs.journals.contains_key(run) {
            return Err(not_found(run));
        }
        runs.answers.entry(run.clone()).or_default().push(answer.clone());
        Ok(())
    }

    async fn answers(&self, run: &RunId) -> Result<Vec<PostedAnswer>, StoreError> {
        Ok(self.runs().answers.get(run).cloned().unwrap_or_default())
    }

    async fn remove_answer(&self, run: &RunId, id: &str) -> Result<(), StoreError> {
        if let Some(answers) = self.runs().answers.get_mut(run) {
            answers.retain(|answer| answer.id != id);
        }
        Ok(())
    }

    async fn notified(&self, run: &RunId) -> Result<Notified, StoreError> {
        Ok(self.runs().notified.get(run).cloned().unwrap_or_default())
    }

    async fn set_notified(&self, run: &RunId, sink: &str, next: u64) -> Result<(), StoreError> {
        let mut runs = self.runs();
        if !runs.journals.contains_key(run) {
            return Err(not_found(run));
        }
        runs.notified.entry(run.clone()).or_default().insert(sink.to_owned(), next);
        Ok(())
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn location(&self) -> StoreLocation {
        let exclusive_id = Some(format!("memory/{:x}", self.id));
        StoreLocation { name: "memory".into(), exclusive_id, url: None }
    }
}
