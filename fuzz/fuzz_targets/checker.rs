//! Checks any text as a runbook over the real actions, and evaluates the accepted runbooks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rafay_relay_sop_fuzz::{check_source, evaluate, registry, render_all};
use runbook::Source;

fuzz_target!(|text: &str| {
    let source = Source::new("runbook.yaml", text);
    let checked = check_source(&source, registry());
    render_all(&source, &checked.diagnostics);
    if let Some(runbook) = &checked.runbook {
        evaluate(runbook, registry());
    }
});
