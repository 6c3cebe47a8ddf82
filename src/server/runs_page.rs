//! Pages of runs: those that a client wants, the newest first.

use super::{
    Service,
    error::ApiError,
    responses::{ListedRun, RunsPage},
};
use crate::journal::{
    Failure, FailureKind, HeadQuery, HeadSummary, RunHead, RunId, RunState, StoreError,
    UnreadableSummary,
};

/// How many heads are read at a time to find those that a filter takes.
const FILTERED_PAGE: usize = 500;

/// A request for a page of runs.
pub(super) struct RunsRequest {
    /// How many runs the page has at most.
    pub(super) limit: usize,
    /// The last run of the page before.
    pub(super) before: Option<RunId>,
    /// The runs that are wanted.
    pub(super) filter: RunsFilter,
}

/// The runs that a list has.
#[derive(Default)]
pub(super) struct RunsFilter {
    /// Of this runbook.
    pub(super) runbook: Option<String>,
    /// In one of these states; any, if there is none.
    pub(super) states: Vec<RunState>,
}

impl RunsFilter {
    fn is_empty(&self) -> bool {
        self.runbook.is_none() && self.states.is_empty()
    }

    /// Whether a list has this run. What cannot be read is of no known runbook, and in no known state.
    fn takes(&self, head: &Result<(RunHead, bool), StoreError>) -> bool {
        let Ok((head, is_live)) = head else { return self.is_empty() };
        self.runbook.as_ref().is_none_or(|runbook| *runbook == head.runbook)
            && (self.states.is_empty() || self.states.contains(&head.state(*is_live)))
    }
}

impl Service {
    /// Returns a page of runs, the newest first, and where the next page begins.
    pub(super) async fn runs(&self, query: RunsRequest) -> Result<RunsPage, ApiError> {
        let _reading = self.reading().acquire().await;
        let RunsRequest { limit, mut before, filter } = query;
        if let Some(run) = &before
            // Any id is before or after others, but a page after a run that never was is not the next page.
            && let Err(StoreError::NotFound { .. }) = self.store().head(run).await
        {
            return Err(unknown_page(run));
        }
        let mut found = Vec::new();
        // One more than the page has, to know whether there is a next one.
        while found.len() <= limit {
            let size = if filter.is_empty() { limit + 1 } else { FILTERED_PAGE };
            let query = match before.take() {
                Some(run) => HeadQuery::Before(run, size),
                None => HeadQuery::Newest(size),
            };
            let entries = self.store().heads(query).await?;
            let is_last = entries.len() < size;
            before = entries.first().map(|entry| entry.run.clone());
            for entry in entries.into_iter().rev() {
                if found.len() > limit {
                    break;
                }
                let head = match entry.head {
                    Ok(head) => self.with_liveness(head).await,
                    Err(error) => Err(error),
                };
                if filter.takes(&head) {
                    found.push((entry.run, head));
                }
            }
            if is_last {
                break;
            }
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        let r#continue = found.last().filter(|_| has_more).map(|(run, _)| run.clone());
        let runs = found.into_iter().map(|(run, head)| match head {
            Ok((head, is_live)) => ListedRun::Readable(HeadSummary::of(&head, is_live)),
            Err(error) => ListedRun::Unreadable(UnreadableSummary::of(&run, &error)),
        });
        Ok(RunsPage { runs: runs.collect(), r#continue })
    }
}

/// Returns the response to a request for the runs before one that is not there.
fn unknown_page(run: &RunId) -> ApiError {
    let failure = Failure::new(FailureKind::Usage, format!("`continue`: run {run} not found"));
    failure.with_hint(Some("pass the `continue` of the page before, or none for the first")).into()
}
