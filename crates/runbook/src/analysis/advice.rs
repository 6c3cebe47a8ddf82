//! What to write instead of a literal of the wrong type, as far as it is known.

use super::super::habits;
use super::super::types::{RecordType, Syntax, Type};
use super::super::yaml::{Node, ScalarValue};
use super::argument;

/// A remedy: a sentence, and the text that replaces the literal where that is certain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) help: String,
    pub(crate) replacement: Option<String>,
}

impl Advice {
    fn say(help: impl Into<String>) -> Self {
        Self { help: help.into(), replacement: None }
    }

    /// Advises a replacement, if it has the type.
    fn write(text: String) -> Self {
        Self { help: format!("write {text}"), replacement: Some(text) }
    }
}

/// Returns what to write instead of a literal that has not the type.
pub(super) fn advice(node: &Node, wanted: &Type) -> Option<Advice> {
    match wanted.non_null() {
        Type::Boolean => Some(boolean(node)),
        Type::Integer(_) | Type::Number(_) => number(node, wanted.non_null()),
        Type::List(of, _) => list(node, of),
        Type::Map(of, keys) => Some(map(node, of, *keys)),
        Type::Record(record) => one_record(node, record),
        ty @ Type::String(_) => string(node, ty),
        _ => None,
    }
}

fn boolean(node: &Node) -> Advice {
    let Some(meant) = node.text().and_then(habits::boolean) else {
        return Advice::say("write true or false, without quotes");
    };
    let meant = meant.to_string();
    Advice { help: format!("write {meant}, without quotes"), replacement: Some(meant) }
}

fn number(node: &Node, wanted: &Type) -> Option<Advice> {
    let text = node.text()?.trim();
    if text.strip_suffix('%').is_some_and(|share| share.parse::<u32>().is_ok()) {
        let share = text.trim_end_matches('%');
        let help =
            format!("write a number, or compute it: \"{{{{ STEP.FIELD * {share} // 100 }}}}\"");
        return Some(Advice::say(help));
    }
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
    if !is_number {
        return None;
    }
    let is_quoted = matches!(node.scalar_value(), Some(ScalarValue::Text(_)));
    let whole = match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|b| b == b'0') => whole,
        _ => text,
    };
    let is_whole = whole.parse::<i128>().is_ok();
    match wanted {
        Type::Integer(_) if !is_whole => None,
        Type::Integer(_) | Type::Number(_) if is_quoted => Some(Advice {
            help: format!("write {whole}, without quotes"),
            replacement: Some(whole.to_owned()),
        }),
        _ => Some(Advice::write(whole.to_owned())),
    }
}

fn list(node: &Node, of: &Type) -> Option<Advice> {
    if let Some(text) = node.text().filter(|_| !node.is_null()) {
        let words: Vec<&str> = text.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        let is_of_words = words.len() > 1 && words.iter().all(|word| is_of(word, of));
        if is_of_words {
            return Some(Advice::say(format!("write a list: [{}]", words.join(", "))));
        }
        if let Type::Record(record) = of.non_null()
            && let Some(fields) = fields_of(node, record)
        {
            return Some(Advice::say(format!("write a list: [{{{fields}}}]")));
        }
        let is_item = argument::literal(node, of).1.is_empty();
        return Some(match is_item && is_plain(text) {
            true => Advice::write(format!("[{text}]")),
            false => Advice::say("write a list: [ … ]"),
        });
    }
    let is_item = node.pairs().is_some() && argument::literal(node, of).1.is_empty();
    is_item.then(|| Advice::say("write a list with it: begin it with '- '"))
}

/// Whether a word is an item of the type.
fn is_of(word: &str, of: &Type) -> bool {
    of.is_text() && is_plain(word) && of.coerce(word.into()).is_ok()
}

/// Whether a text can be an item of a list in brackets without quotes.
fn is_plain(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_./=@:".contains(c);
    text.chars().all(is_allowed) && !text.starts_with(['-', '@', '='])
}

