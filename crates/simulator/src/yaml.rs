//! Reads YAML within limits: the reader recurses with the nesting of the text.

use serde::de::DeserializeOwned;

/// The maximum nesting. A pod template with affinities has about 15 levels.
const MAX_DEPTH: usize = 24;

/// The maximum number of values. A snapshot of 300 nodes and 3,000 pods has about a million.
const MAX_NODES: usize = 20_000_000;

/// Reads one document.
///
/// # Errors
/// The text is not YAML, is nested too deeply, or does not have the type. The message is one line and has the place.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_total_scalar_bytes: 1 << 30,
            max_reader_input_bytes: Some(1 << 30),
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}
