//! The checked runbook, which the engine interprets. It owns its data and borrows nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::analysis::{Analysis, AnalyzedStep};
use super::document::OnFailure;
use super::duration::Duration;
use super::evaluate::{
    self, Argument, CompiledArgument, EvaluationError, EvaluationErrorKind, EvaluationScope,
    TracedValue,
};
use super::inputs::{self, Input, InputError, InputFileError};
use super::limits::{LimitKind, Limits};
use super::yaml::Node;
use super::{Source, Stopped, Wanted};

/// A runbook without errors.
#[derive(Debug, Clone)]
pub struct Runbook {
    /// The name.
    pub name: String,
    /// The purpose of the runbook.
    pub description: Option<String>,
    /// The inputs that a run takes.
    pub inputs: Vec<Input>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The place of each step by its id: a run asks for its step at every event.
    positions: HashMap<String, usize>,
    limits: Option<CompiledArgument>,
    /// The values that a caller is given.
    outputs: Vec<(String, CompiledArgument)>,
}

/// A runbook that another one calls, with its text. Clones share it.
#[derive(Debug, Clone)]
pub struct CalledRunbook(Arc<(Runbook, Arc<Source>)>);

impl CalledRunbook {
    pub(crate) fn new(runbook: Runbook, source: Arc<Source>) -> Self {
        Self(Arc::new((runbook, source)))
    }

    /// Returns the runbook.
    pub fn runbook(&self) -> &Runbook {
        &self.0.0
    }

    /// Returns its text.
    pub fn source(&self) -> &Source {
        &self.0.1
    }
}

/// A step of a checked runbook.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name by which later steps refer to the output.
    pub id: String,
    /// The display name as written; the id when none is given. See [`display_name`](Self::display_name).
    pub name: String,
    /// The name of the action; of a step that calls a runbook, `call`, which no action has.
    pub action: String,
    /// The runbook that the step calls, in place of an action.
    pub call: Option<CalledRunbook>,
    /// The time limit, retries included.
    pub timeout: Duration,
    /// The retry policy.
    pub retry: Retry,
    /// The effect of a failure of the step on the run.
    pub on_failure: OnFailure,
    /// Whether the change is undone when the run ends, however it ends.
    pub restore_at_end: bool,
    /// How long the step waits for persons, if its action does.
    pub expires: Option<Duration>,
    for_each: Option<CompiledArgument>,
    at_once: Option<CompiledArgument>,
    display_name: Option<CompiledArgument>,
    description: Option<CompiledArgument>,
    arguments: CompiledArgument,
    when: Option<CompiledArgument>,
    log: Option<CompiledArgument>,
    uses: BTreeSet<String>,
    requires: BTreeSet<String>,
}

/// How many attempts a step has, and how long it waits between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The number of attempts, including the first.
    pub attempts: u32,
    /// The delay after the first failed attempt; each further delay is twice the previous one.
    pub backoff: Duration,
    /// The maximum delay.
    pub max_backoff: Duration,
}

impl Runbook {
    /// Builds the runbook from an analysis, for as long as it is wanted. An analysis with errors has no runbook.
    pub(crate) fn new(
        analysis: &Analysis<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Self>, Stopped> {
        let mut steps = Vec::with_capacity(analysis.steps.len());
        for index in 0..analysis.steps.len() {
            wanted.ensure()?;
            steps.push(Step::new(analysis, index));
        }
        Ok(Self::with_steps(analysis, steps.into_iter().collect()))
    }

    fn with_steps(analysis: &Analysis<'_>, steps: Option<Vec<Step>>) -> Option<Self> {
        let text = |node: Option<&Node>| node.and_then(Node::text).map(str::to_owned);
        let input =
            |(declared, default): (&super::document::InputDeclaration<'_>, &Option<Json>)| Input {
                name: declared.name.to_owned(),
                ty: declared.ty.clone(),
                default: default.clone(),
                description: declared.description.map(str::to_owned),
            };
        let steps = steps?;
        let positions = steps.iter().enumerate().map(|(index, step)| (step.id.clone(), index));
        Some(Self {
            name: text(analysis.document.name)?,
            description: text(analysis.document.description),
            inputs: analysis.document.inputs.iter().zip(&analysis.defaults).map(input).collect(),
            positions: positions.collect(),
            steps,
            limits: match &analysis.limits {
                Some(limits) => Some(limits.argument.as_ref()?.compile()),
                None => None,
            },
            outputs: analysis
                .outputs
                .iter()
                .map(|output| Some((output.name.to_owned(), output.argument.as_ref()?.compile())))
                .collect::<Option<_>>()?,
        })
    }

    /// Returns the step with an id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.get(*self.positions.get(id)?)
    }

