//! The Kubernetes client. [`KubernetesReader`] only reads; [`KubernetesWriter`] changes things, one object per call,
//! and never repeats a call that may have taken effect. This module is independent of AWS and of the actions.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListMeta, ListParams, LogParams};
use kube::core::{ClusterResourceScope, NamespaceResourceScope, Resource};
use serde::de::DeserializeOwned;

use clock::{Backoff, Clock};

use super::error::{Classified, Error, ErrorKind};

mod access;
mod any_object;
mod collect;
mod connect;
mod error;
pub mod job;
mod lease;
mod list_watch;
mod metadata;
pub mod node;
mod object_watch;
pub mod pod;
mod proxy;
pub mod rollout;
mod run_objects;
#[cfg(test)]
mod tests;
mod token_review;
mod writer;

pub use access::AccessQuestion;
pub use any_object::{AnyObject, ObjectAddress};
pub use collect::{Collected, ListedKind};
pub(super) use connect::{Connection, Connector};
pub use error::budget_message;
pub use lease::{LEASE_NAME, LEASE_NAMESPACE, LeaseClient};
pub use object_watch::{ObjectView, ObjectWatch};
pub use run_objects::{
    ENCODING, RunCondition, RunEvents, RunEventsPart, RunObjects, RunbookRun, RunbookRunSpec,
    RunbookRunStatus,
};
pub use token_review::{AccessAnswer, TokenUser};
pub use writer::{KubernetesWriter, Removal};

/// The page size of `kubectl`; a page of 500 pods is about 5 MB.
const PAGE_SIZE: u32 = 500;
/// How often a list begins again whose version was compacted away between two pages. etcd is compacted every five
/// minutes, and a list takes seconds.
const MAX_RESTARTS: u32 = 3;
/// The number of attempts of a read that fails because of throttling or a lost connection.
const MAX_READ_ATTEMPTS: u32 = 4;
/// The longest delay between two attempts, also where the API server asks for a longer one: the caller has a deadline
/// of its own.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// The delays between attempts, where the API server does not ask for one.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), MAX_BACKOFF).with_jitter(0.25);
/// A page of 500 pods over a slow VPN takes a few seconds; a read with all its attempts ends within a minute.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Where objects of a kind live. Sealed: Kubernetes has these two scopes.
pub trait ApiScope: sealed::Sealed {
    /// The API of a kind in `namespace`, or everywhere.
    #[doc(hidden)]
    fn api<K>(client: kube::Client, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = Self>;
}

impl ApiScope for NamespaceResourceScope {
    fn api<K>(client: kube::Client, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = Self>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }
}

impl ApiScope for ClusterResourceScope {
    fn api<K>(client: kube::Client, _namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = Self>,
    {
        Api::all(client)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for kube::core::NamespaceResourceScope {}
    impl Sealed for kube::core::ClusterResourceScope {}
}

/// Any kind of object that Kubernetes itself serves, such as `Node` or `Pod`.
pub trait Object:
    Resource<DynamicType = (), Scope: ApiScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope: ApiScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// An object that can be listed and watched, of a kind that is known when the program is built or only in a run.
pub trait Listed: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K> Listed for K where K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

/// The selected objects of a kind, and the API that serves them.
struct Listing<K> {
    api: Api<K>,
    selection: Selection,
    /// The objects in error messages.
    description: String,
}

/// Which objects of a kind are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// A label selector, such as `app=rafay-relay,tier!=test`.
    pub labels: Option<String>,
    /// A field selector, such as `spec.nodeName=ip-10-0-0-1`.
    pub fields: Option<String>,
    /// The UIDs of the objects that are kept; all if there is none.
    uids: Option<Arc<BTreeSet<String>>>,
    /// How many objects a page has, where they are larger than others.
    page_size: Option<u32>,
}

impl Selection {
    /// Every object of the kind.
    pub fn all() -> Self {
        Self::default()
    }

    /// Every object of the kind in a namespace.
    pub fn in_namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }

    /// Of these, those that match a label selector.
    #[must_use]
    pub fn with_labels(mut self, selector: impl Into<String>) -> Self {
        self.labels = Some(selector.into());
        self
    }

    /// Of these, those that match a field selector.
    #[must_use]
    pub fn with_fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = Some(selector.into());
        self
    }

    /// Of these, those with these UIDs. The API server cannot select by them: the others are read and not kept.
    #[must_use]
    pub fn with_uids(mut self, uids: BTreeSet<String>) -> Self {
        self.uids = Some(Arc::new(uids));
        self
    }

