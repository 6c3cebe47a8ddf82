//! The clients of the two platforms, created when they are first needed: [`kubernetes`], and [`aws`] for each region;
//! and [`http`] for addresses that a runbook names. A [`PlatformReader`] has no call that changes anything; a
//! [`PlatformWriter`] has the others. An [`Error`] says what was called, what came back and what to do, and its
//! [`ErrorKind`] whether a retry can help. Everything waits with [`wait`].
//!
//! This module uses no other part of the program but the clock and the text helpers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use url::Url;

use clock::Clock;

use http::HttpReach;

pub mod aws;
mod bounded;
mod calls;
mod error;
mod fence;
pub mod http;
mod in_process;
pub mod kubernetes;
mod poll;
mod progress;
mod removal;
#[cfg(test)]
mod test_server;
mod transport;
pub mod wait;

pub use calls::{
    CallEnd, CallOfStep, Caller, LeaseChange, ObservedCall, Observers, PlatformObserver,
};
pub use error::{BoxError, Error, ErrorKind, error_chain};
pub use fence::{Moment, WriteFence};
pub use in_process::InProcessServer;
pub use poll::{Latest, PollSource, PollTrigger};
pub use progress::{Progress, ProgressEvent};
use removal::Removals;
pub use removal::{Permission, Permit, RemovalGuard};

/// The name of this program in user agents, audit logs and managed fields.
const PROGRAM: &str = "rafay-relay-sop";

/// The environment variable with the name of the node on which this process runs, where it is a pod.
pub const NODE_NAME: &str = "SOP_NODE_NAME";

/// The configuration of the clients.
#[derive(Debug, Clone)]
pub struct PlatformOptions {
    /// The clock for delays.
    pub clock: Clock,
    /// How to reach Kubernetes.
    pub kubernetes: KubernetesAccess,
    /// How to reach AWS.
    pub aws: AwsAccess,
    /// The environment variables that an action may see.
    pub environment: BTreeMap<String, String>,
}

/// How to reach Kubernetes.
#[derive(Debug, Clone)]
pub enum KubernetesAccess {
    /// As kubectl does: the named file, else `KUBECONFIG`, else `~/.kube/config`, else the pod's service account.
    Inferred {
        /// The only kubeconfig to read.
        kubeconfig: Option<PathBuf>,
        /// The context to use instead of the current one.
        context: Option<String>,
    },
    /// An address that needs no credentials: the simulator's.
    Endpoint {
        /// The API server's address.
        url: Url,
    },
    /// A server in this process: the simulator's.
    InProcess {
        /// The address that it is known by.
        url: Url,
        /// The server.
        server: InProcessServer,
    },
}

/// How to reach AWS.
#[derive(Debug, Clone)]
pub enum AwsAccess {
    /// As the SDKs do: environment, profile files, web identity, container and instance roles. `AWS_ENDPOINT_URL` is
    /// honored.
    DefaultChain {
        /// The only profile to use; like the CLI's `--profile` it goes before credentials in the environment.
        profile: Option<String>,
    },
    /// One address for every service, with credentials that are not checked: the simulator's.
    Endpoint {
        /// The address.
        url: Url,
    },
    /// A server in this process for every service: the simulator's.
    InProcess {
        /// The server.
        server: InProcessServer,
    },
}

/// Both platforms. Clones share their clients.
#[derive(Clone)]
pub struct Platform {
    shared: Arc<Shared>,
}

struct Shared {
    hook: calls::Hook,
    options: PlatformOptions,
    kubernetes: kubernetes::Connector,
    aws: aws::AwsAccount,
}

/// The identity of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesIdentity {
    /// The API server's address.
    pub server: String,
    /// The kubeconfig's context.
    pub context: Option<String>,
    /// The UID of the namespace kube-system, which lives as long as its cluster.
    pub uid: String,
}

/// The identity of the account and of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsIdentity {
    /// The twelve digits.
    pub account: String,
    /// The caller.
    pub arn: String,
    /// The configured region, if any is.
    pub region: Option<String>,
}

