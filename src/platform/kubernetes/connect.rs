//! How the API server is found: as `kubectl` finds it, in a pod, or at a plain address.
//! Knows kubeconfig files and kube's client; makes no call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::clock::Clock;
use crate::platform::error::{Class, Error, story};
use crate::platform::{KubernetesAccess, PROGRAM};

/// Long enough for a far-away region over a VPN, short enough that a wrong address is noticed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client, and how to name the server that it talks to.
#[derive(Clone)]
pub(in crate::platform) struct Connection {
    pub(super) client: kube::Client,
    pub(super) clock: Clock,
    pub(in crate::platform) server: String,
    pub(in crate::platform) context: Option<String>,
}

impl Connection {
    /// Reads what is configured and makes the client. Nothing is sent; a credential plugin may be run.
    pub(in crate::platform) async fn open(
        access: &KubernetesAccess,
        clock: Clock,
    ) -> Result<Self, Error> {
        let (mut config, context) = match access {
            KubernetesAccess::At { url } => (at(url)?, None),
            KubernetesAccess::Inferred { kubeconfig, context } => {
                inferred(kubeconfig.as_deref(), context.as_deref()).await?
            }
        };
        super::proxy::settle(&mut config);
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // kube would retry 429 fifteen times by itself, silently and for minutes: an eviction that a budget
        // refuses must come back at once. `Reader` and `Writer` retry what may be retried, and say so.
        config.default_retry = false;
        config.headers.push((
            "user-agent".parse().map_err(unusable_header)?,
            PROGRAM.parse().map_err(unusable_header)?,
        ));
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = client(config, &server).await?;
        Ok(Self { client, clock, server, context })
    }
}

/// A credential plugin (`aws eks get-token`) runs while the client is made, and kube waits for it in place.
async fn client(config: Config, server: &str) -> Result<kube::Client, Error> {
    tokio::task::spawn_blocking(move || kube::Client::try_from(config))
        .await
        .map_err(|error| {
            Error::access_from(
                "making the Kubernetes client was cut short",
                Class::Transient,
                error,
            )
        })?
        .map_err(|error| super::error::failed("connect", server, error))
}

fn at(url: &url::Url) -> Result<Config, Error> {
    let address = url.as_str().parse().map_err(|error| {
        Error::access_from(format!("`{url}` is no API server address"), Class::Invalid, error)
    })?;
    Ok(Config::new(address))
}

