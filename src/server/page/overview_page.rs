//! `/`: what is going on, and where to begin.

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;

use super::{
    caches::Caches,
    login::is_signed_in,
    overview_stream::{self, PAGE, liveness},
    overview_view::{ListedRun, ListedRunbook, Validity},
    render::{self, Chrome, LatestRuns, OverviewPage, html},
    words::Present,
};
use crate::{
    journal::{HeadQuery, RunId},
    server::{Service, error::ApiError, routes},
};

/// A page of older runs.
#[derive(Default, Deserialize)]
pub(super) struct OverviewQuery {
    before: Option<String>,
}

/// `GET /`.
pub(super) async fn overview(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    headers: HeaderMap,
    query: Result<Query<OverviewQuery>, QueryRejection>,
) -> Response {
    let now = service.engine().clock().now();
    let before = query.ok().and_then(|Query(query)| query.before);
    let made = match before {
        Some(before) => older(&service, &before).await,
        None => newest(&service, &caches).await,
    };
    match made {
        Ok(mut page) => {
            page.chrome = page.chrome.signed_in(is_signed_in(&headers));
            render::page(StatusCode::OK, &page)
        }
        Err(error) => render::error_page(&error, None, now),
    }
}

async fn newest(service: &Service, caches: &Caches) -> Result<OverviewPage, ApiError> {
    let now = service.engine().clock().now();
    let snapshot = overview_stream::snapshot(service, caches).await?;
    let (runbooks, runbooks_error) = match runbooks(service, caches).await {
        Ok(runbooks) => (runbooks, None),
        Err(error) => (Vec::new(), Some(error.message().to_owned())),
    };
    let [service_state, open, latest] = snapshot.render(Present(Some(now)));
    Ok(OverviewPage {
        chrome: Chrome::new("Overview", now).class("overview").streaming("/stream", None),
        before: None,
        service: service_state,
        open,
        latest,
        runbooks,
        runbooks_error,
    })
}

/// Returns the page of the runs that are older than one.
async fn older(service: &Service, before: &str) -> Result<OverviewPage, ApiError> {
    let now = service.engine().clock().now();
    let before: RunId = routes::parse_run_id(before)?;
    let entries = {
        let _reading = service.reading().acquire().await;
        service.store().heads(HeadQuery::Before(before.clone(), PAGE + 1)).await?
    };
    let has_more = entries.len() > PAGE;
    let mut runs = Vec::new();
    for entry in entries.into_iter().rev().take(PAGE) {
        runs.push(match entry.head {
            Ok(head) => match liveness(service, head).await {
                Ok((head, liveness)) => ListedRun::of(&head, &liveness),
                Err(error) => ListedRun::unreadable(&entry.run, &error),
            },
            Err(error) => ListedRun::unreadable(&entry.run, &error),
        });
    }
    let older = runs.last().filter(|_| has_more).map(|run| run.id.clone());
    Ok(OverviewPage {
        chrome: Chrome::new("Older runs", now).class("overview"),
        before: Some(before.to_string()),
        service: String::new(),
        open: String::new(),
        latest: html(&LatestRuns {
            runs: &runs,
            older: older.as_deref(),
            present: Present(Some(now)),
        }),
        runbooks: Vec::new(),
        runbooks_error: None,
    })
}

/// Returns the runbooks, each with the result of its check.
async fn runbooks(service: &Service, caches: &Caches) -> Result<Vec<ListedRunbook>, ApiError> {
    let names = service.runbooks().await?;
    caches.keep_validities(&names);
    let mut runbooks = Vec::with_capacity(names.len());
    for name in names {
        let validity = match service.find_runbook(&name).await {
            Ok(found) => match caches.validity(&name, found.source.text()) {
                Some(known) => known,
                None => {
                    let text = found.source.text().to_owned();
                    let check = move |_: &_| {
                        let registry = crate::engine::registry();
                        let checked = runbook::check_in(&found.source, registry, &found.library);
                        Validity::of(&found.source, &checked)
                    };
                    let validity = service.checks().run(check).await?;
                    caches.note_validity(&name, &text, &validity);
                    validity
                }
            },
            Err(error) => Validity::unreadable(error.message()),
        };
        runbooks.push(ListedRunbook::of(&name, &validity));
    }
    Ok(runbooks)
}
