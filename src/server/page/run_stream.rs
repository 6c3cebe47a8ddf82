//! `GET /runs/{id}/stream`: the page of a run, kept current. Each message has the elements that events have changed,
//! and the number of the last of these events, so that a browser that lost the connection continues exactly there.

use std::{
    collections::VecDeque,
    convert::Infallible,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::{Response, sse::Event},
};
use futures::Stream;
use serde::Deserialize;
use serde_json::json;

use super::{
    caches::{Caches, SharedRun},
    render,
    run_page::{self, Refused, liveness},
    run_view::{self, Liveness},
    step_view::{self, Axis, MAX_PARTS},
    watched_run::{LogLine, WatchedRun, steps_of},
    words::Present,
};
use crate::{
    journal::{RecordedEvent, RunId, StepPath},
    server::{
        Service,
        error::ApiError,
        events::last_event_id,
        routes,
        run_feed::{Followed, RunFollower},
        streams::{RETRY, StreamPermit, server_sent},
    },
};

/// The pause between two messages: what happens meanwhile is in one.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// How often the axis of time is looked at while nothing happens.
const AXIS_INTERVAL: Duration = Duration::from_secs(5);

/// The place in the run from which a browser asks for what is new.
#[derive(Deserialize)]
pub(super) struct StreamQuery {
    after: Option<u64>,
}

/// A browser's place in a run.
struct RunStream {
    service: Service,
    follower: RunFollower,
    id: RunId,
    run: SharedRun,
    liveness: Liveness,
    /// The last event that the browser has.
    seq: u64,
    /// The regions as the browser has them.
    regions: [u64; 7],
    messages: VecDeque<Event>,
    is_over: bool,
    _permit: StreamPermit,
}

/// `GET /runs/{id}/stream`.
pub(super) async fn stream(
    State(service): State<Service>,
    Extension(caches): Extension<Caches>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, ApiError> {
    let id = routes::parse_run_id(&id)?;
    let permit = service.open_stream()?;
    // What is not a number is no place in the run: the page begins anew.
    let last = last_event_id(&headers).ok().flatten();
    let seq = last.or(query.after).unwrap_or_default();
    let mut follower = service.feeds().follow(&service, &id).await?;
    let begun = follower.next(0).await?;
    let run = caches.watched(&id, &begun.events).ok_or_else(ApiError::unfinished)?;
    let liveness = liveness(&service, &id, &begun);
    let mut stream = RunStream {
        service,
        follower,
        id,
        run,
        liveness,
        seq,
        regions: [0; 7],
        messages: VecDeque::from([hello()]),
        is_over: false,
        _permit: permit,
    };
    match begun.events.get(usize::try_from(seq).unwrap_or(usize::MAX)) {
        Some(_) => stream.take(&begun),
        // The page is of another journal.
        None => stream.reload(),
    }
    Ok(server_sent(stream.into_events()))
}

/// Returns the message with which a stream begins: the browser knows that it is connected.
pub(super) fn hello() -> Event {
    Event::default().retry(RETRY).comment("connected")
}

/// Returns a message with elements. JSON has no line breaks, which would end a line of the message.
pub(super) fn elements(html: &str) -> Event {
    Event::default().event("parts").data(json!(html).to_string())
}

/// Returns a number by which two texts differ.
pub(super) fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl RunStream {
    fn into_events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        futures::stream::unfold(self, |mut stream| async move {
            let event = stream.next().await?;
            Some((Ok(event), stream))
        })
    }

    /// Waits for the next message; none when the stream is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.messages.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            tokio::time::sleep(PAUSE).await;
            self.follow().await;
        }
    }

    /// Waits until something has changed.
    async fn follow(&mut self) {
        match tokio::time::timeout(AXIS_INTERVAL, self.follower.next(self.seq + 1)).await {
            Ok(Ok(followed)) => {
                let was_live = self.liveness.is_live();
                self.liveness = liveness(&self.service, &self.id, &followed);
                if was_live != self.liveness.is_live() {
                    self.tell_all_open();
                }
                self.take(&followed);
            }
            Ok(Err(error)) => {
                // The browser connects again, and is told the reason by the page.
                tracing::warn!(run = self.id.as_str(), %error, "a stream has ended");
                self.is_over = true;
            }
            Err(_) => self.tell(&[]),
        }
    }

    /// Tells what is new, and ends the stream where nothing follows. A service that shuts down says nothing about the
    /// end: the browser connects again.
    fn take(&mut self, followed: &Followed) {
        let new = followed.events.iter().position(|event| event.seq > self.seq);
        self.tell(new.map_or(&[], |new| &followed.events[new..]));
        if followed.is_closing {
            self.is_over = true;
        } else if followed.is_at_rest() && !self.is_over {
            let is_final = if followed.state.is_over() { "final" } else { "unfinished" };
            let event = Event::default().event("end").id(self.seq.to_string()).data(is_final);
            self.messages.push_back(event);
            self.is_over = true;
        }
    }

    /// Has the browser load the page again.
    fn reload(&mut self) {
        self.messages.push_back(Event::default().event("reload").data("reload"));
        self.is_over = true;
    }

    /// Adds a message with what events have changed, if that is anything.
    fn tell(&mut self, events: &[Arc<RecordedEvent>]) {
        let shared = Arc::clone(&self.run);
        let mut run = shared.lock();
        run.follow(events);
        let (from, last) = (self.seq, events.last().map_or(self.seq, |event| event.seq));
        if run.resumed_at.is_some_and(|resumed_at| resumed_at > from && resumed_at <= last) {
            // Steps may have begun again, and the runbook may be another.
            return self.reload();
        }
        let now = self.service.engine().clock().now();
        let axis = run_view::axis(&run, &self.liveness, now);
        let mut html = self.changed_regions(&run, &axis);
        html.push_str(&changed_steps(&run, events, from, &axis, self.liveness.is_live()));
        let lines = run.lines(from + 1).iter().filter(|line| line.seq <= last);
        let lines: Vec<LogLine> = lines.cloned().collect();
        html.push_str(&render::log_lines(&run_view::lines(&lines)));
        self.seq = last;
        if !html.is_empty() {
            self.messages.push_back(elements(&html).id(last.to_string()));
        }
    }

    /// Adds a message with the steps that have not ended: whether they are being run has changed.
    fn tell_all_open(&mut self) {
        let run = self.run.lock();
        let axis = run_view::axis(&run, &self.liveness, self.service.engine().clock().now());
        let is_live = self.liveness.is_live();
        let open = run.run.steps().iter().filter(|step| step.outcome.is_none());
        let heads: String = open
            .map(|step| step_view::step_view(&run, &step.path, &axis, is_live))
            .map(|step| render::step_head(&step, Present(None)))
            .collect();
        if !heads.is_empty() {
            self.messages.push_back(elements(&heads).id(self.seq.to_string()));
        }
    }

    fn changed_regions(&mut self, run: &WatchedRun, axis: &Axis) -> String {
        let regions =
            run_page::regions(run, &self.liveness, axis, &Refused::default(), Present(None));
        let mut html = String::new();
        for (region, known) in regions.into_all().iter().zip(&mut self.regions) {
            let fingerprint = fingerprint(region);
            if *known != fingerprint {
                *known = fingerprint;
                html.push_str(region);
            }
        }
        html
    }
}

