//! The events of a run as parts: JSON lines with checksums, as in a file, cut into objects and compressed.

use std::io::{Read as _, Write as _};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use crate::{
    journal::{Format, StoreError},
    platform::kubernetes::{ENCODING, RunEvents, RunEventsPart},
};

/// The size above which the compressed lines of several events are split.
const MAX_PART: usize = 512 << 10;
/// The largest compressed event. etcd keeps objects of up to 1.5 MiB, and base64 adds a third.
const MAX_EVENT: usize = 1 << 20;
/// The most that a part may be when it is unpacked.
const MAX_TEXT: u64 = 256 << 20;

/// Some consecutive lines, compressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The number of the first event.
    pub(super) first: u64,
    /// How many lines these are.
    pub(super) count: u64,
    /// The lines, in base64.
    pub(super) lines: String,
}

/// An event that does not fit into an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// Its number.
    pub(super) event: u64,
    /// How many bytes it has when it is compressed.
    pub(super) bytes: usize,
}

/// Splits whole lines into as few chunks as halving allows. `first` is the number of the first line.
pub(super) fn split(first: u64, lines: &[&[u8]]) -> Result<Vec<Chunk>, TooLarge> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let packed = pack(&lines.concat());
    let limit = if lines.len() == 1 { MAX_EVENT } else { MAX_PART };
    if packed.len() <= limit {
        let (count, lines) = (lines.len() as u64, BASE64_STANDARD.encode(packed));
        return Ok(vec![Chunk { first, count, lines }]);
    }
    if lines.len() == 1 {
        return Err(TooLarge { event: first, bytes: packed.len() });
    }
    let (left, right) = lines.split_at(lines.len() / 2);
    let mut chunks = split(first, left)?;
    chunks.extend(split(first + left.len() as u64, right)?);
    Ok(chunks)
}

