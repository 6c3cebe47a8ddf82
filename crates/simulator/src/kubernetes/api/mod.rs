//! The Kubernetes API over HTTP: the verb of each request and the response to it. The kinds come
//! from a table; this module knows no controllers.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};

use clock::Clock;

use crate::authorize::{AccessPolicy, RequiredPermission, ResourceAttributes};
use crate::call_log::CallInfo;
use crate::gateway::{Incoming, ServiceResponse, SimulatedService};

use super::custom;
use super::object::{put, text};
use super::request::{self, Query, ResourcePath};
use super::status_error::StatusError;
use super::store::ObjectStore;
use super::write::{ObjectPart, ObjectWriter};

use mutations::WriteResponse;
use representation::{Representation, to_text};

pub(crate) mod discovery;
pub(crate) mod eviction;
mod mutations;
mod openapi;
mod read;
mod representation;
mod subresource;
mod table;
mod watch;

/// The simulated API server.
pub(crate) struct ApiServer {
    pub(crate) store: Mutex<ObjectStore>,
    pub(crate) clock: Clock,
    /// The cluster's Kubernetes version, as EKS reports it.
    pub(crate) version: String,
    /// The calls that clients may make; all if `None`.
    pub(crate) policy: Option<AccessPolicy>,
}

/// Locks the store, even after a panic elsewhere: every write to the store is complete before its
/// lock is released.
pub(crate) fn lock_store(store: &Mutex<ObjectStore>) -> MutexGuard<'_, ObjectStore> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The API server as a service of the gateway.
pub(crate) struct KubernetesService(pub(crate) Arc<ApiServer>);

impl SimulatedService for KubernetesService {
    fn describe(&self, incoming: &Incoming) -> CallInfo {
        request::describe(incoming)
    }

    async fn respond(&self, incoming: Incoming) -> ServiceResponse {
        let result = match ResourcePath::parse(incoming.path()) {
            Some(target) => self.handle_resource(incoming, target),
            None => self.handle_non_resource(&incoming),
        };
        result.unwrap_or_else(|error| error_response_of(&error))
    }

    fn error_response(
        &self,
        _: &Incoming,
        status: StatusCode,
        code: &str,
        message: &str,
    ) -> ServiceResponse {
        error_response_of(&StatusError::new(status.as_u16(), code, message))
    }

    fn forbidden_response(&self, incoming: &Incoming, why: &str) -> ServiceResponse {
        let mut error = StatusError::new(403, "Forbidden", why);
        if let Some(target) = ResourcePath::parse(incoming.path()) {
            error = error.with_object(target.resource, target.name());
        }
        error_response_of(&error)
    }

    fn throttled_response(&self, _: &Incoming) -> ServiceResponse {
        error_response_of(&StatusError::throttled())
    }
}

impl KubernetesService {
    fn handle_non_resource(&self, incoming: &Incoming) -> Result<ServiceResponse, StatusError> {
        let path = incoming.path();
        if matches!(path, "/healthz" | "/livez" | "/readyz") {
            return Ok(ServiceResponse::new(StatusCode::OK, "text/plain", "ok"));
        }
        let review = match path.strip_prefix("/apis/authorization.k8s.io/v1/") {
            Some("selfsubjectaccessreviews") => Some(review_access as ReviewFunction),
            Some("selfsubjectrulesreviews") => Some(review_rules as ReviewFunction),
            _ => None,
        };
        if let Some(review) = review {
            return answer_review(incoming, review, self.0.policy.as_ref());
        }
        discovery::document(path, &self.0.version)
            .or_else(|| openapi::document(path))
            .map(|document| json_response(StatusCode::OK, &document))
            .or_else(|| discovery::is_unknown_group(path).then(page_not_found))
            .ok_or_else(StatusError::path_not_found)
    }

    fn handle_resource(
        &self,
        incoming: Incoming,
        target: ResourcePath,
    ) -> Result<ServiceResponse, StatusError> {
        let query = Query::parse(incoming.query());
        let verb = request::verb(&incoming.parts.method, &target, &query);
        if let Some(subresource) = &target.subresource
            && !target.resource.subresources.contains(&subresource.as_str())
        {
            return Err(match target.name.as_deref() {
                Some(name) if custom::is_custom(target.resource) => {
                    StatusError::not_found(target.resource, name)
                }
                _ => StatusError::path_not_found(),
            });
        }
        match verb {
            "watch" => {
                let representation = Representation::from_request(&incoming, &query);
                let body =
                    watch::body(&self.0, target, &query, representation, incoming.connection)?;
                let mut response = ServiceResponse::new(StatusCode::OK, "application/json", body);
                response.is_stream = true;
                Ok(response)
            }
            "get" => self.get(&incoming, &target, &query),
            "list" => self.list(&incoming, &target, &query),
            _ => self.write(verb, &incoming, &target, &query),
        }
    }

    fn get(
        &self,
        incoming: &Incoming,
        target: &ResourcePath,
        query: &Query,
    ) -> Result<ServiceResponse, StatusError> {
        let object = lock_store(&self.0.store)
            .read(target.resource.kept(), target.namespace(), target.name())
            .ok_or_else(|| StatusError::not_found(target.resource, target.name()))?;
        let object = object.as_ref();
        let body = match target.subresource.as_deref() {
            None | Some("status") => {
                let representation = Representation::from_request(incoming, query);
                representation.object(target.resource, object, self.0.clock.now())
            }
            Some("scale") => Cow::Owned(subresource::scale_of(object)),
            Some("log") => {
                let logs = subresource::logs(
                    object,
                    query.number("tailLines").and_then(|tail| usize::try_from(tail).ok()),
                );
                return Ok(ServiceResponse::new(StatusCode::OK, "text/plain", logs));
            }
            Some(_) => return Err(StatusError::method_not_allowed()),
        };
        Ok(json_response(StatusCode::OK, &body))
    }