    /// Returns, for each step, the ids of the steps whose outputs no template uses after it.
    pub fn unused_after(&self) -> Vec<Vec<&str>> {
        let mut rest: HashSet<&str> = self.steps.iter().map(|step| step.id.as_str()).collect();
        self.outputs.iter().flat_map(|(_, output)| output.words()).for_each(|word| {
            rest.remove(word);
        });
        let mut unused: Vec<Vec<&str>> = Vec::with_capacity(self.steps.len());
        for step in self.steps.iter().rev() {
            let last_used = step.templates().flat_map(CompiledArgument::words);
            let last_used = last_used.chain([step.id.as_str()]);
            unused.push(last_used.filter_map(|word| rest.take(word)).collect());
        }
        unused.reverse();
        unused
    }

    /// Whether another runbook takes the same inputs, with the same defaults.
    pub fn takes_the_same_as(&self, other: &Self) -> bool {
        let same = |(own, other): (&Input, &Input)| {
            own.name == other.name && own.ty == other.ty && own.default == other.default
        };
        self.inputs.len() == other.inputs.len() && self.inputs.iter().zip(&other.inputs).all(same)
    }

    /// Whether another runbook gives its caller the same outputs.
    pub fn gives_the_same_as(&self, other: &Self) -> bool {
        self.outputs == other.outputs
    }

    /// Returns the inputs of a run: the given values, checked against their types and limits, and
    /// defaults for the rest.
    ///
    /// # Errors
    /// Every invalid or missing input.
    pub fn bind(&self, given: &Map<String, Json>) -> Result<Map<String, Json>, Vec<InputError>> {
        inputs::bind(&self.inputs, given)
    }

    /// Returns the inputs that have a value: the given ones, checked against their types and limits, and defaults.
    ///
    /// # Errors
    /// Every invalid input. A missing one is none.
    pub fn bind_known(
        &self,
        given: &Map<String, Json>,
    ) -> Result<Map<String, Json>, Vec<InputError>> {
        let errors = match self.bind(given) {
            Ok(inputs) => return Ok(inputs),
            Err(errors) => errors.into_iter(),
        };
        let invalid: Vec<InputError> =
            errors.filter(|error| !matches!(error, InputError::Missing { .. })).collect();
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let has_value = |input: &&Input| input.default.is_some() || given.contains_key(&input.name);
        let known: Vec<Input> = self.inputs.iter().filter(has_value).cloned().collect();
        inputs::bind(&known, given)
    }

    /// Returns the limits of a run; the scope must have its inputs.
    ///
    /// # Errors
    /// A template cannot be evaluated, or yields a value that is not a valid limit.
    pub fn limits(&self, scope: &EvaluationScope) -> Result<Limits, EvaluationError> {
        let Some(limits) = &self.limits else { return Ok(Limits::default()) };
        serde_json::from_value(limits.evaluate(scope)?).map_err(|error| EvaluationError {
            location: "limits".into(),
            template: limits.as_written(),
            kind: EvaluationErrorKind::InvalidValue(error.to_string()),
        })
    }

    /// Whether the runbook itself sets a limit.
    pub fn has_limit(&self, kind: LimitKind) -> bool {
        self.limits.as_ref().is_some_and(|limits| limits.has_field(kind.key()))
    }

    /// Whether the runbook, or one that it calls, has limits.
    pub fn has_limits(&self) -> bool {
        let called = self.called();
        self.limits.is_some() || called.iter().any(|called| called.runbook().limits.is_some())
    }

