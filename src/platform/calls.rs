//! The observer of the calls to the platforms, and of the lease of the cluster: one hook that both clients have. What a
//! request is about is not told: only a service, an operation of a bounded number of them, and how it ended.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use http::{Method, Request, Response};
use tower::Service;

/// An observer of a platform. It must return at once: the call waits for it.
pub trait PlatformObserver: Send + Sync {
    /// Takes note of a request that was answered, failed, or is not waited for any more.
    fn on_call(&self, call: &ObservedCall<'_>);

    /// Takes note of a change of this process's hold on the cluster.
    fn on_lease(&self, change: LeaseChange);

    /// Takes note of a call that a step of a run has made, with what it was about. Watches are not among these calls.
    fn on_call_of_step(&self, call: &CallOfStep<'_>) {
        let _ = call;
    }
}

/// The step for which calls are made.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The id of the run.
    pub run: Arc<str>,
    /// The path of the step.
    pub step: Arc<str>,
}

tokio::task_local! {
    static CALLER: Caller;
}

impl Caller {
    /// Does work whose calls are those of the step.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CALLER.scope(self, work).await
    }
}

/// A call that a step of a run has made.
#[derive(Debug, Clone, Copy)]
pub struct CallOfStep<'c> {
    /// The step.
    pub caller: &'c Caller,
    /// The service, as in [`ObservedCall`].
    pub service: &'static str,
    /// The call with what it is about, such as `get node ip-10-0-0-1`; of AWS, the operation alone.
    pub name: &'c str,
    /// When it was sent, by the wall clock.
    pub started: SystemTime,
    /// The time until it was answered.
    pub duration: Duration,
    /// Why it failed, where it did.
    pub error: Option<&'c str>,
}

/// One request to a platform. A call that is retried has several.
#[derive(Debug, Clone, Copy)]
pub struct ObservedCall<'c> {
    /// The service: `kubernetes`, `eks`, `autoscaling`, `ec2`, `iam` or `sts`.
    pub service: &'static str,
    /// The operation, such as `list nodes` or `DescribeNodegroup`. It names no object, and there is a bounded number of
    /// them.
    pub operation: &'c str,
    /// How it ended.
    pub end: CallEnd,
    /// The time until that. Of a request to Kubernetes, it is the time until the response began.
    pub duration: Duration,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// With a response of this HTTP status.
    Answered(u16),
    /// Without a response.
    Failed,
    /// Its caller did not wait any longer: a time limit, or the end of the run.
    Dropped,
}

/// A change of this process's hold on a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChange {
    /// The lease was taken.
    Taken,
    /// The lease was given back: the run has ended, or waits for persons.
    GivenBack,
    /// Another process took it, or it could not be renewed.
    Lost,
}

/// Several observers as one.
pub struct Observers(pub Vec<Arc<dyn PlatformObserver>>);

impl PlatformObserver for Observers {
    fn on_call(&self, call: &ObservedCall<'_>) {
        self.0.iter().for_each(|observer| observer.on_call(call));
    }

    fn on_lease(&self, change: LeaseChange) {
        self.0.iter().for_each(|observer| observer.on_lease(change));
    }

    fn on_call_of_step(&self, call: &CallOfStep<'_>) {
        self.0.iter().for_each(|observer| observer.on_call_of_step(call));
    }
}

/// The place of the observer, which the clients share. Empty until one is set.
#[derive(Clone, Default)]
pub(super) struct Hook(Arc<OnceLock<Arc<dyn PlatformObserver>>>);

impl Hook {
    /// Sets the observer, once.
    pub(super) fn set(&self, observer: Arc<dyn PlatformObserver>) {
        // The first one stays.
        let _ = self.0.set(observer);
    }

    pub(super) fn on_lease(&self, change: LeaseChange) {
        if let Some(observer) = self.0.get() {
            observer.on_lease(change);
        }
    }

    /// Begins to observe a call of a step; none where no step makes it, or there is no observer.
    pub(super) fn begin_call_of_step(&self) -> Option<StepObservation> {
        let observer = Arc::clone(self.0.get()?);
        let caller = CALLER.try_with(Caller::clone).ok()?;
        Some(StepObservation {
            observer,
            caller,
            started: SystemTime::now(),
            since: Instant::now(),
        })
    }