async fn inferred(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<(Config, Option<String>), Error> {
    match find(kubeconfig)? {
        Some(found) => from_kubeconfig(found, context).await,
        None if context.is_some() => {
            Err(nowhere("a context was named, but there is no kubeconfig to find it in"))
        }
        None if in_pod() => Ok((in_cluster()?, None)),
        None => Err(nowhere("there is no kubeconfig, and this is not a pod")),
    }
}

/// As kubectl looks: the named file, else the files of `KUBECONFIG`, else `~/.kube/config`.
fn find(named: Option<&Path>) -> Result<Option<Kubeconfig>, Error> {
    if let Some(path) = named {
        return read(path).map(Some);
    }
    let paths = from_environment();
    if !paths.is_empty() {
        return merged(&paths).map(Some);
    }
    match std::env::home_dir().map(|home| home.join(".kube/config")) {
        Some(path) if path.exists() => read(&path).map(Some),
        _ => Ok(None),
    }
}

fn from_environment() -> Vec<PathBuf> {
    let value = std::env::var_os("KUBECONFIG").unwrap_or_default();
    std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Of several files some may be missing, as for kubectl; not all of them.
fn merged(paths: &[PathBuf]) -> Result<Kubeconfig, Error> {
    let mut whole: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let part = read(path)?;
        whole = Some(match whole {
            None => part,
            Some(whole) => whole.merge(part).map_err(|error| unreadable(path, error))?,
        });
    }
    whole.ok_or_else(|| {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        Error::access(
            format!("KUBECONFIG names {}, which does not exist", names.join(", ")),
            Class::Invalid,
        )
    })
}

fn read(path: &Path) -> Result<Kubeconfig, Error> {
    Kubeconfig::read_from(path).map_err(|error| unreadable(path, error))
}

async fn from_kubeconfig(
    kubeconfig: Kubeconfig,
    context: Option<&str>,
) -> Result<(Config, Option<String>), Error> {
    let chosen = context
        .map(str::to_owned)
        .or_else(|| kubeconfig.current_context.clone())
        .filter(|name| !name.is_empty());
    let known: Vec<String> =
        kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let options = KubeConfigOptions { context: chosen.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| unusable(error, chosen.as_deref(), &known))?;
    Ok((config, chosen))
}

fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn in_cluster() -> Result<Config, Error> {
    Config::incluster().map_err(|error| {
        let problem = format!(
            "this is a pod, but its service account cannot be used: {}; is automountServiceAccountToken off?",
            story(&error)
        );
        Error::access_from(problem, Class::Denied, error)
    })
}

fn nowhere(problem: &str) -> Error {
    Error::access(
        format!(
            "{problem}; name one with --kubeconfig or KUBECONFIG, or make one with \
             `aws eks update-kubeconfig --name CLUSTER`"
        ),
        Class::Invalid,
    )
}

fn unreadable(path: &Path, error: KubeconfigError) -> Error {
    let path = path.display();
    let problem = match &error {
        KubeconfigError::ReadConfig(io, _) if io.kind() == std::io::ErrorKind::NotFound => {
            format!("the kubeconfig {path} does not exist")
        }
        KubeconfigError::ReadConfig(io, _) => format!("the kubeconfig {path} cannot be read: {io}"),
        other => format!("the kubeconfig {path} is not a kubeconfig: {}", story(other)),
    };
    Error::access_from(problem, Class::Invalid, error)
}

fn unusable(error: KubeconfigError, context: Option<&str>, known: &[String]) -> Error {
    let problem = match &error {
        KubeconfigError::CurrentContextNotSet => format!(
            "the kubeconfig has no current context; choose one with --context: {}",
            list(known)
        ),
        KubeconfigError::LoadContext(name) => {
            format!("the kubeconfig has no context `{name}`; it has {}", list(known))
        }
        KubeconfigError::LoadClusterOfContext(name) => format!(
            "the context `{}` names the cluster `{name}`, which the kubeconfig does not have",
            context.unwrap_or_default()
        ),
        other => format!(
            "the context `{}` cannot be used: {}",
            context.unwrap_or_default(),
            story(other)
        ),
    };
    Error::access_from(problem, Class::Invalid, error)
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn unusable_header(error: impl Into<crate::platform::error::Cause>) -> Error {
    Error::access_from("the program's own name is no header", Class::Invalid, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_CONTEXTS: &str = "
apiVersion: v1
kind: Config
current-context: east
clusters:
- {name: one, cluster: {server: 'http://127.0.0.1:1/'}}
contexts:
- {name: east, context: {cluster: one}}
- {name: west, context: {cluster: two}}
";

    async fn open(text: &str, context: Option<&str>) -> Result<Connection, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        let access = KubernetesAccess::Inferred {
            kubeconfig: Some(path),
            context: context.map(str::to_owned),
        };
        Connection::open(&access, Clock::real()).await
    }

    async fn refused(text: &str, context: Option<&str>) -> String {
        let error = open(text, context).await.err().unwrap();
        assert_eq!(error.class(), Class::Invalid);
        error.to_string()
    }

    #[tokio::test]
    async fn the_context_chooses_the_server() {
        let connection = open(TWO_CONTEXTS, None).await.unwrap();
        assert_eq!(connection.server, "http://127.0.0.1:1");
        assert_eq!(connection.context.as_deref(), Some("east"));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_is_said() {
        assert_eq!(
            refused(TWO_CONTEXTS, Some("north")).await,
            "the kubeconfig has no context `north`; it has `east`, `west`"
        );
        assert_eq!(
            refused(TWO_CONTEXTS, Some("west")).await,
            "the context `west` names the cluster `two`, which the kubeconfig does not have"
        );
        assert_eq!(
            refused("{apiVersion: v1, kind: Config}", None).await,
            "the kubeconfig has no current context; choose one with --context: none"
        );
        let broken = refused("clusters: 3", None).await;
        assert!(broken.contains("is not a kubeconfig: "), "{broken}");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_said() {
        let access = KubernetesAccess::Inferred {
            kubeconfig: Some("/nowhere/config".into()),
            context: None,
        };
        let error = Connection::open(&access, Clock::real()).await.err().unwrap();
        assert_eq!(error.to_string(), "the kubeconfig /nowhere/config does not exist");
    }

    #[tokio::test]
    async fn a_credential_plugin_that_fails_is_said() {
        let text = TWO_CONTEXTS.replace("{cluster: one}", "{cluster: one, user: me}")
            + "
users:
- name: me
  user:
    exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: no-such-plugin, interactiveMode: Never}
";
        let error = open(&text, None).await.err().unwrap();
        assert_eq!(error.class(), Class::Denied);
        assert!(error.to_string().contains("no credentials: "), "{error}");
    }
}
