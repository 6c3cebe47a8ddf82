//! A step's parameters, as written and compiled.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value as Json};

use super::super::template::inside_braces;
use super::super::types::Type;
use super::convert::to_json;
use super::environment::{Budget, OWN_DETAILS, compile_expression, compile_text, text_template};
use super::scope::{EvaluationScope, absent};
use super::{EvaluationError, EvaluationErrorKind};

/// A parameter: a literal, a template, or a list or map with templates in it. `T` is the form of
/// the templates: [`Expression`] as written, [`CompiledExpression`] once the runbook is checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Argument<T = Expression> {
    Literal(Json),
    Template(T),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// A parameter whose templates are compiled.
pub(crate) type CompiledArgument = Argument<CompiledExpression>;

/// A template as written, with the type that its place requires.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expression {
    text: String,
    /// The text is one whole expression, whose value is passed on with its type.
    whole: bool,
    wanted: Type,
    location: String,
}

/// A template compiled to instructions. Evaluating it parses nothing.
#[derive(Debug, Clone)]
pub(crate) struct CompiledExpression {
    programs: Arc<Programs>,
    wanted: Type,
    location: String,
    text: String,
}

/// Two templates are equal when they are written alike: what they are compiled to follows from that.
impl PartialEq for CompiledExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.wanted == other.wanted && self.location == other.location
    }
}

/// The instructions of a template, once for each budget that an evaluation has needed: minijinja keeps the budget with
/// the instructions.
#[derive(Debug)]
struct Programs {
    text: String,
    whole: bool,
    smallest: CompileResult,
    larger: [OnceLock<Box<CompileResult>>; Budget::COUNT - 1],
}

/// The instructions, or why minijinja refused to compile the template.
type CompileResult = Result<Program, EvaluationErrorKind>;

/// The instructions of a template for one budget.
#[derive(Debug)]
enum Program {
    /// One whole expression, which yields a value.
    Value(Box<minijinja::Expression<'static, 'static>>),
    /// Text with expressions in it: an environment that holds this template only.
    Text(Box<Environment<'static>>),
}

impl Programs {
    fn new(text: &str, whole: bool) -> Self {
        Self {
            text: text.to_owned(),
            whole,
            smallest: Program::compile(text, whole, Budget::SMALLEST),
            larger: [const { OnceLock::new() }; Budget::COUNT - 1],
        }
    }

    /// Returns the instructions for a budget.
    fn get(&self, budget: Budget) -> &CompileResult {
        let Some(at) = budget.among_larger() else { return &self.smallest };
        let compile = || Box::new(Program::compile(&self.text, self.whole, budget));
        self.larger[at].get_or_init(compile)
    }
}

impl Program {
    fn compile(text: &str, whole: bool, budget: Budget) -> CompileResult {
        let inside = if whole { inside_braces(text) } else { None };
        let program = match inside {
            Some(expression) => {
                compile_expression(expression, budget).map(Box::new).map(Self::Value)
            }
            None => compile_text(text, budget).map(Box::new).map(Self::Text),
        };
        program.map_err(|error| classify(&error))
    }

    /// Returns the first names of all paths in the template: `inputs` and the ids of steps.
    fn names(&self) -> BTreeSet<String> {
        let names = match self {
            Self::Value(expression) => Some(expression.undeclared_variables(false)),
            Self::Text(environment) => {
                text_template(environment).ok().map(|text| text.undeclared_variables(false))
            }
        };
        names.into_iter().flatten().collect()
    }
}

/// Equal arguments have the same hash; the type that a place requires says no more than the place.
impl Hash for Argument {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match self {
            Self::Literal(value) => value.hash(hasher),
            Self::Template(expression) => expression.text.hash(hasher),
            Self::List(items) => items.hash(hasher),
            Self::Map(fields) => fields.hash(hasher),
        }
    }
}

impl Argument {
    /// Builds a list; a list of literals is itself a literal.
    pub(crate) fn list(items: Vec<Self>) -> Self {
        if items.iter().all(Self::is_literal) {
            return Self::Literal(items.into_iter().filter_map(Self::into_literal).collect());
        }
        Self::List(items)
    }

