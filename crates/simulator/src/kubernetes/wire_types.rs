//! The types of the served kinds, as Kubernetes publishes them: the fields of each message, with their numbers in the
//! protobuf encoding that `kubectl create` sends, and their descriptions for `kubectl explain`. The table is a file
//! that `wire_types/generate` writes.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::object::time;

static TYPES: LazyLock<HashMap<&'static str, Message>> =
    LazyLock::new(|| parse(include_str!("../../wire_types/kubernetes.txt")));

/// The beginning of a body that is encoded as protobuf.
const MAGIC: &[u8] = b"k8s\0";

/// The depth of nested messages beyond which a body is rejected.
const MAX_DEPTH: usize = 40;

/// A message: a kind, or a part of one.
pub(crate) struct Message {
    pub(crate) description: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// A field of a message.
pub(crate) struct Field {
    number: u64,
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// A scalar, a message with a JSON form of its own (`Time`), or the name of another message.
    pub(crate) type_name: &'static str,
    pub(crate) description: &'static str,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    One,
    List,
    Map,
    /// One message, whose fields are those of the message around it in JSON.
    Inline,
}

fn parse(table: &'static str) -> HashMap<&'static str, Message> {
    let mut types: HashMap<&str, Message> = HashMap::new();
    let mut current = "";
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        if let Some(message) = line.strip_prefix("= ") {
            let (name, description) = message.split_once(' ').unwrap_or((message, ""));
            current = name;
            types.insert(name, Message { description, fields: Vec::new() });
            continue;
        }
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (number, name, kind, description) = (word(), word(), word(), word());
        let (form, type_name) = if let Some(kind) = kind.strip_prefix("[]") {
            (Form::List, kind)
        } else if let Some(kind) = kind.strip_prefix("{}") {
            (Form::Map, kind)
        } else if let Some(kind) = kind.strip_prefix('<') {
            (Form::Inline, kind)
        } else {
            (Form::One, kind)
        };
        if let (Ok(number), Some(message)) = (number.parse(), types.get_mut(current)) {
            message.fields.push(Field { number, name, form, type_name, description });
        }
    }
    types
}

/// Returns a message by its name.
pub(crate) fn message(name: &str) -> Option<&'static Message> {
    TYPES.get(name)
}

/// Returns the name of the message of a kind.
pub(crate) fn message_name(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    if kind == "DeleteOptions" {
        return "k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions".to_owned();
    }
    let package = group.split('.').next().unwrap_or_default();
    format!("k8s.io.api.{package}.{version}.{kind}")
}

