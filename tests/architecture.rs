//! The dependencies between the modules of `src/`, as `docs/architecture.md` lists them, checked against the sources.
//! Dependencies between crates are Cargo's to check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules that each module of `src/` may use. A module that is not listed here may not exist.
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "actions",
            "cluster_accounts",
            "cluster_store",
            "engine",
            "journal",
            "lease",
            "limits",
            "metrics",
            "notify",
            "permissions",
            "plan",
            "platform",
            "runbook_dir",
            "server",
            "snapshot",
            "traces",
            "windows",
        ],
    ),
    ("cluster_accounts", &["platform", "server"]),
    ("cluster_store", &["journal", "lease", "platform"]),
    ("server", &["engine", "journal", "metrics", "plan", "runbook_dir", "secret_file", "windows"]),
    ("metrics", &["journal", "platform"]),
    ("notify", &["journal", "platform", "secret_file"]),
    ("traces", &["journal", "platform"]),
    ("engine", &["actions", "journal", "lease", "limits", "permissions", "platform"]),
    ("permissions", &["actions", "cluster_store", "lease", "snapshot"]),
    ("plan", &["actions", "engine", "journal", "permissions", "platform", "snapshot"]),
    ("snapshot", &["platform"]),
    ("lease", &["platform"]),
    ("limits", &["actions", "platform"]),
    ("actions", &["platform"]),
    ("runbook_dir", &[]),
    ("secret_file", &[]),
    ("windows", &[]),
    ("platform", &[]),
    ("journal", &[]),
];

