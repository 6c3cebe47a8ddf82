//! A change of what was selected because it has that state already.

use super::super::analysis::flow::{lets_others_act, simple_path, template_text};
use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB126",
    name: "no_effect",
    severity: Severity::Warning,
    summary: "a change of what was selected because it has that state already",
    explanation: "\
A step changes only what is not yet as it is to be. To cordon the nodes that were listed as cordoned, to protect the
instances that were read as protected, or to set a label by which the nodes were selected, changes nothing: the opposite
is meant, or another list.",
};

/// The actions that change the same thing.
const FAMILIES: [&[&str]; 5] = [
    &["set_image", "rollout_undo", "patch_object"],
    &["cordon", "uncordon", "drain", "patch_object", "update_nodegroup_version"],
    &["set_protection", "scale_nodegroup", "scale_auto_scaling_group", "terminate_instances"],
    &["label_nodes", "patch_object", "update_nodegroup_version"],
    &["set_nodegroup", "scale_nodegroup"],
];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (at, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, step.signature) else { continue };
        let source = |parameter: &str| {
            let node = with.member(parameter)?;
            let (root, fields) = source(node, raw.for_each)?;
            let index = *analysis.symbols.steps.get(root)?;
            // A list of a loop is that of many groups.
            let found =
                analysis.document.steps.get(index).filter(|step| step.for_each.is_none())?;
            let by = analysis.steps.get(index)?.signature?;
            // What an earlier step has changed since is set back.
            let family = FAMILIES.iter().find(|family| family.contains(&action.name.as_str()))?;
            let calls = analysis.document.steps.get(index + 1..at)?.iter();
            if calls.clone().any(|raw| raw.call.is_some()) {
                return None;
            }
            let mut between = analysis.steps.get(index + 1..at)?.iter();
            // A person, a job or a called runbook may have changed it, too.
            let is_changed = between.any(|step| {
                step.signature
                    .is_none_or(|one| lets_others_act(one) || family.contains(&one.name.as_str()))
            });
            if is_changed {
                return None;
            }
            let others = with.pairs().is_some_and(|pairs| pairs.len() > 2);
            let fields: Vec<String> = fields.into_iter().map(str::to_owned).collect();
            Some(Source { node, id: root, by: &by.name, fields, with: found.with?, index, others })
        };
        let found = match action.name.as_str() {
            "cordon" => source("nodes").and_then(|source| source.cordoned(true)),
            "uncordon" => source("nodes").and_then(|source| source.cordoned(false)),
            "set_protection" => source("instances").and_then(|source| source.protected(with)),
            "label_nodes" => source("nodes").and_then(|source| source.labeled(with)),
            "set_image" => source("images").and_then(|source| {
                let target = |index: usize| analysis.flow.steps.get(index)?.target.as_ref();
                let is_same = target(at).is_some() && target(at) == target(source.index);
                source.image().filter(|_| is_same)
            }),
            "set_nodegroup" => {
                ["min", "max"].iter().find_map(|name| source(name)?.limit(name, found_by(with)?))
            }
            _ => None,
        };
        let Some((place, message, help, by)) = found else { continue };
        let diagnostic = Diagnostic::new(&RULE, place.span.clone(), message)
            .label(analysis.declaration(by), "it selects them")
            .help(help);
        diagnostics.push(diagnostic);
    }
}

/// Returns the step that found the nodegroup of another step.
fn found_by(with: &Node) -> Option<&str> {
    let (root, fields) = simple_path(template_text(with.member("nodegroup")?)?)?;
    fields.is_empty().then_some(root)
}

/// Returns the path that a list is, or that its one item stands for in a loop.
fn source<'n>(node: &'n Node, for_each: Option<&'n Node>) -> Option<(&'n str, Vec<&'n str>)> {
    let one = node.items().and_then(|items| match items {
        [item] => Some(item),
        _ => None,
    });
    let (root, fields) = simple_path(template_text(one.unwrap_or(node))?)?;
    if root != "each" {
        return one.is_none().then_some((root, fields));
    }
    let (root, mut all) = simple_path(template_text(for_each?)?)?;
    all.extend(fields);
    Some((root, all))
}

