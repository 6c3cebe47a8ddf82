//! RBAC roles of requirements: a Role for each namespace that is known, and a ClusterRole for the rest, with bindings.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::{Value as Json, json};

use super::{Access, KubernetesAccess, Requirement, Value};

/// The party that is given the roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A service account.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A group, such as that of an EKS access entry.
    Group(String),
}

/// The names in the roles.
#[derive(Debug, Clone)]
pub struct RbacNames {
    /// The name of each role and binding.
    pub role: String,
    /// The party that is given the roles.
    pub subject: Subject,
}

/// The rules of one place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RuleSet {
    /// The namespace; `None` for the whole cluster.
    namespace: Option<Value>,
    rules: Vec<Rule>,
}

/// A role with its binding.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    rules: RuleSet,
    name: String,
    subject: Subject,
}

/// A rule of a role.
#[derive(Debug, Clone, PartialEq)]
struct Rule {
    group: String,
    resources: Vec<String>,
    names: Vec<Value>,
    verbs: Vec<String>,
    needed_by: BTreeSet<String>,
    notes: BTreeSet<String>,
}

/// Returns the roles that allow the Kubernetes part of the requirements, and nothing else.
pub fn roles(requirements: &[Requirement], names: &RbacNames) -> Vec<Role> {
    let role = |rules| Role { rules, name: names.role.clone(), subject: names.subject.clone() };
    rule_sets(requirements).into_iter().map(role).collect()
}

/// Returns the rules of each place.
pub(super) fn rule_sets(requirements: &[Requirement]) -> Vec<RuleSet> {
    let mut places: BTreeMap<Option<&Value>, Vec<(&KubernetesAccess, &Requirement)>> =
        BTreeMap::new();
    for requirement in requirements {
        let Access::Kubernetes(access) = &requirement.access else { continue };
        places.entry(access.place.namespace()).or_default().push((access, requirement));
    }
    let rules = |(namespace, accesses): (Option<&Value>, Vec<_>)| RuleSet {
        namespace: namespace.cloned(),
        rules: rules(&accesses),
    };
    places.into_iter().map(rules).collect()
}

/// Returns the rules of one place: verbs of the same objects are one rule, and objects with the same verbs and needs.
fn rules(accesses: &[(&KubernetesAccess, &Requirement)]) -> Vec<Rule> {
    type Object<'a> = (&'a str, &'a str, Option<&'a Value>);
    let mut verbs: BTreeMap<Object<'_>, Vec<(&str, &Requirement)>> = BTreeMap::new();
    for (access, requirement) in accesses {
        let object = (access.group.as_str(), access.resource.as_str(), access.name.as_ref());
        verbs.entry(object).or_default().push((&access.verb, requirement));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for ((group, resource, name), verbs) in verbs {
        let words: BTreeSet<&str> = verbs.iter().map(|(verb, _)| *verb).collect();
        let needs = |requirement: &Requirement| {
            let optional = if requirement.is_optional { " (optional)" } else { "" };
            let needed_by = requirement.needed_by.iter();
            needed_by.map(|need| format!("{need}{optional}")).collect::<Vec<_>>()
        };
        let rule = Rule {
            group: group.to_owned(),
            resources: vec![resource.to_owned()],
            names: name.into_iter().cloned().collect(),
            verbs: VERB_ORDER
                .iter()
                .filter(|verb| words.contains(*verb))
                .map(ToString::to_string)
                .collect(),
            needed_by: verbs.iter().flat_map(|(_, requirement)| needs(requirement)).collect(),
            notes: verbs.iter().flat_map(|(_, requirement)| requirement.notes.clone()).collect(),
        };
        match rules.iter_mut().find(|other| other.differs_in_names(&rule)) {
            Some(other) => {
                other.names.extend(rule.names);
                other.needed_by.extend(rule.needed_by);
                other.notes.extend(rule.notes);
            }
            None => rules.push(rule),
        }
    }
    rules
}

/// The verbs, in the order in which people write them.
pub(super) const VERB_ORDER: [&str; 7] =
    ["get", "list", "watch", "create", "update", "patch", "delete"];

impl Rule {
    /// Whether another rule differs in the names of its objects only.
    fn differs_in_names(&self, other: &Self) -> bool {
        let is_named = |rule: &Self| !rule.names.is_empty();
        is_named(self)
            && is_named(other)
            && self.group == other.group
            && self.resources == other.resources
            && self.verbs == other.verbs
    }

    fn to_json(&self) -> Json {
        let mut rule = json!({
            "apiGroups": [self.group],
            "resources": self.resources,
            "verbs": self.verbs,
        });
        if !self.names.is_empty() {
            rule["resourceNames"] = self.names.iter().map(ToString::to_string).collect();
        }
        rule
    }
}

impl RuleSet {
    fn kind(&self) -> &'static str {
        if self.namespace.is_some() { "Role" } else { "ClusterRole" }
    }

    /// Returns the rules in one line, with where they belong.
    pub(super) fn one_line(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(Rule::one_line).collect();
        let place = match &self.namespace {
            Some(namespace) => format!("to a Role in the namespace {namespace}"),
            None => "to a ClusterRole".into(),
        };
        format!("{place}: {}", rules.join(", "))
    }
}