    /// The same, in pages of this size.
    #[must_use]
    pub fn with_page_size(mut self, size: u32) -> Self {
        self.page_size = Some(size);
        self
    }

    /// Of these, those that an object's own selector matches. A selector with an unknown operator is
    /// ignored, so the caller must check the owners too.
    #[must_use]
    pub fn matching(self, selector: &LabelSelector) -> Self {
        match kube::core::Selector::try_from(selector.clone()) {
            Ok(selector) => self.with_labels(selector.to_string()),
            Err(_) => self,
        }
    }

    /// Of these, the one of this name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.with_fields(format!("metadata.name={name}"))
    }

    /// Returns whether an object that the API server has sent is kept.
    fn keeps<K: Resource>(&self, object: &K) -> bool {
        let uid = object.meta().uid.as_ref();
        self.uids.as_ref().is_none_or(|uids| uid.is_some_and(|uid| uids.contains(uid)))
    }

    fn list_params(&self) -> ListParams {
        ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(self.page_size.unwrap_or(PAGE_SIZE)),
            ..ListParams::default()
        }
    }

    /// For error messages: `pods in rafay-core with app=rafay-relay`.
    fn describe<K: Object>(&self) -> String {
        let mut text = K::plural(&()).into_owned();
        if let Some(namespace) = &self.namespace {
            text.push_str(&format!(" in {namespace}"));
        }
        for selector in [&self.labels, &self.fields].into_iter().flatten() {
            text.push_str(&format!(" with {selector}"));
        }
        text
    }
}

/// The contents of the pages of a list.
struct Pages<T> {
    /// The objects, or what was kept of them.
    items: Vec<T>,
    /// The metadata of the last page, which has the version of the list.
    metadata: ListMeta,
    /// How many pages were read.
    count: u32,
}

/// Reads from a cluster.
#[derive(Clone)]
pub struct KubernetesReader {
    connection: Arc<Connection>,
}

impl KubernetesReader {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// The API server's address.
    pub fn server(&self) -> &str {
        &self.connection.server
    }

    /// The kubeconfig's context, if one was used.
    pub fn context(&self) -> Option<&str> {
        self.connection.context.as_deref()
    }

    /// The certificates, in DER, of the authorities that the API server's certificate is checked against; none where it
    /// is not checked, or against those of the system.
    pub fn authorities(&self) -> &[Vec<u8>] {
        &self.connection.authorities
    }

    /// Returns the clock for delays.
    pub fn clock(&self) -> &Clock {
        &self.connection.clock
    }

    /// Returns one object; none if it does not exist.
    ///
    /// # Errors
    /// The call failed, repeatedly where that can help.
    pub async fn get<K: Object>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<K>, Error> {
        let api = self.connection.api::<K>(namespace);
        let call = format!("get {}", object_ref::<K>(namespace, name));
        self.connection.read(&call, MAX_READ_ATTEMPTS, || api.get_opt(name)).await
    }

    /// Returns all selected objects, read in pages.
    ///
    /// # Errors
    /// A page failed, repeatedly where that can help.
    pub async fn list<K: Object>(&self, selection: &Selection) -> Result<Vec<K>, Error> {
        let listing = self.connection.listing::<K>(selection);
        Ok(self.connection.list(&listing, MAX_READ_ATTEMPTS).await?.items)
    }

    /// Returns the last lines of what a container of a pod has written, at most about `limit_bytes` of them.
    ///
    /// # Errors
    /// The call failed, or the pod is gone.
    pub async fn log_tail(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        lines: u32,
        limit_bytes: u32,
    ) -> Result<String, Error> {
        let api = self.connection.api::<Pod>(Some(namespace));
        let call = format!("get log of {}", object_ref::<Pod>(Some(namespace), pod));
        let params = LogParams {
            container: container.map(str::to_owned),
            tail_lines: Some(lines.into()),
            limit_bytes: Some(limit_bytes.into()),
            ..LogParams::default()
        };
        self.connection.read(&call, MAX_READ_ATTEMPTS, || api.logs(pod, &params)).await
    }

    /// Returns the live set of the selected objects, kept current by a watch for as long as it is awaited.
    pub fn watch<K: Object>(&self, selection: &Selection) -> ObjectWatch<K> {
        ObjectWatch::new(Arc::clone(&self.connection), self.connection.listing(selection))
    }
}

impl Connection {
    fn api<K: Object>(&self, namespace: Option<&str>) -> Api<K> {
        <K as Resource>::Scope::api(self.client.clone(), namespace)
    }

