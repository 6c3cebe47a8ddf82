//! The candidates for run ids, runbooks, actions and rules.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::ValueEnum as _;
use clap_complete::{CompletionCandidate, PathCompleter, engine::ValueCompleter as _};

use crate::{
    actions as registry,
    cli::{Global, Output, state_dir::StateDir, store::StoreKind},
    journal::{HeadQuery, RunId, RunState, RunStore as _, with_liveness},
};

/// The number of latest runs that are offered: more do not fit on a screen.
const MAX_RUNS: usize = 100;

/// Returns the latest runs in a suitable state, the latest first.
pub(super) fn runs(is_suitable: fn(RunState) -> bool) -> Vec<CompletionCandidate> {
    // Completion is synchronous, and may be called from within a runtime, which must not block.
    let read = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
        Some(runtime.block_on(latest_runs()))
    };
    let runs = std::thread::spawn(read).join().ok().flatten().unwrap_or_default();
    let candidate = |(run, state): (RunId, RunState)| {
        CompletionCandidate::new(run.as_str()).help(Some(state.as_str().into()))
    };
    runs.into_iter().rev().filter(|(_, state)| is_suitable(*state)).map(candidate).collect()
}

async fn latest_runs() -> Vec<(RunId, RunState)> {
    let global = global();
    // A cluster is not called for a key press.
    if !matches!(global.store_kind(false), Ok(StoreKind::Directory)) {
        return Vec::new();
    }
    let Ok(state_dir) = StateDir::choose(&global, false) else { return Vec::new() };
    let store = state_dir.open_for_reading();
    let mut runs = Vec::new();
    for entry in store.heads(HeadQuery::Newest(MAX_RUNS)).await.unwrap_or_default() {
        let Ok(head) = entry.head else { continue };
        let Ok((head, is_live)) = with_liveness(&store, head).await else { continue };
        runs.push((head.run.clone(), head.state(is_live)));
    }
    runs
}

/// Returns the runbooks whose names begin with the current word, or else the paths that do.
pub(super) fn runbooks(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = global().runbook_dir().names().into_iter();
    let names = names.filter(|name| name.as_bytes().starts_with(current.as_encoded_bytes()));
    let names: Vec<CompletionCandidate> = names.map(CompletionCandidate::new).collect();
    if names.is_empty() { PathCompleter::file().complete(current) } else { names }
}

/// Returns the actions.
pub(super) fn actions() -> Vec<CompletionCandidate> {
    let summary = |action: &registry::ActionDef| action.signature().summary;
    let candidate = |action: &registry::ActionDef| {
        CompletionCandidate::new(action.name).help(Some(summary(action).into()))
    };
    registry::all().iter().map(candidate).collect()
}

/// Returns the codes of the rules.
pub(super) fn rules() -> Vec<CompletionCandidate> {
    let rules = runbook::rules().iter();
    rules.map(|rule| CompletionCandidate::new(rule.code).help(Some(rule.summary.into()))).collect()
}

/// Returns the directories that the command line names, which is not complete and cannot be parsed yet.
fn global() -> Global {
    let words: Vec<OsString> = env::args_os().skip_while(|word| word != "--").collect();
    let directory = |flag, variable| {
        let named = value_of(&words, flag).or_else(|| env::var_os(variable).map(PathBuf::from));
        named.filter(|path| !path.as_os_str().is_empty())
    };
    let text = |flag, variable| {
        let named = value_of(&words, flag).map(PathBuf::into_os_string);
        named.or_else(|| env::var_os(variable))?.into_string().ok()
    };
    Global {
        state_dir: directory("--state-dir", "SOP_STATE_DIR"),
        runbooks: directory("--runbooks", "SOP_RUNBOOKS"),
        store: text("--store", "SOP_STORE").and_then(|kind| StoreKind::from_str(&kind, true).ok()),
        store_namespace: None,
        output: Output::Text,
        inherits_state_dir: false,
        inherits_store: false,
        inherits_store_namespace: false,
    }
}

/// Returns the value of an option among the words of a command line, as `--option VALUE` or `--option=VALUE`. Bash
/// passes the latter as three words.
fn value_of(words: &[OsString], option: &str) -> Option<PathBuf> {
    let mut words = words.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        let value = match word.strip_prefix(option) {
            Some("") => match words.next()? {
                word if word == "=" => words.next()?.into_owned(),
                word => word.into_owned(),
            },
            Some(rest) if rest.starts_with('=') => rest[1..].to_owned(),
            _ => continue,
        };
        return Some(expanded(&value));
    }
    None
}

/// Returns a path as the shell will pass it: bash and zsh pass the words of an unfinished command line as they were
/// typed, with their quotes and a leading `~`.
fn expanded(word: &str) -> PathBuf {
    let unquoted = match shlex::split(word).as_deref() {
        Some([single]) => single.clone(),
        _ => word.to_owned(),
    };
    match (unquoted.strip_prefix("~/"), env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => unquoted.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_in_every_form_that_a_shell_passes() {
        let forms: [&[&str]; 5] = [
            &["sop", "--state-dir", "/a b", "runs"],
            &["sop", "--state-dir=/a b", "runs"],
            &["sop", "--state-dir", "=", "'/a b'", "runs"],
            &["sop", "--state-dir", r"/a\ b", "runs"],
            &["sop", "runs", "show", "--state-dir", "\"/a b\""],
        ];
        for form in forms {
            let words: Vec<OsString> = form.iter().map(OsString::from).collect();
            assert_eq!(value_of(&words, "--state-dir"), Some("/a b".into()), "{form:?}");
        }
        assert_eq!(value_of(&["--state-dirs".into(), "x".into()], "--state-dir"), None);
    }
}
