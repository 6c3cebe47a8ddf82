//! The document understood: which action each step is, what its parameters are, what its templates
//! yield. This is what the checks look at; it judges nothing itself.

mod argument;
mod flaw;
mod scalar;
mod step;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Json;

pub(crate) use flaw::{ArgumentFault, ArgumentFlaw, Owner};
pub(crate) use step::{ExaminedStep, Role, Site};

use super::catalogue::Catalogue;
use super::document::{Document, OnFailure};
use super::source::Source;
use super::template::{self, Absence, Known, Names, Output, Template};
use super::types::{Field, Record};
use super::yaml::{self, Node};

/// A runbook with everything that is known of it.
pub(crate) struct Book<'t> {
    pub(crate) source: &'t Source,
    pub(crate) catalogue: &'t Catalogue,
    pub(crate) yaml: &'t [yaml::Flaw],
    pub(crate) document: Document<'t>,
    pub(crate) names: Names<'t>,
    pub(crate) steps: Vec<ExaminedStep<'t>>,
    /// What is wrong with the inputs' defaults.
    pub(crate) default_flaws: Vec<ArgumentFlaw>,
    /// The inputs' defaults, in their order.
    pub(crate) defaults: Vec<Option<Json>>,
}

impl<'t> Book<'t> {
    /// Understands a document.
    pub(crate) fn new(
        source: &'t Source,
        catalogue: &'t Catalogue,
        yaml: &'t [yaml::Flaw],
        document: Document<'t>,
    ) -> Self {
        let whens: Vec<Option<Parsed<'t>>> =
            document.steps.iter().map(|step| step.when.and_then(parsed)).collect();
        let outputs = outputs_by_action(catalogue);
        let names = names(&document, &outputs, &whens);
        let mut steps = Vec::with_capacity(document.steps.len());
        for (index, (written, when)) in document.steps.iter().zip(&whens).enumerate() {
            let scene = step::Scene {
                source,
                catalogue,
                names: &names,
                defaults: &document.defaults,
                index,
            };
            steps.push(scene.examine(written, when.as_ref()));
        }
        let mut default_flaws = Vec::new();
        let mut defaults = Vec::with_capacity(document.inputs.len());
        for input in &document.inputs {
            let judged = input.default.map(|node| argument::literal(node, &input.ty));
            let (value, flaws) = judged.unwrap_or((None, Vec::new()));
            default_flaws.extend(flaws);
            defaults.push(value);
        }
        Self { source, catalogue, yaml, document, names, steps, default_flaws, defaults }
    }

    /// All templates of all steps.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &Site<'t>> {
        self.steps.iter().flat_map(|step| &step.sites)
    }

    /// Everything that is wrong in templates, by place.
    pub(crate) fn template_flaws(&self) -> impl Iterator<Item = (&Site<'t>, &template::Flaw)> {
        self.sites().flat_map(|site| site.inferred.flaws.iter().map(move |flaw| (site, flaw)))
    }

    /// Everything that is wrong with literal parameters.
    pub(crate) fn argument_flaws(&self) -> impl Iterator<Item = &ArgumentFlaw> {
        self.steps.iter().flat_map(|step| &step.flaws)
    }

    /// Whether all of it could be read, so that what is not named anywhere is not used.
    pub(crate) fn is_read(&self) -> bool {
        use template::Fault::{
            Comment, FunctionCall, Statement, Syntax, TooLong, TooManyBytes, Unclosed,
        };
        let unread = |flaw: &template::Flaw| {
            let limit = matches!(flaw.fault, TooLong | TooManyBytes);
            limit || matches!(flaw.fault, Syntax(_) | Unclosed | Statement | Comment | FunctionCall)
        };
        let unknown = |flaw: &super::document::Flaw| {
            matches!(flaw.fault, super::document::Fault::UnknownKey { .. })
        };
        self.yaml.is_empty()
            && !self.document.flaws.iter().any(unknown)
            && !self.template_flaws().any(|(_, flaw)| unread(flaw))
    }

    /// The id of a step.
    pub(crate) fn id(&self, step: usize) -> &str {
        self.document.steps[step].id_text().unwrap_or_default()
    }

    /// Where a step is declared.
    pub(crate) fn declaration(&self, step: usize) -> Range<usize> {
        self.document.steps[step].head()
    }
}

/// A `when` that has been parsed.
pub(crate) type Parsed<'t> = (&'t Node, Result<Template<'t>, Box<template::Flaw>>);

fn parsed(node: &Node) -> Option<Parsed<'_>> {
    let text = node.text().filter(|text| template::is_template(text))?;
    Some((node, template::parse(text)))
}

type Outputs<'c> = HashMap<&'c str, Arc<Record>>;

fn outputs_by_action(catalogue: &Catalogue) -> Outputs<'_> {
    let entry = |action: &'_ super::Signature| Arc::new(action.output.clone());
    catalogue.iter().map(|action| (action.name.as_str(), entry(action))).collect()
}

fn names<'t>(
    document: &Document<'t>,
    outputs: &Outputs<'_>,
    whens: &[Option<Parsed<'t>>],
) -> Names<'t> {
    let mut steps = HashMap::with_capacity(document.steps.len());
    let mut left = Vec::with_capacity(document.steps.len());
    for (index, (step, when)) in document.steps.iter().zip(whens).enumerate() {
        if let Some(id) = step.id.and_then(Node::text).filter(|id| !id.is_empty()) {
            steps.entry(id).or_insert(index);
        }
        let action = step.action.and_then(Node::text);
        let on_failure = step.policy.on_failure.as_ref().or(document.defaults.on_failure.as_ref());
        left.push(Output {
            record: action.and_then(|action| outputs.get(action)).cloned(),
            absence: Absence {
                when: conditions(step.when, when.as_ref()),
                may_fail: on_failure.is_some_and(|(word, _)| *word == OnFailure::Continue),
            },
        });
    }
    Names { inputs: Arc::new(inputs(document)), steps, outputs: left }
}

/// The conditions under which a step runs.
fn conditions(written: Option<&Node>, when: Option<&Parsed<'_>>) -> Vec<String> {
    let Some(node) = written else {
        return Vec::new();
    };
    match when {
        Some((_, Ok(template))) => match template.whole() {
            Some(expr) => Known::conditions(expr),
            None => vec![node.text().unwrap_or_default().to_owned()],
        },
        _ => vec![node.text().unwrap_or_default().to_owned()],
    }
}

fn inputs(document: &Document<'_>) -> Record {
    let field = |input: &super::document::DeclaredInput<'_>| Field {
        name: input.name.to_owned(),
        ty: input.ty.clone(),
        required: true,
        default: None,
        description: input.description.unwrap_or_default().to_owned(),
    };
    Record {
        name: "inputs".to_owned(),
        fields: document.inputs.iter().map(field).collect(),
        ..Record::default()
    }
}

/// The value of a type that a node stands for, when it is one.
pub(crate) fn plain_value(node: &Node, ty: &super::types::Type) -> Option<Json> {
    let (value, flaws) = argument::literal(node, ty);
    value.filter(|_| flaws.is_empty())
}
