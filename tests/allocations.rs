//! What the program allocates, counted. Times differ on each machine, so no test compares them; how often memory is
//! allocated, and how much of it is held at once, is the same each time, and says as much of how the work grows.
//!
//! The allocator that counts is that of this test binary, and counts for each thread apart: other tests do not disturb
//! these, and are themselves not changed by more than a few instructions for each allocation. The program, its
//! benchmarks and the tests of its library keep their own. So what is counted must be done on one thread.

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use rafay_relay_sop::{
    engine::{CheckedRunbook, Control, Engine, registry},
    journal::{MemoryStore, RecordedEvent, Run, RunState, RunStore},
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions, kubernetes::pod::Pod},
};
use runbook::{Source, check};
use test_support::{asserts, waits};

const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");

/// The counts when these lines were written: allocations, and the most bytes that were held at once. Most bytes of a
/// check without mistakes are those of the compiled templates, which the run evaluates: minijinja reserves 14 KB for
/// each, most of which is never written to.
const COUNTED: [(&str, u64, u64); 10] = [
    ("check of relay-scale", 6_677, 924_194),
    ("check of 100 steps", 17_536, 3_264_861),
    ("check of 1,000 steps", 171_449, 32_876_511),
    ("check of 10,000 steps", 1_710_463, 331_111_865),
    ("check of 100 mistakes", 13_564, 766_051),
    ("check of 1,000 mistakes", 131_481, 7_541_461),
    ("run of 100 asserts", 19_350, 1_937_462),
    ("run of 1,000 asserts", 184_218, 19_141_590),
    ("read of the journal of 100 asserts", 3_993, 292_531),
    ("read of the journal of 1,000 asserts", 39_103, 2_497_277),
];

/// The part of the figure by which it may exceed what was counted. Another version of Rust or of a dependency
/// allocates a little more or less, and a new rule or a new field does; what is done twice, or for each pair of steps,
/// takes much more.
const MARGIN_PERCENT: u64 = 15;

/// The counts of a piece of work.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counts {
    allocations: u64,
    /// The most bytes that are held at once.
    peak: u64,
}

/// Counts a piece of work. It is done once before, because what is made once a process must not be counted.
fn count(mut work: impl FnMut()) -> Counts {
    work();
    count_once(work)
}

fn count_once(work: impl FnOnce()) -> Counts {
    let AllocationInfo { count_total: allocations, bytes_max: peak, .. } = measure(work);
    Counts { allocations, peak }
}

/// Fails when the work allocates more than it did, and says what to do then.
#[track_caller]
fn assert_within_limits(what: &str, counts: Counts) {
    let (_, allocations, peak) = COUNTED.iter().find(|(name, ..)| *name == what).unwrap();
    let has_grown = |now: u64, before: u64| now * 100 > before * (100 + MARGIN_PERCENT);
    let Counts { allocations: now, peak: peak_now } = counts;
    assert!(
        !has_grown(now, *allocations) && !has_grown(peak_now, *peak),
        "{what}: {now} allocations and {peak_now} bytes at once, which were {allocations} and {peak}, and may be \
         {MARGIN_PERCENT} % more. Find out which change it was: `git stash` and this test say whether it is one of \
         yours, and `heaptrack` on `validate` or `run` says where. If the work is needed, write (\"{what}\", {now}, \
         {peak_now}) in COUNTED of tests/allocations.rs, and the reason in the message of the commit."
    );
}

/// Fails when ten times the work allocates more than ten times as much, and the margin.
#[track_caller]
fn assert_in_proportion(what: &str, small: Counts, large: Counts) {
    let limit = 10 * (100 + MARGIN_PERCENT);
    let is_in_proportion = |small: u64, large: u64| large * 100 <= small * limit;
    assert!(
        is_in_proportion(small.allocations, large.allocations)
            && is_in_proportion(small.peak, large.peak),
        "{what}: ten times the steps take {large:?}, which is more than ten times {small:?}. Something is done for \
         each pair of steps, or copied for each step: find what was added that goes through all steps for each step, \
         and keep what it needs in an index or behind an `Arc`."
    );
}

/// Counts the check of a text whose name of a runbook is that of its file.
fn count_check(file: &str, text: &str, is_valid: bool) -> Counts {
    let source = Source::new(file, text);
    let check = || assert_eq!(check(&source, registry()).runbook.is_some(), is_valid);
    // What is made once a process was made for the smaller ones.
    if text.len() > 500_000 { count_once(check) } else { count(check) }
}

/// A check does the same each time, so two counts are equal: a limit that is passed is no accident.
#[test]
fn the_check_of_relay_scale_allocates_as_much_as_before() {
    let count = || count_check("relay-scale.yaml", RELAY_SCALE, true);
    let counts = count();
    assert_eq!(count(), counts, "the second time");
    assert_within_limits("check of relay-scale", counts);
}

/// Each step uses the output of the one before it.
#[test]
fn a_check_allocates_in_proportion_to_the_steps() {
    let [small, medium, large] =
        [100, 1_000, 10_000].map(|steps| count_check("waits.yaml", &waits(steps), true));
    assert_within_limits("check of 100 steps", small);
    assert_within_limits("check of 1,000 steps", medium);
    assert_within_limits("check of 10,000 steps", large);
    assert_in_proportion("check", small, medium);
    assert_in_proportion("check", medium, large);
}

