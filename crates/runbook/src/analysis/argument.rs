//! Checks parameters against their types: literals at once; templates are collected with the type that
//! is required of them.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Json;

use super::super::diagnostics::spelling;
use super::super::document::MappingKind;
use super::super::duration::Duration;
use super::super::evaluate::{Argument, Expression};
use super::super::habits;
use super::super::template::{self, Template, is_template};
use super::super::types::{Field, FieldChecks, RecordType, Syntax, Type};
use super::super::yaml::{Node, NodeKind};
use super::advice::advice;
use super::issue::{ArgumentIssue, ArgumentIssueKind, ParameterOwner};
use super::scalar;

/// A template in a parameter.
pub(crate) struct TemplateArgument<'t> {
    pub(crate) node: &'t Node,
    pub(crate) parsed: Result<Template<'t>, Box<template::TemplateIssue>>,
    pub(crate) path: String,
    pub(crate) wanted: Type,
}

/// A literal duration in a parameter.
pub(crate) struct DurationLiteral {
    pub(crate) path: String,
    pub(crate) span: Range<usize>,
    pub(crate) duration: Duration,
}

/// Reads parameters and collects what the rules need.
#[derive(Default)]
pub(crate) struct ArgumentReader<'t> {
    pub(crate) issues: Vec<ArgumentIssue>,
    pub(crate) templates: Vec<TemplateArgument<'t>>,
    pub(crate) durations: Vec<DurationLiteral>,
    pub(crate) empty: Vec<(String, Range<usize>)>,
}

/// Reads a value that cannot contain templates.
pub(crate) fn literal(node: &Node, ty: &Type) -> (Option<Json>, Vec<ArgumentIssue>) {
    let mut reader = ArgumentReader::default();
    let argument = reader.read(node, ty, "");
    let template = |argument: &TemplateArgument| ArgumentIssue {
        span: argument.node.span.clone(),
        kind: ArgumentIssueKind::TemplateNotAllowed { path: argument.path.clone() },
    };
    let templates: Vec<ArgumentIssue> = reader.templates.iter().map(template).collect();
    reader.issues.extend(templates);
    match argument {
        Some(Argument::Literal(value)) => (Some(value), reader.issues),
        _ => (None, reader.issues),
    }
}

impl<'t> ArgumentReader<'t> {
    pub(super) fn add_issue(&mut self, span: Range<usize>, kind: ArgumentIssueKind) {
        self.issues.push(ArgumentIssue { span, kind });
    }

    /// Records a template with the type that is required of it.
    fn add_template(&mut self, node: &'t Node, wanted: &Type, path: &str) -> Argument {
        let text = node.text().unwrap_or_default();
        let parsed = template::parse(text);
        let whole = parsed.as_ref().is_ok_and(|template| template.whole().is_some());
        self.templates.push(TemplateArgument {
            node,
            parsed,
            path: path.to_owned(),
            wanted: wanted.clone(),
        });
        Argument::Template(Expression::new(text, whole, wanted, path))
    }

    /// Reports a value of the wrong type.
    pub(super) fn add_type_mismatch(&mut self, node: &Node, ty: &Type, path: &str) {
        if node.is_broken() {
            return;
        }
        let kind = ArgumentIssueKind::TypeMismatch {
            path: path.to_owned(),
            wanted: ty.clone(),
            found: node.describe(),
            advice: advice(node, ty),
        };
        let start = node.span.start;
        let span = match node.text() {
            Some(_) => node.span.clone(),
            None => start..start,
        };
        self.add_issue(span, kind);
    }

