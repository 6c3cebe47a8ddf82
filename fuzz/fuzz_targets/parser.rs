//! Any bytes as a file: is it text, is it YAML, is it a runbook. Without actions, so that it is the reading that is met.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rafay_relay_sop_fuzz::{
    draw, examine,
    runbook::{Catalogue, Source},
};

fuzz_target!(|bytes: &[u8]| {
    match Source::from_bytes("book.yaml", bytes.to_vec()) {
        Ok(source) => {
            draw(&source, &examine(&source, &Catalogue::default()).findings);
        }
        Err(error) => {
            let findings = std::slice::from_ref(&error.finding);
            draw(&error.readable, findings);
        }
    }
});
