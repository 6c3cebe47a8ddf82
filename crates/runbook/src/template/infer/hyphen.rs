//! Names with '-' in them: `inputs.node-group` is `inputs.node` minus `group`.

use std::ops::Range;

use minijinja::machinery::ast::{BinOp, BinOpKind, Expr};

use super::super::super::types::Type;
use super::super::{TemplateIssueKind, operators, parse, span};
use super::{Inference, type_of};

impl Inference<'_> {
    /// Returns the issue of a subtraction that is a name with '-' in it: it is written without spaces, and one of its
    /// sides is not known. The issues from a position on are those of its sides.
    pub(super) fn hyphen(
        &self,
        op: &BinOp<'_>,
        left: &Type,
        right: &Type,
        from: usize,
    ) -> Option<(Range<usize>, TemplateIssueKind)> {
        if !matches!(op.op, BinOpKind::Sub) {
            return None;
        }
        let sides = (self.span_of(&op.left), self.span_of(&op.right));
        if self.text.get(sides.0.end..sides.1.start) != Some("-") {
            return None;
        }
        let last = first_name(&op.right).map(|name| span::of_name(self.text, name));
        let end = last.map_or(sides.1.end, |last| last.end);
        let before = self.text.get(..sides.0.end)?;
        let name_start = before.trim_end_matches(|c: char| is_name(c) || c == '-').len();
        let base_start = before[..name_start]
            .trim_end_matches(|c: char| is_name(c) || matches!(c, '.' | '[' | ']' | '\''))
            .len();
        let base = self.text.get(base_start..name_start)?.trim_end_matches('.');
        let name = self.text.get(name_start..end)?;
        if !name.starts_with(|c: char| c.is_alphabetic()) {
            return None;
        }
        let is_inside = |at: &Range<usize>| base_start <= at.start && at.end <= end;
        let found = self.issues.get(from..)?;
        let is_unknown = found.iter().any(|issue| is_unknown_name(&issue.kind));
        let fails = is_unknown || operators::binary(op.op, left, right).is_none();
        if !fails || !found.iter().all(|issue| is_inside(&issue.span)) {
            return None;
        }
        let meant = self.meant(base, name);
        // A number is subtracted from a misspelled name more often than it is a part of it.
        let is_number = matches!(op.right, Expr::Const(_));
        if meant.is_none() && (is_number || !is_unknown) {
            return None;
        }
        let (base, name) = (base.to_owned(), name.to_owned());
        Some((name_start..end, TemplateIssueKind::Hyphen { base, name, meant }))
    }

    /// Returns the expression for a name with '-': what has this name, or one that differs only in signs.
    fn meant(&self, base: &str, name: &str) -> Option<String> {
        let is_same = |other: &str| folded(other) == folded(name);
        let field = |base: &str, field: &str| match field.chars().all(is_name) {
            true => format!("{base}.{field}"),
            false => format!("{base}['{field}']"),
        };
        let of_inputs = || {
            let mut names = self.symbols.inputs.names();
            names.find(|other| is_same(other)).map(|name| field("inputs", name))
        };
        let of_steps = || {
            let steps = self.symbols.steps.keys().filter(|id| is_same(id));
            steps.min().map(|id| (*id).to_owned())
        };
        match base {
            "" => of_steps().or_else(of_inputs),
            "steps" => of_steps(),
            "inputs" => of_inputs(),
            base => {
                let text = format!("{{{{ {base} }}}}");
                let parsed = parse(&text).ok()?;
                let expr = parsed.whole()?;
                let ty = type_of(&text, expr, self.symbols, self.current_step, self.names);
                match ty.non_null() {
                    Type::Record(record) => {
                        let name = record.names().find(|other| is_same(other))?;
                        Some(field(base, name))
                    }
                    Type::Map(..) => Some(field(base, name)),
                    _ => None,
                }
            }
        }
    }
}

fn is_unknown_name(kind: &TemplateIssueKind) -> bool {
    matches!(
        kind,
        TemplateIssueKind::UnknownName(_)
            | TemplateIssueKind::UnknownInput(_)
            | TemplateIssueKind::UnknownField { .. }
            | TemplateIssueKind::NoFields { .. }
            | TemplateIssueKind::SelfReference(_)
            | TemplateIssueKind::ForwardReference(_)
            | TemplateIssueKind::Hyphen { .. }
    )
}

/// Returns the name with which an expression begins.
fn first_name<'t>(expr: &Expr<'t>) -> Option<&'t str> {
    match expr {
        Expr::Var(var) => Some(var.id),
        Expr::GetAttr(get) => first_name(&get.expr),
        Expr::GetItem(get) => first_name(&get.expr),
        Expr::Filter(filter) => first_name(filter.expr.as_ref()?),
        Expr::Test(test) => first_name(&test.expr),
        Expr::BinOp(op) => first_name(&op.left),
        _ => None,
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Returns a name without the signs between its parts.
fn folded(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}
