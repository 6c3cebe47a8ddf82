//! The templates, and the response around a page. Everything is escaped that is not HTML of this module.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;

use super::{
    assets,
    fields::{Field, FieldKind},
    next_actions::NextAction,
    overview_view::{ListedRun, ListedRunbook, ServiceView},
    plan_view::PlanView,
    run_view::{ApprovalView, DifferenceView, LineView, NoticeView, NowView, SummaryView},
    runbook_view::{AcceptableFinding, Refusal, RunbookView},
    step_view::{self, Axis, PartsView, StepView},
    watched_run::WatchedRun,
    words::{self, Badge, Present, moment},
};
use crate::{
    engine::VERSION,
    journal::{Failure, FailureKind, StepPath},
    server::error::ApiError,
};

/// The policy of every page: files of the service alone, nothing inline, and no other site's frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The parts of a page around its content.
pub(super) struct Chrome {
    title: String,
    class: &'static str,
    assets: String,
    version: &'static str,
    now: String,
    /// The pages above this one, with their addresses.
    trail: Vec<(String, String)>,
    stream: Option<String>,
    seq: String,
    is_signed_in: bool,
}

impl Chrome {
    /// Returns what is around a page with that title.
    pub(super) fn new(title: impl Into<String>, now: Timestamp) -> Self {
        Self {
            title: title.into(),
            class: "",
            assets: assets::base(),
            version: VERSION,
            now: moment(now).machine,
            trail: Vec::new(),
            stream: None,
            seq: String::new(),
            is_signed_in: false,
        }
    }

    /// Adds the place of the page among the others.
    pub(super) fn at(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.trail.push((path.into(), text.into()));
        self
    }

    /// Sets the class of the content.
    pub(super) fn class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }

    /// Keeps the page current by a stream, from the event after that one on.
    pub(super) fn streaming(self, path: impl Into<String>, seq: Option<u64>) -> Self {
        let seq = seq.map(|seq| seq.to_string()).unwrap_or_default();
        Self { stream: Some(path.into()), seq, ..self }
    }

    /// Offers to log out.
    pub(super) fn signed_in(self, is_signed_in: bool) -> Self {
        Self { is_signed_in, ..self }
    }
}

#[derive(Template)]
#[template(path = "run.html")]
pub(super) struct RunPage {
    pub(super) chrome: Chrome,
    pub(super) id: String,
    pub(super) summary: String,
    pub(super) notice: String,
    pub(super) now: String,
    pub(super) approvals: String,
    pub(super) actions: String,
    pub(super) differences: String,
    pub(super) axis: String,
    pub(super) steps: String,
    pub(super) log: String,
    pub(super) shown_lines: usize,
    pub(super) hidden_lines: usize,
}

#[derive(Template)]
#[template(path = "run_summary.html")]
pub(super) struct Summary<'a> {
    pub(super) s: &'a SummaryView,
    pub(super) present: Present,
}

#[derive(Template)]
#[template(path = "run_notice.html")]
pub(super) struct Notice<'a> {
    pub(super) n: Option<&'a NoticeView>,
}

#[derive(Template)]
#[template(path = "run_now.html")]
pub(super) struct Now<'a> {
    pub(super) nows: &'a [NowView],
    pub(super) more: usize,
    pub(super) present: Present,
    pub(super) waiting: Badge,
    pub(super) running: Badge,
}

#[derive(Template)]
#[template(path = "run_approvals.html")]
#[expect(clippy::struct_field_names, reason = "the template reads them by these names")]
pub(super) struct Approvals<'a> {
    pub(super) id: &'a str,
    pub(super) approvals: &'a [ApprovalView],
    pub(super) asking: Badge,
}

#[derive(Template)]
#[template(path = "run_actions.html")]
#[expect(clippy::struct_field_names, reason = "the template reads them by these names")]
pub(super) struct Actions<'a> {
    pub(super) id: &'a str,
    pub(super) actions: &'a [NextAction],
    pub(super) error: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "run_differences.html")]
pub(super) struct Differences<'a> {
    pub(super) differences: &'a [DifferenceView],
}

#[derive(Template)]
#[template(path = "run_axis.html")]
struct AxisLabels {
    labels: Vec<String>,
}

#[derive(Template)]
#[template(path = "step_head.html")]
struct StepHead<'a> {
    s: &'a StepView,
    present: Present,
}

#[derive(Template)]
#[template(path = "log_line.html")]
struct Line<'a> {
    l: &'a LineView,
}

#[derive(Template)]
#[template(path = "overview.html")]
pub(super) struct OverviewPage {
    pub(super) chrome: Chrome,
    pub(super) before: Option<String>,
    pub(super) service: String,
    pub(super) open: String,
    pub(super) latest: String,
    pub(super) runbooks: Vec<ListedRunbook>,
    pub(super) runbooks_error: Option<String>,
}