    /// Builds a map; a map of literals is itself a literal.
    pub(crate) fn map(fields: Vec<(String, Self)>) -> Self {
        if fields.iter().all(|(_, value)| value.is_literal()) {
            let literal = |(name, value): (String, Self)| Some((name, value.into_literal()?));
            let map: Map<String, Json> = fields.into_iter().filter_map(literal).collect();
            return Self::Literal(Json::Object(map));
        }
        Self::Map(fields)
    }

    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    fn into_literal(self) -> Option<Json> {
        match self {
            Self::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Compiles every template of the parameter.
    pub(crate) fn compile(&self) -> CompiledArgument {
        match self {
            Self::Literal(value) => Argument::Literal(value.clone()),
            Self::Template(expression) => Argument::Template(expression.compile()),
            Self::List(items) => Argument::List(items.iter().map(Self::compile).collect()),
            Self::Map(fields) => {
                let compile = |(name, value): &(String, Self)| (name.clone(), value.compile());
                Argument::Map(fields.iter().map(compile).collect())
            }
        }
    }
}

impl CompiledArgument {
    /// Returns the value of the parameter.
    pub(crate) fn evaluate(&self, scope: &EvaluationScope) -> Result<Json, EvaluationError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Template(expression) => expression.evaluate(scope),
            Self::List(items) => items.iter().map(|item| item.evaluate(scope)).collect(),
            Self::Map(fields) => fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), value.evaluate(scope)?)))
                .collect(),
        }
    }
}

impl Expression {
    /// Creates a template that yields a value of type `wanted`; `whole` when the text is one
    /// expression and nothing else.
    pub(crate) fn new(text: &str, whole: bool, wanted: &Type, location: &str) -> Self {
        Self { text: text.to_owned(), whole, wanted: wanted.clone(), location: location.to_owned() }
    }

    /// Creates the template of a text that people read: always text, with the whitespace around it.
    pub(crate) fn message(text: &str, location: &str) -> Self {
        Self::new(text, false, &Type::text(), location)
    }

    /// Compiles the template. A template that minijinja refuses fails when it is evaluated.
    pub(crate) fn compile(&self) -> CompiledExpression {
        CompiledExpression {
            programs: Arc::new(Programs::new(&self.text, self.whole)),
            wanted: self.wanted.clone(),
            location: self.location.clone(),
            text: self.text.clone(),
        }
    }
}

impl CompiledArgument {
    /// Returns the text of a condition and the values in it; `None` unless the parameter is one whole expression.
    pub(crate) fn explain(&self, scope: &EvaluationScope) -> Option<String> {
        match self {
            Self::Template(expression) => expression.explain(scope),
            Self::Literal(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Returns the parameters of a map.
    pub(crate) fn fields(&self) -> &[(String, Self)] {
        match self {
            Self::Map(fields) => fields,
            Self::Literal(_) | Self::Template(_) | Self::List(_) => &[],
        }
    }

    /// Whether the parameter is a map with this field.
    pub(crate) fn has_field(&self, name: &str) -> bool {
        match self {
            Self::Literal(value) => value.get(name).is_some(),
            Self::Map(fields) => fields.iter().any(|(field, _)| field == name),
            Self::Template(_) | Self::List(_) => false,
        }
    }

    /// Whether every name in the parameter has a value.
    pub(crate) fn is_known(&self, scope: &EvaluationScope) -> bool {
        self.templates().iter().all(|one| one.is_known(scope))
    }

    /// Returns the value, if every name in the parameter has a value already.
    pub(crate) fn evaluate_early(
        &self,
        scope: &EvaluationScope,
    ) -> Option<Result<Json, EvaluationError>> {
        self.is_known(scope).then(|| self.evaluate(scope))
    }

    /// Returns the template as written, shortened; for a list or map with templates in it, those.
    pub(crate) fn as_written(&self) -> String {
        let texts: Vec<String> = self.templates().iter().map(|one| shortened(&one.text)).collect();
        texts.join(", ")
    }

    /// Evaluates every template of the parameter whose names have values already, and returns the errors.
    pub(crate) fn early_errors(&self, scope: &EvaluationScope) -> Vec<EvaluationError> {
        let templates = self.templates().into_iter();
        let known = templates.filter(|template| template.is_known(scope));
        known.filter_map(|template| template.evaluate(scope).err()).collect()
    }

    /// Returns the words of every template in the parameter, among which are all names that it uses.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        let is_between = |symbol: char| !symbol.is_alphanumeric() && symbol != '_';
        self.templates().into_iter().flat_map(move |template| template.text.split(is_between))
    }

    /// Returns every template in the parameter.
    pub(super) fn templates(&self) -> Vec<&CompiledExpression> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Template(template) => vec![template],
            Self::List(items) => items.iter().flat_map(Self::templates).collect(),
            Self::Map(fields) => fields.iter().flat_map(|(_, field)| field.templates()).collect(),
        }
    }
}

impl CompiledExpression {
    /// Returns the template, and each name in it with the value that the name has: `` `{{ a.b > 1 }}` with a.b = 0 ``.
    fn explain(&self, scope: &EvaluationScope) -> Option<String> {
        let Ok(Program::Value(expression)) = self.programs.get(Budget::SMALLEST) else {
            return None;
        };
        // In the order of the names: the set has none of its own.
        let names: BTreeSet<String> = expression.undeclared_variables(true).into_iter().collect();
        let values: Vec<String> =
            names.iter().map(|name| format!("{name} = {}", shown_value(scope, name))).collect();
        let values =
            if values.is_empty() { String::new() } else { format!(" with {}", values.join(", ")) };
        Some(format!("`{}`{values}", shortened(&self.text)))
    }

