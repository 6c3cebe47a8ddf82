//! The analysis of `limits`.

use super::super::document::RawStep;
use super::super::evaluate::Argument;
use super::super::limits::{self, LimitKind};
use super::super::template::Narrowing;
use super::super::yaml::Node;
use super::argument::{ArgumentReader, TemplateArgument};
use super::issue::ArgumentIssue;
use super::step::{AnalyzedStep, Role, StepContext, TemplateSite, borrowed};
use super::{Analysis, flow};

impl Analysis<'_> {
    /// Returns the steps that can reach a limit, by position.
    pub(crate) fn reaching(&self, kind: LimitKind) -> impl Iterator<Item = usize> {
        let steps = self.document.steps.iter().zip(&self.steps).enumerate();
        let reaches = move |(raw, step): (&RawStep<'_>, &AnalyzedStep<'_>)| {
            let Some(action) = step.signature else { return false };
            let flag = action.limits_with.iter().find(|(limit, _)| *limit == kind);
            let is_off = |flag: &str| raw.with.is_none_or(|with| flow::is_off(with, flag));
            action.limits.contains(&kind) && !flag.is_some_and(|(_, flag)| is_off(flag))
        };
        steps.filter(move |(_, step)| reaches(*step)).map(|(index, _)| index)
    }
}

/// The key of the limits, which is the first part of the paths of all of them.
const LIMITS: &str = "limits";

/// The limits with everything that the analysis found.
pub(crate) struct AnalyzedLimits<'t> {
    pub(crate) argument: Option<Argument>,
    /// The templates.
    pub(crate) sites: Vec<TemplateSite<'t>>,
    /// The issues of the literals.
    pub(crate) issues: Vec<ArgumentIssue>,
}

impl<'t> StepContext<'_, 't> {
    /// Analyzes the value of `limits`, which is a mapping or empty.
    pub(super) fn analyze_limits(&self, value: &'t Node) -> AnalyzedLimits<'t> {
        let mut reader = ArgumentReader::default();
        let pairs = value.pairs().unwrap_or_default();
        let start = value.span.start;
        let fields = reader.fields(pairs, &limits::record(), LIMITS, start..start);
        let nothing = Narrowing::default();
        let site = |argument: &TemplateArgument<'t>| {
            let (parsed, wanted) = (borrowed(&argument.parsed), &argument.wanted);
            let role = Role::Limit(argument.path.clone());
            self.infer(argument.node, parsed, role, wanted, &nothing)
        };
        let sites = reader.templates.iter().map(site).collect();
        AnalyzedLimits { argument: fields.map(Argument::map), sites, issues: reader.issues }
    }
}
