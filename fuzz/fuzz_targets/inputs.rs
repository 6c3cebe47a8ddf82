//! Checks any text as the declarations of a runbook's inputs, and gives inputs to the accepted ones.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rafay_relay_sop_fuzz::{check_source, registry, render_all};
use runbook::Source;
use serde_json::Map;

fuzz_target!(|text: &str| {
    let runbook = format!(
        "name: runbook\ninputs:\n{text}\nsteps:\n  - {{id: a, action: assert, with: {{that: true}}}}\n"
    );
    let source = Source::new("runbook.yaml", runbook);
    let checked = check_source(&source, registry());
    render_all(&source, &checked.diagnostics);
    let Some(runbook) = &checked.runbook else { return };
    let _ = runbook.bind(&Map::new());
    for input in &runbook.inputs {
        for value in ["", "1", "[a, b]", "a,b", "{a: [1]}", "null", "5s", text] {
            let _ = runbook.parse_input(&input.name, value);
        }
    }
});