    /// Begins to observe a request.
    pub(super) fn begin(&self, service: &'static str, operation: impl Into<String>) -> Observation {
        Observation {
            hook: self.clone(),
            service,
            operation: operation.into(),
            started: Instant::now(),
            has_ended: AtomicBool::new(false),
        }
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// A call of a step that is in flight.
pub(super) struct StepObservation {
    observer: Arc<dyn PlatformObserver>,
    caller: Caller,
    started: SystemTime,
    since: Instant,
}

impl StepObservation {
    pub(super) fn end(&self, service: &'static str, name: &str, error: Option<&str>) {
        let (caller, started, duration) = (&self.caller, self.started, self.since.elapsed());
        let call = CallOfStep { caller, service, name, started, duration, error };
        self.observer.on_call_of_step(&call);
    }
}

impl std::fmt::Debug for StepObservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepObservation").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// A request that is in flight. Dropped without an end, nothing waits for it any more.
#[derive(Debug)]
pub(super) struct Observation {
    hook: Hook,
    service: &'static str,
    operation: String,
    started: Instant,
    has_ended: AtomicBool,
}

impl Observation {
    /// Takes note of the end of the request; the first one counts.
    pub(super) fn end(&self, end: CallEnd) {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(observer) = self.hook.0.get() {
            let (service, operation) = (self.service, self.operation.as_str());
            let duration = self.started.elapsed();
            observer.on_call(&ObservedCall { service, operation, end, duration });
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.end(CallEnd::Dropped);
    }
}

/// A service of Kubernetes whose requests are observed.
#[derive(Debug, Clone)]
pub(super) struct ObservedCalls<S> {
    service: S,
    hook: Hook,
}

impl<S> ObservedCalls<S> {
    pub(super) fn new(service: S, hook: &Hook) -> Self {
        Self { service, hook: hook.clone() }
    }
}

impl<S, R, B> Service<Request<R>> for ObservedCalls<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let (uri, method) = (request.uri(), request.method());
        let operation = kubernetes_operation(method, uri.path(), uri.query().unwrap_or_default());
        let observation = self.hook.begin("kubernetes", operation);
        let response = self.service.call(request);
        Box::pin(async move {
            let response = response.await;
            observation.end(match &response {
                Ok(response) => CallEnd::Answered(response.status().as_u16()),
                Err(_) => CallEnd::Failed,
            });
            response
        })
    }
}

/// The resources that are told apart. A runbook may name any kind, and there is no bound on those.
const RESOURCES: &[&str] = &[
    "configmaps",
    "controllerrevisions",
    "customresourcedefinitions",
    "daemonsets",
    "deployments",
    "events",
    "horizontalpodautoscalers",
    "jobs",
    "leases",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "pods",
    "replicasets",
    "runbookruns",
    "runevents",
    "secrets",
    "selfsubjectaccessreviews",
    "services",
    "statefulsets",
    "subjectaccessreviews",
    "tokenreviews",
    "validatingadmissionpolicies",
    "volumeattachments",
];

const SUBRESOURCES: &[&str] = &["eviction", "log", "scale", "status"];

/// Returns the verb and the resource of a request, as RBAC names them: `list nodes`, `create pods/eviction`.
fn kubernetes_operation(method: &Method, path: &str, query: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let (resource, name, subresource) = match *rest {
        [] => return "get discovery".into(),
        ["namespaces", _, resource, ref more @ ..]
            if !matches!(resource, "status" | "finalize") =>
        {
            (resource, more.first(), more.get(1))
        }
        [resource, ref more @ ..] => (resource, more.first(), more.get(1)),
    };
    let is_set = |name: &str| {
        query.split('&').any(|parameter| {
            parameter.strip_prefix(name).is_some_and(|value| matches!(value, "=true" | "=1"))
        })
    };
    let verb = match (method.as_str(), name) {
        ("GET", None) if is_set("watch") => "watch",
        ("GET", None) => "list",
        ("GET", Some(_)) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", None) => "deletecollection",
        ("DELETE", Some(_)) => "delete",
        _ => "other",
    };
    let known = |name: &str, known: &'static [&'static str]| {
        known.iter().find(|other| **other == name).copied().unwrap_or("other")
    };
    let resource = known(resource, RESOURCES);
    match subresource {
        Some(subresource) => format!("{verb} {resource}/{}", known(subresource, SUBRESOURCES)),
        None => format!("{verb} {resource}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(String, CallEnd)>>);

    impl PlatformObserver for Recorder {
        fn on_call(&self, call: &ObservedCall<'_>) {
            let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            calls.push((call.operation.to_owned(), call.end));
        }

        fn on_lease(&self, _: LeaseChange) {}
    }

    #[test]
    fn an_operation_is_a_verb_and_a_resource_and_names_no_object() {
        for (method, address, operation) in [
            (Method::GET, "/api/v1/nodes", "list nodes"),
            (Method::GET, "/api/v1/nodes?limit=5&watch=true", "watch nodes"),
            (Method::GET, "/api/v1/nodes?labelSelector=watch%3Dtrue", "list nodes"),
            (Method::PATCH, "/api/v1/nodes/ip-10-0-0-1", "patch nodes"),
            (Method::GET, "/api/v1/namespaces/kube-system", "get namespaces"),
            (Method::GET, "/api/v1/namespaces", "list namespaces"),
            (Method::POST, "/api/v1/namespaces/a/pods/b/eviction", "create pods/eviction"),
            (
                Method::PUT,
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "update deployments/scale",
            ),
            (Method::DELETE, "/apis/batch/v1/namespaces/a/jobs/b", "delete jobs"),
            (Method::DELETE, "/apis/batch/v1/namespaces/a/jobs", "deletecollection jobs"),
            (Method::GET, "/apis/example.com/v1/namespaces/a/anythings/b/x", "get other/other"),
            (Method::GET, "/apis/apps/v1", "get discovery"),
            (Method::GET, "/version", "get discovery"),
            (Method::OPTIONS, "/api/v1/pods", "other pods"),
        ] {
            let (path, query) = address.split_once('?').unwrap_or((address, ""));
            assert_eq!(kubernetes_operation(&method, path, query), operation, "{method} {address}");
        }
    }

    #[test]
    fn a_request_has_one_end_and_one_that_is_dropped_has_it_too() {
        let (hook, recorder) = (Hook::default(), Arc::new(Recorder::default()));
        drop(hook.begin("eks", "BeforeTheObserver"));
        hook.set(Arc::clone(&recorder) as Arc<dyn PlatformObserver>);
        let observation = hook.begin("eks", "DescribeCluster");
        observation.end(CallEnd::Answered(200));
        drop(observation);
        drop(hook.begin("eks", "ListNodegroups"));
        let calls = recorder.0.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = [
            ("DescribeCluster".to_owned(), CallEnd::Answered(200)),
            ("ListNodegroups".to_owned(), CallEnd::Dropped),
        ];
        assert_eq!(*calls, expected);
    }
}