/// Every loop of `src/` that waits, by file and function, and why it does not ask without a pause. A loop that reads
/// again what another party may change takes its turns from `clock::Pace`, or waits for a source of `platform::wait`,
/// and has a test in `tests/rhythm.rs` or beside it that counts its calls while nothing changes.
const WAITING_LOOPS: &[(&str, &str, &str)] = &[
    ("actions/concurrency.rs", "try_join_bounded", "as many turns as calls"),
    ("actions/drain/until_empty.rs", "drain", "a pace, and a wait"),
    ("actions/scale_nodegroup/undo.rs", "drain_removed", "a pace"),
    ("cli/live/feed.rs", "next", "events of a run"),
    ("cli/live/mod.rs", "start", "events of a run"),
    ("cli/runs/show.rs", "find", "pages of runs, each older than the one before"),
    ("cli/runs/show.rs", "follow", "an interval between reads of the journal"),
    ("cli/runs/watch.rs", "follow", "an interval between reads of the journal"),
    ("cli/simulate/command.rs", "run", "signals, and the end of a command"),
    ("cluster_store/compaction.rs", "compact", "as many turns as there are objects"),
    ("cluster_store/event_recorder.rs", "deliver", "events of a run"),
    ("cluster_store/event_recorder.rs", "write", "the pause of a retry, and a bound on their time"),
    ("cluster_store/follow.rs", "follow", "a pace"),
    ("cluster_store/follow.rs", "follow", "changes of the objects"),
    ("cluster_store/open_run.rs", "create", "the pause of a retry, and a bound on their time"),
    ("cluster_store/open_run.rs", "create_part", "the pause of a retry, and a bound on their time"),
    ("cluster_store/status_writer.rs", "keep", "changes, and an interval between two writes"),
    ("engine/action_run.rs", "run_attempts", "the pause of a retry, and the timeout of the step"),
    ("engine/answer.rs", "taken", "a pace"),
    ("engine/approval.rs", "next_answer", "a pace, and a watch of the run's object"),
    ("engine/approval.rs", "wait_for_persons", "a source of answers, which has pauses"),
    ("engine/approval.rs", "wait_until", "an interval between looks at the clock"),
    ("engine/lease_use.rs", "take_back", "a pace"),
    ("engine/interruptible.rs", "run_interruptible", "events of an operation"),
    ("engine/interruptible.rs", "run_interruptible", "events that have arrived"),
    ("engine/rollback.rs", "undo", "the pause of a retry, and the timeout of the step"),
    ("lease/acquire.rs", "take", "pauses, and a bound on what meets others"),
    ("lease/held.rs", "keep", "the interval of renewals, or the pause after one that failed"),
    ("lease/held.rs", "write", "a bound on attempts"),
    ("lease/held.rs", "write_until_done", "the pause after a call that failed, and a time limit"),
    ("lease/mod.rs", "observe", "the interval of renewals, for one duration of the lease"),
    (
        "platform/aws/autoscaling.rs",
        "scaling_activities",
        "pages; the SDK refuses a repeated token",
    ),
    ("notify/object_events.rs", "deliver", "events of runs"),
    ("notify/sink.rs", "catch_up_patiently", "a pause after each read that failed"),
    ("notify/sink.rs", "try_to_deliver", "the pause of a retry, and a bound on the age"),
    ("notify/sink.rs", "work", "events of runs"),
    ("notify/stuck.rs", "watch_for_stuck", "a pace"),
    ("platform/aws/ec2.rs", "describe_instances", "pages; the SDK refuses a repeated token"),
    ("platform/fence.rs", "guard", "the end of a call, or of the time for it"),
    ("platform/http.rs", "read_beginning", "the parts of one response, up to a bound"),
    ("platform/kubernetes/list_watch.rs", "next_event", "events of one request"),
    ("platform/kubernetes/mod.rs", "list_kept", "pages; a repeated token is an error"),
    (
        "platform/kubernetes/object_watch.rs",
        "next",
        "a backoff after each request that failed or was short",
    ),
    ("platform/poll.rs", "next", "its interval, a backoff, and a least time between triggers"),
    ("platform/wait.rs", "collect_changes", "sources, which have pauses, for one pause"),
    ("platform/wait.rs", "poll", "a pace"),
    ("platform/wait.rs", "read_all", "a source, which has pauses"),
    (
        "platform/wait.rs",
        "until_with_read_sources",
        "sources, which have pauses; it reads memory only",
    ),
    ("server/listener.rs", "accept", "connections, and a pause after a failure"),
    ("server/listener.rs", "accept", "connections that end"),
    ("server/listener.rs", "send_refusal", "what one client sends, for at most a second"),
    ("server/page/overview_stream.rs", "next", "changes of runs, an interval, and a pause"),
    ("server/page/run_stream.rs", "next", "events of a run, and a pause"),
    ("server/recovery.rs", "recover_own", "a pace"),
    ("server/recovery.rs", "take_over", "a pace"),
    ("server/requested_runs.rs", "start_requested", "a pace"),
    ("traces/export.rs", "read_beginning", "the parts of one response, up to a bound and in time"),
    ("server/retention.rs", "remove_old_runs", "a pace"),
    (
        "server/run_feed.rs",
        "next",
        "events of a run, and an interval at which its driver is asked for",
    ),
    ("server/runs_page.rs", "runs", "pages of runs, each older than the one before"),
];

#[test]
fn every_loop_that_waits_is_listed_with_the_reason_why_it_has_pauses() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in rust_files(&sources) {
        let name = file.strip_prefix(&sources).unwrap().to_str().unwrap();
        if name.ends_with("tests.rs") || name.ends_with("test_server.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for function in functions_with_waiting_loops(&text) {
            found.push((name.to_owned(), function));
        }
    }
    found.sort();
    let mut listed: Vec<(String, String)> = WAITING_LOOPS
        .iter()
        .map(|(file, function, _)| ((*file).to_owned(), (*function).to_owned()))
        .collect();
    listed.sort();
    assert_eq!(found, listed, "update WAITING_LOOPS");
}

#[test]
fn loops_that_wait_are_found() {
    let text = "fn a() { loop { b().await; } }\nfn c() {\n    while d() { e(); }\n    // loop { f().await }\n    \
                while let Some(g) = h.next().await {}\n}\n#[cfg(test)]\nmod tests { fn i() { loop { j().await; } } }";
    assert_eq!(functions_with_waiting_loops(text), ["a", "c"]);
}

