//! The page: what a browser gets. Every page is whole without JavaScript; a stream of HTML fragments keeps it current.
//! A handler asks the [`Service`](super::Service) for what the JSON interface would answer, makes a view of it, and
//! renders that with a template of the directory `templates`.
//!
//! - `watched_run`: a run as a fold over its events, with what only a person who watches it wants to know.
//! - `*_view`: pure functions from what is known to what a template shows. Nothing in them reads, waits or knows HTTP.
//! - `render`: the templates. They escape everything that is not HTML of this module.
//! - `*_page`: the handlers, one file a page. `actions` takes the forms of a run.
//!
//! This module uses the service, the journal, the plan and the language. It must not depend on how requests are
//! authenticated, nor on any action.

mod accept;
mod actions;
mod assets;
mod caches;
mod fields;
mod forms;
mod login;
mod next_actions;
mod outline;
mod overview_page;
mod overview_stream;
mod overview_view;
mod plan_view;
mod render;
mod run_page;
mod run_stream;
mod run_view;
mod runbook_page;
mod runbook_view;
mod step_view;
mod watched_run;
mod words;

use axum::{
    Router,
    routing::{MethodRouter, get, post},
};

use super::{
    Service,
    auth::{Access, Needs, Right},
    body, limits,
};
pub(super) use accept::prefers_html;
pub(super) use caches::Caches;
pub(super) use login::login_page;
pub(super) use run_page::run_or_json;

/// Returns the routes of the pages, but for `/runs/{id}`, which is [`run_or_json`].
pub(super) fn router(service: &Service, access: &Access) -> Router<Service> {
    let read = |route: MethodRouter<Service>| {
        access.guard(limits::limited(route, service.limits()), Needs::Read)
    };
    let form = |route: MethodRouter<Service>, needs: Needs| {
        access.guard(body::receiving(limits::limited(route, service.limits()), service), needs)
    };
    let change = |name| Needs::Change(Right { verb: "update", subresource: Some(name) });
    let create = Right { verb: "create", subresource: None };
    Router::new()
        .route("/", read(get(overview_page::overview)))
        .route("/stream", read(get(overview_stream::stream)))
        .route("/runs/{id}/stream", read(get(run_stream::stream)))
        .route("/runbooks/{name}", read(get(runbook_page::runbook)))
        .route("/assets/{hash}/{name}", get(assets::asset))
        .route("/page/runbooks/{name}/plan", form(post(runbook_page::plan), Needs::Change(create)))
        .route(
            "/page/runbooks/{name}/start",
            form(post(runbook_page::start), Needs::Change(create)),
        )
        .route("/page/runs/{id}/cancel", form(post(actions::cancel), change("cancel")))
        .route("/page/runs/{id}/resume", form(post(actions::resume), change("resume")))
        .route("/page/runs/{id}/rollback", form(post(actions::rollback), change("rollback")))
        .route("/page/runs/{id}/abandon", form(post(actions::abandon), change("abandon")))
        .route("/page/runs/{id}/approve", form(post(actions::approve), change("approve")))
        .route("/page/runs/{id}/reject", form(post(actions::reject), change("approve")))
}
