//! `/runs/{id}`: the page of a run for browsers, JSON for programs.

use axum::{
    Extension,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    accept::prefers_html,
    caches::{Caches, SharedRun},
    login::is_signed_in,
    next_actions::next_actions,
    render::{self, Actions, Approvals, Chrome, Differences, Notice, RunPage, Summary, html},
    run_view::{self, Liveness, RefusedAnswer},
    step_view::{self, Axis},
    watched_run::WatchedRun,
    words::{self, Present},
};
use crate::{
    journal::RunId,
    server::{Service, active_runs::Phase, error::ApiError, routes, run_feed::Followed},
};

/// How many lines of the log a page has, unless all are asked for.
const MAX_LINES: usize = 2_000;

/// The choices of a browser.
#[derive(Default, Deserialize)]
pub(in crate::server) struct RunQuery {
    /// `all` for every line.
    #[serde(default)]
    log: Option<String>,
}

/// The content of the page beside the run: a request that was refused.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// Why an action was refused.
    pub(super) error: Option<String>,
    pub(super) answer: Option<RefusedAnswer>,
}

/// A run with what is known of it now.
struct LoadedRun {
    run: SharedRun,
    liveness: Liveness,
}

/// `GET /runs/{id}`.
pub(in crate::server) async fn run_or_json(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Result<Query<RunQuery>, QueryRejection>,
) -> Response {
    if !prefers_html(&headers) {
        let mut response = routes::run(State(service), Path(id)).await.into_response();
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        return response;
    }
    let all = query.is_ok_and(|Query(query)| query.log.as_deref() == Some("all"));
    let signed_in = is_signed_in(&headers);
    page(&service, &caches, &id, signed_in, all, Refused::default()).await
}

/// Returns the page of a run.
pub(super) async fn page(
    service: &Service,
    caches: &Caches,
    id: &str,
    signed_in: bool,
    all_lines: bool,
    refused: Refused,
) -> Response {
    let now = service.engine().clock().now();
    let loaded = async {
        let id = routes::parse_run_id(id)?;
        load(service, caches, &id).await
    };
    match loaded.await {
        Ok(loaded) => {
            let render = move || {
                let status = refused.status;
                let template = run_page(&loaded, signed_in, all_lines, &refused, now);
                render::page(status, &template)
            };
            match tokio::task::spawn_blocking(render).await {
                Ok(response) => response,
                Err(_) => render::error_page(&ApiError::unfinished(), None, now),
            }
        }
        Err(error) => render::error_page(&error, None, now),
    }
}

/// Reads a run.
async fn load(service: &Service, caches: &Caches, id: &RunId) -> Result<LoadedRun, ApiError> {
    let mut follower = service.feeds().follow(service, id).await?;
    let begun = follower.next(0).await?;
    let liveness = liveness(service, id, &begun);
    let (caches, id) = (caches.clone(), id.clone());
    let fold = move || caches.watched(&id, &begun.events);
    let run = tokio::task::spawn_blocking(fold).await.map_err(|_| ApiError::unfinished())?;
    Ok(LoadedRun { run: run.ok_or_else(ApiError::unfinished)?, liveness })
}

/// Returns what is known of a run beside its events.
pub(super) fn liveness(service: &Service, id: &RunId, followed: &Followed) -> Liveness {
    let problem = match service.active().phase(id) {
        Some(Phase::JournalFailed(problem)) => Some(problem),
        Some(Phase::Recovering { reason }) => reason,
        Some(Phase::Running(_)) | None => None,
    };
    Liveness { state: followed.state, is_recovering: followed.is_recovering, problem }
}

fn run_page(
    loaded: &LoadedRun,
    signed_in: bool,
    all_lines: bool,
    refused: &Refused,
    now: Timestamp,
) -> RunPage {
    let liveness = &loaded.liveness;
    let run = &*loaded.run.lock();
    let id = run.run.id().to_string();
    let axis = run_view::axis(run, liveness, now);
    let regions = regions(run, liveness, &axis, refused, Present(Some(now)));
    let log = run_view::lines(run.lines(0));
    let hidden_lines = if all_lines { 0 } else { log.len().saturating_sub(MAX_LINES) };
    let title =
        format!("{}: {}", words::of_run(liveness.state).word, words::shown(&run.run.spec.runbook));
    let Regions { summary, notice, now: doing, approvals, actions, differences, axis: labels } =
        regions;
    RunPage {
        chrome: Chrome::new(title, now)
            .at(format!("/runs/{id}"), id.clone())
            .class("run")
            .signed_in(signed_in)
            .streaming(format!("/runs/{id}/stream"), Some(run.seq)),
        id,
        summary,
        notice,
        now: doing,
        approvals,
        actions,
        differences,
        axis: labels,
        steps: steps(run, &axis, liveness, now),
        log: render::log_lines(&log[hidden_lines..]),
        shown_lines: log.len() - hidden_lines,
        hidden_lines,
    }
}

fn steps(run: &WatchedRun, axis: &Axis, liveness: &Liveness, now: Timestamp) -> String {
    let mut budget = step_view::MAX_PARTS;
    let is_live = liveness.is_live();
    let rows = run.top_level();
    let rows = rows
        .iter()
        .map(|path| render::step_row(run, path, axis, is_live, Present(Some(now)), &mut budget));
    rows.collect()
}

/// The parts of the page that are replaced as a whole.
pub(super) struct Regions {
    pub(super) summary: String,
    pub(super) notice: String,
    pub(super) now: String,
    pub(super) approvals: String,
    pub(super) actions: String,
    pub(super) differences: String,
    pub(super) axis: String,
}

impl Regions {
    /// Returns the parts, in the order of the page.
    pub(super) fn into_all(self) -> [String; 7] {
        let Self { summary, notice, now, approvals, actions, differences, axis } = self;
        [summary, notice, now, approvals, actions, differences, axis]
    }
}

/// Renders the parts of the page that are replaced as a whole.
pub(super) fn regions(
    run: &WatchedRun,
    liveness: &Liveness,
    axis: &Axis,
    refused: &Refused,
    present: Present,
) -> Regions {
    let id = run.run.id().to_string();
    let summary = run_view::summary(run, liveness, axis);
    let notice = run_view::notice(run, liveness);
    let (nows, more) = run_view::now(run, liveness);
    let approvals = run_view::approvals(run, liveness, refused.answer.as_ref());
    let actions = next_actions(run, liveness.state, liveness.is_recovering);
    let differences = run_view::differences(run, liveness);
    Regions {
        summary: html(&Summary { s: &summary, present }),
        notice: html(&Notice { n: notice.as_ref() }),
        now: render::now(&nows, more, present),
        approvals: html(&Approvals { id: &id, approvals: &approvals, asking: words::ASKING }),
        actions: html(&Actions { id: &id, actions: &actions, error: refused.error.as_deref() }),
        differences: html(&Differences { differences: &differences }),
        axis: render::axis(axis),
    }
}
