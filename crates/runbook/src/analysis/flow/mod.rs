//! What steps act on and how large they make it, as far as the text says it: the relations between steps follow from
//! that. A value that is not known is never guessed.

mod called;
mod each;
mod size;
mod target;

use std::collections::HashMap;

use minijinja::machinery::ast::Expr;

use super::super::document::{OnFailure, RawStep};
use super::super::registry::{ActionKind, ActionSignature};
use super::super::template::{self, is_template, parts};
use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, AnalyzedStep};
pub(crate) use called::Called;
pub(crate) use each::{Each, each_of_items};
pub(crate) use size::{Reading, Size, length};
pub(crate) use target::{Part, Target};

/// The steps of a runbook with what they act on.
#[derive(Default)]
pub(crate) struct Flow {
    pub(crate) steps: Vec<StepFlow>,
}

/// The effects of one step.
#[derive(Default)]
pub(crate) struct StepFlow {
    /// The nodegroup or Auto Scaling group, or the workload, of a step that acts on one.
    pub(crate) target: Option<Target>,
    /// The size that the step gives to it.
    pub(crate) size: Option<Size>,
    /// The facts about the target when the step begins.
    pub(crate) before: Known,
    /// Whether the step is done in any case: for all of its items, if it has any.
    pub(crate) is_certain: bool,
    /// The effects for each item, or of the steps of a called runbook. The fields above are those of a step that has
    /// none.
    pub(crate) acts: Vec<Act>,
}

/// The effect of one item of a step, or of one step of a called runbook.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) effect: Effect,
    /// The facts about the target when it begins.
    pub(crate) before: Known,
    /// The key of the item, or its position.
    pub(crate) key: String,
    /// The parameter of the call that says how large, if that is said there and is no literal of the called runbook.
    pub(crate) parameter: Option<String>,
}

/// The effect of a step on its target.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) target: Option<Target>,
    pub(crate) kind: EffectKind,
    pub(crate) is_certain: bool,
    /// Whether it may be done to other targets, too.
    pub(crate) is_repeated: bool,
}

/// The effect of a step on a limit of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Kept,
    Set(i64),
    /// Set to a value that is not known.
    Unknown,
}

impl Limit {
    /// Notes the limit that a step leaves.
    fn apply(self, known: &mut Option<(i64, usize)>, step: usize) {
        match self {
            Self::Kept => {}
            Self::Set(limit) => *known = Some((limit, step)),
            Self::Unknown => *known = None,
        }
    }
}

/// The kinds of effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EffectKind {
    /// May change everything.
    Anything,
    /// Gives the target a size, which may not be known.
    Size(Option<Size>),
    /// May set limits.
    Limits { min: Limit, max: Limit },
    /// Reads the size.
    Found(Size),
    /// Waits until there are as many.
    Wait(Option<Size>),
    /// Changes something else, or a target that is not known.
    Change {
        /// Whether an autoscaler may give a group another size after it.
        moves_pods: bool,
        /// Whether the pods of the target are other ones then.
        replaces: bool,
    },
    /// Only reads or waits.
    Nothing,
}

/// The facts about a target at some place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The size that it has, with the step that says so; nothing has been changed since.
    pub(crate) current: Option<(Size, usize)>,
    /// The size that a step has asked for last.
    pub(crate) asked: Option<(Size, usize)>,
    /// The size that it had before that.
    pub(crate) former: Option<Size>,
    /// The limits that a step has set.
    pub(crate) min: Option<(i64, usize)>,
    pub(crate) max: Option<(i64, usize)>,
}

/// The parameters that say how large a target is to be.
pub(crate) const SIZES: [&str; 2] = ["desired", "replicas"];

/// The actions that may change a size without being asked for one.
const RESIZING: [&str; 4] =
    ["terminate_instances", "patch_object", "update_nodegroup_version", "resume_processes"];

/// The actions after which an autoscaler may give a group another size.
const MOVING: [&str; 3] = ["drain", "terminate_instances", "patch_object"];

