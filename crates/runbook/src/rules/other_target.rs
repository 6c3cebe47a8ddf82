//! Steps that belong together and name different targets.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::super::analysis::flow::{
    Flow, Part, Reading, SIZES, Size, Target, path, simple_path, sources, template_text,
};
use super::super::analysis::{AnalyzedStep, Role, TemplateSite};
use super::super::document::start_span;
use super::super::registry::ActionKind;
use super::super::template;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};
use crate::nearest;

pub(crate) const RULE: Rule = Rule {
    code: "RB083",
    name: "other_target",
    severity: Severity::Warning,
    summary: "values of one nodegroup or workload where another is meant",
    explanation: "\
A step that acts on one nodegroup, deployment or namespace, with nodes, pods or a size of another one, mixes two that
have been found or changed before. So does a wait for a workload with a similar name, in another namespace, or for
another nodegroup, that nothing in the runbook changes, right after a change of another one.",
};

/// The parameters whose values belong to the target of their step.
const BELONGING: [(&str, &str); 6] = [
    ("wait_nodes", "previous"),
    ("wait_nodes", "count"),
    ("set_protection", "instances"),
    ("terminate_instances", "instances"),
    ("scale_deployment", "keep"),
    ("wait_pods", "count"),
];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let flow = &analysis.flow;
    let uses = uses(analysis, flow);
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        let Some(facts) = flow.steps.get(index) else { continue };
        // What is wrong with a name is reported as that.
        if !is_sound(step) {
            continue;
        }
        let context = Context { analysis, flow };
        if let Some(record) = with.member("nodegroup")
            && context.check_record(record, diagnostics)
        {
            continue;
        }
        context.check_pods(with, diagnostics);
        let mut told = false;
        // Each item has its own target.
        for target in facts
            .acts
            .iter()
            .filter(|_| raw.call.is_none())
            .filter_map(|act| act.effect.target.as_ref())
        {
            for (_, name) in BELONGING.iter().filter(|(name, _)| *name == action.name) {
                let Some(node) = with.member(name).filter(|_| !told) else { continue };
                told |= context.check_values(target, node, *name == "count", diagnostics);
            }
        }
        let Some(target) = &facts.target else { continue };
        let belonging = BELONGING.iter().filter(|(name, _)| *name == action.name);
        for (node, name) in belonging.filter_map(|(_, name)| Some((with.member(name)?, *name))) {
            // Several values of another target are one mistake: that of the step's own target, most often.
            if told {
                break;
            }
            // The same size may be wanted of two targets, and more than was asked for is reported as that.
            let reading = Reading::new(analysis, flow);
            if let (true, Some((asked, _))) = (name == "count", &facts.before.asked)
                && reading.size(node).is_some_and(|size| size == *asked || size.exceeds(asked))
            {
                continue;
            }
            told |= context.check_values(target, node, name == "count", diagnostics);
        }
        if action.kind == ActionKind::Change {
            if let Some(node) = with.member("desired") {
                told |= context.check_size(target, node, diagnostics);
            }
            if let Some(node) = SIZES.iter().find_map(|name| with.member(name)).filter(|_| !told) {
                told |= context.check_former(index, target, node, diagnostics);
            }
        }
        if let Some(uses) = uses.as_ref().filter(|_| action.kind == ActionKind::Wait && !told) {
            context.check_wait(index, target, uses, diagnostics);
        }
    }
}

/// Whether the parameters of a step have the values that they take.
fn is_sound(step: &AnalyzedStep<'_>) -> bool {
    let is_taken = |site: &TemplateSite<'_>| {
        let is_value = matches!(site.role, Role::Parameter(_)) && !site.is_text;
        site.inferred.issues.is_empty()
            && (!is_value || site.wanted.check_assignable(&site.inferred.ty).is_ok())
    };
    step.issues.is_empty() && step.sites.iter().all(is_taken)
}

/// How many steps are about a target.
#[derive(Default)]
struct Uses {
    all: usize,
    reads: usize,
    waits: usize,
}

