//! Sizes that can be compared although they are not known: a multiple of some value, and a number added to it.

use std::cmp::Ordering;

use minijinja::machinery::ast::{BinOpKind, Expr};

use super::super::super::registry::ActionKind;
use super::super::super::template::{self, canonical::canonical};
use super::super::super::types::Type;
use super::super::super::yaml::Node;
use super::super::Analysis;
use super::{
    Act, Each, EffectKind, Flow, SIZES, Target, is_off, literal_integer, path, simple_path,
    template_text,
};

/// A size: `factor` times some value, and `offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Size {
    factor: i64,
    /// The value, as an expression; none of a number.
    pub(crate) of: Option<String>,
    offset: i64,
}

/// The steps that have been read, for reading the next one.
pub(crate) struct Reading<'a, 't> {
    pub(crate) analysis: &'a Analysis<'t>,
    pub(crate) flow: &'a Flow,
    /// The item for which the step runs.
    pub(super) each: Option<&'a Each<'t>>,
}

impl<'a, 't> Reading<'a, 't> {
    pub(crate) fn new(analysis: &'a Analysis<'t>, flow: &'a Flow) -> Self {
        Self { analysis, flow, each: None }
    }
}

impl Size {
    /// The size that an expression yields.
    pub(crate) fn of(expression: String) -> Self {
        Self { factor: 1, of: Some(expression), offset: 0 }
    }

    /// The size that is a number.
    pub(crate) fn number(number: i64) -> Self {
        Self { factor: 0, of: None, offset: number }
    }

    /// Returns the size if it is a number.
    pub(crate) fn as_number(&self) -> Option<i64> {
        self.of.is_none().then_some(self.offset)
    }

    /// Whether the size is a value several times.
    pub(crate) fn is_multiple(&self) -> bool {
        self.factor > 1 && self.offset == 0
    }

    /// Whether the size is a value as it is.
    pub(crate) fn is_whole(&self) -> bool {
        self.factor == 1 && self.offset == 0
    }

    /// The same multiple of another value.
    pub(super) fn of_other(&self, of: String) -> Self {
        Self { of: Some(of), ..self.clone() }
    }

    /// The same multiple of a size; an unknown one if that is out of range.
    pub(super) fn with(&self, size: Self) -> Self {
        let offset = Self::number(self.offset);
        let combined = size.times(self.factor).and_then(|size| size.plus(offset, 1));
        combined.unwrap_or_else(|| self.of_other("too large".to_owned()))
    }

    /// Whether the size is greater than another, whatever the value is that both are made of.
    pub(crate) fn exceeds(&self, other: &Self) -> bool {
        let (factor, offset) = (self.factor - other.factor, self.offset - other.offset);
        self.of == other.of && (factor >= 0 && offset > 0 || factor > 0 && offset >= 0)
    }

    fn plus(self, other: Self, sign: i64) -> Option<Self> {
        let of = match (self.of, other.of) {
            (of, None) | (None, of) => of,
            (Some(a), Some(b)) if a == b => Some(a),
            _ => return None,
        };
        let factor = self.factor.checked_add(other.factor.checked_mul(sign)?)?;
        let offset = self.offset.checked_add(other.offset.checked_mul(sign)?)?;
        Some(Self { factor, of: of.filter(|_| factor != 0), offset })
    }

    fn times(self, number: i64) -> Option<Self> {
        let factor = self.factor.checked_mul(number)?;
        let offset = self.offset.checked_mul(number)?;
        Some(Self { factor, of: self.of.filter(|_| factor != 0), offset })
    }
}

impl Act {
    /// Returns the size that is asked for.
    fn size(&self) -> Option<Size> {
        match &self.effect.kind {
            EffectKind::Size(size) => size.clone(),
            _ => None,
        }
    }
}

impl Reading<'_, '_> {
    /// Returns the size that a parameter says.
    pub(crate) fn size(&self, node: &Node) -> Option<Size> {
        let Some(text) = template_text(node) else {
            return literal_integer(node).map(Size::number);
        };
        if let Some((root, fields)) = simple_path(text) {
            let of = || self.opaque(template::inside_braces(text).unwrap_or_default().to_owned());
            return Some(self.size_of_path(root, &fields).unwrap_or_else(of));
        }
        self.size_of(template::parse(text).ok()?.whole()?)
    }

    /// Returns the least size of a sum with an input that has a minimum: what it is added to, and that minimum.
    pub(crate) fn least(&self, node: &Node) -> Option<Size> {
        let template = template::parse(template_text(node)?).ok()?;
        let Expr::BinOp(op) = template.whole()? else { return None };
        if !matches!(op.op, BinOpKind::Add) {
            return None;
        }
        [(&op.left, &op.right), (&op.right, &op.left)].into_iter().find_map(|(of, more)| {
            let Some(("inputs", fields)) = path(more) else { return None };
            let [name] = fields.as_slice() else { return None };
            let input = self.analysis.document.inputs.iter().find(|input| input.name == *name)?;
            let Type::Integer(bounds) = &input.ty else { return None };
            let least = i64::try_from(bounds.minimum?).ok().filter(|least| *least > 0)?;
            self.size_of(of)?.plus(Size::number(least), 1)
        })
    }

