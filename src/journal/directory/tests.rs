use std::{
    fs::{OpenOptions, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
};

use jiff::Timestamp;

use super::*;
use crate::journal::{
    Event, Format, RunEvent, RunOutcome, RunSpec, RunState, RunTarget, StepEvent, StepPath,
    with_liveness,
};

fn event(seq: u64, event: impl Into<Event>) -> RecordedEvent {
    RecordedEvent { seq, time: Timestamp::UNIX_EPOCH, event: event.into() }
}

fn start(key: Option<&str>) -> RecordedEvent {
    let spec = RunSpec {
        format: Format::CURRENT,
        runbook: "r".into(),
        origin: None,
        text: String::new(),
        digest: String::new(),
        inputs: serde_json::Map::new(),
        called: Vec::new(),
        actor: "me".into(),
        key: key.map(str::to_owned),
        outside_window: None,
        version: "9.9.9".into(),
        target: RunTarget::default(),
        consent: Default::default(),
    };
    event(0, RunEvent::RunStarted(Box::new(spec)))
}

fn message(seq: u64) -> RecordedEvent {
    let message = StepEvent::StepMessage { message: seq.to_string() };
    event(seq, Event::step(&StepPath::top_level("a"), message))
}

fn end(seq: u64) -> RecordedEvent {
    event(
        seq,
        RunEvent::RunEnded { outcome: RunOutcome::Succeeded, failure: None, differences: None },
    )
}

fn owner() -> LockOwner {
    LockOwner { pid: 1, doing: "test".into(), address: None }
}

fn id(text: &str) -> RunId {
    text.parse().unwrap()
}

/// A directory with a run of three events, closed.
async fn three_events() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    let events = [start(None), message(1), message(2)];
    store.append(&id("r-1"), 0, &events, true).await.unwrap();
    let path = store.shared.path(&id("r-1"));
    (directory, path)
}

async fn ids(store: &DirectoryStore, query: HeadQuery) -> Vec<String> {
    let entries = store.heads(query).await.unwrap();
    entries.into_iter().map(|entry| entry.run.to_string()).collect()
}

#[tokio::test]
async fn appended_events_read_back() {
    let (directory, _) = three_events().await;
    let store = DirectoryStore::for_reading(directory.path());
    let events = [start(None), message(1), message(2)];
    assert_eq!(store.read(&id("r-1"), 0).await.unwrap(), events);
    assert_eq!(store.read(&id("r-1"), 2).await.unwrap(), events[2..]);
    assert_eq!(ids(&store, HeadQuery::All).await, ["r-1"]);
}

/// Damage of what was read before shows what is read again.
#[tokio::test]
async fn a_follower_reads_only_what_is_new() {
    let (directory, path) = three_events().await;
    let reader = DirectoryStore::for_reading(directory.path());
    let run = id("r-1");
    assert_eq!(reader.read(&run, 0).await.unwrap().len(), 3);
    assert_eq!(reader.read(&run, 3).await.unwrap(), []);
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    store.append(&run, 3, &[message(3), message(4)], true).await.unwrap();
    let intact = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, intact.replacen("\"seq\":1", "\"seq\":7", 1)).unwrap();
    assert_eq!(reader.read(&run, 4).await.unwrap(), [message(4)]);
    assert_eq!(reader.read(&run, 5).await.unwrap(), []);
    let whole = reader.read(&run, 0).await;
    assert!(matches!(whole, Err(StoreError::Corrupt { line: 2, .. })), "{whole:?}");

    // Another process has taken back a line that was read, and written another one.
    std::fs::write(&path, &intact).unwrap();
    assert_eq!(reader.read(&run, 0).await.unwrap().len(), 5);
    let mut lines: Vec<&str> = intact.split_inclusive('\n').collect();
    lines.pop();
    std::fs::write(&path, lines.concat()).unwrap();
    drop(store);
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    store.append(&run, 4, &[end(4), message(5)], true).await.unwrap();
    assert_eq!(reader.read(&run, 5).await.unwrap(), [message(5)]);
    assert_eq!(reader.read(&run, 4).await.unwrap(), [end(4), message(5)]);
}

