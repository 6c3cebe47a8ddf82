//! Connecting to the API server: as `kubectl` does, in a pod, or at a plain address. Makes no call.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use tower::layer::layer_fn;

use crate::platform::bounded::BoundedResponses;
use crate::platform::calls::{Hook, ObservedCalls};
use crate::platform::error::{Error, ErrorKind, error_chain};
use crate::platform::{KubernetesAccess, PROGRAM, in_process};
use clock::Clock;

use super::list_watch::WATCH_SECONDS;

/// Long enough for a far-away region over a VPN, short enough that a wrong address is noticed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest silence of a connection that is read from. A watch that was answered has its own, shorter limit. A
/// request whose response never begins, because a firewall dropped the connection, has only this one: without it the
/// step would wait until its own time is up.
const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// How long a credential plugin may take (`aws eks get-token` takes a second or two). Shorter than the time that the
/// service gives to a request, whose client is to hear the cause.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The same on a terminal, where a plugin may ask a person to log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(300);

/// How many credential plugins may hang at a time. Each keeps a thread; the next client is not held up by them.
const MAX_HANGING_PLUGINS: usize = 8;

/// The connection to one cluster, which is made when it is first needed. A connection that could not be made is tried
/// again with the next use.
pub(in crate::platform) struct Connector {
    connection: OnceCell<Arc<Connection>>,
    /// The right to make a client. A plugin that hangs keeps its thread, and the right, when its caller has given up.
    making: Arc<Semaphore>,
    limit: Duration,
}

impl Default for Connector {
    fn default() -> Self {
        let limit = match std::io::stdin().is_terminal() {
            true => LOGIN_TIMEOUT,
            false => PLUGIN_TIMEOUT,
        };
        Self::with_limit(limit)
    }
}

impl Connector {
    fn with_limit(limit: Duration) -> Self {
        let making = Arc::new(Semaphore::new(MAX_HANGING_PLUGINS));
        Self { connection: OnceCell::new(), making, limit }
    }

    /// Returns the connection. One caller makes it; the others wait for that, each no longer than a client may take.
    pub(in crate::platform) async fn connect(
        &self,
        access: &KubernetesAccess,
        clock: Clock,
        hook: &Hook,
    ) -> Result<&Arc<Connection>, Error> {
        let open =
            || async { Connection::open(access, clock, hook, &self.making).await.map(Arc::new) };
        match timeout(self.limit, self.connection.get_or_try_init(open)).await {
            Ok(result) => result,
            Err(_) => Err(plugin_error(self.limit)),
        }
    }
}

fn plugin_error(limit: Duration) -> Error {
    let message = format!(
        "no credentials: the credential plugin of the kubeconfig did not end within {} s",
        limit.as_secs_f64()
    );
    Error::access(message, ErrorKind::Transient).with_hint(
        "run the command of the user's `exec` in the kubeconfig by hand, without a terminal, to see what it waits for",
    )
}

/// A client, and how to name the server that it talks to.
#[derive(Clone)]
pub(in crate::platform) struct Connection {
    pub(super) client: kube::Client,
    pub(super) clock: Clock,
    /// The observer of the calls.
    pub(super) hook: Hook,
    pub(in crate::platform) server: String,
    pub(in crate::platform) context: Option<String>,
    /// The namespace that the pod or the context names.
    pub(in crate::platform) namespace: Option<String>,
    /// The certificates in DER that the server's is checked against; none where it is not checked.
    pub(super) authorities: Vec<Vec<u8>>,
}

impl Connection {
    /// Reads what is configured and makes the client. Nothing is sent; a credential plugin may be run.
    async fn open(
        access: &KubernetesAccess,
        clock: Clock,
        hook: &Hook,
        making: &Arc<Semaphore>,
    ) -> Result<Self, Error> {
        let Configured { mut config, context, namespace } = match access {
            KubernetesAccess::InProcess { url, server } => {
                let server_name = url.as_str().trim_end_matches('/').to_owned();
                return Ok(Self {
                    client: in_process::kubernetes_client(server, hook),
                    clock,
                    hook: hook.clone(),
                    server: server_name,
                    context: None,
                    namespace: None,
                    authorities: Vec::new(),
                });
            }
            KubernetesAccess::Endpoint { url } => Configured::of(endpoint_config(url)?),
            KubernetesAccess::Inferred { kubeconfig, context } => {
                infer_config(kubeconfig.as_deref(), context.as_deref()).await?
            }
        };
        super::proxy::drop_unless_needed(&mut config);
        if config.cluster_url.scheme_str() == Some("http") && config.proxy_url.is_none() {
            // Nothing is checked against a certificate: without this, kube reads all those of the system.
            config.root_cert.get_or_insert_default();
        }
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // kube would retry 429 fifteen times by itself, silently and for minutes: an eviction that a budget
        // refuses must come back at once. `KubernetesReader` and `KubernetesWriter` retry what may be retried, and say
        // so.
        config.default_retry = false;
        config.headers.push((
            "user-agent".parse().map_err(header_error)?,
            PROGRAM.parse().map_err(header_error)?,
        ));
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let trusted = (!config.accept_invalid_certs).then(|| config.root_cert.clone());
        let authorities = trusted.flatten().unwrap_or_default();
        let client = make_client(config, &server, hook, making).await?;
        let hook = hook.clone();
        Ok(Self { client, clock, hook, server, context, namespace, authorities })
    }
}

