//! The table of the routes of the API.

use std::sync::LazyLock;

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};

use super::{
    Service,
    auth::{Access, Needs, Right},
    events, monitoring, openapi, page,
    responses::{
        AnswerTaken, Done, Health, Ready, Refused, Runbooks, RunsPage, Started, Status, Valid,
    },
    route::{Content, Operation, Route, RouteBody},
    routes::{
        self, ApproveBody, EventsQuery, PlanBody, PlanQuery, RejectBody, ResumeBody, RunsQuery,
        StartBody, StartQuery, StatusQuery, ValidateQuery,
    },
};
use crate::{journal::RunSummary, plan::Plan};
use runbook::MAX_BYTES;

/// The media type of a journal: JSON lines.
pub(super) const JSON_LINES: &str = "application/jsonl";
/// The media type of events that are sent as they happen, one line each.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// The media type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// The paths of the API, which never change while the process runs.
pub(super) static PATHS: LazyLock<Vec<&str>> =
    LazyLock::new(|| routes().iter().map(|route| route.path).collect());

/// Returns all routes of the API.
pub(super) fn routes() -> Vec<Route> {
    // HEAD would otherwise be answered by the handler of GET, and start a run.
    let start = get(routes::start).post(routes::start).head(routes::method_not_allowed);
    let run_changes = |name| Needs::Change(Right { verb: "update", subresource: Some(name) });
    vec![
        // A probe is answered whatever else is going on: many at once cost no more than one.
        Route::new("/health", Needs::Nothing, get(routes::health))
            .unlimited()
            .with(Operation::get("Says that the process is alive").answers::<Health>("It is.")),
        Route::new("/ready", Needs::Nothing, get(routes::ready)).unlimited().with(
            Operation::get("Says whether a run could be started now")
                .answers::<Ready>("It could.")
                .or::<Refused>(StatusCode::SERVICE_UNAVAILABLE, "The store cannot be written."),
        ),
        Route::new("/openapi.json", Needs::Nothing, get(openapi::document)).with(
            Operation::get("Returns this document").answer(
                StatusCode::OK,
                "An OpenAPI 3.1 document.",
                vec![Content { media_type: "application/json", schema: None }],
            ),
        ),
        // Those that ask at once about the run that this service drives wait for one answer.
        Route::new("/status", Needs::Status, get(routes::status)).unlimited().with(
            Operation::get(
                "Returns the state of a run: the one that is named, the active one, or the latest",
            )
            .query::<StatusQuery>()
            .answers::<Status>("The state, and the log lines.")
            .or::<Refused>(StatusCode::NOT_FOUND, "No such run."),
        ),
        Route::new("/metrics", Needs::Status, get(monitoring::metrics)).with(
            Operation::get("Returns the metrics of the service, as Prometheus reads them").answer(
                StatusCode::OK,
                "The metrics, in the OpenMetrics or the Prometheus text format.",
                vec![
                    Content { media_type: "application/openmetrics-text", schema: None },
                    Content { media_type: "text/plain", schema: None },
                ],
            ),
        ),
        Route::new("/run", Needs::Change(Right { verb: "create", subresource: None }), start)
            .taking(RouteBody::Short)
            .with(starting(Operation::get(
                "Starts a run of a runbook, unless it has just succeeded on the same target",
            )))
            .with(starting(Operation::post("Starts a run of a runbook").body::<StartBody>())),
        Route::new(
            "/plan",
            Needs::Change(Right { verb: "create", subresource: None }),
            post(routes::plan),
        )
        .taking(RouteBody::Short)
        .with(
            Operation::post("Returns the plan of a run, which changes nothing")
                .query::<PlanQuery>()
                .body::<PlanBody>()
                .answers::<Plan>("The plan.")
                .or::<Refused>(StatusCode::NOT_FOUND, "No such runbook.")
                .or::<Refused>(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "The runbook or the inputs are invalid.",
                )
                .or::<Refused>(
                    StatusCode::BAD_GATEWAY,
                    "The cluster or the account could not be read.",
                ),
        ),
        // The limit of this route is its queue.
        Route::new("/validate", Needs::Read, post(routes::validate))
            .unlimited()
            .taking(RouteBody::UpTo(MAX_BYTES))
            .with(
                Operation::post("Checks the text of a runbook, which is then forgotten")
                    .query::<ValidateQuery>()
                    .text_body("application/yaml")
                    .answers::<Valid>("It has no errors.")
                    .or::<Refused>(StatusCode::UNPROCESSABLE_ENTITY, "It has errors."),
            ),
        Route::new("/runbooks", Needs::Read, get(routes::runbooks))
            .with(Operation::get("Lists the runbooks").answers::<Runbooks>("Their names.")),
        Route::new("/runs", Needs::Read, get(routes::runs)).with(
            Operation::get("Lists runs, the newest first")
                .query::<RunsQuery>()
                .answers::<RunsPage>("A page of them."),
        ),
        Route::new("/runs/{id}", Needs::Read, get(page::run_or_json)).with(
            Operation::get("Returns a run with its steps")
                .answers::<RunSummary>("The run.")
                .or::<Refused>(StatusCode::NOT_FOUND, "No such run."),
        ),
        // A stream has a limit of its own.
        Route::new("/runs/{id}/events", reads_journal(), get(events::events)).unlimited().with(
            Operation::get(
                "Sends the events of a run: those that there are, and those that follow",
            )
            .query::<EventsQuery>()
            .answer(
                StatusCode::OK,
                "The events, until no process drives the run.",
                vec![
                    Content::of::<events::EventSchema>(NDJSON),
                    Content { media_type: EVENT_STREAM, schema: None },
                ],
            )
            .or::<Refused>(StatusCode::NOT_FOUND, "No such run.")
            .or::<Refused>(StatusCode::SERVICE_UNAVAILABLE, "Too many streams are open."),
        ),
        Route::new("/runs/{id}/journal", reads_journal(), get(events::journal)).with(
            Operation::get("Returns the journal of a run as a file of JSON lines")
                .answer(
                    StatusCode::OK,
                    "The journal, with its checksums.",
                    vec![Content { media_type: JSON_LINES, schema: None }],
                )
                .or::<Refused>(StatusCode::NOT_FOUND, "No such run."),
        ),
        Route::new("/runs/{id}/cancel", run_changes("cancel"), post(routes::cancel))
            .with(changing::<Done>("Asks a run to stop")),
        Route::new("/runs/{id}/approve", run_changes("approve"), post(routes::approve))
            .taking(RouteBody::Short)
            .with(
                changing::<AnswerTaken>("Approves a step that waits for it").body::<ApproveBody>(),
            ),
        Route::new("/runs/{id}/reject", run_changes("approve"), post(routes::reject))
            .taking(RouteBody::Short)
            .with(
                changing::<AnswerTaken>("Rejects a step that waits for approval")
                    .body::<RejectBody>(),
            ),
        Route::new("/runs/{id}/resume", run_changes("resume"), post(routes::resume))
            .taking(RouteBody::Short)
            .with(changing::<Started>("Resumes an unfinished run").body::<ResumeBody>()),
        Route::new("/runs/{id}/rollback", run_changes("rollback"), post(routes::rollback))
            .with(changing::<Started>("Undoes the changes of an unfinished run")),
        Route::new("/runs/{id}/abandon", run_changes("abandon"), post(routes::abandon))
            .with(changing::<Done>("Declares an unfinished run to be over; nothing is touched")),
    ]
}

