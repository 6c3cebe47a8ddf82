//! Checks what holds between the parameters of a step, or the fields of a record.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value as Json;

use super::super::template::is_template;
use super::super::types::{FieldRelation, Given, RecordType};
use super::super::yaml::Node;
use super::argument::ArgumentReader;
use super::issue::{ArgumentIssueKind, ParameterOwner};
use super::scalar;

type Pair = (Node, Node);

impl ArgumentReader<'_> {
    /// Checks the relations of a record, and returns whether nothing certainly fails.
    pub(super) fn check_relations(
        &mut self,
        pairs: &[Pair],
        record: &RecordType,
        path: &str,
        head: &Range<usize>,
    ) -> bool {
        let mut complete = true;
        for relation in &record.relations {
            match relation {
                FieldRelation::Requires(field, required) => {
                    if let (Some((key, _)), None) = (given(pairs, field), given(pairs, required)) {
                        let (field, required) = (field.clone(), required.clone());
                        let kind = ArgumentIssueKind::RequiredBeside { field, required };
                        self.add_issue(key.span.clone(), kind);
                        complete = false;
                    }
                }
                FieldRelation::Excludes(one, other, why) => {
                    complete &= self.check_excluded(pairs, one, other, why.as_deref());
                }
                FieldRelation::NoEffect(field, with, why) => {
                    if let (Some((key, _)), Some((at, _))) = (has(pairs, field), has(pairs, with)) {
                        let kind = ArgumentIssueKind::NoEffectBeside {
                            field: field.clone(),
                            with: with.clone(),
                            with_span: at.span.clone(),
                            why: why.clone(),
                        };
                        self.add_issue(key.span.clone(), kind);
                    }
                }
                FieldRelation::AnyOf(group) => {
                    complete &= self.check_any(pairs, record, group, path, head);
                }
                FieldRelation::Distinct { of, by } => {
                    complete &= self.check_distinct(pairs, of, by);
                }
                // The timeout of the step is known to the rule.
                FieldRelation::Lasts(..) => {}
            }
        }
        complete
    }

    fn check_excluded(
        &mut self,
        pairs: &[Pair],
        one: &Given,
        other: &Given,
        why: Option<&str>,
    ) -> bool {
        let (Some((first, _)), Some((second, _))) = (has(pairs, one), has(pairs, other)) else {
            return true;
        };
        // The one that is written last is the one too many.
        let (key, at, field, other) = if first.span.start < second.span.start {
            (second, first, other, one)
        } else {
            (first, second, one, other)
        };
        let kind = ArgumentIssueKind::ExcludedBeside {
            field: field.clone(),
            other: other.clone(),
            other_span: at.span.clone(),
            why: why.map(str::to_owned),
        };
        self.add_issue(key.span.clone(), kind);
        false
    }

    fn check_any(
        &mut self,
        pairs: &[Pair],
        record: &RecordType,
        group: &[String],
        path: &str,
        head: &Range<usize>,
    ) -> bool {
        let is_member = |key: &Node| key.text().is_some_and(|key| group.iter().any(|g| g == key));
        let is_something = |(key, value): &Pair| is_member(key) && !is_empty(value);
        // An unknown key may be meant as one of them.
        let is_unknown = |(key, _): &Pair| key.text().is_none_or(|key| record.field(key).is_none());
        // Without any parameter, those that are required are reported.
        if pairs.is_empty() || pairs.iter().any(|pair| is_something(pair) || is_unknown(pair)) {
            return true;
        }
        let empty = pairs.iter().find(|(key, value)| is_member(key) && !value.is_null());
        let span = empty.map_or_else(|| head.clone(), |(key, _)| key.span.clone());
        let kind = ArgumentIssueKind::NoneOf {
            group: group.to_vec(),
            empty: empty.and_then(|(key, _)| key.text()).map(str::to_owned),
            owner: ParameterOwner::new(record, path),
        };
        self.add_issue(span, kind);
        false
    }

    /// Finds items that are alike in all of these fields, as far as they are written alike.
    fn check_distinct(&mut self, pairs: &[Pair], of: &[String], by: &[String]) -> bool {
        let mut seen: HashMap<Vec<Option<&str>>, (&str, Range<usize>)> = HashMap::new();
        let mut complete = true;
        for list in of {
            let items = given(pairs, list).and_then(|(_, value)| value.items());
            for item in items.unwrap_or_default() {
                let fields = by.iter().map(|name| item.member(name).and_then(Node::text));
                let fields: Vec<Option<&str>> = fields.collect();
                if fields.first().is_none_or(Option::is_none) {
                    continue;
                }
                let start = item.span.start..item.span.start;
                let Some((first_list, first)) = seen.get(&fields) else {
                    seen.insert(fields, (list, start));
                    continue;
                };
                let kind = ArgumentIssueKind::NotDistinct {
                    list: list.clone(),
                    first_list: (*first_list).to_owned(),
                    first: first.clone(),
                    by: by.to_vec(),
                };
                self.add_issue(start, kind);
                complete = false;
            }
        }
        complete
    }
}

/// Returns a field that is given.
fn given<'p>(pairs: &'p [Pair], name: &str) -> Option<&'p Pair> {
    pairs.iter().find(|(key, value)| key.text() == Some(name) && !value.is_null())
}

/// Returns a field that is given, with the value that matters.
fn has<'p>(pairs: &'p [Pair], wanted: &Given) -> Option<&'p Pair> {
    given(pairs, &wanted.field).filter(|(_, value)| match &wanted.value {
        None => true,
        Some(_) if value.text().is_some_and(is_template) => false,
        Some(Json::String(text)) => value.text() == Some(text),
        Some(wanted) => scalar::untyped_json(value) == *wanted,
    })
}

/// Whether a value is null, or an empty list. An empty map is reported by itself.
fn is_empty(value: &Node) -> bool {
    value.is_null() || value.items().is_some_and(<[Node]>::is_empty)
}
