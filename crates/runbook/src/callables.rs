//! The runbooks that a runbook calls: each is checked as any other, and is then an action whose parameters are its
//! inputs and whose output is its `outputs`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use super::{
    ActionKind, ActionRegistry, ActionSignature, Diagnostic, Reversibility, Severity, Source,
    Stopped, Wanted,
    analysis::{Analysis, flow::Called},
    checked::{CalledRunbook, Runbook},
    document::{Document, is_runbook_name},
    library::{Library, MissingRunbook},
    limits::LimitKind,
    types::{Field, RecordType, Type},
    yaml::Node,
};

/// How deep calls may be nested: a runbook that calls one that calls one that calls one.
pub(crate) const MAX_DEPTH: usize = 3;

/// The most names of actions that are looked up as those of runbooks.
const MAX_LOOKED_UP: usize = 32;

/// The runbooks that a runbook calls, by name.
#[derive(Default)]
pub(crate) struct Callables {
    called: BTreeMap<String, Result<Arc<Callable>, CallProblem>>,
    /// The names that are given as those of actions, and are those of runbooks.
    as_actions: BTreeSet<String>,
}

/// A runbook that can be called.
pub(crate) struct Callable {
    pub(crate) signature: ActionSignature,
    pub(crate) called: CalledRunbook,
    pub(crate) source: Arc<Source>,
    /// The effects of its steps.
    pub(crate) flow: Called,
    /// The names of the actions of its steps, and of those of the runbooks that it calls.
    pub(crate) actions: BTreeSet<String>,
    /// The place of the declaration of each input.
    declarations: BTreeMap<String, Range<usize>>,
    /// How deep its own calls are nested.
    depth: usize,
}

/// Why a runbook cannot be called.
#[derive(Clone)]
pub(crate) enum CallProblem {
    /// There is none of that name. There are these.
    Unknown(Vec<String>),
    Unreadable(String),
    /// The runbooks from the one that is checked to the one that calls it, or another of them, again.
    Cycle(Vec<String>),
    TooDeep,
    /// The runbook has errors.
    Invalid {
        source: Arc<Source>,
        errors: Vec<Diagnostic>,
    },
}

/// The state of one check, which checks each called runbook once.
pub(crate) struct Calls<'c> {
    library: &'c dyn Library,
    /// The names of the runbooks that are being checked, the outermost first.
    stack: RefCell<Vec<String>>,
    known: RefCell<BTreeMap<String, Result<Arc<Callable>, CallProblem>>>,
}

impl Callables {
    /// Returns a called runbook.
    pub(crate) fn get(&self, name: &str) -> Option<&Callable> {
        self.called.get(name)?.as_ref().ok().map(Arc::as_ref)
    }

    /// Returns why a runbook cannot be called.
    pub(crate) fn problem(&self, name: &str) -> Option<&CallProblem> {
        self.called.get(name)?.as_ref().err()
    }

    /// Whether a name that is given as that of an action is that of a runbook.
    pub(crate) fn is_runbook(&self, action: &str) -> bool {
        self.as_actions.contains(action)
    }

    fn depth(&self) -> usize {
        let callables = self.called.values().filter_map(|callable| callable.as_ref().ok());
        callables.map(|callable| callable.depth + 1).max().unwrap_or(0)
    }
}

impl Callable {
    /// Returns where an input is declared.
    pub(crate) fn declaration(&self, input: &str) -> Option<Range<usize>> {
        self.declarations.get(input).cloned()
    }
}

impl<'c> Calls<'c> {
    pub(crate) fn new(library: &'c dyn Library) -> Self {
        Self { library, stack: RefCell::default(), known: RefCell::default() }
    }

    /// Checks the runbooks that a document calls.
    pub(crate) fn resolve(
        &self,
        document: &Document<'_>,
        registry: &ActionRegistry,
        wanted: &Wanted<'_>,
    ) -> Result<Callables, Stopped> {
        let own = document.name.and_then(Node::text).unwrap_or_default();
        self.stack.borrow_mut().push(own.to_owned());
        let names: BTreeSet<&str> =
            document.steps.iter().filter_map(|step| step.call.and_then(Node::text)).collect();
        let mut called = BTreeMap::new();
        for name in names {
            wanted.ensure()?;
            let callable = self.callable(name, registry, wanted)?;
            called.insert(name.to_owned(), callable);
        }
        self.stack.borrow_mut().pop();
        let actions = document.steps.iter().filter_map(|step| step.action.and_then(Node::text));
        // The key that names what a step does may be that of another tool.
        let without =
            document.steps.iter().filter(|step| step.action.is_none() && step.call.is_none());
        let values = without.flat_map(|step| step.node.pairs().unwrap_or_default());
        let others = values.filter_map(|(_, value)| value.text());
        let unknown =
            actions.chain(others).filter(|name| registry.get(name).is_none() && *name != own);
        let unknown: BTreeSet<&str> = unknown.filter(|name| is_runbook_name(name)).collect();
        let unknown = unknown.into_iter().take(MAX_LOOKED_UP);
        let as_actions = unknown.filter(|name| self.library.find(name).is_ok());
        Ok(Callables { called, as_actions: as_actions.map(str::to_owned).collect() })
    }

