//! What a condition implies for the expressions that depend on it: in `a.x if a is defined else 0`, the
//! first `a` is defined.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{BinOpKind, Expr, UnaryOpKind};

use super::canonical::canonical;
use super::symbols::Presence;

/// The facts that hold at a place in an expression.
#[derive(Debug, Clone, Default)]
pub(crate) struct Narrowing {
    /// The canonical conditions that are true.
    holds: BTreeSet<String>,
    /// The paths that are defined.
    defined: BTreeSet<String>,
    /// The paths that are defined and not null.
    present: BTreeSet<String>,
}

impl Narrowing {
    /// Returns the facts with those that follow from `condition` being true.
    pub(crate) fn assuming(&self, condition: &Expr<'_>) -> Self {
        let mut narrowing = self.clone();
        narrowing.learn(condition, true);
        narrowing
    }

    /// Returns the facts with those that follow from `condition` being false.
    pub(crate) fn assuming_not(&self, condition: &Expr<'_>) -> Self {
        let mut narrowing = self.clone();
        narrowing.learn(condition, false);
        narrowing
    }

    /// Returns the canonical conditions that hold when a `when` is true.
    pub(crate) fn conditions(condition: &Expr<'_>) -> Vec<String> {
        let mut narrowing = Self::default();
        narrowing.learn(condition, true);
        narrowing.holds.into_iter().collect()
    }

    /// Whether the output of a step is known to be present although it could be absent.
    pub(crate) fn has_output(&self, id: &str, presence: &Presence) -> bool {
        let same_when = !presence.may_fail
            && !presence.when.is_empty()
            && presence.when.iter().all(|condition| self.holds.contains(condition));
        same_when || self.is_defined(id)
    }

    /// Whether a path is defined: the path itself, or a longer path, is known to be defined.
    pub(crate) fn is_defined(&self, path: &str) -> bool {
        let begins = |defined: &String| {
            defined
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.defined.iter().any(begins) || self.present.iter().any(begins)
    }

    /// Whether a path that may be null is known not to be null.
    pub(crate) fn is_present(&self, path: &str) -> bool {
        self.present.contains(path)
    }

    fn learn(&mut self, condition: &Expr<'_>, truth: bool) {
        match condition {
            Expr::UnaryOp(op) if matches!(op.op, UnaryOpKind::Not) => self.learn(&op.expr, !truth),
            Expr::BinOp(op) if matches!(op.op, BinOpKind::ScAnd) && truth => {
                self.learn(&op.left, true);
                self.learn(&op.right, true);
            }
            Expr::BinOp(op) if matches!(op.op, BinOpKind::ScOr) && !truth => {
                self.learn(&op.left, false);
                self.learn(&op.right, false);
            }
            other => self.learn_one(other, truth),
        }
    }

    fn learn_one(&mut self, condition: &Expr<'_>, truth: bool) {
        let text = canonical(condition);
        self.holds.insert(if truth { text } else { format!("not ({text})") });
        match condition {
            Expr::Test(predicate) => match (predicate.name, truth) {
                ("defined", true) | ("undefined", false) => {
                    self.defined.insert(canonical(&predicate.expr));
                }
                ("none", false) => {
                    self.present.insert(canonical(&predicate.expr));
                }
                _ => {}
            },
            Expr::BinOp(op) => {
                let null = matches!(&op.right, Expr::Const(constant) if constant.value.is_none());
                let unequal = match op.op {
                    BinOpKind::Ne => truth,
                    BinOpKind::Eq => !truth,
                    _ => false,
                };
                if null && unequal {
                    self.present.insert(canonical(&op.left));
                }
            }
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) if truth => {
                self.present.insert(canonical(condition));
            }
            _ => {}
        }
    }
}
