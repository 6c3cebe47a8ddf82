//! What steps act on and how large they make it, as far as the text says it: the relations between steps follow from
//! that. A value that is not known is never guessed.

mod size;
mod target;

use std::collections::HashMap;

use minijinja::machinery::ast::Expr;

use super::super::document::{OnFailure, RawStep};
use super::super::registry::ActionKind;
use super::super::template::{self, is_template, parts};
use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, AnalyzedStep};
pub(crate) use size::{Reading, Size, length};
pub(crate) use target::{Part, Target};

/// The steps of a runbook with what they act on.
#[derive(Default)]
pub(crate) struct Flow {
    pub(crate) steps: Vec<StepFlow>,
}

/// The target of one step, and its size.
#[derive(Default)]
pub(crate) struct StepFlow {
    /// The nodegroup or Auto Scaling group, or the workload.
    pub(crate) target: Option<Target>,
    /// The size that the step gives to it.
    pub(crate) size: Option<Size>,
    /// The facts about the target when the step begins.
    pub(crate) before: Known,
    /// Whether the step runs once, and in any case.
    pub(crate) is_certain: bool,
}

/// The facts about a target at some place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The size that it has, with the step that says so; nothing has been changed since.
    pub(crate) current: Option<(Size, usize)>,
    /// The size that a step has asked for last.
    pub(crate) asked: Option<(Size, usize)>,
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

impl Analysis<'_> {
    /// Follows the targets of the steps.
    pub(super) fn follow(&self) -> Flow {
        let mut flow = Flow { steps: Vec::with_capacity(self.steps.len()) };
        let mut known: HashMap<Target, Known> = HashMap::new();
        for (index, (raw, step)) in self.document.steps.iter().zip(&self.steps).enumerate() {
            let reading = Reading { analysis: self, flow: &flow };
            let one = reading.step(raw, step, &known);
            update(&mut known, index, raw, step, &one);
            flow.steps.push(one);
        }
        flow
    }
}

impl Reading<'_, '_> {
    fn step(
        &self,
        raw: &RawStep<'_>,
        step: &AnalyzedStep<'_>,
        known: &HashMap<Target, Known>,
    ) -> StepFlow {
        let is_certain = raw.when.is_none()
            && raw.for_each.is_none()
            && step.policy.on_failure != OnFailure::Continue;
        let (Some(with), Some(action), None) = (raw.with, step.signature, raw.for_each) else {
            return StepFlow { is_certain, ..StepFlow::default() };
        };
        if raw.call.is_some() {
            return StepFlow { is_certain, ..StepFlow::default() };
        }
        let target = self.target(action, with);
        let before = target.as_ref().and_then(|target| known.get(target)).cloned();
        let before = before.unwrap_or_default();
        let asked = if action.kind == ActionKind::Change {
            SIZES.iter().find_map(|name| with.member(name))
        } else {
            None
        };
        let size = asked.and_then(|node| self.size(node));
        StepFlow { target, size, before, is_certain }
    }
}

/// Records what is known after a step.
fn update(
    known: &mut HashMap<Target, Known>,
    index: usize,
    raw: &RawStep<'_>,
    step: &AnalyzedStep<'_>,
    flow: &StepFlow,
) {
    let Some(action) = step.signature.filter(|_| raw.call.is_none()) else {
        return known.clear(); // it may change everything
    };
    if action.kind == ActionKind::Change {
        let moves_pods = MOVING.contains(&action.name.as_str());
        for (target, one) in &mut *known {
            let may_be_same = match &flow.target {
                Some(changed) => changed.is_like(target),
                None => moves_pods || raw.for_each.is_some(),
            };
            if may_be_same {
                one.current = None;
            }
        }
    }
    let sizes = SIZES.iter().any(|name| action.params.field(name).is_some());
    let is_sizing = sizes && action.kind == ActionKind::Change;
    if is_sizing || RESIZING.contains(&action.name.as_str()) {
        match (&flow.target, &flow.size) {
            (Some(target), Some(size)) if flow.is_certain => {
                let one = known.entry(target.clone()).or_default();
                one.current = Some((size.clone(), index));
                one.asked = Some((size.clone(), index));
            }
            (Some(target), _) => {
                known.remove(target);
            }
            (None, _) => known.clear(),
        }
        return;
    }
    let Some(target) = &flow.target else { return };
    if action.kind == ActionKind::Change {
        // Limits, as far as they are literals.
        let limit = |name: &str| raw.with.and_then(|with| with.member(name));
        for (name, is_min) in [("min", true), ("max", false)] {
            let Some(node) = limit(name) else { continue };
            let one = known.entry(target.clone()).or_default();
            let value = literal_integer(node).filter(|_| flow.is_certain).map(|n| (n, index));
            if is_min { one.min = value } else { one.max = value }
        }
        return;
    }
    let field = SIZES.iter().find(|name| action.output.field(name).is_some());
    if let (Some(field), Some(id), true) = (field, raw.id_text(), flow.is_certain) {
        let one = known.entry(target.clone()).or_default();
        one.current = Some((Size::of(format!("{id}.{field}")), index));
    }
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