    /// Returns the template as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the paths in the template, such as `inputs.a` and `step.b.c`, unless they cannot be told.
    pub(super) fn paths(&self) -> Option<BTreeSet<String>> {
        let program = self.programs.get(Budget::SMALLEST).as_ref().ok()?;
        let names = match program {
            Program::Value(expression) => expression.undeclared_variables(true),
            Program::Text(environment) => {
                text_template(environment).ok()?.undeclared_variables(true)
            }
        };
        Some(names.into_iter().collect())
    }

    /// Returns the value that the template yields.
    pub(crate) fn evaluate(&self, scope: &EvaluationScope) -> Result<Json, EvaluationError> {
        self.run(scope).map_err(|kind| EvaluationError {
            location: self.location.clone(),
            template: shortened(&self.text),
            kind,
        })
    }

    /// Returns the names in the template, unless they cannot be told: minijinja does not see the name that is sliced in
    /// `a[1:]`.
    fn names(&self) -> Option<BTreeSet<String>> {
        let may_have_slice = self.programs.text.contains('[') && self.programs.text.contains(':');
        let program = self.programs.get(Budget::SMALLEST).as_ref().ok()?;
        (!may_have_slice).then(|| program.names())
    }

    /// Whether every name in the template has a value.
    fn is_known(&self, scope: &EvaluationScope) -> bool {
        self.names().is_some_and(|names| names.iter().all(|name| scope.has(name)))
    }

    /// Returns the size of the values that the template names. An evaluation before the step runs has the same budget
    /// as the one in the step.
    fn size_of_data(&self, scope: &EvaluationScope) -> usize {
        let all = scope.size();
        if Budget::for_data(all) == Budget::SMALLEST {
            return all;
        }
        self.names().map_or(all, |names| scope.size_of(&names))
    }

    fn run(&self, scope: &EvaluationScope) -> Result<Json, EvaluationErrorKind> {
        let size = self.size_of_data(scope);
        let program = self.programs.get(Budget::for_data(size));
        let value = match program.as_ref().map_err(Clone::clone)? {
            Program::Value(expression) => {
                let value = expression.eval(scope.value());
                to_json(&value.map_err(|error| classify(&error))?, size)?
            }
            Program::Text(environment) => {
                let template = text_template(environment);
                let text = template.and_then(|template| template.render(scope.value()));
                Json::String(text.map_err(|error| classify(&error))?)
            }
        };
        self.wanted.coerce(value).map_err(EvaluationErrorKind::ValueMismatch)
    }
}

/// The length up to which lists and maps are shown whole.
const MAX_LIST: usize = 40;

/// Returns the value of a name with dots as JSON, shortened; `absent` for the output of a step that did not run. A long
/// list or map is only counted: a condition asks for its length more often than for what is in it.
fn shown_value(scope: &EvaluationScope, name: &str) -> String {
    let value = name.split('.').try_fold(scope.value(), |value, part| value.get_attr(part));
    let value = value.ok().filter(|value| !value.is_undefined() && absent(value).is_none());
    match value.map(|value| to_json(&value, scope.size())) {
        Some(Ok(value)) => {
            let text = value.to_string();
            match &value {
                Json::Array(items) if text.len() > MAX_LIST => format!("a list of {}", items.len()),
                Json::Object(fields) if text.len() > MAX_LIST => {
                    format!("a map of {}", fields.len())
                }
                _ => shortened(&text),
            }
        }
        Some(Err(_)) | None => "absent".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    const MAX_SHOWN: usize = 120;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Translates minijinja's errors for the author of a runbook. Some of minijinja's details quote
/// values, so only details that are known not to are passed on.
fn classify(error: &minijinja::Error) -> EvaluationErrorKind {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => EvaluationErrorKind::TooLong,
        ErrorKind::UndefinedError => {
            EvaluationErrorKind::Undefined("a part of the template".to_owned())
        }
        _ if detail.contains("cannot convert") || detail.contains("invalid float") => {
            EvaluationErrorKind::Failed("a value cannot be converted".to_owned())
        }
        _ if OWN_DETAILS.iter().any(|own| detail.ends_with(own)) => {
            EvaluationErrorKind::InvalidValue(detail.to_owned())
        }
        kind if detail.starts_with("tried to use") => {
            EvaluationErrorKind::Failed(format!("{kind}: {detail}"))
        }
        kind => EvaluationErrorKind::Failed(kind.to_string()),
    }
}