#[tokio::test]
async fn a_run_that_is_over_is_removed_from_the_directory_and_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    for run in ["r-1", "r-2", "r-3"] {
        store.append(&id(run), 0, &[start(Some(run))], true).await.unwrap();
        store.append(&id(run), 1, &[end(1)], true).await.unwrap();
    }
    store.append(&id("r-4"), 0, &[start(None)], true).await.unwrap();
    let refused = store.remove(vec![id("r-1"), id("r-4"), id("r-3")]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "r-4 is not over");
    let missing = store.remove(vec![id("r-9")]).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));

    let reader = DirectoryStore::for_reading(directory.path());
    for store in [&store, &reader] {
        assert_eq!(ids(store, HeadQuery::All).await, ["r-2", "r-3", "r-4"]);
        assert_eq!(ids(store, HeadQuery::WithKey("r-1".into())).await, [""; 0]);
        let read = store.read(&id("r-1"), 0).await;
        assert!(matches!(read, Err(StoreError::NotFound { .. })), "{read:?}");
    }
    let index = std::fs::read_to_string(directory.path().join("heads.jsonl")).unwrap();
    assert!(!index.contains("\"r-1\"") && index.contains("\"r-2\""), "{index}");
    store.append(&id("r-5"), 0, &[start(None)], true).await.unwrap();
    assert_eq!(ids(&reader, HeadQuery::Newest(2)).await, ["r-4", "r-5"]);
    assert!(reader.remove(vec![id("r-2")]).await.is_err(), "a store that only reads");
}

#[tokio::test]
async fn a_torn_last_line_is_dropped_at_every_length() {
    let whole = serde_json::to_vec(&message(3)).unwrap();
    for length in 1..=whole.len() {
        let (directory, path) = three_events().await;
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&whole[..length]).unwrap();
        let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
        assert_eq!(store.read(&id("r-1"), 0).await.unwrap().len(), 3, "{length}");
        store.append(&id("r-1"), 3, &[message(3)], false).await.unwrap();
        assert_eq!(store.read(&id("r-1"), 0).await.unwrap().len(), 4, "{length}");
    }
}

#[tokio::test]
async fn other_damage_is_refused_with_its_line_and_the_file_is_not_modified() {
    let (directory, path) = three_events().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let damages = [
        (text.replacen("step_message", "step_m\0essage", 1), 2),
        (text.replacen("\"seq\":1", "\"seq\":7", 1), 2),
        (text.lines().skip(1).map(|l| format!("{l}\n")).collect(), 1),
        (text.clone() + "{}\n", 4),
    ];
    for (damaged, at) in damages {
        std::fs::write(&path, &damaged).unwrap();
        let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
        let read = store.read(&id("r-1"), 0).await.map(drop);
        let append = store.append(&id("r-1"), 3, &[message(3)], true).await;
        for result in [read, append] {
            let Err(StoreError::Corrupt { line, .. }) = result else { panic!("{result:?}") };
            assert_eq!(line, at, "{damaged}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
    }
}

/// An unknown event, a newer minor and a newer major number are all told from damage.
#[tokio::test]
async fn a_journal_of_a_newer_version_is_too_new_and_others_stay_usable() {
    let newer = |text: &str| {
        [
            text.replace("step_message", "loop_iteration_started"),
            text.replace("\"minor\":1", "\"minor\":2"),
            text.replace("\"major\":1", "\"major\":2").replace("\"actor\"", "\"requested_by\""),
        ]
    };
    let (directory, path) = three_events().await;
    let text = std::fs::read_to_string(&path).unwrap();
    for text in newer(&text) {
        let text = crate::journal::lines::with_checksums(&text);
        std::fs::write(&path, &text).unwrap();
        let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
        let error = store.read(&id("r-1"), 0).await.unwrap_err();
        let StoreError::TooNew { by, is_over: false, .. } = &error else { panic!("{error:?}") };
        assert_eq!(by, "9.9.9");
        assert!(error.hint().unwrap().contains("use version 9.9.9"), "{error:?}");
        let other = id("r-2");
        if store.read(&other, 0).await.is_err() {
            store.append(&other, 0, &[start(None)], true).await.unwrap();
        }
        let heads = store.heads(HeadQuery::All).await.unwrap();
        let is_readable: Vec<bool> = heads.iter().map(|entry| entry.head.is_ok()).collect();
        assert_eq!(is_readable, [false, true]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "the file is not modified");
    }
}

#[tokio::test]
async fn only_a_writer_that_has_seen_everything_may_append() {
    let (directory, _) = three_events().await;
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    let error = store.append(&id("r-1"), 2, &[message(2)], true).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { found: 3, .. }), "{error}");
    store.append(&id("r-1"), 3, &[message(3)], true).await.unwrap();
}

