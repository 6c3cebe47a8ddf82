//! Evaluates the parts of an expression whose names have values before a run, such as constants and the defaults of
//! inputs: what they yield, whether a condition is decided by them, and what fails in them.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr};
use minijinja::machinery::{self, CodeGenerator};
use minijinja::{AutoEscape, Error, ErrorKind, Value};
use serde_json::{Map, Value as Json};

use super::super::template::canonical::canonical;
use super::super::template::{self, parts};
use super::super::types::Type;
use super::environment::{Budget, environment};
use super::range::{Claims, Range, negated, operands};
use super::scope::{EvaluationScope, absent};

/// The type of a path that has a value in every run, which may be null.
type TypeOf<'a> = dyn Fn(&Expr<'_>) -> Option<Type> + 'a;

/// The least value of a path, by what its step was asked for.
type LeastOf<'a> = dyn Fn(&Expr<'_>) -> Option<i64> + 'a;

/// The values that are known before a run.
pub(crate) struct Known<'a> {
    scope: EvaluationScope,
    /// The inputs that have a value.
    inputs: BTreeSet<String>,
    type_of: Option<&'a TypeOf<'a>>,
    least_of: Option<&'a LeastOf<'a>>,
}

/// A part of an expression that fails when it is evaluated.
pub(crate) struct Fault<'e, 't> {
    /// The part to which the failure is due: the divisor, the subscript, or the whole.
    pub(crate) at: &'e Expr<'t>,
    pub(crate) kind: FaultKind,
}

/// The most operands of `and` or `or` that are compared with each other.
const MAX_OPERANDS: usize = 32;

/// Why a part of an expression fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    DivisionByZero,
    /// A list has no such item, or a map no such key.
    NoSuchItem,
    /// `first`, `last`, `min` or `max` of an empty list.
    EmptyList,
    /// `int` or `float` of a text that is no number.
    NotANumber,
    Other,
}

impl<'a> Known<'a> {
    /// Creates the values of inputs; those without one are not known.
    pub(crate) fn new(inputs: &Map<String, Json>) -> Self {
        let scope = EvaluationScope::new(inputs);
        Self { scope, inputs: inputs.keys().cloned().collect(), type_of: None, least_of: None }
    }

    /// Tells the types of the paths that have a value in every run.
    pub(crate) fn with_types(self, type_of: &'a TypeOf<'a>) -> Self {
        Self { type_of: Some(type_of), ..self }
    }

    /// Tells the least values of paths, which count as the limits of inputs do.
    pub(crate) fn with_least(self, least_of: &'a LeastOf<'a>) -> Self {
        Self { least_of: Some(least_of), ..self }
    }

    /// Returns the type of a path that has a value in every run, which may be null.
    pub(super) fn type_of(&self, path: &Expr<'_>) -> Option<Type> {
        self.type_of.and_then(|type_of| type_of(path))
    }

    /// Returns the interval that a number is in, as far as something is known of it; with the limits of inputs or
    /// without.
    pub(super) fn range(&self, expr: &Expr<'_>, with_limits: bool) -> Option<Range> {
        if let Some(value) = expr.as_const().or_else(|| self.value(expr)) {
            return value.is_number().then(|| f64::try_from(value).ok().map(Range::point))?;
        }
        match expr {
            Expr::Filter(filter) if is_length(expr) => {
                let of = filter.expr.as_ref().filter(|_| with_limits);
                let ty = of.and_then(|of| self.type_of(of));
                Some(Range::of_length(ty.as_ref()))
            }
            input if is_input(input) && !with_limits => None,
            path => {
                let range = Range::of_type(&self.type_of(path)?)?;
                let least = self.least_of.filter(|_| with_limits).and_then(|of| of(path));
                Some(least.map_or(range, |least| range.not_below(least)))
            }
        }
    }

    /// Returns the scope of the known values.
    pub(crate) fn scope(&self) -> &EvaluationScope {
        &self.scope
    }

    /// Whether every name in an expression has a value.
    pub(crate) fn is_known(&self, expr: &Expr<'_>) -> bool {
        match expr {
            Expr::Var(_) | Expr::Call(_) => false,
            Expr::GetAttr(get) if is_inputs(&get.expr) => self.inputs.contains(get.name),
            Expr::GetItem(get) if is_inputs(&get.expr) => {
                parts::word(&get.subscript_expr).is_some_and(|name| self.inputs.contains(name))
            }
            other => parts::children(other).into_iter().all(|part| self.is_known(part)),
        }
    }