    fn list(
        &self,
        incoming: &Incoming,
        target: &ResourcePath,
        query: &Query,
    ) -> Result<ServiceResponse, StatusError> {
        read::check_options(query)?;
        let page = read::list(&lock_store(&self.0.store), target, query)?;
        let objects = page.objects.iter().map(AsRef::as_ref);
        let representation = Representation::from_request(incoming, query);
        let body =
            representation.list(target.resource, objects, &page.metadata, self.0.clock.now());
        Ok(ServiceResponse::new(StatusCode::OK, "application/json", body + "\n"))
    }

    fn write(
        &self,
        verb: &str,
        incoming: &Incoming,
        target: &ResourcePath,
        query: &Query,
    ) -> Result<ServiceResponse, StatusError> {
        let mut store = lock_store(&self.0.store);
        let mut writer =
            ObjectWriter { store: &mut store, now: self.0.clock.now(), dry_run: query.dry_run() };
        let outcome = dispatch(&mut writer, verb, incoming, target, query)?;
        drop(store);
        let body = if target.subresource.is_some() {
            Cow::Borrowed(&outcome.body)
        } else {
            let representation = Representation::from_request(incoming, query);
            representation.object(target.resource, &outcome.body, self.0.clock.now())
        };
        Ok(json_response(outcome.status, &body).effective(outcome.changed))
    }
}

fn dispatch(
    writer: &mut ObjectWriter<'_>,
    verb: &str,
    incoming: &Incoming,
    target: &ResourcePath,
    query: &Query,
) -> Result<WriteResponse, StatusError> {
    let part = match target.subresource.as_deref() {
        Some("status") => ObjectPart::Status,
        _ => ObjectPart::Main,
    };
    match (verb, target.subresource.as_deref()) {
        ("create", None) if target.name.is_none() => {
            mutations::create(writer, target, request::body(incoming)?)
        }
        ("create", Some("eviction")) => {
            eviction::evict(writer, target, query, &request::body(incoming)?)
        }
        ("create", Some("binding")) => subresource::bind(writer, target, &request::body(incoming)?),
        ("update" | "patch", Some("scale")) => subresource::write_scale(writer, target, incoming),
        ("update", None | Some("status")) if target.name.is_some() => {
            mutations::update(writer, target, part, request::body(incoming)?)
        }
        ("patch", None | Some("status")) if target.name.is_some() => {
            mutations::patch(writer, target, part, incoming, query)
        }
        ("delete" | "deletecollection", None) => {
            let options =
                if incoming.body.is_empty() { Value::Null } else { request::body(incoming)? };
            writer.dry_run |= mutations::is_dry_run(query, &options);
            let deletion = mutations::parse_deletion(query, &options)?;
            match target.name {
                Some(_) => mutations::delete(writer, target, &deletion),
                None => mutations::delete_collection(writer, target, query, &deletion),
            }
        }
        _ => Err(StatusError::method_not_allowed()),
    }
}

/// Returns the API server's response to an unknown path.
fn page_not_found() -> ServiceResponse {
    ServiceResponse::new(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")
}

/// Returns the status of a review.
type ReviewFunction = fn(&Value, Option<&AccessPolicy>) -> Value;

/// Answers what the client may do.
fn answer_review(
    incoming: &Incoming,
    review_function: ReviewFunction,
    policy: Option<&AccessPolicy>,
) -> Result<ServiceResponse, StatusError> {
    if incoming.parts.method != Method::POST {
        return Err(StatusError::method_not_allowed());
    }
    let mut review = request::body(incoming)?;
    let status = review_function(&review, policy);
    put(&mut review, &["status"], status);
    Ok(json_response(StatusCode::CREATED, &review))
}

/// Answers whether the client may make one call. Paths that are not of a resource are allowed.
fn review_access(review: &Value, policy: Option<&AccessPolicy>) -> Value {
    let attributes = review.pointer("/spec/resourceAttributes");
    let (Some(attributes), Some(policy)) = (attributes, policy) else {
        return json!({"allowed": true});
    };
    let owned = |key: &str| text(attributes, &format!("/{key}")).to_owned();
    let given = |key: &str| Some(owned(key)).filter(|value| !value.is_empty());
    let plural = owned("resource");
    let access = ResourceAttributes {
        verb: owned("verb").into(),
        group: owned("group").into(),
        resource: match given("subresource") {
            Some(subresource) => format!("{plural}/{subresource}"),
            None => plural,
        },
        namespace: given("namespace"),
        name: given("name"),
    };
    let permission = RequiredPermission::Kubernetes(access);
    json!({"allowed": policy.check(&permission).is_ok()})
}

/// Lists what the client may do in a namespace.
fn review_rules(review: &Value, policy: Option<&AccessPolicy>) -> Value {
    let all = AccessPolicy::default();
    let rules = policy.unwrap_or(&all).rules_in(text(review, "/spec/namespace"));
    json!({"resourceRules": rules, "nonResourceRules": [], "incomplete": false})
}

fn json_response(status: StatusCode, body: &Value) -> ServiceResponse {
    ServiceResponse::new(status, "application/json", to_text(body) + "\n")
}

fn error_response_of(error: &StatusError) -> ServiceResponse {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = json_response(status, &error.to_status());
    match error.retry_after {
        Some(seconds) => response.with_header(header::RETRY_AFTER, seconds.to_string()),
        None => response,
    }
}