/// Returns the uses of the targets; `None` where a loop or a call may be about any of them.
fn uses<'f>(analysis: &Analysis<'_>, flow: &'f Flow) -> Option<HashMap<&'f Target, Uses>> {
    let mut all: HashMap<&Target, Uses> = HashMap::new();
    for ((raw, step), facts) in analysis.document.steps.iter().zip(&analysis.steps).zip(&flow.steps)
    {
        let action = step.signature.filter(|_| raw.call.is_none())?;
        let targets: Vec<&Target> = match &facts.target {
            Some(target) => vec![target],
            None => facts.acts.iter().filter_map(|act| act.effect.target.as_ref()).collect(),
        };
        // Items that are not written down may be about any target.
        let is_open = raw.for_each.is_some_and(|items| items.text().is_some());
        if raw.for_each.is_some() && (is_open || targets.len() < facts.acts.len().max(1)) {
            return None;
        }
        for target in targets {
            let one = all.entry(target).or_default();
            one.all += 1;
            match action.kind {
                ActionKind::Read => one.reads += 1,
                ActionKind::Wait => one.waits += 1,
                ActionKind::Change => {}
            }
        }
    }
    Some(all)
}

/// Returns the first part in which two targets certainly differ: its name, and both values.
fn difference<'t>(one: &'t Target, two: &'t Target) -> Option<(&'static str, &'t Part, &'t Part)> {
    one.parts.iter().find_map(|(name, part)| {
        let other = two.part(name).filter(|other| part.differs(other))?;
        let what = match *name {
            "name" | "labels" if one.part("cluster").is_none() => "Auto Scaling group",
            "name" | "labels" => "nodegroup",
            other => other,
        };
        Some((what, part, other))
    })
}

struct Context<'a, 't> {
    analysis: &'a Analysis<'t>,
    flow: &'a Flow,
}

impl Context<'_, '_> {
    /// Reports a record that takes its fields from two steps that have found different groups.
    fn check_record(&self, record: &Node, diagnostics: &mut Diagnostics) -> bool {
        let reading = Reading::new(self.analysis, self.flow);
        let target = |key: &str| {
            let node = record.member(key)?;
            let template = template::parse(template_text(node)?).ok()?;
            let (root, _) = path(template.whole()?)?;
            Some((node, root.to_owned(), reading.target_of(root)?))
        };
        let Some((node, name, one)) = target("name") else { return false };
        let other = ["region", "cluster"].into_iter().filter_map(target);
        let Some((_, other, _)) = other.into_iter().find(|(_, _, two)| one.differs(two)) else {
            return false;
        };
        let message = format!("this record mixes the nodegroups of '{name}' and '{other}'");
        let help = format!("write nodegroup: \"{{{{ {name} }}}}\"");
        diagnostics.push(Diagnostic::new(&RULE, node.span.clone(), message).help(help));
        true
    }

    /// Reports values that come from another target than that of the step; with `of_changes`, from a change of it.
    fn check_values(
        &self,
        target: &Target,
        node: &Node,
        of_changes: bool,
        diagnostics: &mut Diagnostics,
    ) -> bool {
        let Some(template) = template_text(node).and_then(|text| template::parse(text).ok()) else {
            return false;
        };
        let mut found = Vec::new();
        if let Some(expr) = template.whole() {
            sources(expr, &mut found);
        }
        // Those of the step's own target and of others together are meant.
        let is_own = |(root, fields): &(&str, Vec<&str>)| {
            let step = self.analysis.symbols.steps.get(*root);
            let own = step.and_then(|step| self.flow.target_of_path(*step, fields));
            own.is_some_and(|(own, _)| own == target)
        };
        if found.len() > 1 && found.iter().any(is_own) {
            return false;
        }
        let other = found.into_iter().find_map(|(root, fields)| {
            let step = self.other(target, root, &fields).filter(|_| !fields.is_empty())?;
            let action = self.analysis.steps.get(step)?.signature?;
            (!of_changes || action.kind == ActionKind::Change).then_some((root, step))
        });
        let Some((root, step)) = other else { return false };
        self.report(node, root, step, target, diagnostics);
        true
    }

    /// Reports a multiple of the size of another group: a group gets a multiple of its own size. A size that is taken
    /// over as it is, or with some more, may be meant.
    fn check_size(&self, target: &Target, node: &Node, diagnostics: &mut Diagnostics) -> bool {
        let reading = Reading::new(self.analysis, self.flow);
        let size = reading.size(node).filter(Size::is_multiple);
        let Some(of) = size.and_then(|size| size.of) else { return false };
        let Some((root, "desired")) = of.split_once('.') else { return false };
        let Some(step) = self.other(target, root, &[]) else { return false };
        self.report(node, root, step, target, diagnostics);
        true
    }

