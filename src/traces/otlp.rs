//! Spans in the form of OTLP over HTTP, which is Protocol Buffers. There are six messages with few fields: writing them
//! here takes less than a library for it.

use jiff::Timestamp;

/// The longest text of an attribute or a status. A message of a server can be long.
const MAX_TEXT: usize = 1024;

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) trace: [u8; 16],
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) attributes: Vec<(&'static str, String)>,
    pub(super) status: Status,
}

/// The kind of a span, with its number in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something within this program.
    Internal = 1,
    /// A request to another one.
    Client = 3,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Error(String),
}

/// Returns the body of a request with these spans. `resource` has the attributes of this process. The numbers of fields
/// are those of opentelemetry/proto/trace/v1/trace.proto.
pub(super) fn request(resource: &[(String, String)], spans: &[Span]) -> Vec<u8> {
    let mut of_process = Message::default();
    for (key, value) in resource {
        of_process.message(1, attribute(key, value));
    }
    let mut scope = Message::default();
    scope.text(1, env!("CARGO_PKG_NAME"));
    scope.text(2, env!("CARGO_PKG_VERSION"));
    let mut of_scope = Message::default();
    of_scope.message(1, scope);
    for span in spans {
        of_scope.message(2, to_message(span));
    }
    let mut of_resource = Message::default();
    of_resource.message(1, of_process);
    of_resource.message(2, of_scope);
    let mut request = Message::default();
    request.message(1, of_resource);
    request.0
}

fn to_message(span: &Span) -> Message {
    let mut message = Message::default();
    message.bytes(1, &span.trace);
    message.bytes(2, &span.id.to_be_bytes());
    if let Some(parent) = span.parent {
        message.bytes(4, &parent.to_be_bytes());
    }
    message.text(5, &span.name);
    message.number(6, span.kind as u64);
    message.moment(7, span.start);
    // A clock that was set back makes no span that ends before it begins.
    message.moment(8, span.end.max(span.start));
    for (key, value) in &span.attributes {
        message.message(9, attribute(key, value));
    }
    let mut status = Message::default();
    match &span.status {
        Status::Ok => status.number(3, 1),
        Status::Error(text) => {
            status.text(2, text);
            status.number(3, 2);
        }
    }
    message.message(15, status);
    message
}

fn attribute(key: &str, value: &str) -> Message {
    let mut any = Message::default();
    any.text(1, value);
    let mut attribute = Message::default();
    attribute.text(1, key);
    attribute.message(2, any);
    attribute
}

/// A message of Protocol Buffers that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            // The low seven bits, and that more follow.
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn moment(&mut self, field: u64, time: Timestamp) {
        let nanoseconds = u64::try_from(time.as_nanosecond()).unwrap_or_default();
        self.key(field, 1);
        self.0.extend(nanoseconds.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        // A length fits: usize has no more than 64 bits.
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT)]);
    }

    fn message(&mut self, field: u64, message: Self) {
        self.bytes(field, &message.0);
    }
}
