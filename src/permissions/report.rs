//! What a check of permissions has found, and what to add.

use serde_json::Value as Json;

use super::{
    Access, AwsAccess, KubernetesAccess, Requirement, iam, merge,
    rbac::{self, RuleSet},
};

/// The result of a check of permissions.
#[derive(Debug, Clone, Default)]
pub struct PermissionReport {
    /// The number of permissions that the account has.
    pub allowed: usize,
    /// The permissions that it has not.
    pub missing: Vec<Missing>,
    /// The permissions of which that is not known.
    pub unchecked: Vec<Unchecked>,
}

/// A permission that the account has not.
#[derive(Debug, Clone)]
pub struct Missing {
    /// The permission.
    pub requirement: Requirement,
    /// The source of that answer.
    pub source: AnswerSource,
}

/// The source of the answer that a permission is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerSource {
    /// The API server was asked.
    AccessReview,
    /// The call was made.
    Tried,
    /// IAM has simulated it, from the policies that it knows.
    Simulated,
}

/// A permission of which it is not known whether the account has it.
#[derive(Debug, Clone)]
pub struct Unchecked {
    /// The permission.
    pub requirement: Requirement,
    /// Why.
    pub reason: String,
}

impl PermissionReport {
    /// Returns the report without the missing permissions that another missing one covers.
    #[must_use]
    pub fn without_repetitions(self) -> Self {
        let merged = merge(self.missing.iter().map(|missing| missing.requirement.clone()));
        let source_of = |access: &Access| {
            let mut same = self.missing.iter();
            same.find(|missing| missing.requirement.access == *access).map(|missing| missing.source)
        };
        let missing = merged.into_iter().filter_map(|requirement| {
            Some(Missing { source: source_of(&requirement.access)?, requirement })
        });
        Self { missing: missing.collect(), ..self }
    }

    /// Returns the missing permissions without which a step or its undo fails.
    pub fn required(&self) -> impl Iterator<Item = &Missing> {
        self.missing.iter().filter(|missing| !missing.requirement.is_optional)
    }

    /// Returns whether a permission is missing without which a step or its undo fails.
    pub fn is_denied(&self) -> bool {
        self.required().next().is_some()
    }

    /// Returns the rules to add so that nothing required is missing, one for each role and policy.
    pub fn rules_to_add(&self) -> Vec<String> {
        let required: Vec<Requirement> =
            self.required().map(|missing| missing.requirement.clone()).collect();
        let mut rules: Vec<String> =
            rbac::rule_sets(&required).iter().map(RuleSet::one_line).collect();
        if let Some(policy) = iam::policy(&required) {
            let statements = policy["Statement"].as_array().into_iter().flatten();
            // The policy may have a statement of that id already, and takes each id once.
            let without_id = |statement: &Json| {
                let mut statement = statement.clone();
                statement.as_object_mut().map(|members| members.remove("Sid"));
                statement.to_string()
            };
            let statements: Vec<String> = statements.map(without_id).collect();
            rules.push(format!("to the IAM policy: {}", statements.join(", ")));
        }
        rules
    }
}

/// Returns permissions as a person reads them, each with what needs it: verbs on the same object together.
pub fn describe_all<'r>(requirements: impl IntoIterator<Item = &'r Requirement>) -> Vec<String> {
    let mut groups: Vec<(String, String, Vec<&str>)> = Vec::new();
    for requirement in requirements {
        let (object, needed_by) = (requirement.object(), requirement.needed_by());
        let same = groups.iter_mut().find(|(of, by, _)| *of == object && *by == needed_by);
        let verb = requirement.verb();
        match same {
            Some((.., verbs)) => verbs.extend(verb),
            None => groups.push((object, needed_by, verb.into_iter().collect())),
        }
    }
    let describe = |(object, needed_by, mut verbs): (String, String, Vec<&str>)| {
        verbs.sort_by_key(|verb| rbac::VERB_ORDER.iter().position(|of| of == verb));
        let space = if verbs.is_empty() { "" } else { " " };
        format!("{}{space}{object} (for {needed_by})", verbs.join(","))
    };
    groups.into_iter().map(describe).collect()
}

impl Requirement {
    /// Returns the permission as a person reads it, without what needs it.
    pub fn describe(&self) -> String {
        match self.verb() {
            Some(verb) => format!("{verb} {}", self.object()),
            None => self.object(),
        }
    }

    fn verb(&self) -> Option<&str> {
        match &self.access {
            Access::Kubernetes(access) => Some(&access.verb),
            Access::Aws(_) => None,
        }
    }

    fn object(&self) -> String {
        match &self.access {
            Access::Kubernetes(KubernetesAccess { place, group, resource, name, verb: _ }) => {
                let dot = if group.is_empty() { "" } else { "." };
                let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
                let place = match place.namespace() {
                    Some(namespace) => format!(" in the namespace {namespace}"),
                    None => " in the whole cluster".into(),
                };
                format!("{resource}{dot}{group}{name}{place}")
            }
            Access::Aws(AwsAccess { action, resource }) => {
                let arns = iam::arns(resource);
                format!("{action} on {}", arns.join(" and "))
            }
        }
    }

    /// Returns what needs the permission, as a list.
    pub fn needed_by(&self) -> String {
        let needs: Vec<String> = self.needed_by.iter().map(ToString::to_string).collect();
        needs.join(", ")
    }
}
