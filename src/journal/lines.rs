//! A journal as JSON lines: one event a line.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Event, Format, RecordedEvent, RunEvent, RunTarget, StoreError, event, format};

/// Writes events as lines.
pub(super) fn to_lines(events: &[RecordedEvent]) -> Result<Vec<u8>, serde_json::Error> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, event)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Returns the length of the text up to the end of its last whole line. A line without an end was being written when
/// the process died; its append never returned, so nothing was done because of it.
pub(super) fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Reads whole lines; `place` is the journal's name for errors.
///
/// # Errors
/// [`StoreError::TooNew`] for a well-formed journal that a newer version wrote, else [`StoreError::Corrupt`] with the
/// line.
pub(super) fn parse(place: &str, text: &[u8]) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut events = Vec::new();
    let mut writer = Writer::default();
    for (index, bytes) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let corrupt = |problem: String| StoreError::Corrupt {
            place: place.to_owned(),
            line: index + 1,
            problem,
        };
        let parsed = serde_json::from_slice::<RecordedEvent>(bytes);
        if let Ok(event) = &parsed {
            writer.note(event);
        }
        let is_newer = match &parsed {
            Ok(_) => !writer.format.is_known(),
            Err(_) => is_of_newer_format(bytes, index, &mut writer),
        };
        if is_newer {
            let Peek { target, is_over } = peek(text);
            return Err(StoreError::TooNew {
                place: place.to_owned(),
                by: writer.version,
                format: writer.format,
                target: target.map(Box::new),
                is_over,
            });
        }
        let event = parsed.map_err(|error| corrupt(format!("not a valid event: {error}")))?;
        if event.seq != index as u64 {
            return Err(corrupt(format!("event {} is where event {index} should be", event.seq)));
        }
        events.push(event);
    }
    Ok(events)
}

/// The program that wrote the lines so far.
#[derive(Default)]
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
/// it do, or it names an event that this version does not know. Damage does not look like that.
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