/// A request may hold on to a run that another has continued meanwhile.
#[tokio::test]
async fn a_writer_that_is_refused_leaves_the_file_to_the_one_that_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    let reader = DirectoryStore::for_reading(directory.path());
    store.append(&id("r-1"), 0, &[start(None), message(1)], true).await.unwrap();
    for (seen, sync) in [(0, true), (1, true), (1, false), (7, true)] {
        let error = store.append(&id("r-1"), seen, &[message(seen)], sync).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { found: 2, .. }), "{error}");
        assert!(store.is_live(&id("r-1")).await && reader.is_live(&id("r-1")).await, "{seen}");
    }
    store.append(&id("r-1"), 2, &[end(2)], true).await.unwrap();
    assert!(!store.is_live(&id("r-1")).await && !reader.is_live(&id("r-1")).await);
    let again = store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap_err();
    assert!(matches!(again, StoreError::Conflict { found: 3, .. }), "{again}");
    assert_eq!(store.read(&id("r-1"), 0).await.unwrap().len(), 3, "a new run replaces none");
    assert!(!store.is_live(&id("r-1")).await, "nothing is left open by a refusal");
}

/// A pipe in the place of a journal holds up its reader until the other end is closed.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_does_not_wait_for_a_reader_that_reads_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::for_writing(directory.path(), &owner()).unwrap());
    store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
    let pipe = directory.path().join("runs/r-0.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // The next store finds the pipe when it compares its index with the directory.
    drop(store);
    let store = Arc::new(DirectoryStore::for_writing(directory.path(), &owner()).unwrap());
    let reading = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.heads(HeadQuery::All).await }
    });
    // Opened when the reader has opened it, too.
    let end_of_pipe =
        tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(pipe));
    let end_of_pipe = end_of_pipe.await.unwrap().unwrap();
    store.append(&id("r-1"), 1, &[message(1)], false).await.unwrap();
    store.append(&id("r-1"), 2, &[end(2)], true).await.unwrap();
    store.append(&id("r-2"), 0, &[start(None), message(1)], true).await.unwrap();
    assert!(store.is_live(&id("r-2")).await && !store.is_live(&id("r-1")).await);
    assert!(!reading.is_finished());

    std::fs::remove_file(directory.path().join("runs/r-0.jsonl")).unwrap();
    drop(end_of_pipe);
    reading.await.unwrap().unwrap();
    // This process and the next one know what was appended meanwhile.
    for store in [&store, &Arc::new(DirectoryStore::for_reading(directory.path()))] {
        assert_eq!(ids(store, HeadQuery::All).await, ["r-1", "r-2"]);
        assert_eq!(ids(store, HeadQuery::Open).await, ["r-2"]);
        assert_eq!(store.head(&id("r-1")).await.unwrap().events, 3);
    }
    let index = std::fs::read_to_string(directory.path().join("heads.index.jsonl")).unwrap();
    assert!(index.contains("{\"run\":\"r-2\",\"final\":false"), "{index}");
}

/// Two runs that start at once: the line of the first must not say that the index is complete.
#[tokio::test]
async fn a_run_whose_line_is_not_written_is_found_by_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
    let shared = &store.shared;
    let created = shared.create(&shared.path(&id("r-2")), &id("r-2"), &[start(None)]).unwrap();
    store.append(&id("r-3"), 0, &[start(None)], true).await.unwrap();
    // The process dies before the head of the second run is appended to the index.
    drop((created, store));
    let reader = DirectoryStore::for_reading(directory.path());
    assert_eq!(ids(&reader, HeadQuery::Open).await, ["r-1", "r-2", "r-3"]);
}

