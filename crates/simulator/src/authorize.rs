//! The permissions of the simulator's clients: an IAM policy document for the AWS half, Roles and
//! `ClusterRoles` for the Kubernetes half. Without a policy every client may do everything.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

mod iam;

use iam::Statement;
pub use iam::StatementError;
pub(crate) use iam::{Decision, Evaluation, RequestContext};

/// The user name of every client of the Kubernetes half.
pub(crate) const USER: &str = "simulator";

/// The permissions of clients. A half for which the policy has no document allows everything;
/// otherwise only what a document allows.
#[derive(Debug, Clone, Default)]
pub struct AccessPolicy {
    statements: Option<Vec<Statement>>,
    rules: Option<Vec<PolicyRule>>,
}

/// The reason why a policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AccessPolicyError {
    /// The document is not an IAM policy document.
    #[error("not an IAM policy document: {0}")]
    Iam(#[source] serde_json::Error),
    /// A statement of an IAM policy document cannot be enforced.
    #[error("statement {number} of the IAM policy: {source}")]
    Statement {
        /// The number of the statement in its document, from 1.
        number: usize,
        /// The reason.
        source: StatementError,
    },
    /// The object is not a `Role` or a `ClusterRole`.
    #[error("not a Role or ClusterRole: {0}")]
    Role(#[source] serde_json::Error),
}

impl AccessPolicy {
    /// Adds the statements of an IAM policy document. The AWS half then rejects every call that no
    /// statement allows.
    ///
    /// Conditions are simulated with the operators `StringEquals`, `StringNotEquals` and
    /// `StringLike`, also with `IfExists`, and the keys `aws:RequestedRegion`,
    /// `aws:ResourceTag/KEY`, `autoscaling:ResourceTag/KEY` and `ec2:Region`.
    ///
    /// # Errors
    /// A value that is not an IAM policy document, or one with something that is not simulated:
    /// other conditions, policy variables, `Not…` elements, principals.
    pub fn allow_iam(mut self, document: &Value) -> Result<Self, AccessPolicyError> {
        self.statements.get_or_insert_default().extend(iam::read_statements(document)?);
        Ok(self)
    }

    /// Adds the rules of a `Role` (for its namespace) or a `ClusterRole` (for every namespace), as
    /// if it were bound to the clients. The Kubernetes half then rejects every call that no rule
    /// allows.
    ///
    /// # Errors
    /// An object that is neither.
    pub fn allow_role(mut self, role: &Value) -> Result<Self, AccessPolicyError> {
        let role = Role::deserialize(role).map_err(AccessPolicyError::Role)?;
        let namespace = match role.kind {
            // Where kubectl creates a role that names no namespace.
            RoleKind::Role => Some(role.metadata.namespace.unwrap_or_else(|| "default".to_owned())),
            RoleKind::ClusterRole => None,
        };
        let rules =
            role.rules.into_iter().map(|rule| PolicyRule { namespace: namespace.clone(), ..rule });
        self.rules.get_or_insert_default().extend(rules);
        Ok(self)
    }

    /// Returns the rules that hold in a namespace, as an access review lists them.
    pub(crate) fn rules_in(&self, namespace: &str) -> Vec<Value> {
        let Some(rules) = &self.rules else {
            return vec![json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})];
        };
        let holds = |rule: &&PolicyRule| rule.namespace.as_deref().is_none_or(|of| of == namespace);
        let shown = |rule: &PolicyRule| {
            json!({
                "verbs": rule.verbs,
                "apiGroups": rule.api_groups,
                "resources": rule.resources,
                "resourceNames": rule.resource_names,
            })
        };
        rules.iter().filter(holds).map(shown).collect()
    }

    /// Checks whether a permission is granted; the error is the service's message.
    pub(crate) fn check(&self, permission: &RequiredPermission) -> Result<(), String> {
        match permission {
            RequiredPermission::None => Ok(()),
            RequiredPermission::Aws(permission) => self.check_aws(permission),
            RequiredPermission::Kubernetes(access) => {
                let Some(rules) = &self.rules else { return Ok(()) };
                if rules.iter().any(|rule| rule.allows(access)) {
                    return Ok(());
                }
                Err(access.denial_message())
            }
        }
    }

    /// Checks whether an action is allowed on each of its resources.
    fn check_aws(&self, permission: &AwsPermission) -> Result<(), String> {
        let AwsPermission { action, principal, resources } = permission;
        for AwsResource { arn, context } in resources {
            let suffix = match self.evaluate(action, arn, context).decision {
                Decision::Allowed => continue,
                Decision::ImplicitDeny => "",
                Decision::ExplicitDeny => " with an explicit deny in an identity-based policy",
            };
            return Err(format!(
                "User: {principal} is not authorized to perform: {action} on resource: {arn}{suffix}"
            ));
        }
        Ok(())
    }

    /// Decides about an action on a resource of the AWS half.
    pub(crate) fn evaluate(
        &self,
        action: &str,
        resource: &str,
        context: &RequestContext,
    ) -> Evaluation {
        match &self.statements {
            Some(statements) => iam::evaluate(statements, action, resource, context),
            // As under a policy of one statement that allows everything.
            None => {
                Evaluation { decision: Decision::Allowed, matched: [0].into(), missing: [].into() }
            }
        }
    }
}

