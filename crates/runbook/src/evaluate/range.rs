//! The values that comparisons leave to an expression, so that a condition is recognized that no value satisfies, or
//! every one.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr};

use super::super::template::canonical::canonical;
use super::super::template::parts;
use super::super::types::Type;
use super::known::Known;

/// An interval of numbers. Each limit has whether it is not in the interval itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    from: (f64, bool),
    to: (f64, bool),
    /// Whether there are only whole numbers in it.
    is_whole: bool,
}

impl Range {
    const ALL: Self =
        Self { from: (f64::NEG_INFINITY, false), to: (f64::INFINITY, false), is_whole: false };

    /// The interval of one number.
    pub(super) fn point(number: f64) -> Self {
        Self { from: (number, false), to: (number, false), is_whole: false }
    }

    /// Returns the interval of the numbers of a type.
    pub(super) fn of_type(ty: &Type) -> Option<Self> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the limits of a comparison are numbers of 64 bits themselves"
        )]
        let float = |limit: i128| limit as f64;
        match ty.non_null() {
            Type::Integer(bounds) => Some(Self {
                from: bounds.minimum.map_or(Self::ALL.from, |least| (float(least), false)),
                to: bounds.maximum.map_or(Self::ALL.to, |most| (float(most), false)),
                is_whole: true,
            }),
            Type::Number(bounds) => Some(Self {
                from: bounds.minimum.map_or(Self::ALL.from, |least| (least, false)),
                to: bounds.maximum.map_or(Self::ALL.to, |most| (most, false)),
                is_whole: false,
            }),
            _ => None,
        }
    }

    /// Returns the interval of the lengths of the values of a type, which are never negative.
    pub(super) fn of_length(ty: Option<&Type>) -> Self {
        let lengths = match ty.map(Type::non_null) {
            Some(Type::List(_, lengths)) => Some(*lengths),
            Some(Type::String(text)) => Some(text.lengths),
            _ => None,
        };
        #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
        let float = |limit: usize| limit as f64;
        let least = lengths.and_then(|lengths| lengths.minimum).map_or(0.0, float);
        let most = lengths.and_then(|lengths| lengths.maximum).map_or(f64::INFINITY, float);
        Self { from: (least, false), to: (most, false), is_whole: true }
    }

    /// Returns the numbers of the interval that are not less than another one.
    pub(super) fn not_below(self, least: i64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
        let from = (least as f64, false);
        self.and(Self { from, ..Self::ALL })
    }

    /// Whether the interval has one number only.
    fn is_point(&self) -> bool {
        self.from == self.to
    }

    /// Returns the numbers that are in both intervals.
    fn and(self, other: Self) -> Self {
        let later = |a: (f64, bool), b: (f64, bool)| match a.0.partial_cmp(&b.0) {
            Some(Ordering::Less) => b,
            Some(Ordering::Equal) => (a.0, a.1 || b.1),
            Some(Ordering::Greater) | None => a,
        };
        let earlier = |a: (f64, bool), b: (f64, bool)| match a.0.partial_cmp(&b.0) {
            Some(Ordering::Greater) => b,
            Some(Ordering::Equal) => (a.0, a.1 || b.1),
            Some(Ordering::Less) | None => a,
        };
        Self {
            from: later(self.from, other.from),
            to: earlier(self.to, other.to),
            is_whole: self.is_whole || other.is_whole,
        }
    }

    /// Whether no number is in the interval.
    fn is_empty(&self) -> bool {
        let (mut from, mut to) = (self.from, self.to);
        if self.is_whole {
            from = (if from.1 { from.0.floor() + 1.0 } else { from.0.ceil() }, false);
            to = (if to.1 { to.0.ceil() - 1.0 } else { to.0.floor() }, false);
        }
        match from.0.partial_cmp(&to.0) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => from.1 || to.1,
            Some(Ordering::Less) | None => false,
        }
    }

    /// Returns the interval of the numbers that are in a relation to a number of this one.
    fn related(&self, op: CompareOpKind) -> Option<Self> {
        use CompareOpKind::{Eq, Gt, Gte, Lt, Lte};
        Some(match op {
            Eq => Self { is_whole: false, ..*self },
            Lt => Self { to: (self.to.0, true), ..Self::ALL },
            Lte => Self { to: self.to, ..Self::ALL },
            Gt => Self { from: (self.from.0, true), ..Self::ALL },
            Gte => Self { from: self.from, ..Self::ALL },
            _ => return None,
        })
    }

    /// Returns the limits in words; none where there are none.
    pub(crate) fn describe(&self) -> Option<String> {
        // The limit of a machine integer says nothing.
        const FAR: f64 = 1e9;
        let least = Some(self.from.0).filter(|least| *least > -FAR);
        match (least, Some(self.to.0).filter(|most| *most < FAR)) {
            (Some(0.0), None) => Some("is never negative".to_owned()),
            (Some(least), None) => Some(format!("is at least {least}")),
            (None, Some(most)) => Some(format!("is at most {most}")),
            (Some(least), Some(_)) if self.is_point() => Some(format!("is {least}")),
            (Some(least), Some(most)) => Some(format!("is from {least} to {most}")),
            (None, None) => None,
        }
    }
}

/// The claims of conditions that hold together, by the canonical texts of the expressions.
pub(super) struct Claims {
    /// Whether the limits of inputs count. What is true because of them may be there for the reader.
    with_limits: bool,
    numbers: BTreeMap<String, Range>,
    /// Whether one expression can be less than another one, equal to it and greater.
    orders: BTreeMap<(String, String), [bool; 3]>,
    words: BTreeMap<String, BTreeSet<String>>,
}

