//! Templates: `{{ expression }}` in a text. Parses them within limits and infers what they yield.
//! Places are bytes of the decoded text; the caller knows how they map to the file. Knows no rule
//! and no document.

pub(crate) mod canonical;
pub(crate) mod filters;
mod infer;
mod narrowing;
mod operators;
mod parse;
mod span;
mod symbols;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use infer::infer;
pub(crate) use narrowing::Narrowing;
pub(crate) use parse::{MAX_BYTES, MAX_TOKENS, Template, inside_braces, is_template, parse};
pub(crate) use symbols::{Presence, StepOutput, SymbolTable};

use super::types::{RecordType, Type};

/// Something wrong in a template.
#[derive(Debug, Clone)]
pub(crate) struct TemplateIssue {
    pub(crate) span: Range<usize>,
    pub(crate) kind: TemplateIssueKind,
}

/// What is wrong in a template.
#[derive(Debug, Clone)]
pub(crate) enum TemplateIssueKind {
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
    ForwardReference(usize),
    SelfReference(usize),
    UnknownInput(String),
    UnknownField {
        /// The step whose output it is, when the field is the output's own.
        step: Option<usize>,
        path: String,
        name: String,
        record: Arc<RecordType>,
    },
    UnknownFilter(String),
    UnknownTest(String),
    /// A filter or test that was given something it cannot take.
    InvalidArgument {
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
        values: Arc<[String]>,
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
    PossiblyUndefined {
        step: usize,
        presence: Presence,
    },
    /// The path that may be null.
    PossiblyNull(String),
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
    pub(crate) issues: Vec<TemplateIssue>,
    /// The steps whose outputs it names.
    pub(crate) steps: BTreeSet<usize>,
    /// The inputs that it names.
    pub(crate) inputs: BTreeSet<String>,
    /// It names `inputs` as a whole.
    pub(crate) all_inputs: bool,
}

impl Inferred {
    /// Of a template that does not parse, nothing is known but that.
    pub(crate) fn failed(issue: TemplateIssue) -> Self {
        Self {
            ty: Type::Any,
            constant: None,
            divides: false,
            span: issue.span.clone(),
            issues: vec![issue],
            steps: BTreeSet::new(),
            inputs: BTreeSet::new(),
            all_inputs: false,
        }
    }
}