    /// Reads a value of any type. Returns `None` for an invalid value, which is then reported.
    pub(crate) fn read(&mut self, node: &'t Node, ty: &Type, path: &str) -> Option<Argument> {
        if node.text().is_some_and(is_template) {
            return Some(self.add_template(node, ty, path));
        }
        match ty {
            Type::Any => Some(self.untyped(node, path)),
            Type::Optional(_) if node.is_null() => Some(Argument::Literal(Json::Null)),
            Type::Optional(inner) => self.read(node, inner, path),
            Type::List(of, lengths) => {
                let Some(items) = node.items() else {
                    self.add_type_mismatch(node, ty, path);
                    return None;
                };
                if !lengths.contains(items.len()) {
                    let limits = lengths.describe("item");
                    self.add_out_of_range(node, path, limits, format!("{} items", items.len()));
                } else if items.is_empty() {
                    self.empty.push((path.to_owned(), node.span.clone()));
                }
                let read = |(index, item)| self.read(item, of, &format!("{path}[{index}]"));
                let items: Vec<Option<Argument>> = items.iter().enumerate().map(read).collect();
                Some(Argument::list(items.into_iter().collect::<Option<_>>()?))
            }
            Type::Map(of, keys) => {
                let Some(pairs) = node.pairs() else {
                    self.add_type_mismatch(node, ty, path);
                    return None;
                };
                // A map is a selection, or what a step is to change, unless it may be empty.
                if pairs.is_empty() {
                    self.empty.push((path.to_owned(), node.span.clone()));
                }
                let read = |(key, value): &'t (Node, Node)| {
                    let name = key.text()?;
                    self.check_key(key, name, *keys, path);
                    let value = self.read(value, of, &joined(path, name))?;
                    Some((name.to_owned(), value))
                };
                let fields: Vec<Option<(String, Argument)>> = pairs.iter().map(read).collect();
                Some(Argument::map(fields.into_iter().collect::<Option<_>>()?))
            }
            Type::Record(record) => {
                let Some(pairs) = node.pairs() else {
                    self.add_type_mismatch(node, ty, path);
                    return None;
                };
                let start = node.span.start;
                let fields = self.fields(pairs, record, path, start..start)?;
                Some(Argument::map(fields))
            }
            scalar => self.scalar(node, scalar, path).map(Argument::Literal),
        }
    }

    /// Reads the fields of a record; `head` is the span for reports of missing fields.
    pub(crate) fn fields(
        &mut self,
        pairs: &'t [(Node, Node)],
        record: &RecordType,
        path: &str,
        head: Range<usize>,
    ) -> Option<Vec<(String, Argument)>> {
        let mut fields = Vec::with_capacity(pairs.len());
        let mut complete = true;
        let mut names = None;
        let mut meanings: Option<Vec<(&str, &str)>> = None;
        let mut unknown = 0;
        for (key, value) in pairs {
            let Some(name) = key.text() else { continue };
            let Some(field) = record.field(name) else {
                complete = false;
                let names = Arc::clone(names.get_or_insert_with(|| open_names(record, pairs)));
                let owner = ParameterOwner::new(record, path);
                unknown += 1;
                let is_compared = unknown <= MAX_COMPARED;
                let given = is_compared.then(|| similar_given(name, &names, record)).flatten();
                let name = name.to_owned();
                let meant = meanings.get_or_insert_with(|| meanings_of(pairs, record));
                let meant = meant.iter().find(|(key, _)| *key == name).map(|(_, meant)| meant);
                let field = meant.and_then(|meant| record.field(meant));
                let meant = meant.map(|meant| (*meant).to_owned());
                self.add_issue(
                    key.span.clone(),
                    ArgumentIssueKind::UnknownParameter { name, owner, names, meant, given },
                );
                match field {
                    // As the field that is meant, of which the templates have a type.
                    Some(field) if has_form(value, &field.ty) => {
                        self.read(value, &field.ty, &joined(path, &field.name));
                    }
                    _ => {
                        self.untyped(value, path);
                    }
                }
                continue;
            };
            let templates = self.templates.len();
            let argument = self.read(value, &field.ty, &joined(path, name));
            complete &= self.check_literal(value, field, &joined(path, name));
            if field.literal {
                complete &= self.refuse_templates(templates);
            }
            match argument {
                Some(argument) => fields.push((name.to_owned(), argument)),
                None => complete = false,
            }
        }
        let meanings = meanings.unwrap_or_default();
        complete &= self.check_required(pairs, record, path, &head, &meanings);
        complete &= self.check_groups(pairs, record, path, &head, &meanings);
        complete &= self.check_relations(pairs, record, path, &head);
        complete.then_some(fields)
    }

    /// Checks a literal beyond its type, and returns whether nothing is wrong.
    fn check_literal(&mut self, node: &Node, field: &Field, path: &str) -> bool {
        let FieldChecks { at_least, only, refused } = &field.checks;
        if node.is_null() || node.text().is_some_and(is_template) {
            return true;
        }
        let before = self.issues.len();
        let duration = node.text().and_then(|text| text.parse::<Duration>().ok());
        if let (Some(least), Some(duration)) = (at_least, duration)
            && duration < *least
        {
            self.add_out_of_range(node, path, format!("at least {least}"), duration.to_string());
        }
        if let Some(only) = only.as_ref().filter(|only| scalar::untyped_json(node) != **only) {
            let found = node.text().unwrap_or_default().to_owned();
            self.add_out_of_range(node, path, only.to_string(), found);
        }
        let keys = node.pairs().unwrap_or_default().iter().map(|(key, _)| key);
        let texts = keys.chain(node.text().map(|_| node));
        for (text, at) in texts.filter_map(|at| Some((at.text()?, at))) {
            if let Some(refused) = refused.iter().find(|refused| refused.matches(text)) {
                let kind = ArgumentIssueKind::RefusedText {
                    path: path.to_owned(),
                    text: text.to_owned(),
                    why: refused.why.clone(),
                    help: refused.help.clone(),
                };
                self.add_issue(at.span.clone(), kind);
            }
        }
        self.issues.len() == before
    }

    /// Reports the templates from a position on, and returns whether there are none.
    fn refuse_templates(&mut self, from: usize) -> bool {
        let refused: Vec<TemplateArgument<'t>> = self.templates.drain(from..).collect();
        for TemplateArgument { node, path, .. } in &refused {
            let path = path.clone();
            self.add_issue(node.span.clone(), ArgumentIssueKind::TemplateNotAllowed { path });
        }
        refused.is_empty()
    }

    fn check_required(
        &mut self,
        pairs: &[(Node, Node)],
        record: &RecordType,
        path: &str,
        head: &Range<usize>,
        meanings: &[(&str, &str)],
    ) -> bool {
        let mut complete = true;
        let required = || record.fields.iter().filter(|field| field.required);
        if pairs.is_empty()
            && path.is_empty()
            && required().count() + record.exactly_one_of.len() > 1
        {
            let mut names: Vec<String> =
                required().map(|field| format!("'{}'", field.name)).collect();
            let groups =
                record.exactly_one_of.iter().map(|group| format!("one of {}", group.join(", ")));
            names.extend(groups);
            let owner = ParameterOwner::new(record, path);
            self.add_issue(head.clone(), ArgumentIssueKind::MissingParameters { names, owner });
            return false;
        }
        for field in required() {
            if !pairs.iter().any(|(key, _)| key.text() == Some(&field.name)) {
                complete = false;
                if meanings.iter().any(|(_, meant)| *meant == field.name) {
                    continue; // the key is reported, with this name as suggestion
                }
                let kind = ArgumentIssueKind::MissingParameter {
                    name: field.name.clone(),
                    ty: field.ty.clone(),
                    owner: ParameterOwner::new(record, path),
                };
                self.add_issue(head.clone(), kind);
            }
        }
        complete
    }

    fn check_groups(
        &mut self,
        pairs: &[(Node, Node)],
        record: &RecordType,
        path: &str,
        head: &Range<usize>,
        meanings: &[(&str, &str)],
    ) -> bool {
        let mut complete = true;
        let all_missing = pairs.is_empty() && path.is_empty();
        let required = record.fields.iter().filter(|field| field.required).count();
        if all_missing && required + record.exactly_one_of.len() > 1 {
            return false; // reported with the required ones
        }
        let mut reported: Vec<Range<usize>> = Vec::new();
        for group in &record.exactly_one_of {
            let is_given = |(key, value): &&(Node, Node)| {
                let member = key.text().is_some_and(|key| group.iter().any(|name| name == key));
                member && !value.is_null()
            };
            let mut given = pairs.iter().filter(is_given).map(|(key, _)| key.span.clone());
            let (first, second) = (given.next(), given.next());
            if first.is_some() && second.is_none() {
                continue;
            }
            complete = false;
            let is_meant = |(_, meant): &(&str, &str)| group.iter().any(|name| name == meant);
            if first.is_none() && meanings.iter().any(is_meant) {
                continue; // the key is reported, with this name as suggestion
            }
            // One parameter too many is one mistake, however many groups it is in.
            if first.as_ref().is_some_and(|first| reported.contains(first)) {
                continue;
            }
            let span = second.unwrap_or_else(|| head.clone());
            reported.extend(first.iter().cloned().chain([span.clone()]));
            let kind = ArgumentIssueKind::ExactlyOneOf {
                group: group.clone(),
                first,
                owner: ParameterOwner::new(record, path),
            };
            self.add_issue(span, kind);
        }
        complete
    }

    pub(super) fn add_out_of_range(
        &mut self,
        node: &Node,
        path: &str,
        limits: String,
        found: String,
    ) {
        let kind = ArgumentIssueKind::OutOfRange { path: path.to_owned(), limits, found };
        let start = node.span.start;
        let span = match node.text() {
            Some(_) => node.span.clone(),
            None => start..start,
        };
        self.add_issue(span, kind);
    }

    /// Checks the key of a map against the syntax of its keys.
    fn check_key(&mut self, key: &Node, name: &str, keys: Option<Syntax>, path: &str) {
        let form = match keys {
            _ if is_template(name) => KEY_WITHOUT_TEMPLATE.to_owned(),
            Some(keys) if !keys.matches(name) => keys.sentence(),
            _ => return,
        };
        let kind = ArgumentIssueKind::InvalidFormat {
            path: path.to_owned(),
            form: format!("has a key that must be {form}"),
            found: super::super::yaml::quoted(name),
        };
        self.add_issue(key.span.clone(), kind);
    }

    /// Reads a value of unknown type as written, and records its templates.
    fn untyped(&mut self, node: &'t Node, path: &str) -> Argument {
        if node.text().is_some_and(is_template) {
            return self.add_template(node, &Type::Any, path);
        }
        match &node.kind {
            NodeKind::List(items) => {
                let read = |(index, item)| self.untyped(item, &format!("{path}[{index}]"));
                Argument::list(items.iter().enumerate().map(read).collect())
            }
            NodeKind::Map(pairs) => {
                let read = |(key, value): &'t (Node, Node)| {
                    let name = key.text().unwrap_or_default();
                    self.check_key(key, name, None, path);
                    (name.to_owned(), self.untyped(value, &joined(path, name)))
                };
                Argument::map(pairs.iter().map(read).collect())
            }
            NodeKind::Scalar { .. } | NodeKind::Broken => {
                Argument::Literal(scalar::untyped_json(node))
            }
        }
    }
}