impl Platform {
    /// Returns the platforms for this configuration. Nothing is read, created or sent yet.
    pub fn new(options: PlatformOptions) -> Self {
        let hook = calls::Hook::default();
        let aws = aws::AwsAccount::new(options.aws.clone(), options.clock, hook.clone());
        let kubernetes = kubernetes::Connector::default();
        Self { shared: Arc::new(Shared { hook, options, kubernetes, aws }) }
    }

    /// Lets an observer be told of every call, and of the lease of the cluster. There is one for all clones; the first
    /// stays.
    pub fn observe(&self, observer: Arc<dyn PlatformObserver>) {
        self.shared.hook.set(observer);
    }

    /// Returns a reader.
    pub fn reader(&self) -> PlatformReader {
        PlatformReader { platform: self.clone() }
    }

    /// Returns the environment variables that actions may see.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.shared.options.environment
    }

    /// Returns the flags with which `kubectl` reads the kubeconfig that was named, if one was.
    pub fn kubectl_flags(&self) -> Vec<String> {
        match &self.shared.options.kubernetes {
            KubernetesAccess::Inferred { kubeconfig: Some(path), .. } => {
                vec!["--kubeconfig".into(), path.display().to_string()]
            }
            KubernetesAccess::Inferred { kubeconfig: None, .. }
            | KubernetesAccess::Endpoint { .. }
            | KubernetesAccess::InProcess { .. } => Vec::new(),
        }
    }

    /// Returns the flags with which `aws` uses the profile that was named, if one was.
    pub fn aws_flags(&self) -> Vec<String> {
        match &self.shared.options.aws {
            AwsAccess::DefaultChain { profile: Some(profile) } => {
                vec!["--profile".into(), profile.clone()]
            }
            AwsAccess::DefaultChain { profile: None }
            | AwsAccess::Endpoint { .. }
            | AwsAccess::InProcess { .. } => Vec::new(),
        }
    }

    /// Returns a writer. `client_token` marks the changes of one attempt, so that AWS can tell a repetition from a
    /// second change. Nothing is sent while the fence is closed.
    pub fn writer(&self, client_token: &str, fence: &WriteFence) -> PlatformWriter {
        let (client_token, fence) = (client_token.into(), fence.clone());
        PlatformWriter { reader: self.reader(), client_token, fence, removals: Removals::default() }
    }

    /// Returns the lease of the cluster.
    ///
    /// # Errors
    /// The client cannot be created. No call is made.
    pub async fn cluster_lease(&self) -> Result<kubernetes::LeaseClient, Error> {
        Ok(kubernetes::LeaseClient::new(Arc::clone(self.kubernetes().await?)))
    }

    /// Returns the calls for the runs that are kept in a namespace of the cluster: the named one, else that of the pod
    /// or of the kubeconfig's context.
    ///
    /// # Errors
    /// The client cannot be created, or there is no namespace. No call is made.
    pub async fn run_objects(
        &self,
        namespace: Option<&str>,
    ) -> Result<kubernetes::RunObjects, Error> {
        let connection = self.kubernetes().await?;
        let namespace = namespace.map(str::to_owned).or_else(|| connection.namespace.clone());
        let namespace = namespace.ok_or_else(|| {
            Error::access(
                "the kubeconfig's context names no namespace for runs",
                ErrorKind::Invalid,
            )
            .with_hint("name it with --store-namespace")
        })?;
        Ok(kubernetes::RunObjects::new(Arc::clone(connection), namespace))
    }

    /// Returns the identity of the cluster.
    ///
    /// # Errors
    /// The cluster is not configured, it does not answer, or the namespace kube-system may not be read.
    pub async fn kubernetes_identity(&self) -> Result<KubernetesIdentity, Error> {
        let connection = self.kubernetes().await?;
        let reader = kubernetes::KubernetesReader::new(Arc::clone(connection));
        let namespace: Option<Namespace> = reader.get(None, "kube-system").await?;
        let uid = namespace.and_then(|namespace| namespace.uid());
        Ok(KubernetesIdentity {
            server: connection.server.clone(),
            context: connection.context.clone(),
            uid: uid.ok_or_else(|| Error::InvalidResponse {
                call: "get namespace kube-system".into(),
                server: connection.server.as_str().into(),
                message:
                    "namespace kube-system not found; this does not look like a complete cluster"
                        .into(),
            })?,
        })
    }

    /// Returns the identity of the account.
    ///
    /// # Errors
    /// There are no credentials, they are not valid, or the service does not answer.
    pub async fn aws_identity(&self) -> Result<AwsIdentity, Error> {
        self.shared.aws.identity().await
    }

    /// Asks IAM whether the policies of a caller allow a call.
    ///
    /// # Errors
    /// The caller cannot be simulated, may not ask, or IAM does not answer soon.
    pub async fn simulate_policy(
        &self,
        caller: &str,
        region: &str,
        call: &aws::SimulatedCall,
    ) -> Result<aws::Simulation, Error> {
        self.shared.aws.simulate(caller, region, call).await
    }

    async fn kubernetes(&self) -> Result<&Arc<kubernetes::Connection>, Error> {
        let Shared { hook, options, kubernetes, .. } = &*self.shared;
        kubernetes.connect(&options.kubernetes, options.clock, hook).await
    }
}

