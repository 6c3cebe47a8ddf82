//! Interprets the document: the action of each step, its parameters, and the types of its templates.
//! The rules read the analysis, which itself reports nothing.

mod advice;
mod argument;
mod declared_output;
mod empty;
pub(crate) mod flow;
mod forms;
mod issue;
mod items;
mod known;
mod limits;
mod object;
mod presence;
mod questions;
mod relations;
mod scalar;
mod step;
mod swallowed;
mod text_parts;
mod written_items;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Json;

pub(crate) use advice::Advice;
pub(crate) use empty::empty_message;
pub(crate) use forms::WrittenForm;
pub(crate) use issue::{ArgumentIssue, ArgumentIssueKind, ParameterOwner};
pub(crate) use known::{Outcome, OutcomeKind};
pub(crate) use limits::AnalyzedLimits;
pub(crate) use questions::{ASK, EXPIRES};
pub(crate) use scalar::untyped_json;
pub(crate) use step::{AT_ONCE, AnalyzedOutput, AnalyzedStep, EffectivePolicy, Role, TemplateSite};
pub(crate) use swallowed::Swallowed;
pub(crate) use text_parts::ImpossibleText;

use super::callables::{CallProblem, Callables};
use super::document::{Document, OnFailure};
use super::registry::{ActionKind, ActionRegistry, ActionSignature};
use super::source::Source;
use super::template::{self, Narrowing, Presence, StepOutput, SymbolTable, Template};
use super::types::{Field, RecordType};
use super::yaml::{self, Node};
use super::{Stopped, Wanted};

/// A runbook with everything that the analysis found.
pub(crate) struct Analysis<'t> {
    pub(crate) source: &'t Source,
    pub(crate) registry: &'t ActionRegistry,
    /// The runbooks that it calls.
    pub(crate) callables: &'t Callables,
    pub(crate) yaml: &'t [yaml::YamlIssue],
    pub(crate) document: Document<'t>,
    pub(crate) symbols: SymbolTable<'t>,
    pub(crate) steps: Vec<AnalyzedStep<'t>>,
    pub(crate) outputs: Vec<AnalyzedOutput<'t>>,
    pub(crate) limits: Option<AnalyzedLimits<'t>>,
    /// The issues of the inputs' defaults.
    pub(crate) default_issues: Vec<ArgumentIssue>,
    /// The templates that are written wrongly.
    pub(crate) forms: Vec<WrittenForm>,
    /// The steps whose dash is missing.
    pub(crate) swallowed: Vec<Swallowed>,
    /// The whole tree, if the text can be read.
    pub(crate) tree: Option<&'t Node>,
    /// The keys and values of the document itself.
    pub(crate) root: &'t [(Node, Node)],
    /// The defaults of the inputs, in order.
    pub(crate) defaults: Vec<Option<Json>>,
    /// The targets of the steps.
    pub(crate) flow: flow::Flow,
}

impl<'t> Analysis<'t> {
    /// Analyzes a document, for as long as the result is wanted.
    pub(crate) fn new(
        source: &'t Source,
        registry: &'t ActionRegistry,
        callables: &'t Callables,
        yaml: &'t [yaml::YamlIssue],
        mut document: Document<'t>,
        wanted: &Wanted<'_>,
    ) -> Result<Self, Stopped> {
        let whens: Vec<Option<Parsed<'t>>> =
            document.steps.iter().map(|step| step.when.and_then(parsed)).collect();
        let symbols = symbols(&document, registry, callables, &whens);
        let context_at = |index| step::StepContext {
            source,
            registry,
            callables,
            symbols: &symbols,
            defaults: &document.defaults,
            index,
        };
        let mut steps = Vec::with_capacity(document.steps.len());
        for (index, (raw, when)) in document.steps.iter().zip(&whens).enumerate() {
            wanted.ensure()?;
            steps.push(context_at(index).analyze(raw, when.as_ref()));
        }
        let context = context_at(document.steps.len());
        let outputs = document.outputs.iter().filter_map(|(key, value)| {
            let ty = items::type_of_node(value, &symbols, document.steps.len());
            context.analyze_output(key, value, ty)
        });
        let outputs = outputs.collect();
        // They are decided before the first step.
        let limits = document.limits.map(|value| context_at(0).analyze_limits(value));
        let mut default_issues = Vec::new();
        let mut defaults = Vec::with_capacity(document.inputs.len());
        for input in &document.inputs {
            let default = input.default.map(|node| argument::literal(node, &input.ty));
            let (value, issues) = default.unwrap_or((None, Vec::new()));
            default_issues.extend(issues);
            defaults.push(value);
        }
        for (index, analyzed) in steps.iter().enumerate() {
            if analyzed.signature.is_some_and(|action| action.asks) {
                let (declared, of_defaults) = questions::issues(&document.steps[index]);
                document.issues.extend(declared);
                default_issues.extend(of_defaults);
            }
        }
        let signatures: Vec<_> = steps.iter().map(|step| step.signature).collect();
        let forms = forms::find(source, &document, &symbols, &signatures);
        let swallowed = swallowed::find(&document.steps, yaml, source.text());
        let (root, document_tree) = (document.root, document.tree);
        let mut analysis = Self {
            source,
            registry,
            callables,
            yaml,
            document,
            symbols,
            steps,
            outputs,
            limits,
            default_issues,
            forms,
            swallowed,
            tree: document_tree,
            root,
            defaults,
            flow: flow::Flow::default(),
        };
        analysis.flow = analysis.follow();
        Ok(analysis)
    }

