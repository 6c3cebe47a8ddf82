//! `/runbooks/{name}`: a runbook, its plan, and the start of a run.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value};

use super::{
    fields::{self, Typed},
    forms::Form,
    login::is_signed_in,
    plan_view::PlanView,
    render::{self, Chrome, Plan, RunbookPage, html},
    runbook_view::{AcceptableFinding, Refusal, RunbookView},
    words::{moment, shown},
};
use crate::{
    engine::{CheckedRunbook, StartError},
    plan::{Finding, PlanOptions},
    runbook_dir::FoundRunbook,
    server::{
        Service,
        auth::Actor,
        body::RequestBody,
        error::ApiError,
        service::{RestartGuard, StartRequest},
    },
    windows::WindowState,
};

/// A runbook that was found and checked.
enum Checked {
    Valid(CheckedRunbook),
    Invalid(Box<RunbookView>),
}

/// The content of the page beside the runbook.
#[derive(Default)]
struct Shown {
    status: StatusCode,
    typed: Option<Typed>,
    refused: Option<Refusal>,
    findings: Vec<AcceptableFinding>,
    /// The reason that was typed.
    outside_window: String,
    plan: String,
}

/// `GET /runbooks/{name}`.
pub(super) async fn runbook(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Response {
    match check(&service, &name).await {
        Ok(checked) => show(&service, &headers, checked, Shown::default()),
        Err(error) => refuse(&service, &error),
    }
}

/// `POST /page/runbooks/{name}/plan`.
pub(super) async fn plan(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(name): Path<String>,
    RequestBody(body): RequestBody,
) -> Response {
    let (checked, inputs, mut page) = match read_form(&service, &name, &Form::read(&body)).await {
        Ok(Ok(read)) => read,
        Ok(Err((checked, page))) => return show(&service, &headers, checked, page),
        Err(error) => return refuse(&service, &error),
    };
    let options = PlanOptions { checks_start: true, ..PlanOptions::default() };
    match service.plan(&name, inputs, options).await {
        Ok(plan) => {
            page.findings = acceptable(plan.errors(&[]));
            page.plan = html(&Plan { p: &PlanView::of(&plan) });
        }
        Err(error) => page.refuse("The plan was not made", &error),
    }
    show(&service, &headers, checked, page)
}

/// `POST /page/runbooks/{name}/start`.
pub(super) async fn start(
    State(service): State<Service>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Path(name): Path<String>,
    RequestBody(body): RequestBody,
) -> Response {
    let form = Form::read(&body);
    let (checked, inputs, mut page) = match read_form(&service, &name, &form).await {
        Ok(Ok(read)) => read,
        Ok(Err((checked, page))) => return show(&service, &headers, checked, page),
        Err(error) => return refuse(&service, &error),
    };
    let request = StartRequest {
        runbook: name,
        inputs,
        key: form.text("key").map(str::to_owned),
        accept: form.all("accept"),
        actor,
        // A person has pressed the button, and the key is that of the form.
        guard: RestartGuard::Off,
        id: None,
        outside_window: form.text("outside_window").map(str::to_owned),
    };
    match service.start(request).await {
        Ok(started) => Redirect::to(&format!("/runs/{}", started.run)).into_response(),
        Err(error) => {
            let findings: Vec<Finding> =
                serde_json::from_value(error.member("findings").clone()).unwrap_or_default();
            page.findings = acceptable(findings.iter());
            page.refuse("The run was not started", &error);
            show(&service, &headers, checked, page)
        }
    }
}

impl Shown {
    fn refuse(&mut self, title: &str, error: &ApiError) {
        let (message, hint) = render::message_and_hint(error);
        let run = error.member("run").as_str().map(|run| {
            (run.to_owned(), error.member("state").as_str().unwrap_or_default().to_owned())
        });
        // What the page offers is not to be typed into a body.
        let hint = hint.filter(|_| self.findings.is_empty());
        let hint = hint.or_else(|| {
            (!self.findings.is_empty())
                .then(|| "plan the run to see the facts, or choose below what to accept".to_owned())
        });
        self.status = error.status();
        self.refused = Some(Refusal { title: title.to_owned(), message, hint, run });
    }
}

/// Returns the findings in spite of which a run can be started, each code once.
fn acceptable<'f>(findings: impl Iterator<Item = &'f Finding>) -> Vec<AcceptableFinding> {
    let mut found: Vec<AcceptableFinding> = Vec::new();
    for finding in findings.filter(|finding| finding.can_be_accepted()) {
        if found.iter().all(|known| known.code != finding.code) {
            let (code, message) = (finding.code.clone(), shown(&finding.message));
            found.push(AcceptableFinding { code, message });
        }
    }
    found
}

