//! What an editor asks about a place of a text: what can be written there, what is there, and where it is declared.
//! Pure: from a text and an offset to an answer. The text is being written, so it often is not a runbook, and often not
//! YAML. The protocol of editors is in `language_server`.

mod completion;
mod cursor;
mod definition;
mod documentation;
mod expression;
mod hover;
mod level;
mod recover;
mod scope;
mod symbols;
mod words;

pub use completion::{Completion, CompletionKind, complete};
pub use definition::{Definition, define};
pub use hover::{Hover, hover};
pub use symbols::{Symbol, SymbolKind, symbols};

#[cfg(test)]
mod tests {
    use super::super::BUILT_IN_RUNBOOKS;
    use super::super::editor_tests::{library, registry};
    use super::*;
    use crate::Source;

    /// A text is cut and asked about everywhere, as it is while it is written.
    #[test]
    fn every_place_of_a_broken_text_has_an_answer() {
        const BROKEN: &[&str] =
            &["{{ ", "'", "\"", "\n", "[", "}", ": ", "- ", "🚀", "|\n", "\r\n", "\u{feff}", "# "];
        let (registry, library) = (registry(), library());
        let mut seed = 7_usize;
        let mut below = |limit: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit.max(1)
        };
        for (name, text) in BUILT_IN_RUNBOOKS {
            for _ in 0..20 {
                let mut text = (*text).to_owned();
                text.truncate(text.floor_char_boundary(below(text.len())));
                let at = text.floor_char_boundary(below(text.len()));
                text.insert_str(at, BROKEN[below(BROKEN.len())]);
                let source = Source::new(format!("{name}.yaml"), text);
                for offset in [at, at + 2, source.text().len(), below(source.text().len())] {
                    for one in complete(&source, offset, &registry, &library) {
                        assert!(source.text().get(one.replace).is_some());
                    }
                    if let Some(hover) = hover(&source, offset, &registry, &library) {
                        assert!(source.text().get(hover.span).is_some());
                    }
                    define(&source, offset, &registry, &library);
                }
                for symbol in symbols(&source) {
                    assert!(source.text().get(symbol.span).is_some());
                }
            }
        }
    }
}