    fn size_of(&self, expr: &Expr<'_>) -> Option<Size> {
        match expr {
            Expr::Const(constant) => i64::try_from(constant.value.clone()).ok().map(Size::number),
            Expr::BinOp(op) => {
                let sides = || Some((self.size_of(&op.left)?, self.size_of(&op.right)?));
                let combined = match op.op {
                    BinOpKind::Add => sides().and_then(|(a, b)| a.plus(b, 1)),
                    BinOpKind::Sub => sides().and_then(|(a, b)| a.plus(b, -1)),
                    BinOpKind::Mul => {
                        sides().and_then(|(a, b)| match (a.as_number(), b.as_number()) {
                            (_, Some(number)) => a.times(number),
                            (Some(number), None) => b.times(number),
                            (None, None) => None,
                        })
                    }
                    _ => None,
                };
                combined.or_else(|| Some(self.opaque(canonical(expr))))
            }
            Expr::Filter(filter) if matches!(filter.name, "length" | "count") => {
                let of = filter.expr.as_ref().map(canonical)?;
                Some(self.opaque(length_of(&of)))
            }
            other => {
                let known = path(other).and_then(|(root, fields)| self.size_of_path(root, &fields));
                let known = known.or_else(|| self.size_of_item(other));
                Some(known.unwrap_or_else(|| self.opaque(canonical(other))))
            }
        }
    }

    /// Returns the size that an expression yields of which no more is known. That of an item is another one for the
    /// items of another list.
    fn opaque(&self, expression: String) -> Size {
        Size::of(match self.each {
            Some(each) => each.name(expression),
            None => expression,
        })
    }

    /// Returns the size that one of the items of a step asks for: `resize[0].replicas`, `resize[each.key].replicas`.
    fn size_of_item(&self, expr: &Expr<'_>) -> Option<Size> {
        let Expr::GetAttr(get) = expr else { return None };
        let Expr::GetItem(item) = &get.expr else { return None };
        let Expr::Var(step) = &item.expr else { return None };
        if !SIZES.contains(&get.name) {
            return None;
        }
        let step = *self.analysis.symbols.steps.get(step.id)?;
        let key = match &item.subscript_expr {
            Expr::Const(constant) => i64::try_from(constant.value.clone()).ok()?.to_string(),
            other => match path(other)? {
                ("each", fields) => self.each?.text(&fields)?.to_owned(),
                _ => return None,
            },
        };
        self.size_of_act(step, &key)
    }

    fn size_of_act(&self, step: usize, key: &str) -> Option<Size> {
        self.flow.act(step, key)?.size()
    }

    /// Returns the size of a path to an output that is what the step was asked for.
    fn size_of_path(&self, root: &str, fields: &[&str]) -> Option<Size> {
        if let ("each", Some(each)) = (root, self.each) {
            return match (fields, self.act_of_each()) {
                ([field], Some(act)) if SIZES.contains(field) => act.size(),
                _ => self.size(each.node(fields)?),
            };
        }
        let step = *self.analysis.symbols.steps.get(root)?;
        let flow = self.flow.steps.get(step)?;
        match fields {
            [key, field] if SIZES.contains(field) && !flow.acts.is_empty() => {
                self.size_of_act(step, key)
            }
            [field] if !flow.acts.is_empty() => self.size_of_output(step, field),
            [field] if SIZES.contains(field) => flow.size.clone(),
            ["before", field] if SIZES.contains(field) => {
                flow.before.current.as_ref().map(|(size, _)| size.clone())
            }
            ["count"] => {
                let output = &self.analysis.steps.get(step)?.signature?.output;
                let list =
                    ["pods", "nodes"].into_iter().find(|name| output.field(name).is_some())?;
                Some(Size::of(length_of(&format!("{root}.{list}"))))
            }
            _ => None,
        }
    }
}

impl Reading<'_, '_> {
    /// Whether a step finds a group, with the size that it has.
    pub(crate) fn finds(&self, id: &str, group: &Target) -> bool {
        let step = self.analysis.symbols.steps.get(id);
        let step = step.and_then(|step| self.analysis.steps.get(*step));
        let finds = step.and_then(|step| step.signature).is_some_and(|action| {
            action.kind == ActionKind::Read && action.output.field("desired").is_some()
        });
        finds && self.target_of(id).as_ref() == Some(group)
    }

    /// Returns whether a step makes a group larger or smaller than it was found, as far as that is certain or meant.
    pub(crate) fn direction(
        &self,
        group: &Target,
        size: Option<&Size>,
        with: &Node,
    ) -> Option<Ordering> {
        let is_on = |name: &str| with.member(name).is_some() && !is_off(with, name);
        let meant = match (is_on("raise_max"), is_on("lower_min")) {
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            _ => None,
        };
        let of = size.and_then(|size| size.of.as_deref());
        let found = of
            .and_then(|of| of.split_once('.'))
            .filter(|(root, field)| *field == "desired" && self.finds(root, group));
        let (Some(size), Some(of), Some(_)) = (size, of, found) else { return meant };
        let found = Size::of(of.to_owned());
        if size.exceeds(&found) {
            Some(Ordering::Greater)
        } else {
            found.exceeds(size).then_some(Ordering::Less)
        }
    }
}

/// Returns the length of a list that a parameter says.
pub(crate) fn length(node: &Node) -> Option<Size> {
    if let Some(items) = node.items() {
        return i64::try_from(items.len()).ok().map(Size::number);
    }
    let template = template::parse(template_text(node)?).ok()?;
    path(template.whole()?)?;
    Some(Size::of(length_of(&canonical(template.whole()?))))
}

fn length_of(list: &str) -> String {
    format!("{list} | length")
}