/// Renders the steps that events have changed: the line of one that the page has, else a new row. `from` is the last
/// event that the page has.
fn changed_steps(
    run: &WatchedRun,
    events: &[Arc<RecordedEvent>],
    from: u64,
    axis: &Axis,
    is_live: bool,
) -> String {
    let mut html = String::new();
    let mut budget = MAX_PARTS.saturating_sub(run.begun());
    let has_row = |path: &StepPath| {
        run.had_begun(path, from)
            || (path.is_top_level() && run.outline.step(&path.to_string()).is_some())
    };
    // Steps whose parts are sent with them. An outer step comes before its parts.
    let mut whole: Vec<StepPath> = Vec::new();
    for path in steps_of(events) {
        if whole.iter().any(|outer| path.is_part_of(outer)) {
            continue;
        }
        if !has_row(&path) {
            if budget > 0 {
                html.push_str(&render::step_row(
                    run,
                    &path,
                    axis,
                    is_live,
                    Present(None),
                    &mut budget,
                ));
            }
            whole.push(path);
            continue;
        }
        let step = step_view::step_view(run, &path, axis, is_live);
        html.push_str(&render::step_head(&step, Present(None)));
        let Some(first) = run.parts(&path).first() else { continue };
        if run.had_begun(first, from) {
            let summary = step_view::parts_view(run, &path);
            html.extend(summary.as_ref().map(render::parts_summary));
        } else {
            html.push_str(&render::step_parts(
                run,
                &path,
                axis,
                is_live,
                Present(None),
                &mut budget,
            ));
            whole.extend(run.parts(&path).iter().cloned());
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::watched_run::tests::{at, completed, events, id, started, step},
        *,
    };
    use crate::journal::{RunState, StepEvent};

    /// The rows and heads of steps in a message, in order.
    fn ids(html: &str) -> Vec<&str> {
        let parts = html.split(" id=\"").skip(1).filter_map(|part| part.split('"').next());
        parts
            .filter(|id| ["step:", "head:", "parts:", "sum:"].iter().any(|p| id.starts_with(p)))
            .collect()
    }

    #[test]
    fn what_the_page_has_is_replaced_and_what_it_has_not_is_added() {
        let all = events(vec![
            started("a"),
            step("a", StepEvent::StepItemsDecided { items: json!(["n1", "n2"]) }),
            started("a[0]"),
            completed("a[0]", json!(1)),
            started("a[1]"),
            started("b"),
        ]);
        let run = WatchedRun::of(&id(), &all, Arc::default()).unwrap();
        let liveness = Liveness { state: RunState::Running, is_recovering: false, problem: None };
        let axis = run_view::axis(&run, &liveness, at(9));
        let changed = |from: u64| {
            let events = &all[usize::try_from(from).unwrap() + 1..];
            changed_steps(&run, events, from, &axis, true)
        };
        assert_eq!(ids(&changed(5)), ["step:b", "head:b"]);
        assert_eq!(
            ids(&changed(4)),
            ["head:a", "sum:a", "step:a[1]", "head:a[1]", "step:b", "head:b"]
        );
        assert_eq!(ids(&changed(3))[..3], ["head:a", "sum:a", "head:a[0]"]);
        // The list comes with all its rows, once.
        assert_eq!(
            ids(&changed(2)),
            [
                "head:a",
                "parts:a",
                "sum:a",
                "step:a[0]",
                "head:a[0]",
                "step:a[1]",
                "head:a[1]",
                "step:b",
                "head:b"
            ]
        );
        assert_eq!(ids(&changed(0))[..2], ["step:a", "head:a"]);
        assert_eq!(changed_steps(&run, &[], 6, &axis, true), "");
    }

    #[test]
    fn a_message_has_no_line_breaks_of_its_own() {
        let html = "<pre>a\nb\r\n</pre>";
        assert!(!json!(html).to_string().contains(['\n', '\r']));
    }
}