/// Decodes a body that is encoded as protobuf into the JSON form of its object.
///
/// # Errors
/// The reason why the body is not a known object.
pub(crate) fn decode(body: &[u8]) -> Result<Value, String> {
    let envelope = body.strip_prefix(MAGIC).ok_or("the body does not begin with k8s")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(envelope) {
        match field? {
            (1, Wire::Bytes(type_meta)) => {
                for field in Fields(type_meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = string(text)?,
                        (2, Wire::Bytes(text)) => kind = string(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut object = decode_message(&message_name(&api_version, &kind), raw, 0)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(object.into())
}

fn decode_message(name: &str, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, String> {
    let message = message(name).ok_or_else(|| format!("the type {name} is not known"))?;
    if depth > MAX_DEPTH {
        return Err("the body is nested too deeply".to_owned());
    }
    let mut object = Map::new();
    for field in Fields(bytes) {
        let (number, wire) = field?;
        let Some(field) = message.fields.iter().find(|field| field.number == number) else {
            continue;
        };
        let key = || field.name.to_owned();
        match field.form {
            Form::One => {
                let value = decode_value(field.type_name, wire, depth)?;
                // The encoding has every text, also those that are not set.
                if !value.is_null() && value != "" {
                    object.insert(key(), value);
                }
            }
            Form::List => {
                let value = decode_value(field.type_name, wire, depth)?;
                if let Some(list) = object.entry(key()).or_insert_with(|| json!([])).as_array_mut()
                {
                    list.push(value);
                }
            }
            Form::Map => {
                let (name, value) = decode_entry(field.type_name, wire, depth)?;
                object.entry(key()).or_insert_with(|| json!({}))[name] = value;
            }
            Form::Inline => {
                if let Wire::Bytes(bytes) = wire {
                    object.extend(decode_message(field.type_name, bytes, depth + 1)?);
                }
            }
        }
    }
    Ok(object)
}

fn decode_entry(type_name: &str, wire: Wire<'_>, depth: usize) -> Result<(String, Value), String> {
    let Wire::Bytes(bytes) = wire else {
        return Err("an entry of a map is not a message".to_owned());
    };
    let (mut name, mut value) = (String::new(), Value::String(String::new()));
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Bytes(text)) => name = string(text)?,
            (2, wire) => value = decode_value(type_name, wire, depth)?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn decode_value(type_name: &str, wire: Wire<'_>, depth: usize) -> Result<Value, String> {
    Ok(match (type_name, wire) {
        ("string", Wire::Bytes(text)) => string(text)?.into(),
        ("bytes", Wire::Bytes(bytes)) => base64(bytes).into(),
        ("bool", Wire::Number(number)) => (number != 0).into(),
        ("int32" | "int64" | "Duration", Wire::Number(number)) => number.cast_signed().into(),
        ("double", Wire::Number(bits)) => f64::from_bits(bits).into(),
        ("Time" | "MicroTime", Wire::Bytes(bytes)) => decode_time(bytes)?,
        ("Quantity", Wire::Bytes(bytes)) => first_string(bytes)?.into(),
        ("FieldsV1" | "RawExtension", Wire::Bytes(bytes)) => {
            let text = first_string(bytes)?;
            serde_json::from_str(&text).unwrap_or(Value::Null)
        }
        ("IntOrString", Wire::Bytes(bytes)) => decode_int_or_string(bytes)?,
        ("Verbs", Wire::Bytes(bytes)) => {
            let verbs = Fields(bytes).map(|field| match field? {
                (_, Wire::Bytes(text)) => Ok(string(text)?.into()),
                _ => Ok(Value::Null),
            });
            verbs.collect::<Result<Vec<Value>, String>>()?.into()
        }
        (name, Wire::Bytes(bytes)) => decode_message(name, bytes, depth + 1)?.into(),
        (name, Wire::Number(_)) => return Err(format!("a number is not a {name}")),
    })
}

fn decode_time(bytes: &[u8]) -> Result<Value, String> {
    let mut seconds = None;
    for field in Fields(bytes) {
        if let (1, Wire::Number(number)) = field? {
            seconds = Some(number.cast_signed());
        }
    }
    let moment = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    Ok(moment.map_or(Value::Null, |moment| time(moment).into()))
}

fn decode_int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = string(value)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// Returns the text in the first field of a message.
fn first_string(bytes: &[u8]) -> Result<String, String> {
    for field in Fields(bytes) {
        if let (1, Wire::Bytes(text)) = field? {
            return string(text);
        }
    }
    Ok(String::new())
}

fn string(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

/// Returns bytes in the form in which JSON has the data of a secret.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The encoded value of a field.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of an encoded message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_none() {
            self.0 = &[];
        }
        Some(read.ok_or_else(|| "the body ends too early".to_owned()))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Wire<'a>)> {
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((key >> 3, wire))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for at in 0..10 {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::kinds::{KINDS, RUN_EVENTS};

    /// Encodes a field with bytes.
    fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
        let mut encoded = vec![number << 3 | 2, u8::try_from(value.len()).unwrap()];
        encoded.extend(value);
        encoded
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [bytes(1, b"v1"), bytes(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes(1, &type_meta), bytes(2, raw), bytes(3, b"")].concat()
    }

    #[test]
    fn every_kind_has_its_message() {
        // A custom resource has none: clients send it as JSON.
        let built_in = KINDS.into_iter().filter(|one| one.group != RUN_EVENTS.group);
        for resource in built_in {
            let name = message_name(&resource.api_version(), resource.kind);
            assert!(message(&name).is_some(), "{name}");
        }
        let is_known = |field: &&Field| {
            let scalars = ["string", "int32", "int64", "bool", "bytes", "double"];
            !field.type_name.contains('.')
                || message(field.type_name).is_some()
                || scalars.contains(&field.type_name)
        };
        let fields = || TYPES.values().flat_map(|message| &message.fields);
        assert!(fields().all(|field| is_known(&field)));
    }

    #[test]
    fn a_secret_is_decoded_with_its_data() {
        let metadata = [bytes(1, b"s"), bytes(2, b"")].concat();
        let entry = [bytes(1, b"key"), bytes(2, b"\xff\x00a")].concat();
        let raw = [bytes(1, &metadata), bytes(2, &entry), bytes(3, b"Opaque")].concat();
        let expected = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s"},
            "data": {"key": "/wBh"},
            "type": "Opaque",
        });
        assert_eq!(decode(&body("Secret", &raw)).unwrap(), expected);
    }

    #[test]
    fn a_body_that_is_cut_off_or_unknown_is_rejected() {
        let metadata = bytes(1, &bytes(1, b"name"));
        let whole = body("ConfigMap", &metadata);
        assert!(decode(&whole).is_ok());
        for end in 4..whole.len() - 2 {
            // A cut at the end of a field leaves a shorter message.
            let _ = decode(&whole[..end]);
        }
        assert!(decode(&whole[..9]).is_err());
        assert!(decode(b"{}").is_err());
        assert!(decode(&body("Gadget", b"")).is_err());
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
