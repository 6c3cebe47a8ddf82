//! One step understood.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::catalogue::{Catalogue, Signature};
use super::super::document::{
    ATTEMPTS, BACKOFF, MAX_BACKOFF, OnFailure, Policy, TIMEOUT, WrittenStep,
};
use super::super::duration::Duration;
use super::super::evaluate::{Argument, Expression};
use super::super::source::Source;
use super::super::template::{self, Inferred, Known, Names, Template, is_template};
use super::super::types::Type;
use super::super::yaml::{Node, Offsets};
use super::Parsed;
use super::argument::{Reading, WrittenDuration};
use super::flaw::ArgumentFlaw;

/// A step with everything that is known of it.
pub(crate) struct ExaminedStep<'t> {
    pub(crate) signature: Option<&'t Signature>,
    pub(crate) arguments: Option<Vec<(String, Argument)>>,
    pub(crate) when: Option<Argument>,
    pub(crate) log: Option<Expression>,
    /// What it is in force for it, be it written at the step, in `defaults`, or built in.
    pub(crate) absolute: Absolute,
    /// Its templates.
    pub(crate) sites: Vec<Site<'t>>,
    /// What is wrong with its literal parameters.
    pub(crate) flaws: Vec<ArgumentFlaw>,
    /// Its literal durations.
    pub(crate) durations: Vec<WrittenDuration>,
    /// The lists and selectors among its parameters that are written and empty, by path.
    pub(crate) empty: Vec<(String, Range<usize>)>,
    /// The steps that its `with` and `when` name.
    pub(crate) uses: BTreeSet<usize>,
}

/// How patient a step is and what its failure means, with nothing left open.
#[derive(Debug, Clone)]
pub(crate) struct Absolute {
    pub(crate) timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) on_failure: OnFailure,
}

/// A template at its place.
pub(crate) struct Site<'t> {
    pub(crate) step: usize,
    pub(crate) role: Role,
    pub(crate) node: &'t Node,
    pub(crate) wanted: Type,
    /// Something other than one whole expression: it yields text.
    pub(crate) is_text: bool,
    /// With the places of the file.
    pub(crate) inferred: Inferred,
}

/// What a template is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Parameter(String),
    When,
    Log,
}

impl Absolute {
    fn new(own: &Policy, defaults: &Policy) -> Self {
        fn chosen<T: Copy>(
            own: Option<&(T, Range<usize>)>,
            default: Option<&(T, Range<usize>)>,
            built_in: T,
        ) -> T {
            own.or(default).map_or(built_in, |(value, _)| *value)
        }
        Self {
            timeout: chosen(own.timeout.as_ref(), defaults.timeout.as_ref(), TIMEOUT),
            attempts: chosen(own.attempts.as_ref(), defaults.attempts.as_ref(), ATTEMPTS),
            backoff: chosen(own.backoff.as_ref(), defaults.backoff.as_ref(), BACKOFF),
            max_backoff: chosen(
                own.max_backoff.as_ref(),
                defaults.max_backoff.as_ref(),
                MAX_BACKOFF,
            ),
            on_failure: chosen(
                own.on_failure.as_ref(),
                defaults.on_failure.as_ref(),
                OnFailure::Stop,
            ),
        }
    }
}

/// Where a step stands: all that is needed to understand it.
pub(crate) struct Scene<'s, 't> {
    pub(crate) source: &'t Source,
    pub(crate) catalogue: &'t Catalogue,
    pub(crate) names: &'s Names<'t>,
    pub(crate) defaults: &'s Policy,
    pub(crate) index: usize,
}

