//! The nodegroup, Auto Scaling group or workload that a step acts on.

use super::super::super::registry::ActionSignature;
use super::super::super::template;
use super::super::super::yaml::Node;
use super::{Reading, simple_path, template_text};

/// A target, by what names it: the same names are the same target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) parts: Vec<(&'static str, Part)>,
}

/// A part of the name of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Text(String),
    Input(String),
    /// Labels or tags.
    Labels(Vec<(String, String)>),
    /// Another expression.
    Other(String),
}

/// The parameters that name a group: a record, or its name.
const GROUPS: [&str; 2] = ["nodegroup", "auto_scaling_group"];

/// The parameters that name a workload in a namespace.
pub(crate) const WORKLOADS: [&str; 3] = ["deployment", "stateful_set", "daemon_set"];

impl Target {
    /// Whether another target of the same kind is certainly, or in all probability, another one.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let part =
            |name: &str| other.parts.iter().find(|(found, _)| *found == name).map(|(_, part)| part);
        self.is_workload() == other.is_workload()
            && self.parts.iter().any(|(name, one)| part(name).is_some_and(|two| one.differs(two)))
    }

    /// Whether another target may be the same one.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.is_workload() == other.is_workload() && !self.differs(other)
    }

    pub(crate) fn is_workload(&self) -> bool {
        self.parts.iter().any(|(name, _)| *name == "namespace")
    }

    /// Returns a part by its name.
    pub(crate) fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|(found, _)| *found == name).map(|(_, part)| part)
    }

    /// Returns the name of a workload or group, as far as it has one.
    fn name(&self) -> Option<&Part> {
        let named = |name: &str| name == "name" || WORKLOADS.contains(&name);
        self.parts.iter().find(|(name, _)| named(name)).map(|(_, part)| part)
    }
}

impl Part {
    /// Whether two parts are certainly, or in all probability, different.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) | (Self::Input(a), Self::Input(b)) => a != b,
            (Self::Labels(a), Self::Labels(b)) => {
                a.iter().any(|(key, one)| b.iter().any(|(other, two)| key == other && one != two))
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Input(name) => write!(f, "inputs.{name}"),
            Self::Other(text) => f.write_str(text),
            Self::Labels(labels) => {
                let shown: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                f.write_str(&shown.join(","))
            }
        }
    }
}

impl Reading<'_, '_> {
    /// Returns the target of a step, for one of its items if it has some.
    pub(super) fn target(&self, action: &ActionSignature, with: &Node) -> Option<Target> {
        if let Some(node) = GROUPS.iter().find_map(|name| with.member(name)) {
            return self.group(node);
        }
        if WORKLOADS.iter().any(|kind| with.member(kind).is_some()) {
            return self.workload(with);
        }
        // A step that finds a group has it as its output.
        let finds = ["region", "name", "desired"].iter().all(|f| action.output.field(f).is_some());
        if finds { self.named(with) } else { None }
    }

    /// Returns the workload that a record names.
    pub(crate) fn workload(&self, record: &Node) -> Option<Target> {
        let (kind, node) =
            WORKLOADS.iter().find_map(|kind| record.member(kind).map(|node| (*kind, node)))?;
        let namespace = self.part(record.member("namespace")?)?;
        Some(Target { parts: vec![("namespace", namespace), (kind, self.part(node)?)] })
    }

    /// Returns the group that a record names.
    fn named(&self, record: &Node) -> Option<Target> {
        let mut parts = vec![("region", self.part(record.member("region")?)?)];
        if let Some(cluster) = record.member("cluster") {
            parts.push(("cluster", self.part(cluster)?));
        }
        if let Some(name) = record.member("name") {
            parts.push(("name", self.part(name)?));
        } else {
            let labels = record.member("labels").or_else(|| record.member("tags"))?;
            parts.push(("labels", labels_of(labels)?));
        }
        Some(Target { parts })
    }

    /// Returns the group of a parameter: the output of a step, its name, or a record.
    fn group(&self, node: &Node) -> Option<Target> {
        let by_step = |node: &Node| {
            let (root, fields) = simple_path(template_text(node)?)?;
            if let ("each", Some(each)) = (root, self.each) {
                let target = self.act_of_each().and_then(|act| act.effect.target.as_ref());
                if let ([] | ["name"], Some(target)) = (fields.as_slice(), target) {
                    return Some(target.clone());
                }
                return match each.node(&fields) {
                    // An item is no item of itself.
                    Some(item) => Reading { each: None, ..*self }.group(item),
                    None => Some(Target {
                        parts: vec![(
                            "name",
                            Part::Other(each.name(format!("each.{}", fields.join(".")))),
                        )],
                    }),
                };
            }
            matches!(fields.as_slice(), [] | ["name"]).then(|| self.target_of(root)).flatten()
        };
        if let Some(target) = by_step(node).filter(|target| !target.is_workload()) {
            return Some(target);
        }
        node.pairs()?;
        node.member("name").and_then(by_step).or_else(|| self.named(node))
    }

    /// Returns the target of a step by its id.
    pub(crate) fn target_of(&self, id: &str) -> Option<Target> {
        let step = *self.analysis.symbols.steps.get(id)?;
        self.flow.steps.get(step)?.target.clone()
    }

    /// Returns a part of a name.
    pub(super) fn part(&self, node: &Node) -> Option<Part> {
        let text = node.text()?;
        if template_text(node).is_none() {
            return Some(Part::Text(text.to_owned()));
        }
        let Some(each) = self.each else { return Some(self.part_of(text)) };
        let written = each.written(text);
        if !template::is_template(&written) {
            return Some(Part::Text(written));
        }
        Some(match self.part_of(&written) {
            Part::Other(text) => Part::Other(each.name(text)),
            part => part,
        })
    }

    /// Returns the part that a template says. Two that are written alike are the same.
    fn part_of(&self, text: &str) -> Part {
        if let Some((root, fields)) = simple_path(text) {
            if let ("inputs", [name]) = (root, fields.as_slice()) {
                return Part::Input((*name).to_owned());
            }
            // A step hands on what names its target.
            if let ([field], Some(target)) = (fields.as_slice(), self.target_of(root)) {
                let part = target.part(field);
                let part = part.or_else(|| target.name().filter(|_| *field == "name"));
                if let Some(part) = part {
                    return part.clone();
                }
            }
        }
        let inside = template::inside_braces(text).unwrap_or(text);
        Part::Other(inside.to_owned())
    }
}

/// Returns labels that are written down.
fn labels_of(node: &Node) -> Option<Part> {
    if let Some(text) = template_text(node) {
        return Some(Part::Other(text.to_owned()));
    }
    let label =
        |(key, value): &(Node, Node)| Some((key.text()?.to_owned(), value.text()?.to_owned()));
    let mut labels: Vec<(String, String)> =
        node.pairs()?.iter().map(label).collect::<Option<_>>()?;
    labels.sort();
    Some(Part::Labels(labels))
}
