//! Templates: `{{ expression }}` in a text. Parses them within limits and infers their types. Spans
//! are byte ranges of the decoded text, which the caller maps to the file. Independent of rules and
//! documents.

mod beside;
pub(crate) mod canonical;
pub(crate) mod filters;
mod infer;
mod narrowing;
mod operators;
mod parse;
pub(crate) mod parts;
pub(crate) mod span;
mod symbols;
mod syntax;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use beside::{Beside, beside};
pub(crate) use infer::{Names, infer};
pub(crate) use narrowing::Narrowing;
pub(crate) use parse::{
    MAX_BRACKETS, MAX_BYTES, MAX_TOKENS, Template, inside_braces, is_template, parse,
};
pub(crate) use symbols::{Items, Presence, StepOutput, SymbolTable};
pub(crate) use syntax::SyntaxProblem;

use super::types::{RecordType, Type};

/// An issue in a template.
#[derive(Debug, Clone)]
pub(crate) struct TemplateIssue {
    pub(crate) span: Range<usize>,
    pub(crate) kind: TemplateIssueKind,
}

/// The kind of a template issue.
#[derive(Debug, Clone)]
pub(crate) enum TemplateIssueKind {
    Syntax(Box<SyntaxProblem>),
    Unclosed,
    Empty,
    Statement,
    Comment,
    TooLong,
    TooManyBytes,
    /// Brackets that are nested too deeply.
    TooDeep,
    /// A call, with its text.
    FunctionCall(String),
    /// A name with '-' in it, which is minus.
    Hyphen {
        /// The path before the name, such as `inputs`.
        base: String,
        /// The name as written.
        name: String,
        /// The expression that is probably meant.
        meant: Option<String>,
    },
    MissingElse,
    UnknownName(String),
    ForwardReference(usize),
    SelfReference(usize),
    /// `each` where it has no value.
    MisplacedEach {
        has_for_each: bool,
    },
    UnknownInput(String),
    UnknownField {
        /// The step, when the field is directly in its output.
        step: Option<usize>,
        path: String,
        name: String,
        record: Arc<RecordType>,
    },
    UnknownFilter(String),
    UnknownTest(String),
    /// A filter or test with an input or argument that it does not accept.
    InvalidArgument {
        /// "filter" or "test".
        what: &'static str,
        name: String,
        wanted: String,
        found: String,
        /// The remedy.
        help: Option<String>,
    },
    Operator {
        operator: &'static str,
        left: Type,
        right: Option<Type>,
    },
    /// A comparison with a string that is not a value of the enum.
    NeverEqual {
        word: String,
        values: Arc<[String]>,
    },
    /// A word of an enum that is written as a name.
    UnquotedWord(String),
    DivisionByZero,
    NoFields {
        name: String,
        /// The value that has none.
        path: String,
        ty: Type,
    },
    NotSubscriptable(Type),
    Subscript {
        /// The value that is subscripted.
        of: Type,
        wanted: &'static str,
        found: Type,
    },
    /// A subscript of the step's own output, which is that of one item; with the id of the step.
    OwnItem(String),
    /// An item that no such list has, with its index and the length.
    NoSuchItem {
        index: i64,
        length: usize,
    },
    /// The items of a list that may be null, where a filter needs them.
    NullItems {
        path: String,
        filter: String,
        /// Whether they are the outputs of a loop whose items may fail.
        is_loop: bool,
    },
    /// `default(none)` where a value is needed.
    NullDefault,
    /// A path in quotes where its value is meant.
    QuotedPath(String),
    NotCondition(Type),
    PossiblyUndefined {
        step: usize,
        presence: Presence,
    },
    /// The path of a value that may be null.
    PossiblyNull(String),
    NotPrintable(Type),
}

/// The type and the references of a template, inferred without evaluating it.
#[derive(Debug, Clone)]
pub(crate) struct Inferred {
    /// The type of the result; a string unless the template is one whole expression.
    pub(crate) ty: Type,
    /// The value, when it does not depend on inputs or outputs.
    pub(crate) constant: Option<minijinja::Value>,
    /// The types of the expressions in a text; nothing of one whole expression.
    pub(crate) parts: Vec<Type>,
    /// Whether the expression divides with `/`, which yields a fraction.
    pub(crate) divides: bool,
    /// The span of the expression in the text.
    pub(crate) span: Range<usize>,
    pub(crate) issues: Vec<TemplateIssue>,
    /// The steps whose outputs the template uses.
    pub(crate) steps: BTreeSet<usize>,
    /// Those of `steps` without whose output the template has no value: no `is defined` or `default` guards the use.
    pub(crate) required_steps: BTreeSet<usize>,
    /// The inputs that the template uses.
    pub(crate) inputs: BTreeSet<String>,
    /// Whether the template uses `inputs` as a whole.
    pub(crate) all_inputs: bool,
}

impl Inferred {
    /// Returns the result for a template that does not parse: only the issue.
    pub(crate) fn failed(issue: TemplateIssue) -> Self {
        Self {
            ty: Type::Any,
            constant: None,
            parts: Vec::new(),
            divides: false,
            span: issue.span.clone(),
            issues: vec![issue],
            steps: BTreeSet::new(),
            required_steps: BTreeSet::new(),
            inputs: BTreeSet::new(),
            all_inputs: false,
        }
    }
}