    /// Returns the keys of the document and their values, without those of the steps.
    pub(crate) fn header(&self) -> impl Iterator<Item = &'t (Node, Node)> {
        self.root.iter()
    }

    /// Returns all templates of all steps.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &TemplateSite<'t>> {
        let of_steps = self.steps.iter().flat_map(|step| &step.sites);
        let of_outputs = self.outputs.iter().flat_map(|output| &output.sites);
        let of_limits = self.limits.iter().flat_map(|limits| &limits.sites);
        of_steps.chain(of_outputs).chain(of_limits)
    }

    /// Returns the record that the template of a site takes its value from.
    pub(crate) fn beside(&self, site: &TemplateSite<'t>) -> Option<template::Beside> {
        let template = template::parse(site.node.text()?).ok()?;
        template::beside(&template, &self.symbols, site.step, site.role.names())
    }

    /// Returns the place of the expression that a parameter of a step is; of another value, the whole.
    pub(crate) fn place_of(&self, step: usize, node: &Node) -> Range<usize> {
        let sites = self.steps.get(step).map(|step| step.sites.iter());
        let site = sites.into_iter().flatten().find(|site| std::ptr::eq(site.node, node));
        site.filter(|site| !site.is_text)
            .map_or_else(|| node.span.clone(), |site| site.inferred.span.clone())
    }

    /// Returns all issues in templates, with their sites.
    pub(crate) fn template_issues(
        &self,
    ) -> impl Iterator<Item = (&TemplateSite<'t>, &template::TemplateIssue)> {
        self.sites().flat_map(|site| site.inferred.issues.iter().map(move |issue| (site, issue)))
    }

    /// Returns all issues of literal parameters and limits.
    pub(crate) fn argument_issues(&self) -> impl Iterator<Item = &ArgumentIssue> {
        let of_limits = self.limits.iter().flat_map(|limits| &limits.issues);
        self.steps.iter().flat_map(|step| &step.issues).chain(of_limits)
    }

    /// Returns the first key and the value of a step that is not in a list.
    pub(crate) fn unlisted_step(&self) -> Option<&'t (Node, Node)> {
        let (_, steps) = self.root.iter().find(|(key, _)| key.text() == Some("steps"))?;
        let first = steps.pairs()?.first()?;
        let is_step =
            ["id", "action", "call", "with"].iter().any(|key| steps.member(key).is_some());
        is_step.then_some(first)
    }

    /// Whether steps or inputs could not be read, so that a name that is not known may be one of theirs.
    pub(crate) fn has_lost_steps(&self) -> bool {
        let has_steps = self.root.iter().any(|(key, _)| key.text() == Some("steps"));
        !self.swallowed.is_empty()
            || self.document.steps.is_empty() && has_steps
            || self
                .yaml
                .iter()
                .any(|issue| matches!(issue.kind, yaml::YamlIssueKind::SecondDocument))
    }

    /// Whether the whole document could be read, so that a name without a use is really unused.
    pub(crate) fn is_fully_parsed(&self) -> bool {
        use template::TemplateIssueKind::{
            Comment, Empty, FunctionCall, Hyphen, MisplacedEach, QuotedPath, Statement, Syntax,
            TooDeep, TooLong, TooManyBytes, Unclosed,
        };
        let unread = |issue: &template::TemplateIssue| {
            let limit = matches!(issue.kind, TooDeep | TooLong | TooManyBytes);
            limit
                || matches!(
                    issue.kind,
                    Syntax(_)
                        | Unclosed
                        | Empty
                        | Statement
                        | Comment
                        | FunctionCall(_)
                        | Hyphen { .. }
                        | QuotedPath(_)
                        | MisplacedEach { .. }
                )
        };
        let unknown = |issue: &super::document::DocumentIssue| {
            use super::document::DocumentIssueKind::{InvalidType, MissingKey, UnknownKey};
            matches!(issue.kind, UnknownKey { .. } | MissingKey { .. } | InvalidType { .. })
        };
        // A parameter that is missing, or is not known, could have the use.
        let incomplete = |issue: &ArgumentIssue| {
            use ArgumentIssueKind::{
                ExactlyOneOf, MissingParameter, MissingParameters, UnknownParameter,
            };
            matches!(
                issue.kind,
                MissingParameter { .. }
                    | MissingParameters { .. }
                    | UnknownParameter { .. }
                    | ExactlyOneOf { .. }
            )
        };
        self.yaml.is_empty()
            && self.forms.is_empty()
            && !self.document.issues.iter().any(unknown)
            && !self.argument_issues().any(incomplete)
            && !self.template_issues().any(|(_, issue)| unread(issue))
    }

    /// Returns the steps that change something: the index, the action, the parameters, and what is known of the target.
    pub(crate) fn changes(
        &self,
    ) -> impl Iterator<Item = (usize, &'t ActionSignature, &'t Node, &flow::StepFlow)> {
        let steps = self.document.steps.iter().zip(&self.steps).zip(&self.flow.steps);
        steps.enumerate().filter_map(|(index, ((raw, step), facts))| {
            let action = step.signature.filter(|action| action.kind == ActionKind::Change)?;
            Some((index, action, raw.with?, facts))
        })
    }

    /// Returns the calls of runbooks that cannot be called, with the reason.
    pub(crate) fn call_problems(&self) -> impl Iterator<Item = (&'t Node, &'t CallProblem)> {
        let calls = self.document.steps.iter().filter_map(|step| step.call);
        calls.filter_map(|call| Some((call, self.callables.problem(call.text()?)?)))
    }

    /// Returns the id of a step.
    pub(crate) fn id(&self, step: usize) -> &str {
        self.document.steps[step].id_text().unwrap_or_default()
    }

    /// Returns the span in which a step is declared.
    pub(crate) fn declaration(&self, step: usize) -> Range<usize> {
        self.document.steps[step].head()
    }
}