    /// Returns the values that a caller is given; the scope must have the outputs of all steps.
    ///
    /// # Errors
    /// A template cannot be evaluated.
    pub fn outputs(&self, scope: &EvaluationScope) -> Result<Json, EvaluationError> {
        let value =
            |(name, value): &(String, CompiledArgument)| Ok((name.clone(), value.evaluate(scope)?));
        let values: Result<Map<String, Json>, EvaluationError> =
            self.outputs.iter().map(value).collect();
        values.map(Json::Object)
    }

    /// Returns all steps with an action: its own, and those of the runbooks that it calls.
    pub fn all_steps(&self) -> Vec<&Step> {
        let mut steps = Vec::new();
        for step in &self.steps {
            match &step.call {
                Some(called) => steps.extend(called.runbook().all_steps()),
                None => steps.push(step),
            }
        }
        steps
    }

    /// Returns the runbooks that it calls, and those that they call, each once.
    pub fn called(&self) -> Vec<&CalledRunbook> {
        let mut called: Vec<&CalledRunbook> = Vec::new();
        for runbook in self.steps.iter().filter_map(|step| step.call.as_ref()) {
            for one in std::iter::once(runbook).chain(runbook.runbook().called()) {
                if called.iter().all(|known| known.runbook().name != one.runbook().name) {
                    called.push(one);
                }
            }
        }
        called
    }

    /// Reads a file of inputs by the YAML rules of the language and the types of the inputs.
    ///
    /// # Errors
    /// The text is not such a file, or has inputs that are unknown or not valid.
    pub fn read_inputs(&self, text: &str) -> Result<Map<String, Json>, InputFileError> {
        inputs::read(&self.inputs, text)
    }

    /// Parses the text of `--input NAME=TEXT` by the type of the input.
    ///
    /// # Errors
    /// The runbook has no such input, or the text is not a valid value of its type.
    pub fn parse_input(&self, name: &str, text: &str) -> Result<Json, InputError> {
        inputs::parse(&self.inputs, name, text)
    }
}

/// The name of the action of steps that call a runbook.
const CALL: &str = "call";

/// The most items that a step runs for.
pub const MAX_ITEMS: usize = 1000;