    fn listing<K: Object>(&self, selection: &Selection) -> Listing<K> {
        Listing {
            api: self.api(selection.namespace.as_deref()),
            selection: selection.clone(),
            description: selection.describe::<K>(),
        }
    }

    /// Reads the selected objects in pages, each with this many attempts.
    async fn list<K: Listed>(
        &self,
        listing: &Listing<K>,
        max_attempts: u32,
    ) -> Result<Pages<K>, Error> {
        self.list_kept(listing, max_attempts, |object| object).await
    }

    /// The same, with what `keep` makes of each object as soon as its page has been read.
    async fn list_kept<K: Listed, T>(
        &self,
        listing: &Listing<K>,
        max_attempts: u32,
        keep: impl Fn(K) -> T,
    ) -> Result<Pages<T>, Error> {
        let api = &listing.api;
        let call = format!("list {}", listing.description);
        let mut params = listing.selection.list_params();
        let mut found = Vec::new();
        let mut restarts = 0;
        let mut count = 0;
        loop {
            count += 1;
            let page = self.read(&call, max_attempts, || api.list(&params)).await;
            let mut page = match page {
                // The list's version was compacted away between two pages. In one piece, as client-go asks then, it
                // could be longer than a response may be.
                Err(error)
                    if is_expired(&error)
                        && params.continue_token.is_some()
                        && restarts < MAX_RESTARTS =>
                {
                    restarts += 1;
                    found.clear();
                    params.continue_token = None;
                    continue;
                }
                page => page?,
            };
            let kept = page.items.into_iter().filter(|object| listing.selection.keeps(object));
            found.extend(kept.map(&keep));
            match page.metadata.continue_.take().filter(|token| !token.is_empty()) {
                None => return Ok(Pages { items: found, metadata: page.metadata, count }),
                // A server that repeats itself would be asked without a pause and without an end.
                Some(token) if params.continue_token.as_ref() == Some(&token) => {
                    return Err(Error::InvalidResponse {
                        call: call.into(),
                        server: self.server.as_str().into(),
                        message: "two pages in a row have the same continue token".into(),
                    });
                }
                Some(token) => params.continue_token = Some(token),
            }
        }
    }

    /// Sends a call that changes nothing, and retries transient failures.
    async fn read<T, F>(
        &self,
        call: &str,
        max_attempts: u32,
        send: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let mut delays = BACKOFF.delays();
        for _ in 1..max_attempts {
            match self.send(call, READ_TIMEOUT, send()).await {
                Err(error) if error.kind() == ErrorKind::Transient && !is_expired(&error) => {
                    tracing::debug!(%error, "retrying a read from Kubernetes");
                    let delay = delays.next_delay();
                    self.clock.sleep(requested_delay(&error).unwrap_or(delay)).await;
                }
                result => return result,
            }
        }
        self.send(call, READ_TIMEOUT, send()).await
    }

    /// Sends one call, with `limit` as its timeout.
    async fn send<T>(
        &self,
        call: &str,
        limit: Duration,
        call_future: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        let of_step = self.hook.begin_call_of_step();
        let result = self.send_unobserved(call, limit, call_future).await;
        if let Some(of_step) = of_step {
            let error = result.as_ref().err().map(ToString::to_string);
            of_step.end("kubernetes", call, error.as_deref());
        }
        result
    }

    async fn send_unobserved<T>(
        &self,
        call: &str,
        limit: Duration,
        call_future: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(limit, call_future).await {
            Ok(result) => result.map_err(|error| error::into_error(call, &self.server, error)),
            Err(elapsed) => {
                let message = format!("timed out after {} s", limit.as_secs());
                Err(Classified::new(ErrorKind::Transient, message).into_error(
                    call,
                    &self.server,
                    elapsed,
                ))
            }
        }
    }
}

/// Returns the delay that the API server asks for, at most [`MAX_BACKOFF`].
fn requested_delay(error: &Error) -> Option<Duration> {
    error::retry_after(error).map(|delay| delay.min(MAX_BACKOFF))
}

/// The HTTP status of a resourceVersion or continue token that is too old to be served.
const GONE: u16 = 410;

/// Returns whether a resourceVersion or continue token is too old to be served.
fn is_expired(error: &Error) -> bool {
    matches!(error.code(), "Expired" | "Gone" | "410")
}

/// For messages: `node ip-10-0-0-1`, `deployment rafay-core/rafay-relay`.
fn object_ref<K: Object>(namespace: Option<&str>, name: &str) -> String {
    let kind = K::kind(&()).to_lowercase();
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}
