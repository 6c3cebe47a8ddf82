//! What the templates yield with the defaults of the inputs, as far as that is known before a run: what fails with
//! them, and what is not a value for its parameter.

use std::collections::HashMap;
use std::ops::Range;

use minijinja::machinery::ast::Expr;
use serde_json::{Map, Value as Json};

use super::super::duration::Duration;
use super::super::evaluate::{Expression, Fault, FaultKind, Known as KnownValues};
use super::super::template::{self, parts};
use super::super::types::{MismatchReason, Type, TypeMismatch, ValueMismatch};
use super::super::yaml::SourceMap;
use super::flow::simple_path;
use super::{Analysis, Role, TemplateSite, empty_message};

/// A fault of a template when the inputs have their defaults.
pub(crate) struct Outcome<'a> {
    /// The parameter or key.
    pub(crate) name: &'a str,
    /// The part of the template that is the cause.
    pub(crate) span: Range<usize>,
    /// The inputs in that part, by position.
    pub(crate) inputs: Vec<usize>,
    /// The item of a loop for which it happens, if it is written down.
    pub(crate) item: Option<Range<usize>>,
    pub(crate) kind: OutcomeKind,
    /// Whether a run with the defaults certainly comes to the template.
    pub(crate) is_certain: bool,
}

impl<'a> Outcome<'a> {
    /// Returns an outcome that is about no item of a loop.
    fn of(
        site: &'a TemplateSite<'_>,
        span: Range<usize>,
        inputs: Vec<usize>,
        kind: OutcomeKind,
        is_certain: bool,
    ) -> Self {
        Self { name: name(site), span, inputs, item: None, kind, is_certain }
    }
}

/// The kind of an [`Outcome`].
pub(crate) enum OutcomeKind {
    /// The part cannot be evaluated; with its text.
    Fault(FaultKind, String),
    /// The value is not one of the parameter.
    Mismatch { reason: MismatchReason, path: String, found: Json },
    /// The wait is not shorter than the timeout of the step, which is at this place if it is written down.
    TooLong { wait: Duration, timeout: Duration, place: Option<Range<usize>> },
    /// The value is empty, with what that means.
    Empty(String),
}

/// The most templates that are evaluated. A runbook with more repeats itself.
const MAX_TEMPLATES: usize = 2_000;
/// The most values of the items of loops that are tried.
const MAX_TRIED: usize = 20_000;
/// The most instructions that evaluating them may take.
const MAX_FUEL: u64 = 20_000_000;
/// An expression that has no items, and no number in it.
const EMPTY: [&str; 3] = ["[]", "''", "\"\""];
/// An expression that can fail with the value of an input: a division, an item, a filter.
const FAILING: [char; 4] = ['/', '%', '[', '|'];
/// The most values that are compared with the types of parameters, in all.
const MAX_SIZE: usize = 200_000;

impl Analysis<'_> {
    /// Evaluates the templates with the defaults of the inputs, and returns what is wrong.
    pub(crate) fn outcomes(&self) -> Vec<Outcome<'_>> {
        let values_of_inputs = self.valid_defaults();
        let defaults = KnownValues::new(&values_of_inputs);
        let mut evaluation = Evaluation {
            analysis: self,
            growing: MAX_FUEL / defaults.scope().max_fuel(),
            trying: MAX_TRIED,
            defaults,
            values_of_inputs,
            values: HashMap::new(),
            size: 0,
            outcomes: Vec::new(),
        };
        for (index, step) in self.steps.iter().enumerate() {
            let runs = evaluation.runs(index);
            if runs == Some(false) {
                continue;
            }
            for site in &step.sites {
                evaluation.check(site, runs == Some(true));
            }
            evaluation.check_items(index, runs == Some(true));
        }
        let others = self.limits.iter().flat_map(|limits| &limits.sites);
        for site in others.chain(self.outputs.iter().flat_map(|output| &output.sites)) {
            evaluation.check(site, true);
        }
        evaluation.outcomes
    }

    /// Returns the defaults without those that are wrong themselves; an optional input is null without one.
    fn valid_defaults(&self) -> Map<String, Json> {
        let mut defaults = Map::new();
        for (input, value) in self.document.inputs.iter().zip(&self.defaults) {
            // `}}` is left over from a template, and reported as that.
            let is_wrong = input.default.is_some_and(|node| {
                if node.text().is_some_and(|text| text.contains("}}")) {
                    return true;
                }
                let within =
                    |at: &Range<usize>| node.span.start <= at.start && at.end <= node.span.end;
                self.default_issues.iter().any(|issue| within(&issue.span))
            });
            let value = match (value, &input.ty) {
                (Some(value), ty) => ty.coerce(value.clone()).ok(),
                (None, Type::Optional(_)) if input.default.is_none() => Some(Json::Null),
                (None, _) => None,
            };
            if let Some(value) = value.filter(|_| !is_wrong) {
                defaults.insert(input.name.to_owned(), value);
            }
        }
        defaults
    }
}