impl<'t> Scene<'_, 't> {
    /// Understands a step.
    pub(crate) fn examine(
        &self,
        written: &WrittenStep<'t>,
        when: Option<&Parsed<'t>>,
    ) -> ExaminedStep<'t> {
        let action = written.action.and_then(Node::text);
        let mut step = ExaminedStep {
            signature: action.and_then(|action| self.catalogue.get(action)),
            arguments: None,
            when: None,
            log: None,
            absolute: Absolute::new(&written.policy, self.defaults),
            sites: Vec::new(),
            flaws: Vec::new(),
            durations: Vec::new(),
            empty: Vec::new(),
            uses: BTreeSet::new(),
        };
        let known = self.when(&mut step, written.when, when);
        self.arguments(&mut step, written, &known);
        step.uses = step.sites.iter().flat_map(|site| &site.inferred.steps).copied().collect();
        self.log(&mut step, written.log, &known);
        step
    }

    /// Notes the condition; gives what it tells of everything else in the step.
    fn when(
        &self,
        step: &mut ExaminedStep<'t>,
        written: Option<&'t Node>,
        parsed: Option<&Parsed<'t>>,
    ) -> Known {
        let Some(node) = written else {
            return Known::default();
        };
        let Some((_, parsed)) = parsed else {
            let (value, _) = super::argument::literal(node, &Type::Boolean);
            step.when = value.map(Argument::Literal);
            return Known::default();
        };
        let nothing = Known::default();
        let site = self.infer(node, borrowed(parsed), Role::When, &Type::Boolean, &nothing);
        step.sites.push(site);
        let text = node.text().unwrap_or_default();
        step.when = Some(Argument::Template(Expression::new(text, true, &Type::Boolean, "when")));
        match parsed.as_ref().ok().and_then(Template::whole) {
            Some(condition) => nothing.when(condition),
            None => nothing,
        }
    }

    fn arguments(&self, step: &mut ExaminedStep<'t>, written: &WrittenStep<'t>, known: &Known) {
        let mut reading = Reading::default();
        let head = written.action.map_or(written.head(), |action| action.span.clone());
        let pairs = match written.with {
            None => Some([].as_slice()),
            Some(with) if with.is_null() => Some([].as_slice()),
            Some(with) => with.pairs(),
        };
        match (step.signature, pairs) {
            (Some(signature), Some(pairs)) => {
                step.arguments = reading.fields(pairs, &signature.params, "", head);
            }
            (Some(_), None) => {}
            // Of an unknown action nothing is known, but its templates still name things.
            (None, _) => {
                if let Some(with) = written.with {
                    reading.read(with, &Type::Any, "");
                }
            }
        }
        for slot in &reading.slots {
            let role = Role::Parameter(slot.path.clone());
            let site = self.infer(slot.node, borrowed(&slot.parsed), role, &slot.wanted, known);
            step.sites.push(site);
        }
        step.flaws = reading.flaws;
        step.durations = reading.durations;
        step.empty = reading.empty;
    }

    fn log(&self, step: &mut ExaminedStep<'t>, written: Option<&'t Node>, known: &Known) {
        let Some((node, text)) = written.and_then(|node| Some((node, node.text()?))) else {
            return;
        };
        step.log = Some(Expression::message(text));
        if is_template(text) {
            let parsed = template::parse(text);
            let wanted = Type::text();
            let site = self.infer(node, borrowed(&parsed), Role::Log, &wanted, known);
            step.sites.push(site);
        }
    }

    fn infer(
        &self,
        node: &'t Node,
        parsed: Result<&Template<'_>, &template::Flaw>,
        role: Role,
        wanted: &Type,
        known: &Known,
    ) -> Site<'t> {
        let is_text = parsed.is_ok_and(|template| template.whole().is_none());
        let mut inferred = match parsed {
            Ok(template) => {
                let own = role == Role::Log;
                template::infer(template, self.names, self.index, own, known)
            }
            Err(flaw) => Inferred::failed(flaw.clone()),
        };
        let offsets = Offsets::new(self.source.text(), node);
        inferred.span = offsets.range(inferred.span);
        for flaw in &mut inferred.flaws {
            flaw.span = offsets.range(flaw.span.clone());
        }
        Site { step: self.index, role, node, wanted: wanted.clone(), is_text, inferred }
    }
}

fn borrowed<'p, 't>(
    parsed: &'p Result<Template<'t>, Box<template::Flaw>>,
) -> Result<&'p Template<'t>, &'p template::Flaw> {
    parsed.as_ref().map_err(|flaw| &**flaw)
}
