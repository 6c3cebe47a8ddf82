//! The analysis of one step.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value as Json;

use super::super::callables::Callables;
use super::super::checked::MAX_ITEMS;
use super::super::document::{
    DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, DEFAULT_MAX_BACKOFF, DEFAULT_TIMEOUT, MAX_AT_ONCE,
    OnFailure, Policy, RawStep,
};
use super::super::duration::Duration;
use super::super::evaluate::{Argument, Expression};
use super::super::registry::{ActionRegistry, ActionSignature};
use super::super::source::Source;
use super::super::template::{
    self, Inferred, Names, Narrowing, SymbolTable, Template, TemplateIssueKind, is_template,
};
use super::super::types::{Bounds, Type};
use super::super::yaml::{Node, SourceMap};
use super::Parsed;
use super::argument::{ArgumentReader, DurationLiteral, TemplateArgument};
use super::issue::ArgumentIssue;
use super::questions::EXPIRES;

/// A step with everything that the analysis found.
pub(crate) struct AnalyzedStep<'t> {
    pub(crate) signature: Option<&'t ActionSignature>,
    pub(crate) arguments: Option<Vec<(String, Argument)>>,
    // Most steps have one or two of the boxed ones, and a large runbook has thousands of steps.
    pub(crate) when: Option<Box<Argument>>,
    pub(crate) log: Option<Box<Argument>>,
    pub(crate) name: Option<Box<Argument>>,
    pub(crate) description: Option<Box<Argument>>,
    /// The items for which the step runs.
    pub(crate) for_each: Option<Box<Argument>>,
    /// How many of them are worked on at a time.
    pub(crate) at_once: Option<Box<Argument>>,
    /// The policy in effect, from the step, from `defaults`, or built in.
    pub(crate) policy: EffectivePolicy,
    /// How long the step waits for persons, if its action does.
    pub(crate) expires: Option<Duration>,
    /// The templates.
    pub(crate) sites: Vec<TemplateSite<'t>>,
    /// The issues of the literal parameters.
    pub(crate) issues: Vec<ArgumentIssue>,
    /// The literal durations.
    pub(crate) durations: Vec<DurationLiteral>,
    /// The lists and selectors among the parameters that are given and empty, by path.
    pub(crate) empty: Vec<(String, Range<usize>)>,
    /// The steps that `with` and `when` use.
    pub(crate) uses: BTreeSet<usize>,
    /// Those of them without whose output the step fails.
    pub(crate) requires: BTreeSet<usize>,
}

/// A value that the runbook yields.
pub(crate) struct AnalyzedOutput<'t> {
    pub(crate) name: &'t str,
    pub(crate) argument: Option<Argument>,
    pub(crate) ty: Type,
    pub(crate) sites: Vec<TemplateSite<'t>>,
}

/// The policy of a step, with every value resolved.
#[derive(Debug, Clone)]
pub(crate) struct EffectivePolicy {
    pub(crate) timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) on_failure: OnFailure,
}

/// A template with its position in the runbook.
pub(crate) struct TemplateSite<'t> {
    pub(crate) step: usize,
    pub(crate) role: Role,
    pub(crate) node: &'t Node,
    pub(crate) wanted: Type,
    /// Whether the template yields a string, because it is not one whole expression.
    pub(crate) is_text: bool,
    /// The inferred type and issues, with the spans of the file.
    pub(crate) inferred: Inferred,
}

/// The key that says how many items are worked on at a time.
pub(crate) const AT_ONCE: &str = "at_once";

fn at_once_type() -> Type {
    Type::Integer(Bounds { minimum: Some(1), maximum: Some(i128::from(MAX_AT_ONCE)) })
}

/// The role of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Parameter(String),
    When,
    ForEach,
    AtOnce,
    Log,
    /// The name or the description, which people read.
    Text,
    /// A value that the runbook yields.
    Output,
    /// A limit of the runbook, by its path.
    Limit(String),
}

impl Role {
    /// Returns the names that a template of this role can use.
    pub(crate) fn names(&self) -> Names {
        match self {
            Self::Parameter(_) => Names::Each,
            Self::Log => Names::EachAndOwn,
            Self::When
            | Self::ForEach
            | Self::AtOnce
            | Self::Text
            | Self::Output
            | Self::Limit(_) => Names::Earlier,
        }
    }
}

impl EffectivePolicy {
    /// Resolves a policy: what is not set is that of the defaults, else built in.
    pub(crate) fn new(own: &Policy, defaults: &Policy) -> Self {
        fn chosen<T: Copy>(
            own: Option<&(T, Range<usize>)>,
            default: Option<&(T, Range<usize>)>,
            built_in: T,
        ) -> T {
            own.or(default).map_or(built_in, |(value, _)| *value)
        }
        Self {
            timeout: chosen(own.timeout.as_ref(), defaults.timeout.as_ref(), DEFAULT_TIMEOUT),
            attempts: chosen(own.attempts.as_ref(), defaults.attempts.as_ref(), DEFAULT_ATTEMPTS),
            backoff: chosen(own.backoff.as_ref(), defaults.backoff.as_ref(), DEFAULT_BACKOFF),
            max_backoff: chosen(
                own.max_backoff.as_ref(),
                defaults.max_backoff.as_ref(),
                DEFAULT_MAX_BACKOFF,
            ),
            on_failure: chosen(
                own.on_failure.as_ref(),
                defaults.on_failure.as_ref(),
                OnFailure::Stop,
            ),
        }
    }
}

