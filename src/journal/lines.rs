//! A journal as JSON lines: one event a line, and at its end the checksum of everything up to there.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use text::hex;

use super::{Event, Format, RecordedEvent, RunEvent, RunTarget, StoreError, event, format};

/// The checksum of a journal up to a line: SHA-256 over the checksum before it and the line. A line ends with the
/// beginning of it, as the member `sum`, over the line without that member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Checksum([u8; 32]);

/// The beginning of the member with the checksum, and the length of the member: `,"sum":"0123456789abcdef"}`.
const SUM_MEMBER: &[u8] = b",\"sum\":\"";
const SUM_LENGTH: usize = SUM_MEMBER.len() + 16 + 2;

impl Checksum {
    fn extend(self, line: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(line).finalize().into())
    }

    fn text(self) -> String {
        hex(&self.0[..8])
    }
}

/// Writes events as lines, and continues the checksum of the lines before them.
pub(crate) fn to_lines(
    events: &[RecordedEvent],
    mut sum: Checksum,
) -> Result<(Vec<u8>, Checksum), serde_json::Error> {
    let mut lines = Vec::new();
    for event in events {
        let mut line = serde_json::to_vec(event)?;
        sum = sum.extend(&line);
        // An event is an object with members, so a member can follow.
        line.pop();
        line.extend_from_slice(SUM_MEMBER);
        line.extend_from_slice(sum.text().as_bytes());
        line.extend_from_slice(b"\"}\n");
        lines.append(&mut line);
    }
    Ok((lines, sum))
}

/// Returns lines with the checksums that they should have.
#[cfg(test)]
pub(super) fn with_checksums(text: &str) -> String {
    let mut sum = Checksum::default();
    let line = |line: &str| {
        let (event, _) = split_sum(line.as_bytes());
        sum = sum.extend(&event);
        let event = String::from_utf8(event.into_owned()).unwrap();
        format!("{},\"sum\":\"{}\"}}\n", event.strip_suffix('}').unwrap(), sum.text())
    };
    text.lines().map(line).collect()
}

/// Returns a line without its checksum, and the checksum.
fn split_sum(line: &[u8]) -> (Cow<'_, [u8]>, Option<&[u8]>) {
    let Some(at) = line.len().checked_sub(SUM_LENGTH) else { return (line.into(), None) };
    let (event, member) = line.split_at(at);
    let sum = member.strip_prefix(SUM_MEMBER).and_then(|rest| rest.strip_suffix(b"\"}"));
    match sum {
        Some(sum) => ([event, b"}"].concat().into(), Some(sum)),
        None => (line.into(), None),
    }
}

/// Returns the length of the text up to the end of its last whole line. A line without an end was being written when
/// the process died; its append never returned, so nothing was done because of it.
pub(super) fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Reads whole lines, and returns their events with the checksum of all; `place` is the journal's name for errors.
///
/// # Errors
/// As [`LineReader::read`].
pub(crate) fn parse(
    place: &str,
    text: &[u8],
) -> Result<(Vec<RecordedEvent>, Checksum), StoreError> {
    let mut reader = LineReader::default();
    let events = reader.read(place, text)?;
    Ok((events, reader.sum))
}

/// Reads a journal from its beginning, in one part or in several. It has what the lines so far say of the next ones.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    writer: Writer,
    sum: Checksum,
    has_sums: bool,
    /// The number of lines so far.
    count: usize,
}

impl LineReader {
    /// Returns the number of events so far.
    pub(crate) fn count(&self) -> u64 {
        self.count as u64
    }

