//! The object of any kind that the parameters of a step name.

use std::ops::Range;

use serde_json::{Map, Value as Json};

use super::super::objects::{ObjectKind, ObjectKindError, ObjectPath, leaf_paths};
use super::super::registry::{ActionSignature, ObjectUse};
use super::super::template::is_template;
use super::super::types::{Syntax, Text, Type};
use super::super::yaml::Node;
use super::Analysis;

/// The object of a step, as far as its parameters are literals.
pub(crate) struct StepObject<'a, 't> {
    pub(crate) kind: Result<ObjectKind, ObjectKindError>,
    with: &'t Node,
    action: &'a ActionSignature,
    uses: &'a ObjectUse,
}

impl<'t> Analysis<'t> {
    /// Returns the objects that steps name by a literal kind.
    pub(crate) fn objects(&self) -> impl Iterator<Item = StepObject<'_, 't>> {
        self.document.steps.iter().zip(&self.steps).filter_map(|(raw, step)| {
            let (with, action) = (raw.with?, step.signature?);
            let uses = action.object.as_ref()?;
            // A parameter that is misspelled is reported, and is not missing.
            let is_misspelled = |issue: &super::ArgumentIssue| {
                matches!(
                    &issue.kind,
                    super::ArgumentIssueKind::UnknownParameter { meant: Some(_), .. }
                )
            };
            if step.issues.iter().any(is_misspelled) {
                return None;
            }
            let resource = with.member("resource").filter(|node| !node.is_null());
            let resource = resource.map(|node| literal(node).ok_or(())).transpose().ok()?;
            let has_namespace = with.member("namespace").is_some_and(|node| !node.is_null());
            let (api_version, kind) =
                (literal(with.member("api_version")?)?, literal(with.member("kind")?)?);
            let kind = ObjectKind::new(api_version, kind, resource, has_namespace);
            Some(StepObject { kind, with, action, uses })
        })
    }
}

impl StepObject<'_, '_> {
    /// Returns the place of a parameter; that of all of them where it is not given.
    pub(crate) fn span(&self, parameter: &str) -> Range<usize> {
        let node = self.with.member(parameter).unwrap_or(self.with);
        super::super::document::start_span(node)
    }

    /// Returns the paths to fields among the parameters, with their places.
    pub(crate) fn paths(&self) -> Vec<(ObjectPath, Range<usize>)> {
        let mut paths = Vec::new();
        for field in &self.action.params.fields {
            if let Some(node) = self.with.member(&field.name) {
                collect_paths(node, &field.ty, &mut paths);
            }
        }
        paths
    }

    /// Returns the patch.
    pub(crate) fn patch(&self) -> Option<&Node> {
        self.with.member(self.uses.patch.as_deref()?)
    }

    /// Returns the fields that the patch sets, by their keys, with their values and places. A template is a string.
    pub(crate) fn patched(&self) -> Vec<(Vec<String>, Json, Range<usize>)> {
        let patch = self.patch();
        let mut fields = Vec::new();
        for (key, value) in patch.and_then(Node::pairs).unwrap_or_default() {
            let Some(name) = key.text() else { continue };
            let one = Map::from_iter([(name.to_owned(), json(value))]);
            for (keys, value) in leaf_paths(&one) {
                let span = span_in(patch, &keys).unwrap_or_else(|| key.span.clone());
                fields.push((keys, value.clone(), span));
            }
        }
        fields
    }
}

/// Returns the place of a key in the patch.
fn span_in(patch: Option<&Node>, keys: &[String]) -> Option<Range<usize>> {
    let (last, above) = keys.split_last()?;
    let map = above.iter().try_fold(patch?, |map, key| map.member(key))?;
    let (key, _) = map.pairs()?.iter().find(|(key, _)| key.text() == Some(last))?;
    Some(key.span.clone())
}

fn literal(node: &Node) -> Option<&str> {
    node.text().filter(|text| !is_template(text))
}

fn collect_paths(node: &Node, ty: &Type, paths: &mut Vec<(ObjectPath, Range<usize>)>) {
    match ty.non_null() {
        Type::String(Text { syntax: Some(Syntax::ObjectPath), .. }) => {
            let path = literal(node).and_then(ObjectPath::parse);
            paths.extend(path.map(|path| (path, node.span.clone())));
        }
        Type::List(of, _) => {
            node.items().unwrap_or_default().iter().for_each(|item| collect_paths(item, of, paths));
        }
        Type::Map(of, _) => {
            let values = node.pairs().unwrap_or_default().iter().map(|(_, value)| value);
            values.for_each(|value| collect_paths(value, of, paths));
        }
        Type::Record(record) => {
            for field in &record.fields {
                if let Some(value) = node.member(&field.name) {
                    collect_paths(value, &field.ty, paths);
                }
            }
        }
        Type::Any
        | Type::Null
        | Type::Boolean
        | Type::Integer(_)
        | Type::Number(_)
        | Type::String(_)
        | Type::Duration
        | Type::Enum(_)
        | Type::Optional(_) => {}
    }
}

/// Returns the keys of a value. What is not a map is a string or null: only the keys count.
fn json(node: &Node) -> Json {
    match node.pairs() {
        Some(pairs) => {
            let member = |(key, value): &(Node, Node)| Some((key.text()?.to_owned(), json(value)));
            Json::Object(pairs.iter().filter_map(member).collect())
        }
        None => Json::Null,
    }
}
