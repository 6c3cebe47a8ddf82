//! `serve`: runbooks over HTTP.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{
    CliError, Exit, Global,
    limits::LimitsArgs,
    listen::ListenAddress,
    notify::{NotifyFileArgs, links},
    stdout,
    store::{StoreKind, StorePlace},
    target::TargetArgs,
    windows::WindowsArgs,
};
use crate::{
    cluster_accounts::ClusterAccounts,
    engine::Engine,
    journal::{Failure, FailureKind, Retention, RunStore, RunTarget},
    metrics::{MeasuredStore, Metrics},
    notify::{self, Notifier, NotifyConfig, ObjectEvents},
    platform::{Observers, Platform, PlatformObserver},
    runbook_dir::RunbookDir,
    server::{Access, AnonymousReads, Authentication, HttpServer, Reach, Service, Tls},
    traces,
};

/// How long a call in flight may take to end when the service is asked to shut down.
const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(15);

/// How long the end waits for the last notifications. What is left over is told by the next process.
const NOTIFY_LIMIT: Duration = Duration::from_secs(2);

/// How long the process may take to end altogether. Kubernetes kills a pod after 30 s.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(18);

/// The party that knows the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AuthKind {
    /// The API server of the cluster
    Kubernetes,
}

/// How long the last spans may take to be sent.
const TRACES_GRACE_PERIOD: Duration = Duration::from_secs(2);

/// Serves runbooks over HTTP: GET or POST /run, GET /status, GET /health and more.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct ServeArgs {
    /// Address to listen on
    ///
    /// IP:PORT, NAME:PORT such as localhost:8080, or :PORT for all addresses of this machine.
    #[arg(long, value_name = "ADDRESS", env = "SOP_LISTEN", default_value = "127.0.0.1:8080")]
    listen: ListenAddress,
    /// Another address, which only answers with the metrics, in plain HTTP and without a token
    ///
    /// `/metrics` is on the address of the service, too.
    #[arg(long, value_name = "ADDRESS", env = "SOP_METRICS_LISTEN")]
    metrics_listen: Option<ListenAddress>,
    /// File with the bearer token that requests which change something must carry
    ///
    /// One line of at least 16 characters. Only its owner and its group may read the file (mode 0640). It is read for
    /// each request that carries a token.
    #[arg(long, value_name = "FILE", env = "SOP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Let anybody who can reach the address start and stop runs
    #[arg(long, env = "SOP_ALLOW_ANONYMOUS", conflicts_with = "token_file")]
    allow_anonymous: bool,
    /// Let the cluster say who a client is and what it may do
    ///
    /// `kubernetes`: a request carries the token of a Kubernetes account, which the cluster checks (TokenReview), and
    /// what the account may do with runbookruns in the namespace of the store (SubjectAccessReview) is what it may do
    /// here: create them, get and list them, update runbookruns/cancel, /approve, /resume, /rollback and /abandon. The
    /// account of the service needs the role system:auth-delegator.
    #[arg(long, value_name = "WHO", env = "SOP_AUTH", conflicts_with_all = ["token_file", "allow_anonymous"])]
    auth: Option<AuthKind>,
    /// With --auth kubernetes, the audience that tokens must be meant for; can be repeated
    #[arg(
        long = "audience",
        value_name = "NAME",
        env = "SOP_AUDIENCES",
        value_delimiter = ',',
        default_value = "rafay-relay-sop",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    audiences: Vec<String>,
    /// The reads of clients without a token, where the service knows its clients
    #[arg(long, value_name = "WHAT", env = "SOP_ANONYMOUS_READS", default_value = "status")]
    anonymous_reads: AnonymousReads,
    /// Name by which browsers address a service without a token, such as `sop.example.com`; can be repeated
    ///
    /// A page of the service starts something only at such a name, at localhost or at an IP address: any other page
    /// could have its own name resolved to the address of the service. Programs are not concerned.
    #[arg(
        long = "host-name",
        value_name = "NAME",
        env = "SOP_HOST_NAMES",
        value_delimiter = ',',
        requires = "allow_anonymous",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    host_names: Vec<String>,
    /// Resume a run of this service that was interrupted no longer ago than this
    #[arg(long, value_name = "DURATION", env = "SOP_RESUME_WITHIN", default_value = "1h")]
    resume_within: runbook::Duration,
    /// Start runs that are asked for by creating a RunbookRun in the namespace of the store, such as with kubectl
    ///
    /// Everybody who may create RunbookRuns there may start runs then; no token is asked for.
    #[arg(long, env = "SOP_ACCEPT_OBJECTS")]
    accept_objects: bool,
    /// In the cluster, remove runs that are over, ended longer ago than this, and are not among --prune-keep
    #[arg(long, value_name = "DURATION", env = "SOP_PRUNE_OLDER_THAN", default_value = "90d")]
    prune_older_than: runbook::Duration,
    /// In the cluster, keep at least this many of the latest runs of each runbook
    #[arg(long, value_name = "COUNT", env = "SOP_PRUNE_KEEP", default_value = "50")]
    prune_keep: usize,
    /// Refuse GET /run for a runbook that succeeded on the same target no longer ago than this; 0 refuses none
    ///
    /// A page reload and a link preview are GETs, too. POST /run and GET /run?again=true are never refused for this.
    #[arg(long, value_name = "DURATION", env = "SOP_RESTART_GUARD", default_value = "1h")]
    restart_guard: runbook::Duration,
    /// Do not look for conflicts before a run starts; `POST /plan` does
    #[arg(long, env = "SOP_NO_PLAN")]
    no_plan: bool,
    /// Speak HTTPS with this certificate: a PEM file, the service's own first, then its issuers
    ///
    /// Without it the service speaks plain HTTP. The two files are read for each connection.
    #[arg(long, value_name = "FILE", env = "SOP_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, as a PEM file that only its owner and its group may read
    #[arg(long, value_name = "FILE", env = "SOP_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    windows: WindowsArgs,
    #[command(flatten)]
    notify: NotifyFileArgs,
    /// Write no Kubernetes Events: neither of runs, nor on the objects that they change
    #[arg(long, env = "SOP_NO_EVENTS")]
    no_events: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    limits: LimitsArgs,
}

