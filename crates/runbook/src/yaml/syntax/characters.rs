//! Finds characters in the structure of a text that look like others.

use super::super::super::misleading::misleading;
use super::lines::Line;
use super::{Cause, Found};

/// Finds a character in the structure of the lines that was meant to be another one.
pub(super) fn find(text: &str, lines: &[Line<'_>]) -> Option<Found> {
    let structural = |line: &Line<'_>| {
        if line.is_literal || line.text.is_ascii() {
            return None;
        }
        let content = line.text.trim_start_matches([' ', '\t', '-']);
        let offset = line.text.len() - content.len();
        // Before the content, or in the key, or at the start of the value.
        let at = line.text.char_indices().find_map(|(at, character)| {
            let found = misleading(character)?;
            let before = &line.text[..at];
            let is_first = at <= offset;
            let is_value_start = before.trim_end().ends_with([':', '[', '{', ',', '-']);
            let is_key = before.bytes().all(|b| b.is_ascii_alphanumeric() || b" -_".contains(&b))
                && matches!(found.meant, ":" | "");
            (is_first || is_value_start || is_key).then_some((at, found))
        });
        at.map(|(at, found)| {
            let at = line.start + at;
            Found::new(at..at + found.character.len_utf8(), Cause::Character(found))
        })
    };
    let found = lines.iter().find_map(structural)?;
    let Cause::Character(character) = &found.cause else { return Some(found) };
    let rest = text.get(found.span.clone())?;
    let meant = rest.replace(character.character, character.meant);
    Some(found.suggest(meant))
}
