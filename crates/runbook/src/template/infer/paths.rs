//! Inference of paths: names, fields and items.

use std::ops::Range;
use std::sync::Arc;

use minijinja::machinery::ast::{Expr, GetItem};

use super::super::super::types::{LengthBounds, RecordType, Type};
use super::super::canonical::canonical;
use super::super::narrowing::Narrowing;
use super::super::{TemplateIssueKind, span};
use super::{Inference, Names};

/// The name of the item for which a step runs.
const EACH: &str = "each";

impl Inference<'_> {
    /// Infers a bare name: `inputs`, or a step.
    pub(super) fn name(&mut self, name: &str, narrowing: &Narrowing) -> Type {
        if name == "inputs" {
            self.whole_inputs += 1;
            return Type::Record(Arc::clone(&self.symbols.inputs));
        }
        let span = span::of_name(self.text, name);
        if name == EACH {
            return self.each(span);
        }
        let Some(&step) = self.symbols.steps.get(name) else {
            return self.add_issue(span, TemplateIssueKind::UnknownName(name.to_owned()));
        };
        if step > self.current_step {
            return self.add_issue(span, TemplateIssueKind::ForwardReference(step));
        }
        if step == self.current_step && self.names != Names::EachAndOwn {
            return self.add_issue(span, TemplateIssueKind::SelfReference(step));
        }
        self.steps.insert(step);
        if step != self.current_step && !self.lenient && !narrowing.is_defined(name) {
            self.required_steps.insert(step);
        }
        let output = &self.symbols.outputs[step];
        // `log` is evaluated only after success, so the step's own output is present.
        let has_value = step == self.current_step
            || !output.presence.is_conditional()
            || self.lenient
            || narrowing.has_output(name, &output.presence);
        if !has_value {
            let presence = output.presence.clone();
            self.add_issue(span, TemplateIssueKind::PossiblyUndefined { step, presence });
        }
        output.ty(step == self.current_step)
    }

    /// Infers the item for which a step runs.
    fn each(&mut self, span: Range<usize>) -> Type {
        let step = self.symbols.outputs.get(self.current_step);
        match step.and_then(|step| step.items.as_ref()) {
            Some(items) if self.names != Names::Earlier => items.each.clone(),
            items => {
                let kind = TemplateIssueKind::MisplacedEach { has_for_each: items.is_some() };
                self.add_issue(span, kind)
            }
        }
    }

    /// Returns the path that a text in quotes is: that of an input, or of a field of an earlier step.
    pub(super) fn path(&self, text: &str) -> Option<String> {
        let path = text.strip_prefix("steps.").unwrap_or(text);
        let (root, rest) = path.split_once('.')?;
        let is_path_character =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']');
        let field = rest.split(['.', '[']).next().unwrap_or_default();
        let record = match (root, self.symbols.steps.get(root)) {
            ("inputs", _) => Some(&self.symbols.inputs),
            (_, Some(step)) => self.symbols.outputs.get(*step)?.record.as_ref(),
            (_, None) => None,
        };
        let is_known = rest.chars().all(is_path_character) && record?.field(field).is_some();
        is_known.then(|| path.to_owned())
    }

    /// Infers `of.name` or `of['name']`.
    pub(super) fn attribute(
        &mut self,
        of: &Expr<'_>,
        name: &str,
        span: Range<usize>,
        narrowing: &Narrowing,
    ) -> Type {
        let base = if self.lenient {
            self.expr(of, narrowing).non_null().clone()
        } else {
            self.value(of, narrowing)
        };
        if matches!(of, Expr::Var(root) if root.id == "inputs") {
            self.inputs.insert(name.to_owned());
            self.whole_inputs -= 1;
        }
        match base {
            Type::Record(record) => match record.field(name) {
                Some(field) if field.required || field.default.is_some() => field.ty.clone(),
                Some(field) => field.ty.clone().or_null(),
                None => {
                    let kind = self.unknown_field(of, name, record);
                    self.add_issue(span, kind)
                }
            },
            Type::Map(of, _) => *of,
            Type::Any => Type::Any,
            ty => {
                let (name, path) = (name.to_owned(), canonical(of));
                self.add_issue(span, TemplateIssueKind::NoFields { name, path, ty })
            }
        }
    }

    /// Returns the issue of an unknown field: of the inputs, of an output, or of a nested record.
    pub(super) fn unknown_field(
        &self,
        of: &Expr<'_>,
        name: &str,
        record: Arc<RecordType>,
    ) -> TemplateIssueKind {
        let root = match of {
            Expr::Var(var) => var.id,
            _ => "",
        };
        if root == "inputs" {
            return TemplateIssueKind::UnknownInput(name.to_owned());
        }
        TemplateIssueKind::UnknownField {
            step: self.symbols.steps.get(root).copied(),
            path: canonical(of),
            name: name.to_owned(),
            record,
        }
    }

    /// Infers `of[subscript]`.
    pub(super) fn item(
        &mut self,
        expr: &Expr<'_>,
        get: &GetItem<'_>,
        narrowing: &Narrowing,
    ) -> Type {
        if let Expr::Const(constant) = &get.subscript_expr
            && let Some(name) = constant.value.as_str()
        {
            let span = inner_of_quotes(self.text, self.span_of(&get.subscript_expr), name);
            return self.attribute(&get.expr, name, span, narrowing);
        }
        // In its own 'log', the id of a loop is the output of the one item.
        if let Expr::Var(var) = &get.expr
            && self.names == Names::EachAndOwn
            && self.symbols.steps.get(var.id) == Some(&self.current_step)
            && let Some(own) = self.symbols.outputs.get(self.current_step)
            && own.items.is_some()
        {
            let ty = own.ty(true);
            self.steps.insert(self.current_step);
            let span = self.span_of(expr);
            self.add_issue(span, TemplateIssueKind::OwnItem(var.id.to_owned()));
            return if matches!(ty, Type::Record(_)) { ty } else { Type::Any };
        }
        let lenient = std::mem::take(&mut self.lenient);
        let subscript = self.value(&get.subscript_expr, narrowing);
        self.lenient = lenient;
        let base = if lenient {
            self.expr(&get.expr, narrowing).non_null().clone()
        } else {
            self.value(&get.expr, narrowing)
        };
        if let (Type::List(_, lengths), Some(index)) = (&base, constant_index(&get.subscript_expr))
            && let Some(length) = lengths.maximum.filter(|_| !self.lenient)
            && !has_item(length, index)
        {
            let span = self.span_of(expr);
            return self.add_issue(span, TemplateIssueKind::NoSuchItem { index, length });
        }
        let subscripted = base.clone();
        let (wanted, fits, of) = match base {
            Type::List(of, _) => ("an integer", matches!(subscript, Type::Integer(_)), *of),
            Type::Map(of, _) => ("a string", subscript.is_text(), *of),
            Type::Record(record) => {
                let mut types = record.fields.iter().map(|field| &field.ty);
                // The items of a map that is written down are of one type.
                let first = types.next().filter(|first| types.all(|ty| ty == *first));
                let of = first.filter(|_| record.name.starts_with("map of"));
                ("a string", subscript.is_text(), of.cloned().unwrap_or(Type::Any))
            }
            Type::Any => return Type::Any,
            other => {
                let span = self.span_of(&get.expr);
                return self.add_issue(span, TemplateIssueKind::NotSubscriptable(other));
            }
        };
        if fits || subscript == Type::Any {
            return of;
        }
        let span = self.span_of(&get.subscript_expr);
        let found = subscript;
        let of = subscripted;
        self.add_issue(span, TemplateIssueKind::Subscript { of, wanted, found })
    }

    /// Infers `of[1:3]`.
    pub(super) fn sliced(&mut self, of: &Expr<'_>, narrowing: &Narrowing) -> Type {
        match self.value(of, narrowing) {
            Type::List(of, _) => Type::List(of, LengthBounds::ANY),
            Type::Any => Type::Any,
            text if text.is_text() => Type::built_text(),
            other => {
                let span = self.span_of(of);
                self.add_issue(span, TemplateIssueKind::NotSubscriptable(other))
            }
        }
    }

    /// Infers a path that may be absent or null.
    pub(super) fn infer_lenient(&mut self, expr: &Expr<'_>, narrowing: &Narrowing) -> Type {
        let before = std::mem::replace(&mut self.lenient, true);
        let ty = self.expr(expr, narrowing);
        self.lenient = before;
        ty
    }
}

/// Returns an index that is written down.
fn constant_index(expr: &Expr<'_>) -> Option<i64> {
    let constant = expr.as_const()?;
    constant.is_integer().then(|| i64::try_from(constant).ok()).flatten()
}

/// Whether a list of a length has an item at an index; a negative one counts from the end.
fn has_item(length: usize, index: i64) -> bool {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    index < length && index >= -length
}

/// Returns the span of the name inside `'name'`.
pub(super) fn inner_of_quotes(text: &str, quoted: Range<usize>, name: &str) -> Range<usize> {
    match text.get(quoted.clone()).and_then(|quoted| quoted.find(name)) {
        Some(at) => quoted.start + at..quoted.start + at + name.len(),
        None => quoted,
    }
}
