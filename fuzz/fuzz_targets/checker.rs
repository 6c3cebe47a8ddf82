//! Any text as a runbook over the real actions. What is accepted is evaluated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rafay_relay_sop_fuzz::{catalogue, draw, evaluate, examine, runbook::Source};

fuzz_target!(|text: &str| {
    let source = Source::new("book.yaml", text);
    let checked = examine(&source, catalogue());
    draw(&source, &checked.findings);
    if let Some(runbook) = &checked.runbook {
        evaluate(runbook, catalogue());
    }
});