/// The action that changes any object, and the kinds of objects for which that leaves the sizes of others.
const PATCHING: &str = "patch_object";
const WITHOUT_PODS: [&str; 6] =
    ["ConfigMap", "Secret", "Service", "Namespace", "Ingress", "PodDisruptionBudget"];

/// The most targets that are known at a time.
const MAX_TARGETS: usize = 32;

/// The actions that replace the pods of their workload.
pub(crate) const REPLACING: [&str; 3] = ["rollout_restart", "set_image", "rollout_undo"];

impl Analysis<'_> {
    /// Follows the targets of the steps.
    pub(super) fn follow(&self) -> Flow {
        let mut flow = Flow { steps: Vec::with_capacity(self.steps.len()) };
        let mut known: HashMap<Target, Known> = HashMap::new();
        for (index, (raw, step)) in self.document.steps.iter().zip(&self.steps).enumerate() {
            let is_certain = raw.when.is_none() && step.policy.on_failure != OnFailure::Continue;
            let mut one = StepFlow { is_certain, ..StepFlow::default() };
            let reading = Reading::new(self, &flow);
            if let Some(items) = raw.for_each {
                one.acts = self.acts_of_items(raw, step, items, is_certain, &flow);
            } else if raw.call.is_some() {
                one.acts = reading.acts_of_call(raw, is_certain, "");
            } else {
                let effect = reading.effect(raw, step, is_certain);
                one.before = facts(effect.target.as_ref(), &known);
                apply(&mut known, index, &effect);
                one.target = effect.target;
                if let EffectKind::Size(size) = effect.kind {
                    one.size = size;
                }
            }
            let is_unknown = one.acts.is_empty() && (raw.for_each.is_some() || raw.call.is_some());
            if is_unknown {
                let action = step.signature.filter(|_| raw.call.is_none());
                let kind = action.map_or(EffectKind::Anything, kind_without_target);
                let effect = Effect { target: None, kind, is_certain: false, is_repeated: true };
                apply(&mut known, index, &effect);
            }
            for act in &mut one.acts {
                act.before = facts(act.effect.target.as_ref(), &known);
                // What a called runbook reads is what is known here by another name.
                let is_found = matches!(act.effect.kind, EffectKind::Found(_));
                if is_found && act.before.current.is_some() {
                    continue;
                }
                apply(&mut known, index, &act.effect);
            }
            flow.steps.push(one);
        }
        flow
    }
}

/// Returns the facts about a target.
fn facts(target: Option<&Target>, known: &HashMap<Target, Known>) -> Known {
    target.and_then(|target| known.get(target)).cloned().unwrap_or_default()
}

/// Returns what an action does whose target is not known.
fn kind_without_target(action: &ActionSignature) -> EffectKind {
    let sizes = SIZES.iter().any(|name| action.params.field(name).is_some());
    let name = action.name.as_str();
    match action.kind {
        ActionKind::Change if sizes || RESIZING.contains(&name) => EffectKind::Size(None),
        ActionKind::Change => EffectKind::Change {
            moves_pods: MOVING.contains(&name),
            replaces: REPLACING.contains(&name),
        },
        ActionKind::Read | ActionKind::Wait => EffectKind::Nothing,
    }
}

impl Reading<'_, '_> {
    /// Returns the size that a step gives to its target.
    fn asked(&self, action: &ActionSignature, with: &Node) -> Option<Size> {
        let is_change = action.kind == ActionKind::Change;
        let asked = SIZES.iter().find_map(|name| with.member(name)).filter(|_| is_change);
        asked.and_then(|node| self.size(node))
    }

