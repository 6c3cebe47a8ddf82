//! A size beyond the limits of its group.

use std::ops::Range;

use super::super::analysis::flow::{EffectKind, Reading, Size, Target, is_off, literal_integer};
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB080",
    name: "beyond_limit",
    severity: Severity::Warning,
    summary: "a size beyond the limits of its group",
    explanation: "\
A group cannot have more nodes than its maximum, or fewer than its minimum. A step that asks for that fails, unless it
may change the limit: `raise_max: true`, `lower_min: true`.",
};

/// The limits of a group, with the flag that lets a step change each.
const LIMITS: [(&str, &str, bool); 2] = [("max", "raise_max", true), ("min", "lower_min", false)];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let reading = Reading::new(analysis, &analysis.flow);
    for (index, action, with, facts) in analysis.changes() {
        check_order(with, diagnostics);
        let Some(node) = with.member("desired") else { continue };
        // `group.max + inputs.more`, of which the input is 1 or more.
        let least = reading.least(node).filter(|_| facts.acts.is_empty());
        let single = |is_max: bool| {
            // The least size says nothing of what is too small.
            let size = least.as_ref().filter(|_| is_max).or(facts.size.as_ref())?;
            Some((facts.target.as_ref(), size, &facts.before))
        };
        let acts = facts.acts.iter().filter_map(|act| match &act.effect.kind {
            // Those of a called runbook have flags of their own.
            EffectKind::Size(Some(size)) if act.parameter.is_none() => {
                Some((act.effect.target.as_ref(), size, &act.before))
            }
            _ => None,
        });
        for (limit, flag, is_max) in LIMITS {
            if action.params.field(flag).is_none() || !is_off(with, flag) {
                continue;
            }
            let mut all = single(is_max).into_iter().chain(acts.clone());
            let found = all.find_map(|(target, size, before)| {
                let set = if is_max { &before.max } else { &before.min };
                let exceeds =
                    |bound: &Size| if is_max { size.exceeds(bound) } else { bound.exceeds(size) };
                let (bound, by) = match set {
                    Some((bound, by)) => (Size::number(*bound), *by),
                    None => read_limit(&reading, target, size, limit)?,
                };
                let is_found = exceeds(&bound) && !is_moved(analysis, target?, flag, by..index);
                is_found.then_some((size, set, by))
            });
            let Some((size, set, by)) = found else { continue };
            let (more, which) = if is_max { ("more", "maximum") } else { ("fewer", "minimum") };
            let message = match (size.as_number(), set) {
                (Some(asked), Some((bound, _))) => {
                    let nodes =
                        if asked == 1 { "1 node".to_owned() } else { format!("{asked} nodes") };
                    format!("this asks for {nodes}, but the {which} of the group is {bound}")
                }
                _ => format!("this asks for {more} nodes than the {which} of the group"),
            };
            let diagnostic = Diagnostic::new(&RULE, node.span.clone(), message)
                .help(format!("add '{flag}: true', or change 'desired'"));
            diagnostics.push(
                diagnostic.label(analysis.declaration(by), format!("the {which} is from here")),
            );
        }
    }
}

/// Returns the limit that an earlier step has read of the same group, if the size is made of it.
fn read_limit(
    reading: &Reading<'_, '_>,
    target: Option<&Target>,
    size: &Size,
    limit: &str,
) -> Option<(Size, usize)> {
    let (root, field) = size.of.as_deref()?.split_once('.')?;
    let step = *reading.analysis.symbols.steps.get(root)?;
    let same = target.is_some() && reading.target_of(root).as_ref() == target;
    (same && field == limit).then(|| (Size::of(format!("{root}.{limit}")), step))
}

/// Whether a step after the one that tells a limit of a group may have changed it, with the size that it asks for.
fn is_moved(analysis: &Analysis<'_>, group: &Target, flag: &str, steps: Range<usize>) -> bool {
    let mut since = steps.skip(1).filter_map(|index| {
        Some((analysis.document.steps.get(index)?, analysis.flow.steps.get(index)?))
    });
    let may_be_it = |target: Option<&Target>| target.is_none_or(|target| !target.differs(group));
    since.any(|(raw, facts)| match raw.with {
        // A called runbook has flags of its own.
        _ if raw.call.is_some() => true,
        Some(with) if !is_off(with, flag) => {
            facts.acts.iter().any(|act| may_be_it(act.effect.target.as_ref()))
                || facts.acts.is_empty() && may_be_it(facts.target.as_ref())
        }
        _ => false,
    })
}

/// Reports a minimum above the maximum.
fn check_order(with: &Node, diagnostics: &mut Diagnostics) {
    let number =
        |name: &str| with.member(name).and_then(|node| Some((literal_integer(node)?, node)));
    if let (Some((min, first)), Some((max, second))) = (number("min"), number("max"))
        && min > max
    {
        let message = format!("'max' is {max}, but 'min' is {min}");
        let mut diagnostic = Diagnostic::new(&RULE, second.span.clone(), message)
            .label(first.span.clone(), "the minimum")
            .help("exchange them, or correct one");
        diagnostic.severity = Severity::Error; // no group can be so
        diagnostics.push(diagnostic);
    }
}