    /// Reports the size that another target had before it was changed: a size is given back to what had it.
    fn check_former(
        &self,
        index: usize,
        target: &Target,
        node: &Node,
        diagnostics: &mut Diagnostics,
    ) -> bool {
        let Some((root, fields)) = template_text(node).and_then(simple_path) else { return false };
        if !matches!(fields.as_slice(), ["before", size] if SIZES.contains(size)) {
            return false;
        }
        let Some(step) = self.other(target, root, &[]) else { return false };
        // Another one may take over from one that goes; one that was changed itself has a size to go back to.
        let asked = self.flow.steps.get(step).and_then(|facts| facts.size.as_ref());
        let goes = asked.is_none_or(|size| size.as_number() == Some(0));
        let mut before = self.flow.steps.iter().take(index);
        let is_changed =
            before.any(|facts| facts.target.as_ref() == Some(target) && facts.size.is_some());
        if goes && !is_changed {
            return false;
        }
        self.report_at(node, root, step, target, diagnostics);
        true
    }

    /// Returns a step by its id, if it has certainly another target; of one of its items, if the fields begin with it.
    fn other(&self, target: &Target, id: &str, fields: &[&str]) -> Option<usize> {
        let step = *self.analysis.symbols.steps.get(id)?;
        let (other, _) = self.flow.target_of_path(step, fields)?;
        other.differs(target).then_some(step)
    }

    /// Returns the parameters of the step that a value is in.
    fn parameters_with(&self, node: &Node) -> Option<&Node> {
        let is_within =
            |with: &&Node| with.span.start <= node.span.start && node.span.end <= with.span.end;
        self.analysis.document.steps.iter().filter_map(|step| step.with).find(is_within)
    }

    /// Returns the parameter beside a value in which its step differs from another step, where both are written out.
    fn differing(&self, node: &Node, other: usize) -> Option<&Node> {
        const PARAMETERS: [&str; 4] = ["namespace", "deployment", "stateful_set", "daemon_set"];
        let own = self.parameters_with(node)?;
        let other = self.analysis.document.steps.get(other)?.with?;
        PARAMETERS.iter().find_map(|name| {
            let (one, two) = (own.member(name)?, other.member(name)?);
            (one.text() != two.text()).then_some(one)
        })
    }

    /// Returns the group of a step, where several of its other parameters are about the group of another step.
    fn outnumbered(&self, node: &Node, other: usize) -> Option<&Node> {
        let with = self.parameters_with(node)?;
        let other = self.flow.steps.get(other)?.target.as_ref()?;
        let is_about = |(_, value): &&(Node, Node)| {
            let path = template_text(value).and_then(simple_path);
            let step = path.and_then(|(root, _)| self.analysis.symbols.steps.get(root));
            let facts = step.and_then(|step| self.flow.steps.get(*step));
            facts.is_some_and(|facts| facts.target.as_ref() == Some(other))
        };
        let is_several = with.pairs()?.iter().filter(is_about).count() > 1;
        with.member("nodegroup").filter(|_| is_several)
    }

    /// Reports a value of another step at the parameter in which the two steps differ, if that is written down.
    fn report(
        &self,
        node: &Node,
        root: &str,
        step: usize,
        target: &Target,
        diagnostics: &mut Diagnostics,
    ) {
        let place = self.differing(node, step).or_else(|| self.outnumbered(node, step));
        let place = place.unwrap_or(node);
        self.report_at(place, root, step, target, diagnostics);
    }

    fn report_at(
        &self,
        place: &Node,
        root: &str,
        step: usize,
        target: &Target,
        diagnostics: &mut Diagnostics,
    ) {
        let what = if target.is_workload() { "workload" } else { "nodegroup" };
        let other = self.flow.steps.get(step).and_then(|facts| facts.target.as_ref());
        let difference = other.and_then(|other| difference(other, target));
        let (message, label) = match difference {
            Some((name, one, two)) => {
                let part = name.replace('_', " ");
                (
                    format!("'{root}' is about the {part} '{one}', and this step about '{two}'"),
                    format!("it is about '{one}'"),
                )
            }
            None => (
                format!("this value of '{root}' is of another {what} than this step"),
                format!("it is about another {what}"),
            ),
        };
        let diagnostic = Diagnostic::new(&RULE, start_span(place), message)
            .label(self.analysis.declaration(step), label)
            .help(format!("use the output of a step that is about the same {what}, or change the {what} of this step"));
        diagnostics.push(diagnostic);
    }