/// Returns the lines of a text, each with its end.
pub(super) fn lines_of(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Puts the parts of a journal together. A process that compacts them, or that died while it did, leaves the same
/// events in more than one part: each is taken once, from the part that replaces others where there is one.
///
/// # Errors
/// A part is damaged or missing.
pub(super) fn assemble(place: &str, parts: &[RunEvents]) -> Result<Vec<u8>, StoreError> {
    let mut text = Vec::new();
    let mut next = 0;
    let holds = |part: &RunEventsPart, event| part.first <= event && event < end(part);
    while let Some(part) = parts
        .iter()
        .map(|part| &part.spec)
        .filter(|part| holds(part, next))
        .max_by_key(|part| (part.compacted, end(part)))
    {
        let unpacked = unpack(place, part)?;
        let lines = lines_of(&unpacked);
        if lines.len() as u64 != part.count {
            let problem = format!("{} lines where {} should be", lines.len(), part.count);
            return Err(corrupt(place, part.first, problem));
        }
        let known = lines.len() - usize::try_from(end(part) - next).unwrap_or(lines.len());
        lines[known..].iter().for_each(|line| text.extend_from_slice(line));
        next = end(part);
    }
    match parts.iter().find(|part| part.spec.first > next) {
        Some(part) => {
            let problem = format!("missing, and event {} is there", part.spec.first);
            Err(corrupt(place, next, problem))
        }
        None => Ok(text),
    }
}

/// Returns the number after that of the last event of a part.
pub(super) fn end(part: &RunEventsPart) -> u64 {
    part.first.saturating_add(part.count)
}

/// Returns the lines of a part.
pub(super) fn unpack(place: &str, part: &RunEventsPart) -> Result<Vec<u8>, StoreError> {
    if part.encoding != ENCODING {
        let Format { major, minor } = Format::CURRENT;
        return Err(StoreError::TooNew {
            place: place.to_owned(),
            by: "another".into(),
            format: Format { major, minor: minor + 1 },
            target: None,
            is_over: false,
        });
    }
    let damaged = |error: &dyn std::fmt::Display| corrupt(place, part.first, error.to_string());
    let packed = BASE64_STANDARD.decode(&part.lines).map_err(|error| damaged(&error))?;
    let mut text = Vec::new();
    let mut decoder = GzDecoder::new(packed.as_slice()).take(MAX_TEXT);
    decoder.read_to_end(&mut text).map_err(|error| damaged(&error))?;
    Ok(text)
}

fn pack(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // A vector takes everything.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default()
}

fn corrupt(place: &str, event: u64, problem: String) -> StoreError {
    let line = usize::try_from(event).unwrap_or(usize::MAX).saturating_add(1);
    StoreError::Corrupt { place: place.to_owned(), line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that cannot be compressed well.
    fn journal(count: usize, size: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(1);
        let line = |_| (0..size).map(|_| random.alphanumeric()).chain(['\n']).collect::<String>();
        (0..count).map(line).collect::<String>().into_bytes()
    }

    fn part(Chunk { first, count, lines }: Chunk, compacted: bool) -> RunEvents {
        let (writer, encoding) = ("w".into(), ENCODING.into());
        let spec =
            RunEventsPart { first, count, writer, takes_over: false, compacted, encoding, lines };
        RunEvents::new("a-part", spec)
    }

    /// One part a line, and the parts that replace them.
    fn parts(text: &[u8]) -> (Vec<RunEvents>, Vec<RunEvents>) {
        let lines = lines_of(text);
        let each = (0..).zip(lines.chunks(1)).flat_map(|(seq, line)| split(seq, line).unwrap());
        let whole = split(0, &lines).unwrap().into_iter();
        (each.map(|c| part(c, false)).collect(), whole.map(|c| part(c, true)).collect())
    }

    #[test]
    fn a_journal_is_split_where_it_is_too_large_and_put_together_again() {
        let text = journal(20, 100_000);
        let (_, whole) = parts(&text);
        assert_eq!(whole.len(), 4);
        assert!(whole.iter().all(|part| part.spec.lines.len() <= MAX_PART * 4 / 3 + 4));
        assert_eq!(assemble("a run", &whole).unwrap(), text);
        let (_, whole) = parts(&journal(20, 100));
        assert_eq!(whole.len(), 1);
    }

    #[test]
    fn an_event_that_fits_into_no_object_is_named() {
        let text = journal(1, 3 << 20);
        let error = split(7, &lines_of(&text)).unwrap_err();
        assert_eq!(error.event, 7);
        assert!(error.bytes > MAX_EVENT, "{error:?}");
        assert_eq!(split(7, &lines_of(&journal(1, 1 << 20))).unwrap().len(), 1);
    }

    /// A process that compacts creates all parts, one after the other, and then deletes the others, in any order.
    #[test]
    fn each_event_is_read_once_at_every_moment_of_a_compaction() {
        let text = journal(20, 100_000);
        let (each, whole) = parts(&text);
        for created in 0..=whole.len() {
            let all: Vec<RunEvents> = each.iter().chain(&whole[..created]).cloned().collect();
            assert_eq!(assemble("a run", &all).unwrap(), text, "{created} created");
        }
        let mut random = fastrand::Rng::with_seed(2);
        let mut left = each;
        while !left.is_empty() {
            left.swap_remove(random.usize(..left.len()));
            let all: Vec<RunEvents> = left.iter().chain(&whole).cloned().collect();
            assert_eq!(assemble("a run", &all).unwrap(), text, "{} left", left.len());
        }
    }

    #[test]
    fn a_missing_part_and_a_damaged_one_are_reported_with_their_place() {
        let (mut each, _) = parts(&journal(5, 10));
        let problem = |parts: &[RunEvents]| assemble("a run", parts).unwrap_err().to_string();
        each[3].spec.lines = "H4sI".into();
        assert!(problem(&each).starts_with("journal a run is corrupt at line 4: "));
        each.remove(3);
        let missing = "journal a run is corrupt at line 4: missing, and event 4 is there";
        assert_eq!(problem(&each), missing);
        each[0].spec.encoding = "zstd".into();
        assert!(matches!(assemble("a run", &each), Err(StoreError::TooNew { .. })));
        assert_eq!(assemble("a run", &[]).unwrap(), b"");
    }
}