/// A configuration, and what it does not say of itself.
struct Configured {
    config: Config,
    context: Option<String>,
    namespace: Option<String>,
}

impl Configured {
    fn of(config: Config) -> Self {
        Self { config, context: None, namespace: None }
    }
}

/// A credential plugin (`aws eks get-token`) runs while the client is made, and kube waits for it in place.
async fn make_client(
    config: Config,
    server: &str,
    hook: &Hook,
    making: &Arc<Semaphore>,
) -> Result<kube::Client, Error> {
    // The semaphore is never closed.
    let permit = Arc::clone(making).acquire_owned().await.ok();
    let hook = hook.clone();
    let make = move || {
        let _permit = permit;
        let client = ClientBuilder::try_from(config)?;
        let client = client.with_layer(&layer_fn(BoundedResponses));
        let observed = layer_fn(|service| ObservedCalls::new(service, &hook));
        Ok::<_, kube::Error>(client.with_layer(&observed).build())
    };
    tokio::task::spawn_blocking(make)
        .await
        .map_err(|error| {
            Error::access_from(
                "creating the Kubernetes client was interrupted",
                ErrorKind::Transient,
                error,
            )
        })?
        .map_err(|error| super::error::into_error("connect", server, error))
}

fn endpoint_config(url: &url::Url) -> Result<Config, Error> {
    let address = url.as_str().parse().map_err(|error| {
        Error::access_from(
            format!("`{url}` is not a valid API server address"),
            ErrorKind::Invalid,
            error,
        )
    })?;
    Ok(Config::new(address))
}