/// The facts about a template before a run.
enum Known {
    Nothing,
    Value(Json),
    /// A part of it fails.
    Faulty,
}

struct Evaluation<'a, 't> {
    analysis: &'a Analysis<'t>,
    defaults: KnownValues<'static>,
    values_of_inputs: Map<String, Json>,
    /// The facts about each template, by its text.
    values: HashMap<&'a str, Known>,
    /// How many templates may still be evaluated that can take more work than reading a value.
    growing: u64,
    /// How many values of items may still be tried.
    trying: usize,
    size: usize,
    outcomes: Vec<Outcome<'a>>,
}

impl<'a> Evaluation<'a, '_> {
    /// Returns whether a step runs with the defaults; `None` if that depends on outputs.
    fn runs(&self, step: usize) -> Option<bool> {
        let Some(when) = self.analysis.document.steps[step].when else { return Some(true) };
        match when.text().filter(|text| template::is_template(text)) {
            Some(text) => {
                let mut sites = self.analysis.steps[step].sites.iter();
                let inferred = &sites.find(|site| site.role == Role::When)?.inferred;
                // A condition of outputs alone is never decided by inputs.
                if inferred.inputs.is_empty() && !inferred.steps.is_empty() {
                    return None;
                }
                self.defaults.truth(template::parse(text).ok()?.whole()?)
            }
            None => Some(when.text() != Some("false")),
        }
    }

    /// Checks one template; `is_certain` if a run with the defaults certainly comes to it.
    fn check(&mut self, site: &'a TemplateSite<'_>, is_certain: bool) {
        let is_certain = is_certain || matches!(site.role, Role::When | Role::Text);
        let inferred = &site.inferred;
        // What has a wrong type is reported as that.
        if matches!(site.wanted.check_assignable(&inferred.ty), Err(TypeMismatch::Incompatible)) {
            return;
        }
        let depends_on_steps = !inferred.steps.is_empty();
        if !inferred.issues.is_empty() {
            return;
        }
        let Some(text) = site.node.text() else { return };
        // Most templates are about outputs: something in them is known only where something empty is written down.
        let may_fail = if inferred.inputs.is_empty() {
            EMPTY.iter().any(|one| text.contains(one))
        } else {
            text.contains(FAILING) || has_map_field(text)
        };
        if depends_on_steps && !may_fail {
            return;
        }
        match self.values.get(text) {
            // Its inputs are blamed already.
            Some(Known::Faulty) if !inferred.inputs.is_empty() => return,
            Some(_) => {}
            None if self.values.len() >= MAX_TEMPLATES => return,
            None if can_grow(text) => match self.growing.checked_sub(1) {
                Some(left) => self.growing = left,
                None => return,
            },
            None => {}
        }
        if matches!(self.values.get(text), None | Some(Known::Faulty)) {
            let found = self.evaluate(site, text, is_certain);
            self.values.insert(text, found);
        }
        let Some(Known::Value(value)) = self.values.get(text) else { return };
        self.size = self.size.saturating_add(size(value));
        // A constant is compared with its type by the type check.
        if self.size > MAX_SIZE || inferred.constant.is_some() {
            return;
        }
        if let Some(kind) = self.analysis.judge(site, value, is_certain) {
            let origin = self.origin(site, text);
            let (span, inputs) = match (&kind, origin) {
                // `default([])` says that nothing is to be done.
                (OutcomeKind::Empty(_), Some((_, inputs))) if inputs.is_empty() => return,
                (_, Some(origin)) => origin,
                (_, None) => {
                    let names: Vec<&str> = inferred.inputs.iter().map(String::as_str).collect();
                    (inferred.span.clone(), self.positions(&names))
                }
            };
            self.outcomes.push(Outcome::of(site, span, inputs, kind, is_certain));
        }
    }

    /// Returns the part of a template that its value comes from, and the inputs in it: the argument of `default(…)`
    /// where the value before it is null, and the branch that is taken. None if that is the whole.
    fn origin(&self, site: &TemplateSite<'_>, text: &str) -> Option<(Range<usize>, Vec<usize>)> {
        let template = template::parse(text).ok()?;
        let whole = template.whole()?;
        let origin = self.defaults.origin(whole);
        if std::ptr::eq(whole, origin) {
            return None;
        }
        let mut names = Vec::new();
        collect_inputs(origin, &mut names);
        let span = template::span::of_expr(text, origin);
        let map = SourceMap::new(self.analysis.source.text(), site.node);
        Some((map.range(span), self.positions(&names)))
    }

    /// Returns the default of an input, if the template is that input and nothing else.
    fn default_of(&self, text: &str) -> Option<Json> {
        let name = template::inside_braces(text)?.strip_prefix("inputs.")?;
        self.values_of_inputs.get(name).cloned()
    }

    /// Evaluates a template, and records what fails in it.
    fn evaluate(&mut self, site: &'a TemplateSite<'_>, text: &'a str, is_certain: bool) -> Known {
        if let Some(value) = self.default_of(text) {
            return Known::Value(value);
        }
        // Most templates do not fail. What fails, or has a name that is not known, is read again.
        let whole = Expression::new(text, !site.is_text, &Type::Any, "");
        // An item is no input: `check_items` tries those that are known.
        let has_each = || {
            let template = text.contains("each").then(|| template::parse(text).ok()).flatten();
            template.is_some_and(|one| one.expressions().any(|expr| parts::uses(expr, "each")))
        };
        if self.has_all_inputs(site)
            && !has_each()
            && let Ok(value) = whole.compile().evaluate(self.defaults.scope())
        {
            return Known::Value(value);
        }
        let Ok(template) = template::parse(text) else { return Known::Nothing };
        let mut faults = Vec::new();
        template.expressions().for_each(|expr| self.defaults.faults(expr, &mut faults));
        if faults.is_empty() {
            return Known::Nothing;
        }
        faults.iter().for_each(|fault| self.add_fault(site, text, fault, is_certain));
        Known::Faulty
    }

    /// Whether a template is about inputs only, which all have values.
    fn has_all_inputs(&self, site: &TemplateSite<'_>) -> bool {
        let inferred = &site.inferred;
        let mut inputs = inferred.inputs.iter();
        inferred.steps.is_empty()
            && !inferred.all_inputs
            && inputs.all(|name| self.values_of_inputs.contains_key(name))
    }

    fn add_fault(
        &mut self,
        site: &'a TemplateSite<'_>,
        text: &'a str,
        fault: &Fault<'_, '_>,
        is_certain: bool,
    ) {
        let mut names = Vec::new();
        collect_inputs(fault.at, &mut names);
        let inputs = self.positions(&names);
        let span = template::span::of_expr(text, fault.at);
        let written = text.get(span.clone()).unwrap_or_default().to_owned();
        let span = SourceMap::new(self.analysis.source.text(), site.node).range(span);
        let kind = OutcomeKind::Fault(fault.kind, written);
        self.outcomes.push(Outcome::of(site, span, inputs, kind, is_certain));
    }

    /// Tries the parameters of a loop with the items that are known. A wrong item is one mistake, wherever it is used.
    fn check_items(&mut self, step: usize, is_certain: bool) {
        let analysis = self.analysis;
        let Some(analyzed) = analysis.steps.get(step) else { return };
        let uses_each = |site: &&TemplateSite<'_>| {
            let is_parameter = matches!(site.role, Role::Parameter(_));
            let has_each = site.node.text().is_some_and(|text| text.contains("each"));
            is_parameter && has_each && !site.is_text && site.inferred.issues.is_empty()
        };
        let sites = analyzed.sites.iter().filter(uses_each);
        let sites: Vec<&'a TemplateSite<'_>> =
            sites.filter(|site| self.has_all_inputs(site)).collect();
        if sites.is_empty() {
            return;
        }
        for item in analysis.written_items(step, &self.values_of_inputs) {
            for site in &sites {
                let Some(left) = self.trying.checked_sub(1) else { return };
                self.trying = left;
                let Some(text) = site.node.text() else { continue };
                // The texts of a literal list are compared with the type of the parameter that takes them.
                let is_whole = template::inside_braces(text) == Some("each");
                let is_compared = item.input.is_none() && item.each.is_string();
                if is_whole && is_compared && matches!(site.wanted.non_null(), Type::String(_)) {
                    continue;
                }
                let Some(value) = self.value_of_item(text, &item.each) else { continue };
                let Some(kind) = self.analysis.judge(site, &value, is_certain) else { continue };
                let names: Vec<&str> = site.inferred.inputs.iter().map(String::as_str).collect();
                let mut inputs = self.positions(&names);
                inputs.extend(item.input.filter(|input| !inputs.contains(input)));
                let (span, place) = (site.inferred.span.clone(), Some(item.place.clone()));
                let outcome = Outcome::of(site, span, inputs, kind, is_certain);
                self.outcomes.push(Outcome { item: place, ..outcome });
                break;
            }
        }
    }

    /// Returns the value of a template for one item.
    fn value_of_item(&mut self, text: &str, each: &Json) -> Option<Json> {
        if let Some(("each", fields)) = simple_path(text) {
            return fields.iter().try_fold(each, |value, field| value.get(field)).cloned();
        }
        self.growing = self.growing.checked_sub(1)?;
        let scope = self.defaults.scope().with_each(each);
        Expression::new(text, true, &Type::Any, "").compile().evaluate(&scope).ok()
    }

    fn positions(&self, names: &[&str]) -> Vec<usize> {
        let inputs = self.analysis.document.inputs.iter().enumerate();
        inputs.filter(|(_, input)| names.contains(&input.name)).map(|(index, _)| index).collect()
    }
}

