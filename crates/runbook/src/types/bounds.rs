//! The limits of numbers, and of the lengths of strings and lists.

use std::fmt::{Display, Write as _};

/// A closed interval; a missing limit leaves that side unbounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds<N> {
    /// The minimum.
    pub minimum: Option<N>,
    /// The maximum.
    pub maximum: Option<N>,
}

impl<N: Copy + PartialOrd + Display> Bounds<N> {
    /// The interval of all values.
    pub const ANY: Self = Self { minimum: None, maximum: None };

    /// Whether a value is within the limits.
    pub fn contains(&self, value: N) -> bool {
        self.minimum.is_none_or(|least| value >= least)
            && self.maximum.is_none_or(|greatest| value <= greatest)
    }

    /// Returns "from 2 to 4", "at least 2" or "at most 4"; `None` when there is no limit.
    pub fn describe(&self) -> Option<String> {
        match (self.minimum, self.maximum) {
            (Some(least), Some(greatest)) => Some(format!("from {least} to {greatest}")),
            (Some(least), None) => Some(format!("at least {least}")),
            (None, Some(greatest)) => Some(format!("at most {greatest}")),
            (None, None) => None,
        }
    }

    /// Returns the limits that a value violates, if any. The limit of a machine integer, such as the
    /// maximum of 32 bits, is named only to a value beyond that limit.
    pub fn violated_limits(&self, value: N) -> Option<String> {
        const MAX_CHOSEN_DIGITS: usize = 9;
        if self.contains(value) {
            return None;
        }
        let far = |bound: Option<N>| {
            bound.is_some_and(|bound| bound.to_string().len() > MAX_CHOSEN_DIGITS)
        };
        match (self.minimum, self.maximum) {
            (Some(least), most) if value < least && far(most) => Some(format!("at least {least}")),
            (least, Some(most)) if value > most && far(least) => Some(format!("at most {most}")),
            _ => self.describe(),
        }
    }

    /// Whether no value is within the limits.
    pub fn is_empty(&self) -> bool {
        matches!((self.minimum, self.maximum), (Some(least), Some(greatest)) if least > greatest)
    }
}

/// Returns what limits require: "must be from 2 to 4", "must have at least 1 item".
pub(crate) fn requirement(limits: &str) -> String {
    let counts = ["item", "items", "character", "characters"];
    let is_count = limits.rsplit(' ').next().is_some_and(|unit| counts.contains(&unit));
    format!("must {} {limits}", if is_count { "have" } else { "be" })
}

/// The limits of a number of characters or items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LengthBounds {
    /// The minimum.
    pub minimum: Option<usize>,
    /// The maximum.
    pub maximum: Option<usize>,
}

impl LengthBounds {
    /// The limits that any length satisfies.
    pub const ANY: Self = Self { minimum: None, maximum: None };

    /// Whether a length is within the limits.
    pub fn contains(&self, length: usize) -> bool {
        self.minimum.is_none_or(|least| length >= least)
            && self.maximum.is_none_or(|most| length <= most)
    }

    /// Returns the limits with a unit, as in "at least 1 item".
    pub fn describe(&self, unit: &str) -> String {
        let mut text = match (self.minimum, self.maximum) {
            (Some(least), Some(most)) if least == most => format!("exactly {least} {unit}"),
            (Some(least), Some(most)) => format!("{least} to {most} {unit}"),
            (Some(least), None) => format!("at least {least} {unit}"),
            (None, Some(most)) => format!("at most {most} {unit}"),
            (None, None) => format!("any number of {unit}"),
        };
        let one = [self.minimum, self.maximum].contains(&Some(1)) && !text.contains(" to ");
        if !one {
            let _ = text.write_char('s');
        }
        text
    }
}
