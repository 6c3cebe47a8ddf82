//! `GET /stream`: the overview, kept current. All who watch it share what is read for it.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    response::{Response, sse::Event},
};
use futures::Stream;
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use super::{
    caches::{Caches, Overview},
    overview_view::{ListedRun, ServiceView},
    render::{LatestRuns, OpenRuns, ServiceState, html},
    run_stream::{elements, fingerprint, hello},
    run_view::Liveness,
    watched_run::WatchedRun,
    words::Present,
};
use crate::{
    journal::{HeadQuery, RunHead, StoreError},
    server::{
        Service,
        error::ApiError,
        streams::{self, StreamPermit},
    },
};

/// How many runs a list has.
pub(super) const PAGE: usize = 25;

/// How many runs that are not over are shown, and of how many it is read what they wait for.
const MAX_OPEN: usize = 50;
const MAX_WATCHED: usize = 10;

/// For how long what was read is current.
const AGE: Duration = Duration::from_millis(900);

/// The pause between two messages, and how often it is looked for what other processes have changed.
const PAUSE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(5);

/// The content of the overview, but for the runbooks.
pub(super) struct Snapshot {
    service: ServiceView,
    open: Vec<ListedRun>,
    latest: Vec<ListedRun>,
    older: Option<String>,
}

impl Snapshot {
    /// Renders the state of the service, the runs that are not over, and the latest runs.
    pub(super) fn render(&self, present: Present) -> [String; 3] {
        [
            html(&ServiceState { s: &self.service }),
            html(&OpenRuns { runs: &self.open, present }),
            html(&LatestRuns { runs: &self.latest, older: self.older.as_deref(), present }),
        ]
    }
}

/// Returns what the overview shows now, or a moment ago.
pub(super) async fn snapshot(
    service: &Service,
    caches: &Caches,
) -> Result<Arc<Snapshot>, ApiError> {
    let mut overview = caches.overview().await;
    if let Some((at, known)) = &overview.last
        && at.elapsed() < AGE
    {
        return Ok(Arc::clone(known));
    }
    let made = Arc::new(read(service, &mut overview).await?);
    overview.last = Some((Instant::now(), Arc::clone(&made)));
    Ok(made)
}

/// Returns a head that was read, with what is known of the run beside it.
pub(super) async fn liveness(
    service: &Service,
    head: RunHead,
) -> Result<(RunHead, Liveness), StoreError> {
    let (head, is_live) = service.with_liveness(head).await?;
    let is_recovering = service.is_recovering(&head.run);
    let liveness = Liveness { state: head.state(is_live), is_recovering, problem: None };
    Ok((head, liveness))
}

async fn read(service: &Service, overview: &mut Overview) -> Result<Snapshot, ApiError> {
    let ready = service.check_ready().await;
    let _reading = service.reading().acquire().await;
    let store = service.store();
    let mut open = Vec::new();
    let mut is_watched = Vec::new();
    for entry in store.heads(HeadQuery::Open).await?.into_iter().rev().take(MAX_OPEN) {
        let (head, liveness) = match entry.head {
            Ok(head) => match liveness(service, head).await {
                Ok(found) => found,
                Err(error) => {
                    open.push((true, ListedRun::unreadable(&entry.run, &error)));
                    continue;
                }
            },
            Err(error) => {
                open.push((true, ListedRun::unreadable(&entry.run, &error)));
                continue;
            }
        };
        if liveness.is_live() && is_watched.len() < MAX_WATCHED {
            is_watched.push(head.run.clone());
            watch(service, &mut overview.watched, &head).await?;
        }
        // It may have ended since.
        if liveness.state.is_over() {
            continue;
        }
        let listed = ListedRun::open(&head, &liveness, overview.watched.get(&head.run));
        open.push((!liveness.is_live(), listed));
    }
    overview.watched.retain(|run, _| is_watched.contains(run));
    // Active runs first, then the others, the newest of each first.
    open.sort_by_key(|(is_left, _)| *is_left);
    let newest = store.heads(HeadQuery::Newest(PAGE + 1)).await?;
    let has_more = newest.len() > PAGE;
    let target = newest.last().and_then(|entry| entry.head.as_ref().ok()).cloned();
    let mut latest = Vec::new();
    for entry in newest.into_iter().rev().take(PAGE) {
        latest.push(match entry.head {
            Ok(head) => match liveness(service, head).await {
                Ok((head, liveness)) => {
                    // It may have ended since it was found open.
                    if liveness.state.is_over() {
                        open.retain(|(_, listed)| listed.id != head.run.as_str());
                    }
                    ListedRun::of(&head, &liveness)
                }
                Err(error) => ListedRun::unreadable(&entry.run, &error),
            },
            Err(error) => ListedRun::unreadable(&entry.run, &error),
        });
    }
    let problem = ready.as_ref().err();
    let place = store.location().name;
    Ok(Snapshot {
        service: ServiceView::of(problem, service.window_state(), &place, target.as_ref()),
        open: open.into_iter().map(|(_, listed)| listed).collect(),
        older: latest.last().filter(|_| has_more).map(|run| run.id.clone()),
        latest,
    })
}