#[tokio::test]
async fn one_process_writes_and_readers_see_which() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    let error = DirectoryStore::for_writing(directory.path(), &owner()).err().unwrap();
    assert!(error.to_string().contains("in use by process 1 (`test`)"), "{error}");
    let reader = DirectoryStore::for_reading(directory.path());
    assert_eq!(reader.owner(), Some(owner()));
    drop(store);
    assert_eq!(reader.owner(), None);
}

#[tokio::test]
async fn a_run_is_live_while_a_process_writes_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let reader = DirectoryStore::for_reading(directory.path());
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
    assert!(store.is_live(&id("r-1")).await && reader.is_live(&id("r-1")).await);
    drop(store);
    let other = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    assert!(!reader.is_live(&id("r-1")).await, "the directory is locked, the run is not");
    other.append(&id("r-1"), 1, &[message(1)], false).await.unwrap();
    assert!(reader.is_live(&id("r-1")).await);
}

/// A list reads the heads, and asks then which runs are live.
#[tokio::test]
async fn a_run_that_ends_before_it_is_asked_whether_it_is_live_has_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let reader = DirectoryStore::for_reading(directory.path());
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
    let before = reader.head(&id("r-1")).await.unwrap();
    let (head, is_live) = with_liveness(&reader, before.clone()).await.unwrap();
    assert_eq!((&head, is_live), (&before, true));
    store.append(&id("r-1"), 1, &[end(1)], true).await.unwrap();
    let (head, is_live) = with_liveness(&reader, before.clone()).await.unwrap();
    assert_eq!((head.state(is_live), is_live), (RunState::Succeeded, false));
    drop(store);

    // Only a run without its end was interrupted.
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    store.append(&id("r-2"), 0, &[start(None)], true).await.unwrap();
    drop(store);
    let before = reader.head(&id("r-2")).await.unwrap();
    let (head, is_live) = with_liveness(&reader, before).await.unwrap();
    assert_eq!((head.state(is_live), is_live), (RunState::Interrupted, false));
}

/// Lines that are not known to be on disk must not be found there later.
#[tokio::test]
async fn a_run_has_no_name_before_its_first_line_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    std::fs::write(directory.path().join("runs/r-2.jsonl.new"), "{\"seq\":0").unwrap();
    assert!(ids(&store, HeadQuery::All).await.is_empty());
    store.append(&id("r-2"), 0, &[start(None)], true).await.unwrap();
    assert_eq!(ids(&store, HeadQuery::All).await, ["r-2"]);
}

#[tokio::test]
async fn only_the_owner_can_read_the_journals() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let store = DirectoryStore::for_writing(&state, &owner()).unwrap();
    store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
    let mode = |path: &Path| {
        let permissions: Permissions = std::fs::metadata(path).unwrap().permissions();
        permissions.mode() & 0o777
    };
    assert_eq!(mode(&state), 0o700);
    for file in ["runs/r-1.jsonl", "writer.lock", "heads.jsonl", "heads.index.jsonl"] {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
}

/// A message is written when the system gets to it; a change needs what comes before it on disk.
#[tokio::test]
async fn a_directory_that_is_replaced_stops_the_run_before_its_next_change() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("state"), directory.path().join("moved"));
    let store = DirectoryStore::for_writing(&path, &owner()).unwrap();
    store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
    std::fs::rename(&path, &moved).unwrap();
    assert!(store.append(&id("r-1"), 1, &[message(1)], true).await.is_err(), "it vanished");

    let other = DirectoryStore::for_writing(&path, &owner()).unwrap();
    other.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
    let error = store.append(&id("r-1"), 1, &[message(1)], true).await.unwrap_err();
    assert!(error.to_string().contains("replaced by another directory"), "{error}");
    let reader = DirectoryStore::for_reading(&path);
    assert_eq!(reader.read(&id("r-1"), 0).await.unwrap().len(), 1, "the other's journal");
}

#[tokio::test]
async fn a_journal_that_is_removed_or_replaced_is_noticed_at_the_next_change() {
    for replaced in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
        store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
        let path = store.shared.path(&id("r-1"));
        let text = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        if replaced {
            std::fs::write(&path, text).unwrap();
        }
        let result = store.append(&id("r-1"), 1, &[message(1)], true).await;
        assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{replaced}: {result:?}");
    }
}

