//! The clients of the two platforms, made when they are first needed: [`kubernetes`], and [`aws`] for each region.
//! A [`PlatformReader`] has no call that changes anything; a [`PlatformWriter`] has the others. Errors say what was called, what came
//! back and what to do ([`Error`]), and whether it can heal ([`ErrorKind`]); [`wait`] is how everything waits.
//!
//! This room knows the clock and nothing else of the program: no action, no runbook, no journal.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use tokio::sync::OnceCell;
use url::Url;

use clock::Clock;

pub mod aws;
mod error;
pub mod kubernetes;
mod poll;
mod progress;
#[cfg(test)]
mod test_server;
mod transport;
pub mod wait;

pub use error::{BoxError, Error, ErrorKind};
pub use poll::{Latest, PollSource, PollTrigger};
pub use progress::{Progress, ProgressEvent};

/// How this program names itself to the platforms: in user agents, audit logs and managed fields.
const PROGRAM: &str = "rafay-relay-sop";

/// Everything that the clients are made from.
#[derive(Debug, Clone)]
pub struct PlatformOptions {
    /// The time that pauses are taken in.
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
}

/// How to reach AWS.
#[derive(Debug, Clone)]
pub enum AwsAccess {
    /// As the SDKs do: environment, profile files, web identity, container and instance roles. `AWS_ENDPOINT_URL` is
    /// honoured.
    DefaultChain {
        /// The only profile to use; like the CLI's `--profile` it goes before credentials in the environment.
        profile: Option<String>,
    },
    /// One address for every service, with credentials that nobody checks: the simulator's.
    Endpoint {
        /// The address.
        url: Url,
    },
}

/// The way to both platforms. Clones share their clients.
#[derive(Clone)]
pub struct Platform {
    shared: Arc<Shared>,
}

struct Shared {
    options: PlatformOptions,
    kubernetes: OnceCell<Arc<kubernetes::Connection>>,
    aws: aws::AwsAccount,
}

/// Which cluster it is that is talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesIdentity {
    /// The API server's address.
    pub server: String,
    /// The kubeconfig's context.
    pub context: Option<String>,
    /// The UID of the kube-system namespace, which is born and dies with its cluster.
    pub uid: String,
}

/// Which account it is that is talked to, and as whom.
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
    /// Notes how to reach the platforms. Nothing is read, made or sent yet.
    pub fn new(options: PlatformOptions) -> Self {
        let aws = aws::AwsAccount::new(options.aws.clone(), options.clock);
        Self { shared: Arc::new(Shared { options, kubernetes: OnceCell::new(), aws }) }
    }

    /// A way to look.
    pub fn reader(&self) -> PlatformReader {
        PlatformReader { platform: self.clone() }
    }

    /// A way to look and to change. `client_token` marks the changes of one attempt, so that AWS can tell a
    /// repetition from a second change.
    pub fn writer(&self, client_token: &str) -> PlatformWriter {
        PlatformWriter { reader: self.reader(), client_token: client_token.into() }
    }

    /// Which cluster this is.
    ///
    /// # Errors
    /// There is no way to it, it does not answer, or the namespace kube-system may not be read.
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

    /// Which account this is.
    ///
    /// # Errors
    /// There are no credentials, they are not valid, or the service does not answer.
    pub async fn aws_identity(&self) -> Result<AwsIdentity, Error> {
        self.shared.aws.identity().await
    }

    async fn kubernetes(&self) -> Result<&Arc<kubernetes::Connection>, Error> {
        let options = &self.shared.options;
        let open = || async {
            let connection = kubernetes::Connection::open(&options.kubernetes, options.clock);
            connection.await.map(Arc::new)
        };
        self.shared.kubernetes.get_or_try_init(open).await
    }
}

/// A way to look at both platforms.
#[derive(Clone)]
pub struct PlatformReader {
    platform: Platform,
}

impl PlatformReader {
    /// The time that pauses are taken in.
    pub fn clock(&self) -> &Clock {
        &self.platform.shared.options.clock
    }

    /// An environment variable, if it is set and may be seen.
    pub fn environment(&self, name: &str) -> Option<&str> {
        let environment = &self.platform.shared.options.environment;
        environment.get(name).map(String::as_str)
    }

    /// Looks at the cluster.
    ///
    /// # Errors
    /// There is no way to it; whether it answers is not tried.
    pub async fn kubernetes(&self) -> Result<kubernetes::KubernetesReader, Error> {
        let connection = self.platform.kubernetes().await?;
        Ok(kubernetes::KubernetesReader::new(Arc::clone(connection)))
    }

    /// Looks at a region of the account.
    ///
    /// # Errors
    /// There is no way to it; whether it answers is not tried.
    pub async fn aws(&self, region: &str) -> Result<aws::AwsReader, Error> {
        let clients = self.platform.shared.aws.region(region).await?;
        Ok(aws::AwsReader::new(clients))
    }
}

/// A way to look at both platforms and to change them.
#[derive(Clone)]
pub struct PlatformWriter {
    reader: PlatformReader,
    client_token: Arc<str>,
}

impl PlatformWriter {
    /// Looks at the same platforms.
    pub fn reader(&self) -> &PlatformReader {
        &self.reader
    }

    /// What marks the changes of this attempt.
    pub fn client_token(&self) -> &str {
        &self.client_token
    }

    /// Changes the cluster.
    ///
    /// # Errors
    /// There is no way to it; whether it answers is not tried.
    pub async fn kubernetes(&self) -> Result<kubernetes::KubernetesWriter, Error> {
        let connection = self.reader.platform.kubernetes().await?;
        Ok(kubernetes::KubernetesWriter::new(Arc::clone(connection)))
    }

    /// Changes a region of the account.
    ///
    /// # Errors
    /// There is no way to it; whether it answers is not tried.
    pub async fn aws(&self, region: &str) -> Result<aws::AwsWriter, Error> {
        let clients = self.reader.platform.shared.aws.region(region).await?;
        Ok(aws::AwsWriter::new(clients, &self.client_token))
    }
}