/// A form whose inputs can be used, or the page that says which cannot.
type ReadForm = Result<(Checked, Map<String, Value>, Shown), (Checked, Shown)>;

/// Reads the inputs of a form by the types of the runbook.
async fn read_form(service: &Service, name: &str, form: &Form) -> Result<ReadForm, ApiError> {
    let checked = check(service, name).await?;
    let mut typed = Typed { texts: form.inputs(), ..Typed::default() };
    let outside_window = form.text("outside_window").unwrap_or_default().to_owned();
    let Checked::Valid(valid) = &checked else {
        let page = Shown { status: StatusCode::UNPROCESSABLE_ENTITY, ..Shown::default() };
        return Ok(Err((checked, page)));
    };
    let runbook = valid.runbook();
    let parse = |name: &str, text: &str| runbook.parse_input(name, text);
    let inputs = fields::values(&runbook.inputs, &mut typed, parse);
    if let Err(errors) = runbook.bind(&inputs) {
        fields::add_errors(&mut typed, &errors);
    }
    let has_errors = !typed.errors.is_empty();
    let mut page = Shown { outside_window, ..Shown::default() };
    if has_errors {
        let names: Vec<&str> = typed.errors.keys().map(String::as_str).collect();
        page.status = StatusCode::UNPROCESSABLE_ENTITY;
        page.refused = Some(Refusal {
            title: "The inputs do not fit".to_owned(),
            message: format!("see {}", text::join_truncated(names)),
            ..Refusal::default()
        });
    }
    page.typed = Some(typed);
    Ok(match has_errors {
        true => Err((checked, page)),
        false => Ok((checked, inputs, page)),
    })
}

/// Finds and checks a runbook.
async fn check(service: &Service, name: &str) -> Result<Checked, ApiError> {
    let FoundRunbook { source, origin, library } = service.find_runbook(name).await?;
    let name = name.to_owned();
    let check = move |_: &_| match CheckedRunbook::with_origin(source, origin.to_string(), &library)
    {
        Ok(checked) => Ok(Checked::Valid(checked)),
        Err(StartError::InvalidRunbook { source_text, diagnostics }) => {
            let origin = origin.to_string();
            Ok(Checked::Invalid(Box::new(RunbookView::invalid(
                &name,
                &origin,
                &source_text,
                &diagnostics,
            ))))
        }
        Err(error) => Err(ApiError::from(error)),
    };
    service.checks().run(check).await?
}

fn refuse(service: &Service, error: &ApiError) -> Response {
    render::error_page(error, None, service.engine().clock().now())
}

fn show(service: &Service, headers: &HeaderMap, checked: Checked, page: Shown) -> Response {
    let now = service.engine().clock().now();
    let Shown { status, typed, refused, findings, outside_window, plan } = page;
    let changes = matches!(&checked, Checked::Valid(valid) if valid.changes_something());
    let view = match checked {
        Checked::Valid(valid) => RunbookView::valid(&valid, typed.as_ref()),
        Checked::Invalid(view) => *view,
    };
    // A run that changes nothing needs no window.
    let opens = match service.window_state() {
        Some(WindowState::Closed { until }) if changes => Some(until),
        _ => None,
    };
    let window = match opens.flatten() {
        Some(until) => {
            format!("No change window is open; the next one opens {}.", moment(until).text)
        }
        None => "No change window is open.".to_owned(),
    };
    let template = RunbookPage {
        chrome: Chrome::new(view.name.clone(), now)
            .at(format!("/runbooks/{}", view.name), view.name.clone())
            .class("runbook")
            .signed_in(is_signed_in(headers)),
        r: view,
        // The same form, sent twice, starts one run.
        key: format!("page-{:032x}", fastrand::u128(..)),
        refused,
        findings,
        outside_window: opens.map(|_| shown(&outside_window)),
        window,
        plan,
    };
    render::page(status, &template)
}