    /// Returns what a step does to its target, for one of its items if it has some.
    fn effect(&self, raw: &RawStep<'_>, step: &AnalyzedStep<'_>, is_certain: bool) -> Effect {
        let is_repeated = raw.for_each.is_some();
        let (target, kind) = match (step.signature, raw.with) {
            (Some(action), _) if lets_others_act(action) => (None, EffectKind::Anything),
            // An object that has no pods of its own.
            (Some(action), Some(with)) if action.name == PATCHING && has_no_pods(with) => {
                (None, EffectKind::Change { moves_pods: false, replaces: false })
            }
            (Some(action), Some(with)) => {
                let target = self.target(action, with);
                let kind = self.kind(raw, action, with, target.as_ref(), is_certain);
                (target, kind)
            }
            (Some(action), None) => (None, kind_without_target(action)),
            (None, _) => (None, EffectKind::Anything),
        };
        Effect { target, kind, is_certain, is_repeated }
    }

    fn kind(
        &self,
        raw: &RawStep<'_>,
        action: &ActionSignature,
        with: &Node,
        target: Option<&Target>,
        is_certain: bool,
    ) -> EffectKind {
        let general = kind_without_target(action);
        match (&general, action.kind) {
            (EffectKind::Size(_), _) => {
                EffectKind::Size(self.asked(action, with).or_else(|| yielded(raw, action, with)))
            }
            (_, ActionKind::Change) => {
                let limit = |name: &str| match with.member(name).filter(|_| target.is_some()) {
                    None => Limit::Kept,
                    Some(node) => literal_integer(node)
                        .filter(|_| is_certain)
                        .map_or(Limit::Unknown, Limit::Set),
                };
                match (limit("min"), limit("max")) {
                    (Limit::Kept, Limit::Kept) => general,
                    (min, max) => EffectKind::Limits { min, max },
                }
            }
            (_, ActionKind::Wait) => {
                // Pods that are to go are counted in another way.
                let goes = with.member("until").is_some_and(|until| until.text() != Some("ready"));
                let count = with.member("count").filter(|_| !goes);
                EffectKind::Wait(count.and_then(|node| self.size(node)))
            }
            (_, ActionKind::Read) => {
                let field = SIZES.iter().find(|name| action.output.field(name).is_some());
                match (field, raw.id_text(), target) {
                    (Some(field), Some(id), Some(_)) if raw.for_each.is_none() => {
                        EffectKind::Found(Size::of(format!("{id}.{field}")))
                    }
                    _ => EffectKind::Nothing,
                }
            }
        }
    }
}

/// Returns the size that a step calculates itself, by its output: `factor` times what there is.
fn yielded(raw: &RawStep<'_>, action: &ActionSignature, with: &Node) -> Option<Size> {
    let field = SIZES.iter().find(|name| action.output.field(name).is_some())?;
    with.member("factor").filter(|_| raw.for_each.is_none())?;
    Some(Size::of(format!("{}.{field}", raw.id_text()?)))
}

/// Records what is known after a step.
fn apply(known: &mut HashMap<Target, Known>, index: usize, effect: &Effect) {
    // What was changed long ago is forgotten, so that no step is compared with all steps before it.
    if effect.kind == EffectKind::Anything || known.len() > MAX_TARGETS {
        known.clear();
        if effect.kind == EffectKind::Anything {
            return;
        }
    }
    let moves = match &effect.kind {
        EffectKind::Size(_) | EffectKind::Limits { .. } => Some(false),
        EffectKind::Change { moves_pods, .. } => Some(*moves_pods),
        _ => None,
    };
    let former = effect.target.as_ref().and_then(|target| known.get(target)?.current.clone());
    if let Some(moves_pods) = moves {
        for (target, one) in &mut *known {
            let may_be_same = match &effect.target {
                Some(changed) => changed.is_like(target),
                None => moves_pods || effect.is_repeated,
            };
            if may_be_same {
                one.current = None;
            }
        }
    }
    let Some(target) = &effect.target else {
        if matches!(effect.kind, EffectKind::Size(_)) {
            known.clear();
        }
        return;
    };
    match &effect.kind {
        EffectKind::Size(size) => {
            // What may be the same target by another name may have this size now.
            known.retain(|other, _| other == target || !target.is_like(other));
            if target.is_workload() {
                // An autoscaler may give other nodes to its pods.
                for (_, group) in known.iter_mut().filter(|(other, _)| !other.is_workload()) {
                    (group.current, group.asked) = (None, None);
                }
            }
            match size {
                Some(size) if effect.is_certain => {
                    let one = known.entry(target.clone()).or_default();
                    let former = former.map(|(former, _)| former);
                    one.former = former.filter(|former| former != size);
                    one.current = Some((size.clone(), index));
                    one.asked = Some((size.clone(), index));
                }
                _ => drop(known.remove(target)),
            }
        }
        EffectKind::Limits { min, max } => {
            let one = known.entry(target.clone()).or_default();
            min.apply(&mut one.min, index);
            max.apply(&mut one.max, index);
        }
        EffectKind::Found(size) if effect.is_certain => {
            let one = known.entry(target.clone()).or_default();
            one.current = Some((size.clone(), index));
        }
        _ => {}
    }
}

