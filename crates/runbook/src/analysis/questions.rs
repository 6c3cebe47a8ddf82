//! The questions of an action that waits for persons: a parameter declares them as inputs are declared, and a field of
//! the output has the answers, each with its type.

use std::ops::Range;
use std::sync::Arc;

use super::super::document::{
    DocumentIssue, DocumentIssueKind, InputDeclaration, RawStep, declarations,
};
use super::super::types::{Field, RecordType, Type};
use super::super::yaml::Node;
use super::Analysis;
use super::argument;
use super::issue::ArgumentIssue;

/// The parameter with the questions.
pub(crate) const ASK: &str = "ask";
/// The parameter that says for how long the action waits.
pub(crate) const EXPIRES: &str = "expires";
/// The field of the output with the answers.
const ANSWERS: &str = "answers";

/// Returns the output of an action of which a step declares the questions.
pub(super) fn output_of(output: &Arc<RecordType>, step: &RawStep<'_>) -> Arc<RecordType> {
    let mut output = RecordType::clone(output);
    let answers = RecordType {
        name: format!("answers of {}", step.id_text().unwrap_or_default()),
        fields: declared(step).0.iter().map(answer).collect(),
        ..RecordType::default()
    };
    if let Some(field) = output.fields.iter_mut().find(|field| field.name == ANSWERS) {
        field.ty = Type::Record(Arc::new(answers));
    }
    Arc::new(output)
}

/// Returns the issues of the questions that are not those of a parameter: of their names, types and limits, and of
/// their defaults.
pub(super) fn issues(step: &RawStep<'_>) -> (Vec<DocumentIssue>, Vec<ArgumentIssue>) {
    let (declared, mut issues) = declared(step);
    issues.retain(|issue| matches!(issue.kind, DocumentIssueKind::Input(_)));
    let defaults = declared.iter().filter_map(|question| Some((question.default?, &question.ty)));
    let defaults = defaults.flat_map(|(node, ty)| argument::literal(node, ty).1);
    (issues, defaults.collect())
}

impl Analysis<'_> {
    /// Returns the names of the questions of all steps, each with its place and its type.
    pub(crate) fn questions(&self) -> impl Iterator<Item = (&str, Range<usize>, Type)> {
        let steps = self.document.steps.iter().zip(&self.steps);
        let asking = steps.filter(|(_, step)| step.signature.is_some_and(|action| action.asks));
        let questions = asking.flat_map(|(raw, _)| declared(raw).0);
        questions.map(|question| (question.name, question.key.span.clone(), question.ty))
    }
}

fn declared<'t>(step: &RawStep<'t>) -> (Vec<InputDeclaration<'t>>, Vec<DocumentIssue>) {
    parameter(step, ASK).map(|node| declarations(node, ASK)).unwrap_or_default()
}

fn parameter<'t>(step: &RawStep<'t>, name: &str) -> Option<&'t Node> {
    let pairs = step.with?.pairs()?;
    pairs.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
}

fn answer(question: &InputDeclaration<'_>) -> Field {
    Field {
        description: question.description.unwrap_or_default().to_owned(),
        ..Field::required(question.name, question.ty.clone())
    }
}
