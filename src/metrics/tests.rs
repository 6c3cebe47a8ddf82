//! Alerts, dashboard and document name metrics and labels: these are those of the registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::journal::{
    Event, Format, MemoryStore, RecordedChange, RecordedEvent, Run, RunEvent, RunHead, RunId,
    RunObserver, RunOutcome, RunSpec, RunTarget, StepEvent, StepPath, StoreError,
};

const RUN: &str = "20260101t000000z-relay-scale-0001";

/// The labels of each sample.
type Samples = BTreeMap<String, BTreeSet<String>>;

fn spec(runbook: &str) -> RunSpec {
    RunSpec {
        format: Format::CURRENT,
        runbook: runbook.into(),
        origin: None,
        text: String::new(),
        digest: String::new(),
        inputs: [].into_iter().collect(),
        called: Vec::new(),
        actor: "cli:ann".into(),
        key: None,
        outside_window: None,
        version: "0.1.0".into(),
        target: RunTarget::default(),
        consent: crate::journal::Consent::default(),
    }
}

/// Events of a run, one a minute from 1970 on, each of which is shown to the metrics.
struct Story {
    metrics: Metrics,
    run: Run,
}

impl Story {
    fn begin(metrics: &Metrics, id: &str, runbook: &str) -> Self {
        let id: RunId = id.parse().unwrap();
        let event = RunEvent::RunStarted(Box::new(spec(runbook))).into();
        let first = RecordedEvent { seq: 0, time: Timestamp::UNIX_EPOCH, event };
        let run = Run::of(&id, std::slice::from_ref(&first)).unwrap();
        metrics.on_event(&run, &first);
        let action_of: crate::journal::ActionOf = Arc::new(|path| {
            let of_path =
                [("resize", "set_nodegroup"), ("ready", "wait_nodes"), ("ask", "wait_approval")];
            of_path
                .iter()
                .find(|(step, _)| path.to_string() == *step)
                .map(|(_, action)| (*action).into())
        });
        metrics.on_drive(&run, &action_of);
        Self { metrics: metrics.clone(), run }
    }

    fn then(&mut self, event: impl Into<Event>) {
        let seq = self.run.head.events;
        let minutes = i64::try_from(seq).unwrap();
        let time = Timestamp::from_second(60 * minutes).unwrap();
        let recorded = RecordedEvent { seq, time, event: event.into() };
        self.run.apply(&recorded);
        self.metrics.on_event(&self.run, &recorded);
    }

    fn step(&mut self, step: &str, event: StepEvent) {
        self.then(Event::step(&StepPath::top_level(step), event));
    }

    fn end(&mut self, outcome: RunOutcome) {
        self.then(RunEvent::RunEnded { outcome, failure: None, differences: None });
    }
}

fn started(name: &str) -> StepEvent {
    StepEvent::StepStarted { name: name.into(), description: None }
}

fn waiting(message: &str) -> StepEvent {
    StepEvent::StepWaiting { message: message.into(), waited_ms: None }
}

fn completed() -> StepEvent {
    StepEvent::StepCompleted { revision: 1, output: Value::Null.into(), message: None }
}

fn prepared(targets: &[&str]) -> StepEvent {
    let change = |target: &&str| RecordedChange {
        target: (*target).into(),
        before: Value::Null,
        after: Value::Null,
    };
    let changes = targets.iter().map(change).collect();
    StepEvent::StepPrepared { revision: 1, intent: Value::Null, changes }
}

fn applied() -> StepEvent {
    StepEvent::StepApplied { generation: 0, receipt: Value::Null }
}

fn undone(not_restored: &[&str]) -> StepEvent {
    let not_restored = not_restored.iter().map(|text| (*text).into()).collect();
    StepEvent::StepUndoFinished { not_restored, irreversible: false }
}