/// Whether a person, or a program of the user's, may change anything while a step waits for them.
pub(crate) fn lets_others_act(action: &ActionSignature) -> bool {
    action.asks || action.name == "run_job"
}

fn has_no_pods(with: &Node) -> bool {
    with.member("kind").and_then(Node::text).is_some_and(|kind| WITHOUT_PODS.contains(&kind))
}

/// Returns an integer that is written down.
pub(crate) fn literal_integer(node: &Node) -> Option<i64> {
    match node.scalar_value() {
        Some(ScalarValue::Integer(value)) => i64::try_from(value).ok(),
        _ => None,
    }
}

/// Whether a flag is not given, or `false`.
pub(crate) fn is_off(with: &Node, name: &str) -> bool {
    let node = with.member(name);
    node.is_none_or(|node| matches!(node.scalar_value(), Some(ScalarValue::Boolean(false))))
}

/// Returns the text of a template.
pub(crate) fn template_text(node: &Node) -> Option<&str> {
    node.text().filter(|text| is_template(text))
}

/// Returns the path that a template is, if it is one and nothing else. Most are, and need no parser for that.
pub(crate) fn simple_path(text: &str) -> Option<(&str, Vec<&str>)> {
    let inside = template::inside_braces(text)?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.".contains(&byte);
    let mut parts = inside.split('.');
    let root = parts.next().filter(|_| inside.bytes().all(is_part))?;
    let fields: Vec<&str> = parts.collect();
    let is_name = |name: &&str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (is_name(&root) && fields.iter().all(is_name)).then_some((root, fields))
}

/// Returns the path of an expression: the name that it begins with, and the fields.
pub(crate) fn path<'e>(expr: &'e Expr<'_>) -> Option<(&'e str, Vec<&'e str>)> {
    match expr {
        Expr::Var(var) => Some((var.id, Vec::new())),
        Expr::GetAttr(get) => {
            let (root, mut fields) = path(&get.expr)?;
            fields.push(get.name);
            Some((root, fields))
        }
        Expr::GetItem(get) => {
            let name = parts::word(&get.subscript_expr)?;
            let (root, mut fields) = path(&get.expr)?;
            fields.push(name);
            Some((root, fields))
        }
        _ => None,
    }
}

/// Returns the paths that a list is made of: the operands of `+`, without what filters take away.
pub(crate) fn sources<'e>(expr: &'e Expr<'_>, found: &mut Vec<(&'e str, Vec<&'e str>)>) {
    /// The filters whose result has no other items than their input.
    const SELECTING: [&str; 9] = [
        "list",
        "reject",
        "rejectattr",
        "reverse",
        "select",
        "selectattr",
        "sort",
        "unique",
        "map",
    ];
    match expr {
        Expr::Filter(filter) if SELECTING.contains(&filter.name) => {
            filter.expr.iter().for_each(|of| sources(of, found));
        }
        Expr::Slice(slice) => sources(&slice.expr, found),
        Expr::BinOp(op) if matches!(op.op, minijinja::machinery::ast::BinOpKind::Add) => {
            sources(&op.left, found);
            sources(&op.right, found);
        }
        other => found.extend(path(other)),
    }
}
