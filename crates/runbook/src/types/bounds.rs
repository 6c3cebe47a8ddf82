//! How large a number and how long a text or list may be.

use std::fmt::{Display, Write as _};

/// A closed interval, open where it has no end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds<N> {
    /// The least.
    pub minimum: Option<N>,
    /// The greatest.
    pub maximum: Option<N>,
}

impl<N: Copy + PartialOrd + Display> Bounds<N> {
    /// Every value.
    pub const ANY: Self = Self { minimum: None, maximum: None };

    /// Whether a value lies in it.
    pub fn contains(&self, value: N) -> bool {
        self.minimum.is_none_or(|least| value >= least)
            && self.maximum.is_none_or(|greatest| value <= greatest)
    }

    /// "from 2 to 4", "at least 2", "at most 4"; nothing when every value is in it.
    pub fn describe(&self) -> Option<String> {
        match (self.minimum, self.maximum) {
            (Some(least), Some(greatest)) => Some(format!("from {least} to {greatest}")),
            (Some(least), None) => Some(format!("at least {least}")),
            (None, Some(greatest)) => Some(format!("at most {greatest}")),
            (None, None) => None,
        }
    }

    /// The limits that a value breaks, if it does. A bound that nobody chose, such as the greatest
    /// of 32 bits, is only named to a value that goes beyond it.
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

    /// No value can lie in it.
    pub fn is_empty(&self) -> bool {
        matches!((self.minimum, self.maximum), (Some(least), Some(greatest)) if least > greatest)
    }
}

/// How many characters or items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LengthBounds {
    /// The fewest.
    pub minimum: Option<usize>,
    /// The most.
    pub maximum: Option<usize>,
}

impl LengthBounds {
    /// Any number.
    pub const ANY: Self = Self { minimum: None, maximum: None };

    /// Whether it may be this long.
    pub fn contains(&self, length: usize) -> bool {
        self.minimum.is_none_or(|least| length >= least)
            && self.maximum.is_none_or(|most| length <= most)
    }

    /// "at least 1 item".
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