/// The type of a list is that of its items together: words, of which each may be one that a parameter takes, and maps,
/// of which each may have fields that the others have not.
#[test]
fn a_check_allocates_in_proportion_to_the_items_of_a_list() {
    let words = |item: usize| format!("word-{item}");
    let maps = |item: usize| format!("{{name: name-{item}, key-{item}: {item}}}");
    let shapes: [(&str, &dyn Fn(usize) -> String); 2] = [("words", &words), ("maps", &maps)];
    for (what, item) in shapes {
        let [small, large] = [100, 1_000].map(|items| {
            let items: String =
                (0..items).map(|index| format!("      - {}\n", item(index))).collect();
            let text = format!(
                "name: list\nsteps:\n  - id: show\n    for_each:\n{items}    action: assert\n    \
                 with: {{that: '{{{{ each | length > 1 }}}}', message: short}}\n"
            );
            count_check("list.yaml", &text, true)
        });
        assert_in_proportion(what, small, large);
    }
}

#[test]
fn a_check_allocates_in_proportion_to_the_mistakes() {
    let bad = |steps| waits(steps).replace(".count", ".cuont");
    let [small, large] = [100, 1_000].map(|steps| count_check("waits.yaml", &bad(steps), false));
    assert_within_limits("check of 100 mistakes", small);
    assert_within_limits("check of 1,000 mistakes", large);
    assert_in_proportion("check with mistakes", small, large);
}

/// An engine that has no cluster, with its store, on a runtime of this thread.
struct Bench {
    runtime: tokio::runtime::Runtime,
    engine: Engine,
    store: Arc<dyn RunStore>,
}

impl Bench {
    fn new() -> Self {
        let nowhere = || "http://127.0.0.1:1".parse().unwrap();
        let platform = Platform::new(PlatformOptions {
            clock: clock::Clock::scaled(test_support::SPEED).unwrap(),
            kubernetes: KubernetesAccess::Endpoint { url: nowhere() },
            aws: AwsAccess::Endpoint { url: nowhere() },
            environment: [].into(),
        });
        // One that writes to a disk has a thread of its own.
        let store: Arc<dyn RunStore> = Arc::new(MemoryStore::default());
        let engine = Engine::new(platform, Arc::clone(&store), true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, engine, store }
    }

    fn run(&self, text: &str) -> Run {
        self.runtime.block_on(async {
            let checked = CheckedRunbook::new(Source::new("asserts.yaml", text)).unwrap();
            let preflight = self.engine.prepare(checked, &serde_json::Map::new()).await.unwrap();
            let accepted = self.engine.accept(preflight, "test", None).await.unwrap();
            let run = self.engine.drive(accepted, Control::default()).await.unwrap();
            assert_eq!(run.state(false), RunState::Succeeded);
            run
        })
    }

    /// Returns the journal of a run, each event as a line of JSON.
    fn journal(&self, run: &Run) -> Vec<String> {
        let events = self.runtime.block_on(self.store.read(run.id(), 0)).unwrap();
        events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
    }
}

/// The check before the run is counted too.
#[test]
fn a_run_allocates_in_proportion_to_the_steps() {
    let [small, large] = [100, 1_000].map(|steps| {
        let (bench, text) = (Bench::new(), asserts(steps));
        count(|| drop(bench.run(&text)))
    });
    assert_within_limits("run of 100 asserts", small);
    assert_within_limits("run of 1,000 asserts", large);
    assert_in_proportion("run", small, large);
}

/// The events are parsed and folded as a store does it, which has a thread of its own for that.
#[test]
fn reading_a_journal_allocates_in_proportion_to_its_events() {
    let [small, large] = [100, 1_000].map(|steps| {
        let bench = Bench::new();
        let run = bench.run(&asserts(steps));
        let lines = bench.journal(&run);
        count(|| {
            let parse = |line: &String| serde_json::from_str(line).unwrap();
            let events: Vec<RecordedEvent> = lines.iter().map(parse).collect();
            assert!(Run::of(run.id(), &events).is_some());
        })
    });
    assert_within_limits("read of the journal of 100 asserts", small);
    assert_within_limits("read of the journal of 1,000 asserts", large);
    assert_in_proportion("read of a journal", small, large);
}

/// A cluster has ten thousand pods, and the record of who manages which field is longer than the rest of a pod.
#[test]
fn the_managed_fields_of_a_pod_are_skipped_without_a_value() {
    let mut pod = serde_json::json!({
        "metadata": {"name": "pod", "labels": {"app": "relay"}},
        "spec": {"nodeName": "node"},
    });
    let count = |pod: &serde_json::Value| {
        let text = pod.to_string();
        count(|| drop(serde_json::from_str::<Pod>(&text).unwrap())).allocations
    };
    let without = count(&pod);
    let fields: serde_json::Map<_, _> =
        (0..100).map(|field| (format!("f:{field}"), serde_json::json!({".": {}}))).collect();
    pod["metadata"]["managedFields"] = serde_json::json!([{"manager": "m", "fieldsV1": fields}]);
    let with = count(&pod);
    // The parser keeps the brackets that are open.
    assert!(with <= without + 3, "{with} allocations, and {without} without them");
}

/// The tests above rely on it.
#[test]
fn what_another_thread_allocates_is_not_counted() {
    let (start, started) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        started.recv().unwrap();
        let many: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        end.send(()).unwrap();
        many
    });
    let counted = measure(|| {
        start.send(()).unwrap();
        ended.recv().unwrap();
    });
    assert!(counted.count_total < 100, "{counted:?}");
    assert_eq!(other.join().unwrap().len(), 1_000);
}