/// A parsed `when`.
pub(crate) type Parsed<'t> = (&'t Node, Result<Template<'t>, Box<template::TemplateIssue>>);

fn parsed(node: &Node) -> Option<Parsed<'_>> {
    let text = node.text().filter(|text| template::is_template(text))?;
    Some((node, template::parse(text)))
}

fn symbols<'t>(
    document: &Document<'t>,
    registry: &ActionRegistry,
    callables: &Callables,
    whens: &[Option<Parsed<'t>>],
) -> SymbolTable<'t> {
    let mut outputs: HashMap<&str, Arc<RecordType>> = HashMap::new();
    let mut steps = HashMap::with_capacity(document.steps.len());
    for (index, step) in document.steps.iter().enumerate() {
        if let Some(id) = step.id.and_then(Node::text).filter(|id| !id.is_empty()) {
            steps.entry(id).or_insert(index);
        }
    }
    let left = Vec::with_capacity(document.steps.len());
    let mut symbols = SymbolTable { inputs: Arc::new(inputs(document)), steps, outputs: left };
    for (index, (step, when)) in document.steps.iter().zip(whens).enumerate() {
        let action = step.action.and_then(Node::text);
        let on_failure = step.policy.on_failure.as_ref().or(document.defaults.on_failure.as_ref());
        let may_fail = on_failure.is_some_and(|(word, _)| *word == OnFailure::Continue);
        // The type of the items depends on the outputs of the steps before.
        let items = step.for_each.map(|node| {
            items::items(node, &symbols, index, &narrowing_of(when.as_ref()), may_fail)
        });
        let called = step.call.and_then(Node::text).and_then(|name| callables.get(name));
        let record = match called {
            Some(callable) => Some(Arc::new(callable.signature.output.clone())),
            None => action.and_then(|action| {
                let signature = registry.get(action)?;
                if signature.declares_output() {
                    return declared_output::of(signature, step.with).map(Arc::new);
                }
                let output = outputs.entry(&signature.name);
                let output = output.or_insert_with(|| Arc::new(signature.output.clone()));
                let output = Arc::clone(output);
                Some(if signature.asks { questions::output_of(&output, step) } else { output })
            }),
        };
        let presence = Presence {
            when: conditions(step.when, when.as_ref()),
            // Items fail one by one, and the step goes on without them.
            may_fail: may_fail && items.is_none(),
        };
        symbols.outputs.push(StepOutput::new(record, presence, items));
    }
    symbols
}

/// Returns what a condition implies for the rest of its step.
fn narrowing_of(when: Option<&Parsed<'_>>) -> Narrowing {
    let condition = when.and_then(|(_, parsed)| parsed.as_ref().ok()?.whole());
    condition.map_or_else(Narrowing::default, |one| Narrowing::default().assuming(one))
}

/// Returns the conditions under which a step runs.
fn conditions(raw: Option<&Node>, when: Option<&Parsed<'_>>) -> Vec<String> {
    let Some(node) = raw else {
        return Vec::new();
    };
    match when {
        Some((_, Ok(template))) => match template.whole() {
            Some(expr) => Narrowing::conditions(expr),
            None => vec![node.text().unwrap_or_default().to_owned()],
        },
        _ => vec![node.text().unwrap_or_default().to_owned()],
    }
}

fn inputs(document: &Document<'_>) -> RecordType {
    let field = |input: &super::document::InputDeclaration<'_>| Field {
        description: input.description.unwrap_or_default().to_owned(),
        ..Field::required(input.name, input.ty.clone())
    };
    RecordType {
        name: "inputs".to_owned(),
        fields: document.inputs.iter().map(field).collect(),
        ..RecordType::default()
    }
}

/// Returns the value of a node, if the node is a literal of the type.
pub(crate) fn literal_value(node: &Node, ty: &super::types::Type) -> Option<Json> {
    let (value, issues) = argument::literal(node, ty);
    value.filter(|_| issues.is_empty())
}