#[derive(Template)]
#[template(path = "overview_service.html")]
pub(super) struct ServiceState<'a> {
    pub(super) s: &'a ServiceView,
}

#[derive(Template)]
#[template(path = "overview_open.html")]
pub(super) struct OpenRuns<'a> {
    pub(super) runs: &'a [ListedRun],
    pub(super) present: Present,
}

#[derive(Template)]
#[template(path = "overview_latest.html")]
pub(super) struct LatestRuns<'a> {
    pub(super) runs: &'a [ListedRun],
    pub(super) older: Option<&'a str>,
    pub(super) present: Present,
}

#[derive(Template)]
#[template(path = "runbook.html")]
pub(super) struct RunbookPage {
    pub(super) chrome: Chrome,
    pub(super) r: RunbookView,
    pub(super) key: String,
    pub(super) refused: Option<Refusal>,
    pub(super) findings: Vec<AcceptableFinding>,
    pub(super) outside_window: Option<String>,
    pub(super) window: String,
    pub(super) plan: String,
}

#[derive(Template)]
#[template(path = "plan.html")]
pub(super) struct Plan<'a> {
    pub(super) p: &'a PlanView,
}

#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage {
    pub(super) chrome: Chrome,
    pub(super) next: String,
    pub(super) error: Option<String>,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    chrome: Chrome,
    title: String,
    message: String,
    hint: Option<String>,
    back: String,
    back_text: &'static str,
}

impl Field {
    /// Returns the name that a person reads.
    fn label(&self) -> &str {
        self.name.strip_prefix(super::fields::PREFIX).unwrap_or(&self.name)
    }
}

impl StepView {
    /// Above so many changes, they are folded.
    const MAX_OPEN_CHANGES: usize = 6;

    fn folds_changes(&self) -> bool {
        self.changes.len() > Self::MAX_OPEN_CHANGES
    }

    fn has_body(&self) -> bool {
        self.wait.is_some()
            || self.failure.is_some()
            || self.reason.is_some()
            || self.description.is_some()
            || self.message.is_some()
            || self.failed_attempts > 0
            || !self.changes.is_empty()
            || !self.not_restored.is_empty()
            || self.output.is_some()
    }
}

/// Renders a template into memory, which fails only where a value cannot be written; none of these can.
pub(super) fn html(template: &impl Template) -> String {
    template.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a template could not be rendered");
        String::new()
    })
}

/// Renders the axis of time.
pub(super) fn axis(axis: &Axis) -> String {
    html(&AxisLabels { labels: axis.labels() })
}

/// Renders a step without its parts.
pub(super) fn step_head(step: &StepView, present: Present) -> String {
    html(&StepHead { s: step, present })
}

/// Renders the summary of the parts of a step, which is the one line that is shown while they are folded.
pub(super) fn parts_summary(parts: &PartsView) -> String {
    let path = escaped(&parts.path);
    format!("<summary id=\"sum:{path}\">{}</summary>", escaped(&parts.text))
}

/// Renders a step with its parts, as one row of the list that it is in. At most `budget` rows are rendered.
pub(super) fn step_row(
    run: &WatchedRun,
    path: &StepPath,
    axis: &Axis,
    is_live: bool,
    present: Present,
    budget: &mut usize,
) -> String {
    let step = step_view::step_view(run, path, axis, is_live);
    let id = escaped(&step.path);
    let into = escaped(&step.outer);
    let mut row = format!("<li id=\"step:{id}\" data-into=\"list:{into}\">");
    row.push_str(&step_head(&step, present));
    row.push_str(&step_parts(run, path, axis, is_live, present, budget));
    row.push_str("</li>");
    row
}

/// Renders the parts of a step, folded; nothing where none has begun.
pub(super) fn step_parts(
    run: &WatchedRun,
    path: &StepPath,
    axis: &Axis,
    is_live: bool,
    present: Present,
    budget: &mut usize,
) -> String {
    let Some(parts) = step_view::parts_view(run, path) else { return String::new() };
    let id = escaped(&parts.path);
    let mut html = format!(
        "<details class=\"parts\" id=\"parts:{id}\" data-into=\"step:{id}\">{}<ol class=\"rows\" id=\"list:{id}\">",
        parts_summary(&parts)
    );
    let paths = run.parts(path);
    for (index, part) in paths.iter().enumerate() {
        if *budget == 0 {
            let left = paths.len() - index;
            html.push_str(&format!(
                "<li class=\"note\">and {left} more; the journal has them</li>"
            ));
            break;
        }
        *budget -= 1;
        html.push_str(&step_row(run, part, axis, is_live, present, budget));
    }
    html.push_str("</ol></details>");
    html
}