    /// Reads the whole lines that follow, and returns their events. After an error it cannot be used again.
    ///
    /// # Errors
    /// [`StoreError::TooNew`] for a well-formed journal that a newer version wrote, else [`StoreError::Corrupt`] with
    /// the line.
    pub(crate) fn read(
        &mut self,
        place: &str,
        text: &[u8],
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let index = self.count;
            let corrupt = |problem: String| StoreError::Corrupt {
                place: place.to_owned(),
                line: index + 1,
                problem,
            };
            let (bytes, found) = split_sum(line.trim_ascii_end());
            self.sum = self.sum.extend(&bytes);
            let is_intact = found.is_none_or(|found| found == self.sum.text().as_bytes());
            // First: what a damaged line says of its format means nothing.
            if !is_intact {
                return Err(corrupt("its checksum does not match what is there".into()));
            }
            let parsed = serde_json::from_slice::<RecordedEvent>(&bytes);
            if let Ok(event) = &parsed {
                self.writer.note(event);
            }
            let is_newer = match &parsed {
                Ok(_) => !self.writer.format.is_known(),
                Err(_) => is_of_newer_format(&bytes, index, &mut self.writer),
            };
            if is_newer {
                let Peek { target, is_over } = peek(text);
                return Err(StoreError::TooNew {
                    place: place.to_owned(),
                    by: self.writer.version.clone(),
                    format: self.writer.format,
                    target: target.map(Box::new),
                    is_over,
                });
            }
            self.has_sums |= found.is_some() || self.writer.format >= Format::FIRST_WITH_SUMS;
            if self.has_sums && found.is_none() {
                return Err(corrupt("it has no checksum".into()));
            }
            let event = parsed.map_err(|error| corrupt(format!("not a valid event: {error}")))?;
            if event.seq != index as u64 {
                return Err(corrupt(format!(
                    "event {} is where event {index} should be",
                    event.seq
                )));
            }
            events.push(event);
            self.count += 1;
        }
        Ok(events)
    }
}

/// The program that wrote the lines so far.
#[derive(Debug, Default)]
struct Writer {
    version: String,
    format: Format,
}

impl Writer {
    fn note(&mut self, recorded: &RecordedEvent) {
        let (version, format) = match &recorded.event {
            Event::Run(RunEvent::RunStarted(spec)) => (&spec.version, spec.format),
            Event::Run(RunEvent::RunResumed { version, format, .. }) => (version, *format),
            _ => return,
        };
        version.clone_into(&mut self.version);
        self.format = self.format.max(format);
    }
}

/// Whether a line that this version cannot read is well-formed and comes from a newer one: it says so, the lines before
/// it do, or it names an event that this version does not know. Only in a line without a checksum can damage be like
/// that.
fn is_of_newer_format(bytes: &[u8], index: usize, writer: &mut Writer) -> bool {
    let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return false };
    format::upgrade(&mut object);
    if object.get("seq").and_then(Value::as_u64) != Some(index as u64) {
        return false;
    }
    if let Some(format) = object.get("format").and_then(|f| Format::deserialize(f).ok()) {
        writer.format = writer.format.max(format);
        if let Some(version) = object.get("version").and_then(Value::as_str) {
            version.clone_into(&mut writer.version);
        }
    }
    let name = object.get("event").and_then(Value::as_str);
    !writer.format.is_known() || name.is_some_and(|name| !event::is_known(name))
}

/// Finds out what can be known of a run that this version cannot read: its target, and whether its last event ended it.
/// Members that every format keeps in these places; see `docs/compatibility.md`.
fn peek(text: &[u8]) -> Peek {
    let mut lines =
        text[..whole_lines(text)].split(|byte| *byte == b'\n').filter(|l| !l.is_empty());
    let object = |line: &[u8]| serde_json::from_slice::<Map<String, Value>>(line).ok();
    let first = lines.next().and_then(object).unwrap_or_default();
    let last = lines.next_back().and_then(object).unwrap_or_default();
    let target = first.get("target").and_then(|target| Deserialize::deserialize(target).ok());
    let text_of = |name: &str| last.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_over = match text_of("event") {
        "run_abandoned" | "abandoned" => true,
        "run_ended" => {
            let outcome = format!("{}{}", text_of("outcome"), text_of("ending"));
            ["succeeded", "succeeded_with_failures", "rolled_back"].contains(&outcome.as_str())
        }
        _ => false,
    };
    Peek { target, is_over }
}