/// Metrics with a series of each family.
fn everything() -> Metrics {
    let metrics = Metrics::new();
    let mut story = Story::begin(&metrics, RUN, "relay-scale");
    story.step("resize", started("Resize"));
    story.step("resize", prepared(&["nodegroup relay desired", "node a unschedulable"]));
    story.step("resize", applied());
    story.step("resize", waiting("nodegroup relay: an update is in progress"));
    story.step("resize", waiting("2 of 6 nodes are not Ready"));
    story.step("resize", completed());
    story.step("resize", StepEvent::StepUndoStarted);
    story.step("resize", undone(&["left node a as it is: another client changed it"]));
    story.end(RunOutcome::RolledBack);
    let mut asking = Story::begin(&metrics, "20260101t000001z-ask-0002", "ask");
    asking.step("ask", started("Ask"));
    asking.step(
        "ask",
        StepEvent::StepApprovalRequested {
            message: "may it?".into(),
            approvals: 1,
            not_by: Vec::new(),
            ask: Value::Null,
            expires_at: Timestamp::MAX,
        },
    );
    let waits = Story::begin(&metrics, "20260101t000002z-wait-0003", "wait");
    let observed = |run: &Run, is_live| ObservedRun { head: run.head.clone(), is_live };
    let runs =
        [observed(&story.run, false), observed(&asking.run, true), observed(&waits.run, false)];
    metrics.set_runs(&runs, 1);
    metrics.set_runbooks(&[("relay-scale".to_owned(), true)].into());
    let (service, operation) = ("eks", "DescribeNodegroup");
    let (end, duration) = (CallEnd::Answered(200), Duration::from_millis(20));
    metrics.on_call(&ObservedCall { service, operation, end, duration });
    metrics.notifications("chat", "delivered");
    metrics.request(Some("/runs/{id}"), "GET", 200);
    let append = &metrics.families().append_duration;
    append.get_or_create(&Store { store: "memory" }).observe(0.001);
    drop(metrics.families().journal_errors.get_or_create(&Store { store: "memory" }));
    metrics
}

