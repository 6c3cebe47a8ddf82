//! A stream that fails when its peer takes nothing for too long, or too long for all of it: a client that does not read
//! its response would keep the connection for ever, and so would one that reads a byte now and then. A client that is
//! only slow gets its response.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream with limits on how long writes may wait.
pub(super) struct WriteTimeout<S, F> {
    stream: S,
    /// The limit of one wait, and of all until everything is written.
    limit: Duration,
    limit_in_all: Duration,
    /// The end of the wait, while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
    /// The end of all waits, from the first write after a flush.
    deadline_in_all: Option<Pin<Box<Sleep>>>,
    /// Called when a flush has ended: everything is written.
    on_flush: F,
}

impl<S, F: Fn() + Unpin> WriteTimeout<S, F> {
    pub(super) fn new(stream: S, limit: Duration, limit_in_all: Duration, on_flush: F) -> Self {
        let (deadline, deadline_in_all) = (None, None);
        Self { stream, limit, limit_in_all, deadline, deadline_in_all, on_flush }
    }

    /// Passes on what a write returned, unless it waits for too long.
    fn limit<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let timed_out =
            |message| Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        let in_all = self.limit_in_all;
        let in_all = self.deadline_in_all.get_or_insert_with(|| Box::pin(sleep(in_all)));
        if in_all.as_mut().poll(context).is_ready() {
            return timed_out("the client reads too slowly");
        }
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        if deadline.as_mut().poll(context).is_ready() {
            return timed_out("the client reads nothing");
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for WriteTimeout<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, F: Fn() + Unpin> AsyncWrite for WriteTimeout<S, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.limit(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        let flushed = self.limit(context, flushed);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.deadline_in_all = None;
            (self.on_flush)();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limit(context, shut_down)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_hours(1);

    /// A peer that takes a byte now and then.
    async fn read_slowly(mut theirs: DuplexStream) {
        while theirs.read_u8().await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_ends_the_stream() {
        let (ours, _theirs) = duplex(4);
        let mut stream = WriteTimeout::new(ours, SOON, NEVER, || ());
        stream.write_all(b"four").await.unwrap();
        let error = stream.write_all(b"more").await.unwrap_err();
        assert_eq!(error.to_string(), "the client reads nothing");
    }

    #[tokio::test]
    async fn a_peer_that_is_slow_gets_everything_and_each_response_has_the_whole_time() {
        let (ours, theirs) = duplex(4);
        let sent = Cell::new(false);
        let mut stream = WriteTimeout::new(ours, NEVER, NEVER, || sent.set(true));
        let write = async {
            for _ in 0..3 {
                sent.set(false);
                stream.write_all(&[0; 100]).await.unwrap();
                assert!(!sent.get() && stream.deadline_in_all.is_some());
                stream.flush().await.unwrap();
                assert!(sent.get() && stream.deadline_in_all.is_none());
            }
            drop(stream);
        };
        tokio::join!(write, read_slowly(theirs));
    }

    #[tokio::test]
    async fn a_peer_that_is_too_slow_ends_the_stream() {
        let (ours, theirs) = duplex(4);
        let mut stream = WriteTimeout::new(ours, NEVER, SOON, || ());
        let write = async {
            loop {
                if let Err(error) = stream.write_all(&[0; 100]).await {
                    drop(stream);
                    break error;
                }
            }
        };
        let (error, ()) = tokio::join!(write, read_slowly(theirs));
        assert_eq!(error.to_string(), "the client reads too slowly");
    }
}