impl Analysis<'_> {
    /// Returns what is wrong with the value of a template.
    fn judge(
        &self,
        site: &TemplateSite<'_>,
        value: &Json,
        always_runs: bool,
    ) -> Option<OutcomeKind> {
        // What no value of the type can be is reported by its type.
        site.wanted.check_assignable(&site.inferred.ty).ok()?;
        if let Err(ValueMismatch { path, reason }) = site.wanted.coerce(value.clone()) {
            return Some(OutcomeKind::Mismatch { reason, path, found: value.clone() });
        }
        let Role::Parameter(path) = &site.role else { return None };
        let (step, raw) = (self.steps.get(site.step)?, self.document.steps.get(site.step)?);
        let timeout = step.policy.timeout;
        // The wait for persons is a literal.
        let action = step.signature.filter(|action| !action.asks)?;
        let wait = value.as_str().and_then(|text| text.parse::<Duration>().ok());
        if let Some(wait) = wait.filter(|_| *site.wanted.non_null() == Type::Duration)
            && wait >= timeout
        {
            let place = raw.policy.timeout.as_ref().or(self.document.defaults.timeout.as_ref());
            let place = place.map(|(_, span)| span.clone());
            return Some(OutcomeKind::TooLong { wait, timeout, place });
        }
        let is_empty = match value {
            // An input without anything to act on is how a runbook does nothing unless it is asked to.
            Json::Array(items) => items.is_empty() && site.inferred.inputs.is_empty(),
            Json::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if !(is_empty && always_runs && raw.for_each.is_none()) {
            return None;
        }
        let field = action.params.field(path)?;
        let group = action.params.exactly_one_of.iter().flatten().any(|name| name == path);
        let message = empty_message(action, path).filter(|_| field.required || group);
        message.map(OutcomeKind::Empty)
    }
}

