//! The same call for many objects, a few at a time.

use futures::{StreamExt, stream::FuturesUnordered};

use super::Result;

/// An API server limits each client to its fair share; more calls at once would only queue.
const MAX_CONCURRENT: usize = 8;

/// Runs all calls, a few at a time. After a failure no further call is started, but those in flight are finished,
/// because the outcome of a call that was sent must be known.
///
/// # Errors
/// The first failure.
pub(super) async fn try_join_bounded<T>(
    calls: impl IntoIterator<Item = impl Future<Output = Result<T>>>,
) -> Result<Vec<T>> {
    let mut waiting = calls.into_iter();
    let mut in_flight: FuturesUnordered<_> = waiting.by_ref().take(MAX_CONCURRENT).collect();
    let mut done = Vec::new();
    let mut failure = None;
    while let Some(result) = in_flight.next().await {
        match result {
            Ok(value) => done.push(value),
            Err(error) => failure = failure.or(Some(error)),
        }
        if failure.is_none() {
            in_flight.extend(waiting.next());
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{super::Error, *};

    #[tokio::test]
    async fn a_failure_starts_no_further_call_and_abandons_none() {
        let finished = AtomicUsize::new(0);
        let call = |number: usize| {
            let finished = &finished;
            async move {
                if number == 3 {
                    return Err(Error::busy("three"));
                }
                tokio::task::yield_now().await;
                finished.fetch_add(1, Ordering::Relaxed);
                Ok(number)
            }
        };
        let error = try_join_bounded((0..100).map(call)).await.unwrap_err();
        assert_eq!(error.to_string(), "three");
        assert_eq!(finished.load(Ordering::Relaxed), MAX_CONCURRENT - 1);
        assert_eq!(try_join_bounded((10..30).map(call)).await.unwrap().len(), 20);
    }
}