/// The step that has selected what is changed.
struct Source<'a> {
    node: &'a Node,
    id: &'a str,
    by: &'a str,
    fields: Vec<String>,
    with: &'a Node,
    index: usize,
    /// Whether the step changes something else.
    others: bool,
}

/// The place, the message and the help of a diagnostic, and the step that it is about.
type Found<'a> = (&'a Node, String, String, usize);

impl<'a> Source<'a> {
    fn is_of(&self, action: &str, fields: &[&[&str]]) -> bool {
        self.by == action && fields.iter().any(|path| self.fields == *path)
    }

    /// Whether all nodes of a list are nodes of `list_nodes`.
    fn is_nodes(&self) -> bool {
        self.is_of("list_nodes", &[&["names"], &["nodes", "name"]])
    }

    /// Nodes that are selected by whether they are cordoned.
    fn cordoned(self, wanted: bool) -> Option<Found<'a>> {
        let selected = boolean(self.with.member("cordoned")?).filter(|_| self.is_nodes())?;
        if selected != wanted {
            return None;
        }
        let Self { node, id, index, .. } = self;
        let (is, other) = if wanted {
            ("cordoned already", "cordoned: false")
        } else {
            ("not cordoned", "cordoned: true")
        };
        let message = format!("this changes nothing: '{id}' lists only nodes that are {is}");
        Some((node, message, format!("write '{other}' in '{id}', or leave it out"), index))
    }

    /// Instances that are read as protected.
    fn protected(self, with: &'a Node) -> Option<Found<'a>> {
        let flag = with.member("protected")?;
        if boolean(flag) != Some(true) || !self.is_of("get_protection", &[&["protected"]]) {
            return None;
        }
        let Self { id, index, .. } = self;
        let message = format!(
            "this changes nothing: '{id}.protected' has the instances that are protected already"
        );
        Some((flag, message, "write 'protected: false' to lift the protection".to_owned(), index))
    }

    /// The images that a step before has set itself.
    fn image(self) -> Option<Found<'a>> {
        if !self.is_of("set_image", &[&["images"]]) {
            return None;
        }
        let Self { node, id, index, .. } = self;
        let message = format!("this changes nothing: '{id}' has set these images");
        let help = format!("write \"{{{{ {id}.before }}}}\" for the images before it");
        Some((node, message, help, index))
    }

    /// A limit that is set to what was found of the same group.
    fn limit(self, name: &str, group: &str) -> Option<Found<'a>> {
        // Beside another change it says what stays.
        if self.others || self.id != group || !self.is_of("find_nodegroup", &[&[name]]) {
            return None;
        }
        let Self { node, id, index, .. } = self;
        let message =
            format!("this changes nothing: '{id}.{name}' is the limit that the group has");
        Some((node, message, "set another limit, or remove this one".to_owned(), index))
    }

    /// Nodes that are selected by the label that they get.
    fn labeled(self, with: &'a Node) -> Option<Found<'a>> {
        let [(key, value)] = with.member("labels")?.pairs()? else { return None };
        let selector = self.with.member("selector")?.text().filter(|_| self.is_nodes())?;
        let label = format!("{}={}", key.text()?, value.text()?);
        let mut requirements = selector.split(',').map(|part| part.trim().replace("==", "="));
        if label.contains("{{") || !requirements.any(|one| one == label) {
            return None;
        }
        let Self { id, index, .. } = self;
        let message =
            format!("this changes nothing: '{id}' lists only nodes with the label {label}");
        let help = format!("set another label, or select other nodes in '{id}'");
        Some((key, message, help, index))
    }
}

fn boolean(node: &Node) -> Option<bool> {
    match node.scalar_value() {
        Some(ScalarValue::Boolean(value)) => Some(value),
        _ => None,
    }
}