async fn infer_config(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Configured, Error> {
    match find_kubeconfig(kubeconfig)? {
        Some(found) => from_kubeconfig(found, context).await,
        None if context.is_some() => {
            Err(no_kubeconfig("a context was given, but no kubeconfig was found"))
        }
        None if is_in_pod() => {
            let config = in_cluster_config()?;
            let namespace = Some(config.default_namespace.clone());
            Ok(Configured { namespace, ..Configured::of(config) })
        }
        None => {
            Err(no_kubeconfig("no kubeconfig was found, and this process does not run in a pod"))
        }
    }
}

/// Returns the kubeconfig that kubectl would use: the named file, else the files of `KUBECONFIG`, else
/// `~/.kube/config`.
fn find_kubeconfig(named: Option<&Path>) -> Result<Option<Kubeconfig>, Error> {
    if let Some(path) = named {
        return read_kubeconfig(path).map(Some);
    }
    let paths = kubeconfig_paths();
    if !paths.is_empty() {
        return merge_kubeconfigs(&paths).map(Some);
    }
    match std::env::home_dir().map(|home| home.join(".kube/config")) {
        Some(path) if path.exists() => read_kubeconfig(&path).map(Some),
        _ => Ok(None),
    }
}

fn kubeconfig_paths() -> Vec<PathBuf> {
    let value = std::env::var_os("KUBECONFIG").unwrap_or_default();
    std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Of several files some may be missing, as for kubectl; not all of them.
fn merge_kubeconfigs(paths: &[PathBuf]) -> Result<Kubeconfig, Error> {
    let mut whole: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let part = read_kubeconfig(path)?;
        whole = Some(match whole {
            None => part,
            Some(whole) => whole.merge(part).map_err(|error| kubeconfig_error(path, error))?,
        });
    }
    whole.ok_or_else(|| {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        Error::access(
            format!("no file of KUBECONFIG exists: {}", names.join(", ")),
            ErrorKind::Invalid,
        )
    })
}

fn read_kubeconfig(path: &Path) -> Result<Kubeconfig, Error> {
    Kubeconfig::read_from(path).map_err(|error| kubeconfig_error(path, error))
}

async fn from_kubeconfig(
    kubeconfig: Kubeconfig,
    context: Option<&str>,
) -> Result<Configured, Error> {
    let chosen = context
        .map(str::to_owned)
        .or_else(|| kubeconfig.current_context.clone())
        .filter(|name| !name.is_empty());
    let known: Vec<String> =
        kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let namespace = kubeconfig
        .contexts
        .iter()
        .find(|context| Some(&context.name) == chosen.as_ref())
        .and_then(|context| context.context.as_ref()?.namespace.clone())
        .filter(|namespace| !namespace.is_empty());
    let options = KubeConfigOptions { context: chosen.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| context_error(error, chosen.as_deref(), &known))?;
    Ok(Configured { config, context: chosen, namespace })
}

fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn in_cluster_config() -> Result<Config, Error> {
    Config::incluster().map_err(|error| {
        let message = format!("the pod's service account cannot be used: {}", error_chain(&error));
        Error::access_from(message, ErrorKind::Denied, error)
            .with_hint("check that automountServiceAccountToken is not false")
    })
}

fn no_kubeconfig(message: &str) -> Error {
    Error::access(message, ErrorKind::Invalid).with_hint(
        "set --kubeconfig or KUBECONFIG, or create a kubeconfig with \
         `aws eks update-kubeconfig --name CLUSTER`",
    )
}

fn kubeconfig_error(path: &Path, error: KubeconfigError) -> Error {
    let path = path.display();
    let problem = match &error {
        KubeconfigError::ReadConfig(io, _) if io.kind() == std::io::ErrorKind::NotFound => {
            format!("kubeconfig {path} not found")
        }
        KubeconfigError::ReadConfig(io, _) => format!("kubeconfig {path} cannot be read: {io}"),
        KubeconfigError::Parse(_) => return kubeconfig_syntax_error(&path.to_string(), &error),
        other => format!("{path} is not a valid kubeconfig: {}", error_chain(other)),
    };
    Error::access_from(problem, ErrorKind::Invalid, error)
}

/// Returns the error of a kubeconfig that cannot be parsed. The parser's own message shows the line, which may hold a
/// token or a key: neither the message nor its source is passed on.
fn kubeconfig_syntax_error(path: &str, error: &KubeconfigError) -> Error {
    let place = match error {
        KubeconfigError::Parse(error) => error.location().map_or_else(String::new, |place| {
            format!(": line {}, column {}", place.line(), place.column())
        }),
        _ => String::new(),
    };
    Error::access(format!("{path} is not a valid kubeconfig{place}"), ErrorKind::Invalid)
        .with_hint("`kubectl config view` names the problem; it hides secrets")
}

fn context_error(error: KubeconfigError, context: Option<&str>, known: &[String]) -> Error {
    let context = context.unwrap_or_default();
    let choose = Some(format!("choose a context with `--context`: {}", quoted_list(known)));
    let (message, hint) = match &error {
        KubeconfigError::CurrentContextNotSet => {
            ("the kubeconfig has no current context".into(), choose)
        }
        KubeconfigError::LoadContext(name) => {
            (format!("context `{name}` not found in the kubeconfig"), choose)
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            (format!("cluster `{name}` of context `{context}` not found in the kubeconfig"), None)
        }
        other => (format!("context `{context}` cannot be used: {}", error_chain(other)), None),
    };
    let error = Error::access_from(message, ErrorKind::Invalid, error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn quoted_list(names: &[String]) -> String {
    if names.is_empty() {
        return "the kubeconfig has none".into();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn header_error(error: impl Into<crate::platform::error::BoxError>) -> Error {
    Error::access_from("the program's name is not a valid header", ErrorKind::Invalid, error)
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
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, text).unwrap();
        let access = KubernetesAccess::Inferred {
            kubeconfig: Some(path),
            context: context.map(str::to_owned),
        };
        Ok(Connection::clone(
            Connector::default().connect(&access, Clock::real(), &Hook::default()).await?,
        ))
    }

    async fn open_error(text: &str, context: Option<&str>) -> (String, Option<String>) {
        let error = open(text, context).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        (error.to_string(), error.hint().map(str::to_owned))
    }

    #[tokio::test]
    async fn the_context_chooses_the_server() {
        let connection = open(TWO_CONTEXTS, None).await.unwrap();
        assert_eq!(connection.server, "http://127.0.0.1:1");
        assert_eq!(connection.context.as_deref(), Some("east"));
    }

    #[tokio::test]
    async fn a_kubeconfig_error_names_the_problem() {
        let (message, hint) = open_error(TWO_CONTEXTS, Some("north")).await;
        assert_eq!(message, "context `north` not found in the kubeconfig");
        assert_eq!(hint.unwrap(), "choose a context with `--context`: `east`, `west`");
        let (message, hint) = open_error(TWO_CONTEXTS, Some("west")).await;
        assert_eq!(message, "cluster `two` of context `west` not found in the kubeconfig");
        assert_eq!(hint, None);
        let (message, _) = open_error("{apiVersion: v1, kind: Config}", None).await;
        assert_eq!(message, "the kubeconfig has no current context");
    }

    /// The parser shows the lines around its error.
    #[tokio::test]
    async fn a_kubeconfig_error_has_nothing_of_the_file() {
        let secret = "k8s-aws-v1.aHR0cHM6Ly9zdHM";
        for text in [
            format!("users: [{{name: me, user: {secret}}}]"),
            format!("users:\n- name: me\n  user:\n    token: {secret}\n   broken: ["),
            format!("users:\n- name: me\n  user:\n    token: [{secret}]\n"),
            format!("clusters: {secret}"),
        ] {
            let error = open(&text, None).await.err().unwrap();
            let message = error.to_string();
            assert!(message.contains("is not a valid kubeconfig: line "), "{message}");
            assert!(!message.contains(secret) && !format!("{error:?}").contains(secret));
        }
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_reported() {
        let access = KubernetesAccess::Inferred {
            kubeconfig: Some("/nowhere/config".into()),
            context: None,
        };
        let connector = Connector::default();
        let error =
            connector.connect(&access, Clock::real(), &Hook::default()).await.err().unwrap();
        assert_eq!(error.to_string(), "kubeconfig /nowhere/config not found");
    }

    #[tokio::test]
    async fn a_credential_plugin_that_fails_is_reported() {
        let text = TWO_CONTEXTS.replace("{cluster: one}", "{cluster: one, user: me}")
            + "
users:
- name: me
  user:
    exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: no-such-plugin, interactiveMode: Never}
";
        let error = open(&text, None).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("no credentials: "), "{error}");
    }
    /// The plugin hangs as long as the file `hangs` is there, and writes to `started`.
    fn hanging_plugin(directory: &Path) -> KubernetesAccess {
        let (hangs, started) = (directory.join("hangs"), directory.join("started"));
        std::fs::write(&hangs, "").unwrap();
        let credential = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}"#;
        let script = directory.join("plugin.sh");
        let text = format!(
            "if [ -e {0} ]; then echo >> {1}; while [ -e {0} ]; do sleep 0.1; done; fi; echo '{credential}'\n",
            hangs.display(),
            started.display()
        );
        std::fs::write(&script, text).unwrap();
        let users = format!(
            "users: [{{name: me, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
             args: ['{}'], interactiveMode: Never}}}}}}]\n",
            script.display()
        );
        let kubeconfig = directory.join("config");
        let text = TWO_CONTEXTS.replace("{cluster: one}", "{cluster: one, user: me}") + &users;
        std::fs::write(&kubeconfig, text).unwrap();
        KubernetesAccess::Inferred { kubeconfig: Some(kubeconfig), context: None }
    }

    #[tokio::test]
    async fn a_credential_plugin_that_hangs_holds_up_no_other_client() {
        let directory = tempfile::tempdir().unwrap();
        let (hanging, started) =
            (hanging_plugin(directory.path()), directory.path().join("started"));
        let connector = Arc::new(Connector::with_limit(Duration::from_hours(1)));
        let stuck = tokio::spawn({
            let (connector, hanging) = (Arc::clone(&connector), hanging.clone());
            async move { connector.connect(&hanging, Clock::real(), &Hook::default()).await.map(drop) }
        });
        while !started.exists() {
            tokio::task::yield_now().await;
        }
        // Another cluster, and the same one after its caller has given up: more often than one plugin can hang.
        open(TWO_CONTEXTS, None).await.unwrap();
        stuck.abort();
        assert!(stuck.await.is_err());
        let impatient = Connector::with_limit(Duration::from_millis(1));
        for _ in 0..MAX_HANGING_PLUGINS + 2 {
            let error =
                impatient.connect(&hanging, Clock::real(), &Hook::default()).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Transient);
            assert!(error.to_string().contains("plugin of the kubeconfig did not end"), "{error}");
            assert!(error.hint().unwrap().contains("`exec` in the kubeconfig"));
        }
        // The plugins that hang end with the cause.
        std::fs::remove_file(directory.path().join("hangs")).unwrap();
        connector.connect(&hanging, Clock::real(), &Hook::default()).await.unwrap();
    }
}