    /// Checks a runbook, unless that was done before.
    pub(crate) fn callable(
        &self,
        name: &str,
        registry: &ActionRegistry,
        wanted: &Wanted<'_>,
    ) -> Result<Result<Arc<Callable>, CallProblem>, Stopped> {
        // A name is never a path, so that a text from a request cannot leave the directory of runbooks.
        if !is_runbook_name(name) {
            return Ok(Err(CallProblem::Unknown(Vec::new())));
        }
        let stack = self.stack.borrow().clone();
        if stack.iter().any(|caller| caller == name) {
            let chain = stack.into_iter().skip_while(|caller| caller != name);
            return Ok(Err(CallProblem::Cycle(chain.chain([name.to_owned()]).collect())));
        }
        let known = self.known.borrow().get(name).cloned();
        let found = match known {
            Some(known) => known,
            // A chain that is too long is not followed to its end.
            None if stack.len() > MAX_DEPTH => return Ok(Err(CallProblem::TooDeep)),
            None => {
                let found = self.check(name, registry, wanted)?;
                self.known.borrow_mut().insert(name.to_owned(), found.clone());
                found
            }
        };
        Ok(match found {
            Ok(callable) if stack.len() + callable.depth > MAX_DEPTH => Err(CallProblem::TooDeep),
            found => found,
        })
    }

    fn check(
        &self,
        name: &str,
        registry: &ActionRegistry,
        wanted: &Wanted<'_>,
    ) -> Result<Result<Arc<Callable>, CallProblem>, Stopped> {
        let source = match self.library.find(name) {
            Ok(source) => Arc::new(source),
            Err(MissingRunbook::Unknown(names)) => return Ok(Err(CallProblem::Unknown(names))),
            Err(MissingRunbook::Unreadable(why)) => return Ok(Err(CallProblem::Unreadable(why))),
        };
        let build = |analysis: &Analysis<'_>, wanted: &Wanted<'_>| {
            let Some(runbook) = Runbook::new(analysis, wanted)? else { return Ok(None) };
            let called = CalledRunbook::new(runbook, Arc::clone(&source));
            Ok(Some(Callable {
                signature: signature(analysis),
                called,
                source: Arc::clone(&source),
                flow: Called::new(analysis),
                actions: actions(analysis),
                declarations: declarations(analysis),
                depth: analysis.callables.depth(),
            }))
        };
        let (diagnostics, callable) = super::check_with(&source, registry, self, wanted, build)?;
        Ok(callable.map(Arc::new).ok_or_else(|| {
            let errors = diagnostics.into_iter().filter(|one| one.severity == Severity::Error);
            CallProblem::Invalid { source, errors: errors.collect() }
        }))
    }
}

fn actions(analysis: &Analysis<'_>) -> BTreeSet<String> {
    let mut actions = BTreeSet::new();
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        match raw.call.and_then(Node::text).and_then(|name| analysis.callables.get(name)) {
            Some(callable) => actions.extend(callable.actions.iter().cloned()),
            None => actions.extend(step.signature.map(|action| action.name.clone())),
        }
    }
    actions
}

fn declarations(analysis: &Analysis<'_>) -> BTreeMap<String, Range<usize>> {
    let inputs = analysis.document.inputs.iter();
    inputs.map(|input| (input.name.to_owned(), input.key.span.clone())).collect()
}

/// Returns the runbook as an action.
fn signature(analysis: &Analysis<'_>) -> ActionSignature {
    let text = |node: Option<&Node>| node.and_then(Node::text).unwrap_or_default().to_owned();
    let (name, description) = (text(analysis.document.name), text(analysis.document.description));
    let input = |(input, default): (&super::document::InputDeclaration<'_>, _)| Field {
        required: Option::is_none(default) && !matches!(input.ty, Type::Optional(_)),
        default: Option::clone(default),
        description: input.description.unwrap_or_default().to_owned(),
        ..Field::required(input.name, input.ty.clone())
    };
    let output = |output: &super::analysis::AnalyzedOutput<'_>| {
        Field::required(output.name, output.ty.clone())
    };
    let signatures = || analysis.steps.iter().filter_map(|step| step.signature);
    let kind = signatures().map(|signature| signature.kind).max_by_key(|kind| match kind {
        ActionKind::Read => 0,
        ActionKind::Wait => 1,
        ActionKind::Change => 2,
    });
    let has = |wanted| signatures().any(|signature| signature.reversibility == wanted);
    let reversibility = match (has(Reversibility::Irreversible), has(Reversibility::Reversible)) {
        (true, _) => Reversibility::Irreversible,
        (false, true) => Reversibility::Reversible,
        (false, false) => Reversibility::NotApplicable,
    };
    let is_reached = |kind: &LimitKind| analysis.reaching(*kind).next().is_some();
    let limits = LimitKind::ALL.into_iter().filter(is_reached).collect();
    let inputs = analysis.document.inputs.iter().zip(&analysis.defaults).map(input).collect();
    ActionSignature {
        summary: description.lines().next().unwrap_or_default().to_owned(),
        // A runbook that only reads is still no single read: its steps are run one after another.
        kind: kind.filter(|kind| *kind == ActionKind::Change).unwrap_or(ActionKind::Wait),
        reversibility,
        retries: true,
        asks: false,
        repeats: true,
        repeats_with: None,
        opposite: None,
        params: RecordType {
            name: name.clone(),
            description,
            fields: inputs,
            ..RecordType::default()
        },
        output: RecordType {
            name: format!("output of {name}"),
            fields: analysis.outputs.iter().map(output).collect(),
            ..RecordType::default()
        },
        object: None,
        limits,
        limits_with: Vec::new(),
        name,
    }
}