fn map(node: &Node, of: &Type, keys: Option<Syntax>) -> Advice {
    if let Some((key, value)) = node.text().and_then(|text| text.split_once('='))
        && is_plain(key)
        && is_plain(value)
    {
        return Advice::write(format!("{{{key}: {value}}}"));
    }
    if let Some(items) = node.items() {
        // `[{name: A, value: b}]` of Kubernetes.
        let named = |item: &Node| {
            let (name, value) = (item.member("name")?.text()?, item.member("value")?.text()?);
            (is_plain(name) && is_plain(value)).then(|| format!("{name}: {value}"))
        };
        let pairs: Option<Vec<String>> = items.iter().take(5).map(named).collect();
        if let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) {
            let more = if items.len() > pairs.len() { ", …" } else { "" };
            return Advice::say(format!("write a mapping: {{{}{more}}}", pairs.join(", ")));
        }
        if items.iter().any(|item| item.member("op").is_some() && item.member("path").is_some()) {
            return Advice::say(
                "write the fields as they are to be, such as {spec: {replicas: 3}}",
            );
        }
        // `[a=b]`
        let pair = |item: &Node| {
            let (key, value) = item.text()?.split_once('=')?;
            (is_plain(key) && is_plain(value)).then(|| format!("{key}: {value}"))
        };
        let pairs: Option<Vec<String>> = items.iter().take(5).map(pair).collect();
        if let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) {
            let more = if items.len() > pairs.len() { ", …" } else { "" };
            return Advice::say(format!("write a mapping: {{{}{more}}}", pairs.join(", ")));
        }
    }
    if node.text().is_some_and(|text| text.trim_start().starts_with('{')) {
        return Advice::say("write it as a mapping, without quotes around it");
    }
    let key = match keys {
        Some(Syntax::LabelKey) => Syntax::LabelKey.example(),
        Some(_) => "NAME",
        None => "KEY",
    };
    let value = node.text().filter(|text| text.len() <= 60 && is_of(text, of));
    Advice::say(format!("write a mapping: {{{key}: {}}}", value.unwrap_or("…")))
}

/// Shows the fields that the record needs; with the given value, where it is plain which field it belongs to.
fn one_record(node: &Node, record: &RecordType) -> Option<Advice> {
    fields_of(node, record).map(|fields| Advice::say(format!("write {{{fields}}}")))
}

/// Returns the fields of [`one_record`], as they are written.
fn fields_of(node: &Node, record: &RecordType) -> Option<String> {
    // `key=value:Effect` of kubectl.
    if let Some((pair, effect)) = node.text().and_then(|text| text.split_once(':'))
        && record.field("key").is_some()
        && record.field("effect").is_some()
        && is_plain(pair)
        && is_plain(effect)
    {
        let value = match pair.split_once('=') {
            Some((key, value)) if record.field("value").is_some() && !value.is_empty() => {
                format!("key: {key}, value: {value}")
            }
            Some((key, _)) => format!("key: {key}"),
            None => format!("key: {pair}"),
        };
        return Some(format!("{value}, effect: {effect}"));
    }
    // `condition=Ready` says itself which field it belongs to.
    if let Some((name, value)) = node.text().and_then(|text| text.split_once('='))
        && record.field(name).is_some()
        && is_plain(value)
        && !value.is_empty()
    {
        return Some(format!("{name}: {value}"));
    }
    let required = record.fields.iter().filter(|field| field.required).map(|field| &field.name);
    let of_groups = record.exactly_one_of.first().and_then(|group| group.first());
    let mut names: Vec<&str> = required.chain(of_groups).map(String::as_str).collect();
    names.dedup();
    let value = node.text().filter(|text| is_plain(text) && names.len() == 1);
    let value = value.map_or("…", |text| text.rsplit('=').next().unwrap_or(text));
    // A path is told from a type by its dot.
    let path = node.text().filter(|text| text.starts_with('.') && text.len() <= 60);
    let field = |name: &&str| match path.filter(|_| *name == "path") {
        Some(path) => format!("{name}: {path}"),
        None => format!("{name}: {value}"),
    };
    let fields: Vec<String> = names.iter().map(field).collect();
    if fields.is_empty() {
        return None;
    }
    Some(fields.join(", "))
}

fn string(node: &Node, wanted: &Type) -> Option<Advice> {
    if node.items().is_some() {
        let help = format!("write one {wanted}; 'for_each' runs the step for several");
        return Some(Advice::say(help));
    }
    let kind = wanted.kind()?;
    node.pairs().map(|_| Advice::say(format!("write a text such as {}", kind.example())))
}
