//! Checks parameters against their types: literals at once; templates are collected with the type that
//! is required of them.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Json;

use super::super::diagnostics::spelling;
use super::super::duration::Duration;
use super::super::evaluate::{Argument, Expression};
use super::super::template::{self, Template, is_template};
use super::super::types::{RecordType, Syntax, Type};
use super::super::yaml::{Node, NodeKind};
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
                if pairs.is_empty() && *keys == Some(Syntax::LabelKey) {
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
        for (key, value) in pairs {
            let Some(name) = key.text() else { continue };
            let Some(field) = record.field(name) else {
                complete = false;
                let names = Arc::clone(names.get_or_insert_with(|| shared_names(record)));
                let owner = ParameterOwner::new(record, path);
                let name = name.to_owned();
                self.add_issue(
                    key.span.clone(),
                    ArgumentIssueKind::UnknownParameter { name, owner, names },
                );
                self.untyped(value, path);
                continue;
            };
            let templates = self.templates.len();
            let argument = self.read(value, &field.ty, &joined(path, name));
            if field.literal {
                complete &= self.refuse_templates(templates);
            }
            match argument {
                Some(argument) => fields.push((name.to_owned(), argument)),
                None => complete = false,
            }
        }
        complete &= self.check_required(pairs, record, path, &head);
        complete &= self.check_groups(pairs, record, path, &head);
        complete.then_some(fields)
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
    ) -> bool {
        let mut complete = true;
        for field in record.fields.iter().filter(|field| field.required) {
            if !pairs.iter().any(|(key, _)| key.text() == Some(&field.name)) {
                complete = false;
                if is_misspelled(&field.name, pairs, record) {
                    continue; // the misspelled key is reported, with this name as suggestion
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
    ) -> bool {
        let mut complete = true;
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
            let span = second.unwrap_or_else(|| head.clone());
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
        let Some(form) = keys.filter(|keys| !keys.matches(name)) else {
            return;
        };
        let kind = ArgumentIssueKind::InvalidFormat {
            path: path.to_owned(),
            form: format!("has a key that must be {}", form.sentence()),
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

fn shared_names(record: &RecordType) -> Arc<[String]> {
    record.names().map(str::to_owned).collect()
}

/// Whether one of the unknown keys is a misspelling of this field.
fn is_misspelled(field: &str, pairs: &[(Node, Node)], record: &RecordType) -> bool {
    /// The most unknown keys that are compared.
    const MAX_COMPARED: usize = 32;
    let unknown = pairs.iter().filter_map(|(key, _)| key.text());
    let unknown = unknown.filter(|key| record.field(key).is_none());
    unknown.take(MAX_COMPARED).any(|key| spelling::nearest(key, record.names()) == Some(field))
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