fn reads_journal() -> Needs {
    Needs::Private(Right { verb: "get", subresource: None })
}

/// Returns the router of the API.
pub(super) fn router(service: &Service, access: &Access) -> Router<Service> {
    routes().into_iter().fold(Router::new(), |router, route| {
        let path = route.path;
        router.route(path, route.into_handler(service, access))
    })
}

fn starting(operation: Operation) -> Operation {
    operation
        .query::<StartQuery>()
        .answers::<Started>("The run is accepted and goes on by itself.")
        .or::<Refused>(StatusCode::NOT_FOUND, "No such runbook.")
        .or::<Refused>(
            StatusCode::CONFLICT,
            "Another run has the target, a finding speaks against the run, or no change window is open.",
        )
        .or::<Refused>(StatusCode::UNPROCESSABLE_ENTITY, "The runbook or the inputs are invalid.")
        .or::<Refused>(StatusCode::BAD_GATEWAY, "The cluster or the account refused a call.")
}

fn changing<T: schemars::JsonSchema>(summary: &'static str) -> Operation {
    Operation::post(summary)
        .answers::<T>("It is done, or begun.")
        .or::<Refused>(StatusCode::NOT_FOUND, "No such run.")
        .or::<Refused>(StatusCode::CONFLICT, "The state of the run does not allow it.")
        .or::<Refused>(StatusCode::BAD_GATEWAY, "The cluster or the account refused a call.")
}