/// The knowledge of a run that cannot be read.
struct Peek {
    target: Option<RunTarget>,
    is_over: bool,
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::journal::{StepEvent, StepPath};

    /// A short run of format 1.0, whose lines have no checksums.
    const OLDER: &str = include_str!(
        "../../tests/fixtures/journals/format-1.0/20261125t090003z-interrupted-0004.jsonl"
    );

    fn journal() -> Vec<u8> {
        let (mut events, _) = parse("fixture", OLDER.as_bytes()).unwrap();
        events.truncate(1);
        let Event::Run(RunEvent::RunStarted(spec)) = &mut events[0].event else { panic!("no run") };
        spec.format = Format::CURRENT;
        // Each bit of the journal is flipped below.
        spec.text = "name: r".into();
        for seq in 1..4 {
            let event = StepEvent::StepMessage { message: format!("message {seq}") };
            let event = Event::step(&StepPath::top_level("a"), event);
            events.push(RecordedEvent { seq, time: Timestamp::UNIX_EPOCH, event });
        }
        to_lines(&events, Checksum::default()).unwrap().0
    }

    #[test]
    fn a_journal_reads_back_and_continues_its_checksum() {
        let text = journal();
        let (events, sum) = parse("journal", &text).unwrap();
        assert_eq!(to_lines(&events, Checksum::default()).unwrap(), (text, sum));
    }

    #[test]
    fn a_journal_of_an_older_format_is_continued_with_checksums() {
        let (older, sum) = parse("journal", OLDER.as_bytes()).unwrap();
        let resumed = RecordedEvent {
            seq: older.len() as u64,
            time: Timestamp::UNIX_EPOCH,
            event: RunEvent::RunAbandoned { actor: "me".into() }.into(),
        };
        let (line, _) = to_lines(&[resumed], sum).unwrap();
        let continued = [OLDER.as_bytes(), &line].concat();
        assert_eq!(parse("journal", &continued).unwrap().0.len(), older.len() + 1);
        let damaged = OLDER.replacen("\"actor\":\"", "\"actor\":\"not-", 1);
        assert_ne!(damaged, OLDER);
        let continued = [damaged.as_bytes(), &line].concat();
        assert!(parse("journal", &continued).is_err(), "the first checksum covers all before it");
    }

    #[test]
    fn a_bit_that_flips_anywhere_is_noticed() {
        let text = journal();
        for at in 0..text.len() {
            // One bit of each byte, and each of the eight in turn.
            let bit = at % 8;
            let mut damaged = text.clone();
            damaged[at] ^= 1 << bit;
            let whole = whole_lines(&damaged);
            // A last line without its end counts as never written.
            let is_end = at == text.len() - 1;
            match parse("journal", &damaged[..whole]) {
                Ok(_) => assert!(is_end, "bit {bit} of byte {at}"),
                Err(StoreError::Corrupt { .. }) => {}
                Err(error) => panic!("bit {bit} of byte {at}: {error}"),
            }
        }
    }

    #[test]
    fn a_line_that_was_removed_or_moved_is_noticed_by_the_checksum() {
        let text = String::from_utf8(journal()).unwrap();
        let renumbered = |lines: &[&str]| -> Vec<u8> {
            let number = |(at, line): (usize, &&str)| {
                let (_, rest) = line.split_once(',').unwrap();
                format!("{{\"seq\":{at},{rest}\n")
            };
            lines.iter().enumerate().map(number).collect::<String>().into_bytes()
        };
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!(renumbered(&lines), text.as_bytes());
        lines.swap(1, 2);
        assert!(parse("journal", &renumbered(&lines)).is_err());
        lines.remove(1);
        assert!(parse("journal", &renumbered(&lines)).is_err());
    }
}
