//! Reads YAML within limits: the reader recurses with the nesting of the text.

use serde::de::DeserializeOwned;

/// The maximum nesting. A pod template with affinities has about 15 levels.
const MAX_DEPTH: usize = 24;

/// Reads one document.
///
/// # Errors
/// The text is not YAML, is nested too deeply, or does not have the type. The message is one line and has the place.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}
