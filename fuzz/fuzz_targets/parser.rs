//! Any bytes as a file: is it text, is it YAML, is it a runbook. Without actions, so that it is the reading that is met.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rafay_relay_sop_fuzz::{
    check_source, render_all,
    runbook::{ActionRegistry, Source},
};

fuzz_target!(|bytes: &[u8]| {
    match Source::from_bytes("runbook.yaml", bytes.to_vec()) {
        Ok(source) => {
            render_all(&source, &check_source(&source, &ActionRegistry::default()).diagnostics);
        }
        Err(error) => {
            let diagnostics = std::slice::from_ref(&error.diagnostic);
            render_all(&error.readable, diagnostics);
        }
    }
});
