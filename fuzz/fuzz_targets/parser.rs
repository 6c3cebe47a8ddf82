//! Reads any bytes as a file. The registry has no actions, so that the parser is tested and not the rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rafay_relay_sop_fuzz::{check_source, render_all};
use runbook::{ActionRegistry, Source};

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