/// Reads the samples of the older text format.
fn samples(text: &str) -> Samples {
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels =
            labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, _)| name.to_owned());
        samples.entry(name.to_owned()).or_default().extend(labels);
    }
    samples
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line[series.len()..].split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns every text of a key, wherever it is.
fn texts_of<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    value => texts_of(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, key, found)),
        _ => {}
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns what is wrong with the names of an expression.
fn unknown_names(expression: &str, samples: &Samples) -> Vec<String> {
    let (mut unknown, mut known, mut used) = (Vec::new(), BTreeSet::new(), 0);
    for (at, _) in expression.match_indices("sop_") {
        // Inside of a word, or of the text of a matcher.
        if expression[..at].ends_with(is_word) {
            continue;
        }
        let end = expression[at..].find(|c| !is_word(c)).map_or(expression.len(), |end| at + end);
        let name = &expression[at..end];
        let Some(labels) = samples.get(name) else {
            unknown.push(format!("{name} in {expression}"));
            continue;
        };
        used += 1;
        known.extend(labels.iter().cloned());
        let matchers = expression[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for matcher in matchers.map(|(matchers, _)| matchers.split(", ")).into_iter().flatten() {
            let label = matcher.split(['=', '!']).next().unwrap_or_default();
            if !labels.contains(label) {
                unknown.push(format!("label {label} of {name} in {expression}"));
            }
        }
    }
    if used == 0 {
        unknown.push(format!("no metric of this program in {expression}"));
    }
    for (at, by) in expression.match_indices("by (") {
        let list = expression[at + by.len()..].split(')').next().unwrap_or_default();
        for label in list.split(',').map(str::trim) {
            // Those that Prometheus adds to what it reads.
            if !known.contains(label) && !matches!(label, "le" | "namespace" | "pod") {
                unknown.push(format!("label {label} in {expression}"));
            }
        }
    }
    unknown
}

#[test]
fn alerts_and_dashboard_name_metrics_and_labels_that_exist() {
    let samples = samples(&everything().encode(Exposition::Text));
    let rules: Value =
        serde_saphyr::from_str(&read("k8s/components/monitoring/prometheus-rule.yaml")).unwrap();
    let dashboard: Value =
        serde_json::from_str(&read("k8s/components/monitoring/dashboard.json")).unwrap();
    let (mut expressions, mut wrong) = (Vec::new(), Vec::new());
    texts_of(&rules, "expr", &mut expressions);
    let alerts = expressions.len();
    texts_of(&dashboard, "expr", &mut expressions);
    assert!(alerts >= 5 && expressions.len() > alerts + 20, "{alerts} of {}", expressions.len());
    for expression in expressions {
        wrong.extend(unknown_names(expression, &samples));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_that_do_not_exist_are_found() {
    let samples = samples(&everything().encode(Exposition::Text));
    let is_right = |expression: &str| unknown_names(expression, &samples).is_empty();
    assert!(is_right(
        r#"sum by (result) (rate(sop_runs_total{runbook="a", result!="failed"}[5m]))"#
    ));
    assert!(is_right("histogram_quantile(0.5, sum by (le) (sop_run_duration_seconds_bucket))"));
    for expression in [
        "sop_runs",
        "up",
        r#"sop_runs_total{run="a"}"#,
        "sum by (run) (sop_runs_total)",
        "sop_run_duration_bucket",
    ] {
        assert!(!is_right(expression), "{expression}");
    }
}

/// The table of docs/monitoring.md has a row for each.
#[test]
fn the_document_has_every_metric_with_its_labels() {
    let text = everything().encode(Exposition::Text);
    let (samples, document) = (samples(&text), read("docs/monitoring.md"));
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut missing = Vec::new();
    for (name, _) in types.filter_map(|line| line.split_once(' ')) {
        let samples_of = [name.to_owned(), format!("{name}_bucket")];
        let labels = samples_of.iter().find_map(|name| samples.get(name));
        let labels = labels.unwrap_or_else(|| panic!("{name} has no series"));
        let labels: Vec<String> = labels
            .iter()
            .filter(|label| *label != "le")
            .map(|label| format!("`{label}`"))
            .collect();
        let row = format!("| `{name}` | {} |", labels.join(", "));
        if !document.contains(&row) {
            missing.push(row);
        }
    }
    assert!(
        missing.is_empty(),
        "docs/monitoring.md lacks rows that begin with\n{}",
        missing.join("\n")
    );
}

#[test]
fn events_of_a_run_are_counted() {
    let metrics = everything();
    let text = metrics.encode(Exposition::Text);
    for (series, expected) in [
        (r#"sop_runs_total{runbook="relay-scale",result="rolled_back"}"#, 1.0),
        (r#"sop_run_duration_seconds_sum{runbook="relay-scale",result="rolled_back"}"#, 540.0),
        (r#"sop_steps_total{action="set_nodegroup",result="completed"}"#, 1.0),
        (r#"sop_step_attempts_total{action="set_nodegroup"}"#, 1.0),
        (r#"sop_step_duration_seconds_sum{action="set_nodegroup"}"#, 300.0),
        (r#"sop_changes_total{kind="nodegroup",way="apply"}"#, 1.0),
        (r#"sop_changes_total{kind="node",way="apply"}"#, 1.0),
        (r#"sop_changes_total{kind="nodegroup",way="undo"}"#, 1.0),
        (r#"sop_left_alone_total{kind="node"}"#, 1.0),
        (r#"sop_wait_seconds_total{action="set_nodegroup",reason="update_in_progress"}"#, 60.0),
        (r#"sop_wait_seconds_total{action="set_nodegroup",reason="not_ready"}"#, 60.0),
        (r#"sop_run_state{runbook="relay-scale",state="rolled_back"}"#, 1.0),
        (r#"sop_run_state{runbook="relay-scale",state="running"}"#, 0.0),
        (r#"sop_run_state{runbook="ask",state="running"}"#, 1.0),
        (r#"sop_run_state{runbook="wait",state="interrupted"}"#, 1.0),
        (
            r#"sop_run_last_end_timestamp_seconds{runbook="relay-scale",result="rolled_back"}"#,
            540.0,
        ),
        (r#"sop_run_last_progress_timestamp_seconds{runbook="wait",state="interrupted"}"#, 0.0),
        (r#"sop_approval_requested_timestamp_seconds{runbook="ask"}"#, 120.0),
        ("sop_runs_unreadable", 1.0),
        (r#"sop_api_requests_total{service="eks",operation="DescribeNodegroup",code="200"}"#, 1.0),
        (r#"sop_http_requests_total{route="/runs/{id}",method="GET",code="200"}"#, 1.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
    }
    // A run that waits for a person is not late.
    let late = r#"sop_run_last_progress_timestamp_seconds{runbook="ask",state="running"}"#;
    assert_eq!(value(&text, late), None);
    let open_metrics = metrics.encode(Exposition::OpenMetrics);
    assert!(open_metrics.contains(&format!("# {{run=\"{RUN}\"}} 1")), "{open_metrics}");
    assert!(open_metrics.ends_with("# EOF\n"));
}

#[test]
fn waits_are_not_progress() {
    let metrics = Metrics::new();
    let mut story = Story::begin(&metrics, RUN, "relay-scale");
    story.step("ready", started("Ready"));
    for _ in 0..5 {
        story.step("ready", waiting("2 of 6 nodes are not Ready"));
    }
    let observe = |head: &RunHead| {
        let run = ObservedRun { head: head.clone(), is_live: true };
        metrics.set_runs(&[run], 0);
        let series =
            r#"sop_run_last_progress_timestamp_seconds{runbook="relay-scale",state="running"}"#;
        value(&metrics.encode(Exposition::Text), series)
    };
    assert_eq!(observe(&story.run.head), Some(60.0));
    story.step("ready", completed());
    assert_eq!(observe(&story.run.head), Some(420.0));
    story.end(RunOutcome::Succeeded);
    assert_eq!(observe(&story.run.head), None, "it is over");
}

#[test]
fn a_run_that_is_not_over_is_seen_beside_a_later_one() {
    let metrics = Metrics::new();
    let mut failed = Story::begin(&metrics, "20260101t000000z-a-0001", "a");
    failed.end(RunOutcome::Failed);
    let mut later = Story::begin(&metrics, "20260101t000001z-a-0002", "a");
    later.end(RunOutcome::Succeeded);
    let observed = |run: &Run| ObservedRun { head: run.head.clone(), is_live: false };
    metrics.set_runs(&[observed(&later.run), observed(&failed.run)], 0);
    let text = metrics.encode(Exposition::Text);
    for (state, expected) in [("failed", 1.0), ("succeeded", 1.0), ("interrupted", 0.0)] {
        let series = format!(r#"sop_run_state{{runbook="a",state="{state}"}}"#);
        assert_eq!(value(&text, &series), Some(expected), "{state}");
    }
    // When it is not in the store any more, the later one is the latest all the same.
    metrics.set_runs(&[], 0);
    let text = metrics.encode(Exposition::Text);
    assert_eq!(value(&text, r#"sop_run_state{runbook="a",state="succeeded"}"#), Some(1.0));
    assert_eq!(value(&text, r#"sop_run_state{runbook="a",state="failed"}"#), Some(0.0));
}

#[test]
fn there_is_a_bound_on_runbooks_and_on_runs_that_are_followed() {
    let metrics = Metrics::new();
    for index in 0..2 * MAX_RUNBOOKS {
        // As where no end can be written.
        let _ = Story::begin(&metrics, &format!("run-{index}"), "a");
        let mut story =
            Story::begin(&metrics, &format!("end-{index}"), &format!("runbook-{index}"));
        story.end(RunOutcome::Succeeded);
    }
    let text = metrics.encode(Exposition::Text);
    let of = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(of("sop_runs_total{"), MAX_RUNBOOKS + 1);
    let others = r#"sop_runs_total{runbook="other",result="succeeded"}"#;
    assert_eq!(value(&text, others), Some(100.0));
}

#[tokio::test]
async fn failures_of_the_store_are_counted_and_what_is_not_there_is_not_one() {
    let metrics = Metrics::new();
    let memory: Arc<dyn crate::journal::RunStore> = Arc::new(MemoryStore::default());
    let store = MeasuredStore::new(memory, "memory", metrics.clone());
    let errors =
        || value(&metrics.encode(Exposition::Text), r#"sop_journal_errors_total{store="memory"}"#);
    assert_eq!(errors(), Some(0.0));
    let run: RunId = RUN.parse().unwrap();
    let missing = crate::journal::RunStore::head(&store, &run).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    assert_eq!(errors(), Some(0.0));
    let event = RunEvent::RunStarted(Box::new(spec("a"))).into();
    let first = [RecordedEvent { seq: 0, time: Timestamp::UNIX_EPOCH, event }];
    crate::journal::RunStore::append(&store, &run, 0, &first, true).await.unwrap();
    let appended = r#"sop_journal_append_duration_seconds_count{store="memory"}"#;
    assert_eq!(value(&metrics.encode(Exposition::Text), appended), Some(1.0));
}

#[test]
fn a_lease_is_held_until_it_is_given_back_or_lost() {
    let metrics = Metrics::new();
    let read = || {
        let text = metrics.encode(Exposition::Text);
        ["sop_lease_held", "sop_lease_transitions_total", "sop_lease_losses_total"]
            .map(|name| value(&text, name))
    };
    assert_eq!(read(), [Some(0.0), Some(0.0), Some(0.0)]);
    metrics.on_lease(LeaseChange::Taken);
    assert_eq!(read(), [Some(1.0), Some(1.0), Some(0.0)]);
    metrics.on_lease(LeaseChange::GivenBack);
    metrics.on_lease(LeaseChange::Taken);
    metrics.on_lease(LeaseChange::Lost);
    assert_eq!(read(), [Some(0.0), Some(4.0), Some(1.0)]);
}