/// The permission that a call needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RequiredPermission {
    /// No permission.
    None,
    /// An IAM action.
    Aws(AwsPermission),
    /// A Kubernetes verb.
    Kubernetes(ResourceAttributes),
}

/// An IAM action and the resources on which it must be allowed, on every one of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AwsPermission {
    pub(crate) action: String,
    /// The ARN of the caller.
    pub(crate) principal: String,
    pub(crate) resources: Vec<AwsResource>,
}

/// A resource of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AwsResource {
    /// The ARN, or `*` for an action that IAM cannot restrict to resources.
    pub(crate) arn: String,
    /// The condition keys of the call and of this resource.
    pub(crate) context: RequestContext,
}

/// The attributes of a request that RBAC compares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourceAttributes {
    pub(crate) verb: Cow<'static, str>,
    pub(crate) group: Cow<'static, str>,
    /// The plural, followed by a slash and the subresource if there is one.
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

impl ResourceAttributes {
    fn denial_message(&self) -> String {
        let Self { verb, group, resource, .. } = self;
        let plural = resource.split('/').next().unwrap_or_default();
        let qualified =
            if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let name = self.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let scope = match &self.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        };
        format!(
            "{qualified}{name} is forbidden: User {USER:?} cannot {verb} resource {resource:?} in \
             API group {group:?} {scope}"
        )
    }
}

#[derive(Debug, Deserialize)]
struct Role {
    kind: RoleKind,
    metadata: RoleMetadata,
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum RoleKind {
    Role,
    ClusterRole,
}

#[derive(Debug, Deserialize)]
struct RoleMetadata {
    namespace: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyRule {
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    verbs: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
    /// The namespace in which the rule holds; every namespace if `None`.
    #[serde(skip)]
    namespace: Option<String>,
}

impl PolicyRule {
    fn allows(&self, access: &ResourceAttributes) -> bool {
        let lists =
            |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        let in_namespace = self.namespace.is_none() || self.namespace == access.namespace;
        let named = self.resource_names.is_empty()
            || access.name.as_ref().is_some_and(|name| self.resource_names.contains(name));
        in_namespace
            && named
            && lists(&self.verbs, &access.verb)
            && lists(&self.api_groups, &access.group)
            && lists(&self.resources, &access.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws(action: &str, resource: &str) -> RequiredPermission {
        aws_on_all(action, &[resource])
    }

    fn aws_on_all(action: &str, resources: &[&str]) -> RequiredPermission {
        let resource =
            |arn: &&str| AwsResource { arn: (*arn).to_owned(), context: RequestContext::default() };
        RequiredPermission::Aws(AwsPermission {
            action: action.into(),
            principal: "arn:aws:iam::1:user/u".into(),
            resources: resources.iter().map(resource).collect(),
        })
    }

    fn access(
        verb: &'static str,
        resource: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> RequiredPermission {
        RequiredPermission::Kubernetes(ResourceAttributes {
            verb: verb.into(),
            group: "".into(),
            resource: resource.into(),
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
        })
    }

    #[test]
    fn iam_allows_only_listed_actions_and_deny_takes_precedence() {
        let policy = AccessPolicy::default()
            .allow_iam(&json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": ["eks:Describe*", "eks:UpdateNodegroupConfig"],
                 "Resource": "arn:aws:eks:*:*:nodegroup/mine/*"},
                {"Effect": "Deny", "Action": "eks:DescribeUpdate", "Resource": "*"},
            ]}))
            .unwrap();
        let mine = "arn:aws:eks:us-west-2:1:nodegroup/mine/a/b";
        assert!(policy.check(&aws("eks:DescribeNodegroup", mine)).is_ok());
        assert!(policy.check(&aws("eks:DescribeUpdate", mine)).is_err());
        assert!(policy.check(&aws("eks:DescribeNodegroup", "arn:aws:eks:x")).is_err());
        assert!(policy.check(&aws("ec2:DescribeInstances", "*")).is_err());
        // The policy has no Kubernetes rules, so everything is allowed.
        assert!(policy.check(&access("list", "nodes", None, None)).is_ok());
    }