/// Returns the parameter or key of a template.
fn name<'a>(site: &'a TemplateSite<'_>) -> &'a str {
    match &site.role {
        Role::Parameter(path) | Role::Limit(path) => path,
        Role::When => "when",
        Role::ForEach => "for_each",
        Role::AtOnce => super::AT_ONCE,
        Role::Log => "log",
        Role::Text => "name",
        Role::Output => "outputs",
    }
}

/// Collects the names of the inputs in an expression.
fn collect_inputs<'e>(expr: &'e Expr<'_>, names: &mut Vec<&'e str>) {
    let is_inputs = |of: &Expr<'_>| matches!(of, Expr::Var(var) if var.id == "inputs");
    match expr {
        Expr::GetAttr(get) if is_inputs(&get.expr) => names.push(get.name),
        Expr::GetItem(get) if is_inputs(&get.expr) => {
            names.extend(parts::word(&get.subscript_expr));
        }
        other => parts::children(other).into_iter().for_each(|part| collect_inputs(part, names)),
    }
}

/// Whether a text may have a field of an input, which a map may not have.
fn has_map_field(text: &str) -> bool {
    let names = text.split("inputs.").skip(1);
    let mut after =
        names.map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    after.any(|rest| rest.starts_with('.'))
}

/// Whether evaluating a template can take more work than reading a value.
fn can_grow(text: &str) -> bool {
    text.contains(['|', '*', '~', '+'])
}

/// Returns the number of values in a value.
fn size(value: &Json) -> usize {
    match value {
        Json::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Json::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        Json::String(text) => 1 + text.len() / 8,
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
    }
}
