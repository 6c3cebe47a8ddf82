//! Templates: `{{ expression }}` in a text. Parses them within limits and infers what they yield.
//! Places are bytes of the decoded text; the caller knows how they map to the file. Knows no rule
//! and no document.

pub(crate) mod canonical;
pub(crate) mod filters;
mod infer;
mod known;
mod names;
mod operators;
mod parse;
mod place;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use infer::infer;
pub(crate) use known::Known;
pub(crate) use names::{Absence, Names, Output};
pub(crate) use parse::{MAX_BYTES, MAX_TOKENS, Template, inside_braces, is_template, parse};

use super::types::{Record, Type};

/// Something wrong in a template.
#[derive(Debug, Clone)]
pub(crate) struct Flaw {
    pub(crate) span: Range<usize>,
    pub(crate) fault: Fault,
}

/// What is wrong in a template.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Syntax(String),
    Unclosed,
    Empty,
    Statement,
    Comment,
    TooLong,
    TooManyBytes,
    FunctionCall,
    MissingElse,
    UnknownName(String),
    LaterStep(usize),
    OwnOutput(usize),
    UnknownInput(String),
    UnknownField {
        /// The step whose output it is, when the field is the output's own.
        step: Option<usize>,
        path: String,
        name: String,
        record: Arc<Record>,
    },
    UnknownFilter(String),
    UnknownTest(String),
    /// A filter or test that was given something it cannot take.
    Argument {
        /// "filter" or "test".
        what: &'static str,
        name: String,
        wanted: String,
        found: String,
    },
    Operator {
        operator: &'static str,
        left: Type,
        right: Option<Type>,
    },
    /// A comparison with a word that an enum does not have.
    NeverEqual {
        word: String,
        words: Arc<[String]>,
    },
    DivisionByZero,
    NoFields {
        name: String,
        ty: Type,
    },
    NotSubscriptable(Type),
    Subscript {
        wanted: &'static str,
        found: Type,
    },
    NotCondition(Type),
    MayBeAbsent {
        step: usize,
        absence: Absence,
    },
    /// The path that may be null.
    MayBeNull(String),
    NotPrintable(Type),
}

/// What is known of a template without running it.
#[derive(Debug, Clone)]
pub(crate) struct Inferred {
    /// What it yields; of anything but one whole expression, text.
    pub(crate) ty: Type,
    /// The value, where it does not depend on anything.
    pub(crate) constant: Option<minijinja::Value>,
    /// It is an integer division that became a fraction on the way.
    pub(crate) divides: bool,
    /// Where the expression stands in the text.
    pub(crate) span: Range<usize>,
    pub(crate) flaws: Vec<Flaw>,
    /// The steps whose outputs it names.
    pub(crate) steps: BTreeSet<usize>,
    /// The inputs that it names.
    pub(crate) inputs: BTreeSet<String>,
    /// It names `inputs` as a whole.
    pub(crate) all_inputs: bool,
}

impl Inferred {
    /// Of a template that does not parse, nothing is known but that.
    pub(crate) fn failed(flaw: Flaw) -> Self {
        Self {
            ty: Type::Any,
            constant: None,
            divides: false,
            span: flaw.span.clone(),
            flaws: vec![flaw],
            steps: BTreeSet::new(),
            inputs: BTreeSet::new(),
            all_inputs: false,
        }
    }
}