/// The functions of these loops that have an `.await` or a `select!` in their condition or their body.
fn functions_with_waiting_loops(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut found = Vec::new();
    for keyword in ["loop {", "while "] {
        for (start, _) in code.match_indices(keyword) {
            let is_word = code[..start].ends_with([' ', '\n']);
            let statement = &code[start..start + end_of_block(&code[start..])];
            if is_word && (statement.contains(".await") || statement.contains("select!")) {
                let name = code[..start].rsplit("fn ").next().unwrap_or_default();
                found.extend(name_at(name));
            }
        }
    }
    found
}

/// The length of a statement with a block: up to the brace that closes its first one.
fn end_of_block(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn modules_use_only_their_allowed_dependencies() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ALLOWED_DEPENDENCIES
        .iter()
        .map(|(module, dependencies)| (*module, dependencies.iter().copied().collect()))
        .collect();
    let mut violations = Vec::new();
    for file in rust_files(&sources) {
        let module = module_of(&sources, &file);
        if module == "lib" {
            continue;
        }
        let Some(allowed_modules) = allowed.get(module.as_str()) else {
            violations.push(format!(
                "{}: a module that docs/architecture.md does not list",
                file.display()
            ));
            continue;
        };
        for other in modules_used(&fs::read_to_string(&file).unwrap()) {
            if other != module && !allowed_modules.contains(other.as_str()) {
                violations.push(format!("{}: {module} may not use {other}", file.display()));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// The drawing and the test are the same arrows.
#[test]
fn the_architecture_document_lists_the_allowed_dependencies() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = fs::read_to_string(document).unwrap();
    for (module, dependencies) in ALLOWED_DEPENDENCIES {
        if *module == "main" {
            continue;
        }
        let dependencies =
            if dependencies.is_empty() { "nothing".to_owned() } else { dependencies.join(", ") };
        let row = format!("| `{module}` | {dependencies} |");
        assert!(text.contains(&row), "docs/architecture.md lacks the row\n{row}");
    }
}

/// A module that offers the items of another as its own would hide from this test who uses what.
#[test]
fn no_module_re_exports_another() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&sources) {
        let text = fs::read_to_string(&file).unwrap();
        let module = module_of(&sources, &file);
        for (start, _) in text.match_indices("pub use crate::") {
            let statement = text[start..].split(';').next().unwrap_or_default();
            let others = modules_used(statement);
            assert!(
                others.iter().all(|other| *other == module),
                "{} re-exports {others:?}",
                file.display()
            );
        }
    }
}

#[test]
fn modules_used_reads_every_form_of_use() {
    let text = "use crate::{a::X, b::{self, c}, d};\n// crate::no\nlet x = crate::e::f();\nuse crate::{\n    g,\n    h::{i, j::k},\n};";
    let found: Vec<String> = modules_used(text).into_iter().collect();
    assert_eq!(found, ["a", "b", "d", "e", "g", "h"]);
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

fn module_of(sources: &Path, file: &Path) -> String {
    let first = file.strip_prefix(sources).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The first names of all paths that begin with `crate::` (or, in `main.rs`, with the library's name).
fn modules_used(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut modules = BTreeSet::new();
    for root in ["crate::", "rafay_relay_sop::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => modules.extend(first_names(group)),
                None => modules.extend(name_at(rest)),
            }
        }
    }
    modules
}

/// The first name of each path in the group that `text` is the inside of.
fn first_names(text: &str) -> Vec<String> {
    let (mut depth, mut expected, mut names) = (0, true, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            _ if expected && depth == 0 && !c.is_whitespace() => {
                names.extend(name_at(&text[at..]));
                expected = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with(|c: char| c.is_lowercase()).then_some(name)
}