/// Returns the names of the fields that are not given: what an unknown key can have been meant as.
fn open_names(record: &RecordType, pairs: &[(Node, Node)]) -> Arc<[String]> {
    let is_given = |name: &&str| pairs.iter().any(|(key, _)| key.text() == Some(name));
    record.names().filter(|name| !is_given(name)).map(str::to_owned).collect()
}

/// The requirement that a key which is a template does not meet.
const KEY_WITHOUT_TEMPLATE: &str = "written as it is, because only values can have templates";

/// The most unknown keys of a mapping that are compared with the fields.
const MAX_COMPARED: usize = 32;

/// Returns the field that an unknown key is most similar to, if that field is given beside the key.
fn similar_given(key: &str, open: &[String], record: &RecordType) -> Option<String> {
    let nearest = spelling::nearest(key, record.names())?;
    (!open.iter().any(|name| name == nearest)).then(|| nearest.to_owned())
}

/// Returns the unknown keys of a mapping with the fields that are probably meant by them: by meaning, by spelling, or
/// because one field is missing and one key is too many.
fn meanings_of<'k>(pairs: &'k [(Node, Node)], record: &'k RecordType) -> Vec<(&'k str, &'k str)> {
    let names: Vec<&str> = record.names().collect();
    let keys = || pairs.iter().filter_map(|(key, _)| key.text());
    let is_given = |name: &str| keys().any(|key| key == name);
    let mut meanings: Vec<(&str, &str)> = Vec::new();
    let mut unexplained = Vec::new();
    for key in keys().filter(|key| record.field(key).is_none()).take(MAX_COMPARED) {
        let taken = |name: &str| is_given(name) || meanings.iter().any(|(_, meant)| *meant == name);
        let similar = spelling::nearest(key, record.names()).filter(|name| !taken(name));
        let by_meaning = || habits::parameter(key, &names, &taken);
        match similar.or_else(by_meaning) {
            Some(name) => meanings.push((key, name)),
            None => unexplained.push(key),
        }
    }
    let is_missing =
        |name: &str| !is_given(name) && !meanings.iter().any(|(_, meant)| *meant == name);
    let required = record.fields.iter().filter(|field| field.required && is_missing(&field.name));
    let missing: Vec<&str> = required.map(|field| field.name.as_str()).collect();
    // A key of the step is not a parameter under another name.
    unexplained.retain(|key| !MappingKind::Step.keys().contains(key));
    if let ([key], [name]) = (unexplained.as_slice(), missing.as_slice()) {
        let value =
            pairs.iter().find(|(other, _)| other.text() == Some(key)).map(|(_, value)| value);
        let field = record.field(name);
        if value.zip(field).is_some_and(|(value, field)| has_form(value, &field.ty)) {
            meanings.push((key, name));
        }
    }
    meanings
}

/// Whether a value has the form of a type: a list for a list, a mapping for a record, a scalar for the others.
fn has_form(value: &Node, ty: &Type) -> bool {
    if value.text().is_some_and(is_template) {
        return true;
    }
    match ty.non_null() {
        Type::List(..) => value.items().is_some(),
        Type::Map(..) | Type::Record(_) => value.pairs().is_some(),
        Type::Any => true,
        _ => value.text().is_some(),
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
