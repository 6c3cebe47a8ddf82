//! Accepts connections within the limits and speaks HTTP/1.1 on them, on a runtime of its own: whatever clients do, the
//! runs and their clients of Kubernetes and AWS have their own threads. HTTP/2 is not spoken, neither in cleartext nor
//! over TLS: its many requests on one connection would evade the limits.

use std::{io, net::SocketAddr, num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, serve::Listener};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::{
    Access, Service, Tls,
    connections::{Activity, Connections},
    error::RETRY_AFTER_SECONDS,
    limits::Limits,
    monitoring, router,
    write_timeout::WriteTimeout,
};

/// The threads that answer requests, and those that read the store or check a text for them.
const WORKER_THREADS: usize = 2;
const BLOCKING_THREADS: usize = 4;

/// By how much these threads come after those of the runs when both want a processor.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// How many connections may be about to close beside those that are open, and how many refusals may be in progress.
const MAX_CLOSING: usize = 32;
const MAX_REFUSALS: usize = 16;

/// How many connections the address of the metrics takes: a few programs that read them, and what is left of their
/// last connections.
const METRICS_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// How many descriptors connections use at most beside [`Limits::connections`], on both addresses.
pub const EXTRA_DESCRIPTORS: usize = 2 * (MAX_CLOSING + MAX_REFUSALS) + METRICS_CONNECTIONS.get();

/// How long a client may take nothing of its response, how long it may take for the whole, and how long it may take to
/// take note that it was refused.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection that made room for another may take to close. No connection is accepted meanwhile.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a request that is being answered when the service ends may take, and how long any other connection.
const ANSWER_GRACE_PERIOD: Duration = Duration::from_secs(5);
const IDLE_GRACE_PERIOD: Duration = Duration::from_millis(200);

/// A header with all its fields is shorter than this.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// The HTTP server, which runs until it is stopped or dropped.
pub struct HttpServer {
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
    accepting: JoinHandle<()>,
    /// Accepts connections on the address of the metrics, where there is one.
    metrics: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl HttpServer {
    /// Answers requests.
    ///
    /// # Errors
    /// The system gives no threads, or the listener cannot be used.
    pub fn start(
        listener: TcpListener,
        service: Service,
        access: Access,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("http")
            .on_thread_start(prefer_runs)
            .enable_all()
            .build()?;
        let listener = into_runtime(listener, &runtime)?;
        let stop = CancellationToken::new();
        let limits = service.limits().clone();
        let server = Server::new(router(service, access), limits, tls, &stop);
        let accepting = runtime.spawn(Arc::new(server).accept(listener));
        Ok(Self { runtime: Some(runtime), accepting, metrics: None, stop })
    }

    /// Answers with the metrics on another address, too, in plain HTTP and to everybody.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn serve_metrics(&mut self, listener: TcpListener, service: Service) -> io::Result<()> {
        // It is taken when this is dropped.
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let listener = into_runtime(listener, runtime)?;
        let limits = Limits {
            connections: METRICS_CONNECTIONS,
            connections_per_peer: METRICS_CONNECTIONS,
            ..service.limits().clone()
        };
        let server = Server::new(monitoring::router(service), limits, None, &self.stop);
        self.metrics = Some(runtime.spawn(Arc::new(server).accept(listener)));
        Ok(())
    }

    /// Waits until the server ends by itself, which is a defect.
    pub async fn ended(&mut self) -> String {
        match (&mut self.accepting).await {
            Ok(()) => "it was stopped".into(),
            Err(error) => error.to_string(),
        }
    }

    /// Accepts no more connections, closes the idle ones, and waits a moment for the requests that are being answered.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        // What has become of the connections no longer matters.
        let _ = (&mut self.accepting).await;
        if let Some(accepting) = self.metrics.take() {
            let _ = accepting.await;
        }
    }
}

/// Returns a listener whose connections are those of a runtime.
fn into_runtime(listener: TcpListener, runtime: &Runtime) -> io::Result<TcpListener> {
    let listener = listener.into_std()?;
    let _runtime = runtime.enter();
    TcpListener::from_std(listener)
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // A runtime must not be waited for here, and a thread that hangs must not hold up the end of the program.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lets the threads of the runs go first. On Linux each thread has a niceness of its own.
pub(super) fn prefer_runs() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "requests are answered at the priority of runs");
    }
}

struct Server {
    connections: Arc<Connections>,
    /// A permit for each connection until its descriptor is closed.
    descriptors: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    app: Router,
    stop: CancellationToken,
    limits: Limits,
    tls: Option<Tls>,
}

impl Server {
    fn new(app: Router, limits: Limits, tls: Option<Tls>, stop: &CancellationToken) -> Self {
        Self {
            connections: Arc::new(Connections::new(&limits)),
            descriptors: Arc::new(Semaphore::new(limits.connections.get() + MAX_CLOSING)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            app,
            stop: stop.clone(),
            limits,
            tls,
        }
    }

    async fn accept(self: Arc<Self>, mut listener: TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                // A failure is logged and followed by a pause.
                accepted = Listener::accept(&mut listener) => accepted,
            };
            self.admit(stream, peer, &mut tasks).await;
            // Tasks that have ended are forgotten; one that panicked has closed its connection.
            while tasks.try_join_next().is_some() {}
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }

