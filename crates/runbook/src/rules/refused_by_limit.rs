//! A limit that always refuses a step.

use minijinja::machinery::ast::{BinOpKind, Expr};

use super::super::analysis::flow::{literal_integer, template_text};
use super::super::limits::LimitKind;
use super::super::template;
use super::super::types::Type;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB121",
    name: "refused_by_limit",
    severity: Severity::Warning,
    summary: "a limit below the least that a step asks for",
    explanation: "\
A step that would exceed a limit is refused. The least that it can ask for follows from the minimum of the inputs, and
from the least number of nodes with which a group is found: with 'min_nodes: 2', `{{ group.desired + 1 }}` is at least 3.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let pairs = analysis.document.limits.and_then(|limits| limits.pairs()).unwrap_or_default();
    let key = LimitKind::NodesAtMost.key();
    let limit = pairs.iter().find(|(found, _)| found.text() == Some(key));
    let Some((value, most)) = limit.and_then(|(_, value)| Some((value, literal_integer(value)?)))
    else {
        return;
    };
    for step in analysis.reaching(LimitKind::NodesAtMost) {
        let with = analysis.document.steps.get(step).and_then(|raw| raw.with);
        let Some(desired) = with.and_then(|with| with.member("desired")) else { continue };
        // What is written as a number is compared with the limit itself.
        let Some(template) = template_text(desired).and_then(|text| template::parse(text).ok())
        else {
            continue;
        };
        let least = template.whole().and_then(|expr| least(analysis, expr));
        let Some(least) = least.filter(|least| *least > i128::from(most)) else { continue };
        let id = analysis.id(step);
        let nodes = if most == 1 { "1 node" } else { &format!("{most} nodes") };
        let message =
            format!("'{id}' asks for {least} nodes or more: a limit of {nodes} always refuses it");
        let diagnostic = Diagnostic::new(&RULE, value.span.clone(), message)
            .label(desired.span.clone(), "this is more");
        diagnostics.push(diagnostic.help("raise the limit, or ask for fewer nodes"));
        return;
    }
}

/// Returns the least number that an expression yields, as far as it is known.
fn least(analysis: &Analysis<'_>, expr: &Expr<'_>) -> Option<i128> {
    match expr {
        Expr::Const(constant) => i128::try_from(constant.value.clone()).ok(),
        Expr::BinOp(op) => {
            let sides = || Some((least(analysis, &op.left)?, least(analysis, &op.right)?));
            match op.op {
                BinOpKind::Add => sides().and_then(|(a, b)| a.checked_add(b)),
                // Of numbers that may be negative, the least ones do not make the least product.
                BinOpKind::Mul => {
                    sides().filter(|(a, b)| *a >= 0 && *b >= 0).and_then(|(a, b)| a.checked_mul(b))
                }
                _ => None,
            }
        }
        path => {
            let by_type = match analysis.type_of_present(path)? {
                Type::Integer(bounds) => bounds.minimum?,
                _ => return None,
            };
            Some(found_with(analysis, path).map_or(by_type, |least| by_type.max(least)))
        }
    }
}

/// Returns the least size with which a step finds the group whose size a path is.
fn found_with(analysis: &Analysis<'_>, path: &Expr<'_>) -> Option<i128> {
    let Expr::GetAttr(get) = path else { return None };
    let Expr::Var(var) = &get.expr else { return None };
    let step = *analysis.symbols.steps.get(var.id)?;
    let with = analysis.document.steps.get(step)?.with?;
    let node: &Node = with.member("min_nodes").filter(|_| get.name == "desired")?;
    literal_integer(node).map(i128::from)
}
