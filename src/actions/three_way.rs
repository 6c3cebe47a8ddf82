//! The rule by which apply and undo treat every target.

use std::fmt::Display;

use super::{Error, Result};

/// What to do about one target on the way from `from` to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// It is there already.
    Done,
    /// It stands where we left it: write.
    Write,
}

/// Already there: done. Still where we found it: write. Anything else: somebody changed it meanwhile.
///
/// # Errors
/// [`Error::Conflict`] with both values.
pub(super) fn three_way<T: PartialEq + Display>(
    target: &str,
    now: &T,
    from: &T,
    to: &T,
) -> Result<Move> {
    if now == to {
        return Ok(Move::Done);
    }
    if now == from {
        return Ok(Move::Write);
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
    fn the_rule() {
        assert_eq!(three_way("size", &6, &3, &6).unwrap(), Move::Done);
        assert_eq!(three_way("size", &3, &3, &6).unwrap(), Move::Write);
        assert_eq!(
            three_way("size", &5, &3, &6).unwrap_err().to_string(),
            "size was changed by somebody else meanwhile: expected 3, found 5"
        );
    }
}