#[tokio::test]
async fn a_link_in_the_place_of_a_file_is_not_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("precious");
    std::fs::write(&target, "precious").unwrap();
    for name in ["writer.lock", "runs/r-1.jsonl", "runs/r-1.jsonl.new", "heads.new"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("runs")).unwrap();
        std::os::unix::fs::symlink(&target, directory.path().join(name)).unwrap();
        // The index is a cache: without it the store works.
        if let Ok(store) = DirectoryStore::for_writing(directory.path(), &owner()) {
            let _ = store.append(&id("r-1"), 0, &[start(None)], true).await;
            let _ = store.append(&id("r-1"), 1, &[message(1)], true).await;
        }
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious", "{name}");
    }
}

#[tokio::test]
async fn files_that_are_no_journals_are_ignored() {
    use std::os::unix::ffi::OsStrExt as _;
    let (directory, _) = three_events().await;
    let runs = directory.path().join("runs");
    std::fs::create_dir(runs.join("r-0.jsonl")).unwrap();
    let not_utf8 = std::ffi::OsStr::from_bytes(b"r-\xff.jsonl");
    for name in
        [not_utf8, ".jsonl".as_ref(), "r-2".as_ref(), "r 3.jsonl".as_ref(), "r-4.jsonl~".as_ref()]
    {
        std::fs::write(runs.join(name), "not a journal").unwrap();
    }
    let store = DirectoryStore::for_reading(directory.path());
    assert_eq!(
        ids(&store, HeadQuery::Open).await,
        ["r-0", "r-1"],
        "a directory is told as damaged"
    );
    assert!(store.head(&id("r-0")).await.is_err());
}

#[tokio::test]
async fn a_watch_sees_each_append() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
    let mut changes = store.watch();
    store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
    store.append(&id("r-1"), 1, &[message(1)], false).await.unwrap();
    assert_eq!(changes.recv().await.unwrap().events, 1);
    assert_eq!(changes.recv().await.unwrap().events, 2);
}

mod heads {
    use super::*;

