//! The Kubernetes API over HTTP: which verb a request is, and what it answers. The kinds come from
//! a table; this room knows no controllers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::simulator::front::{Answer, Incoming, Service};
use crate::simulator::record::Operation;

use super::failure::Failure;
use super::object::put;
use super::request::{self, Query, Target};
use super::store::Store;
use super::write::{Part, Writer};

use change::Outcome;
use view::View;

mod change;
pub(crate) mod discovery;
mod eviction;
mod openapi;
mod read;
mod subresource;
mod table;
mod view;
mod watch;

/// The simulated API server.
pub(crate) struct ApiServer {
    pub(crate) store: Mutex<Store>,
    /// The cluster's version, as EKS says it.
    pub(crate) version: String,
}

/// The store, even after a panic elsewhere: every write to it is whole before the lock is let go.
pub(crate) fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The API server as the front sees it.
pub(crate) struct Api(pub(crate) Arc<ApiServer>);

impl Service for Api {
    fn describe(&self, incoming: &Incoming) -> Operation {
        request::describe(incoming)
    }

    async fn answer(&self, incoming: Incoming) -> Answer {
        let answered = match Target::parse(incoming.path()) {
            Some(target) => self.about_objects(incoming, target),
            None => self.about_itself(&incoming),
        };
        answered.unwrap_or_else(|failure| refusal(&failure))
    }

    fn refuse(&self, _: &Incoming, status: StatusCode, code: &str, message: &str) -> Answer {
        refusal(&Failure::new(status.as_u16(), code, message))
    }

    fn forbid(&self, incoming: &Incoming, why: &str) -> Answer {
        let mut failure = Failure::new(403, "Forbidden", why);
        if let Some(target) = Target::parse(incoming.path()) {
            failure = failure.about(target.resource, target.name());
        }
        refusal(&failure)
    }

    fn throttle(&self, _: &Incoming) -> Answer {
        refusal(&Failure::throttled())
    }
}

impl Api {
    fn about_itself(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let path = incoming.path();
        if matches!(path, "/healthz" | "/livez" | "/readyz") {
            return Ok(Answer::new(StatusCode::OK, "text/plain", "ok"));
        }
        if path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" {
            return access_review(incoming);
        }
        discovery::document(path, &self.0.version)
            .or_else(|| openapi::document(path))
            .map(|document| json_answer(StatusCode::OK, &document))
            .or_else(|| discovery::is_unknown_group(path).then(no_such_page))
            .ok_or_else(Failure::no_such_path)
    }

    fn about_objects(&self, incoming: Incoming, target: Target) -> Result<Answer, Failure> {
        let query = Query::parse(incoming.query());
        let verb = request::verb(&incoming.parts.method, &target, &query);
        if let Some(subresource) = &target.subresource
            && !target.resource.subresources.contains(&subresource.as_str())
        {
            return Err(Failure::no_such_path());
        }
        match verb {
            "watch" => {
                let view = View::of(&incoming, &query);
                let body = watch::body(&self.0, target, &query, view, incoming.wire)?;
                let mut answer = Answer::new(StatusCode::OK, "application/json", body);
                answer.stream = true;
                Ok(answer)
            }
            "get" => self.get(&incoming, &target, &query),
            "list" => self.list(&incoming, &target, &query),
            _ => self.write(verb, &incoming, &target, &query),
        }
    }

    fn get(&self, incoming: &Incoming, target: &Target, query: &Query) -> Result<Answer, Failure> {
        let store = lock(&self.0.store);
        let object = store
            .get(target.resource, target.space(), target.name())
            .ok_or_else(|| Failure::not_found(target.resource, target.name()))?;
        let body = match target.subresource.as_deref() {
            None | Some("status") => {
                let view = View::of(incoming, query);
                view.one(target.resource, object, Timestamp::now())
            }
            Some("scale") => subresource::scale_of(object),
            Some("log") => {
                let logs = subresource::logs(object);
                return Ok(Answer::new(StatusCode::OK, "text/plain", logs));
            }
            Some(_) => return Err(Failure::method_not_allowed()),
        };
        Ok(json_answer(StatusCode::OK, &body))
    }

    fn list(&self, incoming: &Incoming, target: &Target, query: &Query) -> Result<Answer, Failure> {
        read::check_options(query)?;
        let page = read::list(&lock(&self.0.store), target, query)?;
        let objects = page.objects.iter().map(AsRef::as_ref);
        let view = View::of(incoming, query);
        let body = view.many(target.resource, objects, page.metadata, Timestamp::now());
        Ok(json_answer(StatusCode::OK, &body))
    }

    fn write(
        &self,
        verb: &str,
        incoming: &Incoming,
        target: &Target,
        query: &Query,
    ) -> Result<Answer, Failure> {
        let mut store = lock(&self.0.store);
        let mut writer =
            Writer { store: &mut store, now: Timestamp::now(), dry_run: query.dry_run() };
        let outcome = dispatch(&mut writer, verb, incoming, target, query)?;
        let view = View::of(incoming, query);
        let body = match view {
            View::Whole => outcome.body,
            _ if target.subresource.is_some() => outcome.body,
            view => view.one(target.resource, &outcome.body, Timestamp::now()),
        };
        Ok(json_answer(outcome.status, &body).effective(outcome.changed))
    }
}

fn dispatch(
    writer: &mut Writer<'_>,
    verb: &str,
    incoming: &Incoming,
    target: &Target,
    query: &Query,
) -> Result<Outcome, Failure> {
    let part = match target.subresource.as_deref() {
        Some("status") => Part::Status,
        _ => Part::Main,
    };
    match (verb, target.subresource.as_deref()) {
        ("create", None) if target.name.is_none() => {
            change::create(writer, target, request::body(incoming)?)
        }
        ("create", Some("eviction")) => {
            eviction::evict(writer, target, query, &request::body(incoming)?)
        }
        ("create", Some("binding")) => subresource::bind(writer, target, &request::body(incoming)?),
        ("update" | "patch", Some("scale")) => subresource::write_scale(writer, target, incoming),
        ("update", None | Some("status")) if target.name.is_some() => {
            change::update(writer, target, part, request::body(incoming)?)
        }
        ("patch", None | Some("status")) if target.name.is_some() => {
            change::patch(writer, target, part, incoming, query)
        }
        ("delete" | "deletecollection", None) => {
            let options = match incoming.body.is_empty() {
                true => Value::Null,
                false => request::body(incoming)?,
            };
            writer.dry_run |= change::asks_dry_run(query, &options);
            let deletion = change::deletion(query, &options)?;
            match target.name {
                Some(_) => change::delete(writer, target, &deletion),
                None => change::delete_collection(writer, target, query, &deletion),
            }
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

/// What the API server answers where nobody is responsible.
fn no_such_page() -> Answer {
    Answer::new(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")
}

/// Everybody may do everything here.
fn access_review(incoming: &Incoming) -> Result<Answer, Failure> {
    if incoming.parts.method != Method::POST {
        return Err(Failure::method_not_allowed());
    }
    let mut review = request::body(incoming)?;
    put(&mut review, &["status"], json!({"allowed": true}));
    Ok(json_answer(StatusCode::CREATED, &review))
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    Answer::new(status, "application/json", body.to_string() + "\n")
}

fn refusal(failure: &Failure) -> Answer {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = json_answer(status, &failure.status());
    match failure.retry_after {
        Some(seconds) => answer.with_header(header::RETRY_AFTER, seconds.to_string()),
        None => answer,
    }
}