impl ServeArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let runbook_dir = global.runbook_dir();
        runbook_dir.ensure_usable()?;
        let addresses = self.listen.resolve().await?;
        let access = self.access(&addresses)?;
        let limits = self.limits.limits()?;
        let windows = self.windows.read()?;
        let notify = self.notify.read()?;
        if let Some(config) = &notify {
            warn_of_unknown_runbooks(config, &runbook_dir);
        }
        let tls = self.tls()?;
        // First of all: as the first process of a container, a signal without a handler would be ignored.
        let shutdown_signal = shutdown_signal()?;
        let listener = self.bind(&addresses).await?;
        let address = listener.local_addr()?;
        let metrics_listener = self.bind_metrics().await?;
        let url = match &tls {
            Some(_) => format!("https://{address}"),
            None => format!("http://{address}"),
        };
        let environment = self.target.connect().await?;
        let access = match self.auth {
            Some(AuthKind::Kubernetes) => {
                self.with_cluster_accounts(access, &environment.platform, global).await?
            }
            None => access,
        };
        let access = if tls.is_some() { access.over_tls() } else { access };
        let metrics = Metrics::new();
        let mut observers: Vec<Arc<dyn PlatformObserver>> = vec![Arc::new(metrics.clone())];
        let exporter = traces_exporter()?;
        let traces = exporter.as_ref().map(traces::Exporter::traces);
        observers
            .extend(traces.clone().map(|traces| Arc::new(traces) as Arc<dyn PlatformObserver>));
        environment.platform.observe(Arc::new(Observers(observers)));
        let times = self.target.lease_times()?;
        let place =
            global.store_place(self.target.simulate, times, || environment.platform.clone())?;
        if self.accept_objects && matches!(place, StorePlace::Directory(_)) {
            return Err(CliError::usage_with_hint(
                "--accept-objects: a state directory has no objects",
                "pass --store cluster, or leave it out",
            ));
        }
        let store = place.open_for_writing("serve", Some(url.clone())).await?;
        if self.no_events {
            store.write_no_kubernetes_events();
        }
        let store: Arc<dyn RunStore> =
            Arc::new(MeasuredStore::new(store.as_run_store(), store.kind(), metrics.clone()));
        let notifier = notify.map(|config| {
            let counted = metrics.clone();
            let count = Arc::new(move |sink: &str, result: notify::DeliveryResult| {
                counted.notifications(sink, result.as_str());
            });
            Notifier::start(
                config,
                Arc::clone(&store),
                links(global),
                notify::Reach::Service,
                count,
            )
        });
        let mut engine = Engine::new(environment.platform.clone(), store, self.target.simulate)
            .with_lease_times(times)
            .checking_permissions(self.target.checks_permissions())
            .without_waiting_for_leases()
            .observed_by(Arc::new(metrics.clone()));
        if let Some(notifier) = &notifier {
            engine = engine.observed_by(Arc::<Notifier>::clone(notifier));
        }
        if !self.no_events {
            let events = ObjectEvents::start(environment.platform.clone());
            engine = engine.observed_by(Arc::new(events));
        }
        if let Some(traces) = traces {
            engine = engine.observed_by(Arc::new(traces));
        }
        if self.target.is_scaled()? {
            let target = RunTarget::default();
            self.target.ensure_speed_is_allowed(&environment.platform, &target).await?;
        }
        let service = Service::new(engine, runbook_dir, self.restart_guard.std(), windows, limits)
            .planning_before_runs(!self.no_plan)
            .measured_by(metrics);
        // Before a client can ask for its status.
        let max_age = self.resume_within.std();
        service.expect_recovery(max_age).await;
        let retention = Retention {
            older_than: Some(self.prune_older_than.std()),
            keep: Some(self.prune_keep),
        };
        // What the service does by itself, until it is asked to end.
        let mut tasks = JoinSet::new();
        let of_service = service.clone();
        tasks.spawn(async move { of_service.recover(max_age).await });
        let of_service = service.clone();
        tasks.spawn(async move { of_service.remove_old_runs(retention).await });
        if let Some(notifier) = notifier.clone() {
            notifier.catch_up();
            tasks.spawn(async move { notifier.watch_for_stuck().await });
        }
        if self.accept_objects {
            let of_service = service.clone();
            tasks.spawn(async move { of_service.start_requested().await });
        }
        let mut server = HttpServer::start(listener, service.clone(), access, tls)?;
        if let Some(listener) = metrics_listener {
            let address = listener.local_addr()?;
            server.serve_metrics(listener, service.clone())?;
            tracing::info!(%address, "listening for readers of the metrics");
            stdout::write_stderr(&format!("metrics on http://{address}/metrics\n"));
        }
        tracing::info!(%address, "listening");
        stdout::write_stderr(&format!("listening on {url}\n"));
        tokio::select! {
            () = shutdown_signal => {}
            why = server.ended() => {
                return Err(CliError::Service(format!("the listener has ended: {why}")));
            }
        }
        end_in_time()?;
        tasks.abort_all();
        let drain = async { tokio::join!(service.shut_down(), server.stop()) };
        if tokio::time::timeout(SHUTDOWN_GRACE_PERIOD, drain).await.is_err() {
            tracing::warn!("calls in flight did not finish in time; the run can be resumed");
        }
        if let Some(notifier) = notifier {
            notifier.finish(NOTIFY_LIMIT).await;
        }
        if let Some(exporter) = exporter {
            exporter.end(TRACES_GRACE_PERIOD).await;
        }
        Ok(Exit::Success)
    }

    /// Returns who may use the address. On one that other machines can reach, that must be decided.
    fn access(&self, addresses: &[SocketAddr]) -> Result<Access, CliError> {
        let is_loopback = addresses.iter().all(|address| address.ip().is_loopback());
        let reach = match is_loopback {
            true => Reach::ThisMachine { host: self.listen.host().to_owned() },
            false => Reach::Network { names: self.host_names.clone() },
        };
        if let Some(path) = &self.token_file {
            let token = Authentication::token_file(path)
                .map_err(|error| usage(error.to_string(), error.hint()))?;
            return Ok(Access::new(reach, token, self.anonymous_reads));
        }
        if is_loopback || self.allow_anonymous || self.auth.is_some() {
            return Ok(Access::anonymous(reach));
        }
        let message = format!("--listen {}: other machines could start runs", self.listen);
        Err(CliError::usage_with_hint(
            message,
            "pass --token-file FILE, --auth kubernetes, or --allow-anonymous",
        ))
    }

    /// Lets the cluster say who the clients are.
    async fn with_cluster_accounts(
        &self,
        access: Access,
        platform: &Platform,
        global: &Global,
    ) -> Result<Access, CliError> {
        if self.target.simulate {
            return Err(CliError::usage_with_hint(
                "--auth kubernetes: a simulated cluster has no accounts",
                "pass --token-file FILE instead",
            ));
        }
        let failed = |error: crate::platform::Error| {
            usage(error.to_string(), error.hint().map(str::to_owned))
        };
        let cluster = platform.reader().kubernetes().await.map_err(failed)?;
        let namespace = match global.store_kind(false)? {
            StoreKind::Cluster => global.store_namespace.as_deref(),
            StoreKind::Directory => None,
        };
        let objects = platform.run_objects(namespace).await.map_err(failed)?;
        let namespace = objects.namespace().to_owned();
        let accounts = ClusterAccounts::new(cluster, namespace, self.audiences.clone());
        let authentication = Authentication::Delegated(Arc::new(accounts));
        Ok(access.with_authentication(authentication, self.anonymous_reads))
    }

    /// Returns the certificate and the key, if they are named.
    fn tls(&self) -> Result<Option<Tls>, CliError> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        match Tls::open(certificate, key) {
            Ok(tls) => Ok(Some(tls)),
            Err(error) => Err(usage(error.to_string(), error.hint())),
        }
    }

    /// Listens on the address of the metrics, where there is one.
    async fn bind_metrics(&self) -> Result<Option<TcpListener>, CliError> {
        let Some(address) = &self.metrics_listen else { return Ok(None) };
        let option = "--metrics-listen";
        let addresses = address.resolve_for(option).await?;
        let listener = TcpListener::bind(addresses.as_slice()).await;
        listener.map(Some).map_err(|error| address.unusable_by(&error, option))
    }

    /// Listens on the first of the addresses that can be used.
    async fn bind(&self, addresses: &[SocketAddr]) -> Result<TcpListener, CliError> {
        TcpListener::bind(addresses).await.map_err(|error| self.listen.unusable(&error))
    }
}

