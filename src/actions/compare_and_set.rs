//! The three-way rule by which apply and undo decide what to do about every target.

use std::fmt::Display;

use super::{Error, Result};

/// Whether a target must be written to get from one value to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteDecision {
    /// The target has the new value already.
    NotNeeded,
    /// The target still has the old value.
    Needed,
}

/// Decides whether a target must be written to get from `from` to `to`. A value that is neither means that another
/// client changed the target.
///
/// # Errors
/// [`Error::Conflict`] with both values.
pub(super) fn decide_write<T: PartialEq + Display>(
    target: &str,
    now: &T,
    from: &T,
    to: &T,
) -> Result<WriteDecision> {
    if now == to {
        return Ok(WriteDecision::NotNeeded);
    }
    if now == from {
        return Ok(WriteDecision::Needed);
    }
    Err(Error::Conflict {
        target: target.into(),
        expected: from.to_string(),
        found: now.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_needed_where_the_value_is_still_as_found() {
        assert_eq!(decide_write("size", &6, &3, &6).unwrap(), WriteDecision::NotNeeded);
        assert_eq!(decide_write("size", &3, &3, &6).unwrap(), WriteDecision::Needed);
        assert_eq!(
            decide_write("size", &5, &3, &6).unwrap_err().to_string(),
            "size was changed by another client: expected 3, found 5"
        );
    }
}
