//! Bounds on what a server may send, so that no response takes all memory. Used by both clients.

use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower::Service;

use super::error::{BoxError, causes};

/// The longest response. The longest honest ones are a page of 500 pods and a page of 100 Auto Scaling groups with all
/// their instances, of about 20 MB each.
const MAX_RESPONSE: usize = 64 << 20;

/// The longest line of a watch: an event with one object. etcd keeps objects of up to 1.5 MiB.
const MAX_WATCH_LINE: usize = 8 << 20;

/// The error of a body that is too long.
#[derive(Debug, thiserror::Error)]
#[error("the server sent more than {} MiB{unit}", limit >> 20)]
pub(super) struct TooLong {
    limit: usize,
    unit: &'static str,
}

impl TooLong {
    /// Returns the error among an error and its causes.
    pub(super) fn among_causes<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Self> {
        causes(error).find_map(|cause| cause.downcast_ref())
    }
}

/// The part that is bounded: the whole body, or each line of one that never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Response,
    Line,
}

/// A body that ends with an error when it is too long.
#[derive(Debug)]
pub(super) struct Bounded<B> {
    body: B,
    unit: Unit,
    limit: usize,
    /// The bytes of the unit so far.
    seen: usize,
}

impl<B> Bounded<B> {
    /// Bounds a whole response.
    pub(super) fn response(body: B) -> Self {
        Self { body, unit: Unit::Response, limit: MAX_RESPONSE, seen: 0 }
    }

    fn lines(body: B) -> Self {
        Self { body, unit: Unit::Line, limit: MAX_WATCH_LINE, seen: 0 }
    }

    fn count(&mut self, data: &[u8]) -> Result<(), TooLong> {
        let too_long = match self.unit {
            Unit::Response => {
                self.seen = self.seen.saturating_add(data.len());
                self.seen > self.limit
            }
            Unit::Line => {
                let mut pieces = data.split(|byte| *byte == b'\n').map(<[u8]>::len);
                // The first piece ends the line that has begun, and each other one begins a line.
                let first = self.seen.saturating_add(pieces.next().unwrap_or_default());
                let (longest, last) =
                    pieces.fold((first, first), |(longest, _), piece| (longest.max(piece), piece));
                self.seen = last;
                longest > self.limit
            }
        };
        let unit = match self.unit {
            Unit::Response => "",
            Unit::Line => " in one event of a watch",
        };
        if too_long { Err(TooLong { limit: self.limit, unit }) } else { Ok(()) }
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into).and_then(|frame| {
            frame.data_ref().map_or(Ok(()), |data| self.count(data))?;
            Ok(frame)
        });
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A service whose responses are bounded: those to watches line by line.
#[derive(Debug, Clone)]
pub(super) struct BoundedResponses<S>(pub(super) S);

impl<S, R, B> Service<Request<R>> for BoundedResponses<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Bounded<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(is_watch);
        let response = self.0.call(request);
        Box::pin(async move {
            let bounded = if is_watch { Bounded::lines } else { Bounded::response };
            Ok(response.await?.map(bounded))
        })
    }
}

/// Whether the query of a Kubernetes request asks for a watch.
fn is_watch(query: &str) -> bool {
    query.split('&').any(|parameter| matches!(parameter, "watch=true" | "watch=1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(mut body: Bounded<()>, chunks: &[&str]) -> Result<(), String> {
        let mut counted = chunks.iter().map(|chunk| body.count(chunk.as_bytes()));
        counted.try_for_each(|result| result.map_err(|error| error.to_string()))
    }

    #[test]
    fn a_response_is_bounded_as_a_whole_and_a_watch_line_by_line() {
        let response = || Bounded { body: (), unit: Unit::Response, limit: 4, seen: 0 };
        assert!(counts(response(), &["12", "34"]).is_ok());
        assert!(counts(response(), &["12", "\n34"]).is_err());
        let lines = || Bounded { body: (), unit: Unit::Line, limit: 4, seen: 0 };
        assert!(counts(lines(), &["1234", "\n12", "34\n", "1234\n1\n"]).is_ok());
        assert!(counts(lines(), &["1\n12", "345"]).is_err());
        assert!(counts(lines(), &["1\n12345\n1"]).is_err());
        let error = counts(Bounded::lines(()), &[&"x".repeat(MAX_WATCH_LINE + 1)]).unwrap_err();
        assert_eq!(error, "the server sent more than 8 MiB in one event of a watch");
    }

    #[test]
    fn watches_are_told_from_lists_by_their_query() {
        assert!(is_watch("limit=1&watch=true") && is_watch("watch=1"));
        assert!(!is_watch("labelSelector=watch%3Dtrue") && !is_watch(""));
    }
}