    /// Returns the value of an expression whose names all have values; `None` if it has none.
    pub(crate) fn value(&self, expr: &Expr<'_>) -> Option<Value> {
        if !self.is_known(expr) {
            return None;
        }
        self.evaluate(expr).ok().filter(|value| !is_missing(value))
    }

    fn evaluate(&self, expr: &Expr<'_>) -> Result<Value, Error> {
        let mut generator = CodeGenerator::new("<expression>", "");
        generator.compile_expr(expr);
        let (instructions, blocks) = generator.finish();
        let mut text = String::new();
        let mut out = machinery::make_string_output(&mut text);
        let root = self.scope.value();
        let environment = environment(Budget::for_data(self.scope.size()));
        let evaluated =
            machinery::eval(environment, &instructions, root, &blocks, &mut out, AutoEscape::None);
        evaluated.map(|(value, _)| value.unwrap_or_default())
    }

    /// Returns the part of an expression that its value comes from.
    pub(crate) fn origin<'e, 't>(&self, expr: &'e Expr<'t>) -> &'e Expr<'t> {
        match expr {
            Expr::IfExpr(choice) => match (self.truth(&choice.test_expr), &choice.false_expr) {
                (Some(true), _) => self.origin(&choice.true_expr),
                (Some(false), Some(other)) => self.origin(other),
                _ => expr,
            },
            Expr::Filter(filter) if matches!(filter.name, "default" | "d") => {
                let Some(value) = filter.expr.as_ref().filter(|value| self.is_known(value)) else {
                    return expr;
                };
                match (self.evaluate(value), filter.args.first()) {
                    (Ok(found), Some(fallback)) if found.is_none() || is_missing(&found) => {
                        self.origin(template::span::argument(fallback))
                    }
                    (Ok(_), Some(_)) => self.origin(value),
                    _ => expr,
                }
            }
            _ => expr,
        }
    }

    /// Returns whether a condition is true or false whatever the values of the other names are.
    pub(crate) fn truth(&self, expr: &Expr<'_>) -> Option<bool> {
        if self.is_known(expr) {
            return self.evaluate(expr).ok().and_then(|value| bool::try_from(value).ok());
        }
        if let Some(negated) = parts::negated(expr) {
            return self.truth(negated).map(|truth| !truth);
        }
        match expr {
            Expr::BinOp(op) if matches!(op.op, BinOpKind::ScAnd) => {
                self.joined(&op.left, &op.right, true)
            }
            Expr::BinOp(op) if matches!(op.op, BinOpKind::ScOr) => {
                self.joined(&op.left, &op.right, false)
            }
            // What has a value may still be null.
            Expr::Test(test) if matches!(test.name, "defined" | "undefined") => {
                let present = is_input(&test.expr) || self.type_of(&test.expr).is_some();
                present.then_some(test.name == "defined")
            }
            Expr::Test(test) if test.name == "none" => {
                let ty = self.type_of(&test.expr)?;
                (!matches!(ty, Type::Optional(_) | Type::Any | Type::Null)).then_some(false)
            }
            Expr::IfExpr(choice) => {
                let other = choice.false_expr.as_ref()?;
                match self.truth(&choice.test_expr) {
                    Some(true) => self.truth(&choice.true_expr),
                    Some(false) => self.truth(other),
                    None => self.truth(&choice.true_expr).filter(|a| self.truth(other) == Some(*a)),
                }
            }
            _ => {
                let pairs = parts::comparisons(expr);
                let truths: Vec<Option<bool>> =
                    pairs.iter().map(|(left, op, right)| self.compared(left, *op, right)).collect();
                let mut claims = Claims::new(true);
                // `5 < x < 3`
                if pairs.len() > 1 {
                    claims.add(self, expr, true);
                }
                if truths.contains(&Some(false)) || claims.contradiction().is_some() {
                    return Some(false);
                }
                (!truths.is_empty() && truths.iter().all(Option::is_some)).then_some(true)
            }
        }
    }

    /// Returns the truth of a comparison that the limits of its sides decide, and what these are.
    pub(crate) fn decided(&self, expr: &Expr<'_>) -> Option<(bool, String)> {
        let pairs = parts::comparisons(expr);
        let [(left, op, right)] = pairs.as_slice() else { return None };
        if self.is_known(expr) {
            return None;
        }
        let truth = self.compared(left, *op, right)?;
        let limits = self.limits_of([left, right]);
        let is_refused = matches!(op, CompareOpKind::Eq)
            && (left.as_const().is_some() || right.as_const().is_some());
        let input = [left, right].into_iter().find(|side| is_input(side));
        let value = || Some(format!("'{}' never has that value", canonical(input?)));
        Some((truth, limits.or_else(|| value().filter(|_| is_refused && !truth))?))
    }