/// Returns the way of traces to their receiver, where the environment names one.
fn traces_exporter() -> Result<Option<traces::Exporter>, CliError> {
    let settings = traces::Settings::from_environment();
    let Some(settings) = settings.map_err(|error| usage(error.to_string(), None))? else {
        return Ok(None);
    };
    match traces::Exporter::start(settings) {
        Ok(exporter) => Ok(Some(exporter)),
        // The variables are often set for all programs of a cluster. No run waits for its trace.
        Err(problem) => {
            tracing::warn!(%problem, "no traces are sent");
            Ok(None)
        }
    }
}

/// Says which runbooks webhooks are limited to that are not there: a mistyped name would drop messages in silence.
fn warn_of_unknown_runbooks(config: &NotifyConfig, runbook_dir: &RunbookDir) {
    let known = runbook_dir.names();
    for name in config.named_runbooks() {
        if !known.iter().any(|known| known == name) {
            tracing::warn!(runbook = name, "a webhook is limited to a runbook that is not found");
        }
    }
}

/// Returns an error of usage, with its remedy where there is one.
fn usage(message: String, hint: Option<String>) -> CliError {
    CliError::Failure(Failure::new(FailureKind::Usage, message).with_hint(hint))
}

/// Ends the process when its time is up, whatever hangs: a credential plugin can hold up every thread of a runtime.
fn end_in_time() -> std::io::Result<()> {
    let wait = || {
        std::thread::sleep(SHUTDOWN_LIMIT);
        tracing::warn!("the process did not end in time; the run can be resumed");
        // The journal holds everything that was done: the run counts as interrupted.
        std::process::exit(0);
    };
    std::thread::Builder::new().name("shutdown".into()).spawn(wait).map(drop)
}

/// Resolves at SIGTERM or Ctrl-C.
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