/// Returns the values that `each` has for the items of a list or a map; of a map, records of `key` and `value`.
pub fn each_of(items: Option<&Json>) -> Vec<Json> {
    match items {
        Some(Json::Array(items)) => items.clone(),
        Some(Json::Object(fields)) => {
            let entry = |(key, value)| serde_json::json!({ "key": key, "value": value });
            fields.iter().map(entry).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns a text for people, if every value in it is known.
fn known_text(text: Option<&CompiledArgument>, scope: &EvaluationScope) -> Option<String> {
    let text = text?.evaluate_early(scope)?.ok()?;
    text.as_str().map(str::to_owned)
}

impl Step {
    fn new(analysis: &Analysis<'_>, index: usize) -> Option<Self> {
        let raw = &analysis.document.steps[index];
        let analyzed: &AnalyzedStep<'_> = &analysis.steps[index];
        let id = raw.id_text()?.to_owned();
        let name = raw.name.and_then(Node::text).unwrap_or(&id).to_owned();
        let policy = &analyzed.policy;
        let ids = |steps: &BTreeSet<usize>| {
            steps.iter().map(|step| analysis.id(*step).to_owned()).collect()
        };
        Some(Self {
            name,
            action: match raw.call {
                Some(_) => CALL.to_owned(),
                None => raw.action.and_then(Node::text)?.to_owned(),
            },
            call: match raw.call {
                Some(name) => Some(analysis.callables.get(name.text()?)?.called.clone()),
                None => None,
            },
            timeout: policy.timeout,
            retry: Retry {
                attempts: policy.attempts,
                backoff: policy.backoff,
                max_backoff: policy.max_backoff,
            },
            on_failure: policy.on_failure,
            restore_at_end: raw.restore.is_some(),
            expires: analyzed.expires,
            for_each: analyzed.for_each.as_deref().map(Argument::compile),
            at_once: analyzed.at_once.as_deref().map(Argument::compile),
            display_name: analyzed.name.as_deref().map(Argument::compile),
            description: analyzed.description.as_deref().map(Argument::compile),
            arguments: Argument::map(analyzed.arguments.clone()?).compile(),
            when: analyzed.when.as_deref().map(Argument::compile),
            log: analyzed.log.as_deref().map(Argument::compile),
            uses: ids(&analyzed.uses),
            requires: ids(&analyzed.requires),
            id,
        })
    }

    /// Returns the display name with the values that are known; where a value is not, as written.
    pub fn display_name(&self, scope: &EvaluationScope) -> String {
        known_text(self.display_name.as_ref(), scope).unwrap_or_else(|| self.name.clone())
    }

    /// Returns the description; none where one of its values is not known.
    pub fn description(&self, scope: &EvaluationScope) -> Option<String> {
        known_text(self.description.as_ref(), scope)
    }

    /// Whether the step runs once for each of several items.
    pub fn is_loop(&self) -> bool {
        self.for_each.is_some()
    }

    /// Returns what the step runs for: a list or a map of at most [`MAX_ITEMS`]; `None` for a step that runs once.
    ///
    /// # Errors
    /// The template cannot be evaluated, or yields something else or more.
    pub fn items(&self, scope: &EvaluationScope) -> Result<Option<Json>, EvaluationError> {
        let Some(for_each) = &self.for_each else { return Ok(None) };
        let items = for_each.evaluate(scope)?;
        let count = match &items {
            Json::Array(items) => Some(items.len()),
            Json::Object(fields) => Some(fields.len()),
            _ => None,
        };
        let problem = match count {
            Some(0..=MAX_ITEMS) => return Ok(Some(items)),
            Some(count) => format!("{count} items, and at most {MAX_ITEMS} are allowed"),
            None => "neither a list nor a map".to_owned(),
        };
        let kind = EvaluationErrorKind::InvalidValue(problem);
        Err(EvaluationError { location: "for_each".into(), template: for_each.as_written(), kind })
    }

    /// Whether the step runs: the value of its `when`.
    ///
    /// # Errors
    /// The condition cannot be evaluated.
    pub fn should_run(&self, scope: &EvaluationScope) -> Result<bool, EvaluationError> {
        match &self.when {
            None => Ok(true),
            Some(when) => Ok(when.evaluate(scope)? == Json::Bool(true)),
        }
    }

    /// Returns the step's `when` with the values in it, for a person who asks why the step was skipped; `None` when it
    /// has no condition with names in it.
    pub fn explain_when(&self, scope: &EvaluationScope) -> Option<String> {
        self.when.as_ref()?.explain(scope)
    }

    /// Returns the parameters that are conditions and are false, each with the values in it: why an action failed whose
    /// failure follows from its parameters alone.
    pub fn explain_false_parameters(&self, scope: &EvaluationScope) -> Vec<String> {
        let fields = self.arguments.fields().iter();
        let is_false = |value: &CompiledArgument| value.evaluate(scope) == Ok(Json::Bool(false));
        let explained = fields.filter(|(_, value)| is_false(value)).filter_map(|(name, value)| {
            Some(format!("`{name}` is false: {}", value.explain(scope)?))
        });
        explained.collect()
    }

    /// Evaluates what can be evaluated before the step runs, and returns the first error that the step will meet: a
    /// parameter or condition whose names have values already. It is nothing when the step will be skipped, and when
    /// the run goes on without the step. As long as it is not known whether the step runs, only exceeded limits count:
    /// its condition may be what guards a parameter against the others.
    pub fn early_error(&self, scope: &EvaluationScope) -> Option<EvaluationError> {
        if self.on_failure == OnFailure::Continue {
            return None;
        }
        let runs = match &self.when {
            None => Some(true),
            Some(when) => match when.evaluate_early(scope) {
                None => None,
                Some(Err(error)) => return Some(error),
                Some(Ok(value)) => Some(value == Json::Bool(true)),
            },
        };
        let counts = |error: &EvaluationError| runs == Some(true) || error.kind.is_limit();
        if runs == Some(false) {
            return None;
        }
        let at_once = self.at_once.iter().flat_map(|at_once| at_once.early_errors(scope));
        let errors = match self.known_items(scope) {
            Some(Err(error)) => vec![error],
            Some(Ok(scopes)) => scopes.iter().flat_map(|scope| self.early_errors(scope)).collect(),
            None => self.early_errors(scope),
        };
        at_once.chain(errors).find(counts)
    }

    /// Returns the errors of the parameters, and of the steps of a called runbook, as far as their values are known.
    fn early_errors(&self, scope: &EvaluationScope) -> Vec<EvaluationError> {
        let errors = self.arguments.early_errors(scope);
        let Some(called) = self.call.as_ref().filter(|_| errors.is_empty()) else { return errors };
        if !self.arguments.is_known(scope) {
            return errors;
        }
        match self.call_inputs(scope) {
            Err(error) => vec![error],
            Ok(inputs) => {
                let scope = EvaluationScope::new(&inputs);
                let steps = called.runbook().steps.iter();
                steps.filter_map(|step| step.early_error(&scope)).collect()
            }
        }
    }

    /// Returns the inputs of the runbook that the step calls, defaults included.
    ///
    /// # Errors
    /// A template cannot be evaluated, or yields a value that an input does not allow.
    pub fn call_inputs(
        &self,
        scope: &EvaluationScope,
    ) -> Result<Map<String, Json>, EvaluationError> {
        let arguments = self.arguments.evaluate(scope)?;
        let (Some(called), Json::Object(given)) = (&self.call, arguments) else {
            return Ok(Map::new());
        };
        called.runbook().bind(&given).map_err(|errors| {
            let problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let kind = EvaluationErrorKind::InvalidValue(problems.join("; "));
            let template = called.runbook().name.clone();
            EvaluationError { location: "with".into(), template, kind }
        })
    }

    /// Returns the parameters as JSON, each of the type that the action declares, without the
    /// parameters that are not given.
    ///
    /// # Errors
    /// A template cannot be evaluated, or yields a value outside the parameter's limits.
    pub fn arguments(&self, scope: &EvaluationScope) -> Result<Json, EvaluationError> {
        self.arguments.evaluate(scope)
    }

    /// Returns how many items are worked on at a time: from 1 to 20.
    ///
    /// # Errors
    /// The template cannot be evaluated, or yields another value.
    pub fn at_once(&self, scope: &EvaluationScope) -> Result<usize, EvaluationError> {
        let Some(at_once) = &self.at_once else { return Ok(1) };
        let value = at_once.evaluate(scope)?;
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        Ok(count.unwrap_or(1))
    }

    /// Returns the scope of each item of a loop, if the items are known; for a step that runs once, none.
    pub fn item_scopes(&self, scope: &EvaluationScope) -> Option<Vec<EvaluationScope>> {
        self.known_items(scope)?.ok()
    }

    /// Returns the scopes of the items, or why they cannot be evaluated, if every name in them has a value. The scope
    /// of one item has its value, and no others.
    fn known_items(
        &self,
        scope: &EvaluationScope,
    ) -> Option<Result<Vec<EvaluationScope>, EvaluationError>> {
        self.for_each.as_ref().filter(|items| items.is_known(scope) && !scope.has("each"))?;
        let scopes = |items: Option<Json>| {
            each_of(items.as_ref()).iter().map(|each| scope.with_each(each)).collect()
        };
        Some(self.items(scope).map(scopes))
    }

    /// Returns what is known of the values at a path below the parameters, such as `nodegroup.region` or
    /// `pods[].namespace`, before the step runs; several for a path through a list.
    pub fn trace(&self, path: &str, scope: &EvaluationScope) -> Vec<TracedValue> {
        // The scope of one item has its value.
        let Some(for_each) = self.for_each.as_ref().filter(|_| !scope.has("each")) else {
            return evaluate::trace(&self.arguments, path, scope);
        };
        if let Some(scopes) = self.item_scopes(scope) {
            let traced = scopes.iter().map(|scope| evaluate::trace(&self.arguments, path, scope));
            return traced.flatten().collect();
        }
        let values = evaluate::trace(&self.arguments, path, scope).into_iter();
        let of_item = |value| match value {
            TracedValue::Output { step, path } if step == "each" => {
                evaluate::trace_item(for_each, &path, scope)
            }
            value => vec![value],
        };
        values.flat_map(of_item).collect()
    }

    /// Returns everything in the step that is evaluated.
    fn templates(&self) -> impl Iterator<Item = &CompiledArgument> {
        let Self { for_each, at_once, display_name, description, arguments, when, log, .. } = self;
        let optional = [for_each, at_once, display_name, description, when, log];
        optional.into_iter().flatten().chain([arguments])
    }

    /// Returns whether there is a message to log after success.
    pub fn has_message(&self) -> bool {
        self.log.is_some()
    }

    /// Returns the message to log after success; the scope must have the step's own output.
    ///
    /// # Errors
    /// A template cannot be evaluated.
    pub fn message(&self, scope: &EvaluationScope) -> Result<Option<String>, EvaluationError> {
        let Some(log) = &self.log else {
            return Ok(None);
        };
        let message = log.evaluate(scope)?;
        Ok(message.as_str().map(str::to_owned))
    }

    /// Returns the ids of the steps whose outputs `with` and `when` use.
    pub fn uses(&self) -> &BTreeSet<String> {
        &self.uses
    }

    /// Returns the ids of the steps whose outputs `with` and `when` use without a guard: the step fails when one of
    /// them is absent.
    pub fn requires(&self) -> &BTreeSet<String> {
        &self.requires
    }

    fn called_name(&self) -> Option<&str> {
        self.call.as_ref().map(|called| called.runbook().name.as_str())
    }

    /// Whether another step does the same work under the same condition. Names, messages, time limits and retries may
    /// differ, and so may the text of a runbook that both call.
    pub fn does_the_same_as(&self, other: &Self) -> bool {
        self.id == other.id
            && self.action == other.action
            && self.called_name() == other.called_name()
            && self.when == other.when
            && self.for_each == other.for_each
            && self.arguments == other.arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that has gone must not keep a checker at work.
    #[test]
    fn a_check_ends_soon_after_its_result_is_no_longer_wanted() {
        let registry = crate::ActionRegistry::default();
        let step = |n| format!("- {{id: s{n}, action: none}}\n");
        let steps: String = (0..200).map(step).collect();
        let source = crate::Source::new("r.yaml", format!("name: r\nsteps:\n{steps}"));
        let asked = std::cell::Cell::new(0);
        let times_asked = |limit: usize| {
            asked.set(0);
            let is_wanted = || {
                asked.set(asked.get() + 1);
                asked.get() <= limit
            };
            crate::check_while(&source, &registry, &crate::EmptyLibrary, &is_wanted).is_some()
        };
        assert!(times_asked(usize::MAX));
        let in_all = asked.get();
        assert!(in_all >= 200 + crate::rules().len(), "{in_all}");
        for limit in [0, 1, 100, in_all - 1] {
            assert!(!times_asked(limit));
            assert_eq!(asked.get(), limit + 1, "nothing is asked or done after that");
        }
    }

    #[test]
    fn an_output_is_unused_after_the_last_step_that_names_it_anywhere() {
        let text = r#"
name: unused
steps:
  - {id: one, action: find_group, with: {region: us-west-2}, log: "{{ one.size }}"}
  - {id: two, name: "{{ one.name }}", action: find_group, with: {region: "{{ one.region }}"}}
  - {id: three, action: find_group, with: {region: us-west-2}}
  - {id: four, when: "{{ two.nodes[:1] | length > 0 }}", action: scale, with: {group: "{{ two }}", desired: 2}}
  - {id: five, action: find_group, with: {region: us-west-2}, log: "{{ three.size }}"}
outputs: {size: "{{ four.before | default(0) }}"}
"#;
        let registry = crate::editor_tests::registry();
        let checked = crate::check(&crate::Source::new("unused.yaml", text), &registry);
        let runbook = checked.runbook.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        let unused: [&[&str]; 5] = [&[], &["one"], &[], &["two"], &["three", "five"]];
        let found = runbook.unused_after().into_iter().map(|mut ids| {
            ids.sort_by_key(|id| runbook.steps.iter().position(|step| step.id == *id));
            ids
        });
        assert!(found.eq(unused));
    }

    /// The engine moves runbooks between tasks.
    #[test]
    fn a_runbook_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Runbook>();
        shared::<EvaluationScope>();
        shared::<EvaluationError>();
    }
}