    /// Three runs: one over, one open with a key, one over with a key.
    async fn runs() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
        store.append(&id("r-1"), 0, &[start(None), end(1)], true).await.unwrap();
        store.append(&id("r-2"), 0, &[start(Some("k2"))], true).await.unwrap();
        store.append(&id("r-3"), 0, &[start(Some("k\"3"))], true).await.unwrap();
        store.append(&id("r-3"), 1, &[end(1)], true).await.unwrap();
        directory
    }

    async fn assert_complete(directory: &Path) {
        let store = DirectoryStore::for_reading(directory);
        assert_eq!(ids(&store, HeadQuery::All).await, ["r-1", "r-2", "r-3"]);
        assert_eq!(ids(&store, HeadQuery::Newest(2)).await, ["r-2", "r-3"]);
        assert_eq!(ids(&store, HeadQuery::Before(id("r-3"), 1)).await, ["r-2"]);
        assert_eq!(ids(&store, HeadQuery::Open).await, ["r-2"]);
        assert_eq!(ids(&store, HeadQuery::WithKey("k\"3".into())).await, ["r-3"]);
        for run in ["r-1", "r-2", "r-3"] {
            let events = store.read(&id(run), 0).await.unwrap();
            let head = store.head(&id(run)).await.unwrap();
            assert_eq!(Some(head), RunHead::of(&id(run), &events), "{run}");
        }
    }

    #[tokio::test]
    async fn each_query_finds_its_runs() {
        assert_complete(runs().await.path()).await;
    }

    #[tokio::test]
    async fn heads_are_rebuilt_when_the_index_is_missing_or_damaged() {
        let directory = runs().await;
        for name in ["heads.index.jsonl", "heads.jsonl"] {
            let index = directory.path().join(name);
            let text = std::fs::read_to_string(&index).unwrap();
            let reversed: String = text.lines().rev().map(|line| format!("{line}\n")).collect();
            let half = &text[..text.len() / 2];
            for damaged in ["", "{\"heads\":1}\n", half, &reversed, "\u{0}\u{0}"] {
                std::fs::write(&index, damaged).unwrap();
                assert_complete(directory.path()).await;
            }
            std::fs::remove_file(&index).unwrap();
            assert_complete(directory.path()).await;
            std::fs::write(&index, text).unwrap();
        }
    }

    /// Its lock would be lost with it.
    #[tokio::test]
    async fn a_run_that_cannot_be_read_is_found_again_by_every_process() {
        let directory = runs().await;
        let damaged = directory.path().join("runs/r-0.jsonl");
        std::fs::write(&damaged, "no journal\n").unwrap();
        for run in ["r-4", "r-5"] {
            let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
            store.append(&id(run), 0, &[start(None), end(1)], true).await.unwrap();
            drop(store);
            let store = DirectoryStore::for_reading(directory.path());
            assert_eq!(ids(&store, HeadQuery::Open).await, ["r-0", "r-2"], "after {run}");
        }
    }

    #[tokio::test]
    async fn a_run_that_was_copied_in_is_found_after_the_next_one() {
        let directory = runs().await;
        let runs = directory.path().join("runs");
        let copied = std::fs::read_to_string(runs.join("r-2.jsonl")).unwrap();
        std::fs::write(runs.join("r-0.jsonl"), copied).unwrap();
        let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
        store.append(&id("r-4"), 0, &[start(None), end(1)], true).await.unwrap();
        drop(store);
        let store = DirectoryStore::for_reading(directory.path());
        assert_eq!(ids(&store, HeadQuery::Open).await, ["r-0", "r-2"]);
    }

    #[tokio::test]
    async fn a_line_that_is_older_than_its_run_is_not_trusted() {
        let directory = runs().await;
        let index = directory.path().join("heads.index.jsonl");
        let stale = std::fs::read_to_string(&index).unwrap();
        let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
        store.append(&id("r-2"), 1, &[end(1)], true).await.unwrap();
        drop(store);
        std::fs::write(&index, stale).unwrap();
        let store = DirectoryStore::for_reading(directory.path());
        assert!(ids(&store, HeadQuery::Open).await.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_was_copied_in_or_removed_is_noticed() {
        let directory = runs().await;
        let runs = directory.path().join("runs");
        std::fs::copy(runs.join("r-2.jsonl"), runs.join("r-9.jsonl")).unwrap();
        std::fs::remove_file(runs.join("r-1.jsonl")).unwrap();
        let store = DirectoryStore::for_reading(directory.path());
        assert_eq!(ids(&store, HeadQuery::All).await, ["r-2", "r-3", "r-9"]);
        assert_eq!(ids(&store, HeadQuery::Open).await, ["r-2", "r-9"]);
    }

    /// A finished run costs a line of the index, and no look into its journal.
    #[tokio::test]
    async fn queries_do_not_read_the_journals_of_finished_runs() {
        let directory = runs().await;
        let path = directory.path().join("runs/r-1.jsonl");
        let before = std::fs::metadata(&path).unwrap();
        let length = usize::try_from(before.len()).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        std::fs::write(&path, "x".repeat(length - 1) + "\n").unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        let store = DirectoryStore::for_reading(directory.path());
        assert!(store.heads(HeadQuery::All).await.unwrap().iter().all(|entry| entry.head.is_ok()));
        assert!(store.read(&id("r-1"), 0).await.is_err(), "the journal is unreadable");
    }

    #[tokio::test]
    async fn the_index_does_not_grow_with_what_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::for_writing(directory.path(), &owner()).unwrap();
        store.append(&id("r-1"), 0, &[start(None)], true).await.unwrap();
        for seq in (1..400).step_by(2) {
            let resumed = RunEvent::RunResumed {
                actor: "me".into(),
                version: "1".into(),
                format: Format::CURRENT,
                mode: crate::journal::ResumeMode::Continue,
                amendment: None,
            };
            let interrupted = RunEvent::RunEnded {
                outcome: RunOutcome::Interrupted,
                failure: None,
                differences: None,
            };
            let events = [event(seq, interrupted), event(seq + 1, resumed)];
            store.append(&id("r-1"), seq, &events[..1], false).await.unwrap();
            store.append(&id("r-1"), seq + 1, &events[1..], false).await.unwrap();
        }
        for name in ["heads.index.jsonl", "heads.jsonl"] {
            let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
            assert!(text.lines().count() < 100, "{name}: {}", text.lines().count());
        }
    }
}
