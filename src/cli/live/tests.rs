//! The view and the live lines as functions of events, sizes and times.

use std::{fs, path::Path};

use console::measure_text_width;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    block::{Surroundings, Terminal, live_lines},
    line::lay_out,
    view::{Entry, View, shortened},
};
use crate::journal::{RecordedEvent, RunId};

const RUN: &str = "20261127t180000z-rotate-0001";

/// The steps of a runbook and of one that it calls.
const TEXT: &str = "name: rotate\nsteps:\n- {id: read, action: read_config}\n\
                    - {id: drain, call: drain-node}\n- {id: check, action: assert}\n";
const CALLED: &str =
    "name: drain-node\nsteps:\n- {id: cordon, action: cordon}\n- {id: evict, action: drain}\n";

/// A run from its start, with these events at these seconds; each is the event of one step, or of the run where its
/// path is empty.
fn events(after_start: &[(i64, &str, Value)]) -> Vec<RecordedEvent> {
    let started = json!({
        "event": "run_started", "runbook": "rotate", "text": TEXT, "digest": "0", "inputs": {},
        "called": [{"runbook": "drain-node", "text": CALLED, "digest": "1"}],
        "actor": "cli:sre", "version": "0.1.0", "target": {"simulated": true},
    });
    let start = [(0, "", started)];
    let record = |((second, path, event), seq): (&(i64, &str, Value), u64)| {
        let mut line = json!({"seq": seq, "time": at(*second)});
        let members = line.as_object_mut().unwrap();
        members.extend(event.as_object().unwrap().clone());
        if !path.is_empty() {
            members.insert("step".into(), json!(path));
        }
        serde_json::from_value(line).unwrap()
    };
    start.iter().chain(after_start).zip(0..).map(record).collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn started(name: &str) -> Value {
    json!({"event": "step_started", "name": name})
}

fn completed() -> Value {
    json!({"event": "step_completed", "revision": 1, "output": {}})
}

fn waiting(message: &str) -> Value {
    json!({"event": "step_waiting", "message": message})
}

fn failure(message: &str) -> Value {
    json!({"message": message, "kind": "transient", "hint": "look at the node"})
}

/// The lines that are written for good, and the live lines at this second, on a terminal of 80 columns without colors.
fn shown(second: i64, after_start: &[(i64, &str, Value)]) -> (Vec<String>, Vec<String>) {
    let id: RunId = RUN.parse().unwrap();
    let (view, entries) = View::of(&id, &events(after_start)).unwrap();
    (written(&entries), live(&view, second))
}

fn written(entries: &[Entry]) -> Vec<String> {
    entries.iter().flat_map(|entry| lay_out(entry, 80, false)).collect()
}

fn around() -> Surroundings {
    let (program, ctrl_c) = ("rafay-relay-sop".to_owned(), super::ENDS_WATCHING.to_owned());
    Surroundings { program, ctrl_c, notice: None }
}

fn live(view: &View, second: i64) -> Vec<String> {
    let terminal = Terminal { width: 80, height: 24, has_color: false };
    live_lines(view, &around(), at(second), 0, terminal)
}

#[test]
fn the_live_lines_name_the_step_the_wait_and_the_effect_of_ctrl_c() {
    let (written, live) = shown(
        72,
        &[
            (0, "read", started("Read the config")),
            (1, "read", completed()),
            (2, "drain", started("Drain the old nodes")),
            (24, "drain", waiting("2 of 6 pods are left")),
        ],
    );
    assert_eq!(written, ["rotate (20261127t180000z-rotate-0001)", "✔ Read the config (1.0 s)",]);
    assert_eq!(
        live,
        [
            "⠋ step 2 of 3: Drain the old nodes (1 min 10 s)",
            "  waits 48 s: 2 of 6 pods are left",
            "rotate: 1 min 12 s; Ctrl-C ends the watching, and the run goes on",
        ]
    );
}

#[test]
fn items_and_called_steps_are_indented_and_counted() {
    let items = json!({"event": "step_items_decided", "items": ["a", "b", "c"]});
    let called = json!({"event": "step_called", "runbook": "drain-node", "inputs": {}});
    let (_, live) = shown(
        10,
        &[
            (0, "drain", started("Drain")),
            (0, "drain", items),
            (0, "drain[0]", started("Drain [1/3]: a")),
            (1, "drain[0]", completed()),
            (1, "drain[1]", started("Drain [2/3]: b")),
            (1, "drain[2]", started("Drain [3/3]: c")),
            (
                2,
                "drain[1]",
                json!({"event": "step_failed", "failure": failure("no"), "then": "leave"}),
            ),
            (2, "drain[2]", called),
            (2, "drain[2]/cordon", started("Cordon c")),
            (3, "drain[2]/cordon", completed()),
            (3, "drain[2]/evict", started("Evict the pods of c")),
            (4, "drain[2]/evict", waiting("1 pod is left")),
        ],
    );
    assert_eq!(
        live[..4],
        [
            "⠋ step 2 of 3: Drain: 1 of 3 items, 1 failed (10 s)",
            "  ⠋ [3/3]: c (9 s)",
            "    ⠋ step 2 of 2: Evict the pods of c (7 s)",
            "      waits 6 s: 1 pod is left",
        ]
    );
}

#[test]
fn an_approval_is_shown_with_the_commands_that_answer_it() {
    let asked = json!({
        "event": "step_approval_requested", "message": "Is a ready?\nSee the wiki.",
        "approvals": 2, "expires_at": at(600), "not_by": ["cli:bob"],
        "ask": {"reason": {"type": "string"}},
    });
    let (written, live) = shown(60, &[(0, "check", started("Go?")), (0, "check", asked)]);
    assert_eq!(
        written[1..],
        [
            "Waiting for approval: Is a ready?",
            "See the wiki.",
            "Needs 2 approvals until 2026-11-18 11:16:40, not by cli:bob",
        ]
    );
    assert_eq!(
        live[1..],
        [
            "  waits for approval: Is a ready?",
            "  0 of 2 approvals, not by cli:bob; expires in 9 min 0 s, at 2026-11-18 11:16:40",
            "  UTC",
            "  rafay-relay-sop runs approve 20261127t180000z-rotate-0001 check --answer",
            "  reason=…",
            "  rafay-relay-sop runs reject 20261127t180000z-rotate-0001 check --reason …",
            "rotate: 1 min 0 s; Ctrl-C ends the watching, and the run goes on",
        ]
    );
}

#[test]
fn the_next_attempt_is_counted_down() {
    let failed = json!({
        "event": "step_attempt_failed", "attempt": 2, "failure": failure("throttled"),
        "retry_in_ms": 30_000,
    });
    let before = [(0, "read", started("Read")), (5, "read", failed)];
    let (_, live) = shown(15, &before);
    assert_eq!(live[1..3], ["  attempt 2 failed: throttled", "  the next attempt begins in 20 s"]);
    let end = [(40, "read", completed())];
    let (written, _) = shown(41, &[&before[..], &end].concat());
    assert_eq!(written[1..], ["✔ Read (40.0 s)", "    attempt 2 failed: throttled"]);
}

#[test]
fn a_run_that_was_interrupted_and_resumed_says_for_how_long() {
    let resumed = json!({"event": "run_resumed", "actor": "cli:ann", "version": "0.1.0"});
    let (written, live) = shown(
        200,
        &[
            (0, "read", started("Read")),
            (2, "read", waiting("a node")),
            (182, "", resumed),
            (183, "read", json!({"event": "step_resumed", "name": "Read"})),
        ],
    );
    assert_eq!(
        written[1..],
        [
            "■ Read (2.0 s, not ended)",
            "no process drove the run for 3 min 0 s",
            "Resumed by cli:ann",
        ]
    );
    assert_eq!(live[0], "⠋ step 1 of 3: Read (17 s)");
}

#[test]
fn a_rollback_says_how_far_it_is() {
    let prepared = json!({
        "event": "step_prepared", "revision": 1, "intent": {},
        "changes": [{"target": "node a unschedulable", "before": false, "after": true}],
    });
    let failed = json!({"event": "step_failed", "failure": failure("no"), "then": "rollback"});
    let before = [
        (0, "read", started("Read")),
        (0, "read", prepared.clone()),
        (1, "read", completed()),
        (1, "drain", started("Drain")),
        (1, "drain", prepared),
        (2, "drain", failed),
        (3, "drain", json!({"event": "step_undo_started"})),
        (4, "drain", json!({"event": "step_undo_finished", "not_restored": ["node a: gone"]})),
        (5, "read", json!({"event": "step_undo_started"})),
    ];
    let (written, live) = shown(7, &before);
    assert_eq!(
        written[1..],
        [
            "✔ Read (1.0 s)",
            "    node a unschedulable: false -> true",
            "✘ Drain (1.0 s)",
            "    node a unschedulable: false -> true",
            "    no",
            "    hint: look at the node",
            "Rolling back",
        ]
    );
    assert_eq!(live[..2], ["⠋ rolling back: 1 of 2 changes undone", "  undoing: Read (2 s)"]);
    let end = [
        (8, "read", json!({"event": "step_undo_finished"})),
        (9, "", json!({"event": "run_ended", "outcome": "rolled_back"})),
    ];
    let (written, _) = shown(9, &[&before[..], &end].concat());
    assert_eq!(
        written[8..],
        [
            "↶ Undid: Drain (1.0 s)",
            "    not restored: node a: gone",
            "↶ Undid: Read (3.0 s)",
            "Rolled back",
        ]
    );
}

/// 300 nodes in one step are a few lines, and so is what happened before the run began to be shown.
#[test]
fn a_large_run_does_not_fill_the_terminal() {
    let mut large = vec![(0, "drain".to_owned(), started("Drain"))];
    let items: Vec<u32> = (0..300).collect();
    large.push((0, "drain".into(), json!({"event": "step_items_decided", "items": items})));
    for item in 0..300 {
        let path = format!("drain[{item}]");
        let target = format!("node {item} unschedulable");
        let change = json!({"target": target, "before": false, "after": true});
        large.push((1, path.clone(), started(&format!("Drain [{}/300]: n", item + 1))));
        let prepared =
            json!({"event": "step_prepared", "revision": 1, "intent": {}, "changes": [change]});
        large.push((1, path, prepared));
    }
    let borrowed = |events: &[(i64, String, Value)]| -> Vec<(i64, &'static str, Value)> {
        events
            .iter()
            .map(|(second, path, event)| (*second, &*path.clone().leak(), event.clone()))
            .collect()
    };
    let (_, live) = shown(2, &borrowed(&large));
    assert!(live.len() <= 16, "{live:#?}");
    assert_eq!(live[0], "⠋ step 2 of 3: Drain: 0 of 300 items (2 s)");
    assert_eq!(live[1], "    node 0 unschedulable: false -> true");
    assert_eq!(live[4], "    and 297 more");
    assert!(live.contains(&"  and 296 more parts at work".to_owned()), "{live:#?}");
    for item in 0..300 {
        large.push((3, format!("drain[{item}]"), completed()));
    }
    large.push((4, "drain".into(), completed()));
    let (written, _) = shown(4, &borrowed(&large));
    assert_eq!(written.len(), 1 + 1 + 8 + 1, "{written:#?}");
    assert_eq!(written[1], "✔ Drain: 300 items (4.0 s)");
    assert_eq!(written[10], "    and 292 more changes");

    let many: Vec<(i64, String, Value)> = (0..500)
        .flat_map(|step| {
            let path = format!("s{step}");
            [(step, path.clone(), started("Step")), (step, path, completed())]
        })
        .collect();
    let id: RunId = RUN.parse().unwrap();
    let (_, entries) = View::of(&id, &events(&borrowed(&many))).unwrap();
    let past = self::written(&shortened(entries, &id));
    assert_eq!(past.len(), 1 + 1 + 12, "{past:#?}");
    assert!(past[1].starts_with("… 488 earlier lines; `runs show "), "{past:#?}");
}

/// At no event of any journal, and on no terminal, is a line wider than the terminal, or are the live lines higher.
#[test]
fn every_line_fits_the_terminal_at_every_event_of_every_journal() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journals");
    let formats = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files = formats.flat_map(|format| fs::read_dir(format).unwrap());
    let mut checked = 0;
    for file in files.map(|file| file.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap();
        let events: Vec<RecordedEvent> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let name = file.file_stem().unwrap().to_str().unwrap();
        let id: RunId = name.parse().unwrap();
        assert!(View::of(&id, &[]).is_none());
        for count in 1..=events.len() {
            let (view, entries) = View::of(&id, &events[..count]).unwrap();
            for width in [10, 20, 59, 60, 79, 80, 120, 200] {
                let lines = entries.iter().flat_map(|entry| lay_out(entry, width, true));
                for height in [1, 3, 10, 50] {
                    let terminal = Terminal { width, height, has_color: true };
                    let now = events[count - 1].time;
                    let live = live_lines(&view, &around(), now, count, terminal);
                    assert!((1..=height).contains(&live.len()), "{name} {count}: {live:#?}");
                    let is_wide = |line: &&String| measure_text_width(line) > width;
                    let wide = live.iter().find(is_wide);
                    assert_eq!(wide, None, "{name} {count}, {width} columns");
                }
                let wide = lines.into_iter().find(|line| measure_text_width(line) > width);
                assert_eq!(wide, None, "{name} {count}, {width} columns");
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}
