//! The map of the house. Each room says at its door what it is for and what it may not know;
//! `docs/architecture.md` draws the arrows and `tests/architecture.rs` holds the sources to them.

pub mod clock;
pub mod journal;