impl Role {
    fn metadata(&self) -> Json {
        let mut metadata = json!({"name": self.name, "labels": {"app": "rafay-relay-sop"}});
        if let Some(namespace) = &self.rules.namespace {
            metadata["namespace"] = json!(namespace.to_string());
        }
        metadata
    }

    fn subject(&self) -> Json {
        match &self.subject {
            Subject::ServiceAccount { namespace, name } => {
                json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
            }
            Subject::Group(name) => {
                json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name})
            }
        }
    }

    /// Returns the role and its binding, as objects of Kubernetes.
    pub fn to_json(&self) -> [Json; 2] {
        let api_version = "rbac.authorization.k8s.io/v1";
        let kind = self.rules.kind();
        let rules: Vec<Json> = self.rules.rules.iter().map(Rule::to_json).collect();
        let role = json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": self.metadata(),
            "rules": rules,
        });
        let binding = json!({
            "apiVersion": api_version,
            "kind": format!("{kind}Binding"),
            "metadata": self.metadata(),
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": kind,
                "name": self.name,
            },
            "subjects": [self.subject()],
        });
        [role, binding]
    }
}

/// Returns roles and bindings as YAML documents, with a comment on each rule: what needs it, and why it is wider.
pub fn to_yaml(roles: &[Role]) -> String {
    let mut text = String::new();
    for role in roles {
        let head = |kind: &str| {
            let mut head = format!(
                "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {}\n",
                scalar(&role.name)
            );
            if let Some(namespace) = &role.rules.namespace {
                let _ = writeln!(head, "  namespace: {}", scalar(&namespace.to_string()));
            }
            head + "  labels: {app: rafay-relay-sop}\n"
        };
        let kind = role.rules.kind();
        let _ = writeln!(text, "{}rules:", head(kind));
        role.rules.rules.iter().for_each(|rule| rule.write(&mut text));
        let _ = write!(
            text,
            "{}roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {}\nsubjects:\n",
            head(&format!("{kind}Binding")),
            scalar(&role.name)
        );
        let _ = match &role.subject {
            Subject::ServiceAccount { namespace, name } => write!(
                text,
                "  - kind: ServiceAccount\n    namespace: {}\n    name: {}\n",
                scalar(namespace),
                scalar(name)
            ),
            Subject::Group(name) => write!(
                text,
                "  - kind: Group\n    apiGroup: rbac.authorization.k8s.io\n    name: {}\n",
                scalar(name)
            ),
        };
    }
    text
}

impl Rule {
    /// Returns the rule in one line of YAML.
    fn one_line(&self) -> String {
        let names = match self.names.is_empty() {
            true => String::new(),
            false => {
                format!(", resourceNames: {}", list(self.names.iter().map(ToString::to_string)))
            }
        };
        let (group, resources) = (list([self.group.clone()]), list(self.resources.clone()));
        let verbs = list(self.verbs.clone());
        format!("{{apiGroups: {group}, resources: {resources}{names}, verbs: {verbs}}}")
    }

    fn write(&self, text: &mut String) {
        let needs: Vec<&str> = self.needed_by.iter().map(String::as_str).collect();
        write_comment(text, &needs.join(", "));
        self.notes.iter().for_each(|note| write_comment(text, note));
        let _ = writeln!(text, "  - apiGroups: {}", list([self.group.clone()]));
        let _ = writeln!(text, "    resources: {}", list(self.resources.clone()));
        if !self.names.is_empty() {
            let names = self.names.iter().map(ToString::to_string);
            let _ = writeln!(text, "    resourceNames: {}", list(names));
        }
        let _ = writeln!(text, "    verbs: {}", list(self.verbs.clone()));
    }
}

/// Returns a list in one line of YAML.
fn list(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| scalar(&value)).collect();
    format!("[{}]", values.join(", "))
}

/// Writes a comment in lines of at most 120 columns.
fn write_comment(text: &mut String, comment: &str) {
    const WIDTH: usize = 116;
    let mut line = String::new();
    for word in comment.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "  # {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "  # {line}");
}

/// Returns a text as a YAML scalar that is read as that text: plain where it can be nothing else, else quoted as in
/// JSON.
fn scalar(text: &str) -> String {
    const OTHER_TYPES: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|one| {
            one.is_ascii_lowercase() || one.is_ascii_digit() || matches!(one, '-' | '.' | '/')
        })
        && !OTHER_TYPES.contains(&text);
    if is_plain { text.to_owned() } else { Json::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_is_read_as_the_text_that_it_was() {
        assert_eq!(scalar("rafay-relay"), "rafay-relay");
        assert_eq!(scalar("events.k8s.io"), "events.k8s.io");
        for text in ["", "true", "null", "1e3", "a: b", "INPUT_NAMESPACE", "system:masters", "a\nb"]
        {
            assert_eq!(scalar(text), Json::from(text).to_string());
        }
    }
}
