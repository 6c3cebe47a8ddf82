//! The rule by which apply and undo treat every target.

use std::fmt::Display;

use super::{Error, Result};

/// What to do about one target on the way from `from` to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteDecision {
    /// It is there already.
    NotNeeded,
    /// It stands where we left it: write.
    Needed,
}

/// Already there: done. Still where we found it: write. Anything else: somebody changed it meanwhile.
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