/// Renders lines of the log.
pub(super) fn log_lines(lines: &[LineView]) -> String {
    lines.iter().map(|line| html(&Line { l: line })).collect()
}

/// Renders what the run does now.
pub(super) fn now(nows: &[NowView], more: usize, present: Present) -> String {
    let running = words::of_run(crate::journal::RunState::Running);
    html(&Now { nows, more, present, waiting: words::WAITING, running })
}

/// Returns a text as a part of HTML.
fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '&' => result.push_str("&amp;"),
            '"' => result.push_str("&quot;"),
            '\'' => result.push_str("&#39;"),
            _ => result.push(c),
        }
    }
    result
}

/// Returns the response of a page.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::VARY, "Accept"),
    ];
    (status, headers, html(template)).into_response()
}

/// Returns the response to a browser whose request was refused.
pub(super) fn error_page(error: &ApiError, back: Option<String>, now: Timestamp) -> Response {
    let status = error.status();
    let (message, hint) = message_and_hint(error);
    let template = ErrorPage {
        chrome: Chrome::new("Error", now).class("narrow"),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        message,
        hint,
        back_text: if back.is_some() { "Back to the run" } else { "Back to the overview" },
        back: back.unwrap_or_else(|| "/".to_owned()),
    };
    let mut response = page(status, &template);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let after = HeaderValue::from(crate::server::error::RETRY_AFTER_SECONDS);
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    response
}

/// Returns what was refused and what to do about it.
pub(super) fn message_and_hint(error: &ApiError) -> (String, Option<String>) {
    let text = error.as_text();
    let mut lines = text.lines();
    let message = words::shown(lines.next().unwrap_or_default());
    let rest: Vec<&str> = lines.collect();
    let hint = rest.iter().find_map(|line| line.strip_prefix("hint: "));
    (message, hint.map(|hint| words::shown(&of_page(hint))))
}

/// Returns a hint that names what a program sends as one that a person finds on the page.
fn of_page(hint: &str) -> String {
    let outside = "or add `outside_window=REASON` to the query, which is recorded";
    hint.replace(outside, "or say below why the run starts now")
}

/// Returns a failure as a refused request.
pub(super) fn refused(kind: FailureKind, message: &str) -> ApiError {
    Failure::new(kind, message).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            run_view::{self, Liveness},
            watched_run::tests::{at, completed, failed, started, step, watched},
        },
        *,
    };
    use crate::journal::{RunState, StepEvent};

    #[test]
    fn what_is_from_outside_is_escaped() {
        let message = "<script>alert(1)</script>\u{1b}[31m".to_owned();
        let run = watched(vec![
            started("a"),
            step("a", StepEvent::StepMessage { message }),
            completed("a", json!({"x": "</pre><img src=x>"})),
            started("b"),
            failed("b"),
        ]);
        let liveness = Liveness { state: RunState::Failed, is_recovering: false, problem: None };
        let axis = run_view::axis(&run, &liveness, at(60));
        let path = "a".parse().unwrap();
        let mut budget = 10;
        let row = step_row(&run, &path, &axis, false, Present(Some(at(60))), &mut budget);
        assert!(
            row.contains("&#60;script&#62;alert(1)") || row.contains("&lt;script&gt;alert(1)"),
            "{row}"
        );
        assert!(!row.contains("<script") && !row.contains("<img") && !row.contains('\u{1b}'));
        let summary = run_view::summary(&run, &liveness, &axis);
        let summary = html(&Summary { s: &summary, present: Present(None) });
        assert!(!summary.contains("ops:<b>"), "{summary}");
        let notice = run_view::notice(&run, &liveness);
        let notice = html(&Notice { n: notice.as_ref() });
        assert!(!notice.contains("<policy>") && notice.contains("What to do"), "{notice}");
    }

    #[test]
    fn so_many_rows_are_rendered_and_no_more() {
        let items: Vec<String> = (0..20).map(|index| format!("n{index}")).collect();
        let mut events =
            vec![started("a"), step("a", StepEvent::StepItemsDecided { items: json!(items) })];
        events.extend((0..20).map(|index| started(&format!("a[{index}]"))));
        let run = watched(events);
        let liveness = Liveness { state: RunState::Running, is_recovering: false, problem: None };
        let axis = run_view::axis(&run, &liveness, at(60));
        let mut budget = 5;
        let row = step_row(&run, &"a".parse().unwrap(), &axis, true, Present(None), &mut budget);
        assert_eq!(row.matches("<li id=").count(), 6);
        assert!(row.contains("and 15 more"), "{row}");
    }

    #[test]
    fn the_text_of_a_moment_is_filled_in_by_the_script_where_there_is_no_present() {
        let since = moment(at(0));
        assert!(since.since(&Present(Some(at(65)))).contains(">1m 05s<"));
        assert!(since.since(&Present(None)).contains("></time>"));
    }
}