/// Reads from both platforms.
#[derive(Clone)]
pub struct PlatformReader {
    platform: Platform,
}

impl PlatformReader {
    /// Returns the clock for delays.
    pub fn clock(&self) -> &Clock {
        &self.platform.shared.options.clock
    }

    /// Returns an environment variable, if it is set and actions may read it.
    pub fn environment(&self, name: &str) -> Option<&str> {
        let environment = &self.platform.shared.options.environment;
        environment.get(name).map(String::as_str)
    }

    /// Returns the reader of the cluster.
    ///
    /// # Errors
    /// The client cannot be created. No call is made.
    pub async fn kubernetes(&self) -> Result<kubernetes::KubernetesReader, Error> {
        let connection = self.platform.kubernetes().await?;
        Ok(kubernetes::KubernetesReader::new(Arc::clone(connection)))
    }

    /// Returns a client for addresses that a runbook names.
    pub fn http(&self) -> http::HttpClient {
        http::HttpClient::new(match &self.platform.shared.options.kubernetes {
            KubernetesAccess::Inferred { .. } => HttpReach::Everywhere,
            KubernetesAccess::Endpoint { .. } => HttpReach::ThisMachine,
            KubernetesAccess::InProcess { .. } => HttpReach::Nowhere,
        })
    }

    /// Returns the reader of a region of the account.
    ///
    /// # Errors
    /// The client cannot be created. No call is made.
    pub async fn aws(&self, region: &str) -> Result<aws::AwsReader, Error> {
        let clients = self.platform.shared.aws.region(region).await?;
        Ok(aws::AwsReader::new(clients))
    }
}

/// Reads from both platforms and changes them.
#[derive(Clone)]
pub struct PlatformWriter {
    reader: PlatformReader,
    client_token: Arc<str>,
    fence: WriteFence,
    removals: Removals,
}

impl PlatformWriter {
    /// Lets a guard decide about everything that is removed.
    #[must_use]
    pub fn guarded_by(self, guard: Arc<dyn RemovalGuard>) -> Self {
        Self { removals: Removals::guarded_by(guard), ..self }
    }

    /// Returns the reader of the same platforms.
    pub fn reader(&self) -> &PlatformReader {
        &self.reader
    }

    /// Returns the token that marks the changes of this attempt.
    pub fn client_token(&self) -> &str {
        &self.client_token
    }

    /// Returns the writer of the cluster.
    ///
    /// # Errors
    /// The client cannot be created. No call is made.
    pub async fn kubernetes(&self) -> Result<kubernetes::KubernetesWriter, Error> {
        let connection = self.reader.platform.kubernetes().await?;
        let (fence, removals) = (self.fence.clone(), self.removals.clone());
        Ok(kubernetes::KubernetesWriter::new(Arc::clone(connection), fence, removals))
    }

    /// Returns the writer of a region of the account.
    ///
    /// # Errors
    /// The client cannot be created. No call is made.
    pub async fn aws(&self, region: &str) -> Result<aws::AwsWriter, Error> {
        let clients = self.reader.platform.shared.aws.region(region).await?;
        let (fence, removals) = (self.fence.clone(), self.removals.clone());
        Ok(aws::AwsWriter::new(clients, &self.client_token, fence, removals))
    }
}
