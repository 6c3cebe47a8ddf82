//! Evaluates the parts of an expression whose names have values before a run, such as constants and the defaults of
//! inputs: what they yield, whether a condition is decided by them, and what fails in them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr};
use minijinja::machinery::{self, CodeGenerator};
use minijinja::{AutoEscape, Error, ErrorKind, Value};
use serde_json::{Map, Value as Json};

use super::super::template::canonical::canonical;
use super::super::template::{self, parts};
use super::environment::{Budget, environment};
use super::scope::{EvaluationScope, absent};

/// The values that are known before a run.
pub(crate) struct Known<'a> {
    scope: EvaluationScope,
    /// The inputs that have a value.
    inputs: BTreeSet<String>,
    /// Whether a path has a value in every run, which may be null.
    is_present: Option<&'a dyn Fn(&Expr<'_>) -> bool>,
    /// Whether a path has a number in every run that is never negative.
    is_count: Option<&'a dyn Fn(&Expr<'_>) -> bool>,
    /// The least and the greatest number that a path can have.
    bounds: Option<&'a dyn Fn(&Expr<'_>) -> (Option<i128>, Option<i128>)>,
}

/// A part of an expression that fails when it is evaluated.
pub(crate) struct Fault<'e, 't> {
    /// The part to which the failure is due: the divisor, the subscript, or the whole.
    pub(crate) at: &'e Expr<'t>,
    pub(crate) kind: FaultKind,
}

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
        Self {
            scope,
            inputs: inputs.keys().cloned().collect(),
            is_present: None,
            is_count: None,
            bounds: None,
        }
    }

    /// Tells which paths have a value in every run.
    pub(crate) fn with_present(self, is_present: &'a dyn Fn(&Expr<'_>) -> bool) -> Self {
        Self { is_present: Some(is_present), ..self }
    }

    /// Tells which paths have a number in every run that is never negative.
    pub(crate) fn with_counts(self, is_count: &'a dyn Fn(&Expr<'_>) -> bool) -> Self {
        Self { is_count: Some(is_count), ..self }
    }

    /// Tells within which bounds the number of a path is in every run.
    pub(crate) fn with_bounds(
        self,
        bounds: &'a dyn Fn(&Expr<'_>) -> (Option<i128>, Option<i128>),
    ) -> Self {
        Self { bounds: Some(bounds), ..self }
    }

    /// Whether a comparison is false for every number within the bounds of its path. One that is true for all of them
    /// may be there for the reader.
    fn is_out_of_bounds(&self, left: &Expr<'_>, op: CompareOpKind, right: &Expr<'_>) -> bool {
        use CompareOpKind::{Eq, Gt, Gte, Lt, Lte};
        let Some(bounds) = self.bounds else { return false };
        let number = |expr| self.value(expr).and_then(|value| i64::try_from(value).ok());
        let ((least, most), op, number) = match (number(left), number(right)) {
            (None, Some(number)) => (bounds(left), op, number),
            (Some(number), None) => match turned(op) {
                Some(op) => (bounds(right), op, number),
                None => return false,
            },
            _ => return false,
        };
        let number = i128::from(number);
        let (below, above) = (
            |n: i128| least.is_some_and(|least| least >= n),
            |n: i128| most.is_some_and(|most| most <= n),
        );
        match op {
            Gt => above(number),
            Gte => above(number - 1),
            Lt => below(number),
            Lte => below(number + 1),
            Eq => above(number - 1) || below(number + 1),
            _ => false,
        }
    }

    /// Whether an expression is never negative: a length, or a count in an output.
    fn is_count(&self, expr: &Expr<'_>) -> bool {
        is_length(expr) || self.is_count.is_some_and(|is_count| is_count(expr))
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
                let is_present = |expr| self.is_present.is_some_and(|is| is(expr));
                let present = is_input(&test.expr) || is_present(&test.expr);
                present.then_some(test.name == "defined")
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
                if truths.contains(&Some(false)) || is_empty_chain(&pairs) {
                    return Some(false);
                }
                (!truths.is_empty() && truths.iter().all(Option::is_some)).then_some(true)
            }
        }
    }

    /// Returns the truth of a comparison of a count that its limit decides: `x | length >= 0`.
    pub(crate) fn truth_of_count(&self, expr: &Expr<'_>) -> Option<bool> {
        match parts::comparisons(expr).as_slice() {
            [(left, op, right)] if self.is_count(left) != self.is_count(right) => {
                self.compared(left, *op, right)
            }
            _ => None,
        }
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
        let excluded = left.iter().any(|a| right.iter().any(|b| excludes(a, b, all)));
        excluded.then_some(!all)
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
        // A length is never negative.
        let number = |expr| self.value(expr).and_then(|value| i64::try_from(value).ok());
        let (op, limit) = match (self.is_count(left), self.is_count(right)) {
            (true, false) => (op, number(right)?),
            (false, true) => (turned(op)?, number(left)?),
            _ => return self.is_out_of_bounds(left, op, right).then_some(false),
        };
        match (op, limit) {
            (Gte, ..=0) | (Gt | Ne, ..=-1) => Some(true),
            (Lt, ..=0) | (Lte | Eq, ..=-1) => Some(false),
            _ => None,
        }
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

/// Returns the comparison with its sides exchanged.
fn turned(op: CompareOpKind) -> Option<CompareOpKind> {
    use CompareOpKind::{Eq, Gt, Gte, Lt, Lte, Ne};
    Some(match op {
        Eq => Eq,
        Ne => Ne,
        Lt => Gt,
        Lte => Gte,
        Gt => Lt,
        Gte => Lte,
        _ => return None,
    })
}

/// Returns the operands of a chain of `and`, or of `or` where `all` is false.
fn operands<'e, 't>(expr: &'e Expr<'t>, all: bool) -> Vec<&'e Expr<'t>> {
    match expr {
        Expr::BinOp(op)
            if matches!((op.op, all), (BinOpKind::ScAnd, true) | (BinOpKind::ScOr, false)) =>
        {
            [operands(&op.left, all), operands(&op.right, all)].concat()
        }
        other => vec![other],
    }
}

/// Whether two conditions are never true together, by what their own forms say.
pub(crate) fn contradict(one: &Expr<'_>, other: &Expr<'_>) -> bool {
    let (one, other) = (operands(one, true), operands(other, true));
    one.iter().any(|a| other.iter().any(|b| excludes(a, b, true)))
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
    if let (Some((a, first)), Some((b, second))) = (sides(left), sides(right))
        && a == b
        && first != second
    {
        return true;
    }
    // `a > 5 and a < 3`, `a < 5 or a > 3`
    match (Interval::of(left, all), Interval::of(right, all)) {
        (Some(one), Some(two)) => one.of == two.of && one.is_apart(&two),
        _ => false,
    }
}

/// Whether no number is within the bounds of a chain: `5 < x < 3`.
fn is_empty_chain(pairs: &[(&Expr<'_>, CompareOpKind, &Expr<'_>)]) -> bool {
    let [(a, first, b), (c, second, d)] = pairs else { return false };
    let one = Interval::of_pair(a, *first, b, true);
    let two = Interval::of_pair(c, *second, d, true);
    one.zip(two).is_some_and(|(one, two)| one.of == two.of && one.is_apart(&two))
}

/// The numbers for which a comparison with a constant is true.
struct Interval {
    of: String,
    /// The least number, and whether it is not one of them.
    from: (f64, bool),
    to: (f64, bool),
}

impl Interval {
    /// Returns the interval of a comparison; where `truth` is false, of its opposite.
    fn of(expr: &Expr<'_>, truth: bool) -> Option<Self> {
        match parts::comparisons(expr).as_slice() {
            [(left, op, right)] => Self::of_pair(left, *op, right, truth),
            _ => None,
        }
    }

    fn of_pair(left: &Expr<'_>, op: CompareOpKind, right: &Expr<'_>, truth: bool) -> Option<Self> {
        use CompareOpKind::{Eq, Gt, Gte, Lt, Lte, Ne};
        const ALL: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
        let number = |expr: &Expr<'_>| f64::try_from(expr.as_const()?).ok();
        let (of, op, number) = match (number(left), number(right)) {
            (None, Some(number)) => (canonical(left), op, number),
            (Some(number), None) => (canonical(right), turned(op)?, number),
            _ => return None,
        };
        let (from, to) = match (op, truth) {
            (Lt, true) | (Gte, false) => ((ALL.0, false), (number, true)),
            (Lte, true) | (Gt, false) => ((ALL.0, false), (number, false)),
            (Gt, true) | (Lte, false) => ((number, true), (ALL.1, false)),
            (Gte, true) | (Lt, false) => ((number, false), (ALL.1, false)),
            (Eq, true) | (Ne, false) => ((number, false), (number, false)),
            _ => return None,
        };
        Some(Self { of, from, to })
    }

    /// Whether no number is in both intervals.
    fn is_apart(&self, other: &Self) -> bool {
        let ends_before = |a: &Self, b: &Self| match a.to.0.partial_cmp(&b.from.0) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => a.to.1 || b.from.1,
            Some(Ordering::Greater) | None => false,
        };
        ends_before(self, other) || ends_before(other, self)
    }
}