/// Reads what is new of an active run.
async fn watch(
    service: &Service,
    watched: &mut std::collections::HashMap<crate::journal::RunId, WatchedRun>,
    head: &RunHead,
) -> Result<(), StoreError> {
    let from = watched.get(&head.run).map_or(0, |run| run.seq + 1);
    let events = service.store().read(&head.run, from).await?;
    let events: Vec<_> = events.into_iter().map(Arc::new).collect();
    match watched.get_mut(&head.run) {
        Some(run) => run.follow(&events),
        None => {
            // The steps that have not begun are not shown here.
            let run = WatchedRun::of(&head.run, &events, Arc::default());
            watched.extend(run.map(|run| (head.run.clone(), run)));
        }
    }
    Ok(())
}

/// A browser's place.
struct OverviewStream {
    service: Service,
    caches: Caches,
    changes: broadcast::Receiver<RunHead>,
    closing: watch::Receiver<bool>,
    parts: [u64; 3],
    messages: VecDeque<Event>,
    _permit: StreamPermit,
}

/// `GET /stream`.
pub(super) async fn stream(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
) -> Result<Response, ApiError> {
    let permit = service.open_stream()?;
    let stream = OverviewStream {
        changes: service.store().watch(),
        closing: service.active().closing(),
        service,
        caches,
        parts: [0; 3],
        messages: VecDeque::from([hello()]),
        _permit: permit,
    };
    Ok(streams::server_sent(stream.into_events()))
}

impl OverviewStream {
    fn into_events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        futures::stream::unfold(self, |mut stream| async move {
            let event = stream.next().await?;
            Some((Ok(event), stream))
        })
    }

    /// Waits for the next message; none when the service shuts down.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.messages.pop_front() {
                return Some(event);
            }
            if *self.closing.borrow() {
                return None;
            }
            self.tell().await;
            if self.messages.is_empty() {
                self.wait().await;
            }
        }
    }

    /// Waits until something may have changed, but not for a shorter time than the pause.
    async fn wait(&mut self) {
        let pause = tokio::time::sleep(PAUSE);
        tokio::pin!(pause);
        tokio::select! {
            // Whatever is missed is in the next snapshot, too.
            _ = self.changes.recv() => {}
            _ = self.closing.changed() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        pause.await;
        while self.changes.try_recv().is_ok() {}
    }

    /// Adds a message with the parts that have changed.
    async fn tell(&mut self) {
        let snapshot = match snapshot(&self.service, &self.caches).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(error = error.message(), "the overview cannot be read");
                return;
            }
        };
        let mut html = String::new();
        for (part, known) in snapshot.render(Present(None)).iter().zip(&mut self.parts) {
            let fingerprint = fingerprint(part);
            if *known != fingerprint {
                *known = fingerprint;
                html.push_str(part);
            }
        }
        if !html.is_empty() {
            self.messages.push_back(elements(&html));
        }
    }
}
