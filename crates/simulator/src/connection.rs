//! The sockets: a listener whose connections can be closed at any moment, by a fault or when the
//! simulator stops.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A handle with which a connection can be closed.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionHandle(CancellationToken);

impl ConnectionHandle {
    /// Returns the handle of a connection that is closed when `token` is cancelled.
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self(token)
    }

    /// Returns whether the connection has been closed.
    pub(crate) fn is_aborted(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Closes the connection: no more bytes are read from it or written to it.
    pub(crate) fn abort(&self) {
        self.0.cancel();
    }

    /// Waits until the connection has been closed.
    pub(crate) async fn aborted(&self) {
        self.0.cancelled().await;
    }
}

impl Connected<IncomingStream<'_, AbortableListener>> for ConnectionHandle {
    fn connect_info(stream: IncomingStream<'_, AbortableListener>) -> Self {
        stream.io().connection.clone()
    }
}

/// Serves `router` on `listener` until `stop`, which also closes every connection.
pub(crate) async fn serve(listener: TcpListener, stop: CancellationToken, router: Router) {
    let listener = AbortableListener { listener, stop: stop.clone() };
    let service = router.into_make_service_with_connect_info::<ConnectionHandle>();
    tokio::select! {
        () = stop.cancelled() => {}
        // `axum::serve` never returns by itself: it retries failed accepts.
        _ = axum::serve(listener, service) => {}
    }
}

pub(crate) struct AbortableListener {
    listener: TcpListener,
    stop: CancellationToken,
}

impl Listener for AbortableListener {
    type Io = AbortableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (AbortableStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Small responses must not be delayed; if the option is not supported, they are only
        // slower.
        let _ = stream.set_nodelay(true);
        let token = self.stop.child_token();
        let stream = AbortableStream {
            stream,
            aborted: Box::pin(token.clone().cancelled_owned()),
            connection: ConnectionHandle::new(token),
        };
        (stream, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub(crate) struct AbortableStream {
    stream: TcpStream,
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
    connection: ConnectionHandle,
}

impl AbortableStream {
    fn check_not_aborted(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.aborted.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for AbortableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_not_aborted(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for AbortableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_not_aborted(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
