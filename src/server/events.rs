//! The events of a run over HTTP: as server-sent events, as lines of JSON, and as the journal's own file.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response, sse::Event as ServerSentEvent},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::{
    Service,
    api::{EVENT_STREAM, JSON_LINES, NDJSON},
    error::ApiError,
    routes::{EventsQuery, parse_run_id},
    run_feed::RunFollower,
    streams::{self, RETRY, StreamPermit},
};
use crate::journal::{
    Checksum, Failure, FailureKind, RecordedEvent, RunEvent, RunId, RunState, StepEvent, to_lines,
};

/// The schema of an event in a journal: an event of a run, or of a step with the step's path.
pub(super) struct EventSchema;

impl JsonSchema for EventSchema {
    fn schema_name() -> Cow<'static, str> {
        "Event".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let run = generator.subschema_for::<RunEvent>();
        let step = generator.subschema_for::<StepEvent>();
        let path = generator.subschema_for::<crate::journal::StepPath>();
        json_schema!({
            "description": "An event, with its place in the run and its time.",
            "type": "object",
            "required": ["seq", "time", "event"],
            "properties": {
                "seq": {"type": "integer", "minimum": 0, "description": "Its place: 0 for the first event."},
                "time": {"type": "string", "format": "date-time", "description": "When it was written."},
                "step": path,
            },
            "anyOf": [run, step],
        })
    }
}

/// `GET /runs/{id}/events`.
pub(super) async fn events(
    State(service): State<Service>,
    Path(id): Path<String>,
    query: Result<Query<EventsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(EventsQuery { from, follow }) =
        query.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let id = parse_run_id(&id)?;
    let from = last_event_id(&headers)?.map_or(from, |last| last.saturating_add(1));
    let permit = service.open_stream()?;
    let follower = service.feeds().follow(&service, &id).await?;
    let events = EventStream { follower, next: from, follow, is_over: false, _permit: permit };
    let events = events.into_stream();
    if prefers_event_stream(&headers) {
        return Ok(streams::server_sent(events.map(|sent| Ok(sent.into_event()))));
    }
    let lines =
        events.filter_map(|sent| std::future::ready(sent.into_line().map(Ok::<_, std::io::Error>)));
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))];
    Ok((streams::HEADERS, content_type, Body::from_stream(lines)).into_response())
}

/// Returns the last event that a client has seen, where it says so.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    // A client that has seen no event with an id yet sends an empty one.
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let message = format!("`Last-Event-ID`: {text:?} is not the number of an event");
        let hint = Some("send the `id` of the last event that arrived, or leave the header out");
        Failure::new(FailureKind::Usage, message).with_hint(hint).into()
    })
}

/// Whether the client is one that asks for server-sent events, as browsers do.
fn prefers_event_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains(EVENT_STREAM))
}

/// A message to a client that follows a run.
enum Sent {
    Event(Arc<RecordedEvent>),
    /// Nothing follows: the state of the run, and whether the service is shutting down.
    End(RunState),
    Failed(Failure),
}

/// The events of a run, one after the other.
struct EventStream {
    follower: RunFollower,
    next: u64,
    follow: bool,
    is_over: bool,
    _permit: StreamPermit,
}

impl EventStream {
    fn into_stream(self) -> impl Stream<Item = Sent> + Send {
        let batches = stream::unfold(self, |mut events| async move {
            let batch = events.batch().await?;
            Some((stream::iter(batch), events))
        });
        batches.flatten()
    }

    /// Returns what is new; `None` at the end.
    async fn batch(&mut self) -> Option<Vec<Sent>> {
        if self.is_over {
            return None;
        }
        let followed = match self.follower.next(self.next).await {
            Ok(followed) => followed,
            Err(error) => {
                self.is_over = true;
                return Some(vec![Sent::Failed(Failure::from(&error))]);
            }
        };
        self.next = followed.events.last().map_or(self.next, |event| event.seq + 1);
        // A client of a service that shuts down is not told of an end: it asks the next one.
        let is_at_end = followed.is_at_rest() || !self.follow;
        self.is_over = is_at_end || followed.is_closing;
        let mut batch: Vec<Sent> = followed.events.into_iter().map(Sent::Event).collect();
        if is_at_end {
            batch.push(Sent::End(followed.state));
        }
        Some(batch)
    }
}

impl Sent {
    fn into_event(self) -> ServerSentEvent {
        let event = ServerSentEvent::default();
        match self {
            Self::Event(recorded) => {
                let event = match recorded.seq {
                    0 => event.retry(RETRY),
                    _ => event,
                };
                // An event that was read from a journal can be written again.
                let value = serde_json::to_value(&*recorded).unwrap_or_default();
                let name = value["event"].as_str().unwrap_or("message");
                event.id(recorded.seq.to_string()).event(name).data(value.to_string())
            }
            Self::End(state) => event.event("end").data(json!({"state": state}).to_string()),
            Self::Failed(failure) => {
                event.event("failed").data(json!({"failure": failure}).to_string())
            }
        }
    }

    /// Returns the line of an event. The end of a run is the end of its lines.
    fn into_line(self) -> Option<Bytes> {
        let mut line = match self {
            Self::Event(recorded) => serde_json::to_vec(&*recorded).ok()?,
            Self::End(_) => return None,
            Self::Failed(failure) => json!({"failure": failure}).to_string().into_bytes(),
        };
        line.push(b'\n');
        Some(line.into())
    }
}

/// `GET /runs/{id}/journal`.
pub(super) async fn journal(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = parse_run_id(&id)?;
    let events = {
        // The semaphore is never closed.
        let _reading = service.reading().acquire().await;
        service.store().read(&id, 0).await?
    };
    let lines = move || to_lines(&events, Checksum::default());
    let written = tokio::task::spawn_blocking(lines).await.map_err(|_| ApiError::unfinished())?;
    let (lines, _) = written.map_err(|error| {
        ApiError::from(Failure::new(
            FailureKind::Internal,
            format!("cannot write the journal: {error}"),
        ))
    })?;
    Ok((download(&id), lines).into_response())
}

/// Returns the headers of a file that a browser saves. An id has no character that needs quoting.
fn download(id: &RunId) -> [(HeaderName, String); 2] {
    [
        (header::CONTENT_TYPE, JSON_LINES.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.jsonl\"")),
    ]
}