    /// Returns the limits that make a comparison true, where they are those of an input: what is checked by the
    /// declaration of the input may be there for the reader.
    pub(crate) fn true_by_limits(&self, expr: &Expr<'_>) -> Option<String> {
        let pairs = parts::comparisons(expr);
        let [(left, op, right)] = pairs.as_slice() else { return None };
        let mut claims = Claims::new(true);
        claims.compare(self, left, negated(*op), right);
        claims.contradiction()?;
        self.limits_of([left, right])
    }

    /// Returns the limits of the first side of a comparison that has any, in words.
    fn limits_of(&self, sides: [&Expr<'_>; 2]) -> Option<String> {
        sides.into_iter().find_map(|side| {
            let limits = self.range(side, true).filter(|_| !self.is_known(side))?.describe()?;
            Some(format!("'{}' {limits}", canonical(side)))
        })
    }

    /// Returns the value that the operands of `and`, or of `or`, contradict each other about.
    pub(crate) fn contradiction(&self, expr: &Expr<'_>) -> Option<String> {
        let all = match expr {
            Expr::BinOp(op) => matches!(op.op, BinOpKind::ScAnd),
            Expr::Compare(_) => true,
            _ => return None,
        };
        let mut claims = Claims::new(all);
        operands(expr, all).into_iter().for_each(|one| claims.add(self, one, all));
        claims.contradiction().map(str::to_owned)
    }

    /// Whether two conditions are never true together.
    pub(crate) fn contradict(&self, one: &Expr<'_>, other: &Expr<'_>) -> bool {
        self.excluded(&operands(one, true), &operands(other, true), true)
    }

    /// Returns the truth of `left and right`, or of `left or right` where `all` is false.
    fn joined(&self, left: &Expr<'_>, right: &Expr<'_>, all: bool) -> Option<bool> {
        let (a, b) = (self.truth(left), self.truth(right));
        if a == Some(!all) || b == Some(!all) {
            return Some(!all);
        }
        if a == Some(all) && b == Some(all) {
            return Some(all);
        }
        let (left, right) = (operands(left, all), operands(right, all));
        self.excluded(&left, &right, all).then_some(!all)
    }

    /// Whether not all operands can be true; where `all` is false, whether not all can be false.
    fn excluded(&self, left: &[&Expr<'_>], right: &[&Expr<'_>], all: bool) -> bool {
        if left.iter().any(|a| right.iter().any(|b| excludes(a, b, all))) {
            return true;
        }
        // The chains within this one have been read already: no person writes a longer one.
        if left.len() + right.len() > MAX_OPERANDS {
            return false;
        }
        let mut claims = Claims::new(all);
        left.iter().chain(right).for_each(|one| claims.add(self, one, all));
        claims.contradiction().is_some()
    }

    /// Returns the truth of a comparison of which not all names have values.
    fn compared(&self, left: &Expr<'_>, op: CompareOpKind, right: &Expr<'_>) -> Option<bool> {
        use CompareOpKind::{Eq, Gt, Gte, In, Lt, Lte, Ne, NotIn};
        if canonical(left) == canonical(right) {
            return match op {
                Eq | Lte | Gte => Some(true),
                Ne | Lt | Gt => Some(false),
                In | NotIn => None,
            };
        }
        // No such value is one of the input.
        let is_other = |input: &Expr<'_>, value: &Expr<'_>| {
            let ty = self.type_of(input).filter(|_| is_input(input));
            // 2 and 2.0 are equal, and not both integers.
            let value = value.as_const().filter(|value| !value.is_number());
            let value = value.and_then(|value| serde_json::to_value(value).ok());
            ty.zip(value).is_some_and(|(ty, value)| ty.coerce(value).is_err())
        };
        if matches!(op, Eq) && (is_other(left, right) || is_other(right, left)) {
            return Some(false);
        }
        let mut claims = Claims::new(true);
        claims.compare(self, left, op, right);
        if claims.contradiction().is_some() {
            return Some(false);
        }
        let mut claims = Claims::new(false);
        claims.compare(self, left, negated(op), right);
        claims.contradiction().map(|_| true)
    }

    /// Finds the innermost parts that fail, as far as their names have values and they are certainly evaluated.
    pub(crate) fn faults<'e, 't>(&self, expr: &'e Expr<'t>, found: &mut Vec<Fault<'e, 't>>) {
        let fails = self.is_known(expr)
            && match self.evaluate(expr) {
                Ok(value) if !is_missing(&value) => return,
                Ok(_) => true,
                // What takes too much work is reported as that.
                Err(error) if error.kind() == ErrorKind::OutOfFuel => return,
                Err(_) => true,
            };
        let before = found.len();
        for part in self.evaluated_parts(expr) {
            self.faults(part, found);
        }
        if found.len() > before {
            return;
        }
        if let Expr::BinOp(op) = expr
            && matches!(op.op, BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem)
            && self.value(&op.right).is_some_and(|value| is_zero(&value))
        {
            found.push(Fault { at: &op.right, kind: FaultKind::DivisionByZero });
        } else if fails {
            found.push(Fault { at: expr, kind: fault_kind(expr) });
        }
    }

    /// Returns the parts of an expression that are evaluated whatever the values of other names are, and need a value.
    fn evaluated_parts<'e, 't>(&self, expr: &'e Expr<'t>) -> Vec<&'e Expr<'t>> {
        match expr {
            Expr::IfExpr(choice) => {
                let chosen = match self.truth(&choice.test_expr) {
                    Some(true) => Some(&choice.true_expr),
                    Some(false) => choice.false_expr.as_ref(),
                    None => None,
                };
                std::iter::once(&choice.test_expr).chain(chosen).collect()
            }
            // The right side is evaluated only where the left one does not decide.
            Expr::BinOp(op) if matches!(op.op, BinOpKind::ScAnd | BinOpKind::ScOr) => {
                let goes_on = Some(matches!(op.op, BinOpKind::ScAnd));
                let right = (self.truth(&op.left) == goes_on).then_some(&op.right);
                std::iter::once(&op.left).chain(right).collect()
            }
            // A chain ends with the first comparison that is false.
            Expr::Compare(compare) => vec![&compare.expr],
            // What has no value is what these are for.
            Expr::Filter(filter) if matches!(filter.name, "default" | "d") => Vec::new(),
            Expr::Test(test) if matches!(test.name, "defined" | "undefined") => Vec::new(),
            other => parts::children(other),
        }
    }
}

fn fault_kind(expr: &Expr<'_>) -> FaultKind {
    match expr {
        Expr::GetItem(_) | Expr::GetAttr(_) => FaultKind::NoSuchItem,
        Expr::Filter(filter) => match filter.name {
            "first" | "last" | "min" | "max" => FaultKind::EmptyList,
            "int" | "float" => FaultKind::NotANumber,
            _ => FaultKind::Other,
        },
        _ => FaultKind::Other,
    }
}

fn is_inputs(expr: &Expr<'_>) -> bool {
    matches!(expr, Expr::Var(var) if var.id == "inputs")
}

/// Whether an expression is one input.
fn is_input(expr: &Expr<'_>) -> bool {
    match expr {
        Expr::GetAttr(get) => is_inputs(&get.expr),
        Expr::GetItem(get) => is_inputs(&get.expr) && parts::word(&get.subscript_expr).is_some(),
        _ => false,
    }
}

fn is_missing(value: &Value) -> bool {
    value.is_undefined() || absent(value).is_some()
}

fn is_zero(value: &Value) -> bool {
    f64::try_from(value.clone()).is_ok_and(|number| number == 0.0)
}

fn is_length(expr: &Expr<'_>) -> bool {
    matches!(expr, Expr::Filter(filter) if matches!(filter.name, "length" | "count"))
}

/// Whether two conditions cannot both be true; where `all` is false, whether they cannot both be false.
fn excludes(left: &Expr<'_>, right: &Expr<'_>, all: bool) -> bool {
    let is_negation = |a: &Expr<'_>, b: &Expr<'_>| {
        parts::negated(a).is_some_and(|a| canonical(a) == canonical(b))
    };
    if is_negation(left, right) || is_negation(right, left) {
        return true;
    }
    // `a == 1 and a == 2`, `a != 1 or a != 2`
    let sides = |expr: &Expr<'_>| match expr {
        Expr::BinOp(op)
            if matches!((op.op, all), (BinOpKind::Eq, true) | (BinOpKind::Ne, false)) =>
        {
            match (&op.left, &op.right) {
                (path, Expr::Const(value)) | (Expr::Const(value), path) => {
                    Some((canonical(path), value.value.clone()))
                }
                _ => None,
            }
        }
        _ => None,
    };
    match (sides(left), sides(right)) {
        (Some((a, first)), Some((b, second))) => a == b && first != second,
        _ => false,
    }
}