impl Claims {
    pub(super) fn new(with_limits: bool) -> Self {
        let (numbers, orders, words) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { with_limits, numbers, orders, words }
    }

    /// Adds a condition that holds, or does not.
    pub(super) fn add(&mut self, known: &Known<'_>, condition: &Expr<'_>, holds: bool) {
        if let Some(negated) = parts::negated(condition) {
            return self.add(known, negated, !holds);
        }
        match (parts::comparisons(condition).as_slice(), holds) {
            ([(left, op, right)], false) => self.compare(known, left, negated(*op), right),
            // Of a chain, any comparison may be the one that is false.
            (_, false) => {}
            (pairs, true) => {
                for (left, op, right) in pairs {
                    self.compare(known, left, *op, right);
                }
            }
        }
    }

    /// Adds a comparison that holds.
    pub(super) fn compare(
        &mut self,
        known: &Known<'_>,
        left: &Expr<'_>,
        op: CompareOpKind,
        right: &Expr<'_>,
    ) {
        self.add_words(known, left, op, right);
        let Some(turned) = turned(op) else { return };
        self.add_words(known, right, turned, left);
        let range = |side: &Expr<'_>| known.range(side, self.with_limits);
        let (of_left, of_right) = (range(left), range(right));
        self.add_number(left, of_left, of_right.and_then(|range| range.related(op)));
        self.add_number(right, of_right, of_left.and_then(|range| range.related(turned)));
        let is_constant = |expr: &Expr<'_>| expr.as_const().is_some();
        if is_constant(left) || is_constant(right) {
            return;
        }
        let (a, b) = (canonical(left), canonical(right));
        let (key, op) = if a <= b { ((a, b), op) } else { ((b, a), turned) };
        let allowed = self.orders.entry(key).or_insert([true; 3]);
        for (is_allowed, is_meant) in allowed.iter_mut().zip(orders(op)) {
            *is_allowed &= is_meant;
        }
    }

    fn add_number(&mut self, expr: &Expr<'_>, own: Option<Range>, claimed: Option<Range>) {
        let Some(claimed) = claimed.filter(|_| expr.as_const().is_none()) else { return };
        let range = self.numbers.entry(canonical(expr)).or_insert(own.unwrap_or(Range::ALL));
        *range = range.and(claimed);
    }

    fn add_words(
        &mut self,
        known: &Known<'_>,
        path: &Expr<'_>,
        op: CompareOpKind,
        with: &Expr<'_>,
    ) {
        use CompareOpKind::{Eq, In, Ne, NotIn};
        let words: Vec<&str> = match (op, parts::word(with), parts::items(with)) {
            (Eq | Ne, Some(word), _) => vec![word],
            (In | NotIn, _, Some(items)) => {
                let words: Option<Vec<&str>> = items.iter().map(parts::word).collect();
                let Some(words) = words else { return };
                words
            }
            _ => return,
        };
        // Null is none of the words.
        let Some(Type::Enum(values)) = known.type_of(path) else { return };
        let is_meant = matches!(op, Eq | In);
        let all = || values.iter().cloned().collect();
        let left = self.words.entry(canonical(path)).or_insert_with(all);
        left.retain(|value| words.contains(&value.as_str()) == is_meant);
    }

    /// Returns an expression that has no value with which all conditions hold.
    pub(super) fn contradiction(&self) -> Option<&str> {
        let number = self.numbers.iter().find(|(_, range)| range.is_empty()).map(|(of, _)| of);
        let order = || self.orders.iter().find(|(_, allowed)| **allowed == [false; 3]);
        let word = || self.words.iter().find(|(_, left)| left.is_empty()).map(|(of, _)| of);
        let found = number.or_else(|| order().map(|((of, _), _)| of)).or_else(word);
        found.map(String::as_str)
    }
}

/// Returns the comparison that holds where another one does not.
pub(super) fn negated(op: CompareOpKind) -> CompareOpKind {
    use CompareOpKind::{Eq, Gt, Gte, In, Lt, Lte, Ne, NotIn};
    match op {
        Eq => Ne,
        Ne => Eq,
        Lt => Gte,
        Lte => Gt,
        Gt => Lte,
        Gte => Lt,
        In => NotIn,
        NotIn => In,
    }
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

/// Whether a comparison holds of a value that is less than the other, equal to it, or greater.
fn orders(op: CompareOpKind) -> [bool; 3] {
    use CompareOpKind::{Eq, Gt, Gte, In, Lt, Lte, Ne, NotIn};
    match op {
        Eq => [false, true, false],
        Ne => [true, false, true],
        Lt => [true, false, false],
        Lte => [true, true, false],
        Gt => [false, false, true],
        Gte => [false, true, true],
        In | NotIn => [true; 3],
    }
}

/// Returns the operands of a chain of `and`, or of `or` where `all` is false.
pub(super) fn operands<'e, 't>(expr: &'e Expr<'t>, all: bool) -> Vec<&'e Expr<'t>> {
    match expr {
        Expr::BinOp(op)
            if matches!((op.op, all), (BinOpKind::ScAnd, true) | (BinOpKind::ScOr, false)) =>
        {
            [operands(&op.left, all), operands(&op.right, all)].concat()
        }
        other => vec![other],
    }
}