    /// Serves a connection, or refuses it.
    async fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        // Small responses must not be delayed; where the option is not supported, they are only slower.
        let _ = stream.set_nodelay(true);
        let Some(place) = self.connections.enter(peer.ip()) else {
            return self.refuse(stream, tasks);
        };
        // The connection that made room is about to close. Many at once close one after the other, and a client that
        // comes meanwhile must not be refused for that.
        let permit = Arc::clone(&self.descriptors).acquire_owned();
        match timeout(CLOSING_TIMEOUT, permit).await {
            Ok(Ok(permit)) => {
                tasks.spawn(Arc::clone(self).serve(stream, peer, Activity::new(place), permit));
            }
            _ => self.refuse(stream, tasks),
        }
    }

    /// Says that the service has no place for a connection. Above a limit, and over TLS, it is closed without a word.
    fn refuse(&self, stream: TcpStream, tasks: &mut JoinSet<()>) {
        tracing::debug!("a connection was refused");
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        if self.tls.is_none() {
            tasks.spawn(async move {
                // The client may have gone already.
                let _ = timeout(REFUSAL_TIMEOUT, send_refusal(stream)).await;
                drop(permit);
            });
        }
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        activity: Activity,
        _permit: OwnedSemaphorePermit,
    ) {
        let Some(tls) = &self.tls else {
            return self.serve_http(stream, peer, &activity).await;
        };
        let handshake = timeout(self.limits.header_timeout, tls.acceptor().accept(stream));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            () = activity.place().closed() => return,
            () = self.stop.cancelled() => return,
        };
        match accepted {
            Ok(Ok(stream)) => self.serve_http(stream, peer, &activity).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn serve_http<S>(&self, stream: S, peer: SocketAddr, activity: &Activity)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(activity.clone());
            // A router is always ready.
            let response = self.app.clone().call(request);
            let activity = activity.clone();
            async move {
                let working = activity.work();
                let response = response.await;
                working.send();
                response
            }
        });
        let sent = activity.clone();
        let stream =
            WriteTimeout::new(stream, WRITE_TIMEOUT, RESPONSE_TIMEOUT, move || sent.sent());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection failed");
                }
            }
            () = activity.place().closed() => {
                tracing::debug!(%peer, "an idle connection made room for another");
            }
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let grace_period = match activity.place().is_idle() {
                    true => IDLE_GRACE_PERIOD,
                    false => ANSWER_GRACE_PERIOD,
                };
                // What is not answered by then is dropped with the connection.
                let _ = timeout(grace_period, connection).await;
            }
        }
    }
}

/// Sends a response to a client whose request is not read, and waits until the client has taken it.
async fn send_refusal(mut stream: TcpStream) -> io::Result<()> {
    let body = "{\"status\":\"error\",\"error\":\"the service has too many connections\"}";
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: {RETRY_AFTER_SECONDS}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await?;
    stream.shutdown().await?;
    // A connection that is closed with unread bytes is reset, and the client might lose the response.
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use axum::routing::get;
    use tokio::io::duplex;

    use super::*;
    use crate::server::limits::tests::limits;

    const PEER: ([u8; 4], u16) = ([10, 0, 0, 1], 1);

    /// A server with place for one connection of a peer.
    fn server(app: Router) -> Arc<Server> {
        let one = NonZeroUsize::new(1).unwrap();
        let limits = Limits { connections_per_peer: one, ..limits() };
        Arc::new(Server {
            connections: Arc::new(Connections::new(&limits)),
            descriptors: Arc::new(Semaphore::new(10)),
            refusals: Arc::new(Semaphore::new(1)),
            app,
            stop: CancellationToken::new(),
            limits,
            tls: None,
        })
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_keeps_its_place_until_it_has_its_response() {
        let body = "x".repeat(100_000);
        let server = server(Router::new().route("/", get(move || async { body })));
        let peer = SocketAddr::from(PEER);
        let enter = || server.connections.enter(peer.ip());
        let activity = Activity::new(enter().unwrap());
        let (ours, mut theirs) = duplex(64);
        let serving = tokio::spawn({
            let server = Arc::clone(&server);
            async move { server.serve_http(ours, peer, &activity).await }
        });
        theirs.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut response = vec![0; 64];
        theirs.read_exact(&mut response).await.unwrap();
        assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
        while response.len() < 100_000 {
            assert!(enter().is_none(), "after {} bytes", response.len());
            let mut more = [0; 1000];
            theirs.read_exact(&mut more).await.unwrap();
            response.extend(more);
        }
        // The connection is idle when its client has everything, and makes room for another.
        let (closed, ()) = tokio::join!(theirs.read_to_end(&mut response), async {
            while enter().is_none() {
                tokio::task::yield_now().await;
            }
        });
        closed.unwrap();
        assert!(response.ends_with(&[b'x'; 1000]) && response.len() > 100_000);
        serving.await.unwrap();
    }
}