/// The context of a step: everything that its analysis needs.
pub(crate) struct StepContext<'s, 't> {
    pub(crate) source: &'t Source,
    pub(crate) registry: &'t ActionRegistry,
    pub(crate) callables: &'t Callables,
    pub(crate) symbols: &'s SymbolTable<'t>,
    pub(crate) defaults: &'s Policy,
    pub(crate) index: usize,
}

impl<'t> StepContext<'_, 't> {
    /// Analyzes a step.
    pub(crate) fn analyze(&self, raw: &RawStep<'t>, when: Option<&Parsed<'t>>) -> AnalyzedStep<'t> {
        let action = raw.action.and_then(Node::text);
        let mut step = AnalyzedStep {
            signature: match raw.call.and_then(Node::text) {
                Some(name) => self.callables.get(name).map(|callable| &callable.signature),
                None => action.and_then(|action| self.registry.get(action)),
            },
            arguments: None,
            expires: None,
            when: None,
            log: None,
            name: None,
            description: None,
            for_each: None,
            at_once: None,
            policy: EffectivePolicy::new(&raw.policy, self.defaults),
            sites: Vec::new(),
            issues: Vec::new(),
            durations: Vec::new(),
            empty: Vec::new(),
            uses: BTreeSet::new(),
            requires: BTreeSet::new(),
        };
        let narrowing = self.analyze_when(&mut step, raw.when, when);
        self.analyze_for_each(&mut step, raw.for_each, &narrowing);
        self.analyze_arguments(&mut step, raw, &narrowing);
        self.analyze_at_once(&mut step, raw.at_once, &narrowing);
        step.uses = step.sites.iter().flat_map(|site| &site.inferred.steps).copied().collect();
        let required = step.sites.iter().flat_map(|site| &site.inferred.required_steps);
        step.requires = required.copied().collect();
        step.log = self.analyze_text(&mut step, raw.log, "log", Role::Log, &narrowing);
        // They are shown whether the step runs or not.
        let nothing = Narrowing::default();
        step.name = self.analyze_text(&mut step, raw.name, "name", Role::Text, &nothing);
        let description = raw.description;
        step.description =
            self.analyze_text(&mut step, description, "description", Role::Text, &nothing);
        step
    }

    /// Analyzes a value of `outputs`.
    pub(crate) fn analyze_output(
        &self,
        key: &'t Node,
        value: &'t Node,
        ty: Type,
    ) -> Option<AnalyzedOutput<'t>> {
        let name = key.text()?;
        let mut reader = ArgumentReader::default();
        let argument = reader.read(value, &Type::Any, name);
        let nothing = Narrowing::default();
        let site = |argument: &TemplateArgument<'t>| {
            let (parsed, wanted) = (borrowed(&argument.parsed), &argument.wanted);
            self.infer(argument.node, parsed, Role::Output, wanted, &nothing)
        };
        let sites = reader.templates.iter().map(site).collect();
        Some(AnalyzedOutput { name, argument, ty, sites })
    }

    /// Records what the step runs for.
    fn analyze_for_each(
        &self,
        step: &mut AnalyzedStep<'t>,
        raw: Option<&'t Node>,
        narrowing: &Narrowing,
    ) {
        let Some(node) = raw else { return };
        let mut reader = ArgumentReader::default();
        step.for_each = reader.read(node, &Type::Any, "for_each").map(Box::new);
        for argument in &reader.templates {
            let (parsed, wanted) = (borrowed(&argument.parsed), &argument.wanted);
            let site = self.infer(argument.node, parsed, Role::ForEach, wanted, narrowing);
            step.sites.push(site);
        }
    }

    /// Records how many items are worked on at a time.
    fn analyze_at_once(
        &self,
        step: &mut AnalyzedStep<'t>,
        raw: Option<&'t Node>,
        narrowing: &Narrowing,
    ) {
        let Some(node) = raw else { return };
        let mut reader = ArgumentReader::default();
        step.at_once = reader.read(node, &at_once_type(), AT_ONCE).map(Box::new);
        for argument in &reader.templates {
            let (parsed, wanted) = (borrowed(&argument.parsed), &argument.wanted);
            let site = self.infer(argument.node, parsed, Role::AtOnce, wanted, narrowing);
            step.sites.push(site);
        }
        step.issues.extend(reader.issues);
    }

    /// Records the condition, and returns what the condition implies for the rest of the step.
    fn analyze_when(
        &self,
        step: &mut AnalyzedStep<'t>,
        raw: Option<&'t Node>,
        parsed: Option<&Parsed<'t>>,
    ) -> Narrowing {
        let Some(node) = raw else {
            return Narrowing::default();
        };
        let Some((_, parsed)) = parsed else {
            let (value, _) = super::argument::literal(node, &Type::Boolean);
            step.when = value.map(|value| Box::new(Argument::Literal(value)));
            return Narrowing::default();
        };
        let nothing = Narrowing::default();
        let site = self.infer(node, borrowed(parsed), Role::When, &Type::Boolean, &nothing);
        step.sites.push(site);
        let text = node.text().unwrap_or_default();
        let condition = Expression::new(text, true, &Type::Boolean, "when");
        step.when = Some(Box::new(Argument::Template(condition)));
        match parsed.as_ref().ok().and_then(Template::whole) {
            Some(condition) => nothing.assuming(condition),
            None => nothing,
        }
    }

    fn analyze_arguments(
        &self,
        step: &mut AnalyzedStep<'t>,
        raw: &RawStep<'t>,
        narrowing: &Narrowing,
    ) {
        let mut reader = ArgumentReader::default();
        let head = raw.action.or(raw.call).map_or(raw.head(), |action| action.span.clone());
        let pairs = match raw.with {
            None => Some([].as_slice()),
            Some(with) if with.is_null() => Some([].as_slice()),
            Some(with) => with.pairs(),
        };
        match (step.signature, pairs) {
            (Some(signature), Some(pairs)) => {
                step.arguments = reader.fields(pairs, &signature.params, "", head);
            }
            (Some(_), None) => {}
            // The parameters of an unknown action are unknown, but their templates still use names.
            (None, _) => {
                if let Some(with) = raw.with {
                    reader.read(with, &Type::Any, "");
                }
            }
        }
        // Most steps have one or two, and a large runbook has thousands of steps.
        step.sites.reserve_exact(reader.templates.len());
        for argument in &reader.templates {
            let role = Role::Parameter(argument.path.clone());
            let site = self.infer(
                argument.node,
                borrowed(&argument.parsed),
                role,
                &argument.wanted,
                narrowing,
            );
            step.sites.push(site);
        }
        step.issues = reader.issues;
        step.durations = reader.durations;
        step.empty = reader.empty;
        limit_wait_for_persons(step, raw);
    }

    /// Reads a text that people read.
    fn analyze_text(
        &self,
        step: &mut AnalyzedStep<'t>,
        raw: Option<&'t Node>,
        location: &str,
        role: Role,
        narrowing: &Narrowing,
    ) -> Option<Box<Argument>> {
        let (node, text) = raw.and_then(|node| Some((node, node.text()?)))?;
        if !is_template(text) {
            return Some(Box::new(Argument::Literal(Json::String(text.to_owned()))));
        }
        let parsed = template::parse(text);
        let site = self.infer(node, borrowed(&parsed), role, &Type::text(), narrowing);
        step.sites.push(site);
        Some(Box::new(Argument::Template(Expression::message(text, location))))
    }

    pub(super) fn infer(
        &self,
        node: &'t Node,
        parsed: Result<&Template<'_>, &template::TemplateIssue>,
        role: Role,
        wanted: &Type,
        narrowing: &Narrowing,
    ) -> TemplateSite<'t> {
        let is_text = parsed.is_ok_and(|template| template.whole().is_none());
        let mut inferred = match parsed {
            Ok(template) => {
                let names = role.names();
                template::infer(template, self.symbols, self.index, names, narrowing)
            }
            Err(issue) => Inferred::failed(issue.clone()),
        };
        let source_map = SourceMap::new(self.source.text(), node);
        inferred.span = source_map.range(inferred.span);
        for issue in &mut inferred.issues {
            // All steps come after the limits, also the first.
            if let (Role::Limit(_), TemplateIssueKind::SelfReference(step)) = (&role, &issue.kind) {
                issue.kind = TemplateIssueKind::ForwardReference(*step);
            }
            issue.span = source_map.range(issue.span.clone());
        }
        TemplateSite { step: self.index, role, node, wanted: wanted.clone(), is_text, inferred }
    }
}

/// Gives a step that waits for persons the time that it waits for them, for each of its items, unless it has a timeout
/// of its own: that of `defaults` is for calls.
fn limit_wait_for_persons(step: &mut AnalyzedStep<'_>, raw: &RawStep<'_>) {
    if !step.signature.is_some_and(|action| action.asks) {
        return;
    }
    let expires = step.durations.iter().find(|literal| literal.path == EXPIRES);
    step.expires = expires.map(|literal| literal.duration);
    if let (Some(expires), None) = (step.expires, &raw.policy.timeout) {
        let items = u32::try_from(MAX_ITEMS).unwrap_or(u32::MAX);
        step.policy.timeout = expires.std().saturating_mul(items).into();
    }
}

pub(super) fn borrowed<'p, 't>(
    parsed: &'p Result<Template<'t>, Box<template::TemplateIssue>>,
) -> Result<&'p Template<'t>, &'p template::TemplateIssue> {
    parsed.as_ref().map_err(|issue| &**issue)
}
