//! The sockets: a listener whose connections can be cut at any moment, by a fault or when the
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

/// A handle to one connection: whoever holds it can cut it.
#[derive(Debug, Clone)]
pub(crate) struct Wire(CancellationToken);

impl Wire {
    /// Breaks the connection: nothing more is read from it or written to it.
    pub(crate) fn cut(&self) {
        self.0.cancel();
    }

    /// Waits until the connection has been cut.
    pub(crate) async fn was_cut(&self) {
        self.0.cancelled().await;
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.io().wire.clone()
    }
}

/// Serves `router` on `listener` until `stop`, which also cuts every connection.
pub(crate) async fn serve(listener: TcpListener, stop: CancellationToken, router: Router) {
    let listener = Cuttable { listener, stop: stop.clone() };
    let service = router.into_make_service_with_connect_info::<Wire>();
    tokio::select! {
        () = stop.cancelled() => {}
        // `axum::serve` never ends by itself: failures to accept are retried.
        _ = axum::serve(listener, service) => {}
    }
}

pub(crate) struct Cuttable {
    listener: TcpListener,
    stop: CancellationToken,
}

impl Listener for Cuttable {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Small answers must not wait for more to come; where the option is refused they are only
        // slower.
        let _ = stream.set_nodelay(true);
        let token = self.stop.child_token();
        let connection = Connection {
            stream,
            cut: Box::pin(token.clone().cancelled_owned()),
            wire: Wire(token),
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    wire: Wire,
}

impl Connection {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