    /// Reports listed pods that are waited for in another namespace.
    fn check_pods(&self, with: &Node, diagnostics: &mut Diagnostics) {
        let (Some(namespace), Some(pods)) = (with.member("namespace"), with.member("pods")) else {
            return;
        };
        let Some(text) = namespace.text().filter(|_| template_text(namespace).is_none()) else {
            return;
        };
        let Some(template) = template_text(pods).and_then(|text| template::parse(text).ok()) else {
            return;
        };
        let mut found = Vec::new();
        if let Some(expr) = template.whole() {
            sources(expr, &mut found);
        }
        let reading = Reading::new(self.analysis, self.flow);
        for (root, _) in found {
            let listed = || {
                let step = *self.analysis.symbols.steps.get(root)?;
                let raw = self.analysis.document.steps.get(step)?;
                let namespace = raw.with?.member("namespace")?;
                let is_known = template_text(namespace).is_none() && raw.for_each.is_none();
                namespace.text().filter(|_| is_known).map(str::to_owned)
            };
            let other =
                match reading.target_of(root).as_ref().map(|target| target.part("namespace")) {
                    Some(Some(Part::Text(other))) => Some(other.clone()),
                    Some(_) => None,
                    None => listed(),
                };
            let Some(other) = other else { continue };
            if other != text {
                let message =
                    format!("the pods of '{root}' are in the namespace '{other}', not in '{text}'");
                let diagnostic = Diagnostic::new(&RULE, namespace.span.clone(), message);
                diagnostics.push(diagnostic.help(format!("write 'namespace: {other}'")));
                return;
            }
        }
    }

    /// Reports a wait for a target that nothing changes, right after a change of another one.
    fn check_wait(
        &self,
        index: usize,
        target: &Target,
        uses: &HashMap<&Target, Uses>,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(before) = index.checked_sub(1) else { return };
        let (Some(first), Some(action)) = (
            self.flow.steps.get(before),
            self.analysis.steps.get(before).and_then(|s| s.signature),
        ) else {
            return;
        };
        let is_change = action.kind == ActionKind::Change;
        let is_change = is_change && self.analysis.steps.get(before).is_some_and(is_sound);
        let Some(other) = first.target.as_ref().filter(|_| is_change) else { return };
        // Another step is about it, beside those that only find a group: then this wait has a reason of its own.
        let reads =
            if target.is_workload() { 0 } else { uses.get(target).map_or(0, |uses| uses.reads) };
        let is_used = uses.get(target).is_none_or(|uses| uses.all > reads + 1);
        // With one difference it is a slip; with two, another thing is meant, such as an autoscaler that is stopped.
        let mut differences = other.parts.iter().filter_map(|(name, one)| {
            let two = target.part(name)?;
            (one != two).then_some((*name, one, two))
        });
        let difference = differences.next().filter(|(_, one, two)| one.differs(two));
        if differences.next().is_some() {
            return;
        }
        let (false, Some((name, one, two))) = (is_used, difference) else { return };
        // Something else waits for the target that was changed, so this wait is for another reason.
        let is_awaited = uses.get(other).is_some_and(|uses| uses.waits > 0);
        if other.is_workload() != target.is_workload() || is_awaited {
            return;
        }
        // A change of a workload waits for it, so this may be for a dependent; a name that was mistyped is alike. A
        // step that scales a group does not wait for its nodes, so this wait is meant to, unless it gets smaller.
        let with = self.analysis.document.steps.get(before).and_then(|raw| raw.with);
        let reading = Reading::new(self.analysis, self.flow);
        let is_smaller = || {
            let direction =
                with.and_then(|with| reading.direction(other, first.size.as_ref(), with));
            direction == Some(Ordering::Less)
                || first.size.as_ref().and_then(Size::as_number) == Some(0)
        };
        let may_depend = match (one, two) {
            (Part::Text(one), Part::Text(two)) if target.is_workload() && name != "namespace" => {
                nearest(one, [two.as_str()]).is_none()
            }
            _ => !target.is_workload() && is_smaller(),
        };
        if may_depend {
            return;
        }
        let id = self.analysis.id(before);
        let key = if target.is_workload() { name } else { "nodegroup" };
        let is_name = matches!(name, "name" | "labels");
        let what = if is_name { key.replace('_', " ") } else { name.replace('_', " ") };
        let message = format!("this waits for the {what} '{two}', but '{id}' changes '{one}'");
        let with = self.analysis.document.steps.get(index).and_then(|raw| raw.with);
        let node = with.and_then(|with| with.member(key));
        let place = node.map_or_else(|| self.analysis.declaration(index), start_span);
        let diagnostic = Diagnostic::new(&RULE, place, message)
            .label(self.analysis.declaration(before), "this change")
            .help("wait for what was changed; no step changes what this one waits for");
        diagnostics.push(diagnostic);
    }
}