    #[test]
    fn iam_must_allow_an_action_on_every_resource_of_the_call() {
        let (cluster, nodegroup) =
            ("arn:aws:eks:us-west-2:1:cluster/c", "arn:aws:eks:us-west-2:1:nodegroup/c/n/u");
        let allow = |resources: Value| {
            let statement =
                json!({"Effect": "Allow", "Action": "eks:DescribeUpdate", "Resource": resources});
            let policy = AccessPolicy::default().allow_iam(&json!({"Statement": statement}));
            policy.unwrap().check(&aws_on_all("eks:DescribeUpdate", &[cluster, nodegroup]))
        };
        assert_eq!(allow(json!([cluster, nodegroup])), Ok(()));
        for (allowed, denied) in [(cluster, nodegroup), (nodegroup, cluster)] {
            let message = format!(
                "User: arn:aws:iam::1:user/u is not authorized to perform: eks:DescribeUpdate on \
                 resource: {denied}"
            );
            assert_eq!(allow(json!(allowed)), Err(message));
        }
    }

    #[test]
    fn a_role_without_a_namespace_is_that_of_the_default_one() {
        let allow = |kind: &str| {
            let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
            let role = json!({"kind": kind, "metadata": {"name": "r"}, "rules": rules});
            let policy = AccessPolicy::default().allow_role(&role).unwrap();
            ["default", "a"].map(|of| policy.check(&access("list", "pods", Some(of), None)).is_ok())
        };
        assert_eq!(allow("Role"), [true, false]);
        assert_eq!(allow("ClusterRole"), [true, true]);
    }

    #[test]
    fn a_role_applies_to_its_namespace_and_resource_names() {
        let policy = AccessPolicy::default()
            .allow_role(&json!({
                "kind": "Role",
                "metadata": {"name": "r", "namespace": "a"},
                "rules": [
                    {
                        "apiGroups": [""],
                        "resources": ["pods", "pods/eviction"],
                        "verbs": ["list", "create"],
                    },
                    {
                        "apiGroups": [""],
                        "resources": ["configmaps"],
                        "resourceNames": ["c"],
                        "verbs": ["get"],
                    },
                ],
            }))
            .unwrap();
        assert!(policy.check(&access("list", "pods", Some("a"), None)).is_ok());
        assert!(policy.check(&access("create", "pods/eviction", Some("a"), Some("p"))).is_ok());
        assert!(policy.check(&access("get", "configmaps", Some("a"), Some("c"))).is_ok());
        assert!(policy.check(&access("get", "configmaps", Some("a"), Some("d"))).is_err());
        assert!(policy.check(&access("list", "pods", Some("b"), None)).is_err());
        let denial_message = policy.check(&access("list", "nodes", None, None)).unwrap_err();
        assert_eq!(
            denial_message,
            "nodes is forbidden: User \"simulator\" cannot list resource \"nodes\" in API group \
             \"\" at the cluster scope"
        );
    }
}
